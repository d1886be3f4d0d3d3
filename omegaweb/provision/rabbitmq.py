"""Users of RabbitMQ, made and removed through its management API (rabbitmq.com/docs/http-api-reference).

A user publishes to the exchange of tasks and owns the queues of its own replies, and nothing else: neither
the queues of tasks nor the default, event and pidbox exchanges, by which workers could be shut down.
"""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from omegaml.config import check_userid
from omegaml.errors import AuthFailed, Forbidden, TimedOut, Unavailable

TIMEOUT = 5.0


def permissions(userid: str) -> dict[str, str]:
    """What a user may configure, write and read, as regular expressions on names."""
    replies = rf"omega\.reply\.{check_userid(userid)}\..*"
    return {"configure": f"^{replies}$", "write": rf"^(omega\.tasks|{replies})$", "read": f"^{replies}$"}


def ensure_user(url: str, userid: str, password: str) -> None:
    """Make the user, or give it this password and these permissions again; connections stay open.

    Args:
        url: `http://user:password@host:15672/vhost` of a user that may make users; no vhost means `/`.
    Raises: AuthFailed, Forbidden (that user), Unavailable, TimedOut.
    """
    _call(url, "PUT", f"/users/{check_userid(userid)}", {"password": password, "tags": ""})
    _call(url, "PUT", f"/permissions/{quote(vhost(url), safe='')}/{userid}", permissions(userid))


def drop_user(url: str, userid: str) -> None:
    """Remove the user, if it is there, and close its connections. Raises: as `ensure_user`."""
    _call(url, "DELETE", f"/users/{check_userid(userid)}")
    for connection in _call(url, "GET", "/connections?columns=name,user") or []:
        if connection.get("user") == userid:
            _call(url, "DELETE", f"/connections/{quote(connection['name'], safe='')}")


def ensure_topology(url: str) -> None:
    """Make the exchange that tasks are published to, where it is missing. Raises: as `ensure_user`."""
    durable = {"type": "direct", "durable": True, "auto_delete": False, "internal": False, "arguments": {}}
    _call(url, "PUT", f"/exchanges/{quote(vhost(url), safe='')}/omega.tasks", durable)


def vhost(url: str) -> str:
    return unquote(urlsplit(url).path.strip("/")) or "/"


def login_url(broker: str, userid: str, password: str) -> str:
    """The URL by which the user reaches the broker that `broker` names without a user.

    No vhost, an empty one and `/` are all the vhost `/`, which clients know for certain only as `%2F`.
    """
    parts = urlsplit(broker)
    path = quote(unquote(parts.path[1:]).strip("/") or "/", safe="")
    return f"{parts.scheme}://{userid}:{quote(password, safe='')}@{parts.netloc}/{path}"


def _call(url: str, method: str, route: str, body: Any = None) -> Any:
    """Send one request; return the answer's JSON, None where there is none or nothing is there."""
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
    if answer.status == 404:
        return None
    if answer.status == 401:
        raise AuthFailed(f"{where} does not accept the login of broker_admin_url")
    if answer.status == 403:
        raise Forbidden(f"{where}: the user of broker_admin_url may not administer users")
    if answer.status >= 300:
        raise Unavailable(f"{where} answered {method} {route} with status {answer.status}")
    return json.loads(content) if content else None
