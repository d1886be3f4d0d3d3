"""What a pandas column is in BSON, and how it comes back exactly.

`store` turns the values of a column or index level into a field of the row documents and a small
BSON-able description of its dtype; `restore` turns decoded cells and that description into an array equal
to the one stored. Datetimes are kept in whole milliseconds, which is all that BSON has.
"""

from __future__ import annotations

import datetime
import math
import uuid
import zoneinfo
from collections.abc import Sequence
from typing import Any

import bson
import numpy as np
import pandas as pd
import pyarrow as pa
from bson.int64 import Int64

from omegaml.backends import rowbson
from omegaml.backends.rowbson import Field
from omegaml.errors import NotStorable

Spec = dict[str, Any]
COLUMNAR = 'store it with format="columnar"'
# Years 1 to 9999: what other readers of BSON datetimes can represent.
FIRST_MS, LAST_MS = -62135596800000, 253402300799999
_PER_MS = {"us": 1_000, "ns": 1_000_000}
_PLAIN_CELLS = (bool, int, float, str, bytes, type(None), uuid.UUID)


def values_of(column: pd.Series | pd.Index) -> Any:
    """The array behind a column or index level: numpy's for numpy's dtypes, else pandas' own."""
    array = column.array
    plain = isinstance(column.dtype, np.dtype) and column.dtype.kind not in "mM"
    return array.to_numpy() if plain else array


def store(label: str, values: Any) -> tuple[Field, Spec]:
    """Return the field and the dtype's description. Raises NotStorable, naming `label`."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _store_category(label, values)
    if isinstance(dtype, pd.DatetimeTZDtype):
        spec = {"kind": "datetime_tz", "unit": dtype.unit, **_describe_zone(label, dtype)}
        return _store_times(label, values), spec
    if isinstance(dtype, pd.PeriodDtype):
        valid = ~np.asarray(values.isna())
        return rowbson.integers("", values.asi8, _some(valid)), {"kind": "period", "freq": dtype.name[7:-1]}
    if isinstance(dtype, pd.StringDtype):
        text = pa.array(values, pa.large_string(), from_pandas=True)
        na = "nan" if isinstance(dtype.na_value, float) else "na"
        text = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
        return rowbson.strings("", text), {"kind": "string", "storage": dtype.storage, "na": na}
    if isinstance(values, pd.arrays.BooleanArray | pd.arrays.IntegerArray | pd.arrays.FloatingArray):
        valid = ~np.asarray(values.isna())
        data = values.to_numpy(dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return _store_numbers(label, data, _some(valid)), {"kind": "masked", "dtype": dtype.name}
    if isinstance(dtype, np.dtype):
        return _store_numpy(label, values, dtype)
    raise NotStorable(f"column {label}: the rows format cannot keep dtype {dtype}", hint=COLUMNAR)


def restore(cells: Sequence[Any], spec: Spec) -> Any:
    """Return the array that `store` was given, from its decoded cells."""
    kind = spec["kind"]
    if kind == "number":
        return _numbers(cells, np.dtype(spec["dtype"]))
    if kind == "object":
        return objects(cells)
    if kind == "string":
        return pd.array([pd.NA if cell is None else cell for cell in cells], dtype=_string_dtype(spec))
    if kind == "masked":
        dtype: Any = pd.api.types.pandas_dtype(spec["dtype"])
        mask = np.fromiter((cell is None for cell in cells), bool, len(cells))
        data = np.array([0 if cell is None else cell for cell in cells], dtype.numpy_dtype)
        return dtype.construct_array_type()(data, mask)
    if kind == "datetime":
        return pd.array(times(cells, spec["unit"]))
    if kind == "datetime_tz":
        dtype = pd.DatetimeTZDtype(spec["unit"], _zone(spec))
        naive = pd.DatetimeIndex(times(cells, spec["unit"]))
        return naive.tz_localize("UTC").tz_convert(dtype.tz).array
    if kind == "timedelta":
        nat = np.iinfo(np.int64).min
        whole = np.array([nat if cell is None else cell for cell in cells], np.int64)
        return pd.array(whole.view(f"m8[{spec['unit']}]"))
    if kind == "period":
        nat = np.iinfo(np.int64).min
        ordinals = np.array([nat if cell is None else cell for cell in cells], np.int64)
        return pd.arrays.PeriodArray(ordinals, dtype=pd.PeriodDtype(spec["freq"]))
    if kind == "category":
        categories = pd.Index(restore(spec["values"], spec["of"]))
        dtype = pd.CategoricalDtype(categories, spec["ordered"])
        position = {cell: code for code, cell in enumerate(map(_key, spec["values"]))}
        codes = np.fromiter((position.get(_key(cell), -1) for cell in cells), np.int64, len(cells))
        return pd.Categorical.from_codes(codes, dtype=dtype)
    raise NotStorable(f"unknown column type {kind!r} in the rows format")


def stock_dtype(dtype: Any) -> str:
    """The dtype's name as older readers of the format understand it."""
    if isinstance(dtype, pd.DatetimeTZDtype):
        return f"datetime64[ns, {dtype.tz}]"
    if isinstance(dtype, pd.StringDtype) and dtype.name == "str":
        return "object"
    return str(dtype.name)


