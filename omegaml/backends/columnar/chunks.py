"""One column of one chunk as bytes: an Arrow IPC message, compressed where that saves enough.

Where the column's type says what the bytes hold, only the record batch is written; object columns,
dictionary-encoded strings, and what has a form of its own (`narrow`, `texts`) carry their schema, so every
chunk can be read by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from omegaml.backends.columnar.narrow import is_wide, narrowed, widened
from omegaml.backends.columnar.texts import has_texts, is_split, joined, split
from omegaml.backends.columnar.types import ColumnType, codes_type
from omegaml.backends.columnar.unpacking import unpacked
from omegaml.errors import Corrupt, InvalidInput

Form: TypeAlias = Callable[[pa.Array], pa.RecordBatch]  # how the values lie in what is written

# one column has one to three buffers: handing them to Arrow's threads costs more than it saves
_PLAIN = ipc.IpcWriteOptions(compression=None, use_threads=False)
_LZ4 = ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_ZSTD = ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1), use_threads=False)
_READ = ipc.IpcReadOptions(use_threads=False)
_TINY, _SMALL = 512, 64 * 1024  # bytes
_PROBE = 4096  # values that are compressed for a try
_WORTH = 0.9
_STRONGER = 0.7  # zstd costs three times lz4, written and read, so it must give clearly fewer bytes
_SERVES = 16  # chunks
#: What comes of bytes that somebody has changed.
MISSHAPEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
)
_most: int | None = None
_TEXT = 64  # code points of a string that the statistics keep


def whole(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the values as one array, without a copy where they are one already."""
    if isinstance(array, pa.Array):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    return pa.concat_arrays(array.chunks or [pa.array([], array.type)])


class Choice:
    """How the chunks of one column are written: found out by a try, which serves for some chunks."""

    def __init__(self) -> None:
        self._options: ipc.IpcWriteOptions = _PLAIN
        self._left = 0

    def options(self, array: pa.Array, form: Form, codec: str, size: int) -> ipc.IpcWriteOptions:
        if self._left <= 0:  # threads may count it down together
            self._options, self._left = _options(array, form, codec, size), _SERVES
        self._left -= 1
        return self._options


def pack(
    array: pa.Array | pa.ChunkedArray, type: ColumnType, codec: str = "zstd", choice: Choice | None = None
) -> bytes:
    """Return one chunk of a column as bytes. `codec` is the strongest to take: zstd, lz4 or none."""
    array = dense(whole(array))
    # categories may be added later, and their codes become wider: those chunks say how wide they are
    is_known = array.type == type.arrow and type.kind != "category" and not _has_dictionary(array.type)
    form: Form = _rows
    if len(array) and array.nbytes >= _SMALL:
        if has_texts(array.type):
            form = split
        elif is_known and is_wide(array.type) and (found := narrowed(array)) is not None:
            array, form = found[0], partial(_rows, how=found[1])
    batch = form(array)
    size = ipc.get_record_batch_size(batch)
    options = (choice or Choice()).options(array, form, codec, size)
    if not is_known or form is not _rows:
        return _stream(batch, options)
    message = _message(batch, options)
    if options is not _PLAIN and len(message) > _WORTH * size:
        message = _message(batch, _PLAIN)
    return message.to_pybytes()


def unpack(data: bytes, type: ColumnType, trusted: bool = True) -> pa.Array:
    """Return the array that `pack` wrote; strings with few distinct values come as a dictionary array.

    Whatever the bytes are, nothing beside them is read: a chunk may have been written by somebody else, who
    wants to see what lies there. That texts are UTF-8 is looked at where they are not `trusted`, or after
    `never_trust`.
    Raises: Corrupt for bytes that are not such a chunk; InvalidInput where `never_trust` sets a bound.
    """
    buffer = pa.py_buffer(data)
    try:
        if _most is not None:
            _check_size(buffer, _most)
        message = ipc.read_message(buffer)
        if message.type == "record batch":
            schema = pa.schema([("v", type.arrow)])
            return _checked(ipc.read_record_batch(message, schema).column(0), trusted)
        batch = ipc.open_stream(buffer, options=_READ).read_next_batch()
        if is_split(batch):
            batch.validate()
            return _checked(joined(batch), trusted)
        array, how = _checked(batch.column(0), trusted), batch.schema.field(0).metadata
        if how:
            return widened(array, how, type.arrow)
        return array.cast(type.arrow) if type.kind == "category" and array.type != type.arrow else array
    except InvalidInput:
        raise
    except (pa.ArrowException, OSError, EOFError, StopIteration, *MISSHAPEN) as error:
        raise Corrupt(f"a chunk of the column cannot be read: {error}") from None


def never_trust(most: int) -> None:
    """Have this process doubt all chunks from now on: for one that reads what people wrote for themselves.

    Texts must be UTF-8. A chunk is refused that unpacks to more than `most` bytes: few can stand for many.
    """
    global _most
    _most = most


