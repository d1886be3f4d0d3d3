"""Whole datasets as CSV, Arrow or Parquet, a piece at a time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from django.http import StreamingHttpResponse
from rest_framework.renderers import JSONRenderer

from omegaml import tablestream
from omegaml.batches import TEXT, Batches, batches
from omegaml.errors import NotStorable
from omegaml.frame import LazyFrame
from omegaml.jsonvalues import dumps, plain
from omegaml.rowframe import LazyRows

CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"


class _Bulk(JSONRenderer):
    """Lets a view be asked for a format that it streams itself; errors are JSON whatever is asked for."""

    charset = None
    write: Callable[[Batches], Iterator[bytes]]

    def pieces(self, lazy: LazyFrame | LazyRows) -> Iterator[bytes]:
        """What a lazy frame reads in this format."""
        return self.write(batches(lazy))


def _csv(batches: Batches) -> Iterator[bytes]:
    is_first = True
    for table in _or_empty(batches):
        out = io.BytesIO()
        columns = [_printed(column) for column in table.columns]
        printed = pa.Table.from_arrays(columns, names=table.column_names)
        pcsv.write_csv(printed, out, pcsv.WriteOptions(include_header=is_first))
        is_first = False
        yield out.getvalue()


def _arrow(batches: Batches) -> Iterator[bytes]:
    sink = _Sink()
    with pa.ipc.new_stream(sink, batches.schema) as writer:
        for table in batches:
            writer.write_table(table)
            yield sink.taken()
    yield sink.taken()


def _parquet(batches: Batches) -> Iterator[bytes]:
    sink = _Sink()
    try:
        writer = pq.ParquetWriter(sink, batches.schema, compression="zstd")
    except (pa.ArrowException, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise NotStorable(f"Parquet cannot hold this dataset: {reason}", hint=f"Accept: {ARROW}") from None
    with writer:
        for table in batches:
            writer.write_table(table)
            yield sink.taken()
    yield sink.taken()


class Csv(_Bulk):
    media_type, format, write = CSV, "csv", staticmethod(_csv)


class Arrow(_Bulk):
    media_type, format, write = ARROW, "arrow", staticmethod(_arrow)


class Parquet(_Bulk):
    media_type, format, write = PARQUET, "parquet", staticmethod(_parquet)


class Exact(_Bulk):
    """Tables as `omegaml` itself reads them: they come back as they were put."""

    media_type, format = tablestream.MEDIA_TYPE, "table"

    def pieces(self, lazy: LazyFrame | LazyRows) -> Iterator[bytes]:
        return tablestream.write(lazy)


WHOLE = (Csv, Arrow, Parquet, Exact)
RENDERERS = (JSONRenderer, *WHOLE)


def stream(
    pieces: Iterator[bytes], media_type: str, filename: str, until: ExitStack
) -> StreamingHttpResponse:
    """A response made of `pieces`; the first is made before it begins, so that an error still is answered.

    Args:
        until: closed when the last piece has gone, or the client.
    """
    body = _Body(pieces, until)
    response = StreamingHttpResponse(body, content_type=media_type)
    response["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
    return response


class _Body:
    """An iterator whose first piece is made already."""

    def __init__(self, pieces: Iterator[bytes], until: ExitStack) -> None:
        self._pieces, self._until = pieces, until
        try:
            first = next(pieces, None)
        except BaseException:
            until.close()
            raise
        self._all = pieces if first is None else chain((first,), pieces)

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        return next(self._all)  # where that fails now, the answer has begun, and breaks off

    def close(self) -> None:
        with self._until:
            getattr(self._pieces, "close", lambda: None)()


class _Sink(io.RawIOBase):
    """What Arrow writes to, and what of it has not been taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._at += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _or_empty(batches: Batches) -> Iterator[pa.Table]:
    is_empty = True
    for table in batches:
        is_empty = False
        yield table
    if is_empty:
        yield batches.schema.empty_table()


def _printed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as CSV can say it: missing numbers as nothing, lists, mappings and bytes as JSON."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    type_ = column.type
    if pa.types.is_floating(type_):
        return pc.if_else(pc.is_nan(column), pa.scalar(None, type_), column)
    if pa.types.is_nested(type_):
        return _texts(column, dumps)
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or isinstance(type_, pa.ExtensionType):
        return _texts(column, plain)
    if pa.types.is_decimal(type_) or pa.types.is_duration(type_):
        return _texts(column, str)
    return column


def _texts(column: pa.ChunkedArray, form: Callable[[Any], Any]) -> pa.ChunkedArray:
    texts = [None if cell is None else str(form(cell)) for cell in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, TEXT)])
