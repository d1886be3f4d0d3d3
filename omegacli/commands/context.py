"""`omegacli context`: several accounts or clusters in one configuration file."""

from __future__ import annotations

from typing import Annotated

import typer

from omegacli import connect, console
from omegaml import config as settings
from omegaml.errors import NotFound

app = typer.Typer()

Name = Annotated[str, typer.Argument(help="Name of the context.")]


@app.command("list")
def list_() -> None:
    """List the contexts; the one in use is marked."""
    file = connect.config_file()
    current = console.options.context or file.read().get(settings.CURRENT)
    rows = [
        {
            "name": name,
            "current": name == current,
            "userid": values.get("OMEGA_USERID"),
            "url": values.get("OMEGA_RESTAPI_URL"),
        }
        for name, values in file.contexts().items()
    ]
    console.show("context.list", rows, columns=["name", "current", "userid", "url"])


@app.command()
def use(name: Name) -> None:
    """Make NAME the context of every command that names none."""
    file = connect.config_file()
    file.context(name)
    if console.options.dry_run:
        console.plan("context.use", f"use context {name}", name=name)
        return
    file.use_context(name)
    console.show("context.use", {"name": name}, text="")
    console.say(f"context {name} is in use")


@app.command()
def show(
    name: Annotated[
        str | None, typer.Argument(help="Name of the context; the one in use if left out.")
    ] = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show secrets.")] = False,
) -> None:
    """Show the settings of a context."""
    file = connect.config_file()
    chosen = name or console.options.context or file.read().get(settings.CURRENT)
    if chosen is None:
        raise NotFound("no context is in use", hint="omegacli context use NAME, or omegacli init")
    known = {s.name: s for s in settings.SETTINGS}
    values = {
        key: "***"
        if not reveal and (key not in known or known[key].secret) and key.startswith("OMEGA_")
        else value
        for key, value in file.context(chosen).items()
    }
    console.show("context.show", {"name": chosen, **values})


@app.command()
def remove(name: Name) -> None:
    """Remove context NAME from the file; nothing on a server changes."""
    file = connect.config_file()
    file.context(name)
    if console.options.dry_run:
        console.plan("context.remove", f"remove context {name} from {file.path}", name=name)
        return
    console.confirm(f"Remove context {name!r} and its keys from {file.path}?", name)
    file.remove_context(name)
    settings.cache_path(name).unlink(missing_ok=True)
    console.show("context.remove", {"name": name}, text="")
    console.say(f"removed context {name}")
