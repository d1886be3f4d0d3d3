"""Tables that come as a stream of frames: aggregate, group, describe and join them in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from omegaml.errors import InvalidInput, NotFound
from omegaml.grouping import FUNCTIONS, Aggregate, aggregate, aggregates

QUANTILES = (0.25, 0.5, 0.75)
_ROW, _PARTNER = "_om#row", "_om#partner"


class Frames:
    """A table that comes as pandas frames, one after the other; what can be asked of any such table."""

    def chunks(self) -> Iterator[Any]:
        """Yield the rows in order, as frames that fit into memory."""
        raise NotImplementedError

    @property
    def columns(self) -> pd.Index:
        """The labels of the data columns."""
        raise NotImplementedError

    def get(self) -> Any:
        """Return all of it as one frame."""
        raise NotImplementedError

    def collect(self) -> Any:
        """Return all of it, as `get`."""
        return self.get()

    def count(self) -> int:
        """Return the number of rows."""
        return sum(len(chunk) for chunk in self.chunks())

    def __len__(self) -> int:
        return self.count()

    def groupby(self, by: Any) -> GroupBy:
        """Group by one column or index level, or by a list of them; missing keys are left out."""
        return GroupBy(self, listed(by))

    def agg(self, spec: Any = None, **named: Any) -> Any:
        """Aggregate all rows: `agg({"x": "mean"})`, `agg({"x": ["min", "max"]})`, `agg(top=("x", "max"))`.

        Returns: a Series by column, or by name; with several functions a frame, one row per function.
        """
        plan = aggregates(spec, named, list(self.columns))
        found = self._aggregate([], plan)
        cells = [
            _summed(found.iloc[0, i]) if a.function == "sum" else found.iloc[0, i] for i, a in enumerate(plan)
        ]
        if spec is None or all(a.result == a.label for a in plan):
            return pd.Series(cells, index=pd.Index([a.result for a in plan], tupleize_cols=False))
        table: dict[Any, dict[str, Any]] = {}
        for a, cell in zip(plan, cells, strict=True):
            table.setdefault(a.label, {})[a.function] = cell
        return pd.DataFrame(table)

    aggregate = agg

    def join(
        self, other: Any, on: Any, how: str = "inner", suffixes: tuple[str, str] = ("_x", "_y")
    ) -> Joined:
        """Join with `other`, a frame or lazy frame that fits into memory; this one is read chunk by chunk.

        Args:
            on: the column, or list of columns, of both.
            how: "inner", or "left" to keep the rows that have no partner.
        """
        if how not in ("inner", "left"):
            raise InvalidInput(f"join how={how!r} is not known", hint="inner or left")
        right = other.get() if isinstance(other, Frames) else other
        if not isinstance(right, pd.DataFrame):
            raise InvalidInput(f"a frame joins with a frame, not with {type(other).__name__}")
        keys = listed(on)
        for side, labels in (("this frame", self.columns), ("the other frame", right.columns)):
            for key in keys:
                if key not in labels:
                    raise NotFound(f"there is no column {key!r} in {side}")
        joined = Joined(self, right, keys, how, suffixes)
        joined._empty()  # refuses keys of types that do not compare
        return joined

    def describe(self) -> pd.DataFrame:
        """Return count, mean, std, min, quartiles and max of the columns of numbers, as pandas does.

        Memory: the values of one column at a time, 8 bytes per row.
        """
        first = self._empty()
        numeric = [c for c in first.columns if pd.api.types.is_numeric_dtype(first[c])]
        numeric = [c for c in numeric if not pd.api.types.is_bool_dtype(first[c])]
        if not numeric:
            raise InvalidInput("there are no columns of numbers to describe")
        table = {}
        for label in numeric:
            values = pd.concat([frame[1].dropna() for frame in self._pick([], [label])])
            table[label] = values.describe(percentiles=list(QUANTILES))
        return pd.DataFrame(table)

    def _empty(self) -> pd.DataFrame:
        raise NotImplementedError

    def _pick(self, keys: Sequence[Any], labels: Sequence[Any]) -> Iterator[pd.DataFrame]:
        """Yield frames of the columns `keys`, or a constant if there are none, then `labels`: 0, 1, ...

        The first has no rows, only types.
        """
        raise NotImplementedError

    def _aggregate(self, keys: Sequence[Any], plan: Sequence[Aggregate]) -> pd.DataFrame:
        labels = list(dict.fromkeys(a.label for a in plan))
        width = max(1, len(keys))
        places = [(width + labels.index(a.label), a.function) for a in plan]
        found = aggregate(self._pick(keys, labels), width, places)
        if keys:
            found.index.names = list(keys)
        elif not len(found):
            first = next(self._pick([], labels))
            found = pd.DataFrame(
                {i: as_cells([_of_nothing(first.iloc[:0, p], f)]) for i, (p, f) in enumerate(places)}
            )
        return found


def _of_nothing(values: pd.Series, function: str) -> Any:
    """Return the aggregate of no values: zero, or missing."""
    try:
        return np.nan if function == "first" else getattr(values, function)()
    except TypeError as exc:
        raise InvalidInput(f"the column has no {function}: {exc}") from exc


def _summed(value: Any) -> Any:
    """Return the sum of a whole column of integers in 64 bits, as pandas does."""
    if isinstance(value, np.integer):
        return np.int64(value) if isinstance(value, np.signedinteger) else np.uint64(value)
    return value


def as_cells(values: list[Any]) -> np.ndarray:
    """Return the values as they are, as a column of objects."""
    cells = np.empty(len(values), object)
    cells[:] = values
    return cells


def listed(by: Any) -> list[Any]:
    """Return one label, or a list of labels, as a list; a tuple is one label."""
    return list(by) if isinstance(by, list | pd.Index) else [by]


@dataclass(frozen=True)
class GroupBy:
    """Groups of a table's rows; its methods return a frame with one row per group, sorted by the keys."""

    source: Frames
    keys: list[Any]
    chosen: list[Any] | None = None
    single: bool = False

    def __getitem__(self, labels: Any) -> GroupBy:
        return GroupBy(self.source, self.keys, listed(labels), not isinstance(labels, list))

    def agg(self, spec: Any = None, **named: Any) -> Any:
        """Aggregate every group: `agg("mean")`, `agg({"x": ["mean", "max"]})`, `agg(top=("x", "max"))`."""
        labels = self.chosen or [c for c in self.source.columns if c not in self.keys]
        plan = aggregates(spec, named, labels)
        found = self.source._aggregate(self.keys, plan)
        results = [a.result for a in plan]
        if self.single and all(a.result == a.label for a in plan):
            return found[0].rename(labels[0])
        if self.single and spec is not None:
            results = [a.function for a in plan]
        nested = any(isinstance(r, tuple) for r in results) and spec is not None
        found.columns = (
            pd.MultiIndex.from_tuples(results) if nested else pd.Index(results, tupleize_cols=False)
        )
        return found

    aggregate = agg

    def size(self) -> pd.Series:
        """Return the number of rows of every group."""
        plan = [Aggregate(self.keys[0], "count", 0)]
        return self.source._aggregate(self.keys, plan)[0].rename(None).astype("int64")


