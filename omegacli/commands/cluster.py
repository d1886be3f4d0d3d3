"""`omegacli cluster`: the platform up, down, and how it is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omegacli import console
from omegaml.errors import InvalidInput, NotFound, OmegaError

if TYPE_CHECKING:
    from omegacli.deploy.compose import Compose
    from omegacli.deploy.images import Image
    from omegacli.deploy.local import Local
    from omegacli.deploy.spec import ClusterSpec
    from omegacli.deploy.steps import Step

app = typer.Typer()
image = typer.Typer(help="The images of a cluster in containers.", no_args_is_help=True)
app.add_typer(image, name="image")

Target = Annotated[
    str | None, typer.Option(help="Where the platform runs: local or compose.", metavar="TARGET")
]
Name = Annotated[str | None, typer.Option(help="Name of the cluster and of its context.", metavar="NAME")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A value of omega.yml.", metavar="KEY=VALUE")]
From = Annotated[str | None, typer.Option("--from", help="Begin at this step.", metavar="STEP")]
Volumes = Annotated[bool, typer.Option("--volumes", help="Remove the data as well.")]
NoBackup = Annotated[bool, typer.Option("--no-backup", help="With --volumes: keep no copy.")]
Service = Annotated[str | None, typer.Argument(help="supervisor, mongodb, web or runner; all if not given.")]
Lines = Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines of each.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Build every layer anew, on the newest base.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines as they come.")]


@app.command()
def up(target: Target = None, name: Name = None, set: Set = None, from_: From = None) -> None:
    """Bring the platform up; again, to mend or change it."""
    with _cluster("up", target, name, set, choose=True) as cluster:
        if not _do(cluster.up(), from_):
            return
        _report(cluster, "cluster.up")
        console.say(f"context {cluster.spec.name!r} in {cluster.config.path}; try `omegacli datasets list`")
        if cluster.has_web:
            console.say(_how_to_sign_in(cluster))


def _how_to_sign_in(cluster: Local | Compose) -> str:
    """Where the pages are; once, on the terminal of whoever made the account, also its password."""
    if not cluster.is_first:
        return f"pages: {cluster.web_url}"
    place = f"web_admin_password in {cluster.layout.secrets}"
    on_terminal = sys.stderr.isatty()
    password = f"{cluster.web_password} (said only now; it is {place})" if on_terminal else place
    return f"pages: {cluster.web_url}, sign in as admin; password: {password}"


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
def destroy(
    target: Target = None, name: Name = None, volumes: Volumes = False, no_backup: NoBackup = False
) -> None:
    """Remove the cluster; its data only with --volumes, after a backup of it."""
    with _cluster("destroy", target, name) as cluster:
        steps = cluster.destroy(volumes, keep=not no_backup)
        if not console.options.dry_run:
            console.confirm(_question(cluster, volumes, no_backup), cluster.spec.name)
        if _do(steps):
            if cluster.backup:
                console.say(f"a copy is in {cluster.backup}; unpack it into an empty root to have it again")
            data = {
                "name": cluster.spec.name,
                "root": str(cluster.layout.root),
                "data_removed": volumes,
                "backup": str(cluster.backup) if cluster.backup else None,
            }
            console.show("cluster.destroy", data)


def _question(cluster: Local | Compose, volumes: bool, no_backup: bool) -> str:
    what = f"Remove cluster {cluster.spec.name!r} in {cluster.layout.root}"
    if not volumes:
        return f"{what}, but not its data?"
    if cluster.spec.target == "compose":
        return f"{what} and ALL ITS DATA, without a backup?"
    from omegacli.deploy import backup

    size = console.human_bytes(backup.size(cluster.layout))
    kept = "without a backup" if no_backup else f"after a backup to {cluster.backups}"
    return f"{what} and ALL ITS DATA ({size}), {kept}?"


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
            text = line if service else f"{origin} | {line}"
            if not follow:
                shown.append({"service": origin, "line": line})
            elif console.options.json:
                console.event("cluster.logs", "line", service=origin, line=line)
            else:
                console.show("cluster.logs", [], text=text)
                console.stdout()  # flushes: whoever follows wants the line now
        text = "\n".join(line["line"] if service else f"{line['service']} | {line['line']}" for line in shown)
        console.show("cluster.logs", shown, text=text)


@image.command("build")
def build_image(name: Name = None, set: Set = None, no_cache: NoCache = False) -> None:
    """Build the platform's own image by the Docker engine."""
    from omegacli.deploy import images

    cluster, _ = _spec(None, name, set)
    target = images.names(cluster)["omegaml"]
    if console.options.dry_run:
        console.plan("cluster.image.build", f"build {target} on {cluster.build.base}", image=target)
        return
    with console.progress(f"building {target}", unit="lines") as bar:

        def tell(line: str) -> None:
            bar.advance(1)
            _tell(line)

        try:
            made = images.build(cluster, tell, no_cache)
        except OmegaError as error:
            for line in error.details.get("logs", {}).get("build", []):
                console.say(f"  {line}")
            raise
    console.show("cluster.image.build", _of_image(made), text=f"{made.name} {console.human_bytes(made.size)}")


