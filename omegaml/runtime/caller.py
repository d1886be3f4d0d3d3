"""One process's way to the broker: tasks go out and replies come in, from and for any of its threads.

The connection belongs to a thread of its own, which makes it anew whenever it is lost; what was not confirmed
by the broker is sent again then, and the queue of replies outlives the connection. Messages are Celery's
(https://docs.celeryq.dev/en/stable/internals/protocol.html, version 2), JSON only, so that any worker of
Celery can read them while a client needs no more than pika.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pika
from pika.adapters.select_connection import SelectConnection

from omegaml.errors import AuthFailed, ConfigInvalid, Forbidden, OmegaError, Unavailable
from omegaml.runtime import broker
from omegaml.runtime.messages import TASKS, reply_queue, task_queue

KEEP_REPLIES = 600
"""Seconds that the queue of replies outlives its connection."""

KEEP_COUNT = 1.0
"""Seconds that a queue is taken to have a worker since one was seen."""

UNUSED = 60.0
"""Seconds after which a broker that is away is not looked for any more where nobody wants it."""

_AGAIN = (0.1, 2.0)  # seconds between tries to connect: at first, at most

_REFUSED = (AuthFailed, Forbidden, ConfigInvalid)  # no use in trying again


@dataclass
class Call:
    """A message on its way: `accepted` by the broker, and the `answer` to it if one is wanted."""

    id: str
    label: str
    body: bytes
    properties: pika.BasicProperties
    accepted: Future[None] = field(default_factory=Future)
    answer: Future[dict[str, Any]] = field(default_factory=Future)

    def fail(self, error: OmegaError) -> None:
        for future in (self.accepted, self.answer):
            if not future.done():
                future.set_exception(error)


class Caller:
    """The connection of this process as one user of the broker.

    Args:
        url: as of `omegaml.runtime.broker.parameters`.
    Raises: as that.
    """

    def __init__(self, url: str) -> None:
        self._parameters = broker.parameters(url, 10.0)
        self.user = str(self._parameters.credentials.username)
        self.where = broker.address(self._parameters)
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._replies = reply_queue(self.user)
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._problem: OmegaError | None = None
        self._away_since = time.monotonic()
        self._was_lost = False
        self._back_since = float("-inf")
        self._outbox: deque[Call] = deque()
        self._calls: dict[str, Call] = {}
        self._unconfirmed: dict[int, Call] = {}
        self._counts: dict[str, float] = {}
        self.may_count = True
        self._connection: SelectConnection | None = None
        self._channel: Any = None
        self._closing = False
        self._asked = time.monotonic()

    # --- from any thread

    def send(
        self, name: str, id: str, label: str, userid: str, text: str, *, replies: bool, limit: float | None
    ) -> Call:
        """Send the message `name(text)` to workers of that label.

        Args:
            userid: for whom; the broker checks it.
            replies: an answer is wanted.
            limit: seconds after which nobody wants it any more.
        """
        empty = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        headers = {
            **{"lang": "py", "task": name, "id": id, "root_id": id, "ignore_result": True},
            **{"argsrepr": "", "kwargsrepr": "", "retries": 0, "timelimit": [None, None]},
            **dict.fromkeys(("parent_id", "group", "eta", "expires", "shadow")),
        }
        properties = pika.BasicProperties(
            content_type="application/json",
            content_encoding="utf-8",
            correlation_id=id,
            user_id=userid,
            headers=headers,
            delivery_mode=2,
            reply_to=self._replies if replies else None,
            expiration=str(int(limit * 1000)) if replies and limit else None,
        )
        call = Call(id, label, json.dumps([[text], {}, empty]).encode(), properties)
        if replies:
            self._calls[id] = call
        self._outbox.append(call)
        self._soon(self._flush)
        return call

    def drop(self, call: Call) -> None:
        """Wait for no answer to a message any more."""
        self._calls.pop(call.id, None)

    def wait_ready(self, seconds: float) -> None:
        """Wait until the broker is connected.

        Raises: AuthFailed, Forbidden (the broker refuses), Unavailable, naming host and port.
        """
        self._asked = time.monotonic()
        if self._ready.is_set() and self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():  # this is a fork: the thread stayed with the parent
                self._forget()
            if self._thread is None or not self._thread.is_alive():
                self._problem = None
                self._away_since = time.monotonic()
                self._was_lost = False
                self._thread = threading.Thread(target=self._run, name="omega-broker", daemon=True)
                self._thread.start()
        end = time.monotonic() + seconds
        while not self._ready.wait(0.02):
            if isinstance(self._problem, _REFUSED):
                raise self._problem
            if time.monotonic() > end:
                raise self._problem or Unavailable(f"{self.where} does not answer within {seconds:g} s")

    def away(self) -> float:
        """Return for how many seconds the broker has been away."""
        return 0.0 if self._ready.is_set() else time.monotonic() - self._away_since

    def back(self) -> float:
        """Return for how many seconds the broker has been there again; infinite if it never was away."""
        return time.monotonic() - self._back_since

    def has_worker(self, label: str, seconds: float) -> bool | None:
        """Tell whether a worker of that label is connected; None where the broker does not tell accounts.

        Raises: Unavailable.
        """
        if not self.may_count:
            return None
        if time.monotonic() - self._counts.get(label, float("-inf")) < KEEP_COUNT:
            return True
        count = self._counted(label, seconds)
        if count is None:
            self.may_count = False
            return None
        if count:
            self._counts[label] = time.monotonic()
        return count > 0

    def _counted(self, label: str, seconds: float) -> int | None:
        """Ask the broker how many workers listen, again where the connection is lost meanwhile."""
        end = time.monotonic() + seconds
        while True:
            asked, found = self._connection, Future[int | None]()
            self._soon(partial(self._count, label, found))
            while not found.done() and self._connection is asked and time.monotonic() < end:
                wait([found], min(0.2, max(0.0, end - time.monotonic())))
            if found.done() and found.exception() is None:
                return found.result()
            if time.monotonic() >= end:
                raise Unavailable(f"{self.where} does not answer within {seconds:g} s")
            time.sleep(0.02)
            self.wait_ready(end - time.monotonic())

    def close(self) -> None:
        """End the connection."""
        self._closing = True
        self._soon(self._close)

    def _soon(self, do: Callable[[], None]) -> None:
        connection = self._connection
        if connection is not None:
            with suppress(Exception):  # its loop has ended: it is done once there is another
                connection.ioloop.add_callback_threadsafe(do)

    # --- in the thread of the connection

    def _run(self) -> None:
        pause = _AGAIN[0]
        while not self._closing:
            try:
                self._connection = SelectConnection(
                    self._parameters, self._on_open, self._on_open_error, self._on_close
                )
                self._connection.ioloop.start()
            except Exception as error:  # a name that no address belongs to, for one
                self._problem = broker.explained(error, self._parameters)
            if self._ready.is_set():
                pause = _AGAIN[0]
                self._away_since = time.monotonic()
            self._lost()
            is_wanted = self._outbox or self._calls or time.monotonic() - self._asked < UNUSED
            if isinstance(self._problem, _REFUSED) or not is_wanted:
                break  # the next who wants it starts another thread
            time.sleep(pause)
            pause = min(pause * 2, _AGAIN[1])
        self._end()

    def _lost(self) -> None:
        self._ready.clear()
        self._was_lost = True
        self._channel = None
        self._counts.clear()
        self.may_count = True
        # what the broker has not confirmed may have been lost with the connection: those first, in order
        unconfirmed = [self._unconfirmed.pop(tag) for tag in sorted(self._unconfirmed)]
        self._outbox.extendleft(reversed([call for call in unconfirmed if not call.accepted.done()]))

    def _end(self) -> None:
        error = self._problem or Unavailable(f"the connection to {self.where} was closed")
        for call in [*self._outbox, *self._calls.values()]:
            call.fail(error)
        self._outbox.clear()
        self._calls.clear()

    def _on_open(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_open_error(self, connection: Any, error: BaseException) -> None:
        self._problem = broker.explained(error, self._parameters)
        connection.ioloop.stop()

    def _on_close(self, connection: Any, error: BaseException) -> None:
        if not self._ready.is_set():
            self._problem = broker.explained(error, self._parameters)
        connection.ioloop.stop()

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        self._sent = 0
        channel.add_on_close_callback(self._on_channel_close)
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm)
        arguments = {"x-expires": KEEP_REPLIES * 1000}
        channel.queue_declare(
            self._replies, durable=True, arguments=arguments, callback=lambda _: self._on_replies(channel)
        )

    def _on_replies(self, channel: Any) -> None:
        channel.basic_consume(self._replies, self._on_reply, callback=lambda _: self._on_ready())

    def _on_ready(self) -> None:
        self._problem = None
        if self._was_lost:
            self._was_lost, self._back_since = False, time.monotonic()
        self._ready.set()
        self._flush()

    def _on_channel_close(self, channel: Any, error: BaseException) -> None:
        # the broker closes a channel for what it does not permit, as a user_id of somebody else
        refused = getattr(error, "reply_code", 0) in (403, 404, 406)
        if refused and self._unconfirmed:
            call = self._unconfirmed.pop(min(self._unconfirmed))
            self._calls.pop(call.id, None)
            call.fail(Forbidden(f"{self.where} refuses the task: {getattr(error, 'reply_text', error)}"))
        elif refused and not self._ready.is_set():
            self._problem = Forbidden(f"{self.where}: {getattr(error, 'reply_text', error)}")
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def _flush(self) -> None:
        while self._ready.is_set() and self._channel is not None and self._channel.is_open and self._outbox:
            call = self._outbox.popleft()
            self._sent += 1
            self._unconfirmed[self._sent] = call
            self._channel.basic_publish(TASKS, call.label, call.body, call.properties, mandatory=True)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag]
        for tag in sorted(tags):
            call = self._unconfirmed.pop(tag, None)
            if call is None:
                continue
            if type(method).__name__ == "Nack":
                self._calls.pop(call.id, None)
                call.fail(
                    Unavailable(
                        f"the queue of tasks for workers of label {call.label!r} is full",
                        hint="try again later",
                    )
                )
            elif not call.accepted.done():
                call.accepted.set_result(None)

    def _on_return(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        for call in self._unconfirmed.values():
            if call.id == properties.correlation_id:
                self._calls.pop(call.id, None)
                call.fail(Unavailable(f"no worker of label {call.label!r} has ever been there"))

    def _on_reply(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        call = self._calls.pop(properties.correlation_id, None)
        if call is None or call.answer.done():
            return
        try:
            answer = json.loads(body)
        except ValueError:
            call.fail(Unavailable(f"{self.where} handed over a reply that is no JSON"))
            return
        call.answer.set_result(answer)

    def _count(self, label: str, found: Future[int | None]) -> None:
        """Find out how many consumers a queue has, on a channel of its own: that a missing one closes."""

        def opened(channel: Any) -> None:
            channel.add_on_close_callback(closed)
            channel.queue_declare(task_queue(label), passive=True, callback=partial(told, channel))

        def told(channel: Any, frame: Any) -> None:
            found.set_result(frame.method.consumer_count)
            channel.close()

        def closed(channel: Any, error: Any) -> None:
            if found.done():
                return
            if getattr(error, "reply_code", 0) in broker.UNTOLD:
                found.set_result(broker.UNTOLD[error.reply_code])
            else:
                found.set_exception(Unavailable(f"{self.where} was lost"))

        if self._connection is None or not self._connection.is_open:
            found.set_exception(Unavailable(f"{self.where} is away"))
        else:
            self._connection.channel(on_open_callback=opened)

    def _close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()


_callers: dict[str, Caller] = {}
_lock = threading.Lock()


def caller(url: str) -> Caller:
    """Return this process's connection for a broker URL, which is made when it is first needed."""
    with _lock:
        if url not in _callers:
            _callers[url] = Caller(url)
        return _callers[url]
