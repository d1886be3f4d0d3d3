"""`omegacli runtime`: who carries out tasks, and what came of them."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from omegacli import answers, connect, console, tasklogs
from omegaml.errors import Conflict, InvalidInput, TimedOut, Unavailable

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
def workers() -> None:
    """List who carries out this account's tasks; exits with 1 if nobody does."""
    rows = connect.omega().runtime.workers()
    shown = ["id", "host", "pid", "labels", "running", "slots", "age"]
    console.show("runtime.workers", rows, columns=shown, exit_code=0 if rows else 1)
    _nobody(rows)


@app.command()
def labels() -> None:
    """List the labels that tasks may ask for, with their workers; exits with 1 if there is none."""
    found = connect.omega().runtime.labels()
    rows = [{"label": label, "workers": count} for label, count in sorted(found.items())]
    console.show("runtime.labels", rows, columns=["label", "workers"], exit_code=0 if rows else 1)
    _nobody(rows)


@app.command()
def queues() -> None:
    """List how many tasks wait for workers of each label, and how many workers take them.

    On a broker the tasks are those of all accounts.
    """
    rows = connect.omega().runtime.queues()
    console.show("runtime.queues", rows, columns=["label", "waiting", "workers"])


def _nobody(rows: list[Any]) -> None:
    if not rows:
        console.say("no worker is there")
        console.say("hint: omegacli runtime worker, or omegacli cluster up")


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


@app.command()
def logs(
    id: Annotated[
        str | None, typer.Argument(help="The task's id; without it all that was said, by om.logger too.")
    ] = None,
    follow: tasklogs.Follow = False,
    tail: tasklogs.Tail = None,
    since: tasklogs.Since = None,
    level: tasklogs.Level = None,
) -> None:
    """Show what tasks have printed and logged in the last 24 hours; without an ID the last 100 lines."""
    tasklogs.show("runtime.logs", connect.omega(), id, follow, tail, since, level)


@app.command()
def worker(
    label: Annotated[
        list[str] | None, typer.Option("--label", help="Of the tasks it takes; default.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option("--concurrency", min=1, help="Tasks at a time.")] = None,
    drain: Annotated[
        float, typer.Option("--drain", help="Seconds to finish tasks in when told to stop.")
    ] = 25.0,
) -> None:
    """Be a worker for this account's tasks, until Ctrl-C or SIGTERM.

    A worker for all accounts of a platform is `python -m omegaml.runtime.worker --config FILE`.
    """
    import logging

    om = connect.omega()
    broker = om.config.get("OMEGA_BROKER")
    if not broker:
        raise InvalidInput("a worker needs a broker", hint="omegacli config set OMEGA_BROKER=amqp://...")
    try:
        from omegaml.runtime.worker import serve
    except ImportError as error:
        raise Unavailable(f"a worker needs {error.name}", hint="pip install 'omegaml[worker]'") from None
    from urllib.parse import unquote, urlsplit

    logging.getLogger("celery").setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = {"OMEGA_MONGO_URL": om.mongo_url, "OMEGA_BUCKET": om.bucket, "OMEGA_BROKER": broker}
    settings["OMEGA_USERID"] = unquote(urlsplit(broker).username or "guest")
    serve(settings, label, concurrency, drain)


def _status(data: dict[str, Any]) -> str:
    lines = [
        f"runner {r['id']}\t{r.get('host')}\tpid {r.get('pid')}\t{r.get('running')} running"
        for r in data["runners"]
    ]
    tasks = ", ".join(f"{n} {state}" for state, n in data["tasks"].items())
    return "\n".join([*(lines or ["no runner"]), f"tasks: {tasks or 'none'}"])
