"""Connections to MongoDB, and the one place where its driver's errors become ours."""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient, WriteConcern, errors
from pymongo.uri_parser import parse_uri

from omegaml.errors import (
    AuthFailed,
    Conflict,
    Forbidden,
    InvalidInput,
    OmegaError,
    StorageFull,
    TimedOut,
    Unavailable,
)

_NOT_AUTHORIZED, _AUTH_FAILED, _TIME_LIMIT, _OUT_OF_DISK = 13, 18, 50, 14031
_clients: dict[tuple[str, float], MongoClient[dict[str, Any]]] = {}
_users: Counter[tuple[str, float]] = Counter()
_lock = threading.Lock()


def connect(url: str, timeout: float = 3.0) -> MongoClient[dict[str, Any]]:
    """Return the process's client for `url`; makes no connection yet. `disconnect` gives it back.

    Args:
        timeout: seconds to look for the server before Unavailable is raised.
    """
    with _lock:
        if (url, timeout) not in _clients:
            with translated(url):
                _clients[url, timeout] = MongoClient(
                    url,
                    serverSelectionTimeoutMS=int(timeout * 1000),
                    connectTimeoutMS=int(timeout * 1000),
                    appname="omegaml",
                    w=1,
                )
        _users[url, timeout] += 1
        return _clients[url, timeout]


def disconnect(client: MongoClient[dict[str, Any]]) -> None:
    """Give a client back; the last of its users closes it."""
    with _lock:
        for key in [k for k, v in _clients.items() if v is client]:
            _users[key] -= 1
            if _users[key] <= 0:
                del _clients[key], _users[key]
                client.close()


def forget_clients() -> None:
    """Drop the clients of a parent process: a client must be made after the fork."""
    _clients.clear()
    _users.clear()


os.register_at_fork(after_in_child=forget_clients)


def address(url: str) -> str:
    """Return `host:port` of a URL, which is all of it that may be shown."""
    try:
        return ", ".join(f"{host}:{port}" for host, port in parse_uri(url, validate=False)["nodelist"])
    except (errors.PyMongoError, ValueError):
        return "the configured server"


def database_name(url: str) -> str:
    """Return the database that a URL names. Raises InvalidInput where it names none."""
    with translated(url):
        name = parse_uri(url, validate=False)["database"]
    if not name:
        raise InvalidInput(
            f"the URL of {address(url)} names no database",
            hint="OMEGA_MONGO_URL=mongodb://user:...@host:port/database",
        )
    return str(name)


JOURNALED = WriteConcern(w=1, j=True)
_indexed: dict[int, set[tuple[Any, ...]]] = {}


def ensure_index(collection: Any, keys: list[tuple[str, int]], unique: bool = False, **options: Any) -> None:
    """Create an index, with these of its options, where this process's client has not done so before."""
    client = collection.database.client
    if id(client) not in _indexed:  # by identity: clients of the same address are equal
        _indexed[id(client)] = set()
        weakref.finalize(client, _indexed.pop, id(client), None)
    name = (collection.full_name, *keys)
    if name not in _indexed[id(client)]:
        collection.create_index(keys, unique=unique, **options)
        _indexed[id(client)].add(name)


@contextmanager
def unbroken(db: Any, what: str) -> Iterator[None]:
    """Make sure that all that is written inside is there for good; the last write must be `JOURNALED`.

    A server that is killed and starts again has lost what was not journaled yet, and the driver goes on with
    the new one without a word. A journaled write vouches for all that went before, but to one process only.
    Raises: Unavailable where the server was another one in the end.
    """
    before = _server_process(db.client)
    if before is None:  # not connected yet
        db.client.admin.command("ping")
        before = _server_process(db.client)
    yield
    if _server_process(db.client) != before:
        raise Unavailable(
            f"MongoDB was restarted while {what} was written", hint="nothing was stored: try again"
        )


def _server_process(client: MongoClient[dict[str, Any]]) -> Any:
    """What tells one run of the server that takes writes from another one.

    Source: `topologyVersion` in the answer to `hello`
    (https://www.mongodb.com/docs/manual/reference/command/hello/).
    """
    servers = client.topology_description.server_descriptions().values()
    versions = [s.topology_version for s in servers if s.is_writable]
    return versions[0]["processId"] if versions and versions[0] else None


@contextmanager
def translated(url: str = "") -> Iterator[None]:
    """Turn the driver's errors into ours, each with the server's address and the next step."""
    try:
        yield
    except errors.PyMongoError as e:
        raise translate(e, url) from e


def translate(e: errors.PyMongoError, url: str = "") -> OmegaError:
    """Return our error for one of the driver's. Source: MongoDB's error codes."""
    if not url and len(_clients) == 1:
        url = next(iter(_clients))[0]
    found = re.match(r"[\w.\[\]:-]+:\d+(?=: )", str(e))
    where = address(url) if url else found[0] if found else "the database"
    code = getattr(e, "code", None)
    if code == _AUTH_FAILED:
        return AuthFailed(
            f"{where} does not accept this user and password", hint="omegacli config list --show-origin"
        )
    if code == _NOT_AUTHORIZED:
        return Forbidden(f"this user may not do that on {where}", hint="omegacli config list --show-origin")
    if code == _OUT_OF_DISK or "No space left" in str(e):
        return StorageFull(f"the disk of {where} is full", hint="free space, then try again")
    if code == _TIME_LIMIT or isinstance(e, errors.ExecutionTimeout | errors.NetworkTimeout):
        return TimedOut(f"{where} did not answer in time")
    if isinstance(e, errors.DuplicateKeyError):
        return Conflict("an object of that name was made meanwhile", hint="try again")
    if isinstance(e, errors.ConnectionFailure):
        from omegaml import diskfull  # reads the configuration, which only a failure is worth

        hint = "start one with `omegacli cluster up`"
        return diskfull.explained(Unavailable(f"no MongoDB server answers at {where}", hint=hint), url)
    if isinstance(e, errors.DocumentTooLarge):
        return InvalidInput("the object does not fit a MongoDB document of 16 MB")
    if isinstance(e, errors.InvalidURI | errors.ConfigurationError | errors.InvalidName):
        return InvalidInput(
            f"the MongoDB URL cannot be used: {e}", hint="mongodb://user:password@host:port/database"
        )
    reason = (getattr(e, "details", None) or {}).get("errmsg") or e
    return OmegaError(f"{where} refused: {reason}")
