"""Lazy frames: a stored table that is filtered, sorted, grouped and joined without ever being held whole.

A `LazyFrame` only remembers what is asked for; reading begins with `get`, `chunks`, `count` and the
aggregates, and then fetches the columns and chunks that are needed, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from omegaml.backends.columnar.codec import decode
from omegaml.backends.columnar.values import coded, from_arrow
from omegaml.errors import InvalidInput, Mismatch
from omegaml.query import And, Expr, Labels, Q, where
from omegaml.streams import Frames, constant_key, listed

if TYPE_CHECKING:
    from omegaml.backends.columnar.schema import ColumnType, Schema
    from omegaml.store.reader import Piece, Reader

BLOCK_ROWS = 65_536
VALUE_ROWS = 200_000


@dataclass(frozen=True)
class _Plan:
    columns: tuple[int, ...]
    where: Expr | None = None
    order: tuple[tuple[int, bool], ...] = ()
    start: int = 0
    stop: int | None = None
    single: bool = False


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

    @property
    def names(self) -> Labels:
        """The names by which columns and index levels can be asked for."""
        return Labels(self.reader.schema.find)

    def type_of(self, name: str) -> ColumnType:
        """Return the type of a stored column or index level. Raises NotFound."""
        return self.reader.schema.types[self.reader.schema.find(name)]

    def __repr__(self) -> str:
        return f"LazyFrame({', '.join(map(str, self.columns))})"

    def _with(self, **changes: Any) -> LazyFrame:
        return LazyFrame(self.reader, replace(self._plan, **changes))

    def filter(self, q: Q | Expr | None = None, **filters: Any) -> LazyFrame:
        """Keep the rows that match, as `filter(sales__gte=100)` or `filter(Q(a=1) | Q(b=2))`."""
        self._check_no_range("filter")
        expr = where(q, filters, self.names)
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
        keys = [self._find(label) for label in listed(by)]
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

    def chunks(self, as_: str = "pandas") -> Iterator[Any]:
        """Yield the rows in order, as frames of at most some ten thousand rows.

        A sort without `head` goes over the data again for every 65,536 rows.

        Args:
            as_: "pandas" or "arrow".
        """
        if not self._plan.order:
            for piece in self._pieces(self._stored()):
                yield self._made([piece], _numbers(piece), as_)
            return
        ranked = self._ranked()
        for start in range(0, len(ranked), BLOCK_ROWS):
            yield self._gathered(ranked.iloc[start : start + BLOCK_ROWS], as_)

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
            keys = self._values(columns, [piece]).assign(row=_numbers(piece), piece=n)
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

    def _plain_values(self, positions: list[int], keys: int = 0) -> Iterator[pd.DataFrame]:
        """Yield frames of some hundred thousand rows: with smaller ones most time goes into making them."""
        waiting: list[Piece] = []
        for piece in self._pieces(positions):
            waiting.append(piece)
            if sum(p.rows for p in waiting) >= VALUE_ROWS:
                yield self._values(positions, waiting, keys)
                waiting = []
        if waiting:
            yield self._values(positions, waiting, keys)

    def _sorted_values(self, positions: list[int]) -> Iterator[pd.DataFrame]:
        ranked = self._ranked()
        for start in range(0, len(ranked), BLOCK_ROWS):
            pieces, places = self._fetched(ranked.iloc[start : start + BLOCK_ROWS], positions)
            frame = pd.concat([self._values(positions, [piece]) for piece in pieces], ignore_index=True)
            yield frame.iloc[places].reset_index(drop=True)

    def _no_values(self, positions: Sequence[int]) -> pd.DataFrame:
        made = [from_arrow([], self.reader.schema.types[i], 0) for i in positions]
        return pd.DataFrame({n: pd.Series(v, dtype=v.dtype) for n, v in enumerate(made)})

    def _values(self, positions: Sequence[int], pieces: Sequence[Piece], keys: int = 0) -> pd.DataFrame:
        """Return the values of some columns; `keys`: how many of them only tell groups apart."""
        types, rows = self.reader.schema.types, sum(piece.rows for piece in pieces)
        made: list[Any] = []
        is_coded = False
        for n, i in enumerate(positions):
            parts = [piece.arrays[n] for piece in pieces]
            codes = coded(parts, rows) if n < keys == 1 and types[i].kind == "object" else None
            is_coded = is_coded or codes is not None
            made.append(from_arrow(parts, types[i], rows) if codes is None else codes)
        columns = {n: pd.Series(v, dtype=v.dtype, copy=False) for n, v in enumerate(made)}
        frame = pd.DataFrame(columns, copy=False)
        frame.attrs["coded"] = is_coded
        return frame

    def _pick(self, keys: Sequence[Any], labels: Sequence[Any]) -> Iterator[pd.DataFrame]:
        positions = [self._find(label) for label in [*keys, *labels]]
        once = list(dict.fromkeys(positions))
        rows = self._sorted_values(once) if self._plan.order else self._plain_values(once, len(keys))
        for values in chain([self._no_values(once)], rows):
            frame = values
            if once != positions:
                frame = values[[once.index(p) for p in positions]].set_axis(range(len(positions)), axis=1)
            yield frame if keys else constant_key(frame)

    def _empty(self) -> pd.DataFrame:
        found = decode(self.schema, [[] for _ in self._stored()], 0, None, "pandas")
        return found.to_frame() if isinstance(found, pd.Series) else found

    # --- names

    def _has(self, label: Any) -> bool:
        return str(label) in self.names

    def _find(self, label: Any) -> int:
        """Return the position of a stored column by its label, of any type, or by its text."""
        schema = self.reader.schema
        if not isinstance(label, str):
            same = [i for i, own in enumerate(schema.labels) if type(own) is type(label) and own == label]
            if len(same) > 1:
                hint = "rename them to tell them apart"
                raise Mismatch(f"{len(same)} columns are called {label!r}", hint=hint)
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


def _numbers(piece: Piece) -> np.ndarray:
    offsets = np.arange(piece.rows) if piece.taken is None else piece.taken
    return piece.start + offsets.astype(np.int64)


def _sorted(frame: pd.DataFrame, by: list[int], ways: list[bool]) -> pd.DataFrame:
    try:
        return frame.sort_values(by, ascending=ways, kind="stable", na_position="last")
    except (TypeError, pa.ArrowException) as exc:
        raise InvalidInput(f"the columns cannot be sorted: {exc}") from exc
