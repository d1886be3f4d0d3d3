"""The cases by name: each takes a Bench and returns its lines."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.cases import append, blobs, cli, filters, groups, numbers, rows, runtime, small, web, whole
from benchmarks.lines import Line

CASES: dict[str, Callable[[Bench], list[Line]]] = {
    "frames": whole.run,
    "filters": filters.run,
    "append": append.run,
    "groups": groups.run,
    "small": small.run,
    "numeric": numbers.run,
    "rows": rows.run,
    "blobs": blobs.run,
    "cli": cli.run,
    "web": web.run,
    "runtime": runtime.run,
}
