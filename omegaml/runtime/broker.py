"""The broker as its URL names it: how it is reached, what is wrong with it, what waits in its queues.

Since 4.2.6 and 4.3 RabbitMQ tells who waits and listens at a queue only to those with a right to it, which
accounts have not (https://github.com/rabbitmq/rabbitmq-server/pull/16272).

`amqps` is always verified: by the authorities that this machine trusts, or by those in `?cacertfile=`, and
for the name in the URL.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException, AMQPConnectorStackTimeout
from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from omegaml.config import check_broker
from omegaml.errors import AuthFailed, ConfigInvalid, Forbidden, OmegaError, Unavailable
from omegaml.runtime.messages import task_queue

TIMEOUT = 5.0

#: How many are at a queue of which the broker says so: it is not there; or that is not for us to know.
UNTOLD = {404: 0, 403: None}

# OpenSSL's codes for a name that is not in the certificate: of a host, of an address
_ANOTHER_NAME = (62, 64)

# what goes wrong is told by our errors; pika writes some twenty lines for every try
logging.getLogger("pika").setLevel(logging.CRITICAL)


def parameters(url: str, timeout: float = TIMEOUT) -> Any:
    """Return what pika connects by.

    Args:
        url: `amqp://user:password@host:port/vhost`, or `amqps://...?cacertfile=/path/to/ca.pem`.
        timeout: seconds to connect.
    Raises: InvalidInput (the URL), ConfigInvalid (the file of the authority).
    """
    parts = urlsplit(check_broker(url))
    found = pika.URLParameters(parts._replace(query="").geturl())
    timeout = max(0.1, timeout)  # as none at all is no number of seconds here
    found.socket_timeout = found.blocked_connection_timeout = timeout
    found.stack_timeout = 1.5 * timeout
    found.client_properties = {"connection_name": "omegaml"}
    if parts.scheme == "amqps":
        found.ssl_options = pika.SSLOptions(_context(ca_file(url)), parts.hostname)
    return found


def ca_file(url: str) -> str | None:
    """Return the file of the authority that a broker is known by; None: those that this machine trusts."""
    return parse_qs(urlsplit(url).query).get("cacertfile", [None])[0]


def _context(file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)  # which asks for a certificate, and of that name
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) if not isinstance(error, ssl.SSLError) else None
        raise ConfigInvalid(
            f"the cacertfile {file} of the broker's URL cannot be read: {reason or 'no certificates in it'}",
            hint="it names a file of PEM certificates on this machine",
        ) from None


def address(parameters: Any) -> str:
    """Return the broker as messages name it."""
    return f"the broker at {parameters.host}:{parameters.port}"


def explained(error: BaseException, parameters: Any) -> OmegaError:
    """Return the error behind one of pika's, without the password."""
    where, user = address(parameters), str(parameters.credentials.username)
    causes = list(_causes(error))

    def find(*kinds: type[BaseException]) -> Any:
        return next((cause for cause in causes if isinstance(cause, kinds)), None)

    if find(ProbableAuthenticationError, AuthenticationError):
        return AuthFailed(f"{where} does not accept the login of {user!r}", hint="omegacli init")
    if refused := find(ProbableAccessDeniedError):
        vhost = parameters.virtual_host
        if "not found" in str(refused):
            return ConfigInvalid(f"{where} has no vhost {vhost!r}", hint="the last part of its URL names it")
        return Forbidden(f"{where} does not let {user!r} into the vhost {vhost!r}")
    if untrusted := find(ssl.SSLCertVerificationError):
        hint = "add ?cacertfile=/path/to/ca.pem to its URL, the file of who has signed it"
        if untrusted.verify_code in _ANOTHER_NAME:
            hint = "its URL must have the name that the certificate has"
        reason = untrusted.verify_message.rstrip(".")
        return Unavailable(f"the certificate of {where} is not accepted: {reason}", hint=hint)
    if find(ssl.SSLError):
        return Unavailable(f"{where} does not speak TLS", hint="amqps:// is for its TLS port, mostly 5671")
    if find(IncompatibleProtocolError, ConnectionResetError):
        return Unavailable(
            f"{where} closes the connection: it wants TLS, or is no broker",
            hint="amqps:// is for its TLS port, mostly 5671",
        )
    reason = ""
    if find(ConnectionRefusedError):
        reason = ": nothing listens there"
    elif find(socket.gaierror):
        reason = ": there is no host of that name"
    elif find(AMQPConnectorStackTimeout, TimeoutError):
        reason = " in time"
    return Unavailable(f"{where} does not answer{reason}", hint="omegacli cluster status")


def _causes(error: object) -> Iterator[BaseException]:
    """The error and what it was made of: pika puts errors into the arguments of errors."""
    if isinstance(error, BaseException):
        yield error
        for inner in (*error.args, *getattr(error, "exceptions", ()), getattr(error, "exception", None)):
            yield from _causes(inner)


def check(url: str, timeout: float = TIMEOUT) -> str:
    """Log in; return where and as whom: `the broker at host:port accepts 'ann'`.

    Raises: AuthFailed, Forbidden (the vhost), ConfigInvalid (no such vhost; the file of the authority),
        Unavailable (nothing or something else answers, or its certificate is not accepted), InvalidInput.
    """
    made = parameters(url, timeout)
    with _connected(made) as connection:
        connection.channel()
    over = " over TLS" if made.ssl_options else ""
    return f"{address(made)} accepts {str(made.credentials.username)!r}{over}"


def queues(url: str, labels: Iterable[str], timeout: float = TIMEOUT) -> list[dict[str, Any]]:
    """Return `[{label, waiting, workers, queue}]`, a row for each of the labels, in order.

    `waiting` are the messages, of all accounts, that no worker has taken; `workers` those that listen. Both
    are 0 for a label that never had a worker, None where the broker does not tell. Raises: as `check`.
    """
    with _connected(parameters(url, timeout)) as connection:
        return [_queue(connection, label) for label in sorted(set(labels))]


def _queue(connection: Any, label: str) -> dict[str, Any]:
    channel, name = connection.channel(), task_queue(label)
    try:
        said = channel.queue_declare(name, passive=True).method
        waiting, workers = said.message_count, said.consumer_count
        channel.close()
    except ChannelClosedByBroker as error:
        if error.reply_code not in UNTOLD:
            raise
        waiting = workers = UNTOLD[error.reply_code]
    return {"label": label, "waiting": waiting, "workers": workers, "queue": name}


@contextmanager
def _connected(made: Any) -> Iterator[Any]:
    """A connection while the block lasts; what goes wrong in it is one of our errors."""
    made.heartbeat = int(min(max(2, made.socket_timeout), 60))  # a broker that stops meanwhile is noticed
    try:
        connection = pika.BlockingConnection(made)
        try:
            yield connection
        finally:
            if connection.is_open:
                connection.close()
    except ChannelClosedByBroker as error:
        raise Forbidden(f"{address(made)}: {error.reply_text}") from None
    except (AMQPError, AMQPConnectorException, OSError) as error:
        raise explained(error, made) from None