def _check_size(buffer: pa.Buffer, most: int) -> None:
    size = sum(map(unpacked, ipc.MessageReader.open_stream(buffer)))
    if size > most:
        raise InvalidInput(
            f"a chunk of {size:,} bytes is more than the {most:,} that are unpacked here",
            hint="read the dataset in Python, by om.datasets",
        )


def _checked(array: pa.Array, trusted: bool) -> pa.Array:
    """Return the array if none of its offsets and indices points outside of it. Raises ArrowInvalid."""
    if trusted and _most is None and _is_text(array.type):  # that it is UTF-8 takes longer to see
        array.view(pa.binary() if array.type == pa.string() else pa.large_binary()).validate(full=True)
    else:
        array.validate(full=True)
    return array


def stats(array: pa.Array | pa.ChunkedArray, type: ColumnType) -> tuple[Any, Any, int]:
    """Return the least and greatest value (in the stored unit) and the number of nulls of one chunk.

    NaN is neither least nor greatest. `(None, None, nulls)` where values have no order, or do not fit BSON;
    the bounds of strings are cut to 64 code points, the upper one rounded up.
    """
    array = whole(array)
    nulls = array.null_count
    none = (None, None, nulls)
    if len(array) == nulls or type.kind in ("complex", "interval"):
        return none
    if pa.types.is_dictionary(array.type):
        if not _is_text(array.type.value_type):
            return none
        array = array.dictionary.take(array.indices.unique().drop_null())
    if _is_text(array.type):
        bounds = pc.min_max(array)
        return (bounds["min"].as_py()[:_TEXT], _ceiling(bounds["max"].as_py()), nulls)
    if pa.types.is_floating(array.type):
        return (*_float_bounds(array), nulls)
    if pa.types.is_temporal(array.type) and array.type.bit_width == 64:
        array = array.view(pa.int64())
    if not (pa.types.is_integer(array.type) or pa.types.is_boolean(array.type)):
        return none
    bounds = pc.min_max(array)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    return (low, high, nulls) if high < 2**63 else none


def _float_bounds(array: pa.Array) -> tuple[float | None, float | None]:
    if array.null_count:
        array = array.drop_null()
    values = array.to_numpy(zero_copy_only=False)
    low = float(np.fmin.reduce(values))
    return (None, None) if low != low else (low, float(np.fmax.reduce(values)))


def _ceiling(text: str) -> str | None:
    if len(text) <= _TEXT:
        return text
    cut = text[:_TEXT]
    for at in range(_TEXT - 1, -1, -1):
        code = ord(cut[at])
        if code < 0x10FFFF:
            # surrogates are no characters, so the one after U+D7FF is U+E000
            return cut[:at] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(type_) or pa.types.is_string(type_))


def _has_dictionary(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return True
    return any(_has_dictionary(type_.field(i).type) for i in range(type_.num_fields))


def dense(array: pa.Array) -> pa.Array:
    """Return texts of which few are different as a dictionary array, anything else as it is."""
    if not _is_text(array.type) or len(array) < 64:
        return array
    sample = array.slice(len(array) // 2, 1024) if len(array) > 2048 else array
    if pc.count_distinct(sample).as_py() * 4 > len(sample):
        return array
    found = array.dictionary_encode()
    if len(found.dictionary) * 4 > len(array):
        return array
    indices = found.indices.cast(codes_type(len(found.dictionary)))
    return pa.DictionaryArray.from_arrays(indices, found.dictionary)


def _rows(array: pa.Array, how: Mapping[str, str] | None = None) -> pa.RecordBatch:
    return pa.record_batch([array], schema=pa.schema([pa.field("v", array.type, metadata=how)]))


def _options(array: pa.Array, form: Form, codec: str, size: int) -> ipc.IpcWriteOptions:
    """Return how to write the chunk; some values from its middle are compressed for a try."""
    if codec == "none" or size < _TINY:
        return _PLAIN
    # zstd takes longer to start than a small chunk takes to compress; the message says which it is
    has_zstd = codec == "zstd" and size >= _SMALL
    if len(array) <= 2 * _PROBE or _has_dictionary(array.type):
        return _ZSTD if has_zstd else _LZ4
    probe = form(array.slice((len(array) - _PROBE) // 2, _PROBE))
    worth = _WORTH * ipc.get_record_batch_size(probe)
    quick = len(_message(probe, _LZ4))
    if has_zstd:
        small = len(_message(probe, _ZSTD))
        if small < min(worth, _STRONGER * quick):
            return _ZSTD
    return _LZ4 if quick < worth else _PLAIN


def _stream(batch: pa.RecordBatch, options: ipc.IpcWriteOptions) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def _message(batch: pa.RecordBatch, options: ipc.IpcWriteOptions) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    writer = ipc.new_stream(sink, batch.schema, options=options)
    writer.write_batch(batch)
    # the schema comes first and is known to the reader; closing would only add an end mark
    return sink.getvalue().slice(batch.schema.serialize().size)
