"""The only module that prints.

Results go to stdout: a table on a terminal, tab-separated values in a pipe, one envelope with `--json`.
Messages, progress and questions go to stderr.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from omegaml.errors import ConfirmationNeeded, InvalidInput
from omegaml.jsonvalues import dumps as dumps
from omegaml.jsonvalues import plain as plain


class Options(NamedTuple):  # a dataclass would import inspect, a third of the time of --version
    """The global flags of this run."""

    context: str | None = None
    config: str | None = None
    root: str | None = None
    bucket: str | None = None
    json: bool = False
    plain: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    yes: bool = False
    no_input: bool = False
    no_color: bool = False
    timeout: float | None = None
    dry_run: bool = False
    version: bool = False


options = Options()
_warnings: list[str] = []
_exit = 0


def prepare() -> None:
    """Start a run: nothing shown yet, output in UTF-8 whatever the locale says."""
    global _exit
    _warnings.clear()
    _exit = 0
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace")


def exit_code() -> int:
    """The code that the last `show` asked for."""
    return _exit


def show(
    schema: str,
    data: Any,
    *,
    columns: Sequence[str] | None = None,
    text: str | None = None,
    exit_code: int = 0,
) -> None:
    """Show the command's one result.

    Args:
        schema: names the shape of `data` in JSON, as `datasets.list`.
        data: a list of mappings (a table), a mapping (its fields, one a line) or a scalar.
        columns: which fields a table shows and in which order; JSON always holds all of them.
        text: what people read instead of `data`; empty for nothing.
        exit_code: what the process returns, for a negative answer.
    """
    global _exit
    _exit = exit_code
    if options.json:
        envelope = {
            "ok": True,
            "schema": f"omegacli.{schema}/1",
            "data": data,
            "warnings": list(_warnings),
            "meta": {"exit": exit_code},
        }
        _out(dumps(envelope))
    elif text is not None:
        if text:
            _out(text)
    elif isinstance(data, Mapping):
        _fields(data)
    elif isinstance(data, list) and (columns or (data and isinstance(data[0], Mapping))):
        _table(data, list(columns or data[0]))
    elif isinstance(data, list):
        for item in data:
            _out(_cell(item))
    elif data is not None:
        _out(_cell(data))


def plan(schema: str, text: str, **what: Any) -> None:
    """Show what the command would do, had it not been for --dry-run."""
    show(f"{schema}.plan", what, text="")
    say(f"would {text}")


def fail(
    code: str,
    exit: int,
    message: str,
    hint: str | None = None,
    retry: bool = False,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Show an error: two lines for people, or the envelope."""
    if options.json:
        error = {
            "code": code,
            "exit": exit,
            "message": message,
            "hint": hint,
            "retry": retry,
            "details": dict(details or {}),
        }
        _out(dumps({"ok": False, "error": error, "meta": {}}))
        sys.stdout.flush()
        return
    _err(f"{_paint('error:', '31;1')} {message}")
    if hint:
        _err(f"{_paint('hint:', '36')} {hint}")
    if options.verbose and details and details.get("traceback"):
        _err(str(details["traceback"]).rstrip())


def trace(text: str) -> None:
    """Show a traceback, asked for with --debug."""
    _err(text.rstrip())


def say(message: str) -> None:
    """Tell people what happened; silent with --quiet and --json."""
    if not (options.quiet or options.json):
        _err(message)


def warn(message: str) -> None:
    """Warn; in JSON the envelope carries it."""
    _warnings.append(message)
    if not options.json:
        _err(f"{_paint('warning:', '33')} {message}")


def event(step: str, status: str, **fields: Any) -> None:
    """Tell how far a long operation is: JSON Lines with --json, else a line on stderr."""
    if options.json:
        _out(dumps({"event": step, "status": status, **fields}))
        sys.stdout.flush()
    elif not options.quiet:
        extra = "".join(f" {key}={_cell(value)}" for key, value in fields.items() if value is not None)
        _err(f"{step}: {status}{extra}")


def confirm(question: str, expect: str) -> None:
    """Ask before something is destroyed; the answer is to type `expect`.

    Raises: ConfirmationNeeded without a terminal, with --no-input, or for another answer. `--yes` answers.
    """
    if options.yes:
        return
    if not can_ask():
        raise ConfirmationNeeded(question.rstrip(" ?") + ": not confirmed", hint="add --yes to go ahead")
    if _ask(f"{question} Type {expect!r} to go ahead: ").strip() != expect:
        raise ConfirmationNeeded("not confirmed, nothing was changed", hint="type the name, or add --yes")


def secret(prompt: str) -> str:
    """Ask for a secret without showing it. Raises ConfirmationNeeded where nobody can be asked."""
    if not can_ask():
        raise ConfirmationNeeded(f"{prompt} is needed and nobody can be asked here", hint="give it as a flag")
    import getpass

    return getpass.getpass(f"{prompt}: ")


def can_ask() -> bool:
    """Tell whether a person sits at this terminal and may be asked."""
    no_input = options.no_input or options.json or _truthy(os.environ.get("CI"))
    return not no_input and sys.stdin.isatty() and sys.stderr.isatty()


