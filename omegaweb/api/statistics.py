"""What a dataset's columns hold, found out a chunk at a time in memory that does not depend on its rows.

Two readings: the first counts, the second, of numbers and times only, sorts them into the bars between the
lowest and the highest value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from omegaml.jsonvalues import dumps, plain
from omegaml.query import is_missing
from omegaml.tabular import distinct
from omegaweb.api.selecting import Lazy

BARS = 20
TOP = 10
KEPT = 4096  # hashes by which distinct values are counted; exact below, within some 2% above
COUNTED = 2000  # values counted for `top`; beyond, the rarest are forgotten
TEXT = 100  # characters of a value


def statistics(lazy: Lazy) -> dict[str, Any]:
    """Return `{rows, columns: [...]}`, one entry per column.

    Each has `name, dtype, nulls, distinct, distinct_is_exact, min, max, mean, std, histogram, top,
    top_is_exact`; null where a column of its type has no such thing. `histogram` is `{edges, counts}`.
    """
    labels = distinct([str(label) for label in lazy.columns])
    empty = _columns(lazy._empty())
    found = [_Column(name, cells.dtype) for name, cells in zip(labels, empty, strict=True)]
    rows = 0
    for chunk in lazy.chunks():
        rows += len(chunk)
        for column, cells in zip(found, _columns(chunk), strict=True):
            column.see(cells)
    measured = [i for i, column in enumerate(found) if column.has_range]
    for chunk in lazy.chunks() if measured else ():
        cells = _columns(chunk)
        for i in measured:
            found[i].sort_in(cells[i])
    return {"rows": rows, "columns": [column.told() for column in found]}


def _columns(chunk: Any) -> list[pd.Series]:
    if isinstance(chunk, pd.Series):
        return [chunk]
    return [chunk.iloc[:, i] for i in range(chunk.shape[1])]


class _Column:
    """What is known of one column so far."""

    def __init__(self, name: str, dtype: Any) -> None:
        self.name, self.dtype = name, dtype
        self.is_time = dtype.kind in "mM"
        is_number = pd.api.types.is_numeric_dtype(dtype) and dtype.kind in "iufb"
        self.is_number = is_number and not pd.api.types.is_bool_dtype(dtype)
        self._nulls = 0
        self._hashes = np.empty(0, np.uint64)
        self._is_exact = True
        self._counts: Counter[int] = Counter()
        self._texts: dict[int, Any] = {}
        self._top_is_exact = True
        self._low: Any = None
        self._high: Any = None
        self._n, self._mean, self._squares = 0, 0.0, 0.0
        self._bars = np.zeros(BARS, np.int64)

    # --- first reading

    def see(self, cells: pd.Series) -> None:
        missing = cells.isna()
        self._nulls += int(missing.sum())
        cells = cells[~missing]
        if not len(cells):
            return
        if isinstance(cells.dtype, pd.SparseDtype):
            cells = cells.sparse.to_dense()
        values = cells if not _is_mixed(cells) else cells.map(_shown).astype(str)
        counted = values.value_counts(sort=False)
        self._count(pd.util.hash_array(counted.index.to_numpy(), categorize=False), counted)
        self._see_order(values if _is_mixed(cells) else cells)

    def _count(self, hashes: np.ndarray, counted: pd.Series) -> None:
        known = np.unique(np.concatenate([self._hashes, hashes]))
        self._is_exact = self._is_exact and len(known) <= KEPT
        self._hashes = known[:KEPT]
        counts = counted.to_numpy()
        if len(counts) > COUNTED:  # the rarest of so many are not among the most frequent
            self._top_is_exact = False
            most = np.argsort(-counts, kind="stable")[:COUNTED]
            counted, counts, hashes = counted.iloc[most], counts[most], hashes[most]
        for hash_, value, count in zip(hashes.tolist(), counted.index, counts.tolist(), strict=True):
            if hash_ not in self._texts:
                self._texts[hash_] = _shown(value)
            self._counts[hash_] += count
            if len(self._counts) > 2 * COUNTED:
                self._forget()

    def _forget(self) -> None:
        self._top_is_exact = False
        self._counts = Counter(dict(self._counts.most_common(COUNTED)))
        self._texts = {hash_: self._texts[hash_] for hash_ in self._counts}

    def _see_order(self, cells: pd.Series) -> None:
        try:
            low, high = cells.min(), cells.max()
        except (TypeError, ValueError):  # without an order
            return
        if is_missing(low) or is_missing(high):
            return
        self._low = low if self._low is None else min(self._low, low)
        self._high = high if self._high is None else max(self._high, high)
        if self.is_number:
            self._see_numbers(cells.to_numpy("float64"))

    def _see_numbers(self, values: np.ndarray) -> None:
        """Mean and squares of what came before and of this chunk. Source: Chan, Golub, LeVeque 1983."""
        with np.errstate(invalid="ignore", over="ignore"):
            mean = float(values.mean())
            squares = float(((values - mean) ** 2).sum())
            n = self._n + len(values)
            delta = mean - self._mean
            self._squares += squares + delta * delta * self._n * len(values) / n
            self._mean += delta * len(values) / n
            self._n = n

    # --- second reading

    @property
    def has_range(self) -> bool:
        if self._low is None or not (self.is_number or self.is_time):
            return False
        low, high = self._range
        return math.isfinite(low) and math.isfinite(high) and math.isfinite(high - low)

    @property
    def _range(self) -> tuple[float, float]:
        low, high = (
            _numbers(pd.Series([v], dtype=self.dtype), self.is_time)[0] for v in (self._low, self._high)
        )
        return float(low), float(high)

    @property
    def _ends(self) -> tuple[float, float]:
        """Where the bars begin and end: wide enough apart that floats tell them from each other."""
        low, high = self._range
        least = 2 * BARS * float(np.spacing(max(abs(low), abs(high))))
        return (low, high) if high - low > least else (low - max(0.5, least), high + max(0.5, least))

    def sort_in(self, cells: pd.Series) -> None:
        self._bars += np.histogram(_numbers(cells.dropna(), self.is_time), BARS, self._ends)[0]

    # --- the answer

    def told(self) -> dict[str, Any]:
        mean = self._mean if self._n else None
        std = math.sqrt(self._squares / (self._n - 1)) if self._n > 1 and self._squares >= 0 else None
        return plain(
            {
                "name": self.name,
                "dtype": str(self.dtype),
                "nulls": self._nulls,
                "distinct": self._distinct,
                "distinct_is_exact": self._is_exact,
                "min": self._bound(self._low),
                "max": self._bound(self._high),
                "mean": mean,
                "std": std,
                "histogram": self._histogram(),
                "top": [
                    {"value": self._texts[hash_], "count": count}
                    for hash_, count in self._counts.most_common(TOP)
                ],
                "top_is_exact": self._top_is_exact,
            }
        )

    @property
    def _distinct(self) -> int:
        if self._is_exact or len(self._hashes) < 2:
            return len(self._hashes)
        # the k smallest of n hashes lie below k/n of all there can be
        return round((KEPT - 1) / (int(self._hashes[-1]) / 2**64))

    def _bound(self, value: Any) -> Any:
        return None if value is None else _shown(value)

    def _histogram(self) -> dict[str, Any] | None:
        if not self.has_range:
            return None
        edges = np.linspace(*self._ends, BARS + 1)
        if not self.is_time:
            return {"edges": edges.tolist(), "counts": self._bars.tolist()}
        form = pd.Timestamp if self.dtype.kind == "M" else pd.Timedelta
        return {"edges": [str(form(int(edge))) for edge in edges], "counts": self._bars.tolist()}


def _numbers(cells: pd.Series, is_time: bool) -> np.ndarray:
    """Numbers as floats; times and durations as nanoseconds."""
    if not is_time:
        return cells.to_numpy("float64")
    if getattr(cells.dtype, "tz", None) is not None:
        cells = cells.dt.tz_convert("UTC").dt.tz_localize(None)
    unit = f"{cells.dtype.kind}8[ns]"
    return cells.to_numpy().astype(unit).astype("int64").astype("float64")


def _is_mixed(cells: pd.Series) -> bool:
    """Whether the values have to be looked at as texts: they may be of any type, or cannot be counted."""
    if cells.dtype == object:
        return pd.api.types.infer_dtype(cells, skipna=True) != "string"
    return (
        not isinstance(cells.dtype, pd.StringDtype | pd.CategoricalDtype) and cells.dtype.kind not in "iufbmM"
    )


def _shown(value: Any) -> Any:
    """A value as JSON has it, not longer than a page needs."""
    found = plain(value)
    if isinstance(found, list | dict):
        found = dumps(found)
    return f"{found[:TEXT]}..." if isinstance(found, str) and len(found) > TEXT else found


def chosen(lazy: Lazy, start: int, count: int) -> tuple[Lazy, int]:
    """Some of the columns, from number `start` on, and how many there are."""
    labels: Sequence[Any] = list(lazy.columns)
    if start == 0 and len(labels) <= count:
        return lazy, len(labels)
    return lazy.select(list(labels[start : start + count])), len(labels)
