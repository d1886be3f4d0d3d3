"""Tables as a stream that gives them back as they were put: index, dtypes, categories and all.

An Arrow stream, which other programs read, says less than the store knows. This one is a sequence of BSON
documents: one with a table's schema, any number with some of its rows (each column a packed chunk, as in the
store, and the numbers of the rows where some were left out), and one in the end that says how many rows there
were. The first says in which format the stream is, too. Nothing in it is pickled.

What comes before the end may be the half of a table: where writing fails, the stream breaks off.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import bson
import numpy as np
import pandas as pd
import pyarrow as pa

from omegaml.backends.columnar import chunks, codec
from omegaml.backends.columnar.schema import Schema
from omegaml.errors import Corrupt, FormatTooNew, Unavailable
from omegaml.frame import LazyFrame
from omegaml.rowframe import LazyRows

MEDIA_TYPE = "application/vnd.omegaml.table"
FORMAT = 1
LARGEST = 1 << 30  # bytes of one document


def write(lazy: LazyFrame | LazyRows) -> Iterator[bytes]:
    """Yield what a lazy frame reads, without its order, some ten thousand rows at a time.

    The first piece has rows in it, where there are any: what cannot be read fails before anything is sent.
    """
    rows, first = 0, b""
    for number, doc in enumerate(_of_rows(lazy) if isinstance(lazy, LazyRows) else _of_columns(lazy)):
        rows += doc.get("rows", 0)
        if number == 0:
            first = bson.encode({"format": FORMAT, **doc})
            continue
        yield first + bson.encode(doc)
        first = b""
    yield first + bson.encode({"end": rows})


def _of_columns(lazy: LazyFrame) -> Iterator[dict[str, Any]]:
    schema = lazy.schema
    yield {"schema": schema.to_doc(), "whole": lazy.is_whole}
    for arrays, numbers in lazy.stored():
        packed = [chunks.pack(array, type_, "lz4") for array, type_ in zip(arrays, schema.types, strict=True)]
        doc: dict[str, Any] = {"rows": len(numbers), "columns": packed}
        yield doc if lazy.is_whole else {**doc, "numbers": numbers.astype("<i8").tobytes()}


def _of_rows(lazy: LazyRows) -> Iterator[dict[str, Any]]:
    """Each part of such a dataset is a table of its own, as each document says what it holds."""
    is_empty = True
    for part in lazy.chunks():
        is_empty = False
        yield from _whole(part)
    if is_empty:
        yield from _whole(lazy.get())


def _whole(obj: Any) -> Iterator[dict[str, Any]]:
    table = codec.encode(obj)
    types = table.schema.types
    packed = [chunks.pack(table.column(i), type_, "lz4") for i, type_ in enumerate(types)]
    yield {"schema": table.schema.to_doc(), "whole": True}
    yield {"rows": table.rows, "columns": packed}


def read(pieces: Iterable[bytes], as_: str | None = None) -> Any:
    """Return the table of a stream.

    Args:
        as_: "pandas", "arrow" or "polars" instead of what was put.
    Raises: Unavailable (the stream ended early), Corrupt (it is none, or its values are damaged),
        FormatTooNew.
    """
    tables: list[_Table] = []
    rows = 0
    try:
        for number, doc in enumerate(_documents(pieces)):
            if number == 0:
                _check_format(doc.pop("format", None))
            if doc.keys() == {"schema", "whole"}:
                tables.append(_Table(doc))
            elif tables and doc.keys() | {"numbers"} == {"rows", "columns", "numbers"}:
                tables[-1].add(doc)
                rows += doc["rows"]
            elif tables and doc.keys() == {"end"}:
                if doc["end"] != rows:
                    raise Corrupt(f"{rows} of {doc['end']} rows have come", hint="try again")
                found = [table.made(as_ if len(tables) == 1 else None) for table in tables]
                return found[0] if len(found) == 1 else _as(pd.concat(found), as_)
            else:
                raise Corrupt("the answer is no table")
    except (pa.ArrowException, *chunks.MISSHAPEN) as error:
        raise Corrupt(f"the answer is no table: {error}") from error
    raise Unavailable("the table ended early", hint="try again")


def _check_format(format: Any) -> None:
    if not isinstance(format, int) or format < 1:
        raise Corrupt("the answer is no table: it does not say its format")
    if format > FORMAT:
        raise FormatTooNew(
            f"the table comes in format {format}; this version reads up to {FORMAT}",
            hint="pip install --upgrade omegaml",
        )


class _Table:
    def __init__(self, doc: dict[str, Any]) -> None:
        self._schema = Schema.from_doc(doc["schema"])
        self._is_whole = doc["whole"]
        self._columns: list[list[pa.Array]] = [[] for _ in self._schema.types]
        self._numbers: list[np.ndarray] = []
        self._rows = 0

    def add(self, doc: dict[str, Any]) -> None:
        for column, data, type_ in zip(self._columns, doc["columns"], self._schema.types, strict=True):
            array = chunks.unpack(data, type_, trusted=False)  # somebody else has made it
            if len(array) != doc["rows"]:
                raise Corrupt(f"a column has {len(array)} of {doc['rows']} rows")
            column.append(array)
        numbers = doc.get("numbers")
        if (None if numbers is None else len(numbers)) != (None if self._is_whole else 8 * doc["rows"]):
            raise Corrupt("the rows are not numbered as they should be")
        if numbers is not None:
            self._numbers.append(np.frombuffer(numbers, "<i8").astype(np.int64))
        self._rows += doc["rows"]

    def made(self, as_: str | None) -> Any:
        numbers = None if self._is_whole else np.concatenate([np.empty(0, np.int64), *self._numbers])
        return codec.decode(self._schema, self._columns, self._rows, numbers, as_)


def _as(frame: Any, as_: str | None) -> Any:
    if as_ in (None, "pandas"):
        return frame
    table = codec.encode(frame)
    columns = [[chunks.whole(table.column(i))] for i in range(len(table.schema.types))]
    return codec.decode(table.schema, columns, table.rows, None, as_)


def _documents(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the documents of bytes that come in whatever pieces."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        start = 0
        while len(waiting) - start >= 4:
            (size,) = struct.unpack_from("<i", waiting, start)
            if not 5 <= size <= LARGEST:
                raise Corrupt("the answer is no table")
            if len(waiting) - start < size:
                break
            yield _document(bytes(memoryview(waiting)[start : start + size]))
            start += size
        del waiting[:start]


def _document(data: bytes) -> dict[str, Any]:
    try:
        return dict(bson.decode(data))
    except bson.errors.InvalidBSON as error:
        raise Corrupt(f"the answer is no table: {error}") from None
