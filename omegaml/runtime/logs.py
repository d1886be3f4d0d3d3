"""What tasks and programs have said: the collection `omegaml.logs` of an account's database, read.

A document holds what one task, or one program by `om.logger`, has said within half a second or so; they stay
for a day. `omegaml.runtime.output` writes them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from omegaml.errors import InvalidInput, NotFound
from omegaml.mongo import translated
from omegaml.runtime.runs import Runs
from omegaml.runtime.tasks import Tasks

if TYPE_CHECKING:
    from omegaml.omega import Omega

COLLECTION = "omegaml.logs"
KEEP = 24 * 3600

MAX_LOG = 256 << 10
"""Bytes that a task's log keeps, the last ones; it is cut now and then, and never twice as long."""

OURS = "omegaml"
"""The name of lines that say something about the log itself."""

OUTPUT = "output"
"""The name of lines that are printed, not logged; their level is INFO."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

LOOK = 0.3
"""Seconds between looks for more."""

GRACE = 1.0
"""Seconds in which the lines of a call may come after its answer."""

#: Clocks of those who write may differ by so much before anything new is missed.
_SKEW = timedelta(seconds=60)


@dataclass(frozen=True)
class Line:
    """One line of a log.

    Attributes:
        time: when it was said, by the clock of whoever carried the task out.
        level: of LEVELS most often; INFO for what is printed.
        name: of the logger, or `output`.
        task: the id of the task that said it; None for a program's own `om.logger`.
    """

    time: datetime
    level: str
    name: str
    text: str
    task: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as a dict, its time as it is."""
        return dict(vars(self))


def number_of(level: str) -> int:
    """Return how grave a level is, as `logging` counts; one that it does not know is as INFO."""
    number = logging.getLevelName(level)
    return number if isinstance(number, int) else logging.INFO


def check_level(level: str) -> str:
    """Return a level's name, given in any case. Raises InvalidInput."""
    if level.upper() not in LEVELS:
        raise InvalidInput(f"there is no level {level!r}", hint=f"one of {', '.join(LEVELS).lower()}")
    return level.upper()


class Logs:
    """The log of one database, or of one task there: `read` returns what has come since it was called last.

    Args:
        task: whose log; all there is where not given.
        since: lines that are older are left out.
        level: of the lines at least. Raises: InvalidInput for one that there is not.
    """

    def __init__(
        self, om: Omega, task: str | None = None, since: datetime | None = None, level: str | None = None
    ) -> None:
        self._om = om
        self._task = task
        self._since = since
        self._least = number_of(check_level(level)) if level else 0
        self._seen: dict[str, datetime] = {}
        self._from = since
        self._told: dict[str, int] = {}
        #: Whether anything was there, and whether whoever wrote it has said that there is no more.
        self.has_read = self.has_ended = False

    def read(self, last: int | None = None) -> list[Line]:
        """Return the lines that have come since, the oldest first; the last so many of them.

        Where some were left out as there were too many, a line says so.
        """
        docs: list[dict[str, Any]] = []
        found = 0
        with translated(self._om.mongo_url):
            for doc in self._find():
                docs.insert(0, {**doc, "at": doc["at"].replace(tzinfo=UTC)})
                found += sum(self._is_wanted(line) for line in _lines(doc))
                if last is not None and found >= last:
                    break
        self._remember(docs)
        lines = [line for doc in docs for line in [*self._left_out(doc, docs), *_lines(doc)]]
        lines = sorted(filter(self._is_wanted, lines), key=lambda line: line.time)
        return lines if last is None else lines[-last:] if last else []

    def _find(self) -> Iterable[dict[str, Any]]:
        query: dict[str, Any] = {} if self._task is None else {"task": self._task}
        if self._from is not None:
            query["at"] = {"$gte": self._from}
        if self._seen:
            query["_id"] = {"$nin": list(self._seen)}
        docs: Iterable[dict[str, Any]] = self._om.db[COLLECTION].find(query).sort([("at", -1), ("_id", -1)])
        return docs

    def _left_out(self, doc: dict[str, Any], docs: list[dict[str, Any]]) -> list[Line]:
        """Say before the first lines of each who writes how much is missing of it."""
        source = doc["source"]
        left_out = max(other["left_out"] for other in docs if other["source"] == source)
        more = left_out - self._told.get(source, 0)
        if more <= 0:
            return []
        self._told[source] = left_out
        text = f"[{more} bytes were left out: a log keeps the last {MAX_LOG >> 10} KiB]"
        said = [line.time for line in _lines(doc)]
        return [Line(said[0] if said else doc["at"], "WARNING", OURS, text, doc["task"])]

    def _is_wanted(self, line: Line) -> bool:
        is_late = self._since is None or line.time >= self._since
        return is_late and number_of(line.level) >= self._least

    def _remember(self, docs: list[dict[str, Any]]) -> None:
        """Look no further back the next time than anything new can be."""
        if not docs:
            return
        self.has_read, self.has_ended = True, self.has_ended or any(doc["end"] for doc in docs)
        self._seen |= {doc["_id"]: doc["at"] for doc in docs}
        newest = max(self._seen.values()) - _SKEW
        self._from = max(docs[0]["at"] if self._from is None else self._from, newest)
        self._seen = {id: at for id, at in self._seen.items() if at >= self._from}


def _lines(doc: dict[str, Any]) -> list[Line]:
    return [
        Line(said["time"].replace(tzinfo=UTC), said["level"], said["name"], said["text"], doc["task"])
        for said in doc["lines"]
    ]


def follow(
    om: Omega,
    task: str | None = None,
    since: datetime | None = None,
    level: str | None = None,
    last: int | None = None,
) -> Iterator[list[Line]]:
    """Yield the last lines there are, then whatever comes, until the task has ended; without one, for ever.

    Raises: NotFound if nobody has heard of the task.
    """
    log = Logs(om, task, since, level)
    lines = log.read(last)
    until = time.monotonic() + GRACE
    while True:
        if lines:
            yield lines
        try:
            if task is not None and _has_ended(om, task, log):
                break
        except NotFound:
            if time.monotonic() > until:
                raise
        time.sleep(LOOK)
        lines = log.read()
    until = time.monotonic() + GRACE
    while not log.has_ended and time.monotonic() < until:
        time.sleep(LOOK)
        if lines := log.read():
            yield lines


def check_task(om: Omega, task: str) -> None:
    """Raise NotFound if nobody has heard of the task: it is in no queue, no run of a job, and has no log."""
    with translated(om.mongo_url):
        is_there = om.db[COLLECTION].find_one({"task": task}, {"_id": 1}) is not None
    if not is_there:
        _has_ended(om, task, None)


def _has_ended(om: Omega, task: str, log: Logs | None) -> bool:
    with suppress(NotFound):
        return Tasks(om.db, om.mongo_url).ended(task)
    with suppress(NotFound):
        return Runs(om.db, om.mongo_url).get(task).has_ended
    if log is None or not log.has_read:  # of one whose caller waits nothing else is known
        raise NotFound(
            f"there is no task {task!r}", hint="omegacli runtime logs shows all that is kept, for 24 hours"
        )
    return log.has_ended
