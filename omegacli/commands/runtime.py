"""`omegacli runtime`: who carries out tasks, and what came of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from omegacli import answers, connect, console
from omegaml.errors import TimedOut, Unavailable

app = typer.Typer()


@app.command()
def ping() -> None:
    """Ask a runner for an answer; exits with 1 if there is none."""
    om = connect.omega()
    try:
        data = om.runtime.ping(async_=True, timeout=console.options.timeout or 10.0)
    except Unavailable as e:
        if om.status()["mongodb"]["ok"]:
            console.show(
                "runtime.ping",
                {"ok": False, "message": e.message, "hint": e.hint},
                text="no runner",
                exit_code=1,
            )
            console.say(f"hint: {e.hint}")
            return
        raise
    console.show("runtime.ping", {"ok": True, **data})


@app.command()
def status() -> None:
    """Show the runners and how many tasks are queued, running and done."""
    data = connect.omega().runtime.status()
    console.show("runtime.status", data, text=_status(data))


@app.command()
def result(
    id: Annotated[str, typer.Argument(help="The task's id, as --async printed it.")],
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait for a task that is still running.")
    ] = False,
) -> None:
    """Show the result of task ID, waiting for it up to --timeout seconds."""
    promise = connect.omega().runtime.promise(id)
    if no_wait and not promise.done():
        raise TimedOut(f"task {id} is {promise.status}", hint=f"omegacli runtime result {id}")
    answer = promise.get(60.0 if console.options.timeout is None else console.options.timeout)
    answers.show("runtime.result", answer)


def _status(data: dict[str, Any]) -> str:
    lines = [
        f"runner {r['id']}\t{r.get('host')}\tpid {r.get('pid')}\t{r.get('running')} running"
        for r in data["runners"]
    ]
    tasks = ", ".join(f"{n} {state}" for state, n in data["tasks"].items())
    return "\n".join([*(lines or ["no runner"]), f"tasks: {tasks or 'none'}"])
