"""The way to a server, which can be cut and mended: a real TCP proxy in threads of this process."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.services.servers import Server


class Wire(Server):
    """Takes connections at `port` on to another port of this machine.

    `cut` ends all there are, and new ones are refused; `hold` lets all be and takes nothing on, as where
    packets are lost; after `mend` all is as before.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])

    def start(self) -> None:
        threading.Thread(target=self._take, args=(self._door,), daemon=True).start()

    def stop(self) -> None:
        self._flows.set()
        self.cut()

    def cut(self) -> None:
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)  # closing alone leaves its accept waiting
        self._door.close()
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        self._flows.clear()

    def mend(self) -> None:
        self._flows.set()
        if self._door.fileno() < 0:
            self._door = socket.create_server(("127.0.0.1", self.port))
            self.start()

    def _take(self, door: socket.socket) -> None:
        while True:
            try:
                near, _ = door.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            with self._lock:
                self._ends |= {near, far}
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                self._flows.wait()
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._ends -= {one, other}
