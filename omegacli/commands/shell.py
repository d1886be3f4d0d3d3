"""`omegacli shell`: Python with `om` connected."""

from __future__ import annotations

from typing import Annotated

import typer

from omegacli import connect, console

app = typer.Typer()


@app.command("shell")
def shell(
    code: Annotated[
        str | None, typer.Option("--exec", "-x", metavar="CODE", help="Run this and leave.")
    ] = None,
) -> None:
    """Open Python with `om` connected to the platform in use."""
    om = connect.omega()
    names = {"om": om}
    if code is not None:
        exec(compile(code, "<--exec>", "exec"), names)
        return
    banner = f"om is connected to bucket {om.bucket}" + (
        f", context {om.config.context}" if om.config.context else ""
    )
    try:
        from IPython import start_ipython
    except ImportError:
        import code as python

        python.interact(banner=banner, local=names, exitmsg="")
        return
    console.say(banner)
    start_ipython(argv=["--no-banner"], user_ns=names)
