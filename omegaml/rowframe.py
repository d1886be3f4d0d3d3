"""Lazy frames over row documents: the server filters, sorts and counts, rows come a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omegaml.backends.columnar.types import ColumnType
from omegaml.errors import InvalidInput, Mismatch, NotFound
from omegaml.lazy import Lazy, Plan
from omegaml.query import Labels
from omegaml.streams import constant_key

if TYPE_CHECKING:
    from omegaml.backends.rows import Field
    from omegaml.store.rowreader import RowsReader


class LazyRows(Lazy):
    """A dataset of row documents, what is asked of it, and nothing read yet; used as a `LazyFrame`.

    The server filters, sorts and counts.
    """

    reader: RowsReader

    def __init__(self, reader: RowsReader, plan: Plan | None = None) -> None:
        super().__init__(reader, plan or Plan(tuple(range(len(reader.labels)))))

    @property
    def columns(self) -> pd.Index:
        return self.reader.labels.take(list(self._plan.columns))

    @property
    def names(self) -> Labels:
        return self.reader.names

    def type_of(self, name: str) -> ColumnType:
        """Return the type of a stored column or index level. Raises NotFound."""
        return self.reader.find(name).type or ColumnType("object")

    @property
    def snapshot(self) -> tuple[str, int]:
        return self.reader.id, self.reader.size

    def after(self, row: int) -> LazyRows:
        """Keep the rows that come after the one stored under number `row`; not to be had sorted."""
        if self._plan.order:
            raise InvalidInput("sorted row documents go on by their place", hint="[place:]")
        return super().after(row)

    def count(self) -> int:
        return self._within(self.reader.count(self._plan.where, self._plan.after))

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

    def _key(self, label: Any) -> Field:
        return self.reader.find(str(label))

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


def _column(frame: pd.DataFrame, label: Any) -> pd.Series:
    if label in frame.columns:
        return frame[label]
    return pd.Series(frame.index.get_level_values("index" if label is None else label), index=frame.index)