def from_stock_dtype(name: str, cells: Sequence[Any]) -> Any:
    """The array for a column of which only the dtype's name is known; `object` where it does not fit."""
    try:
        if name.startswith("datetime64["):
            _, _, zone = name[:-1].partition(", ")
            unit = name[len("datetime64[") :][:2].strip("],") or "ns"
            spec = {"kind": "datetime_tz", "unit": unit, "zone": zone, "from": "pandas"}
            return restore(cells, spec if zone else {"kind": "datetime", "unit": unit})
        dtype = pd.api.types.pandas_dtype(name)
        if isinstance(dtype, np.dtype) and dtype.kind in "iufb":
            return _numbers(cells, dtype)
        if isinstance(dtype, np.dtype | pd.CategoricalDtype):
            return objects(cells)
        return pd.array([pd.NA if cell is None else cell for cell in cells], dtype=dtype)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return objects(cells)


def objects(cells: Sequence[Any]) -> np.ndarray:
    """An object array of the cells with plain Python types."""
    array = np.empty(len(cells), object)
    array[:] = [_plain(cell) for cell in cells]
    return array


def times(cells: Sequence[Any], unit: str) -> np.ndarray:
    """Naive UTC datetimes as `datetime64[unit]`; None is NaT."""
    return np.array([np.datetime64("NaT") if c is None else c for c in cells], "M8[ms]").astype(f"M8[{unit}]")


def check_cell(label: str, cell: Any) -> None:
    """Raise NotStorable unless BSON gives this value of an object column back equal and of the same type."""
    kind = type(cell)
    if kind is list:
        for item in cell:
            check_cell(label, item)
    elif kind is dict:
        for key, item in cell.items():
            if type(key) is not str or key.startswith("$") or "\0" in key:
                raise NotStorable(f"column {label}: a dict with key {key!r} has no BSON form", hint=COLUMNAR)
            check_cell(label, item)
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


def _store_numpy(label: str, values: Any, dtype: np.dtype[Any]) -> tuple[Field, Spec]:
    if dtype.kind == "M":
        return _store_times(label, values), {"kind": "datetime", "unit": np.datetime_data(dtype)[0]}
    if dtype.kind == "m":
        whole = np.asarray(values).view(np.int64)
        valid = ~np.isnat(np.asarray(values))
        unit = np.datetime_data(dtype)[0]
        return rowbson.integers("", whole, _some(valid)), {"kind": "timedelta", "unit": unit}
    if dtype.kind == "O":
        return _store_objects(label, values), {"kind": "object"}
    if dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return _store_numbers(label, values, None), {"kind": "number", "dtype": dtype.str}
    raise NotStorable(f"column {label}: the rows format cannot keep dtype {dtype}", hint=COLUMNAR)


def _store_numbers(label: str, values: np.ndarray, valid: np.ndarray | None) -> Field:
    kind = values.dtype.kind
    if kind == "b":
        return rowbson.booleans("", values, valid)
    if kind == "f":
        return rowbson.doubles("", values, valid)
    if kind == "u" and len(values) and int(values.max()) >= 2**63:
        raise NotStorable(f"column {label}: integers of 2**63 and more have no BSON form", hint=COLUMNAR)
    return rowbson.integers("", values, valid)


