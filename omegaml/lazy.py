"""What is asked of a stored table before any of it is read: columns, filter, order and a range of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from omegaml.errors import InvalidInput
from omegaml.query import And, Expr, Labels, Q, where
from omegaml.streams import Frames, listed


@dataclass(frozen=True)
class Plan:
    """What is to be read.

    Attributes:
        columns: positions of the data columns.
        order: keys of the reader to sort by, and whether ascending.
        after: number of the stored row behind which reading begins.
        start, stop: the range of rows, of those that are left.
        single: whether the one column is asked for, and not a frame with it.
    """

    columns: tuple[int, ...]
    where: Expr | None = None
    order: tuple[tuple[Any, bool], ...] = ()
    after: int | None = None
    start: int = 0
    stop: int | None = None
    single: bool = False


class Lazy(Frames):
    """A stored table, what is asked of it, and nothing read yet.

    The steps are filter, then sort, then a range of rows (`head`, `[10:20]`); a filter or sort after a range
    would have to hold it, and is refused.
    """

    reader: Any

    def __init__(self, reader: Any, plan: Plan) -> None:
        self.reader = reader
        self._plan = plan

    @property
    def names(self) -> Labels:
        """The names by which columns and index levels can be asked for."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self.columns))})"

    def filter(self, q: Q | Expr | None = None, **filters: Any) -> Self:
        """Keep the rows that match, as `filter(sales__gte=100)` or `filter(Q(a=1) | Q(b=2))`."""
        self._check_no_range("filter")
        expr = where(q, filters, self.names)
        if expr is None:
            return self
        for column in expr.columns():
            self._key(column)
        mine = self._plan.where
        return self._with(where=expr if mine is None else And((mine, expr)))

    def select(self, *labels: Any) -> Self:
        """Keep these columns, in this order: `select("a", "b")`, a list, or `select("^a")` for all but a."""
        asked = [label for part in labels for label in (part if isinstance(part, list) else [part])]
        first = asked[0] if asked else None
        if isinstance(first, str) and first.startswith("^") and first not in self.names:
            dropped = {self._position(label) for label in [first[1:], *asked[1:]]}
            return self._with(columns=tuple(i for i in self._plan.columns if i not in dropped))
        return self._with(columns=tuple(self._position(label) for label in asked))

    def __getitem__(self, asked: Any) -> Self:
        if isinstance(asked, slice):
            return self._rows(asked)
        chosen = self.select(asked)
        return chosen if isinstance(asked, list) else chosen._with(single=True)

    def sort(self, by: Any, ascending: bool | Sequence[bool] = True) -> Self:
        """Sort by one or several columns; ties keep their order, missing values come last."""
        self._check_no_range("sort")
        keys = [self._key(label) for label in listed(by)]
        ways = [ascending] * len(keys) if isinstance(ascending, bool) else list(ascending)
        if len(ways) != len(keys):
            raise InvalidInput(f"{len(keys)} columns to sort by and {len(ways)} directions")
        return self._with(order=tuple(zip(keys, ways, strict=True)))

    def head(self, n: int = 5) -> Self:
        """Keep the first `n` rows."""
        return self._rows(slice(0, n))

    @property
    def snapshot(self) -> tuple[str, int]:
        """Which data this is, and how much of it there is: what is appended later only adds to the latter."""
        raise NotImplementedError

    def upto(self, size: int) -> Self:
        """The dataset as it was when its snapshot had this size."""
        return type(self)(self.reader.until(size), self._plan)

    def after(self, row: int) -> Self:
        """Keep the rows that come after stored row number `row`, in the order that is asked for."""
        self._check_no_range("after")
        return self._with(after=row)

    def chunks(self) -> Iterator[Any]:
        return (chunk for _, chunk in self.numbered())

    def numbered(self) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield what `chunks` yields, each with its rows' numbers among the stored ones."""
        raise NotImplementedError

    # --- inside

    def _key(self, label: Any) -> Any:
        """What the reader calls a column or index level. Raises NotFound."""
        raise NotImplementedError

    def _position(self, label: Any) -> int:
        """The position of a data column. Raises NotFound."""
        raise NotImplementedError

    def _with(self, **changes: Any) -> Self:
        return type(self)(self.reader, replace(self._plan, **changes))

    def _rows(self, rows: slice) -> Self:
        start, stop = rows.start or 0, rows.stop
        if rows.step not in (None, 1) or start < 0 or (stop is not None and stop < 0):
            raise InvalidInput("a range of rows has a start and a stop from 0 on, and no step")
        begin, end = self._plan.start + start, self._plan.stop
        if stop is not None:
            end = self._plan.start + stop if end is None else min(end, self._plan.start + stop)
        return self._with(start=begin, stop=None if end is None else max(begin, end))

    def _within(self, total: int) -> int:
        """How many of `total` rows are in the range."""
        plan = self._plan
        return max(0, (total if plan.stop is None else min(total, plan.stop)) - plan.start)

    def _check_no_range(self, step: str) -> None:
        if self._plan.start or self._plan.stop is not None:
            raise InvalidInput(f"{step} comes before head and ranges of rows", hint="or get() the rows first")
