"""Users of RabbitMQ, made and removed through its management API (rabbitmq.com/docs/http-api-reference).

A user publishes to the exchange of tasks and owns the queues of its own replies, and nothing else: neither
the queues of tasks nor the default, event and pidbox exchanges, by which workers could be shut down. Only
workers write replies; only the services that speak for accounts may name somebody else in a message.
"""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from omegaml.config import check_broker, check_userid
from omegaml.errors import AuthFailed, ConfigInvalid, Conflict, Forbidden, TimedOut, Unavailable
from omegaml.runtime.messages import IMPERSONATORS, REPLIES, TASKS, WORKER

TIMEOUT = 5.0
SERVICES = (*IMPERSONATORS, WORKER)
"""Service users. No account can have one's name: userids know no hyphen."""


def permissions(name: str) -> dict[str, str]:
    """What an account or service may configure, write and read, as regular expressions on names.

    Source: https://www.rabbitmq.com/docs/access-control (what each operation asks for)
    """
    if name == WORKER:
        # it makes the queues of its labels, takes tasks from them, and binds queues of replies to REPLIES
        return {
            "configure": r"^omega\.q\..*$",
            "write": r"^(omega\.q\..*|omega\.replies|omega\.reply\..*)$",
            "read": r"^(omega\.q\..*|omega\.tasks|omega\.replies)$",
        }
    replies = rf"omega\.reply\.{name if name in SERVICES else check_userid(name)}\..*"
    return {"configure": f"^{replies}$", "write": rf"^(omega\.tasks|{replies})$", "read": f"^{replies}$"}


def ensure_user(url: str, userid: str, password: str) -> None:
    """Make the account's user, or give it this password and these permissions again; connections stay open.

    Args:
        url: `http://user:password@host:15672/vhost` of a user that may make users; no vhost means `/`.
    Raises: AuthFailed, Forbidden (that user), Unavailable, TimedOut, Conflict (it is that user itself),
        ConfigInvalid (there is no such vhost).
    """
    _ensure(url, check_userid(userid), password, "")


def ensure_service(url: str, name: str, password: str) -> None:
    """Make one of SERVICES, or give it this password, its tag and permissions again.

    Raises: as `ensure_user`.
    """
    _ensure(url, name, password, "impersonator" if name in IMPERSONATORS else "")


def _ensure(url: str, name: str, password: str, tags: str) -> None:
    _not_oneself(url, name)
    _call(url, "PUT", f"/users/{name}", {"password": password, "tags": tags})
    _call(url, "PUT", f"/permissions/{quote(vhost(url), safe='')}/{name}", permissions(name))


def drop_user(url: str, name: str) -> None:
    """Remove an account's or service's user, if it is there, and close its connections.

    Raises: as `ensure_user`.
    """
    _not_oneself(url, name if name in SERVICES else check_userid(name))
    _call(url, "DELETE", f"/users/{name}")
    for connection in _call(url, "GET", "/connections?columns=name,user") or []:
        if connection.get("user") == name:
            _call(url, "DELETE", f"/connections/{quote(connection['name'], safe='')}")


def ensure_topology(url: str) -> None:
    """Make the exchanges of tasks and replies where they are missing, and remove the user `guest`.

    Its password is known to everybody, and behind a proxy on the broker's own machine the broker takes all
    who come for local. Raises: as `ensure_user`; ConfigInvalid where an exchange is of another kind.
    """
    durable = {"type": "direct", "durable": True, "auto_delete": False, "internal": False, "arguments": {}}
    for name in (TASKS, REPLIES):
        _call(url, "PUT", f"/exchanges/{quote(vhost(url), safe='')}/{name}", durable)
    drop_user(url, "guest")


def administrator(url: str) -> str:
    """The name of the user by which users are made; "" without a broker."""
    return unquote(urlsplit(url).username or "")


def _not_oneself(url: str, name: str) -> None:
    if name == administrator(url):
        raise Conflict(
            f"the user {name!r} of the broker is that of broker_admin_url",
            hint="make another administrator: rabbitmqctl add_user, rabbitmqctl set_user_tags",
        )


def vhost(url: str) -> str:
    return unquote(urlsplit(url).path.strip("/")) or "/"


def login_url(broker: str, name: str, password: str) -> str:
    """The URL by which the user reaches the broker that `broker` names without a user.

    Raises: InvalidInput if `broker` is no URL of one.
    """
    parts = urlsplit(check_broker(broker))
    login = f"{name}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{login}@{parts.netloc}").geturl()


def _call(url: str, method: str, route: str, body: Any = None) -> Any:
    """Send one request; return the answer's JSON; None without one, or where what is to be read or removed is
    not there.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    opened = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    headers = {
        "Authorization": f"Basic {b64encode(login.encode()).decode()}",
        "Content-Type": "application/json",
    }
    where = f"RabbitMQ's management at {parts.hostname}:{parts.port or (443 if secure else 15672)}"
    connection = opened(parts.hostname or "", parts.port or (None if secure else 15672), timeout=TIMEOUT)
    try:
        connection.request(method, f"/api{route}", json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        content = answer.read()
    except TimeoutError:
        raise TimedOut(f"{where} did not answer within {TIMEOUT:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{where} does not answer: {error}", hint="omegacli cluster status") from None
    finally:
        connection.close()
    if answer.status == 404 and method != "PUT":
        return None
    if answer.status == 401:
        raise AuthFailed(f"{where} does not accept the login of broker_admin_url")
    if answer.status == 403:
        raise Forbidden(f"{where}: the user of broker_admin_url may not administer users")
    if answer.status in (400, 404):
        raise ConfigInvalid(f"{where} refuses {route}: {_reason(content)}")
    if answer.status >= 300:
        raise Unavailable(f"{where} answered {method} {route} with status {answer.status}")
    return json.loads(content) if content else None


def _reason(content: bytes) -> str:
    try:
        said = json.loads(content)
        return str(said.get("reason") or said.get("error"))
    except (ValueError, AttributeError):
        return "no reason given"
