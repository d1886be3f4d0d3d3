"""A table in memory as a store gives it: encoded, packed and cut into chunks of a few rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from omegaml.backends.columnar.chunks import pack, stats, unpack
from omegaml.backends.columnar.codec import encode
from omegaml.frame import LazyFrame
from omegaml.query import Expr, mask, may_match
from omegaml.store.columns import Piece


class ChunkReader:
    """Reads the chunks of `obj`; `fetched` counts those that a filter's statistics did not leave out."""

    def __init__(self, obj: Any, size: int = 7) -> None:
        table = encode(obj)
        self.schema, self.rows = table.schema, table.rows
        self.starts = list(range(0, table.rows, size))
        self.data: list[list[bytes]] = []
        self.stats: list[list[tuple[Any, ...]]] = []
        for i, type_ in enumerate(table.schema.types):
            column = table.column(i)
            array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            parts = [array.slice(start, size) for start in self.starts]
            self.data.append([pack(part, type_) for part in parts])
            self.stats.append([tuple(stats(part, type_)) for part in parts])
        self.fetched = 0

    def column(self, text: str, n: int) -> tuple[pa.Array, Any]:
        i = self.schema.find(text)
        return unpack(self.data[i][n], self.schema.types[i]), self.schema.types[i]

    def may_match(self, where: Expr) -> list[bool]:
        def of_column(text: str) -> Any:
            i = self.schema.find(text)
            return (*[list(part) for part in zip(*self.stats[i], strict=True)], self.schema.types[i])

        return may_match(where, of_column, len(self.starts)) if self.starts else []

    def scan(
        self, columns: Sequence[int], where: Expr | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[Piece]:
        stop = self.rows if stop is None else min(stop, self.rows)
        may = self.may_match(where) if where is not None else [True] * len(self.starts)
        ends = [*self.starts[1:], self.rows][: len(self.starts)]
        for n, (first, end) in enumerate(zip(self.starts, ends, strict=True)):
            lo, hi = max(start, first) - first, min(stop, end) - first
            if lo >= hi or not may[n]:
                continue
            self.fetched += 1
            arrays = [unpack(self.data[i][n], self.schema.types[i]) for i in columns]
            if where is None:
                yield Piece(first + lo, hi - lo, [a.slice(lo, hi - lo) for a in arrays])
                continue
            found = mask(where, lambda text, n=n: self.column(text, n))
            taken = np.flatnonzero(found.to_numpy(zero_copy_only=False))
            taken = taken[(taken >= lo) & (taken < hi)]
            if len(taken):
                yield Piece(first, len(taken), [a.take(pa.array(taken)) for a in arrays], taken)


def lazy(frame: pd.DataFrame | pd.Series, size: int = 7) -> LazyFrame:
    return LazyFrame(ChunkReader(frame, size))  # type: ignore[arg-type]
