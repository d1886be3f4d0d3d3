"""`omegacli init`: write the client's configuration from an account."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from omegacli import connect, console
from omegaml import config as settings
from omegaml.errors import Conflict, InvalidInput

app = typer.Typer()


@app.command("init")
def init(
    userid: Annotated[str, typer.Option("--userid", help="The account's userid.")],
    url: Annotated[str, typer.Option("--url", help="Where omegaweb answers, as http://host:port.")],
    apikey: Annotated[
        str | None, typer.Option("--apikey", help="An API key of the account; asked for if left out.")
    ] = None,
    apikey_stdin: Annotated[
        bool, typer.Option("--apikey-stdin", help="Read the API key from standard input.")
    ] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not ask the server whether the key is good.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace another account's settings.")] = False,
) -> None:
    """Write the client's configuration from an account, after the server has accepted it.

    With --context NAME the settings go into a context of that name.
    """
    settings.check_userid(userid)
    key = _key(apikey, apikey_stdin)
    url = settings.check_url(url)
    values = {"OMEGA_USERID": userid, "OMEGA_APIKEY": key, "OMEGA_RESTAPI_URL": url}
    context = console.options.context
    file = connect.config_file()
    content = file.read()
    before = file.contexts().get(context, {}) if context else content
    owner = before.get("OMEGA_USERID")
    if not force and owner and (owner, before.get("OMEGA_RESTAPI_URL")) != (userid, url):
        raise Conflict(
            f"{file.path} holds the account {owner!r} already", hint="add --force, or --context NAME"
        )
    found: dict[str, Any] = {}
    if not no_verify:
        from omegaml import rest

        found = rest.fetch_config(url, userid, key, timeout=console.options.timeout or rest.TIMEOUT)
    data = {
        "path": str(file.path),
        "context": context,
        "userid": userid,
        "url": url,
        "verified": not no_verify,
    }
    if console.options.dry_run:
        console.plan("init", f"write the account {userid} to {file.path}", **data)
        return
    if context:
        file.set_context(context, {**before, **values}, select=True)
    else:
        file.set_values(values)
        _step_back(file, content.get(settings.CURRENT))
    config = connect.config()
    if found:
        rest.keep(config, found)
    else:
        settings.cache_path(context).unlink(missing_ok=True)
    database = config.values["OMEGA_MONGO_URL"]
    if database.value:
        console.warn(
            f"OMEGA_MONGO_URL of {database.origin} comes before the account's own database, and its runtime"
        )
    console.show("init", data, text="")
    console.say(f"wrote the account {userid} to {file.path}")


def _step_back(file: settings.ConfigFile, current: str | None) -> None:
    """Take the current context out of use: its settings would come before the account's."""
    if current is not None:
        file.use_context(None)
        console.say(f"context {current} is no longer in use: omegacli context use {current}")


def _key(apikey: str | None, from_stdin: bool) -> str:
    if apikey and from_stdin:
        raise InvalidInput("--apikey and --apikey-stdin exclude each other", hint="leave one out")
    if from_stdin:
        apikey = console.stdin().readline().decode("utf-8", "replace").strip()
    elif apikey is None:
        apikey = console.secret("API key").strip()
    if not apikey or ":" in apikey or not apikey.isprintable():
        raise InvalidInput(
            "the API key is empty or holds a character that no key has", hint="copy it from your account page"
        )
    return apikey
