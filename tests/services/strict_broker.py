"""A RabbitMQ that asks for the right to configure what is declared passively, as 4.2.6 and 4.3.0 do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pika import frame, spec


@contextmanager
def strict(port: int) -> Iterator[int]:
    """The port of a way to the broker at `port` on which a passive declaration becomes one that is not."""
    door = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = door.accept()
                server = socket.create_connection(("127.0.0.1", port))
                for one, other, is_client in ((client, server, True), (server, client, False)):
                    threading.Thread(target=_carry, args=(one, other, is_client), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield door.getsockname()[1]
    finally:
        door.shutdown(socket.SHUT_RDWR)
        door.close()


def _carry(one: socket.socket, other: socket.socket, is_client: bool) -> None:
    kept = b""
    with suppress(OSError):
        while data := one.recv(1 << 16):
            if not is_client:
                other.sendall(data)
                continue
            kept += data
            while True:
                size, found = frame.decode_frame(kept)
                if not size:
                    break
                piece, kept = kept[:size], kept[size:]
                other.sendall(_strict(found) or piece)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _strict(found: object) -> bytes | None:
    method = getattr(found, "method", None)
    if isinstance(method, spec.Queue.Declare | spec.Exchange.Declare) and method.passive:
        method.passive = False
        marshalled: bytes = frame.Method(found.channel_number, method).marshal()  # type: ignore[attr-defined]
        return marshalled
    return None
