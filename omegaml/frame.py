"""Lazy frames: a stored table that is filtered, sorted, grouped and joined without ever being held whole.

A `LazyFrame` only remembers what is asked for; reading begins with `get`, `chunks`, `count` and the
aggregates, and then fetches the columns and chunks that are needed, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from omegaml.backends.columnar.codec import decode
from omegaml.backends.columnar.values import coded, from_arrow
from omegaml.errors import InvalidInput, Mismatch
from omegaml.lazy import Lazy, Plan
from omegaml.query import Labels
from omegaml.streams import constant_key

if TYPE_CHECKING:
    from omegaml.backends.columnar.schema import ColumnType, Schema
    from omegaml.store.reader import Piece, Reader

BLOCK_ROWS = 65_536
VALUE_ROWS = 200_000
RANKED_ROWS = 250_000  # rows whose sort keys are held at once
GATHER_BYTES = 32 << 20  # of sorted rows that are collected by one reading of the data
FEW_ROWS = 4_096  # not worth a sort of their own


class LazyFrame(Lazy):
    """A table in chunks, what is asked of it, and nothing read yet.

    A sort holds the sorted columns of at most some 250,000 rows, except for `get()`, which holds them all.
    What comes before `after(row)` is not read, unless it has to be looked at for the order.
    """

    reader: Reader

    def __init__(self, reader: Reader, plan: Plan | None = None) -> None:
        super().__init__(reader, plan or Plan(tuple(range(reader.schema.width))))

    @property
    def schema(self) -> Schema:
        """The schema of what `get` returns."""
        return self.reader.schema.select(self._plan.columns)

    @property
    def columns(self) -> pd.Index:
        return self.schema.labels

    @property
    def names(self) -> Labels:
        return Labels(self.reader.schema.find)

    def type_of(self, name: str) -> ColumnType:
        """Return the type of a stored column or index level. Raises NotFound."""
        return self.reader.schema.types[self.reader.schema.find(name)]

    @property
    def snapshot(self) -> tuple[str, int]:
        return self.reader.id, self.reader.rows

    def count(self) -> int:
        plan = self._plan
        if plan.order and plan.after is not None:
            return sum(len(ranked) for ranked in self._ranks())
        total = max(0, self.reader.rows - self._first_row)
        if plan.where is not None:
            stop = plan.stop
            total = 0
            for piece in self.reader.scan([], plan.where, self._first_row):
                total += piece.rows
                if stop is not None and total >= stop:
                    break
        return self._within(total)

    def chunks(self, as_: str = "pandas") -> Iterator[Any]:
        """Yield the rows in order, as frames of at most some ten thousand rows.

        A sort without `head` goes over its columns again for every 250,000 rows, and over the data for every
        32 MiB.

        Args:
            as_: "pandas" or "arrow".
        """
        return (chunk for _, chunk in self.numbered(as_))

    def numbered(self, as_: str = "pandas") -> Iterator[tuple[np.ndarray, Any]]:
        """Yield what `chunks` yields, each with its rows' numbers among the stored ones."""
        if not self._plan.order:
            for piece in self._pieces(self._stored()):
                numbers = _numbers(piece)
                yield numbers, self._made([piece], numbers, as_)
            return
        size = BLOCK_ROWS
        for ranked in self._ranks():
            start = 0
            while start < len(ranked):
                block = ranked.iloc[start : start + size]
                start += len(block)
                pieces, places = self._fetched(block, self._stored())
                found = self._ordered(self._made(pieces, np.sort(block["row"].to_numpy()), as_), places)
                size = max(BLOCK_ROWS, len(block) * GATHER_BYTES // max(1, _bytes(pieces)))
                del pieces
                numbers = block["row"].to_numpy()
                for at in range(0, len(block), BLOCK_ROWS):
                    yield numbers[at : at + BLOCK_ROWS], _cut(found, at, at + BLOCK_ROWS)

    def get(self, as_: str | None = None) -> Any:
        """Return the result as what was put (`as_`: "pandas", "arrow" or "polars")."""
        if self._plan.order:
            (ranked,) = [*self._ranks(None)] or [_NO_RANKS]
            pieces, places = self._fetched(ranked, self._stored())
            return self._ordered(self._made(pieces, np.sort(ranked["row"].to_numpy()), as_), places)
        pieces = list(self._pieces(self._stored()))
        whole = self._plan.where is None and self._plan.start == 0 and not self._first_row
        numbers = None if whole else np.concatenate([np.empty(0, np.int64), *map(_numbers, pieces)])
        return self._made(pieces, numbers, as_)

    @property
    def is_whole(self) -> bool:
        """Whether nothing but columns was left out."""
        plan = self._plan
        is_cut = (
            self._first_row > 0 or plan.start > 0 or (plan.stop is not None and plan.stop < self.reader.rows)
        )
        return plan.where is None and not is_cut

    def stored(self) -> Iterator[tuple[Sequence[pa.Array], np.ndarray]]:
        """Yield the rows, not sorted, as they are stored: columns, then those of the index; row numbers."""
        for piece in self._pieces(self._stored()):
            yield piece.arrays, _numbers(piece)

    # --- reading

    def _stored(self) -> list[int]:
        """The positions to read: the chosen data columns, then the index."""
        schema = self.reader.schema
        return [*self._plan.columns, *range(schema.width, len(schema.types))]

    @property
    def _first_row(self) -> int:
        """The stored row that reading begins with, as far as no order says otherwise."""
        plan = self._plan
        return 0 if plan.after is None or plan.order else plan.after + 1

    def _pieces(self, columns: list[int], ranged: bool = True) -> Iterator[Piece]:
        """Yield the rows after filter and range, not sorted."""
        plan = self._plan
        start, stop = (plan.start, plan.stop) if ranged else (0, None)
        first = self._first_row
        if stop is not None and stop <= start:
            return
        if plan.where is None:
            yield from self.reader.scan(columns, None, first + start, None if stop is None else first + stop)
            return
        if start:
            first = self._matching(start, first)
        left = None if stop is None else stop - start
        for piece in self.reader.scan(columns, plan.where, first):
            if left is not None and piece.rows > left:
                taken = np.arange(piece.rows) if piece.taken is None else piece.taken
                piece = replace(
                    piece, rows=left, arrays=[a.slice(0, left) for a in piece.arrays], taken=taken[:left]
                )
            yield piece
            if left is not None:
                left -= piece.rows
                if not left:
                    return

    def _matching(self, skip: int, first: int) -> int:
        """The number of the row that matches after `skip` others from `first` on; the end if there is none.

        The other columns are not read for that.
        """
        for piece in self.reader.scan([], self._plan.where, first):
            if piece.rows > skip:
                return int(_numbers(piece)[skip])
            skip -= piece.rows
        return self.reader.rows

    def _made(self, pieces: Sequence[Piece], numbers: np.ndarray | None, as_: str | None) -> Any:
        width = len(self._stored())
        columns = [[piece.arrays[i] for piece in pieces] for i in range(width)]
        found = decode(self.schema, columns, sum(piece.rows for piece in pieces), numbers, as_)
        return found.iloc[:, 0] if self._plan.single and isinstance(found, pd.DataFrame) else found

    def _ranks(self, most: int | None = RANKED_ROWS) -> Iterator[pd.DataFrame]:
        """Yield the numbers of the rows in their sorted order, and of the pieces they are in.

        Args:
            most: so many at a time; the keys of all rows are gone over for each. None: all at once.
        """
        after, skip, left = self._plan.after, self._plan.start, self._plan.stop
        while left is None or left > 0:
            count = left if most is None else most if left is None else min(most, left)
            ranked = self._first(count, after)
            if len(ranked) > skip:
                yield ranked.iloc[skip:]
            if count is None or len(ranked) < count:
                return
            after, skip = int(ranked["row"].iloc[-1]), max(0, skip - count)
            left = None if left is None else left - count

    def _first(self, count: int | None, after: int | None) -> pd.DataFrame:
        """The first `count` rows in their order, of those that come after stored row number `after`."""
        columns, ways = [k for k, _ in self._plan.order], [way for _, way in self._plan.order]
        names = list(range(len(columns)))
        floor = None if after is None else self._values_at(columns, after)
        best, waiting = _NO_RANKS, list[pd.DataFrame]()
        for n, piece in enumerate(self._pieces(columns, ranged=False)):
            keys = self._values(columns, [piece]).assign(row=_numbers(piece), piece=n)
            if floor is not None:
                keys = _behind(keys, floor, names, ways)
            if count is not None and len(best) >= count:
                keys = keys[~_compared(keys[0], best[0].iloc[-1], ways[0])[1]]
            waiting.append(keys)
            # of those that are first so far, no more are kept, and none that comes later is looked at closely
            if count is not None and sum(map(len, waiting)) >= max(count, FEW_ROWS):
                best, waiting = _sorted([best, *waiting], names, ways).head(count), []
        return _sorted([best, *waiting], names, ways).head(count)[["row", "piece"]]

    def _values_at(self, columns: list[int], row: int) -> pd.DataFrame:
        """What a stored row is sorted by."""
        pieces = [*self.reader.scan(columns, None, row, row + 1)]
        if not pieces:
            raise InvalidInput(f"there is no row {row}")
        return self._values(columns, pieces).assign(row=row, piece=-1)

    def _ordered(self, found: Any, places: np.ndarray) -> Any:
        """Return stored rows in the order of their ranks."""
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
        for ranked in self._ranks():
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
        positions = [self._key(label) for label in [*keys, *labels]]
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

    def _key(self, label: Any) -> int:
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

    def _position(self, label: Any) -> int:
        position = self._key(label)
        if position >= self.reader.schema.width:
            raise InvalidInput(f"{label!r} is the index, which always comes with the columns")
        return position


def _numbers(piece: Piece) -> np.ndarray:
    offsets = np.arange(piece.rows) if piece.taken is None else piece.taken
    return piece.start + offsets.astype(np.int64)


def _bytes(pieces: Sequence[Piece]) -> int:
    return sum(array.nbytes for piece in pieces for array in piece.arrays)


def _cut(found: Any, start: int, stop: int) -> Any:
    """Some rows of a frame or table."""
    return found.iloc[start:stop] if hasattr(found, "iloc") else found.slice(start, stop - start)


def _sorted(frames: Sequence[pd.DataFrame], by: list[int], ways: list[bool]) -> pd.DataFrame:
    """The rows of frames that follow each other, in order."""
    frame = pd.concat([f for f in frames if len(f)] or [*frames[-1:]], ignore_index=True)
    if not len(frame):
        return frame
    try:
        return frame.sort_values(by, ascending=ways, kind="stable", na_position="last")
    except (TypeError, pa.ArrowException) as exc:
        raise InvalidInput(f"the columns cannot be sorted: {exc}") from exc


def _behind(keys: pd.DataFrame, floor: pd.DataFrame, by: list[int], ways: list[bool]) -> pd.DataFrame:
    """Those of the rows that come after the one of `floor`, as they are stored."""
    keys = keys[~_compared(keys[0], floor[0].iloc[0], ways[0])[0]]
    row = int(floor["row"].iloc[0])
    parts = [keys[keys["row"] < row], floor, keys[keys["row"] > row]]  # ties keep their order
    ordered = _sorted(parts, by, ways)["row"].to_numpy()
    (place,) = np.flatnonzero(ordered == row)
    return keys[keys["row"].isin(ordered[place + 1 :])]


def _compared(values: pd.Series, one: Any, is_ascending: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where values surely come before a single one of their kind, and where after it; missing ones are last.

    It takes far less than to sort them.
    """
    unsure = np.zeros(len(values), bool)
    is_text = isinstance(one, str) and not isinstance(values.dtype, pd.CategoricalDtype)
    if not is_text and values.dtype.kind not in "iufbmM":
        return unsure, unsure
    missing = values.isna().to_numpy()
    if pd.isna(one):
        return ~missing, unsure
    try:
        below, above = ((test.fillna(False).to_numpy(bool)) for test in (values < one, values > one))
    except TypeError:  # texts among other things
        return unsure, unsure
    return (below, above | missing) if is_ascending else (above, below | missing)


_NO_RANKS = pd.DataFrame({"row": np.empty(0, np.int64), "piece": np.empty(0, np.int64)})
