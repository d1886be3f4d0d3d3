"""Lazy frames: a stored table that is filtered, sorted, grouped and joined without ever being held whole.

A `LazyFrame` only remembers what is asked for; reading begins with `get`, `chunks`, `count` and the
aggregates, and then fetches the columns and chunks that are needed, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from omegaml.backends.columnar.codec import decode
from omegaml.backends.columnar.values import from_arrow
from omegaml.errors import InvalidInput, Mismatch, NotFound
from omegaml.grouping import FUNCTIONS, Aggregate, aggregate, aggregates
from omegaml.query import And, Expr, Labels, Q, where

if TYPE_CHECKING:
    from omegaml.backends.columnar.schema import Schema
    from omegaml.store.columns import Piece, Reader

BLOCK_ROWS = 65_536
QUANTILES = (0.25, 0.5, 0.75)


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
        return GroupBy(self, _listed(by))

    def agg(self, spec: Any = None, **named: Any) -> Any:
        """Aggregate all rows: `agg({"x": "mean"})`, `agg({"x": ["min", "max"]})`, `agg(top=("x", "max"))`.

        Returns: a Series by column, or by name; with several functions a frame, one row per function.
        """
        plan = aggregates(spec, named, list(self.columns))
        found = self._aggregate([], plan)
        cells = [found.iloc[0, i] for i in range(len(plan))]
        if spec is None or all(a.result == a.label for a in plan):
            return pd.Series(cells, index=pd.Index([a.result for a in plan], tupleize_cols=False))
        table: dict[Any, dict[str, Any]] = {}
        for a, cell in zip(plan, cells, strict=True):
            table.setdefault(a.label, {})[a.function] = cell
        return pd.DataFrame(table)

    aggregate = agg

    def join(self, other: Any, on: Any, how: str = "inner", suffixes: tuple[str, str] = ("_x", "_y")) -> Joined:
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
        keys = _listed(on)
        for side, labels in (("this frame", self.columns), ("the other frame", right.columns)):
            for key in keys:
                if key not in labels:
                    raise NotFound(f"there is no column {key!r} in {side}")
        return Joined(self, right, keys, how, suffixes)

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
            parts = [f[1].dropna().to_numpy("float64") for f in self._pick([], [label])]
            values = pd.Series(np.concatenate([*parts, np.empty(0)]))
            table[label] = values.describe(percentiles=list(QUANTILES))
        return pd.DataFrame(table)

    def _empty(self) -> pd.DataFrame:
        raise NotImplementedError

    def _pick(self, keys: Sequence[Any], labels: Sequence[Any]) -> Iterator[pd.DataFrame]:
        """Yield frames of the columns `keys`, or a constant if there are none, then `labels`: 0, 1, ..."""
        raise NotImplementedError

    def _aggregate(self, keys: Sequence[Any], plan: Sequence[Aggregate]) -> pd.DataFrame:
        labels = list(dict.fromkeys(a.label for a in plan))
        width = max(1, len(keys))
        places = [(width + labels.index(a.label), a.function) for a in plan]
        found = aggregate(self._pick(keys, labels), width, places)
        if found is None:
            found = _of_nothing(next(self._pick(keys, labels), None), width, places, bool(keys))
        if keys:
            found.index.names = list(keys)
        return found


def _of_nothing(frame: pd.DataFrame | None, width: int, places: Sequence[tuple[int, str]], keyed: bool) -> pd.DataFrame:
    """Return the aggregates of no rows: none per group, or one for all that is zero or missing."""
    if keyed:
        names = range(width)
        index = pd.MultiIndex.from_arrays([[]] * width) if width > 1 else pd.Index([], dtype=object)
        if frame is not None:
            index = frame.iloc[:0].set_axis(range(frame.shape[1]), axis=1).groupby(list(names)).size().index
        return pd.DataFrame({i: [] for i in range(len(places))}, index=index)
    zero = {i: [0 if f in ("count", "nunique", "sum") else np.nan] for i, (_, f) in enumerate(places)}
    return pd.DataFrame(zero)


def _listed(by: Any) -> list[Any]:
    return list(by) if isinstance(by, list | pd.Index) else [by]


@dataclass(frozen=True)
class GroupBy:
    """Groups of a table's rows; its methods return a frame with one row per group, sorted by the keys."""

    source: Frames
    keys: list[Any]
    chosen: list[Any] | None = None
    single: bool = False

    def __getitem__(self, labels: Any) -> GroupBy:
        return GroupBy(self.source, self.keys, _listed(labels), not isinstance(labels, list))

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
        found.columns = pd.MultiIndex.from_tuples(results) if nested else pd.Index(results, tupleize_cols=False)
        return found

    aggregate = agg

    def size(self) -> pd.Series:
        """Return the number of rows of every group."""
        plan = [Aggregate(self.keys[0], "count", 0)]
        return self.source._aggregate(self.keys, plan)[0].rename(None)


