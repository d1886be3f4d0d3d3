"""Client of omegaweb's REST API: the config route, which hands an account its own URLs.

Contract: `GET <url>/api/v1/config/` with `Authorization: userid:apikey` answers
`{"meta": ..., "objects": [{"data": {"OMEGA_MONGO_URL": ..., "OMEGA_BROKER": ...}}]}`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import requests

from omegaml.config import Config, cache_path, check_url, write_private
from omegaml.errors import (
    AuthFailed,
    Corrupt,
    Forbidden,
    InvalidInput,
    NotFound,
    OmegaError,
    TimedOut,
    Unavailable,
)

TIMEOUT = 3.0
KEEP = 600.0  # seconds that a fetched answer is used
MAX_ANSWER = 1 << 20


def fetch_config(url: str, userid: str, apikey: str, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Return the account's settings as the server at `url` tells them.

    Args:
        timeout: seconds to connect, and between two pieces of the answer.
    Raises: AuthFailed, Forbidden, Unavailable (nothing answers), TimedOut, NotFound (no such route there),
        InvalidInput (no usable URL), Corrupt (an answer that is not a config answer).
    """
    url = check_url(url)
    route = f"{url}/api/v1/config/"
    headers = {"Authorization": f"{userid}:{apikey}", "Accept": "application/json"}
    try:
        # a redirect would carry the key to wherever it points
        answer = requests.get(route, headers=headers, timeout=timeout, allow_redirects=False, auth=_no_netrc)
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
    _check_status(answer, url, userid)
    return _data(answer, route)


def client_config(config: Config, *, refetch: bool = False) -> dict[str, Any]:
    """Return what the config route says for the account in `config`, from the cache while it is fresh.

    Args:
        refetch: ask the server even if the cache is fresh, as after a password was refused.
    Returns: {} if the configuration names no account.
    Raises: as `fetch_config`.
    """
    url, userid, apikey = (config.get(f"OMEGA_{name}") for name in ("RESTAPI_URL", "USERID", "APIKEY"))
    if not (url and userid and apikey):
        return {}
    path = cache_path(config.context)
    cached = None if refetch else _read(path, [url, userid])
    if cached is not None:
        return cached
    data = fetch_config(url, userid, apikey, config.get("OMEGA_TIMEOUT"))
    # JSON is YAML, and is read without importing a parser for it
    write_private(
        path, json.dumps({"account": [url, userid], "fetched": time.time(), "data": data}, indent=1) + "\n"
    )
    return data


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


def _check_status(answer: requests.Response, url: str, userid: str) -> None:
    status = answer.status_code
    if status == 200:
        return
    if status == 401:
        raise AuthFailed(f"{url} does not accept the API key of {userid!r}", hint="omegacli init --force")
    error: OmegaError
    if status == 403:
        error = Forbidden(
            f"{url} does not let {userid!r} read its settings", hint="ask the server's administrator"
        )
    elif status == 404:
        error = NotFound(f"{url} has no config route", hint="is this the address of omegaweb?")
    elif status in (408, 504):
        error = TimedOut(f"{url} did not answer in time (status {status})")
    elif 300 <= status < 400:
        error = InvalidInput(
            f"{url} points elsewhere, to {answer.headers.get('Location', '?')}", hint="use that URL"
        )
    else:
        error = Unavailable(f"{url} answered with status {status}", hint="try again, or see the server's log")
    raise error


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
