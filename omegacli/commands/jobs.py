"""`omegacli jobs`: store notebooks and run them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from omegacli import connect, console, literals, schedules, tasklogs, transfer
from omegaml.errors import Conflict, InvalidInput, NotFound, Unavailable

app = typer.Typer()

Name = Annotated[str, typer.Argument(help="Name of the notebook.")]


@app.command("list")
def list_(pattern: Annotated[str | None, typer.Argument(help="As 'reports/*'.")] = None) -> None:
    """List notebooks; those that runs have left are in results/."""
    rows = [meta.to_dict() for meta in connect.omega().jobs.find(pattern)]
    console.show("jobs.list", rows, columns=["name", "kind", "bytes", "modified"])


@app.command()
def put(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A notebook (.ipynb), or Python code (.py).")],
    name: Name,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of an existing one.")] = False,
) -> None:
    """Store a notebook as NAME; of Python code one is made."""
    jobs = connect.omega().jobs
    if not replace and jobs.exists(name):
        raise Conflict(f"there is a job {name!r} already", hint="add --replace")
    if console.options.dry_run:
        console.plan("jobs.put", f"store {file} as {name}", name=name)
        return
    path = Path(file)
    if path.suffix == ".py":
        try:
            code = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{file} cannot be read: {error}") from None
        meta = jobs.create(code, name, replace=replace)
    else:
        meta = jobs.put(path, name, replace=replace)
    console.show("jobs.put", meta.to_dict(), text="")
    console.say(f"stored {meta.name}")
    schedules.say(connect.omega().runtime.job(name))


@app.command()
def get(
    name: Name,
    file: Annotated[str, typer.Argument(metavar="PATH|-", help="File to write.")],
    format: Annotated[str, typer.Option("--format", help="ipynb, html or slides.")] = "ipynb",
) -> None:
    """Write notebook NAME to a file."""
    data = connect.omega().jobs.export(name, format=format)
    with transfer.target(file) as stream:
        stream.write(data)
    if file != "-":
        console.show("jobs.get", {"name": name, "path": file}, text="")
        console.say(f"wrote {file}")


@app.command()
def show(name: Name) -> None:
    """Describe notebook NAME."""
    console.show("jobs.show", connect.omega().jobs.metadata(name).to_dict())


@app.command()
def drop(
    name: Name,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="Not an error if it is absent.")] = False,
) -> None:
    """Drop notebook NAME; what its runs have left stays."""
    jobs = connect.omega().jobs
    if not missing_ok:
        jobs.metadata(name)
    if console.options.dry_run:
        console.plan("jobs.drop", f"drop {name}", name=name)
        return
    console.confirm(f"drop notebook {name}?", name)
    dropped = jobs.drop(name, missing_ok=missing_ok)
    console.show("jobs.drop", {"name": name, "dropped": dropped}, text="")
    console.say(f"dropped {name}" if dropped else f"there is no job {name}")


@app.command()
def run(
    name: Name,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="K=V", help="A value that the notebook is given.")
    ] = None,
    async_: Annotated[
        bool, typer.Option("--async", help="Leave it to a runner; print the run's id.")
    ] = False,
    require: Annotated[
        str | None, typer.Option("--require", metavar="LABEL", help="Only on a worker of this label.")
    ] = None,
) -> None:
    """Run notebook NAME, at most --timeout seconds; exits with 1 where a cell fails."""
    runtime = connect.omega().runtime
    if require:
        runtime = runtime.require(require)
    job = runtime.job(name, limit=console.options.timeout)
    parameters = literals.pairs(param, "--param")
    if console.options.dry_run:
        console.plan("jobs.run", f"run {job.name}", name=job.name, parameters=parameters)
        return
    done = job.run(async_=async_, **parameters)
    if async_:
        console.show("jobs.run", {"job": job.name, "run": done.id, "status": done.status}, text=done.id)
        console.say(f"hint: omegacli jobs status {name}")
        return
    console.show("jobs.run", done, text=done["results"])


@app.command()
def schedule(
    name: Annotated[str | None, typer.Argument(help="Name of the notebook; all that have one.")] = None,
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="SCHEDULE", help="As 'Fridays, at 06:00' or '0 6 * * 5'; shows it if left out."
        ),
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--zone", help="Whose clock is meant, as Europe/Berlin; this machine's.")
    ] = None,
    catch_up: Annotated[
        str | None,
        typer.Option(
            "--catch-up", metavar="once|skip", help="What to do about a time that was missed; once."
        ),
    ] = None,
    retries: Annotated[
        int | None, typer.Option("--retries", help="Repeat a failed run so often; 0 times.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="K=V", help="A value that each run is given.")
    ] = None,
    require: Annotated[
        str | None, typer.Option("--require", metavar="LABEL", help="Only on a worker of this label.")
    ] = None,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help="Is told of failures and recoveries.")
    ] = None,
    mail: Annotated[bool, typer.Option("--mail", help="Have your address told, too.")] = False,
    off: Annotated[bool, typer.Option("--off", help="Run it no more by itself.")] = False,
) -> None:
    """Have notebook NAME run by itself; echoes the next five runs."""
    given = {"--zone": zone, "--catch-up": catch_up, "--retries": retries, "--param": param}
    given |= {"--require": require, "--webhook": webhook, "--mail": mail or None}
    schedules.check_options([one for one, value in given.items() if value is not None], name, text, off)
    om = connect.omega()
    if name is None:
        rows = [schedules.shown(meta, plan) for meta, plan in om.jobs.scheduled()]
        console.show("jobs.schedules", rows, columns=schedules.COLUMNS)
        return
    runtime = om.runtime.require(require) if require else om.runtime
    job = runtime.job(name, limit=console.options.timeout)
    if text is None and not off:
        schedules.show(job)
        return
    if console.options.dry_run:
        meta = om.jobs.metadata(name)
        if text is not None:
            schedules.check(text, zone)
        what = f"run {meta.name} {text}" if text else f"run {meta.name} no more by itself"
        console.plan("jobs.schedule", what, name=meta.name, schedule=text)
        return
    if off:
        was = job.unschedule()
        console.show("jobs.schedule", {"name": job.name, "schedule": None, "was_scheduled": was}, text="")
        console.say(f"{job.name} runs no more by itself" if was else f"{job.name} had no schedule")
        return
    job.schedule(
        text,
        zone=zone,
        parameters=literals.pairs(param, "--param"),
        catch_up="once" if catch_up is None else catch_up,
        retries=retries or 0,
        webhook=webhook,
        mail=mail,
    )
    try:
        runtime.require_runner()
    except Unavailable as error:
        console.warn(f"it waits for somebody to run it: {error.message}")
    schedules.show(job)


@app.command()
def status(
    name: Name, limit: Annotated[int, typer.Option("--limit", help="So many runs at most.")] = 20
) -> None:
    """Show the runs of notebook NAME, the newest first."""
    om = connect.omega()
    om.jobs.metadata(name)
    rows = [run.to_dict() for run in om.runtime.job(name).runs(limit)]
    console.show(
        "jobs.status", rows, columns=["id", "status", "trigger", "scheduled", "started", "finished", "error"]
    )


@app.command()
def logs(
    name: Name,
    run: Annotated[str | None, typer.Argument(help="Id of the run; the newest.")] = None,
    follow: tasklogs.Follow = False,
    tail: tasklogs.Tail = None,
    since: tasklogs.Since = None,
    level: tasklogs.Level = None,
) -> None:
    """Show what a run of notebook NAME has printed and logged."""
    om = connect.omega()
    job = om.runtime.job(name)
    found = [job.run_of(run)] if run else job.runs(1)
    if not found:
        om.jobs.metadata(name)
        raise NotFound(f"job {name!r} has not run yet", hint=f"omegacli jobs run {name}")
    tasklogs.show("jobs.logs", om, found[0].id, follow, tail, since, level)


@app.command()
def results(
    name: Name,
    run: Annotated[str | None, typer.Argument(help="Id of the run; the newest one that left any.")] = None,
    file: Annotated[str, typer.Argument(metavar="PATH|-", help="File to write.")] = "-",
    format: Annotated[str, typer.Option("--format", help="ipynb, html or slides.")] = "ipynb",
) -> None:
    """Write what a run of notebook NAME has left, also one that failed."""
    om = connect.omega()
    job = om.runtime.job(name)
    runs: list[Any] = [job.run_of(run)] if run else job.runs()
    found = next((one for one in runs if one.results), None)
    if found is None:
        what = f"run {run!r} of job {name!r}" if run else f"job {name!r}"
        raise NotFound(f"{what} has left no results", hint=f"omegacli jobs status {name}")
    data = om.jobs.export(found.results, format=format)
    with transfer.target(file) as stream:
        stream.write(data)
    if file != "-":
        console.show("jobs.results", {"run": found.id, "path": file}, text="")
        console.say(f"wrote {file}")
