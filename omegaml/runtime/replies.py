"""Answers of a worker to callers that wait."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from amqp.exceptions import NotFound as NoSuchQueue

from omegaml.runtime.messages import REPLIES

log = logging.getLogger("omegaml.runner")


class Replies:
    """The connection by which answers go out, one at a time, from all threads."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        """Args:
        connect: opens a connection (of kombu) that confirms what is published.
        """
        self._connect = connect
        self._lock = threading.Lock()
        self._connection: Any = None
        self._channel: Any = None

    def send(self, queue: str, id: str, answer: dict[str, Any], give_up: Callable[[], bool]) -> bool:
        """Send an answer, trying again while the broker is away; False if its caller has gone.

        Args:
            give_up: says whether to stop trying.
        """
        body, tried = json.dumps(answer).encode(), 0
        while True:
            try:
                with self._lock:
                    self._bind(queue)
                    message = self._channel.prepare_message(
                        body, content_type="application/json", properties={"correlation_id": id}
                    )
                    self._channel.basic_publish(message, exchange=REPLIES, routing_key=queue, timeout=10)
                return True
            except NoSuchQueue:
                self.close()
                return False
            except Exception as error:  # whatever it is, the answer must not be lost
                self.close()
                tried += 1
                if tried > 3 and give_up():
                    return False
                log.warning("an answer is sent again: %s", error)
                time.sleep(min(2.0, 0.1 * 2**tried))

    def can_reach(self, queue: str) -> bool:
        """Tell whether the caller that reads this queue is still there, as far as is known."""
        try:
            with self._lock:
                self._bind(queue)
            return True
        except NoSuchQueue:
            self.close()
            return False
        except Exception:
            self.close()
            return True

    def _bind(self, queue: str) -> None:
        if self._connection is None:
            self._connection = self._connect()
            self._channel = self._connection.default_channel
        # users must not bind queues to this exchange, as they could to the names of others
        self._channel.queue_bind(queue=queue, exchange=REPLIES, routing_key=queue)

    def close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                connection.release()
