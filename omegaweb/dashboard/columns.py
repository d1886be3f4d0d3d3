"""Statistics of a dataset's columns, as the REST API gives them, drawn for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaml.errors import InvalidInput
from omegaml.metadata import Metadata
from omegaml.store import Store
from omegaweb.api import statistics as api
from omegaweb.dashboard import tables

TOP = 4
WIDTH, HEIGHT = 128, 32  # of a histogram's drawing


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram, where it stands and what it says."""

    x: float
    y: float
    width: float
    height: float
    says: str


@dataclass(frozen=True)
class Column:
    """One column: numbers and times have a range and bars, others their most frequent values."""

    name: str
    type: str
    missing: int
    distinct: str
    lowest: str = ""
    highest: str = ""
    mean: str = ""
    bars: Sequence[Bar] = ()
    top: Sequence[tuple[str, int]] = ()


def statistics(store: Store, meta: Metadata) -> tuple[Sequence[Column], int]:
    """Look through the first columns; also how many there are. Raises InvalidInput where it has none."""
    if not tables.is_table(meta):
        raise InvalidInput(f"dataset {meta.name!r} ({meta.kind}) has no rows and columns")
    part, width = api.chosen(store.getl(meta.name), 0, tables.COLUMNS)
    return [_column(found) for found in api.statistics(part)["columns"]], width


def _column(found: Mapping[str, Any]) -> Column:
    distinct = f"{'' if found['distinct_is_exact'] else 'about '}{found['distinct']:,}"
    about: dict[str, Any] = {"name": found["name"], "type": found["dtype"], "missing": found["nulls"]}
    histogram = found["histogram"]
    if histogram is None:
        top = [(_text(entry["value"]), entry["count"]) for entry in found["top"][:TOP]]
        return Column(**about, distinct=distinct, top=top)
    low, high, mean = (_text(found[name]) for name in ("min", "max", "mean"))
    return Column(**about, distinct=distinct, lowest=low, highest=high, mean=mean, bars=_bars(histogram))


def _bars(histogram: Mapping[str, Any]) -> list[Bar]:
    counts, edges = histogram["counts"], [_text(edge) for edge in histogram["edges"]]
    width, most = WIDTH / len(counts), max(counts)
    bars = []
    for i, n in enumerate(counts):
        height = HEIGHT * n / most
        says = f"{edges[i]} to {edges[i + 1]}: {n}"
        bars.append(
            Bar(
                round(i * width + 0.5, 2),
                round(HEIGHT - height, 2),
                round(width - 1, 2),
                round(height, 2),
                says,
            )
        )
    return bars


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("T00:00:00", "").removesuffix(".000000").removesuffix(" 00:00:00")
