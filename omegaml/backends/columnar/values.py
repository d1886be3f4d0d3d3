"""The values of one column as Arrow arrays, and back into pandas, for every type of column.

Numbers, dates and codes are handed over as they lie in memory. Only object columns are looked at cell by
cell, and then by C code (`set(map(type, ...))`): if all cells are exactly `str`, `int`, `float`, `bool` or
`bytes` (or missing) they are stored as that Arrow type, else as BSON cells (`omegaml.backends.cells`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from omegaml.backends import cells
from omegaml.backends.columnar import chunks
from omegaml.backends.columnar.types import CELL, ColumnType, bare, string_dtype, type_of
from omegaml.errors import Corrupt, NotStorable

Array: TypeAlias = pa.Array | pa.ChunkedArray

# the two Arrow string types tell what a missing cell of an object column was: None, or NaN
STR_OR_NONE, STR_OR_NAN = pa.large_string(), pa.string()
_TEXT = (STR_OR_NONE, STR_OR_NAN, pa.large_binary())

_NAT = np.iinfo(np.int64).min


def to_arrow(values: Any, type_: ColumnType) -> Array:
    """Return a pandas array, index or column as the Arrow array of its type. Raises NotStorable."""
    array = bare(values)
    match type_.kind:
        case "number":
            return _from_numpy(np.asarray(array), type_.arrow)
        case "complex":
            data = np.ascontiguousarray(array)
            return pa.Array.from_buffers(type_.arrow, len(data), [None, pa.py_buffer(data.view(np.uint8))])
        case "datetime" | "timedelta":
            return _from_ordinals(np.asarray(array).view(np.int64), type_.arrow)
        case "datetime_tz" | "period":
            return _from_ordinals(array.asi8, type_.arrow)
        case "masked":
            return _from_numpy(array._data, type_.arrow, array._mask)
        case "category":
            codes = array.codes.astype(type_.arrow.to_pandas_dtype(), copy=False)
            return _from_numpy(codes, type_.arrow, codes < 0)
        case "string":
            return _from_strings(array, type_.arrow)
        case "interval":
            ends = [chunks.whole(to_arrow(end, type_.subtype)) for end in (array.left, array.right)]
            missing = array.isna()
            mask = pa.array(missing) if missing.any() else None
            return pa.StructArray.from_arrays(ends, fields=list(type_.arrow), mask=mask)
        case "sparse":
            return to_arrow(np.asarray(array), type_.subtype)
        case "arrow":
            return pa.chunked_array(array.__arrow_array__()) if not _is_arrow(array) else array
    return _from_objects(np.asarray(array, dtype=object))


def from_arrow(parts: Sequence[pa.Array], type_: ColumnType, rows: int) -> Any:
    """Return `rows` values, given as consecutive Arrow arrays, as the pandas or numpy array of their type."""
    p = type_.params
    match type_.kind:
        case "number":
            return fill(parts, np.empty(rows, p["dtype"]))
        case "complex":
            raw = [_buffer(part, np.dtype(p["dtype"])) for part in parts]
            return np.concatenate([np.empty(0, p["dtype"]), *raw])
        case "datetime" | "timedelta":
            return _ordinals(parts, rows).view(f"{'M' if type_.kind == 'datetime' else 'm'}8[{p['unit']}]")
        case "datetime_tz":
            dtype = pd.DatetimeTZDtype(p["unit"], cells.untag_tz(p["tz"]))
            naive = _ordinals(parts, rows).view(f"M8[{p['unit']}]")
            return pd.DatetimeIndex(naive).tz_localize("UTC").tz_convert(dtype.tz).array
        case "period":
            return pd.arrays.PeriodArray(_ordinals(parts, rows), dtype=pd.PeriodDtype(p["freq"]))
        case "masked":
            dtype = pd.api.types.pandas_dtype(p["dtype"])
            data = fill(parts, np.empty(rows, dtype.numpy_dtype))
            return dtype.construct_array_type()(data, _missing(parts, rows))
        case "category":
            codes = fill(parts, np.empty(rows, type_.arrow.to_pandas_dtype()))
            if any(part.null_count for part in parts):
                codes[_missing(parts, rows)] = -1
            dtype = pd.CategoricalDtype(index_from_doc(p["categories"]), ordered=p["ordered"])
            if rows and (int(codes.min()) < -1 or int(codes.max()) >= len(dtype.categories)):
                # pandas would look for what it takes for an object where there is none
                raise Corrupt(f"there are no categories for codes up to {codes.max()}")
            return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)
        case "string":
            return _strings(parts, p)
        case "interval":
            sides = [from_arrow([part.field(i) for part in parts], type_.subtype, rows) for i in (0, 1)]
            missing = _missing(parts, rows)
            if missing.any():
                sides = [_blank(side, missing) for side in sides]
            return pd.arrays.IntervalArray.from_arrays(*sides, closed=p["closed"])
        case "sparse":
            fill_value = cells.untag(p["fill"])
            dense = from_arrow(parts, type_.subtype, rows)
            dtype = pd.SparseDtype(dense.dtype, fill_value)
            return pd.arrays.SparseArray(dense, fill_value=fill_value, kind=p["index"], dtype=dtype)
        case "arrow":
            return pd.arrays.ArrowExtensionArray(as_type(parts, type_.arrow))
    if parts and parts[0].type in _TEXT and all(part.type == parts[0].type for part in parts):
        # all chunks at once: the objects are made where they stay, not copied there
        return _objects_of(pa.chunked_array(parts))
    out = np.empty(rows, object)
    at = 0
    for part in parts:
        out[at : at + len(part)] = objects(part)
        at += len(part)
    return out


def plain(array: pa.Array) -> pa.Array:
    """Return `array` without dictionary encoding of strings, as comparisons and other tools want it."""
    if pa.types.is_dictionary(array.type) and array.type.value_type in (STR_OR_NONE, STR_OR_NAN):
        return array.dictionary_decode()
    return array


def as_type(parts: Sequence[pa.Array], type_: pa.DataType) -> pa.ChunkedArray:
    """Return chunks as one array of `type_`; text may lie in them dictionary-encoded."""
    return pa.chunked_array([part if part.type == type_ else plain(part) for part in parts], type=type_)


def coded(parts: Sequence[pa.Array], rows: int) -> pd.Categorical | None:
    """Return texts that are stored as dictionaries as categories, without a look at each; else None."""
    if not parts or not all(pa.types.is_dictionary(part.type) for part in parts):
        return None
    if len({part.type.value_type for part in parts}) > 1:
        return None
    whole = pa.chunked_array([p.cast(pa.dictionary(pa.int32(), p.type.value_type)) for p in parts])
    chunks_ = whole.unify_dictionaries().chunks
    codes = np.full(rows, -1, np.int32)
    at = 0
    for chunk in chunks_:
        indices = chunk.indices.fill_null(-1) if chunk.null_count else chunk.indices
        codes[at : at + len(chunk)] = indices.to_numpy()
        at += len(chunk)
    words = chunks_[0].dictionary.to_numpy(zero_copy_only=False)
    return pd.Categorical.from_codes(codes, pd.Index(words, dtype=object), validate=False)


def objects(array: pa.Array) -> np.ndarray:
    """Return one chunk of an object column as Python objects of their exact types."""
    if isinstance(array.type, pa.ExtensionType):
        out = np.empty(len(array), object)
        for i, data in enumerate(array.storage.to_numpy(zero_copy_only=False)):
            out[i] = cells.decode(data)
        return out
    if pa.types.is_dictionary(array.type):
        missing = np.nan if array.type.value_type == STR_OR_NAN else None
        # one object per distinct string; the last entry stands for "missing" (code -1)
        words = np.empty(len(array.dictionary) + 1, object)
        words[:-1] = array.dictionary.to_numpy(zero_copy_only=False)
        words[-1] = missing
        codes = array.indices
        codes = codes.fill_null(-1) if codes.null_count else codes
        return words[codes.to_numpy(zero_copy_only=False)]
    if array.type in _TEXT:
        return _objects_of(array)
    out = fill([array], np.empty(len(array), array.type.to_pandas_dtype())).astype(object)
    if array.null_count:
        out[array.is_null().to_numpy(zero_copy_only=False)] = None
    return out


def _objects_of(array: Array) -> np.ndarray:
    out = array.to_numpy(zero_copy_only=False)
    if array.null_count and array.type == STR_OR_NAN:
        out = out if out.flags.writeable else out.copy()
        out[array.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return out


def fill(parts: Sequence[pa.Array], out: np.ndarray) -> np.ndarray:
    """Copy the values of number arrays into `out`, once each; what stands in a null slot is not defined."""
    at = 0
    for part in parts:
        size = len(part)
        if size:
            out[at : at + size] = _raw(part)
        at += size
    return out


def index_doc(index: pd.Index) -> dict[str, Any]:
    """Return an index with its values, type, names and frequency as a BSON-able document.

    Raises NotStorable for values, names or a frequency that would not come back equal.
    """
    if isinstance(index, pd.MultiIndex):
        codes = [chunks.pack(pa.array(np.asarray(c, np.int64)), _CODES) for c in index.codes]
        levels = [index_doc(level.rename(None)) for level in index.levels]
        return {"levels": levels, "codes": codes, "names": [cells.tag(n) for n in index.names]}
    name = cells.tag(index.name)
    if isinstance(index, pd.RangeIndex):
        return {"range": [int(index.start), int(index.stop), int(index.step)], "name": name}
    type_ = type_of(index)
    data = chunks.pack(to_arrow(index, type_), type_)
    return {"type": type_.to_doc(), "data": data, "size": len(index), "name": name, "freq": freq_text(index)}


def index_from_doc(doc: dict[str, Any]) -> pd.Index:
    """Return the index that `index_doc` wrote."""
    if "levels" in doc:
        codes = [_raw(chunks.unpack(c, _CODES)) for c in doc["codes"]]
        names = [cells.untag(n) for n in doc["names"]]
        levels = [index_from_doc(level) for level in doc["levels"]]
        return pd.MultiIndex(levels, codes, names=names, verify_integrity=False)
    name = cells.untag(doc["name"])
    if "range" in doc:
        return pd.RangeIndex(*(int(v) for v in doc["range"]), name=name)
    type_ = ColumnType.from_doc(doc["type"])
    values = from_arrow([chunks.unpack(doc["data"], type_)], type_, int(doc["size"]))
    return index_of(values, name, doc["freq"])


def index_of(values: Any, name: Any, freq: str | None) -> pd.Index:
    """Return an index of exactly these values; `freq` is set if they still follow it."""
    index = pd.Index(values, dtype=values.dtype, tupleize_cols=False, copy=False)
    index.name = name
    if freq is not None:
        with suppress(ValueError):  # the values were chosen or appended to
            index.freq = freq
    return index


def places(index: pd.Index, values: pd.Index) -> np.ndarray:
    """Return where in `index` (of distinct values) each of `values` is, or -1."""
    if isinstance(index, pd.IntervalIndex):  # which would look for intervals that overlap
        index, values = index.astype(object), values.astype(object)
    return index.get_indexer(values)


def row_index(
    levels: Sequence[Any], names: Sequence[Any], freqs: Sequence[str | None], multi: bool
) -> pd.Index:
    """Return the index of rows with these values of each level; `freqs` may be empty."""
    freqs = freqs or [None] * len(levels)
    if not multi:
        return index_of(levels[0], names[0], freqs[0])
    made = pd.MultiIndex.from_arrays([index_of(level, None, None) for level in levels])
    for i, freq in enumerate(freqs):
        if freq is not None:
            made = made.set_levels(index_of(made.levels[i], None, freq), level=i)
    made.names = list(names)
    return made


def freqs_of(index: pd.Index) -> tuple[str | None, ...]:
    """Return the frequency of an index, or of each level of a MultiIndex; raises as `freq_text`."""
    return tuple(map(freq_text, index.levels if isinstance(index, pd.MultiIndex) else [index]))


def levels_of(index: pd.Index) -> list[pd.Index]:
    """Return the values of each level of an index, one per row."""
    if not isinstance(index, pd.MultiIndex):
        return [index]
    bare = index.set_names([None] * index.nlevels)  # a level's name may be the number of another level
    return [bare.get_level_values(i) for i in range(index.nlevels)]


def freq_text(index: pd.Index) -> str | None:
    """Return the frequency of an index of dates. Raises NotStorable for one that has no text form."""
    freq = getattr(index, "freq", None)
    if freq is None or not isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)):
        return None
    try:
        if pd.tseries.frequencies.to_offset(freq.freqstr) == freq:
            return str(freq.freqstr)
    except ValueError:
        pass
    hint = "set index.freq = None"
    raise NotStorable(f"an index of frequency {freq!r} cannot be stored exactly", hint=hint)


_CODES = ColumnType("number", {"dtype": "<i8"})


def _is_arrow(array: Any) -> bool:
    return isinstance(array, (pa.Array, pa.ChunkedArray))


def _from_numpy(data: np.ndarray, type_: pa.DataType, mask: np.ndarray | None = None) -> pa.Array:
    # built from the memory itself: pa.array() would look at every float for NaN, and NaN is not null here
    data = np.ascontiguousarray(data)
    if data.dtype.kind == "b":
        return pa.array(data, mask=mask)
    if not data.dtype.isnative:
        data = data.astype(data.dtype.newbyteorder("="))
    if mask is None or not mask.any():
        return pa.Array.from_buffers(type_, len(data), [None, pa.py_buffer(data)], 0)
    valid = pa.array(~mask).buffers()[1]
    return pa.Array.from_buffers(type_, len(data), [valid, pa.py_buffer(data)])


def _from_ordinals(data: np.ndarray, type_: pa.DataType) -> pa.Array:
    return _from_numpy(data, type_, data == _NAT)


def _from_strings(array: Any, type_: pa.DataType) -> Array:
    try:
        if array.dtype.storage == "python":  # not by pandas, which copies and looks for NA first
            array = np.asarray(array, dtype=object)
        strings = pa.array(array, type=type_ if isinstance(array, np.ndarray) else None, from_pandas=True)
        return strings if strings.type == type_ else strings.cast(type_)
    except (UnicodeEncodeError, pa.ArrowInvalid) as error:
        raise NotStorable(f"text that is not valid Unicode in a string column: {error}") from None


def _from_objects(values: np.ndarray) -> Array:
    listed = values.tolist()
    kinds = set(map(type, listed))
    missing = kinds - {str, int, float, bool, bytes}
    if missing <= {type(None)}:
        rest = kinds - missing
        if rest == {str, float} and not missing:
            nans = pd.isna(values)
            if list(map(type, listed)).count(float) == int(nans.sum()):
                return _try(values, STR_OR_NAN, from_pandas=True)
        elif len(rest) <= 1:
            return _try(values, _PLAIN[rest.pop()] if rest else STR_OR_NONE, from_pandas=False)
    return _from_cells(listed)


_PLAIN = {str: STR_OR_NONE, int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.large_binary()}


def _try(values: np.ndarray, type_: pa.DataType, from_pandas: bool) -> Array:
    try:
        return pa.array(values, type=type_, from_pandas=from_pandas)
    except (UnicodeEncodeError, OverflowError, pa.ArrowInvalid):  # lone surrogates, integers above 64 bits
        return _from_cells(values.tolist())


def _from_cells(listed: list[Any]) -> pa.Array:
    encoded = pa.array([cells.encode(value) for value in listed], type=pa.large_binary())
    return pa.ExtensionArray.from_storage(CELL, encoded)


def _buffer(array: pa.Array, dtype: np.dtype) -> np.ndarray:
    data = array.buffers()[1]
    if data is None or not len(array):
        return np.empty(0, dtype)
    return np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize)


def _raw(array: pa.Array) -> np.ndarray:
    type_ = array.type
    if pa.types.is_boolean(type_):
        return (array.fill_null(False) if array.null_count else array).to_numpy(zero_copy_only=False)
    if pa.types.is_temporal(type_):
        return _buffer(array, np.dtype(np.int64))
    return _buffer(array, np.dtype(type_.to_pandas_dtype()))


def _missing(parts: Sequence[pa.Array], rows: int) -> np.ndarray:
    mask = np.zeros(rows, bool)
    at = 0
    for part in parts:
        if part.null_count:
            mask[at : at + len(part)] = part.is_null().to_numpy(zero_copy_only=False)
        at += len(part)
    return mask


def _ordinals(parts: Sequence[pa.Array], rows: int) -> np.ndarray:
    out = fill(parts, np.empty(rows, np.int64))
    if any(part.null_count for part in parts):
        out[_missing(parts, rows)] = _NAT
    return out


def _strings(parts: Sequence[pa.Array], params: dict[str, Any]) -> Any:
    dtype = string_dtype(params)
    if dtype is not None and dtype.storage != "python":
        return dtype.__from_arrow__(pa.chunked_array([plain(part) for part in parts], type=STR_OR_NONE))
    values = np.concatenate([np.empty(0, object), *[objects(part) for part in parts]])
    if dtype is None:
        values[pd.isna(values)] = np.nan
        return values
    return pd.array(values, dtype=dtype, copy=False)


def _blank(side: Any, missing: np.ndarray) -> Any:
    index = pd.Index(side)
    return index.where(~missing)
