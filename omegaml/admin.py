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
PROVISIONER = "omega_provision"  # the user that makes accounts' users, and its role
_UNAUTHORIZED, _AUTH_FAILED, _ALREADY_INITIALIZED = 13, 18, 23


def account_url(server: str, userid: str, password: str) -> str:
    """The URL by which an account reaches its own database at `server`, which is `host` or `host:port`."""
    database = mongo_database(userid)
    login = f"{userid}:{quote(password, safe='')}"
    return f"mongodb://{login}@{server}/{database}?directConnection=true&authSource={database}"


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


def provision_url(server: str, password: str) -> str:
    """The URL by which omegaweb makes and removes users at `server`."""
    login = f"{PROVISIONER}:{quote(password, safe='')}"
    return f"mongodb://{login}@{server}/admin?directConnection=true&authSource=admin"


def secure(
    port: int,
    root_password: str,
    accounts: dict[str, str],
    timeout: float = 30.0,
    provision_password: str | None = None,
) -> bool:
    """Make a server on this machine a one-member replica set with a root user and `accounts`.

    The first user is made through the localhost exception
    (mongodb.com/docs/manual/core/localhost-exception), which closes with it. A set-up that was interrupted
    is finished. The member's address follows `port` if that has changed since.

    Args:
        accounts: userid -> password; each gets `readWrite` on its own database and nothing else.
        provision_password: also make the user PROVISIONER, which may make and remove users.
    Returns: whether anything was changed.
    Raises: AuthFailed if the server was secured with another password; Unavailable; TimedOut.
    """
    changed = False
    if not _knows(port, root_password, timeout):
        _make_root(port, root_password, timeout)
        changed = True
    member = f"127.0.0.1:{port}"
    url = _open_url(port)
    with translated(url), _client(url, timeout, username=ROOT_USER, password=root_password) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        if config["members"][0]["host"] != member:
            config["members"][0]["host"] = member
            config["version"] += 1
            # a member that no longer finds its own address among the set's is removed from it, so: by force
            client.admin.command("replSetReconfig", config, force=True)
            changed = True
        _wait_primary(client, timeout)
        for userid, password in accounts.items():
            changed |= _account(client, userid, password)
        if provision_password:
            changed |= _provisioner(client, provision_password)
    return changed


def ensure_account(url: str, userid: str, password: str, timeout: float = 3.0) -> bool:
    """Make the account's user, or give it this password and these roles again; True if anything changed.

    Args:
        url: the server, as a user that may make users.
    Raises: AuthFailed, Forbidden (that user), Unavailable, TimedOut.
    """
    with translated(url), _client(url, timeout) as client:
        return _account(client, userid, password)


def drop_account(url: str, userid: str, data: bool = False, timeout: float = 3.0) -> bool:
    """Remove the account's user, and with `data` its database; True if there was anything.

    Connections that are open with it are refused from then on, also when a user of this name is made again.

    Raises: as `ensure_account`.
    """
    with translated(url), _client(url, timeout) as client:
        database = client[mongo_database(userid)]
        found = bool(database.command("usersInfo", userid)["users"])
        if found:
            database.command("dropUser", userid)
        if data:
            client.drop_database(database)
        return found or data


def _knows(port: int, root_password: str, timeout: float) -> bool:
    """Whether the root user is there and has this password."""
    url = _open_url(port)
    with translated(url), _client(url, timeout, username=ROOT_USER, password=root_password) as client:
        try:
            client.admin.command("ping")
            return True
        except errors.OperationFailure as error:
            if error.code != _AUTH_FAILED:
                raise
            return False


def _make_root(port: int, password: str, timeout: float) -> None:
    url = _open_url(port)
    with translated(url), _client(url, timeout) as client:
        initial = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": f"127.0.0.1:{port}"}]}
        try:
            client.admin.command("replSetInitiate", initial)
        except errors.OperationFailure as error:
            if error.code == _UNAUTHORIZED:
                raise _another_password(port) from error
            if error.code != _ALREADY_INITIALIZED:
                raise
        # it takes no user before it is primary, not even after a restart
        _wait_primary(client, timeout)
        try:
            client.admin.command("createUser", ROOT_USER, pwd=password, roles=["root"])
        except errors.OperationFailure as error:
            if error.code == _UNAUTHORIZED:
                raise _another_password(port) from error
            raise


def _another_password(port: int) -> AuthFailed:
    return AuthFailed(
        f"MongoDB on port {port} does not take the root password of this cluster",
        hint="restore the secrets.yml that belongs to its data",
    )


# MongoDB knows no patterns of database names, and who may grant `readWrite` on a database may grant any role
# there. So this can be no narrower: users and their roles, dropping databases, and no data at all.
_PROVISIONING = {
    "resource": {"db": "", "collection": ""},
    "actions": sorted(
        ("createUser", "dropUser", "viewUser", "changePassword", "grantRole", "revokeRole", "dropDatabase")
    ),
}


def _provisioner(client: MongoClient[dict[str, Any]], password: str) -> bool:
    """Make the user that makes users, with a role of its own; True if anything changed."""
    admin = client.admin
    changed = False
    role = admin.command("rolesInfo", PROVISIONER, showPrivileges=True)["roles"]
    wanted: dict[str, Any] = {"privileges": [_PROVISIONING], "roles": []}
    if not role or [_sorted(p) for p in role[0]["privileges"]] != [_PROVISIONING] or role[0]["roles"]:
        admin.command("updateRole" if role else "createRole", PROVISIONER, **wanted)
        changed = True
    roles = [{"role": PROVISIONER, "db": "admin"}]
    user = admin.command("usersInfo", PROVISIONER)["users"]
    url = provision_url(_server(client), password)
    if not user or user[0]["roles"] != roles or not _opens(url):
        admin.command("updateUser" if user else "createUser", PROVISIONER, pwd=password, roles=roles)
        changed = True
    return changed


def _sorted(privilege: dict[str, Any]) -> dict[str, Any]:
    return {"resource": privilege["resource"], "actions": sorted(privilege["actions"])}


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
    return _opens(account_url(_server(client), userid, password))


def _opens(url: str) -> bool:
    """Whether the server takes the user and password of `url`."""
    try:
        with _client(url, 10.0) as probe:
            probe.get_default_database().command("ping")
            return True
    except errors.OperationFailure:
        return False


def _server(client: MongoClient[dict[str, Any]]) -> str:
    host, port = client.address or ("127.0.0.1", 27017)
    return f"{host}:{port}"


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
    """A client that gives up after `timeout` seconds, also on a server that is there and says nothing."""
    limit = int(timeout * 1000)
    return MongoClient(
        url,
        serverSelectionTimeoutMS=limit,
        connectTimeoutMS=limit,
        socketTimeoutMS=max(limit, 1000),
        appname="omegaml",
        **options,
    )