@image.command("list")
def list_images(name: Name = None, set: Set = None) -> None:
    """Show the images that the cluster is made of, and which of them are there."""
    from omegacli.deploy import images

    cluster, _ = _spec(None, name, set)
    found = [_of_image(one) for one in images.listed(cluster)]
    console.show("cluster.image.list", found, columns=["service", "image", "id", "size"])


def _tell(line: str) -> None:
    """Show what a build or a pull says: all of it as data and with -v, else where it has got to."""
    if console.options.json:
        console.event("images", "line", line=line)
    elif console.options.verbose or line.startswith(("Step ", "pulling ")):
        console.say(f"  {line}")


def _of_image(one: Image) -> dict[str, Any]:
    return {"service": one.service, "image": one.name, "id": one.id or None, "size": one.size or None}


def _cluster(
    command: str,
    target: str | None,
    name: str | None,
    values: list[str] | None = None,
    choose: bool = False,
) -> Local | Compose:
    """The cluster that the flags, the environment and the current context point at."""
    from omegacli.deploy.compose import Compose
    from omegacli.deploy.local import Local

    cluster, path = _spec(target, name, values, choose)
    kind: type[Local | Compose] = Compose if cluster.target == "compose" else Local
    return kind(
        cluster,
        command=f"omegacli cluster {command}",
        config_file=path,
        timeout=60.0 if console.options.timeout is None else console.options.timeout,
        warn=console.warn,
        tell=_tell,
    )


def _spec(
    target: str | None, name: str | None, values: list[str] | None, choose: bool = False
) -> tuple[ClusterSpec, Path | None]:
    """What that cluster shall be, and the configuration file in which its context stands, if named."""
    from omegacli.deploy import spec

    asked = [pair.partition("=") for pair in values or []]
    for key, equals, _ in asked:
        if not equals:
            raise InvalidInput(
                f"--set takes KEY=VALUE, not {key!r}", hint="for example --set ports.mongodb=27018"
            )
    changes: dict[str, Any] = {key: value for key, _, value in asked}
    if target:
        changes["target"] = target
    options = console.options
    path = Path(options.config).expanduser() if options.config else None
    root = spec.find_root(name, options.root, options.context, path)
    cluster = spec.with_values(spec.read(root, name), changes)
    if name and cluster.name != name:
        raise NotFound(f"the cluster in {cluster.root} is called {cluster.name!r}", hint="leave --name out")
    if choose and "target" not in changes and not spec.says_target(root):
        chosen, why = spec.choose_target()
        cluster = spec.with_values(cluster, {"target": chosen})
        _event("target", "chosen", title=f"{chosen}: {why}")
    return cluster, path


def _do(steps: list[Step], start: str | None = None) -> bool:
    """Do the steps, or tell them with --dry-run; False if nothing was meant to be done."""
    from omegacli.deploy.steps import execute

    dry = console.options.dry_run
    # in a dry run without --json the list of the steps is the result, so they are not told twice
    quiet = dry and not console.options.json
    execute(steps, (lambda *words, **fields: None) if quiet else _event, start=start, dry_run=dry)
    if dry:
        planned = [{"id": step.id, "title": step.title, "argv": list(step.argv)} for step in steps]
        console.show("cluster.steps", planned, columns=["id", "title"])
    return not dry


def _event(step: str, status: str, **fields: Any) -> None:
    """Tell of one step: data with --json, else one line for people."""
    if console.options.json:
        console.event(step, status, **fields)
        return
    seconds = fields.get("seconds")
    took = f" ({seconds:.1f} s)" if seconds and seconds >= 0.1 else ""
    word = "ok" if status == "unchanged" else status
    console.say(f"{step:<10}  {word:<7}  {fields.get('title', '')}{took}".rstrip())


def _report(cluster: Local | Compose, schema: str, answer: bool = True) -> None:
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
    lines = [(cluster.spec.name, found.state, "")]
    for service in found.services:
        details = [
            f"pid {service.pid}" if service.pid else "",
            f"port {service.port}" if service.port else "",
            f"restarts {service.restarts}" if service.restarts else "",
            service.message,
        ]
        lines.append((service.name, service.state, ", ".join(filter(None, details))))
    form = "{:<12}{:<10}{}" if console.is_terminal(sys.stdout) else "{}\t{}\t{}"
    text = "\n".join(form.format(*line).rstrip() for line in lines)
    console.show(schema, data, text=text, exit_code=int(answer and found.state != "ok"))
