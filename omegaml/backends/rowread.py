"""Reads the columns of many row documents at once: no row becomes a Python object.

The counterpart of `rowbson.encode_rows`. All documents are gone through side by side, field by field, as
long as they have the same fields in the same order, which those of one writer have.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import sliding_window_view

from omegaml.backends import rowbson
from omegaml.backends.rowbson import BOOL, DATETIME, DOUBLE, INT64, NULL, STRING, Field

#: The cells of some documents: an Arrow array of bool, int64, double, timestamp[ms], large_string or null,
#: or what `bson` makes of them where they are of several types or of another one.
Column: TypeAlias = "pa.Array | list[Any]"

BLOCK_ROWS = 20_000
INT32 = 0x10
_UNKNOWN, _PREFIXED = -1, -2
# how many bytes a value has, or how many come with the length that is written before it (bsonspec.org)
_WIDTHS = np.full(256, _UNKNOWN, np.int64)
_WIDTHS[[DOUBLE, DATETIME, INT64, 0x11, INT32, BOOL, NULL, 0x07, 0x13]] = [8, 8, 8, 8, 4, 1, 0, 12, 16]
_AROUND = np.zeros(256, np.int64)
for _tag, _bytes in ((STRING, 4), (0x03, 0), (0x04, 0), (0x05, 5)):
    _WIDTHS[_tag], _AROUND[_tag] = _PREFIXED, _bytes
_FORMS = {DOUBLE: "<f8", INT64: "<i8", INT32: "<i4", DATETIME: "<i8", BOOL: "?"}


def columns(
    buffer: Any, offsets: Sequence[int], only: Container[str] | None = None
) -> Iterator[tuple[int, Mapping[str, Column]]]:
    """Yield, for some thousand documents after the other, how many they are and their fields.

    Args:
        buffer: bytes-like, with document `i` at `offsets[i]`, up to `offsets[i + 1]`.
        only: the fields that are wanted, for less work.
    A field that a document lacks is None there. Raises InvalidBSON for what are no documents.
    """
    data, bounds = np.frombuffer(buffer, np.uint8), np.asarray(offsets, np.int64)
    for first in range(0, len(bounds) - 1, BLOCK_ROWS):
        cut = bounds[first : first + BLOCK_ROWS + 1]
        block = data[cut[0] : cut[-1]]
        found = _even(block, cut[:-1] - cut[0], cut[1:] - cut[0], only)
        yield len(cut) - 1, found if found is not None else _uneven(block)


def cells(column: Column) -> list[Any]:
    """The cells one by one, as `bson` decodes them."""
    return column if isinstance(column, list) else column.to_pylist()


def _uneven(block: np.ndarray) -> dict[str, Column]:
    documents = rowbson.documents(block)
    names = dict.fromkeys(name for document in documents for name in document)
    return {name: [document.get(name) for document in documents] for name in names}


def _even(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, only: Container[str] | None
) -> dict[str, Column] | None:
    """The fields of documents that all have the same, in the same order; None for others."""
    found: dict[str, Column] = {}
    at, last = starts + 4, ends - 1  # behind its length, and at the NUL that ends it
    while True:
        tags = data[at]
        if not tags.all():
            return found if not tags.any() and (at == last).all() else None
        name = bytes(data[at[0] + 1 : ends[0]]).partition(b"\0")[0] + b"\0"
        value = at + (1 + len(name))
        if (value > last).any() or (_at(data, at + 1, len(name)) != np.frombuffer(name, np.uint8)).any():
            return None
        sizes = _sizes(data, tags, value, last)
        label = name[:-1].decode(errors="replace")
        if sizes is None or label in found:
            return None
        try:
            if only is None or label in only:
                found[label] = _column(data, tags, value, sizes)
        except pa.ArrowInvalid:  # a text that is not UTF-8
            return None
        at = value + sizes


def _sizes(data: np.ndarray, tags: np.ndarray, value: np.ndarray, last: np.ndarray) -> np.ndarray | None:
    sizes = _WIDTHS[tags]
    if (sizes == _UNKNOWN).any():
        return None
    prefixed = np.flatnonzero(sizes == _PREFIXED)
    if len(prefixed):
        if (value[prefixed] + 4 > last[prefixed]).any():
            return None
        lengths = _at(data, value[prefixed], 4).view("<i4").ravel()
        if (lengths < 0).any():
            return None
        sizes[prefixed] = lengths + _AROUND[tags[prefixed]]
    return sizes if (value + sizes <= last).all() else None


def _column(data: np.ndarray, tags: np.ndarray, value: np.ndarray, sizes: np.ndarray) -> Column:
    valid = tags != NULL
    kinds = np.unique(tags[valid])
    if not len(kinds):
        return pa.nulls(len(tags))
    missing = None if valid.all() else ~valid
    if len(kinds) == 1 and kinds[0] in _FORMS:
        form = np.dtype(_FORMS[kinds[0]])
        values = _at(data, value if missing is None else np.where(valid, value, 0), form.itemsize)
        whole = values.view(form).ravel()
        if missing is not None:
            whole[missing] = 0
        if kinds[0] == DATETIME:
            return pa.array(whole.view("M8[ms]"), pa.timestamp("ms"), mask=missing)
        return pa.array(whole.astype(np.int64) if kinds[0] == INT32 else whole, mask=missing)
    if len(kinds) == 1 and kinds[0] == STRING:
        # between its length and the NUL behind it
        return _texts(
            data, np.where(valid, value + 4, value), np.where(valid, value + sizes - 1, value), missing
        )
    lengths = np.concatenate(([0], np.cumsum(sizes)))
    field = Field("v", tags, data=data[rowbson.spans(value, sizes)], offsets=lengths)
    return rowbson.decoded(field, len(tags))


def _texts(data: np.ndarray, first: np.ndarray, last: np.ndarray, missing: np.ndarray | None) -> pa.Array:
    """The texts that lie from `first` to `last`: every other one of those that they cut the data into."""
    bounds = np.empty(2 * len(first), np.int64)
    bounds[0::2], bounds[1::2] = first, last
    pieces = pa.LargeStringArray.from_buffers(
        len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(np.ascontiguousarray(data))
    )
    found = pieces.take(pa.array(np.arange(0, len(bounds), 2), mask=missing))
    found.validate(full=True)
    return found


def _at(data: np.ndarray, at: np.ndarray, width: int) -> np.ndarray:
    """The `width` bytes at each of the places, of shape `(places, width)`."""
    return sliding_window_view(data, width)[at]