def _method(function: str) -> Callable[[GroupBy], Any]:
    def apply(self: GroupBy) -> Any:
        return self.agg(function)

    apply.__name__, apply.__doc__ = function, f"Return the {function} of the columns, per group."
    return apply


for _function in FUNCTIONS:
    setattr(GroupBy, _function, _method(_function))


class LazyFrame(Frames):
    """A stored table, what is asked of it, and nothing read yet.

    The steps are filter, then sort, then a range of rows (`head`, `[10:20]`); a filter or sort after a range
    would have to hold it, and is refused.
    """

    def __init__(self, reader: Reader, plan: _Plan | None = None) -> None:
        self.reader = reader
        self._plan = plan or _Plan(tuple(range(reader.schema.width)))

    @property
    def schema(self) -> Schema:
        """The schema of what `get` returns."""
        return self.reader.schema.select(self._plan.columns)

    @property
    def columns(self) -> pd.Index:
        return self.schema.labels

    def __repr__(self) -> str:
        return f"LazyFrame({', '.join(map(str, self.columns))})"

    def _with(self, **changes: Any) -> LazyFrame:
        return LazyFrame(self.reader, replace(self._plan, **changes))

    def filter(self, q: Q | Expr | None = None, **filters: Any) -> LazyFrame:
        """Keep the rows that match, as `filter(sales__gte=100)` or `filter(Q(a=1) | Q(b=2))`."""
        self._check_no_range("filter")
        expr = where(q, filters, Labels(self.reader.schema))
        if expr is None:
            return self
        for column in expr.columns():
            self.reader.schema.find(column)
        mine = self._plan.where
        return self._with(where=expr if mine is None else And((mine, expr)))

    def select(self, *labels: Any) -> LazyFrame:
        """Keep these columns, in this order: `select("a", "b")`, a list, or `select("^a")` for all but a."""
        asked = [label for part in labels for label in (part if isinstance(part, list) else [part])]
        if asked and isinstance(asked[0], str) and asked[0].startswith("^") and not self._has(asked[0]):
            dropped = {self._data(label) for label in [asked[0][1:], *asked[1:]]}
            return self._with(columns=tuple(i for i in self._plan.columns if i not in dropped))
        return self._with(columns=tuple(self._data(label) for label in asked))

    def __getitem__(self, asked: Any) -> LazyFrame:
        if isinstance(asked, slice):
            return self._rows(asked)
        chosen = self.select(asked)
        return chosen if isinstance(asked, list) else chosen._with(single=True)

    def sort(self, by: Any, ascending: bool | Sequence[bool] = True) -> LazyFrame:
        """Sort by one or several columns; ties keep their order, missing values come last.

        Memory: with `head(n)` n rows, else the sorted columns of all rows.
        """
        self._check_no_range("sort")
        keys = [self._find(label) for label in _listed(by)]
        ways = [ascending] * len(keys) if isinstance(ascending, bool) else list(ascending)
        if len(ways) != len(keys):
            raise InvalidInput(f"{len(keys)} columns to sort by and {len(ways)} directions")
        return self._with(order=tuple(zip(keys, ways, strict=True)))

    def head(self, n: int = 5) -> LazyFrame:
        """Keep the first `n` rows."""
        return self._rows(slice(0, n))

    def _rows(self, rows: slice) -> LazyFrame:
        start, stop = rows.start or 0, rows.stop
        if rows.step not in (None, 1) or start < 0 or (stop is not None and stop < 0):
            raise InvalidInput("a range of rows has a start and a stop from 0 on, and no step")
        begin, end = self._plan.start + start, self._plan.stop
        if stop is not None:
            end = self._plan.start + stop if end is None else min(end, self._plan.start + stop)
        return self._with(start=begin, stop=None if end is None else max(begin, end))

    def count(self) -> int:
        plan = self._plan
        total = self.reader.rows
        if plan.where is not None:
            stop = plan.stop
            total = 0
            for piece in self.reader.scan([], plan.where):
                total += piece.rows
                if stop is not None and total >= stop:
                    break
        return max(0, (total if plan.stop is None else min(total, plan.stop)) - plan.start)

    def chunks(self) -> Iterator[Any]:
        """Yield the rows in order, as pandas frames of at most some ten thousand rows.

        A sort without `head` goes over the data again for every 65,536 rows.
        """
        if not self._plan.order:
            for piece in self._pieces(self._stored()):
                yield self._made([piece], _numbers(piece), "pandas")
            return
        ranked = self._ranked()
        for start in range(0, len(ranked), BLOCK_ROWS):
            yield self._gathered(ranked.iloc[start : start + BLOCK_ROWS], "pandas")

    def get(self, as_: str | None = None) -> Any:
        """Return the result as what was put (`as_`: "pandas", "arrow" or "polars")."""
        if self._plan.order:
            return self._gathered(self._ranked(), as_)
        pieces = list(self._pieces(self._stored()))
        whole = self._plan.where is None and self._plan.start == 0
        numbers = None if whole else np.concatenate([np.empty(0, np.int64), *map(_numbers, pieces)])
        return self._made(pieces, numbers, as_)

    # --- reading

    def _stored(self) -> list[int]:
        """The positions to read: the chosen data columns, then the index."""
        schema = self.reader.schema
        return [*self._plan.columns, *range(schema.width, len(schema.types))]

    def _pieces(self, columns: list[int], ranged: bool = True) -> Iterator[Piece]:
        """Yield the rows after filter and range, not sorted."""
        plan = self._plan
        start, stop = (plan.start, plan.stop) if ranged else (0, None)
        if plan.where is None:
            if stop is None or stop > start:
                yield from self.reader.scan(columns, None, start, stop)
            return
        seen = 0
        for piece in self.reader.scan(columns, plan.where):
            lo, hi = max(0, start - seen), piece.rows if stop is None else min(piece.rows, stop - seen)
            seen += piece.rows
            if lo == 0 and hi == piece.rows:
                yield piece
            elif lo < hi:
                arrays = [a.slice(lo, hi - lo) for a in piece.arrays]
                taken = (np.arange(piece.rows) if piece.taken is None else piece.taken)[lo:hi]
                yield replace(piece, rows=hi - lo, arrays=arrays, taken=taken)
            if stop is not None and seen >= stop:
                return

    def _made(self, pieces: Sequence[Piece], numbers: np.ndarray | None, as_: str | None) -> Any:
        width = len(self._stored())
        columns = [[piece.arrays[i] for piece in pieces] for i in range(width)]
        found = decode(self.schema, columns, sum(piece.rows for piece in pieces), numbers, as_)
        return found.iloc[:, 0] if self._plan.single and isinstance(found, pd.DataFrame) else found

    def _ranked(self) -> pd.DataFrame:
        """Return the numbers of the rows in their sorted order, and of the pieces they are in."""
        plan = self._plan
        columns, ways = [k for k, _ in plan.order], [way for _, way in plan.order]
        names = list(range(len(columns)))
        best: list[pd.DataFrame] = []
        for n, piece in enumerate(self._pieces(columns, ranged=False)):
            keys = self._values(columns, piece).assign(row=_numbers(piece), piece=n)
            best.append(keys)
            if plan.stop is not None:
                best = [_sorted(pd.concat(best, ignore_index=True), names, ways).head(plan.stop)]
        if not best:
            return pd.DataFrame({"row": np.empty(0, np.int64), "piece": np.empty(0, np.int64)})
        ranked = _sorted(pd.concat(best, ignore_index=True), names, ways)
        return ranked[["row", "piece"]].iloc[plan.start : plan.stop]

    def _gathered(self, ranked: pd.DataFrame, as_: str | None) -> Any:
        """Return the given rows, in their order."""
        rows = np.sort(ranked["row"].to_numpy())
        pieces, places = self._fetched(ranked, self._stored())
        found = self._made(pieces, rows, as_)
        if isinstance(found, pd.DataFrame | pd.Series):
            return found.iloc[places]
        return found.take(places) if hasattr(found, "schema") and hasattr(found, "take") else found[places]

    def _fetched(self, ranked: pd.DataFrame, columns: list[int]) -> tuple[list[Piece], np.ndarray]:
        """Return the ranked rows as they are stored, and the place of each rank among them."""
        pieces = []
        for _, inside in ranked.groupby("piece", sort=True):
            numbers = np.sort(inside["row"].to_numpy())
            for piece in self.reader.scan(columns, None, int(numbers[0]), int(numbers[-1]) + 1):
                taken = numbers[(numbers >= piece.start) & (numbers < piece.start + piece.rows)] - piece.start
                arrays = [a.take(pa.array(taken)) for a in piece.arrays]
                pieces.append(replace(piece, rows=len(taken), arrays=arrays, taken=taken))
        rows = ranked["row"].to_numpy()
        return pieces, np.argsort(np.argsort(rows, kind="stable"), kind="stable")

    def _plain_values(self, positions: list[int]) -> Iterator[pd.DataFrame]:
        for piece in self._pieces(positions):
            yield self._values(positions, piece)

    def _sorted_values(self, positions: list[int]) -> Iterator[pd.DataFrame]:
        ranked = self._ranked()
        for start in range(0, len(ranked), BLOCK_ROWS):
            pieces, places = self._fetched(ranked.iloc[start : start + BLOCK_ROWS], positions)
            frame = pd.concat([self._values(positions, piece) for piece in pieces], ignore_index=True)
            yield frame.iloc[places].reset_index(drop=True)

    def _values(self, positions: Sequence[int], piece: Piece) -> pd.DataFrame:
        types = self.reader.schema.types
        made = [from_arrow([a], types[i], piece.rows) for i, a in zip(positions, piece.arrays, strict=True)]
        return pd.DataFrame({n: pd.Series(v, dtype=v.dtype, copy=False) for n, v in enumerate(made)}, copy=False)

    def _pick(self, keys: Sequence[Any], labels: Sequence[Any]) -> Iterator[pd.DataFrame]:
        positions = [self._find(label) for label in [*keys, *labels]]
        once = list(dict.fromkeys(positions))
        for values in self._sorted_values(once) if self._plan.order else self._plain_values(once):
            frame = values[[once.index(p) for p in positions]].set_axis(range(len(positions)), axis=1)
            yield frame if keys else _constant_key(frame)

    def _empty(self) -> pd.DataFrame:
        found = decode(self.schema, [[] for _ in self._stored()], 0, None, "pandas")
        return found.to_frame() if isinstance(found, pd.Series) else found

    # --- names

    def _has(self, label: Any) -> bool:
        return str(label) in Labels(self.reader.schema)

    def _find(self, label: Any) -> int:
        """Return the position of a stored column by its label, of any type, or by its text."""
        schema = self.reader.schema
        if not isinstance(label, str):
            same = [i for i, known in enumerate(schema.labels) if type(known) is type(label) and known == label]
            if len(same) > 1:
                raise Mismatch(f"{len(same)} columns are called {label!r}", hint="rename them to tell them apart")
            if same:
                return same[0]
        return schema.find(str(label))

    def _data(self, label: Any) -> int:
        position = self._find(label)
        if position >= self.reader.schema.width:
            raise InvalidInput(f"{label!r} is the index, which always comes with the columns")
        return position

    def _check_no_range(self, step: str) -> None:
        if self._plan.start or self._plan.stop is not None:
            raise InvalidInput(f"{step} comes before head and ranges of rows", hint="or get() the rows first")


