"""`om.logger`: a logger of the standard library whose lines go into the platform's log, and reading that log.

In a process that carries out tasks (`capture`) they go to its parent, with those of all other loggers, and
belong to the task. Elsewhere a thread writes them, so that whoever logs never waits, and they belong to the
task that the process is part of, if any, as the kernel of a notebook is.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING

from omegaml.runtime.logs import Logs
from omegaml.runtime.output import MARK, Output, Writer

if TYPE_CHECKING:
    from pandas import DataFrame

    from omegaml.omega import Omega

TASK = "OMEGA_TASK"
"""Environment variable of a process that is part of a task: its id."""

MAX_TEXT = 4000
"""Characters of a line that is logged."""

_FORMAT = logging.Formatter()
_is_captured = False


class Logger(logging.Logger):
    """A logger that writes into the log of one account; level INFO, to be changed by `setLevel`.

    What a program has set up for its other loggers gets its lines as well.
    """

    def __init__(self, om: Omega) -> None:
        super().__init__("om", logging.INFO)
        self.parent = logging.root
        self._om = om
        if not _is_captured:
            self.addHandler(ToDatabase(om))

    def tail(self, n: int = 20, *, task: str | None = None, level: str | None = None) -> DataFrame:
        """Return the last `n` lines of the account's log, or of one task's, as a DataFrame.

        Args:
            level: of these lines at least.
        Returns: columns `time`, `level`, `name`, `text`, `task`, the newest line last.
        Raises: InvalidInput (no such level).
        """
        import pandas as pd

        self.flush()
        lines = Logs(self._om, task, level=level).read(n)
        columns = ["time", "level", "name", "text", "task"]
        return pd.DataFrame([line.to_dict() for line in lines], columns=columns)

    def flush(self) -> None:
        """Have all lines written before this returns."""
        for handler in self.handlers:
            handler.flush()

    def close(self) -> None:
        """Write all lines, and no more."""
        for handler in self.handlers:
            handler.close()


class ToDatabase(logging.Handler):
    """Has lines written by a thread: within half a second, by `flush`, and at the program's end.

    Of each program the last 256 KiB are kept. If the database does not answer they are lost, with a warning.
    """

    def __init__(self, om: Omega) -> None:
        super().__init__()
        self._om = om
        self._to: tuple[int, Writer, Output] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._to is None or self._to[0] != os.getpid():  # threads do not survive a fork
                writer = Writer()
                self._to = os.getpid(), writer, writer.open(self._om, os.environ.get(TASK))
                atexit.register(writer.close)
            self._to[2].add(encoded(record))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        if self._to is not None and self._to[0] == os.getpid():
            self._to[1].flush()

    def close(self) -> None:
        if self._to is not None and self._to[0] == os.getpid():
            self._to[1].close()
            atexit.unregister(self._to[1].close)
        self._to = None
        super().close()


class ToParent(logging.Handler):
    """Writes lines to where what is printed goes."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data = memoryview(encoded(record))
            flush()
            while data:
                data = data[os.write(2, data) :]
        except Exception:
            self.handleError(record)


def encoded(record: logging.LogRecord) -> bytes:
    """Return a record as `omegaml.runtime.output` reads it, each of its lines for itself."""
    lines = _FORMAT.format(record).splitlines() or [""]
    docs = ({"level": record.levelname, "name": record.name, "text": line[:MAX_TEXT]} for line in lines)
    return b"".join(
        MARK + json.dumps(doc, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n" for doc in docs
    )


def capture() -> None:
    """Have all that this process prints, logs and warns of go to its stderr, at once: its parent reads that.

    Loggers that set no level of their own have INFO from now on.
    """
    global _is_captured
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    _is_captured = True
    logging.root.addHandler(ToParent())
    logging.root.setLevel(logging.INFO)
    logging.captureWarnings(True)


def flush() -> None:
    """Write what was printed and has no end of line yet."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # they may be somebody else's by now
            stream.flush()
