"""`omegacli users`: accounts of the platform, their keys and passwords."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import typer

from omegacli import connect, console
from omegaml.errors import InvalidInput

app = typer.Typer()

COLUMNS = ["userid", "role", "enabled", "email", "name", "last_login"]
KEY_COLUMNS = ["id", "name", "prefix", "created", "expires", "last_used"]
PAGE = 1000

Userid = Annotated[str, typer.Argument(help="The account's userid.")]
OwnOr = Annotated[str | None, typer.Argument(help="The account's userid; your own if left out.")]
Role = Annotated[str | None, typer.Option("--role", metavar="ROLE", help="viewer, editor or admin.")]
Stdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@app.command("list")
def list_() -> None:
    """List all accounts; for administrators."""
    rows: list[dict[str, Any]] = []
    while True:
        answer = _ask("GET", f"user/?limit={PAGE}&offset={len(rows)}")
        rows += answer["objects"]
        if not answer["objects"] or len(rows) >= answer["meta"]["total_count"]:
            break
    console.show("users.list", rows, columns=COLUMNS)


@app.command()
def add(
    userid: Userid,
    email: Annotated[str | None, typer.Option("--email", help="Where a lost password is sent to.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The person's name.")] = None,
    role: Role = None,
    password_stdin: Stdin = False,
) -> None:
    """Make an account; for administrators. Without a password nobody signs in until one is set."""
    given = {"userid": userid, "email": email, "name": name, "role": role}
    body = {key: value for key, value in given.items() if value is not None}
    if console.options.dry_run:
        console.plan("users.add", f"make the account {userid}", **body)
        return
    if password_stdin:
        (body["password"],) = _lines(1)
    elif console.can_ask():
        body["password"] = _twice(f"Password of {userid}")
    console.show("users.add", _ask("POST", "user/", body), text="")
    console.say(f"made the account {userid}; give it a key with `omegacli users apikey {userid}`")


@app.command()
def show(userid: OwnOr = None) -> None:
    """Show an account and its keys, of which only the beginning is known."""
    route = _route(userid)
    account = _ask("GET", route)
    account["keys"] = _ask("GET", f"{route}key/")["objects"]
    console.show("users.show", account)


@app.command()
def passwd(userid: OwnOr = None, password_stdin: Stdin = False) -> None:
    """Change a password for the pages; of your own the current one is asked for (or read as a first line)."""
    mine = connect.config().get("OMEGA_USERID")
    chosen = userid or mine
    if console.options.dry_run:
        console.plan("users.passwd", f"change the password of {chosen}", userid=chosen)
        return
    names = ["current", "password"] if chosen == mine else ["password"]
    if password_stdin:
        body = dict(zip(names, _lines(len(names)), strict=True))
    else:
        body = {"current": console.secret("Current password")} if chosen == mine else {}
        body["password"] = _twice("New password")
    _ask("PUT", f"{_route(chosen)}password/", body)
    console.show("users.passwd", {"userid": chosen}, text="")
    console.say(f"changed the password of {chosen}")


@app.command()
def apikey(
    userid: OwnOr = None,
    name: Annotated[str, typer.Option("--name", help="What the key is for.")] = "omegacli",
    days: Annotated[int | None, typer.Option("--days", min=1, max=36500, help="How long it is good.")] = None,
    revoke: Annotated[
        int | None, typer.Option("--revoke", metavar="ID", help="Revoke this key instead.")
    ] = None,
    list_keys: Annotated[bool, typer.Option("--list", help="List the keys instead.")] = False,
) -> None:
    """Make an API key and print it, this once; or list or revoke keys."""
    route = f"{_route(userid)}key/"
    if list_keys:
        console.show("users.apikey.list", _ask("GET", route)["objects"], columns=KEY_COLUMNS)
        return
    if console.options.dry_run:
        console.plan("users.apikey", f"revoke key {revoke}" if revoke else f"make a key {name!r}")
        return
    if revoke is not None:
        _ask("DELETE", f"{route}{revoke}/")
        console.show("users.apikey.revoke", {"id": revoke}, text="")
        console.say(f"revoked key {revoke}")
        return
    until = (datetime.now().astimezone() + timedelta(days=days)).isoformat() if days else None
    made = _ask("POST", route, {"name": name, "expires": until})
    console.show("users.apikey", made, text=made["key"])
    console.say("keep it: it is shown only now")


@app.command()
def disable(
    userid: Userid,
    enable: Annotated[bool, typer.Option("--enable", help="Open the account again instead.")] = False,
) -> None:
    """Close an account: no sign-in, no key, no connection; its data stays. For administrators."""
    done = "enable" if enable else "disable"
    if console.options.dry_run:
        console.plan("users.disable", f"{done} the account {userid}", userid=userid)
        return
    answer = _ask("PATCH", _route(userid), {"enabled": enable})
    console.show("users.disable", answer, text="")
    console.say(f"{done}d the account {userid}")


@app.command()
def remove(
    userid: Userid,
    data: Annotated[bool, typer.Option("--data", help="Remove its database as well.")] = False,
) -> None:
    """Remove an account for ever: its userid is not given again. For administrators."""
    kept = "ALL ITS DATA" if data else "not its data"
    if console.options.dry_run:
        console.plan("users.remove", f"remove the account {userid} and {kept}", userid=userid, data=data)
        return
    console.confirm(f"Remove the account {userid!r} and {kept}?", userid)
    _ask("DELETE", f"{_route(userid)}{'?data=1' if data else ''}")
    console.show("users.remove", {"userid": userid, "data_removed": data}, text="")
    console.say(f"removed the account {userid}")


def _route(userid: str | None) -> str:
    chosen = userid or connect.config().get("OMEGA_USERID")
    if not chosen:
        raise InvalidInput("no userid is given, and none is configured", hint="omegacli init")
    return f"user/{quote(chosen, safe='')}/"


def _ask(method: str, route: str, data: Any = None) -> Any:
    """What the REST API answers; None where it has nothing to say."""
    from omegaml import rest

    answer = rest.call(connect.config(), method, route, data, timeout=console.options.timeout)
    return answer.json() if answer.content else None


def _lines(count: int) -> list[str]:
    """That many lines of standard input, each a password."""
    stream = console.stdin()
    found = [stream.readline().decode("utf-8", "replace").rstrip("\r\n") for _ in range(count)]
    if not all(found):
        raise InvalidInput(f"standard input holds no {count} lines of passwords", hint="one line each")
    return found


def _twice(prompt: str) -> str:
    password = console.secret(prompt)
    if console.secret("Once more") != password:
        raise InvalidInput("the two are not the same", hint="nothing was changed: try again")
    return password
