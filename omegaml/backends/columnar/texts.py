"""Texts as their lengths, in 1, 2 or 4 bytes each, and all characters in one piece.

Arrow keeps where each text begins, in 4 or 8 bytes that hardly compress.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from omegaml.backends.columnar.narrow import WIDTHS, validity
from omegaml.errors import Corrupt

_NAMES = ["lengths", "text"]
_NARROW, _WIDE = (pa.string(), pa.binary()), (pa.large_string(), pa.large_binary())


def has_texts(type_: pa.DataType) -> bool:
    """Whether `split` takes arrays of this type."""
    return type_ in _NARROW + _WIDE


def split(array: pa.Array) -> pa.RecordBatch:
    """Return one row with the list of lengths, null where a text is, and one text that has them all.

    `array`: of text or bytes, not empty.
    """
    width = _offset(array.type)
    _, buffer, data = array.buffers()
    offsets = np.frombuffer(buffer, width, len(array) + 1, array.offset * width.itemsize)
    lengths = np.diff(offsets)
    longest = int(lengths.max())
    dtype, type_ = next(known for known in WIDTHS if longest <= np.iinfo(known[0]).max)
    numbers = pa.Array.from_buffers(type_, len(array), [validity(array), pa.py_buffer(lengths.astype(dtype))])
    first, last = int(offsets[0]), int(offsets[-1])
    ends = pa.py_buffer(np.array([0, last - first], width))
    text = pa.Array.from_buffers(array.type, 1, [None, ends, data and data.slice(first, last - first)])
    return pa.record_batch([pa.LargeListArray.from_arrays([0, len(array)], numbers), text], names=_NAMES)


def is_split(batch: pa.RecordBatch) -> bool:
    """Whether `split` made the batch."""
    return bool(batch.schema.names == _NAMES)


def joined(batch: pa.RecordBatch) -> pa.Array:
    """Return the array that `split` was given. Raises Corrupt where lengths and text do not fit."""
    numbers, text = batch.column(0).values, batch.column(1)
    width = _offset(text.type)
    offsets = np.zeros(len(numbers) + 1, width)
    valid, lengths = numbers.buffers()
    found = np.frombuffer(lengths, numbers.type.to_pandas_dtype(), len(numbers))
    np.cumsum(found, dtype=width, out=offsets[1:])
    _, ends, data = text.buffers()
    if offsets[-1] != np.frombuffer(ends, width, 2)[1]:
        raise Corrupt("a chunk of text is not as long as its texts")
    return pa.Array.from_buffers(text.type, len(numbers), [valid, pa.py_buffer(offsets), data])


def _offset(type_: pa.DataType) -> np.dtype:
    return np.dtype(np.int32 if type_ in _NARROW else np.int64)