def _method(function: str) -> Callable[[GroupBy], Any]:
    def apply(self: GroupBy) -> Any:
        return self.agg(function)

    apply.__name__, apply.__doc__ = function, f"Return the {function} of the columns, per group."
    return apply


for _function in FUNCTIONS:
    setattr(GroupBy, _function, _method(_function))


class Joined(Frames):
    """The rows of a table with those of a smaller one; read as the table is read."""

    def __init__(
        self, left: Frames, right: pd.DataFrame, keys: list[Any], how: str, suffixes: tuple[str, str]
    ) -> None:
        self._left, self._right = left, right
        self._how: Mapping[str, Any] = {"on": keys, "how": how, "suffixes": suffixes}

    def chunks(self) -> Iterator[pd.DataFrame]:
        start, labels = 0, self.columns
        right = self._right.copy(deep=False)
        right[_PARTNER] = np.arange(len(right))
        for chunk in self._left.chunks():
            left = chunk.copy(deep=False)
            left[_ROW] = np.arange(len(left))
            merged = self._merged(left, right)
            if len(merged):
                # some versions of pandas give the rows of an inner join in another order
                merged = merged.iloc[np.lexsort([merged.pop(_PARTNER), merged.pop(_ROW)])]
                merged.columns = labels
                merged.index = pd.RangeIndex(start, start + len(merged))
                start += len(merged)
                yield merged

    @property
    def columns(self) -> pd.Index:
        return self._empty().columns

    def get(self) -> pd.DataFrame:
        return pd.concat([*self.chunks()] or [self._empty()])

    def head(self, n: int = 5) -> pd.DataFrame:
        """Return the first `n` rows."""
        found, rows = [], 0
        for chunk in self.chunks():
            found.append(chunk.head(n - rows))
            rows += len(found[-1])
            if rows >= n:
                break
        return pd.concat(found or [self._empty()])

    def _empty(self) -> pd.DataFrame:
        return self._merged(self._left._empty(), self._right.head(0))

    def _merged(self, left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
        try:
            return left.merge(right, **self._how)
        except (ValueError, TypeError) as exc:
            raise InvalidInput(f"the frames cannot be joined on {self._how['on']}: {exc}") from exc

    def _pick(self, keys: Sequence[Any], labels: Sequence[Any]) -> Iterator[pd.DataFrame]:
        for chunk in chain([self._empty()], self.chunks()):
            frame = chunk[[*keys, *labels]].set_axis(range(len(keys) + len(labels)), axis=1)
            yield frame if keys else constant_key(frame)


def constant_key(frame: pd.DataFrame) -> pd.DataFrame:
    """Put all rows into one group."""
    key = pd.Series(np.zeros(len(frame), np.int8), index=frame.index)
    return pd.concat([key, frame], axis=1, keys=range(2)).set_axis(range(frame.shape[1] + 1), axis=1)