def _store_times(label: str, values: Any) -> Field:
    unit = np.datetime_data(values.dtype)[0] if isinstance(values.dtype, np.dtype) else values.dtype.unit
    whole = np.asarray(pd.DatetimeIndex(values).asi8)
    valid = ~np.asarray(pd.isna(values))
    ms = np.where(valid, whole, 0)
    if unit in _PER_MS:
        if np.any(ms % _PER_MS[unit]):
            raise NotStorable(f"column {label}: BSON keeps times in whole milliseconds only", hint=COLUMNAR)
        ms = ms // _PER_MS[unit]
    elif unit == "s":
        if np.any((ms < FIRST_MS // 1000) | (ms > LAST_MS // 1000)):
            raise NotStorable(f"column {label}: a date outside of the years 1 to 9999", hint=COLUMNAR)
        ms = ms * 1000
    if np.any((ms < FIRST_MS) | (ms > LAST_MS)):
        raise NotStorable(f"column {label}: a date outside of the years 1 to 9999", hint=COLUMNAR)
    return rowbson.milliseconds("", ms, _some(valid))


def _store_objects(label: str, values: Any) -> Field:
    values = np.asarray(values, dtype=object)
    kinds = set(map(type, values))
    try:
        if kinds <= {str, type(None)}:
            return rowbson.strings("", pa.array(values, pa.large_string(), from_pandas=False))
        if kinds == {float}:
            return rowbson.doubles("", values.astype(np.float64))
        if kinds == {bool}:
            return rowbson.booleans("", values.astype(bool))
        for cell in values:
            check_cell(label, cell)
        return rowbson.cells("", values)
    except (UnicodeEncodeError, pa.ArrowException) as error:
        raise NotStorable(f"column {label}: a text that is not valid Unicode", hint=COLUMNAR) from error


def _store_category(label: str, values: pd.Categorical) -> tuple[Field, Spec]:
    field, spec = store(label, values_of(values.categories))
    cells = rowbson.decoded(field, len(values.categories))
    if len(bson.encode({"v": cells}, codec_options=rowbson.CODEC)) > 2**22:
        raise NotStorable(f"column {label}: more categories than the rows format holds (4 MB)", hint=COLUMNAR)
    taken = field.take(np.asarray(values.codes, np.int64))
    return taken, {"kind": "category", "ordered": bool(values.ordered), "values": cells, "of": spec}


def _describe_zone(label: str, dtype: pd.DatetimeTZDtype) -> Spec:
    zone = dtype.tz
    spec = {
        "zone": str(zone),
        "from": "zoneinfo"
        if isinstance(zone, zoneinfo.ZoneInfo)
        else type(zone).__module__.partition(".")[0],
    }
    try:
        if _zone(spec) == zone:
            return spec
    except (ValueError, KeyError, TypeError):
        pass
    raise NotStorable(f"column {label}: the time zone {zone!r} has no name to find it by", hint=COLUMNAR)


def _zone(spec: Spec) -> datetime.tzinfo:
    name = spec["zone"]
    if spec["from"] == "zoneinfo":
        return zoneinfo.ZoneInfo(name)
    if spec["from"] == "pytz":
        try:
            import pytz
        except ImportError:
            return zoneinfo.ZoneInfo(name)
        return pytz.timezone(name)
    dtype: Any = pd.api.types.pandas_dtype(f"datetime64[ns, {name}]")
    return dtype.tz


def _numbers(cells: Sequence[Any], dtype: np.dtype[Any]) -> np.ndarray:
    if dtype.kind == "b" and not all(type(cell) is bool for cell in cells):
        raise TypeError("not all cells are booleans")
    if dtype.kind == "f":
        return np.array([math.nan if cell is None else cell for cell in cells], np.float64).astype(dtype)
    return np.array(cells, dtype)


def _string_dtype(spec: Spec) -> Any:
    if spec["na"] == "na":
        return pd.StringDtype(spec["storage"])
    try:
        return pd.StringDtype(spec["storage"], na_value=np.nan)
    except TypeError:  # pandas 2.2 knows the NaN variant under this name only
        return pd.StringDtype("pyarrow_numpy")


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
