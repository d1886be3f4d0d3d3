"""`omegacli cluster`: the platform up, down, and how it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omegacli import console
from omegaml.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from omegacli.deploy.local import Local
    from omegacli.deploy.steps import Step

app = typer.Typer()

Target = Annotated[str | None, typer.Option(help="Where the platform runs: local.", metavar="TARGET")]
Name = Annotated[str | None, typer.Option(help="Name of the cluster and of its context.", metavar="NAME")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A value of omega.yml.", metavar="KEY=VALUE")]
From = Annotated[str | None, typer.Option("--from", help="Begin at this step.", metavar="STEP")]
Volumes = Annotated[bool, typer.Option("--volumes", help="Remove the data as well.")]
Service = Annotated[str | None, typer.Argument(help="supervisor, mongodb or runner; all if not given.")]
Lines = Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines of each.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines as they come.")]


@app.command()
def up(target: Target = None, name: Name = None, set: Set = None, from_: From = None) -> None:
    """Bring the platform up; again, to mend or change it."""
    with _cluster("up", target, name, set) as cluster:
        if not _do(cluster.up(), from_):
            return
        _report(cluster, "cluster.up")
        console.say(f"context {cluster.spec.name!r} in {cluster.config.path}; try `omegacli datasets list`")


@app.command()
def start(target: Target = None, name: Name = None, from_: From = None) -> None:
    """Start the services again after `stop` or `down`."""
    with _cluster("start", target, name) as cluster:
        if _do(cluster.start(), from_):
            _report(cluster, "cluster.start")


@app.command()
def stop(target: Target = None, name: Name = None) -> None:
    """Stop the services; everything stays."""
    with _cluster("stop", target, name) as cluster:
        if _do(cluster.stop()):
            _report(cluster, "cluster.stop", answer=False)


@app.command()
def down(target: Target = None, name: Name = None) -> None:
    """Stop the services and remove generated files; data and secrets stay."""
    with _cluster("down", target, name) as cluster:
        if _do(cluster.down()):
            _report(cluster, "cluster.down", answer=False)


@app.command()
def destroy(target: Target = None, name: Name = None, volumes: Volumes = False) -> None:
    """Remove the cluster; its data only with --volumes."""
    with _cluster("destroy", target, name) as cluster:
        steps = cluster.destroy(volumes)
        if not console.options.dry_run:
            what = "and ALL ITS DATA will be removed." if volumes else "will be removed; its data stays."
            console.confirm(
                f"Cluster {cluster.spec.name!r} in {cluster.layout.root} {what}", cluster.spec.name
            )
        if _do(steps):
            console.show(
                "cluster.destroy",
                {"name": cluster.spec.name, "root": str(cluster.layout.root), "data_removed": volumes},
            )


@app.command()
def status(target: Target = None, name: Name = None) -> None:
    """Show every service; exit code 0 only if all of them run."""
    with _cluster("status", target, name) as cluster:
        _report(cluster, "cluster.status")


@app.command()
def wait(target: Target = None, name: Name = None) -> None:
    """Wait until every service runs, at most --timeout seconds (60)."""
    with _cluster("wait", target, name) as cluster:
        cluster.wait()
        _report(cluster, "cluster.wait")


@app.command()
def logs(
    service: Service = None,
    target: Target = None,
    name: Name = None,
    lines: Lines = 100,
    follow: Follow = False,
) -> None:
    """Show what the services wrote."""
    with _cluster("logs", target, name) as cluster:
        shown = []
        for origin, line in cluster.logs(service, lines, follow):
            if follow:
                console.show(
                    "cluster.logs.line", {"service": origin, "line": line}, text=f"{origin} | {line}"
                )
                console.stdout()  # flushes: whoever follows wants the line now
            else:
                shown.append({"service": origin, "line": line})
        text = "\n".join(line["line"] if service else f"{line['service']} | {line['line']}" for line in shown)
        console.show("cluster.logs", shown, text=text)


def _cluster(command: str, target: str | None, name: str | None, values: list[str] | None = None) -> Local:
    """The cluster that the flags, the environment and the current context point at."""
    from omegacli.deploy import spec
    from omegacli.deploy.local import Local

    asked = [pair.partition("=") for pair in values or []]
    for key, equals, _ in asked:
        if not equals:
            raise InvalidInput(
                f"--set takes KEY=VALUE, not {key!r}", hint="for example --set ports.mongodb=27018"
            )
    changes: dict[str, Any] = {key: value for key, _, value in asked}
    if target:
        changes["target"] = target
    path = Path(console.options.config) if console.options.config else None
    root = spec.find_root(name, console.options.root, console.options.context, path)
    cluster = spec.with_values(spec.read(root, name), changes)
    if name and cluster.name != name:
        raise NotFound(f"the cluster in {cluster.root} is called {cluster.name!r}", hint="leave --name out")
    return Local(
        cluster,
        command=f"omegacli cluster {command}",
        config_file=path,
        timeout=console.options.timeout or 60.0,
        warn=console.warn,
    )


def _do(steps: list[Step], start: str | None = None) -> bool:
    """Do the steps, or tell them with --dry-run; False if nothing was meant to be done."""
    from omegacli.deploy.steps import execute

    dry = console.options.dry_run
    execute(steps, console.event, start=start, dry_run=dry)
    if dry:
        planned = [{"id": step.id, "title": step.title, "argv": list(step.argv)} for step in steps]
        console.show("cluster.steps", planned, columns=["id", "title"])
    return not dry


def _report(cluster: Local, schema: str, answer: bool = True) -> None:
    """Show the state; with `answer` the exit code says whether all is well."""
    from dataclasses import asdict

    found = cluster.status()
    services = [asdict(service) for service in found.services]
    data = {
        "name": cluster.spec.name,
        "target": cluster.spec.target,
        "root": str(cluster.layout.root),
        "state": found.state,
        "services": services,
    }
    lines = [f"{cluster.spec.name}\t{found.state}"]
    for service in found.services:
        details = [
            f"pid {service.pid}" if service.pid else "",
            f"port {service.port}" if service.port else "",
            f"restarts {service.restarts}" if service.restarts else "",
            service.message,
        ]
        lines.append(f"{service.name}\t{service.state}\t{', '.join(filter(None, details))}".rstrip())
    console.show(schema, data, text="\n".join(lines), exit_code=int(answer and found.state != "ok"))
