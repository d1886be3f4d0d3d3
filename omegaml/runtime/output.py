"""What processes say on its way to the database: read as bytes, kept within bounds, written twice a second.

A line is text, or `\\x1e` and a JSON object `{"level", "name", "text"}` of what was logged
(`omegaml.runtime.logger`). Whoever writes to the pipe can make up either, for its own task only: whose it is
does not follow from what it says.
"""

from __future__ import annotations

import json
import logging
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from omegaml.errors import OmegaError, Unavailable
from omegaml.mongo import ensure_index, translated
from omegaml.runtime.base import short
from omegaml.runtime.logs import COLLECTION, KEEP, MAX_LOG, OUTPUT, Line

if TYPE_CHECKING:
    from omegaml.omega import Omega

MARK = b"\x1e"
"""What a line that was logged begins with: ASCII's record separator."""

MAX_LINE = 16 << 10
"""Bytes after which a line may be cut."""

LINE = 64
"""Bytes that a line counts for at least: it takes some room besides its text."""

EVERY = 0.5
"""Seconds between writes, for all tasks together."""

TRIES = 20
"""Times that a write is tried."""

#: What comes within so many seconds has the time of the first of it.
_SAME = 0.01

log = logging.getLogger("omegaml.runner")


class Output:
    """What one task says, or one program by its logger; `Writer.open` makes it."""

    def __init__(
        self,
        om: Omega,
        task: str | None,
        wake: Callable[[Output], None],
        hear: Callable[[list[Line]], None] | None,
    ) -> None:
        self.om = om
        self.task = task
        self.source = uuid4().hex
        self.is_ended = False
        self.tries = 0
        self._wake = wake
        self._hear = hear
        self._lock = threading.Lock()
        self._chunks: deque[tuple[float, bytearray]] = deque()
        self._size = 0
        self._lost = 0
        self._open = 0  # bytes of the line that has not ended
        self._over = 0  # bytes that were cut off it
        self._rest = b""
        self._stored: deque[dict[str, Any]] = deque()  # without their lines
        self._unsent: dict[str, dict[str, Any]] = {}
        self._dropped: list[str] = []
        self._number = 0
        self._left_out = 0

    def add(self, data: bytes) -> None:
        """Take some of what is said; costs next to nothing, however much that is."""
        with self._lock:
            data = self._without_excess(data)
            now = time.time()
            if self._chunks and now - self._chunks[-1][0] < _SAME and len(self._chunks[-1][1]) < MAX_LINE:
                self._chunks[-1][1].extend(data)
            else:
                self._chunks.append((now, bytearray(data)))
            self._size += len(data)
            while self._size > MAX_LOG:
                gone = len(self._chunks.popleft()[1])
                self._size -= gone
                self._lost += gone
        self._wake(self)

    def _without_excess(self, data: bytes) -> bytes:
        """Return the data without what is too much of a line that has no end."""
        if self._open >= MAX_LINE:
            end = data.find(b"\n")
            self._over += len(data) if end < 0 else end
            if end < 0:
                return b""
            data = self._cut() + data[end:]
        last = data.rfind(b"\n")
        self._open = len(data) - last - 1 if last >= 0 else self._open + len(data)
        return data

    def _cut(self) -> bytes:
        over, self._over = self._over, 0
        return b" [%d more bytes were cut]" % over if over else b""

    # --- for the writer

    def documents(self) -> list[dict[str, Any]]:
        """Return what is to be written now, also what was not `sent` before."""
        lines = self._take(self.is_ended)
        if lines and self._hear is not None:
            self._hear(lines)
        if lines or (self.is_ended and self._number):
            size = sum(map(_size, lines))
            id = f"{self.source}-{self._number:08}"
            self._number += 1
            self._stored.append({"_id": id, "size": size, "room": sum(map(_room, lines))})
            self._make_room()
            doc: dict[str, Any] = {
                "_id": id,
                "source": self.source,
                "task": self.task,
                "host": platform.node(),
            }
            doc |= {"left_out": self._left_out, "end": self.is_ended}
            doc["lines"] = [{k: v for k, v in line.to_dict().items() if k != "task"} for line in lines]
            self._unsent[id] = doc
        now = datetime.now(UTC)
        return [{**doc, "at": now} for doc in self._unsent.values()]

    def _make_room(self) -> None:
        """Drop the oldest of what is stored, so that the last MAX_LOG bytes stay, and not twice as many."""
        room = sum(doc["room"] for doc in self._stored)
        while room - self._stored[0]["room"] >= MAX_LOG:
            oldest = self._stored.popleft()
            room -= oldest["room"]
            self._left_out += oldest["size"]
            if self._unsent.pop(oldest["_id"], None) is None:
                self._dropped.append(oldest["_id"])

    def _take(self, is_last: bool) -> list[Line]:
        with self._lock:
            chunks, lost = self._chunks, self._lost
            self._chunks, self._size, self._lost = deque(), 0, 0
            if is_last and self._over:
                chunks.append((time.time(), bytearray(self._cut())))
        rest, self._rest = self._rest, b""
        if lost:  # what is left begins anywhere in a line
            first = chunks[0][1].find(b"\n") + 1
            self._left_out += lost + len(rest) + first
            del chunks[0][1][:first]
            rest = b""
        lines: list[Line] = []
        for at, data in chunks:
            *whole, rest = (rest + data).split(b"\n")
            lines += self._read(at, whole)
        if is_last and rest:
            lines += self._read(time.time(), [rest])
        else:
            self._rest = bytes(rest)
        return self._newest(lines)

    def _read(self, at: float, lines: list[bytes]) -> list[Line]:
        when = datetime.fromtimestamp(at, UTC)
        return [
            Line(when, level, name, text, self.task)
            for line in self._last(lines)
            for level, name, text in _parsed(bytes(line))
        ]

    def _last(self, lines: list[bytes]) -> list[bytes]:
        """Return so many of the last lines as there is room for if each is next to empty."""
        most = MAX_LOG // LINE
        self._left_out += sum(len(line) + 1 for line in lines[:-most])
        return lines[-most:]

    def _newest(self, lines: list[Line]) -> list[Line]:
        """Return so many of the last lines as there is room for."""
        room, first = MAX_LOG, len(lines)
        while first and (room := room - _room(lines[first - 1])) >= 0:
            first -= 1
        self._left_out += sum(map(_size, lines[:first]))
        return lines[first:]

    def sent(self) -> None:
        """All `documents` were written."""
        self._unsent.clear()
        self.tries = 0

    def dropped(self) -> list[str]:
        """Return the ids of documents to be deleted."""
        dropped, self._dropped = self._dropped, []
        return dropped