def stdin() -> BinaryIO:
    """Standard input as bytes. Raises InvalidInput when it is a terminal, where a pipe was meant."""
    if sys.stdin.isatty():
        raise InvalidInput("- reads standard input, and nothing is piped in", hint="pipe a file: ... < FILE")
    return io.BufferedReader(_Pipe(sys.stdin.fileno()))


class _Pipe(io.RawIOBase):
    """Standard input, waited for in short turns.

    A signal that arrives just before a blocking read would be seen only when that returns, maybe never.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        from select import select

        while not select([self._fd], [], [], 0.2)[0]:
            pass
        return os.readv(self._fd, [buffer])


def stdout() -> BinaryIO:
    """Standard output as bytes, for data that is the result itself."""
    sys.stdout.flush()
    return sys.stdout.buffer


def check_bytes(name: str) -> None:
    """Raise InvalidInput where bytes that are no text would be written on a terminal."""
    if sys.stdout.isatty():
        raise InvalidInput(
            f"{name} would be written on the terminal as bytes",
            hint="give a file name, or pipe it: ... > FILE",
        )


class Progress:
    """How far a transfer is, with rate and time left, on stderr.

    On a terminal one line is redrawn ten times a second; elsewhere a line appears every ten seconds.
    """

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._start = time.monotonic()
        self._live = is_terminal(sys.stderr) and not _truthy(os.environ.get("CI"))
        self._silent = options.quiet or options.json
        self._every = 0.1 if self._live else 10.0
        self._next = self._start + (0.5 if self._live else 10.0)
        self._drawn = False

    def advance(self, n: int) -> None:
        """Add `n` units to what is done."""
        self.done += n
        now = time.monotonic()
        if self._silent or now < self._next:
            return
        self._next = now + self._every
        self._drawn = True
        line = self.line(now - self._start)
        if self._live:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        else:
            _err(line)

    def line(self, seconds: float) -> str:
        """What is shown after `seconds`."""
        rate = self.done / seconds if seconds > 0 else 0.0
        parts = [f"{self.label}: {self._amount(self.done)}"]
        if self.total:
            parts[0] += f" of {self._amount(self.total)} ({min(100, 100 * self.done // self.total)} %)"
        parts.append(f"{self._amount(rate)}/s")
        if self.total and rate > 0:
            left = max(0, round((self.total - self.done) / rate))
            parts.append(f"{left // 60}:{left % 60:02d} left")
        return ", ".join(parts)

    def close(self) -> None:
        """Take the line off the terminal."""
        if self._drawn and self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _amount(self, n: float) -> str:
        return human_bytes(n) if self.unit == "B" else f"{n:,.0f} {self.unit}"


@contextmanager
def progress(label: str, total: int | None = None, unit: str = "B") -> Iterator[Progress]:
    """Show the progress of the block; call `.advance(n)` on what it yields."""
    bar = Progress(label, total, unit)
    try:
        yield bar
    finally:
        bar.close()


def human_bytes(n: float) -> str:
    """`n` bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def is_terminal(stream: Any) -> bool:
    """Tell whether `stream` is a terminal that understands more than plain text."""
    return not options.plain and os.environ.get("TERM") != "dumb" and bool(stream.isatty())


def _table(rows: list[Any], columns: list[str]) -> None:
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not is_terminal(sys.stdout):
        _out("\t".join(columns))
        for line in cells:
            _out("\t".join(line))
        return
    if not rows:
        say("nothing to show")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="" if _no_color() else "bold")
    for column in columns:
        number = all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
        table.add_column(Text(column), justify="right" if number else "left", overflow="fold")
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    Console(no_color=_no_color(), highlight=False).print(table)


def _fields(data: Mapping[str, Any]) -> None:
    if not is_terminal(sys.stdout):
        for key, value in data.items():
            _out(f"{key}\t{_cell(value)}")
        return
    tables = {key: value for key, value in data.items() if _is_table(value)}
    width = max((len(str(key)) for key in data if key not in tables), default=0)
    for key, value in data.items():
        if key not in tables:
            _out(f"{_paint(f'{key!s:<{width}}', '1', sys.stdout)}  {_cell(value)}")
    for key, rows in tables.items():
        _out(f"\n{_paint(str(key), '1', sys.stdout)}")
        _table(rows, list(rows[0]))


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _cell(value: Any) -> str:
    """One value in one line; tabs and line ends are written as escapes so that columns stay columns."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else dumps(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _ask(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline()


def _out(text: str) -> None:
    sys.stdout.write(text + "\n")


def _err(text: str) -> None:
    sys.stdout.flush()  # so that both streams in one terminal keep their order
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _paint(text: str, code: str, stream: Any = None) -> str:
    if _no_color() or not is_terminal(stream or sys.stderr):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def _no_color() -> bool:
    return options.no_color or bool(os.environ.get("NO_COLOR"))


def _truthy(text: str | None) -> bool:
    return (text or "").strip().lower() not in ("", "0", "false", "no")
