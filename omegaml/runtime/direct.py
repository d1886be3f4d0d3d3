"""Tasks whose caller waits, taken to a runner on the same machine over a socket and answered there.

Nothing is written down on the way, which is what makes a small predict quick. One message is one JSON
document: `{"userid", "task"}` is answered with the task's answer (`omegaml.runtime.actions.answer`);
`{"userid"}` alone says that the account's queue has a task, and is answered with `{}`. Both sides show first
that they know the runner's token (HMAC, https://docs.python.org/3/library/multiprocessing.html#authentication-keys).
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaml.errors import OmegaError, TaskFailed, Unavailable
from omegaml.runtime import actions, values
from omegaml.runtime.base import DEFAULT, Finished, Promise, Task, error_from_doc, error_to_doc
from omegaml.runtime.local import LocalRuntime

if TYPE_CHECKING:
    from omegaml.omega import Omega

log = logging.getLogger("omegaml.runner")

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class Door:
    """The runner's side: a socket in a folder of its own, a thread for each who has come in."""

    def __init__(self, token: str, handle: Handler) -> None:
        self._token = token.encode()
        self._handle = handle
        self._folder = Path(tempfile.mkdtemp(prefix="omega-runner-"))
        self.address = str(self._folder / "socket")
        self._listener = Listener(self.address, "AF_UNIX", backlog=64)

    def open(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more; who is in stays until answered."""
        with contextlib.suppress(OSError):
            self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                guest = self._listener.accept()
            except OSError:
                return  # it was closed
            threading.Thread(target=self._serve, args=(guest,), daemon=True).start()

    def _serve(self, guest: Connection) -> None:
        with guest, contextlib.suppress(EOFError, OSError, AuthenticationError):
            deliver_challenge(guest, self._token)
            answer_challenge(guest, self._token)
            while True:
                request = guest.recv_bytes()
                try:
                    answer = self._handle(json.loads(request))
                except OmegaError as error:
                    answer = {"error": error_to_doc(error), "temporary": []}
                except Exception:
                    log.exception("a direct request")
                    failed = TaskFailed("the runner could not carry out the task", hint="see its log")
                    answer = {"error": error_to_doc(failed), "temporary": []}
                guest.send_bytes(json.dumps(answer).encode())


class Line:
    """The caller's side: connections to one runner, kept open between calls, one call at a time on each."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._token = token.encode()
        self._free: queue.LifoQueue[Connection] = queue.LifoQueue()

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises: Unavailable (nobody is there; nothing was done), TaskFailed (the runner ended meanwhile).
        """
        data = json.dumps(request).encode()
        connection = self._take()
        try:
            connection.send_bytes(data)
            answer: dict[str, Any] = json.loads(connection.recv_bytes())
        except (EOFError, OSError) as error:
            connection.close()
            raise TaskFailed("the runner ended while it had the task in hand", hint="try again") from error
        except BaseException:
            connection.close()  # the answer that is still to come must not be taken for one to another
            raise
        self._free.put(connection)
        return answer

    def _take(self) -> Connection:
        with contextlib.suppress(queue.Empty):
            while True:
                connection = self._free.get_nowait()
                try:
                    if not connection.poll(0):
                        return connection
                except OSError:
                    pass
                connection.close()  # there is nothing to read but the end: that runner has gone
        try:
            return Client(self._address, "AF_UNIX", authkey=self._token)
        except (OSError, EOFError, AuthenticationError) as error:
            raise Unavailable("the runner does not answer", hint="try again") from error


class DirectRuntime(LocalRuntime):
    """Waiting calls go to a runner over its socket; all others through the `tasks` collection, as ever."""

    def __init__(self, om: Omega, userid: str, line: Line) -> None:
        super().__init__(om)
        self._userid = userid
        self._line = line

    def submit(self, task: Task) -> Promise:
        """Have a runner carry out a task, now; its promise has ended. Some wait in the queue."""
        if task.is_for_the_queue:
            return self.enqueue(task)
        answer = self._line.call({"userid": self._userid, "task": task.to_json()})
        seconds = answer.get("seconds", {})
        if "error" in answer:
            return Finished(task.id, error=error_from_doc(answer["error"]), seconds=seconds)
        scope = actions.scope(self._om, task.bucket)
        try:
            result = values.decode(answer["result"], lambda name: scope.datasets.get(name))
            return Finished(task.id, result=result, seconds=seconds)
        finally:
            if answer["temporary"]:
                actions.drop(scope, answer["temporary"])

    def enqueue(self, task: Task) -> Promise:
        """Leave a task to the runner, and have it look at once."""
        promise = super().enqueue(task)
        with contextlib.suppress(OmegaError):  # it looks by itself, a little later
            self._line.call({"userid": self._userid})
        return promise

    def require_runner(self, label: str = DEFAULT) -> None:
        """Whoever made this has found a runner; others are looked for."""
        if label != DEFAULT:
            super().require_runner(label)

    def keep(self, value: Any, bucket: str | None, waiting: bool) -> str:
        """Keep a large value in the store, where the runner's children find it."""
        return super().keep(value, bucket, waiting=False)
