"""Lazy frames as a stream of Arrow tables that all have one schema, as files and other programs want it.

A chunk of an object column has the type that its own cells have: text here, numbers there. Which type all of
them have is found out first, without holding more than a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from omegaml.backends.columnar.codec import decode, encode
from omegaml.rowframe import LazyRows
from omegaml.tabular import distinct

if TYPE_CHECKING:
    from omegaml.frame import LazyFrame

TEXT = pa.large_string()
FIRST_ROWS = 1_000  # that tell the types of columns, but of those of objects


@dataclass(frozen=True)
class Batches:
    """Tables of at most some ten thousand rows each, in order, all of type `schema`."""

    schema: pa.Schema
    source: LazyFrame | LazyRows

    def __iter__(self) -> Iterator[pa.Table]:
        for table in _tables(self.source):
            yield _fitted(table, self.schema)


def batches(lazy: LazyFrame | LazyRows) -> Batches:
    """Return what a lazy frame reads as Arrow tables; index levels that are stored come as columns too.

    Labels that are there twice get .1, .2 and so on behind them.
    """
    first = next(_tables(lazy.head(FIRST_ROWS)), None)  # of all rows, more would be read ahead
    if first is None:
        first = _as_arrow(lazy._empty())
    names = distinct(first.column_names)
    types = [field.type for field in first.schema]
    unsure = [i for i in _untyped(lazy, len(types)) if not _is_text(types[i])]
    if unsure:
        types = _common(lazy, types, unsure)
    fields = [pa.field(name, _plain(type_)) for name, type_ in zip(names, types, strict=True)]
    return Batches(pa.schema(fields), lazy)


def _tables(lazy: LazyFrame | LazyRows) -> Iterator[pa.Table]:
    if not isinstance(lazy, LazyRows):
        return lazy.chunks("arrow")
    is_numbered = isinstance(lazy._empty().index, pd.RangeIndex)
    return (_as_arrow(chunk.reset_index(drop=True) if is_numbered else chunk) for chunk in lazy.chunks())


def _as_arrow(frame: pd.DataFrame | pd.Series) -> pa.Table:
    table = encode(frame)
    columns = [[_whole(table.column(i))] for i in range(len(table.schema.types))]
    return decode(table.schema, columns, table.rows, None, "arrow")


def _whole(array: Any) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _untyped(lazy: LazyFrame | LazyRows, width: int) -> list[int]:
    """The columns whose type each chunk tells anew: those of objects."""
    types = encode(lazy._empty()).schema.types if isinstance(lazy, LazyRows) else lazy.schema.types
    return [i for i in range(width) if types[i].kind == "object"]


def _common(lazy: LazyFrame | LazyRows, types: list[Any], unsure: list[int]) -> list[Any]:
    """Return the types with those of `unsure` such that every chunk's cells fit."""
    found = list(types)
    for table in _tables(lazy):
        for i in unsure:
            found[i] = _promoted(found[i], table.schema.field(i).type)
    return found


def _promoted(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if a.equals(b) or _is_text(a):
        return a
    if _is_text(b):
        return b if pa.types.is_null(a) else TEXT
    try:
        both = [pa.schema([("v", type_)]) for type_ in (a, b)]
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return TEXT


def _plain(type_: pa.DataType) -> pa.DataType:
    """The type as every reader knows it. A column without any value is one of text."""
    return TEXT if _is_text(type_) or pa.types.is_null(type_) else type_


def _is_text(type_: pa.DataType) -> bool:
    return pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [_cast(column, field.type) for column, field in zip(table.columns, schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    if column.type.equals(type_):
        return column
    try:
        return column.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        texts = [None if cell is None else str(cell) for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, type_)])
