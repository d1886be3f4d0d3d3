"""What a pandas column is in BSON, and how it comes back exactly.

`store` turns the values of a column or index level into a field of the row documents and a BSON-able
description of its dtype, the one of the columnar format; `restore` turns what was read and that description
into an array equal to the one stored. Datetimes are kept in whole milliseconds, which is all that BSON has.
"""

from __future__ import annotations

import base64
import datetime
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from bson.int64 import Int64

from omegaml.backends import rowbson
from omegaml.backends.cells import tag_tz
from omegaml.backends.columnar.types import ColumnType, bare, type_of
from omegaml.backends.columnar.values import from_arrow, index_from_doc
from omegaml.backends.rowbson import Field
from omegaml.backends.rowread import Column, cells
from omegaml.errors import NotStorable

Spec = dict[str, Any]
COLUMNAR = 'store it with format="columnar"'
# Years 1 to 9999: what other readers of BSON datetimes can represent.
FIRST_MS, LAST_MS = -62135596800000, 253402300799999
#: MongoDB takes documents of 100 levels.
LEVELS = 95
_PER_MS = {"us": 1_000, "ns": 1_000_000}
_PLAIN_CELLS = (bool, int, float, str, bytes, type(None), uuid.UUID)
_NAT = np.iinfo(np.int64).min
_BYTES = "base64"


def store(label: str, values: Any) -> tuple[Field, Spec]:
    """Return the field and the dtype's description. Raises NotStorable, naming `label`."""
    values = bare(values)
    try:
        type_ = type_of(values)
    except NotStorable as error:
        raise NotStorable(f"column {label}: {error.message}", hint=error.hint) from None
    return _field(label, values, type_), to_text(type_.to_doc())


def column_type(spec: Spec) -> ColumnType:
    """Return the type that `store` described."""
    return ColumnType.from_doc(from_text(spec))


def to_text(doc: Any) -> Any:
    """Return a description with its bytes as text: stock omegaml makes lists of bytes when it appends."""
    if isinstance(doc, bytes):
        return {_BYTES: base64.b64encode(doc).decode()}
    if isinstance(doc, dict):
        return {key: to_text(value) for key, value in doc.items()}
    return [to_text(item) for item in doc] if isinstance(doc, list) else doc


def from_text(doc: Any) -> Any:
    """Return the description that `to_text` was given."""
    if isinstance(doc, dict):
        if _BYTES in doc:
            return base64.b64decode(doc[_BYTES])
        return {key: from_text(value) for key, value in doc.items()}
    return [from_text(item) for item in doc] if isinstance(doc, list) else doc


def _field(label: str, values: Any, type_: ColumnType) -> Field:
    match type_.kind:
        case "number":
            return _store_numbers(label, np.asarray(values), None)
        case "masked":
            return _store_numbers(label, values._data, _some(~values._mask))
        case "object":
            return _store_objects(label, np.asarray(values, dtype=object))
        case "string":
            return _store_text(label, values)
        case "datetime" | "datetime_tz":
            return _store_times(label, values, type_.params["unit"])
        case "timedelta" | "period":
            whole = values.asi8 if type_.kind == "period" else np.asarray(values).view(np.int64)
            return rowbson.integers("", whole, _some(whole != _NAT))
        case "category":
            field, _ = store(label, values.categories)
            return field.take(np.asarray(values.codes, np.int64))
    raise NotStorable(f"column {label}: the rows format cannot keep dtype {values.dtype}", hint=COLUMNAR)


def restore(parts: Sequence[Column], spec: Spec) -> Any:
    """Return the array that `store` was given, from what was read of it, in parts that follow each other."""
    type_ = column_type(spec)
    try:
        found = _at_once(parts, type_) if parts else None
    except pa.ArrowException:  # a number that the column's type does not hold, categories of several types
        found = None
    return _one_by_one([cell for part in parts for cell in cells(part)], type_) if found is None else found


def _at_once(parts: Sequence[Column], type_: ColumnType) -> Any:
    """The array if all cells are of the BSON type that `store` gives them, else None."""
    p, rows = type_.params, sum(map(len, parts))
    match type_.kind:
        case "object":
            found = _all(parts, pa.large_string())
            return found and np.concatenate([part.to_numpy(False) for part in found])
        case "string":
            found = _all(parts, pa.large_string())
        case "number" | "masked":
            is_masked = type_.kind == "masked"
            dtype = _masked(p).numpy_dtype if is_masked else np.dtype(p["dtype"])
            stored = {"b": pa.bool_(), "f": pa.float64()}.get(dtype.kind, pa.int64())
            found = _all(parts, stored, nulls=is_masked)
            if found and dtype.kind in "iu":
                found = [part.cast(pa.from_numpy_dtype(dtype)) for part in found]
        case "datetime" | "datetime_tz":
            found = _all(parts, pa.timestamp("ms"))
            if found:
                moments = [part.to_numpy(False).astype(f"M8[{p['unit']}]") for part in found]
                found = [pa.array(part.view(np.int64)) for part in moments]
        case "timedelta" | "period":
            found = _all(parts, pa.int64())
            found = found and [part.fill_null(_NAT) for part in found]
        case "category":
            return _categorical(parts, index_from_doc(p["categories"]), p["ordered"])
        case _:
            return None
    return found and from_arrow(found, type_, rows)


