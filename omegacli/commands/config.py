"""`omegacli config`: show and change settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from omegacli import connect, console
from omegaml import config as settings
from omegaml.errors import InvalidInput, NotFound

app = typer.Typer()

Cluster = Annotated[
    bool, typer.Option("--cluster", help="The cluster's omega.yml instead of the client's settings.")
]
Of = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="With --cluster: name of the cluster, else the context's."),
]
HIDDEN = "***"


@app.command("list")
def list_(
    show_origin: Annotated[
        bool, typer.Option("--show-origin", help="Say where each value comes from.")
    ] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show secrets.")] = False,
    cluster: Cluster = False,
    of: Of = None,
) -> None:
    """List all settings in force."""
    if _is_of_cluster(cluster, of):
        rows = [{"name": k, "value": v, "origin": o} for k, v, o in _cluster_settings(of)]
    else:
        rows = [
            {"name": s.name, "value": _masked(s, v.value, reveal), "origin": v.origin, "help": s.help}
            for s, v in connect.in_force().items()
        ]
    console.show("config.list", rows, columns=["name", "value", *(["origin"] if show_origin else [])])


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="K", help="Name of the setting.")],
    show_origin: Annotated[
        bool, typer.Option("--show-origin", help="Say where the value comes from.")
    ] = False,
    cluster: Cluster = False,
    of: Of = None,
) -> None:
    """Show the value of setting K, secrets included."""
    if _is_of_cluster(cluster, of):
        from omegacli.deploy import spec

        value, origin = spec.setting(name, _cluster_settings(of))
    else:
        config = connect.in_force() if name in settings.FROM_PLATFORM else connect.config()
        value, origin = config.get(name), config.origin(name)
    if value is None:
        raise NotFound(f"{name} is not set", hint=f"omegacli config set {name}=...")
    data = {"name": name, "value": value, "origin": origin}
    console.show("config.get", data, text=f"{value}\t{origin}" if show_origin else str(value))


@app.command("set")
def set_(
    pairs: Annotated[list[str], typer.Argument(metavar="K=V...", help="Settings and their values.")],
    cluster: Cluster = False,
    of: Of = None,
) -> None:
    """Set settings in the file, or in the context given with --context."""
    given: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(
                f"{name!r} has no value", hint="NAME=VALUE, as omegacli config set OMEGA_BUCKET=mine"
            )
        given[name] = value
    if _is_of_cluster(cluster, of):
        _change_cluster("config.set", "set", of, given)
        return
    values = {name: settings.setting(name).parse(value) for name, value in given.items()}
    file, context = connect.config_file(), console.options.context
    data = {"path": str(file.path), "context": context, "names": list(values)}
    if console.options.dry_run:
        console.plan("config.set", f"set {', '.join(values)} in {file.path}", **data)
        return
    file.set_values(values, context)
    in_force = connect.config()
    for name, value in values.items():
        if in_force.get(name) != value:
            console.warn(f"{name} is set, but the one of {in_force.origin(name)} comes first")
    console.show("config.set", data, text="")
    console.say(f"set {', '.join(values)} in {file.path}")


@app.command()
def unset(
    name: Annotated[str, typer.Argument(metavar="K", help="Name of the setting.")],
    cluster: Cluster = False,
    of: Of = None,
) -> None:
    """Remove setting K from the file, or from the context given with --context."""
    if _is_of_cluster(cluster, of):
        _change_cluster("config.unset", "removed", of, {name: None})
        return
    file, context = connect.config_file(), console.options.context
    data = {"path": str(file.path), "context": context, "name": settings.setting(name).name}
    content = file.context(context) if context else file.read()
    if name not in content:
        raise NotFound(f"{name} is not set in {file.path}", hint="see `omegacli config list --show-origin`")
    if console.options.dry_run:
        console.plan("config.unset", f"remove {name} from {file.path}", **data)
        return
    file.unset(name, context)
    console.show("config.unset", data, text="")
    console.say(f"removed {name} from {file.path}")


@app.command()
def path(cluster: Cluster = False, of: Of = None) -> None:
    """Show where the configuration file is."""
    file = _cluster_root(of) / "omega.yml" if _is_of_cluster(cluster, of) else connect.config_file().path
    console.show("config.path", {"path": str(file), "exists": file.exists()}, text=str(file))


@app.command()
def validate(cluster: Cluster = False, of: Of = None) -> None:
    """Check that the file can be read and every value is usable."""
    if _is_of_cluster(cluster, of):
        _cluster_settings(of)
        data = {"path": str(_cluster_root(of) / "omega.yml"), "valid": True}
        console.show("config.validate", data, text="valid")
        return
    file = connect.config_file()
    for name in file.read():
        if name not in (settings.CONTEXTS, settings.CURRENT):
            settings.setting(name)
    for context, values in file.contexts().items():
        for name in values:
            if name.startswith("OMEGA_"):
                settings.setting(name)
        settings.load(file.path, context)
    connect.config()
    console.show("config.validate", {"path": str(file.path), "valid": True}, text="valid")


def _masked(setting: settings.Setting, value: Any, reveal: bool) -> Any:
    return HIDDEN if setting.secret and value and not reveal else value


def _is_of_cluster(cluster: bool, of: str | None) -> bool:
    if of is not None and not cluster:
        raise InvalidInput("--name is the name of a cluster", hint="add --cluster, or mean --context")
    return cluster


def _cluster_root(of: str | None) -> Path:
    """The folder of the cluster that the flags, the environment and the current context point at."""
    from omegacli.deploy import spec

    options = console.options
    return spec.find_root(of, options.root, options.context, connect.config_file().path)


def _change_cluster(schema: str, done: str, of: str | None, values: Mapping[str, str | None]) -> None:
    """Set values in the cluster's omega.yml, those that are None to their default; `up` applies them."""
    from omegacli.deploy import base, spec

    found, root = _cluster_settings(of), _cluster_root(of)
    for key, value in values.items():
        _, origin = spec.setting(key, found)
        if value is None and origin == "default":
            raise NotFound(f"{key} is not set in {root / 'omega.yml'}", hint="omegacli config list --cluster")
    values = {key: spec.default(key) if value is None else value for key, value in values.items()}
    changed = spec.with_values(spec.read(root, of), values)
    names = ", ".join(values)
    data = {"path": str(changed.layout.spec), "cluster": changed.name, "names": list(values)}
    if console.options.dry_run:
        console.plan(schema, f"{done} {names} in {changed.layout.spec}", **data)
        return
    with base.locked(changed.layout, f"omegacli {schema.replace('.', ' ')}"):
        spec.write(spec.with_values(spec.read(root, of), values))
    console.show(schema, data, text="")
    console.say(f"{done} {names} in {changed.layout.spec}; `omegacli cluster up` puts it into force")


def _cluster_settings(of: str | None) -> list[tuple[str, Any, str]]:
    from omegacli.deploy import spec

    root = _cluster_root(of)
    if not (root / "omega.yml").exists():
        raise NotFound(f"there is no cluster in {root}", hint="omegacli cluster up")
    found = spec.listed(root, of)
    called, _ = spec.setting("name", found)
    if of and called != of:
        raise NotFound(f"the cluster in {root} is called {called!r}", hint="leave --name out")
    return found
