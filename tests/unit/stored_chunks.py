"""A table in memory as a store gives it: encoded, packed and cut into chunks of a few rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import bson
import numpy as np
import pandas as pd
import pyarrow as pa

from omegaml.backends.base import Table
from omegaml.backends.columnar.chunks import pack, stats, unpack, whole
from omegaml.backends.columnar.codec import adapt, decode, encode
from omegaml.backends.columnar.schema import Schema
from omegaml.frame import LazyFrame
from omegaml.query import Expr, mask, outlook
from omegaml.store.reader import Piece


def stored(obj: Any, rows: int, codec: str = "zstd") -> tuple[Schema, list[list[pa.Array]], int]:
    """Return `obj` as it is read from chunks of `rows` rows, with all documents through BSON."""
    table = encode(obj)
    schema = Schema.from_doc(_through_bson(table.schema.to_doc()))
    return schema, _chunked(table, schema, rows, codec), table.rows


def round_trip(obj: Any, rows: int, codec: str = "zstd") -> Any:
    """Return `obj` after it was stored in chunks of `rows` rows."""
    return decode(*stored(obj, rows, codec))


def appended(first: Any, second: Any, rows: int = 2) -> Any:
    """Return what a reader gets of `first` and then `second` in one dataset."""
    one, two = encode(first), encode(second)
    schema = one.schema.extend(two.schema, one.rows)
    read = Schema.from_doc(_through_bson(schema.to_doc()))
    parts = zip(_chunked(one, read, rows), _chunked(adapt(two, schema), read, rows), strict=True)
    return decode(read, [a + b for a, b in parts], one.rows + two.rows)


def _chunked(table: Table, read: Schema, rows: int, codec: str = "zstd") -> list[list[pa.Array]]:
    """Return the columns of `table` as a reader with schema `read` gets them."""
    columns = []
    for i, type_ in enumerate(table.schema.types):
        array = whole(table.column(i))
        assert len(array) == table.rows
        parts = [array.slice(at, rows) for at in range(0, table.rows, rows)]
        for part in parts:
            _through_bson({"bounds": list(stats(part, type_))})
        columns.append([unpack(pack(part, type_, codec), read.types[i]) for part in parts])
    return columns


def _through_bson(doc: Any) -> Any:
    return bson.decode(bson.encode(doc))


class ChunkReader:
    """Reads the chunks of `obj`; `fetched` counts those that a filter's statistics did not leave out."""

    def __init__(self, obj: Any, size: int = 7) -> None:
        table = encode(obj)
        self.schema, self.rows = table.schema, table.rows
        self.starts = list(range(0, table.rows, size))
        self.data: list[list[bytes]] = []
        self.stats: list[list[tuple[Any, ...]]] = []
        for i, type_ in enumerate(table.schema.types):
            array = whole(table.column(i))
            parts = [array.slice(start, size) for start in self.starts]
            self.data.append([pack(part, type_) for part in parts])
            self.stats.append([tuple(stats(part, type_)) for part in parts])
        self.fetched = 0

    id = "a dataset"

    def until(self, rows: int) -> ChunkReader:
        """The same with only its first rows."""
        shorter = copy.copy(self)
        shorter.rows = rows
        return shorter

    def column(self, text: str, n: int) -> tuple[pa.Array, Any]:
        i = self.schema.find(text)
        return unpack(self.data[i][n], self.schema.types[i]), self.schema.types[i]

    def may_match(self, where: Expr) -> list[bool]:
        def of_column(text: str) -> Any:
            i = self.schema.find(text)
            return (*[list(part) for part in zip(*self.stats[i], strict=True)], self.schema.types[i])

        return [can for can, _ in outlook(where, of_column, len(self.starts))] if self.starts else []

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
