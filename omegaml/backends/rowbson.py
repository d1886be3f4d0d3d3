"""Builds the BSON documents of many rows at once.

A column becomes a `Field`: the BSON type of its cells and their bytes, laid out by numpy. `encode_rows`
sets the fields side by side in one buffer that holds all documents, without touching a row in Python.
The bytes are those of `bson.encode`, except that every integer is an int64 whatever its size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import bson
import numpy as np
import pyarrow as pa
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions

DOUBLE, STRING, BOOL, DATETIME, NULL, INT64 = 0x01, 0x02, 0x08, 0x09, 0x0A, 0x12
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)


@dataclass(frozen=True)
class Field:
    """One named element of every row.

    Attributes:
        name: the key in the documents.
        tags: BSON type of every row (uint8, shape `(rows,)`), or one for all.
        fixed: the values where all have one width, uint8 of shape `(rows, width)`.
        data, offsets: otherwise their bytes one after another; row `i` is `data[offsets[i]:offsets[i + 1]]`.
        valid: where False the element is null; None means that no row is.

    In a STRING field `data` is the text alone: the length before it and the NUL behind it are added.
    """

    name: str
    tags: int | np.ndarray
    fixed: np.ndarray | None = None
    data: np.ndarray | None = None
    offsets: np.ndarray | None = None
    valid: np.ndarray | None = None

    def renamed(self, name: str) -> Field:
        return Field(name, self.tags, self.fixed, self.data, self.offsets, self.valid)

    def take(self, rows: np.ndarray) -> Field:
        """The field with these rows of it; -1 gives null."""
        missing = rows < 0
        count = len(self.fixed) if self.fixed is not None else len(self._offsets()) - 1
        if count == 0:
            empty = np.zeros((len(rows), 1), np.uint8)
            return Field(self.name, BOOL, fixed=empty, valid=np.zeros(len(rows), bool))
        at = np.where(missing, 0, rows)
        valid = ~missing if self.valid is None else self.valid[at] & ~missing
        tags = self.tags if isinstance(self.tags, int) else self.tags[at]
        if self.fixed is not None:
            return Field(self.name, tags, fixed=self.fixed[at], valid=valid)
        offsets = self._offsets()
        lengths = np.where(valid, np.diff(offsets)[at], 0)
        ends = np.concatenate(([0], np.cumsum(lengths)))
        data = self.data[spans(offsets[:-1][at], lengths)]  # type: ignore[index]
        return Field(self.name, tags, data=data, offsets=ends, valid=valid)

    def slice(self, start: int, stop: int) -> Field:
        """Rows `start` to `stop`, without copying values."""
        valid = None if self.valid is None else self.valid[start:stop]
        tags = self.tags if isinstance(self.tags, int) else self.tags[start:stop]
        if self.fixed is not None:
            return Field(self.name, tags, fixed=self.fixed[start:stop], valid=valid)
        offsets = self._offsets()[start : stop + 1]
        data = self.data[offsets[0] : offsets[-1]]  # type: ignore[index]
        return Field(self.name, tags, data=data, offsets=offsets - offsets[0], valid=valid)

    def _offsets(self) -> np.ndarray:
        assert self.offsets is not None
        return self.offsets


def integers(name: str, values: np.ndarray, valid: np.ndarray | None = None) -> Field:
    return Field(name, INT64, fixed=_bytes_of(values.astype("<i8", copy=False)), valid=valid)


def doubles(name: str, values: np.ndarray, valid: np.ndarray | None = None) -> Field:
    return Field(name, DOUBLE, fixed=_bytes_of(values.astype("<f8", copy=False)), valid=valid)


def booleans(name: str, values: np.ndarray, valid: np.ndarray | None = None) -> Field:
    return Field(name, BOOL, fixed=_bytes_of(values.astype(np.uint8)), valid=valid)


def milliseconds(name: str, values: np.ndarray, valid: np.ndarray | None = None) -> Field:
    """Datetimes as int64 milliseconds since 1970 in UTC."""
    return Field(name, DATETIME, fixed=_bytes_of(values.astype("<i8", copy=False)), valid=valid)


def strings(name: str, text: pa.Array) -> Field:
    """Text as a `large_string` array; its nulls are BSON nulls."""
    offset, rows = text.offset, len(text)
    _, starts, data = text.buffers()
    offsets = np.frombuffer(starts, np.int64)[offset : offset + rows + 1] if rows else np.zeros(1, np.int64)
    body = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    valid = np.asarray(text.is_valid()) if text.null_count else None
    return Field(name, STRING, data=body[offsets[0] : offsets[-1]], offsets=offsets - offsets[0], valid=valid)


def cells(name: str, values: Iterable[Any]) -> Field:
    """Values of any BSON types, encoded one by one.

    Raises whatever `bson.encode` raises for a value that has no BSON type.
    """
    tags = bytearray()
    bodies = []
    for value in values:
        encoded = bson.encode({"v": value}, codec_options=CODEC)
        tags.append(encoded[4])
        bodies.append(encoded[7:-1])
    lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
    return Field(
        name,
        np.frombuffer(bytes(tags), np.uint8),
        data=np.frombuffer(b"".join(bodies), np.uint8),
        offsets=np.concatenate(([0], np.cumsum(lengths))),
    )


def encode_rows(fields: Sequence[Field], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `(buffer, offsets)`: `buffer[offsets[i]:offsets[i + 1]]` is the document of row `i`.

    Args:
        fields: the elements of every document, in order; each has `rows` rows.
    Returns: uint8 array and int64 array of `rows + 1` positions in it.
    """
    heads = [field.name.encode() + b"\0" for field in fields]
    sizes = [_sizes(field, len(head), rows) for field, head in zip(fields, heads, strict=True)]
    total = np.full(rows, 5, np.int64)
    for size in sizes:
        total += size
    offsets = np.zeros(rows + 1, np.int64)
    np.cumsum(total, out=offsets[1:])
    out = np.zeros(int(offsets[-1]), np.uint8)
    if rows == 0:
        return out, offsets
    if all(isinstance(size, int) for size in sizes):
        _fill_even(out.reshape(rows, -1), fields, heads)
        return out, offsets
    _scatter(out, offsets[:-1], _bytes_of(total.astype("<i4")))
    at = offsets[:-1] + 4
    for field, head, size in zip(fields, heads, sizes, strict=True):
        _fill_field(out, at, field, head)
        at = at + size
    return out, offsets


