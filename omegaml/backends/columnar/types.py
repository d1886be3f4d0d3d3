"""What a stored column is, apart from its values: the pandas dtype, and the Arrow type it is stored as."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from omegaml.backends import cells
from omegaml.errors import NotStorable

_NUMBERS = {
    "b1": pa.bool_(),
    "i1": pa.int8(),
    "i2": pa.int16(),
    "i4": pa.int32(),
    "i8": pa.int64(),
    "u1": pa.uint8(),
    "u2": pa.uint16(),
    "u4": pa.uint32(),
    "u8": pa.uint64(),
    "f2": pa.float16(),
    "f4": pa.float32(),
    "f8": pa.float64(),
}


class CellType(pa.ExtensionType):
    """Arrow type of object columns that hold anything but one plain type: one BSON document per cell."""

    def __init__(self) -> None:
        super().__init__(pa.large_binary(), "omegaml.cell")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> CellType:
        return cls()


CELL = CellType()
with suppress(pa.ArrowKeyError):  # a module that is reloaded has registered it before
    pa.register_extension_type(CELL)


@dataclass(frozen=True)
class ColumnType:
    """The type of one stored column.

    `kind` with its `params` (all of them BSON-able):
        number{dtype} complex{dtype} datetime{unit} datetime_tz{unit, tz} timedelta{unit} masked{dtype}
        string{storage, na} object{} category{ordered, categories} period{freq} interval{closed, subtype}
        sparse{subtype, fill, index} arrow{type}
    """

    kind: str
    params: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def arrow(self) -> Any:
        """The Arrow `DataType` the values are stored as; None for `object`, where each chunk has its own."""
        p = self.params
        match self.kind:
            case "number":
                return number(np.dtype(p["dtype"]))
            case "masked":
                return number(pd.api.types.pandas_dtype(p["dtype"]).numpy_dtype)
            case "complex":
                return pa.binary(np.dtype(p["dtype"]).itemsize)
            case "datetime":
                return pa.timestamp(p["unit"])
            case "datetime_tz":
                return pa.timestamp(p["unit"], "UTC")
            case "timedelta":
                return pa.duration(p["unit"])
            case "string":
                return pa.large_string()
            case "category":
                return codes_type(p["size"])
            case "period":
                return pa.int64()
            case "interval":
                part = self.subtype.arrow
                return pa.struct([("left", part), ("right", part)])
            case "sparse":
                return self.subtype.arrow
            case "arrow":
                return pa.ipc.read_schema(pa.py_buffer(p["type"])).field(0).type
        return None

    @property
    def subtype(self) -> ColumnType:
        """The type of an interval's ends or a sparse column's values."""
        return ColumnType.from_doc(self.params["subtype"])

    def to_doc(self) -> dict[str, Any]:
        """Return the type as a BSON-able document."""
        return {"kind": self.kind, **self.params}

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> ColumnType:
        """Return the type that `to_doc` wrote."""
        return cls(doc["kind"], {k: v for k, v in doc.items() if k != "kind"})

    def __str__(self) -> str:
        shown = {k: v for k, v in self.params.items() if isinstance(v, (str, int)) and k != "size"}
        return self.kind + (f"[{', '.join(str(v) for v in shown.values())}]" if shown else "")

    def __hash__(self) -> int:
        return hash(self.kind)


def number(dtype: np.dtype) -> pa.DataType | None:
    """Return the Arrow type of a numpy number or bool, or None if Arrow has none."""
    return _NUMBERS.get(dtype.str[1:])


def arrow_type(type_: pa.DataType) -> ColumnType:
    """Return the type of a column that is Arrow's already."""
    return ColumnType("arrow", {"type": pa.schema([("v", type_)]).serialize().to_pybytes()})


def string_dtype(params: dict[str, Any]) -> pd.StringDtype | None:
    """Return pandas' string dtype, or None where text is of no string dtype in this pandas.

    pandas 2.2 has one that treats NaN as missing only as "pyarrow_numpy"; what is `str` in pandas 3 is object
    there, for columns and labels.
    """
    storage, na = params["storage"], params["na"]
    if na == "NA":
        return pd.StringDtype(storage)
    try:
        return pd.StringDtype(storage.removesuffix("_numpy"), na_value=np.nan)
    except TypeError:
        return pd.StringDtype(storage) if storage == "pyarrow_numpy" else None


def bare(values: Any) -> Any:
    """Return the array of a column or index: numpy's own where pandas only wraps it."""
    array = getattr(values, "array", values)
    # not to_numpy(), which looks for missing values first
    return np.asarray(array) if type(array) is pd.arrays.NumpyExtensionArray else array


def type_of(values: Any) -> ColumnType:
    """Return the type of a one-dimensional numpy or pandas array, or of a pandas index's or column's values.

    Raises NotStorable for a dtype that would not come back equal.
    """
    values = bare(values)
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        return _numpy_type(dtype)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return ColumnType("datetime_tz", {"unit": dtype.unit, "tz": cells.tag_tz(dtype.tz)})
    if isinstance(dtype, pd.StringDtype):
        na = "NA" if dtype.na_value is pd.NA else "nan"
        return ColumnType("string", {"storage": dtype.storage, "na": na})
    if isinstance(dtype, pd.CategoricalDtype):
        from omegaml.backends.columnar.values import index_doc  # an index has values, and they have types

        categories = index_doc(dtype.categories)
        params = {"ordered": bool(dtype.ordered), "size": len(dtype.categories), "categories": categories}
        return ColumnType("category", params)
    if isinstance(dtype, pd.PeriodDtype):
        freq = dtype.name[len("period[") : -1]
        if pd.PeriodDtype(freq) != dtype:
            raise NotStorable(f"periods of frequency {dtype.freq!r} cannot be stored exactly")
        return ColumnType("period", {"freq": freq})
    if isinstance(dtype, pd.IntervalDtype):
        subtype = type_of(values.left)
        return ColumnType("interval", {"closed": str(dtype.closed), "subtype": subtype.to_doc()})
    if isinstance(dtype, pd.SparseDtype):
        subtype = _numpy_type(np.dtype(dtype.subtype))
        params = {"subtype": subtype.to_doc(), "fill": cells.tag(dtype.fill_value), "index": values.kind}
        return ColumnType("sparse", params)
    if isinstance(dtype, pd.ArrowDtype):
        return arrow_type(dtype.pyarrow_dtype)
    if hasattr(dtype, "numpy_dtype") and dtype.name in _MASKED:
        return ColumnType("masked", {"dtype": dtype.name})
    raise NotStorable(f"dtype {dtype} cannot be stored exactly")


_MASKED = {"boolean", "Float32", "Float64"} | {f"{u}Int{n}" for u in ("", "U") for n in (8, 16, 32, 64)}


def _numpy_type(dtype: np.dtype) -> ColumnType:
    if dtype.kind == "O":
        return ColumnType("object")
    if dtype.kind in "mM":
        kind = "datetime" if dtype.kind == "M" else "timedelta"
        return ColumnType(kind, {"unit": np.datetime_data(dtype)[0]})
    if dtype.kind == "c":
        return ColumnType("complex", {"dtype": dtype.str})
    if number(dtype) is not None:
        return ColumnType("number", {"dtype": dtype.str})
    raise NotStorable(f"dtype {dtype} cannot be stored exactly")


def codes_type(size: int) -> pa.DataType:
    """Return the type of codes of `size` categories, in the steps that pandas takes too."""
    if size < 127:
        return pa.int8()
    return pa.int16() if size < 32767 else pa.int32()