@dataclass(frozen=True)
class _Plan:
    columns: tuple[int, ...]
    where: Expr | None = None
    order: tuple[tuple[int, bool], ...] = ()
    start: int = 0
    stop: int | None = None
    single: bool = False


class Joined(Frames):
    """The rows of a table with those of a smaller one; read as the table is read."""

    def __init__(
        self, left: Frames, right: pd.DataFrame, keys: list[Any], how: str, suffixes: tuple[str, str]
    ) -> None:
        self._left, self._right = left, right
        self._how: Mapping[str, Any] = {"on": keys, "how": how, "suffixes": suffixes}

    def chunks(self) -> Iterator[pd.DataFrame]:
        start = 0
        for chunk in self._left.chunks():
            merged = chunk.merge(self._right, **self._how)
            if len(merged):
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
        return self._left._empty().merge(self._right.head(0), **self._how)

    def _pick(self, keys: Sequence[Any], labels: Sequence[Any]) -> Iterator[pd.DataFrame]:
        for chunk in self.chunks():
            frame = chunk[[*keys, *labels]].set_axis(range(len(keys) + len(labels)), axis=1)
            yield frame if keys else _constant_key(frame)


def _constant_key(frame: pd.DataFrame) -> pd.DataFrame:
    """Put all rows into one group."""
    key = pd.Series(np.zeros(len(frame), np.int8), index=frame.index)
    return pd.concat([key, frame], axis=1, keys=range(2)).set_axis(range(frame.shape[1] + 1), axis=1)


def _numbers(piece: Piece) -> np.ndarray:
    offsets = np.arange(piece.rows) if piece.taken is None else piece.taken
    return piece.start + offsets.astype(np.int64)


def _sorted(frame: pd.DataFrame, by: list[int], ways: list[bool]) -> pd.DataFrame:
    try:
        return frame.sort_values(by, ascending=ways, kind="stable", na_position="last")
    except TypeError as exc:
        raise InvalidInput(f"the columns cannot be sorted: {exc}") from exc
