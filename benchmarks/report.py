"""The result as a table on the terminal, and as a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.lines import Line
from benchmarks.rounds import Timing

HEADS = ("data", "what", "against", "ratio", "of minima", "of CPU", "goal", "aim", "verdict")

PAGE = """\
# Benchmarks

The product beside what one would use instead, measured in alternating rounds of one run: every round does the
same with each of them, beginning with another one each time. What the product read back was compared with
what was stored in every round, dtype, index and types of cells included. It runs with its default settings;
all data lies in the caches of the server and the system.

A ratio is the product's time divided by the other's, of medians on the clock; where it says *faster*, it is
the other way round. *Of minima* and *of CPU* are the same for the fastest round and for the CPU time of
client and server together, which other work on the machine disturbs less. Goals are required, aims go beyond
them; a line without either is for information. ArcticDB maps its file into memory and has no server in
between: for numbers that do not compress it stays ahead. MLflow's scoring server has the one model in its own
process, and knows no accounts, other models or versions; the product's predict over REST checks the key, asks
whether the model is still the same, and runs it in a process that holds only the caller's rights.

Run it again with `scripts/benchmark --write docs/benchmarks.md`; `scripts/benchmark frames cli` runs only
these cases, `--quick` does everything with little data to see whether it works.

## Machine

{machine}

## Ratios

{ratios}

## Absolute figures

Milliseconds for one operation: median and fastest on the clock, median CPU time of client and server.

{figures}
"""


def text(lines: Sequence[Line], verdicts: bool) -> str:
    """Return the table of ratios in columns. `verdicts`: false where the data is too small for any."""
    rows = [_cells(line, verdicts) for line in lines]
    widths = [max(len(row[i]) for row in [HEADS, *rows]) for i in range(len(HEADS))]
    padded = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in [HEADS, *rows]
    ]
    return "\n".join([padded[0], "-" * len(padded[0]), *padded[1:]])


def summary(lines: Sequence[Line]) -> str:
    """Return how many limits were met, and which were missed."""
    judged = [line for line in lines if line.verdict]
    missed = [line for line in judged if line.verdict == "missed"]
    only = [line for line in judged if line.verdict == "met goal"]
    met = len(judged) - len(missed)
    said = f"{met} of {len(judged)} goals met, {met - len(only)} aims"
    return "\n".join([said, *(f"missed: {line.data}: {line.what} / {line.against}" for line in missed)])


def figures(timings: Sequence[tuple[str, Timing]]) -> str:
    """Return the absolute figures in columns."""
    width = max(len(what) for what, _ in timings)
    return "\n".join(
        f"{what.ljust(width)}  {t.name:18} {t.wall:9.1f} [{t.best:.1f}]  CPU {t.client:.1f} + {t.server:.1f}"
        for what, t in timings
    )


def page(
    lines: Sequence[Line], timings: Sequence[tuple[str, Timing]], machine: Sequence[tuple[str, str]]
) -> str:
    """Return the documentation page."""
    rows = [
        (
            what,
            t.name,
            f"{t.wall:.1f}",
            f"{t.best:.1f}",
            f"{t.client:.1f}",
            f"{t.server:.1f}",
            str(len(t.samples)),
        )
        for what, t in timings
    ]
    heads = ("what", "by", "median", "fastest", "client CPU", "server CPU", "rounds")
    return PAGE.format(
        machine=_table(("", ""), machine),
        ratios=_table(HEADS, [_cells(line, True) for line in lines]),
        figures=_table(heads, rows),
    )


def _cells(line: Line, verdicts: bool) -> tuple[str, ...]:
    limit = line.limit
    measured = limit.shown(line.result)
    return (
        line.data,
        line.what,
        line.against,
        f"{measured} CPU" if limit.measure == "cpu" and not limit.unit else measured,
        line.shown("best"),
        line.shown("cpu"),
        limit.shown(limit.goal),
        limit.shown(limit.aim),
        line.verdict if verdicts else "",
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def joined(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([joined(heads), "|" + "---|" * len(heads), *map(joined, rows)])