def _categorical(parts: Sequence[Column], categories: pd.Index, ordered: bool) -> Any:
    known = pa.array(stored_cells(categories))
    known = known.cast(pa.large_string()) if known.type == pa.string() else known
    found = _all(parts, known.type) if known.type in (pa.large_string(), pa.int64()) else None
    if found is None:
        return None
    codes = [pc.index_in(part, known, skip_nulls=True).fill_null(-1).to_numpy(False) for part in found]
    return pd.Categorical.from_codes(np.concatenate(codes), dtype=pd.CategoricalDtype(categories, ordered))


def _all(parts: Sequence[Column], type_: pa.DataType, nulls: bool = True) -> list[pa.Array] | None:
    """The parts if all of them are of a type, or all null."""
    found = []
    for part in parts:
        if isinstance(part, list) or part.type not in (type_, pa.null()) or (part.null_count and not nulls):
            return None
        found.append(part.cast(type_))
    return found


def _one_by_one(cells: Sequence[Any], type_: ColumnType) -> Any:
    p, rows = type_.params, len(cells)
    match type_.kind:
        case "number":
            return _numbers(cells, np.dtype(p["dtype"]))
        case "object":
            return objects(cells)
        case "masked":
            dtype = _masked(p)
            mask = np.fromiter((cell is None for cell in cells), bool, rows)
            data = np.array([0 if cell is None else cell for cell in cells], dtype.numpy_dtype)
            return dtype.construct_array_type()(data, mask)
        case "string":
            return from_arrow([pa.array(cells, pa.large_string())], type_, rows)
        case "datetime" | "datetime_tz":
            return from_arrow([pa.array(times(cells, p["unit"]).view(np.int64))], type_, rows)
        case "timedelta" | "period":
            whole = np.array([_NAT if cell is None else cell for cell in cells], np.int64)
            return from_arrow([pa.array(whole)], type_, rows)
        case "category":
            categories = index_from_doc(p["categories"])
            place = {cell: code for code, cell in enumerate(map(_key, stored_cells(categories)))}
            codes = np.fromiter((place.get(_key(cell), -1) for cell in cells), np.int64, rows)
            return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories, p["ordered"]))
    raise NotStorable(f"unknown column type {type_.kind!r} in the rows format")


def _masked(params: Mapping[str, Any]) -> Any:
    return pd.api.types.pandas_dtype(params["dtype"])


def stored_cells(values: Any) -> list[Any]:
    """The cells of an array or index as they come back from BSON."""
    field, _ = store("categories", values)
    return rowbson.decoded(field, len(values))


def stock_dtype(dtype: Any) -> str:
    """The dtype's name as older readers of the format understand it."""
    if isinstance(dtype, pd.DatetimeTZDtype):
        return f"datetime64[ns, {dtype.tz}]"
    if isinstance(dtype, pd.StringDtype) and dtype.name == "str":
        return "object"
    return str(dtype.name)


def stock_type(name: str) -> ColumnType | None:
    """The type of a column of which only the dtype's name is known; None where that does not tell."""
    try:
        if name.startswith("datetime64["):
            unit, _, zone = name[len("datetime64[") : -1].partition(", ")
            if not zone:
                return ColumnType("datetime", {"unit": unit})
            dtype: Any = pd.api.types.pandas_dtype(name)
            return ColumnType("datetime_tz", {"unit": unit, "tz": tag_tz(dtype.tz)})
        found = pd.api.types.pandas_dtype(name)
        # stock does not keep categories
        return None if found.kind == "O" and name != "string" else type_of(pd.array([], dtype=found))
    except (TypeError, ValueError, NotStorable):
        return None


def from_stock_dtype(name: str, parts: Sequence[Column]) -> Any:
    """The array for a column of which only the dtype's name is known; `object` where it does not fit."""
    type_ = stock_type(name)
    try:
        if type_ is not None:
            return restore(parts, type_.to_doc())
    except (TypeError, ValueError, OverflowError, NotStorable):
        pass
    return objects([cell for part in parts for cell in cells(part)])


def objects(cells: Sequence[Any]) -> np.ndarray:
    """An object array of the cells with plain Python types."""
    array = np.empty(len(cells), object)
    for i, cell in enumerate(cells):  # assigned at once, lists of one length would become a table
        array[i] = _plain(cell)
    return array


