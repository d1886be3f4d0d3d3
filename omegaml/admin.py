"""Setting up a MongoDB server: its replica set, its root user, its accounts. Each may be repeated."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from pymongo import MongoClient, errors

from omegaml.config import mongo_database
from omegaml.errors import AuthFailed, TimedOut
from omegaml.mongo import translated

REPLICA_SET = "rs0"
ROOT_USER = "root"
_UNAUTHORIZED, _AUTH_FAILED, _ALREADY_INITIALIZED, _USER_EXISTS = 13, 18, 23, 51003


def account_url(port: int, userid: str, password: str, host: str = "127.0.0.1") -> str:
    """The URL by which an account reaches its own database."""
    database = mongo_database(userid)
    login = f"{userid}:{quote(password, safe='')}"
    return f"mongodb://{login}@{host}:{port}/{database}?directConnection=true&authSource={database}"


def ping(url: str, timeout: float = 3.0) -> str:
    """Return the server's version, if it answers, knows the user and takes writes.

    Raises: Unavailable, AuthFailed, TimedOut (it answers, but is not a primary yet).
    """
    with translated(url), _client(url, timeout) as client:
        if not client.admin.command("hello").get("isWritablePrimary"):
            raise TimedOut("MongoDB answers but takes no writes yet", hint="omegacli cluster wait")
        client.get_default_database("admin").command("connectionStatus")
        return str(client.server_info()["version"])


def answers(port: int, timeout: float = 1.0) -> bool:
    """Whether a MongoDB server answers on 127.0.0.1:`port`, secured or not."""
    try:
        with _client(_open_url(port), timeout) as client:
            client.admin.command("hello")
            return True
    except errors.PyMongoError:
        return False


def secure(port: int, root_password: str, accounts: dict[str, str], timeout: float = 30.0) -> bool:
    """Make a fresh server on this machine a one-member replica set with a root user and `accounts`.

    The first user is made through the localhost exception
    (mongodb.com/docs/manual/core/localhost-exception); a server that refuses it with "unauthorized" has been
    secured before. The member's address follows `port` if that has changed since.

    Args:
        accounts: userid -> password; each gets `readWrite` on its own database and nothing else.
    Returns: whether anything was changed.
    Raises: AuthFailed if the server was secured with another password; Unavailable; TimedOut.
    """
    url = _open_url(port)
    member = f"127.0.0.1:{port}"
    changed = False
    with translated(url), _client(url, timeout) as client:
        initial = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]}
        changed |= _once(client, _ALREADY_INITIALIZED, "replSetInitiate", initial)
        if changed:
            _wait_primary(client, timeout)
        if client.admin.command("hello").get("isWritablePrimary"):
            changed |= _once(client, _USER_EXISTS, "createUser", ROOT_USER, pwd=root_password, roles=["root"])
    with translated(url), _client(url, timeout, username=ROOT_USER, password=root_password) as client:
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except errors.OperationFailure as error:
            if error.code != _AUTH_FAILED:
                raise
            raise AuthFailed(
                f"MongoDB on port {port} does not take the root password of this cluster",
                hint="restore the secrets.yml that belongs to its data",
            ) from error
        if config["members"][0]["host"] != member:
            config["members"][0]["host"] = member
            config["version"] += 1
            # a member that no longer finds its own address among the set's is removed from it, so: by force
            client.admin.command("replSetReconfig", config, force=True)
            changed = True
        _wait_primary(client, timeout)
        for userid, password in accounts.items():
            changed |= _account(client, userid, password)
    return changed


def _account(client: MongoClient[dict[str, Any]], userid: str, password: str) -> bool:
    """Make the account, or give it this password and these roles again; True if it was new."""
    database = client[mongo_database(userid)]
    roles = [{"role": "readWrite", "db": database.name}]
    found = database.command("usersInfo", userid)["users"]
    if not found:
        database.command("createUser", userid, pwd=password, roles=roles)
        return True
    if found[0]["roles"] != roles or not _accepts(client, userid, password):
        database.command("updateUser", userid, pwd=password, roles=roles)
        return True
    return False


def _accepts(client: MongoClient[dict[str, Any]], userid: str, password: str) -> bool:
    host, port = client.address or ("127.0.0.1", 27017)
    try:
        with MongoClient[dict[str, Any]](account_url(int(port), userid, password, host)) as probe:
            probe[mongo_database(userid)].command("ping")
            return True
    except errors.OperationFailure:
        return False


def _once(client: MongoClient[dict[str, Any]], done: int, *command: Any, **options: Any) -> bool:
    """Run an admin command; False where the server says that it is done already, or secured."""
    try:
        client.admin.command(*command, **options)
    except errors.OperationFailure as error:
        if error.code in (done, _UNAUTHORIZED):
            return False
        raise
    return True


def _wait_primary(client: MongoClient[dict[str, Any]], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not client.admin.command("hello").get("isWritablePrimary"):
        if time.monotonic() > deadline:
            raise TimedOut(
                f"MongoDB took no writes within {timeout:g} s", hint="omegacli cluster logs mongodb"
            )
        time.sleep(0.1)


def _open_url(port: int) -> str:
    return f"mongodb://127.0.0.1:{port}/?directConnection=true"


def _client(url: str, timeout: float, **options: Any) -> MongoClient[dict[str, Any]]:
    return MongoClient(url, serverSelectionTimeoutMS=int(timeout * 1000), appname="omegaml", **options)
