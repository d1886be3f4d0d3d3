"""Lazy frames over row documents: the server filters, sorts and counts, rows come a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omegaml.backends.columnar.types import ColumnType
from omegaml.errors import InvalidInput, Mismatch, NotFound
from omegaml.query import And, Expr, Labels, Q, where
from omegaml.streams import Frames, constant_key, listed

if TYPE_CHECKING:
    from omegaml.backends.rows import Field
    from omegaml.store.rowreader import RowsReader


@dataclass(frozen=True)
class _Plan:
    columns: tuple[int, ...]
    where: Expr | None = None
    order: tuple[tuple[Field, bool], ...] = ()
    after: int | None = None
    start: int = 0
    stop: int | None = None
    single: bool = False


class LazyRows(Frames):
    """A dataset of row documents, what is asked of it, and nothing read yet; used as a `LazyFrame`."""

    def __init__(self, reader: RowsReader, plan: _Plan | None = None) -> None:
        self.reader = reader
        self._plan = plan or _Plan(tuple(range(len(reader.labels))))

    @property
    def columns(self) -> pd.Index:
        return self.reader.labels.take(list(self._plan.columns))

    @property
    def names(self) -> Labels:
        """The names by which columns and index levels can be asked for."""
        return self.reader.names

    def type_of(self, name: str) -> ColumnType:
        """Return the type of a stored column or index level. Raises NotFound."""
        return self.reader.find(name).type or ColumnType("object")

    def __repr__(self) -> str:
        return f"LazyRows({', '.join(map(str, self.columns))})"

    def filter(self, q: Q | Expr | None = None, **filters: Any) -> LazyRows:
        """Keep the rows that match, as `filter(sales__gte=100)` or `filter(Q(a=1) | Q(b=2))`."""
        self._check_no_range("filter")
        expr = where(q, filters, self.names)
        if expr is None:
            return self
        for column in expr.columns():
            self.reader.find(column)
        mine = self._plan.where
        return self._with(where=expr if mine is None else And((mine, expr)))

    def select(self, *labels: Any) -> LazyRows:
        """Keep these columns, in this order: `select("a", "b")`, a list, or `select("^a")` for all but a."""
        asked = [label for part in labels for label in (part if isinstance(part, list) else [part])]
        if asked and isinstance(asked[0], str) and asked[0].startswith("^"):
            dropped = {self._position(label) for label in [asked[0][1:], *asked[1:]]}
            return self._with(columns=tuple(i for i in self._plan.columns if i not in dropped))
        return self._with(columns=tuple(self._position(label) for label in asked))

    def __getitem__(self, asked: Any) -> LazyRows:
        if isinstance(asked, slice):
            return self._rows(asked)
        chosen = self.select(asked)
        return chosen if isinstance(asked, list) else chosen._with(single=True)

    def sort(self, by: Any, ascending: bool | Sequence[bool] = True) -> LazyRows:
        """Sort by one or several columns, in the server; ties keep their order, missing values come last."""
        self._check_no_range("sort")
        fields = [self.reader.find(str(label)) for label in listed(by)]
        ways = [ascending] * len(fields) if isinstance(ascending, bool) else list(ascending)
        if len(ways) != len(fields):
            raise InvalidInput(f"{len(fields)} columns to sort by and {len(ways)} directions")
        return self._with(order=tuple(zip(fields, ways, strict=True)))

    def head(self, n: int = 5) -> LazyRows:
        """Keep the first `n` rows."""
        return self._rows(slice(0, n))

    @property
    def snapshot(self) -> tuple[str, int]:
        """Which data this is, and how much of it there is: what is appended later only adds to the latter."""
        return self.reader.id, self.reader.size

    def upto(self, size: int) -> LazyRows:
        """The dataset as it was when its snapshot had this size."""
        return LazyRows(self.reader.until(size), self._plan)

    def after(self, row: int) -> LazyRows:
        """Keep the rows that come after the one stored under number `row`; not to be had sorted."""
        self._check_no_range("after")
        if self._plan.order:
            raise InvalidInput("sorted row documents go on by their place", hint="[place:]")
        return self._with(after=row)

    def count(self) -> int:
        plan = self._plan
        total = self.reader.count(plan.where, plan.after)
        return max(0, (total if plan.stop is None else min(total, plan.stop)) - plan.start)

    def chunks(self) -> Iterator[Any]:
        """Yield the rows in order, some thousand at a time."""
        return (chunk for _, chunk in self.numbered())

    def numbered(self) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield what `chunks` yields, each with the numbers that its rows are stored under."""
        plan = self._plan
        for numbers, found in self.reader.scan(
            plan.columns, plan.where, plan.order, plan.start, plan.stop, plan.after
        ):
            yield numbers, self._shaped(found)

    def get(self) -> Any:
        """Return all of it as what was put."""
        found = [*self.chunks()]
        return pd.concat(found) if found else self._shaped(self.reader.empty(self._plan.columns))

    # --- inside

    def _with(self, **changes: Any) -> LazyRows:
        return LazyRows(self.reader, replace(self._plan, **changes))

    def _rows(self, rows: slice) -> LazyRows:
        start, stop = rows.start or 0, rows.stop
        if rows.step not in (None, 1) or start < 0 or (stop is not None and stop < 0):
            raise InvalidInput("a range of rows has a start and a stop from 0 on, and no step")
        begin, end = self._plan.start + start, self._plan.stop
        if stop is not None:
            end = self._plan.start + stop if end is None else min(end, self._plan.start + stop)
        return self._with(start=begin, stop=None if end is None else max(begin, end))

    def _shaped(self, found: Any) -> Any:
        return found.iloc[:, 0] if self._plan.single and isinstance(found, pd.DataFrame) else found

    def _empty(self) -> pd.DataFrame:
        found = self.reader.empty(self._plan.columns)
        return found.to_frame() if isinstance(found, pd.Series) else found

    def _pick(self, keys: Sequence[Any], labels: Sequence[Any]) -> Iterator[pd.DataFrame]:
        asked = [*keys, *labels]
        frames = self.chunks() if asked else iter(())
        for chunk in chain([self._empty()], frames):
            whole = chunk.to_frame() if isinstance(chunk, pd.Series) else chunk
            values = {i: _column(whole, label) for i, label in enumerate(asked)}
            frame = pd.DataFrame(values, copy=False).reset_index(drop=True)
            yield frame if keys else constant_key(frame)

    def _position(self, label: Any) -> int:
        own = list(self.reader.labels)
        found = [i for i, mine in enumerate(own) if mine == label] or [
            i for i, mine in enumerate(own) if str(mine) == str(label)
        ]
        if len(found) > 1:
            raise Mismatch(
                f"{len(found)} columns are called {label!r}", hint="rename them to tell them apart"
            )
        if not found:
            raise NotFound(f"there is no column {label!r}", hint=f"columns: {', '.join(map(str, own[:20]))}")
        return found[0]

    def _check_no_range(self, step: str) -> None:
        if self._plan.start or self._plan.stop is not None:
            raise InvalidInput(f"{step} comes before head and ranges of rows", hint="or get() the rows first")


def _column(frame: pd.DataFrame, label: Any) -> pd.Series:
    if label in frame.columns:
        return frame[label]
    return pd.Series(frame.index.get_level_values("index" if label is None else label), index=frame.index)
