"""When two tables or cells count as the same: dtype, Python type, sign of zero and bits of NaN included."""

from __future__ import annotations

import datetime as dt
import decimal
import struct
from typing import Any

import numpy as np
import pandas as pd


def same(a: Any, b: Any) -> bool:
    """Tell whether two cells are equal and of one type, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (set, frozenset)):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return same(a.tolist(), b.tolist()) if a.dtype == object else a.tobytes() == b.tobytes()
    if isinstance(a, np.generic):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, complex):
        return same([a.real, a.imag], [b.real, b.imag])
    if a is None or a is pd.NA or a is pd.NaT:
        return a is b
    if isinstance(a, pd.Interval):
        return a.closed == b.closed and same([a.left, a.right], [b.left, b.right])
    if isinstance(a, (dt.datetime, dt.time)):
        units = getattr(a, "unit", None) == getattr(b, "unit", None)
        return repr(a) == repr(b) and a.fold == b.fold and units and type(a.tzinfo) is type(b.tzinfo)
    if isinstance(a, dt.timedelta):
        return a == b and getattr(a, "unit", None) == getattr(b, "unit", None)
    return repr(a) == repr(b) if isinstance(a, decimal.Decimal) else bool(a == b)


def same_index(a: pd.Index, b: pd.Index) -> None:
    """Assert that two indexes agree in class, type, names, frequency and values."""
    assert type(a) is type(b) and a.dtype == b.dtype, (a, b)
    assert len(a) == len(b)
    assert all(map(same, list(a.names), list(b.names))), (a.names, b.names)
    assert getattr(a, "freq", None) == getattr(b, "freq", None)
    if isinstance(a, pd.MultiIndex):
        for left, right in zip(
            *(i.set_names([None] * i.nlevels).to_frame().items() for i in (a, b)), strict=True
        ):
            same_values(left[1].array, right[1].array)
    else:
        same_values(a.array, b.array)


def same_values(a: Any, b: Any) -> None:
    """Assert that two arrays of pandas agree in dtype and in every value."""
    dtype = b.dtype
    assert type(a) is type(b) and a.dtype == dtype and len(a) == len(b), (a, b)
    if isinstance(dtype, pd.CategoricalDtype):
        same_index(a.categories, b.categories)
        assert a.ordered == b.ordered and a.codes.dtype == b.codes.dtype
        np.testing.assert_array_equal(a.codes, b.codes)
    elif isinstance(dtype, pd.IntervalDtype):
        same_index(a.left, b.left)
        same_index(a.right, b.right)
    elif isinstance(dtype, pd.SparseDtype):
        assert same(a.dtype.fill_value, dtype.fill_value) and a.kind == b.kind
        same_values(pd.array(np.asarray(a)), pd.array(np.asarray(b)))
    elif isinstance(dtype, pd.ArrowDtype):
        assert a.__arrow_array__().combine_chunks().equals(b.__arrow_array__().combine_chunks())
        assert same(a.tolist(), b.tolist())
    elif hasattr(a, "_mask") and hasattr(a, "_data"):
        np.testing.assert_array_equal(a._mask, b._mask)
        assert a._data[~a._mask].tobytes() == b._data[~b._mask].tobytes(), (a, b)
    elif isinstance(dtype, pd.PeriodDtype | pd.DatetimeTZDtype) or dtype.kind in "mM":
        assert type(getattr(dtype, "tz", None)) is type(getattr(a.dtype, "tz", None))
        np.testing.assert_array_equal(a.asi8, b.asi8)
    elif isinstance(dtype, np.dtype) and dtype.kind != "O":
        assert a.to_numpy().tobytes() == b.to_numpy().tobytes(), (a, b)
    else:
        for left, right in zip(a, b, strict=True):
            assert same(left, right), (left, right)


def assert_same(got: Any, want: Any) -> None:
    """Assert equality of two frames or series in every respect a caller can see."""
    assert type(got) is type(want)
    if isinstance(want, pd.Series):
        assert same(got.name, want.name)
        pairs = [(got, want)]
    else:
        same_index(got.columns, want.columns)
        pairs = [(got.iloc[:, i], want.iloc[:, i]) for i in range(want.shape[1])]
    same_index(got.index, want.index)
    assert same(got.attrs, want.attrs) and got.flags == want.flags
    for a, b in pairs:
        same_values(a.array, b.array)
