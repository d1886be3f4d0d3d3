"""`omegacli runtime`: who carries out tasks, and what came of them."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from omegacli import answers, connect, console
from omegaml.errors import Conflict, TimedOut, Unavailable

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


@app.command()
def cancel(id: Annotated[str, typer.Argument(help="The task's id, as --async printed it.")]) -> None:
    """Keep task ID from running, or stop it, waiting up to --timeout seconds (30) for its end.

    A task that was cancelled before is one; one that ended otherwise is a conflict (5).
    """
    promise = connect.omega().runtime.promise(id)
    if console.options.dry_run:
        console.plan("runtime.cancel", f"cancel task {id}, which is {promise.status}", task=id)
        return
    promise.cancel()
    deadline = time.monotonic() + (30.0 if console.options.timeout is None else console.options.timeout)
    while not promise.done():
        if time.monotonic() > deadline:
            raise TimedOut(
                f"task {id} was told to stop and has not ended yet", hint=f"omegacli runtime cancel {id}"
            )
        time.sleep(0.1)
    status = promise.status
    if status != "cancelled":
        raise Conflict(
            f"task {id} had ended already: {status}",
            hint=f"omegacli runtime result {id}",
            task=id,
            status=status,
        )
    console.show("runtime.cancel", {"task": id, "status": status}, text="")
    console.say(f"cancelled {id}")


def _status(data: dict[str, Any]) -> str:
    lines = [
        f"runner {r['id']}\t{r.get('host')}\tpid {r.get('pid')}\t{r.get('running')} running"
        for r in data["runners"]
    ]
    tasks = ", ".join(f"{n} {state}" for state, n in data["tasks"].items())
    return "\n".join([*(lines or ["no runner"]), f"tasks: {tasks or 'none'}"])
