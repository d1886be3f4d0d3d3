"""`omegacli version`: the versions of client, Python and server."""

from __future__ import annotations

import platform
from typing import Annotated, Any

import typer

from omegacli import connect, console

app = typer.Typer()


@app.command("version")
def version(
    server: Annotated[bool, typer.Option("--server", help="Ask the database for its version, too.")] = False,
) -> None:
    """Show the versions of client and server."""
    from omegaml import __version__

    data: dict[str, Any] = {"client": __version__, "python": platform.python_version(), "server": None}
    if server:
        from omegaml import mongo

        om = connect.omega()
        with mongo.translated(om.mongo_url):
            found = om.db.client.server_info()["version"]
        data["server"] = {"mongodb": found, "address": mongo.address(om.mongo_url)}
    console.show("version", data)
