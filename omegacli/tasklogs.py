"""Showing what tasks have said: `runtime logs` and `jobs logs`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from omegacli import console
from omegaml.errors import InvalidInput

if TYPE_CHECKING:
    from omegaml.omega import Omega
    from omegaml.runtime.logs import Line

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until the task ends.")]
Tail = Annotated[
    int | None, typer.Option("--tail", min=0, metavar="N", help="Only the last N lines of what is there.")
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Only lines from then on: 10m, 2h, or ISO 8601.")
]
Level = Annotated[str | None, typer.Option("--level", help="Of this level at least, as warning.")]

LAST = 100
"""Lines of everybody that are shown where nobody says how many."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def show(
    schema: str,
    om: Omega,
    task: str | None,
    follow: bool,
    tail: int | None,
    since: str | None,
    level: str | None,
) -> None:
    """Show the log of a task, or all that is kept; a line of text for each, or JSON."""
    from omegaml.runtime import logs

    begin = moment(since) if since else None
    last = LAST if tail is None and task is None else tail
    if follow:
        for lines in logs.follow(om, task, begin, level, last):
            for line in lines:
                if console.options.json:
                    console.event(schema, "line", **line.to_dict())
                else:
                    console.show(schema, [], text=text_of(line, task is None))
            console.stdout()  # flushes: whoever follows wants the lines now
        console.show(schema, [], text="")
        return
    if task is not None:
        logs.check_task(om, task)
    lines = logs.Logs(om, task, begin, level).read(last)
    text = "\n".join(text_of(line, task is None) for line in lines)
    console.show(schema, [line.to_dict() for line in lines], text=text)
    if not lines:
        console.say("nothing was said in the last 24 hours" if task is None else f"task {task} said nothing")


def text_of(line: Line, with_task: bool) -> str:
    """Return a line as one of text."""
    whose = [line.task or "-"] if with_task else []
    text = "".join(c if c.isprintable() or c == "\t" else _escaped(c) for c in _ANSI.sub("", line.text))
    time = line.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return " ".join([time, *whose, _escaped(line.level), f"{_escaped(line.name)}:", text])


def _escaped(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def moment(text: str) -> datetime:
    """Return the time that somebody means by `10m` (so long ago) or ISO 8601, UTC where it names no zone.

    Raises: InvalidInput for anything else.
    """
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if ago:
        return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is no time", hint="as 10m, 2h, 1d or 2026-11-30T06:00") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
