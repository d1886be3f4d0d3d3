"""Client of omegaweb's REST API, and of its config route, which hands an account its own URLs.

Contract: `GET <url>/api/v1/config/` with `Authorization: userid:apikey` answers
`{"meta": ..., "objects": [{"data": {"OMEGA_MONGO_URL": ..., "OMEGA_BROKER": ...}}]}`; an error
`{"error": {"code", "message", "hint", "request_id"}}`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from omegaml.config import FROM_PLATFORM, Config, Value, cache_path, check_url, setting, write_private
from omegaml.errors import (
    AuthFailed,
    Conflict,
    Corrupt,
    Forbidden,
    InvalidInput,
    Mismatch,
    NotFound,
    OmegaError,
    TimedOut,
    Unavailable,
)

TIMEOUT = 3.0
KEEP = 600.0  # seconds that a fetched answer is used
MAX_ANSWER = 1 << 20


def send(
    url: str,
    userid: str,
    apikey: str,
    method: str,
    route: str,
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = TIMEOUT,
    stream: bool = False,
) -> requests.Response:
    """Send one request with the account's key; return the answer, unless it is an error.

    Args:
        route: below `url`, as `/api/v1/user/?limit=5`.
        timeout: seconds to connect, and between two pieces of the answer.
        stream: leave the answer's body to be read by `pieces`.
    Raises: what the server says by its code and status; Unavailable (nothing answers), TimedOut,
        InvalidInput (no usable URL, or it points elsewhere).
    """
    url = check_url(url)
    sent = {"Accept": "application/json", **(headers or {}), "Authorization": f"{userid}:{apikey}"}
    try:
        # a redirect would carry the key to wherever it points
        answer = requests.request(
            method,
            url + route,
            data=body,
            headers=sent,
            timeout=timeout,
            allow_redirects=False,
            auth=_no_netrc,
            stream=stream,
        )
    except requests.exceptions.SSLError as e:
        raise Unavailable(f"{url} has no certificate that this machine trusts: {_reason(e)}") from None
    except requests.exceptions.ReadTimeout:
        raise TimedOut(f"{url} did not answer within {timeout:g} s", hint="omegacli doctor") from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError):
        raise InvalidInput(f"{url!r} is no URL of a server", hint="as in http://localhost:5000") from None
    except requests.exceptions.RequestException:
        raise Unavailable(
            f"nothing answers at {url}", hint="check the URL, or start the platform: omegacli cluster up"
        ) from None
    if answer.status_code >= 300:
        raise _error(answer, url, userid)
    return answer


def post(url: str, data: Any, timeout: float = 10.0) -> None:
    """Post JSON to somebody else's URL, with no credential; redirects are not followed.

    Raises: Unavailable (nothing answers, or status 429 or 5xx), TimedOut, InvalidInput (it is refused).
    Messages name the host only: the rest of such URLs is often a secret.
    """
    host = urlsplit(url).hostname
    try:
        answer = requests.post(
            url, json=data, timeout=timeout, allow_redirects=False, auth=_no_netrc, stream=True
        )
    except requests.exceptions.Timeout:
        raise TimedOut(f"{host} did not answer within {timeout:g} s") from None
    except requests.exceptions.RequestException:
        raise Unavailable(f"nothing takes messages at {host}") from None
    with answer:
        if answer.status_code == 429 or answer.status_code >= 500:
            raise Unavailable(f"{host} answered {answer.status_code}")
        if answer.status_code >= 300:
            raise InvalidInput(
                f"{host} refused the message: {answer.status_code}", hint="check the webhook's URL"
            )


def call(
    config: Config,
    method: str,
    route: str,
    data: Any = None,
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout: float | None = None,
    stream: bool = False,
) -> requests.Response:
    """Send a request as the account that `config` names.

    Args:
        route: below `/api/v1/`, as `user/ada/`.
        data: sent as JSON; or give `body` as it is to be sent.
        timeout: OMEGA_TIMEOUT where not given, and at least 30 s: servers work before they answer.
        stream: as of `send`.
    Raises: as `send`; Unavailable if `config` names no account.
    """
    url, userid, apikey = _account(config)
    if not (url and userid and apikey):
        raise Unavailable(
            "no account is configured: it takes OMEGA_RESTAPI_URL, OMEGA_USERID and OMEGA_APIKEY",
            hint="omegacli init, or omegacli cluster up",
        )
    given = {"Content-Type": "application/json", **(headers or {})}
    if data is not None:
        body = json.dumps(data).encode()
    seconds = timeout if timeout is not None else max(30.0, config.get("OMEGA_TIMEOUT"))
    route = f"/api/v1/{route}"
    return send(url, userid, apikey, method, route, body=body, headers=given, timeout=seconds, stream=stream)


def pieces(answer: requests.Response) -> Iterator[bytes]:
    """Yield the body of an answer as it comes. Raises Unavailable where it ends early."""
    with answer:
        try:
            yield from answer.iter_content(1 << 20)
        except requests.exceptions.RequestException:
            raise Unavailable("the answer ended early", hint="try again") from None


def fetch_config(url: str, userid: str, apikey: str, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Return the account's settings as the server at `url` tells them.

    Raises: as `send`; Corrupt (an answer that is not a config answer).
    """
    answer = send(url, userid, apikey, "GET", "/api/v1/config/", timeout=timeout)
    return _data(answer, f"{check_url(url)}/api/v1/config/")