def _size(line: Line) -> int:
    return len(line.text.encode()) + 1


def _room(line: Line) -> int:
    return max(LINE, _size(line))


def _parsed(line: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield level, name and text of what is in a line: something printed, something logged, or both."""
    printed, mark, logged = line.partition(MARK)
    if printed or not mark:
        yield "INFO", OUTPUT, _text(printed)
    if mark:
        yield _record(logged) or ("INFO", OUTPUT, _text(logged))


def _text(data: bytes) -> str:
    # a bar of progress goes over its line again and again
    return data.decode("utf-8", "backslashreplace").rstrip("\r").rpartition("\r")[2]


def _record(data: bytes) -> tuple[str, str, str] | None:
    try:
        found = json.loads(data)
        level, name, text = (found[key] for key in ("level", "name", "text"))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not all(isinstance(word, str) for word in (level, name, text)):
        return None
    # a database takes no half of a pair of surrogates, which JSON may hold
    level, name, text = (word.encode("utf-8", "backslashreplace").decode() for word in (level, name, text))
    return level[:20], name[:200], text


class Writer:
    """Writes what any number of tasks say: one write for all of a database, from a thread of its own."""

    def __init__(self) -> None:
        self._said: dict[str, Output] = {}
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def open(
        self, om: Omega, task: str | None = None, hear: Callable[[list[Line]], None] | None = None
    ) -> Output:
        """Return where to put what a task says; nothing is written where it says nothing.

        Args:
            om: whose database is written to; it is opened by the writer, not by who calls this.
            hear: is told the lines as well.
        """
        return Output(om, task, self._wake, hear)

    def end(self, output: Output, now: bool = False) -> None:
        """Say that a task says no more; `now` has all of it written before this returns."""
        output.is_ended = True
        if output.source in self._said:
            self._changed.set()
            if now:
                self._write([output])

    def close(self) -> None:
        """Write what there is, and end the thread."""
        self._closed.set()
        self._changed.set()
        self.flush()
        for output in list(self._said.values()):
            if output.tries:
                _lost(output, "the database is away")

    def flush(self) -> None:
        """Write what there is."""
        self._write(list(self._said.values()))

    def _wake(self, output: Output) -> None:
        self._said.setdefault(output.source, output)
        self._changed.set()
        if self._thread is None and not self._closed.is_set():
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="logs", daemon=True)
                    self._thread.start()

    def _work(self) -> None:
        while not self._closed.is_set():
            self._changed.wait()
            self._closed.wait(EVERY)
            self._changed.clear()
            self.flush()

    def _write(self, outputs: list[Output]) -> None:
        with self._writing:
            while outputs:
                om = outputs[0].om
                mine = [output for output in outputs if output.om is om]
                outputs = [output for output in outputs if output.om is not om]
                try:
                    self._write_to(om, mine)
                except Unavailable as error:
                    self._failed(mine, error)
                    return  # it is one server: the others would wait for it as long
                except Exception as error:
                    self._failed(mine, error)

    def _write_to(self, om: Omega, outputs: list[Output]) -> None:
        ended = [output for output in outputs if output.is_ended]
        docs = [doc for output in outputs for doc in output.documents()]
        gone = [id for output in outputs for id in output.dropped()]
        if docs:
            with translated(om.mongo_url):
                logs = om.db[COLLECTION]
                ensure_index(logs, [("at", 1)], expireAfterSeconds=KEEP)
                ensure_index(logs, [("task", 1), ("at", 1)])
                logs.insert_many(docs, ordered=False)
                if gone:
                    logs.delete_many({"_id": {"$in": gone}})
        for output in outputs:
            output.sent()
        for output in ended:
            self._said.pop(output.source, None)

    def _failed(self, outputs: list[Output], error: Exception) -> None:
        for output in outputs:
            output.tries += 1
            if output.tries == TRIES or not isinstance(error, OmegaError):
                _lost(output, error)
                output.sent()
                if output.is_ended:
                    self._said.pop(output.source, None)
        self._changed.set()


def _lost(output: Output, why: object) -> None:
    whose = f"of task {short(output.task)}" if output.task else "of this program"
    log.warning("the log %s could not be written: %s", whose, short(why))