def times(cells: Sequence[Any], unit: str) -> np.ndarray:
    """Naive UTC datetimes as `datetime64[unit]`; None is NaT."""
    return np.array([np.datetime64("NaT") if c is None else c for c in cells], "M8[ms]").astype(f"M8[{unit}]")


def check_cell(label: str, cell: Any, levels: int = LEVELS) -> None:
    """Raise NotStorable unless BSON gives this value of an object column back equal and of the same type."""
    kind = type(cell)
    if kind is list or kind is dict:
        if not levels:
            raise NotStorable(f"column {label}: a cell is nested too deeply", hint=COLUMNAR)
        for key in cell if kind is dict else ():
            if type(key) is not str or key.startswith("$") or "\0" in key:
                raise NotStorable(f"column {label}: a dict with key {key!r} has no BSON form", hint=COLUMNAR)
        for item in cell.values() if kind is dict else cell:
            check_cell(label, item, levels - 1)
    elif kind is int:
        if not -(2**63) <= cell < 2**63:
            raise NotStorable(f"column {label}: the integer {cell} needs more than 64 bits", hint=COLUMNAR)
    elif kind is datetime.datetime:
        if cell.tzinfo is not None or cell.microsecond % 1000 or cell.fold:
            raise NotStorable(
                f"column {label}: {cell!r} is not a plain datetime in whole milliseconds", hint=COLUMNAR
            )
    elif kind not in _PLAIN_CELLS:
        raise NotStorable(f"column {label}: a cell of type {kind.__name__} has no BSON form", hint=COLUMNAR)


def _store_numbers(label: str, values: np.ndarray, valid: np.ndarray | None) -> Field:
    kind = values.dtype.kind
    if kind == "b":
        return rowbson.booleans("", values, valid)
    if kind == "f":
        return rowbson.doubles("", values, valid)
    known = values if valid is None else values[valid]
    if kind == "u" and len(known) and int(known.max()) >= 2**63:
        raise NotStorable(f"column {label}: integers of 2**63 and more have no BSON form", hint=COLUMNAR)
    return rowbson.integers("", values, valid)


def _store_times(label: str, values: Any, unit: str) -> Field:
    whole = np.asarray(pd.DatetimeIndex(values).asi8)
    valid = whole != _NAT
    ms = np.where(valid, whole, 0)
    if unit in _PER_MS:
        if np.any(ms % _PER_MS[unit]):
            raise NotStorable(f"column {label}: BSON keeps times in whole milliseconds only", hint=COLUMNAR)
        ms = ms // _PER_MS[unit]
    elif unit == "s":
        ms = np.clip(ms, FIRST_MS // 1000 - 1, LAST_MS // 1000 + 1) * 1000
    if np.any((ms < FIRST_MS) | (ms > LAST_MS)):
        raise NotStorable(f"column {label}: a date outside of the years 1 to 9999", hint=COLUMNAR)
    return rowbson.milliseconds("", ms, _some(valid))


def _store_text(label: str, values: Any) -> Field:
    try:
        text = pa.array(values, pa.large_string(), from_pandas=True)
    except (UnicodeEncodeError, pa.ArrowException) as error:
        raise NotStorable(f"column {label}: a text that is not valid Unicode", hint=COLUMNAR) from error
    return rowbson.strings("", text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text)


def _store_objects(label: str, values: np.ndarray) -> Field:
    kinds = set(map(type, values))
    if kinds <= {str, type(None)}:
        return _store_text(label, values)
    if kinds == {float}:
        return rowbson.doubles("", values.astype(np.float64))
    if kinds == {bool}:
        return rowbson.booleans("", values.astype(bool))
    for cell in values:
        check_cell(label, cell)
    try:
        return rowbson.cells("", values)
    except UnicodeEncodeError as error:
        raise NotStorable(f"column {label}: a text that is not valid Unicode", hint=COLUMNAR) from error


def _numbers(cells: Sequence[Any], dtype: np.dtype[Any]) -> np.ndarray:
    if dtype.kind == "b" and not all(type(cell) is bool for cell in cells):
        raise TypeError("not all cells are booleans")
    if dtype.kind == "f":
        return np.array([math.nan if cell is None else cell for cell in cells], np.float64).astype(dtype)
    return np.array(cells, dtype)


def _some(valid: np.ndarray) -> np.ndarray | None:
    return None if valid.all() else valid


def _key(cell: Any) -> tuple[type, Any]:
    return (int if isinstance(cell, int) and not isinstance(cell, bool) else type(cell), cell)


def _plain(cell: Any) -> Any:
    if type(cell) is Int64:
        return int(cell)
    if isinstance(cell, list):
        return [_plain(item) for item in cell]
    if isinstance(cell, dict):
        return {key: _plain(item) for key, item in cell.items()}
    return cell
