"""Statistics of a dataset's columns as a page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from omegaml.metadata import Metadata
from omegaml.store import Store
from omegaweb.dashboard import tables

ROWS = 100_000  # of a larger dataset, so many from the first
BINS = 16
TOP = 4
WIDTH, HEIGHT = 128, 32  # of a histogram's drawing


@dataclass(frozen=True)
class Bar:
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
    distinct: int | None
    lowest: str = ""
    highest: str = ""
    mean: str = ""
    bars: Sequence[Bar] = ()
    top: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Statistics:
    columns: Sequence[Column]
    rows: int
    of: int | None

    @property
    def is_part(self) -> bool:
        return self.of is not None and self.of > self.rows


def statistics(store: Store, meta: Metadata) -> Statistics:
    """Look through the columns. Raises InvalidInput where the object has none."""
    found = tables.frame(store, meta, limit=ROWS)
    shown = range(min(tables.COLUMNS, found.shape[1]))
    return Statistics(
        [_column(str(found.columns[i]), found.iloc[:, i]) for i in shown], len(found), meta.rows
    )


def _column(name: str, values: pd.Series) -> Column:
    known = values.dropna()
    missing = len(values) - len(known)
    try:
        distinct = int(known.nunique())
    except TypeError:  # lists and other cells that do not hash
        return Column(name, str(values.dtype), missing, None)
    if len(known) and values.dtype.kind != "b" and tables.is_plottable(values.dtype):
        return _measured(name, values, missing, distinct)
    counts = known.astype(str).value_counts().head(TOP)
    words = {"True": "true", "False": "false"} if values.dtype.kind == "b" else {}
    top = [(words.get(str(value)) or tables.cell(value).text, int(n)) for value, n in counts.items()]
    return Column(name, str(values.dtype), missing, distinct, top=top)


def _measured(name: str, values: pd.Series, missing: int, distinct: int) -> Column:
    numbers = tables.numbers(name, values)
    finite = numbers[np.isfinite(numbers)]
    is_time = values.dtype.kind == "M"
    lowest, highest = tables.cell(values.min()).text, tables.cell(values.max()).text
    mean = "" if is_time else tables.cell(values.mean()).text
    return Column(name, str(values.dtype), missing, distinct, lowest, highest, mean, _bars(finite, is_time))


def _bars(numbers: np.ndarray, is_time: bool) -> list[Bar]:
    if not len(numbers):
        return []
    counts, edges = np.histogram(numbers, bins=min(BINS, max(1, len(np.unique(numbers)))))
    width = WIDTH / len(counts)
    bars = []
    for i, n in enumerate(counts):
        height = HEIGHT * int(n) / int(counts.max())
        says = f"{_edge(edges[i], is_time)} to {_edge(edges[i + 1], is_time)}: {n}"
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


def _edge(value: Any, is_time: bool) -> str:
    return str(pd.Timestamp(value, unit="s").date()) if is_time else f"{value:.4g}"
