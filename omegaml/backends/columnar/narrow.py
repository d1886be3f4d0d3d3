"""Whole numbers, dates and times in fewer bytes: less to compress, to send and to decompress.

Numbers that lie close together are kept as their distance from the least one, numbers that grow evenly as the
distance of each step from the least step; both in 1, 2 or 4 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

WIDTHS = ((np.uint8, pa.uint8()), (np.uint16, pa.uint16()), (np.uint32, pa.uint32()))


def narrowed(array: pa.Array) -> tuple[pa.Array, dict[str, str]] | None:
    """Return the array in a narrower type and what `widened` needs to know; None where it does not get so.

    `array`: of 2, 4 or 8 byte integers, dates or times.
    """
    values = _values(array)
    if values is None or array.null_count == len(array):
        return None
    bounds = pc.min_max(array.view(_integer(array)))
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    offset, found = low, _width(high - low, values.itemsize)
    how = {"low": str(low)}
    if array.null_count == 0 and len(values) > 1 and high - low < 2**63 and found != WIDTHS[0]:
        # distances wrap around in unsigned numbers, and back when they are added up
        steps = np.diff(values.astype(np.int64, copy=False))
        least, most = int(steps.min()), int(steps.max())
        stepped = _width(most - least, values.itemsize)
        if stepped is not None and (found is None or stepped[0]().itemsize < found[0]().itemsize):
            how = {"low": str(least), "first": str(int(values[0]))}
            values, offset, found = np.concatenate(([least], steps)), least, stepped
    if found is None:
        return None
    made = (values - values.dtype.type(offset)).astype(found[0])
    return pa.Array.from_buffers(found[1], len(made), [validity(array), pa.py_buffer(made)]), how


def widened(array: pa.Array, how: Mapping[bytes, bytes], type_: pa.DataType) -> pa.Array:
    """Return the array of `type_` that `narrowed` was given."""
    values = _values(array)
    assert values is not None
    made = values.astype(_integer_of(type_))
    low = np.array(int(how[b"low"]) % 2**64, np.uint64)  # a step may be wider than the numbers, and wraps too
    made += low.astype(made.dtype)
    if b"first" in how:
        made[0] = int(how[b"first"])
        np.cumsum(made, out=made)
    return pa.Array.from_buffers(type_, len(made), [validity(array), pa.py_buffer(made)])


def is_wide(type_: pa.DataType) -> bool:
    """Whether arrays of this type may be narrowed."""
    whole = pa.types.is_integer(type_) or (pa.types.is_temporal(type_) and not pa.types.is_interval(type_))
    return whole and type_.bit_width >= 16


def _width(distance: int, size: int) -> tuple[type, pa.DataType] | None:
    for dtype, type_ in WIDTHS:
        if dtype().itemsize < size and distance <= np.iinfo(dtype).max:
            return dtype, type_
    return None


def _integer(array: pa.Array) -> pa.DataType:
    if pa.types.is_integer(array.type):
        return array.type
    return pa.int32() if array.type.bit_width == 32 else pa.int64()


def _integer_of(type_: pa.DataType) -> np.dtype:
    if pa.types.is_integer(type_):
        return np.dtype(type_.to_pandas_dtype())
    return np.dtype(np.int32 if type_.bit_width == 32 else np.int64)


def _values(array: pa.Array) -> np.ndarray | None:
    data = array.buffers()[1]
    if data is None or not len(array):
        return None
    dtype = _integer_of(array.type)
    return np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize)


def validity(array: pa.Array) -> pa.Buffer | None:
    """Return the bits that tell which values are not null, from the first one on; None where all are not."""
    return pc.is_valid(array).buffers()[1] if array.null_count else None
