"""`omegacli api`: call a route of the REST API with the account's key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from omegacli import connect, console
from omegaml.errors import InvalidInput

app = typer.Typer()

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
BASE = "/api/v1/"
TYPES = {
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.stream",
}


@app.command("api")
def api(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, PUT, PATCH or DELETE.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Below /api/v1/, as in 'dataset/?limit=5'.")],
    data: Annotated[
        str | None, typer.Option("--data", metavar="JSON|@FILE|-", help="What to send; - is standard input.")
    ] = None,
    accept: Annotated[
        str, typer.Option("--accept", metavar="TYPE", help="What to ask for, as in text/csv.")
    ] = "application/json",
) -> None:
    """Call METHOD on PATH and print the answer as it comes; an error ends with its exit code."""
    verb = method.upper()
    if verb not in METHODS:
        raise InvalidInput(f"{method!r} is no method", hint=f"one of {', '.join(METHODS)}")
    route = _route(path)
    body, kind = _body(data)
    if console.options.dry_run and verb != "GET":
        console.plan("api", f"call {verb} {BASE}{route}", method=verb, path=f"{BASE}{route}")
        return
    from omegaml import rest

    headers = {"Accept": accept, "Content-Type": kind}
    answer = rest.call(
        connect.config(), verb, route, body=body, headers=headers, timeout=console.options.timeout
    )
    is_json = answer.headers.get("Content-Type", "").startswith("application/json")
    if is_json or not answer.content:
        found: Any = answer.json() if answer.content else None
        console.show("api", found, text=answer.text.rstrip("\n"))
        return
    if console.options.json:
        raise InvalidInput("the answer is no JSON, so that --json cannot show it", hint="leave --json out")
    if not answer.headers["Content-Type"].startswith("text/"):
        console.check_bytes("the answer")
    console.stdout().write(answer.content)


def _route(path: str) -> str:
    """`path` below /api/v1/, where it may begin. Raises InvalidInput for another server or folder."""
    route = path.removeprefix(BASE)
    if "//" in route.partition("?")[0] or route.startswith("/") or ".." in route.partition("?")[0].split("/"):
        raise InvalidInput(f"{path!r} is no path below {BASE}", hint="as in dataset/ or user/ada/")
    return route


def _body(data: str | None) -> tuple[bytes | None, str]:
    """What is to be sent, and of which type it is."""
    if data is None:
        return None, "application/json"
    if data == "-":
        return console.stdin().read(), "application/json"
    if not data.startswith("@"):
        return data.encode(), "application/json"
    file = Path(data[1:]).expanduser()
    try:
        return file.read_bytes(), TYPES.get(file.suffix.lower(), "application/json")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from None
