"""`omegacli help`: help for a command, or the whole tree as data."""

from __future__ import annotations

from typing import Annotated

import typer

from omegacli import console
from omegaml.errors import InvalidInput

app = typer.Typer()


@app.command("help")
def help_(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND...]", help="As in `help datasets put`.")
    ] = None,
) -> None:
    """Show help for a command, or the whole tree with --json."""
    from omegacli.main import GLOBAL_FLAGS, build, describe

    command = typer.main.get_command(build(everything=True))
    if console.options.json and not words:
        flags = [
            {"name": long, "short": short, "value": metavar, "help": text}
            for long, short, _, metavar, text in GLOBAL_FLAGS
        ]
        console.show("help", {"flags": flags, **describe(command, "omegacli")})
        return
    path = "omegacli"
    for word in words or []:
        commands = getattr(command, "commands", {})
        if word not in commands:
            raise InvalidInput(f"there is no command {path} {word}", hint=f"see `{path} --help`")
        command, path = commands[word], f"{path} {word}"
    with command.make_context(path, [], resilient_parsing=True) as context:
        console.show("help", describe(command, path), text=command.get_help(context))