def client_config(config: Config, *, refetch: bool = False) -> dict[str, Any]:
    """Return what the config route says for the account in `config`, from the cache while it is fresh.

    Args:
        refetch: ask the server even if the cache is fresh, as after a password was refused.
    Returns: {} if the configuration names no account.
    Raises: as `fetch_config`.
    """
    url, userid, apikey = _account(config)
    if not (url and userid and apikey):
        return {}
    path = cache_path(config.context)
    cached = None if refetch else _read(path, [url, userid])
    if cached is not None:
        return cached
    data = fetch_config(url, userid, apikey, config.get("OMEGA_TIMEOUT"))
    keep(config, data)
    return data


def keep(config: Config, data: dict[str, Any]) -> None:
    """Keep what the config route said just now for the account in `config`."""
    url, userid, _ = _account(config)
    kept = {"account": [url, userid], "fetched": time.time(), "data": data}
    # JSON is YAML, and is read without importing a parser for it
    write_private(cache_path(config.context), json.dumps(kept, indent=1) + "\n")


def completed(config: Config, *, refetch: bool = False) -> Config:
    """Return the settings with what the platform says of the account: its database, broker and runtime.

    What is set already stays; where the database is set, nobody is asked. Raises: as `client_config`, and
    Corrupt (a value that cannot be).
    """
    if not config.is_incomplete:
        return config
    data = client_config(config, refetch=refetch)
    origin = f"account {config.get('OMEGA_USERID')} at {config.get('OMEGA_RESTAPI_URL')}"
    values = dict(config.values)
    for name in FROM_PLATFORM:
        if data.get(name) and config.origin(name) == "default":
            try:
                values[name] = Value(setting(name).parse(data[name]), origin)
            except InvalidInput as error:
                raise Corrupt(f"{name} of {origin}: {error.message}") from None
    return replace(config, values=values)


def mongo_url(config: Config, *, refetch: bool = False) -> str:
    """Return the URL of the account's own database. Raises as `client_config`, and Corrupt without one."""
    data = client_config(config, refetch=refetch)
    if not data.get("OMEGA_MONGO_URL"):
        raise Corrupt(
            f"{config.get('OMEGA_RESTAPI_URL')} names no database for {config.get('OMEGA_USERID')!r}",
            hint="ask the server's administrator",
        )
    return str(data["OMEGA_MONGO_URL"])


def _read(path: Path, account: list[str]) -> dict[str, Any] | None:
    """What the cache holds for this account; None if it is older than KEEP, another's or unreadable."""
    try:
        cached = json.loads(path.read_text(encoding="utf-8"))
        fresh = 0 <= time.time() - cached["fetched"] < KEEP
        return dict(cached["data"]) if fresh and cached["account"] == account else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _account(config: Config) -> tuple[str | None, str | None, str | None]:
    url, userid, apikey = (config.get(f"OMEGA_{name}") for name in ("RESTAPI_URL", "USERID", "APIKEY"))
    return url, userid, apikey


_KINDS: dict[int, type[OmegaError]] = {
    **dict.fromkeys((400, 405, 406, 413, 415), InvalidInput),
    401: AuthFailed,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Mismatch,
    **dict.fromkeys((408, 504), TimedOut),
}


def _error(answer: requests.Response, url: str, userid: str) -> OmegaError:
    """Our error for an answer that is one: of the kind that the server names, else by its status."""
    status = answer.status_code
    if status < 400:
        where = answer.headers.get("Location", "?")
        return InvalidInput(f"{url} points elsewhere, to {where}", hint="use that URL")
    if status == 401:
        return AuthFailed(
            f"{url} does not accept the API key of {userid!r}",
            hint=f"make a key at {url}/account/ and give it to `omegacli init --force`",
        )
    said = _said(answer)
    if said is None:
        kind = _KINDS.get(status, Unavailable)
        hint = "is this the address of omegaweb?" if status == 404 else "try again, or see the server's log"
        return kind(f"{url} answered with status {status}", hint=hint)
    kind = _KINDS.get(status, OmegaError if status == 500 else Unavailable)
    # a name that goes with another status says what failed behind the server, not what the caller did
    kind = next(
        (k for k in _every(OmegaError) if k("").code == said.get("code") and k.http_status == status), kind
    )
    return kind(str(said["message"]), hint=said.get("hint") or None, request_id=said.get("request_id"))


def _said(answer: requests.Response) -> dict[str, Any] | None:
    try:
        said = answer.json()["error"]
        return said if isinstance(said, dict) and said.get("message") else None
    except (ValueError, KeyError, TypeError):
        return None


def _every(kind: type[OmegaError]) -> list[type[OmegaError]]:
    return [kind, *(k for below in kind.__subclasses__() for k in _every(below))]


def _data(answer: requests.Response, route: str) -> dict[str, Any]:
    try:
        if len(answer.content) > MAX_ANSWER:
            raise ValueError("too long")
        data = answer.json()["objects"][0]["data"]
        return {str(key): value for key, value in data.items()}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise Corrupt(
            f"{route} did not answer with settings", hint="is this the address of omegaweb?"
        ) from None


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from replacing our Authorization header by an entry of ~/.netrc."""
    return request


def _reason(exc: Exception) -> str:
    return str(getattr(exc.args[0], "reason", exc) if exc.args else exc)