def documents(buffer: Any) -> list[dict[str, Any]]:
    """Decode documents that lie back to back in a bytes-like buffer."""
    return bson.decode_all(bytes(buffer), CODEC)


def decoded(field: Field, rows: int) -> list[Any]:
    """The cells of a field as they come back from BSON."""
    buffer, _ = encode_rows([field.renamed("v")], rows)
    return [document["v"] for document in documents(buffer)]


def _bytes_of(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.dtype.itemsize)


def spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Positions `starts[i] .. starts[i] + lengths[i]` of all rows, one after another."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total, dtype=np.int64)


def _sizes(field: Field, head: int, rows: int) -> int | np.ndarray:
    """Bytes of the field in each document, with type byte and name."""
    if field.fixed is not None:
        full: int | np.ndarray = 1 + head + field.fixed.shape[1]
    else:
        around = 5 if isinstance(field.tags, int) and field.tags == STRING else 0
        full = np.diff(field._offsets()) + (1 + head + around)
    return full if field.valid is None else np.where(field.valid, full, 1 + head)


def _fill_even(table: np.ndarray, fields: Sequence[Field], heads: Sequence[bytes]) -> None:
    """All documents are of one length: a field is a range of columns of the buffer."""
    table[:, 0:4] = np.frombuffer(struct.pack("<i", table.shape[1]), np.uint8)
    at = 4
    for field, head in zip(fields, heads, strict=True):
        table[:, at] = field.tags
        table[:, at + 1 : at + 1 + len(head)] = np.frombuffer(head, np.uint8)
        at += 1 + len(head)
        width = field.fixed.shape[1]  # type: ignore[union-attr]
        table[:, at : at + width] = field.fixed
        at += width


def _fill_field(out: np.ndarray, at: np.ndarray, field: Field, head: bytes) -> None:
    """Write one field of all documents; `at` is where it begins in each."""
    out[at] = field.tags if field.valid is None else np.where(field.valid, field.tags, NULL)
    for j, byte in enumerate(head):
        out[at + (1 + j)] = byte
    rows: slice | np.ndarray = slice(None) if field.valid is None else np.flatnonzero(field.valid)
    value = (at + (1 + len(head)))[rows]
    if field.fixed is not None:
        _scatter(out, value, field.fixed[rows])
        return
    offsets = field._offsets()
    starts, lengths = offsets[:-1][rows], np.diff(offsets)[rows]
    if isinstance(field.tags, int) and field.tags == STRING:
        _scatter(out, value, _bytes_of((lengths + 1).astype("<i4")))
        value = value + 4
    data = field.data
    assert data is not None
    # Without nulls the text lies back to back already, in the order it is needed.
    source = data if field.valid is None else data[spans(starts, lengths)]
    out[spans(value, lengths)] = source


def _scatter(out: np.ndarray, at: np.ndarray, values: np.ndarray) -> None:
    for j in range(values.shape[1]):
        out[at + j] = values[:, j]
