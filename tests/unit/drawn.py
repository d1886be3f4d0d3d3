"""Hypothesis strategies for tables: columns of every dtype, cells of every type, indexes of every kind."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import reject
from hypothesis import strategies as st

from tests.unit.drawn_cells import (
    ALIKE,
    BITS,
    CELLS,
    CLOSED,
    INT64,
    LABELS,
    PLAIN,
    TEXT,
    UNITS,
    ZONES,
    as_objects,
    seconds,
)  # fmt: skip

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")


def _ticks(unit: str) -> st.SearchStrategy[int | None]:
    per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    fine = st.builds(lambda s, f: s * per + f, seconds(), st.integers(0, per - 1))
    return st.none() | seconds().map(lambda s: s * per) | fine


def _ints(draw: Any, n: int, dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    one = st.integers(int(info.min), int(info.max)) | st.sampled_from([info.min, info.max, 0, 1])
    return np.array([int(v) for v in draw(st.lists(one, min_size=n, max_size=n))], dtype)


def _floats(draw: Any, n: int, dtype: str) -> np.ndarray:
    size = np.dtype(dtype).itemsize
    values = np.array(draw(st.lists(BITS, min_size=n, max_size=n)), "u8")
    small = (values >> np.uint64(64 - 8 * size)).astype(f"u{size}").view(dtype)
    plain = np.array(draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n)), dtype)
    return np.where(np.array(draw(_flags(n)), bool), small, plain).astype(dtype)


def _flags(n: int) -> st.SearchStrategy[list[bool]]:
    return st.lists(st.booleans(), min_size=n, max_size=n)


def _mask(draw: Any, n: int) -> np.ndarray:
    return np.array(draw(_flags(n)), bool)


def _texts(draw: Any, n: int, missing: Any) -> np.ndarray:
    out = np.empty(n, object)
    for i, text in enumerate(draw(st.lists(st.none() | TEXT, min_size=n, max_size=n))):
        out[i] = missing if text is None else text
    return out


def _times(draw: Any, n: int, kind: str = "M") -> np.ndarray:
    unit = draw(st.sampled_from(UNITS))
    nat = np.iinfo(np.int64).min
    ticks = [nat if v is None else v for v in draw(st.lists(_ticks(unit), min_size=n, max_size=n))]
    return np.array(ticks, np.int64).view(f"{kind}8[{unit}]")


def _zoned(draw: Any, n: int) -> Any:
    zone = draw(st.sampled_from(ZONES))
    try:
        array = pd.DatetimeIndex(_times(draw, n)).tz_localize("UTC").tz_convert(zone).array
        list(array)
    except AttributeError:  # pandas 2.2 with some zones of dateutil
        reject()
    return array


def _masked(draw: Any, n: int, dtype: str) -> Any:
    data = _floats(draw, n, dtype.lower()) if dtype[0] == "F" else _ints(draw, n, dtype.lower())
    kind = pd.api.types.pandas_dtype(dtype).construct_array_type()
    return kind(data, _mask(draw, n))


def _string_dtypes() -> list[Any]:
    found: list[Any] = [pd.StringDtype("python"), pd.StringDtype("pyarrow")]
    try:
        found += [pd.StringDtype(s, na_value=np.nan) for s in ("python", "pyarrow")]
    except TypeError:  # pandas 2.2
        found.append(pd.StringDtype("pyarrow_numpy"))
    return found


def _strings(draw: Any, n: int) -> Any:
    array = pd.array(_texts(draw, n, None), dtype=draw(st.sampled_from(_string_dtypes())))
    if n and array.dtype.storage == "python" and draw(st.integers(0, 19)) == 0:
        array[0] = "\ud800"  # which is refused
    return array


def _periods(draw: Any, n: int) -> Any:
    freq = draw(st.sampled_from(["D", "M", "Q-NOV", "Y-MAR", "h", "W-TUE", "s", "2D", "ns"]))
    nat = np.iinfo(np.int64).min
    ordinals = draw(st.lists(st.none() | st.integers(-1000, 20000), min_size=n, max_size=n))
    numbers = np.array([nat if v is None else v for v in ordinals], np.int64)
    return pd.arrays.PeriodArray(numbers, dtype=pd.PeriodDtype(freq))


def _intervals(draw: Any, n: int) -> Any:
    closed = draw(st.sampled_from(CLOSED))
    kind = draw(st.sampled_from(["int64", "int32", "float64", "float32", "M", "zone", "m"]))
    low = np.sort(np.array(draw(st.lists(st.integers(-50, 50), min_size=n, max_size=n)), np.int64))
    ends: list[Any] = [low, low + 3]
    if kind in ("M", "zone", "m"):
        unit = draw(st.sampled_from(UNITS))
        ends = [pd.Index(end.view(f"{'m' if kind == 'm' else 'M'}8[{unit}]")) for end in ends]
        if kind == "zone":
            zone = draw(st.sampled_from(ZONES))
            ends = [end.tz_localize("UTC").tz_convert(zone) for end in ends]
    else:
        ends = [end.astype(kind) for end in ends]
    made = pd.arrays.IntervalArray.from_arrays(*ends, closed=closed)
    missing = _mask(draw, n)
    if kind.startswith("int") or not draw(st.booleans()):
        return made
    made[missing] = np.nan
    return made


def _sparse(draw: Any, n: int) -> Any:
    dtype = draw(st.sampled_from(["float64", "float32", "int64", "uint8", "bool"]))
    if dtype == "bool":
        values: Any = np.array(draw(_flags(n)), bool)
    else:
        values = (_floats if dtype[0] == "f" else _ints)(draw, n, dtype)
    fill = draw(st.sampled_from([0, 1]) if dtype[0] != "f" else st.sampled_from([0.0, np.nan, 1.0]))
    fill = bool(fill) if dtype == "bool" else np.dtype(dtype).type(fill)
    return pd.arrays.SparseArray(values, fill_value=fill, kind=draw(st.sampled_from(["integer", "block"])))


ARROW: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int16(), st.integers(-9, 9)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float32(), st.integers(-9, 9).map(float)),
    (pa.string(), TEXT),
    (pa.large_string(), TEXT),
    (pa.bool_(), st.booleans()),
    (pa.binary(), st.binary(max_size=3)),
    (pa.decimal128(12, 3), st.integers(-999, 999).map(lambda v: decimal.Decimal(v) / 8)),
    (pa.date32(), st.dates(dt.date(1900, 1, 1))),
    (pa.time64("us"), st.times()),
    (pa.timestamp("us", "Europe/Zurich"), seconds().map(lambda s: s * 10**6)),
    (pa.timestamp("ns"), INT64),
    (pa.duration("ms"), st.integers(-(2**40), 2**40)),
    (pa.list_(pa.int32()), st.lists(st.none() | st.integers(-9, 9), max_size=3)),
    (pa.struct([("a", pa.int8()), ("b", pa.string())]), st.fixed_dictionaries({"a": st.none(), "b": TEXT})),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["x", "y"])),
    (pa.null(), st.none()),
]


def arrow_array(draw: Any, n: int, flat: bool = False) -> pa.Array:
    type_, values = draw(st.sampled_from([t for t in ARROW if not (flat and t[0].num_fields)]))
    return pa.array(draw(st.lists(st.none() | values, min_size=n, max_size=n)), type=type_)


def _arrow(draw: Any, n: int, flat: bool = False) -> Any:
    return pd.arrays.ArrowExtensionArray(pa.chunked_array([arrow_array(draw, n, flat)]))


def _objects(draw: Any, n: int, cells: Any = CELLS) -> np.ndarray:
    one = cells if draw(st.booleans()) else draw(ALIKE)
    gaps = [[], [None], [np.nan], [None, np.nan]] + ([[pd.NA], [pd.NaT]] if cells is CELLS else [])
    gap = draw(st.sampled_from(gaps))
    one = one | st.sampled_from(gap) if gap else one
    return as_objects(draw(st.lists(one, min_size=n, max_size=n)))


def _categories(draw: Any, n: int) -> Any:
    kind = draw(st.sampled_from([*_SIMPLE, "hashable"]))
    size = draw(st.integers(0, 4) | st.sampled_from([126, 127, 128]))
    if kind == "hashable":
        values: Any = pd.Index(
            as_objects([(i, "x") if i % 2 else f"c{i}" for i in range(size)]),
            dtype=object,
            tupleize_cols=False,
        )
    elif size > 4:
        values = pd.Index(np.arange(size))
    else:
        array = _SIMPLE[kind](draw, size)
        values = pd.Index(array, dtype=array.dtype, tupleize_cols=False).unique()
        values = values[~values.isna()]
    codes = draw(st.lists(st.integers(-1, len(values) - 1), min_size=n, max_size=n))
    dtype = pd.CategoricalDtype(values, ordered=draw(st.booleans()))
    return pd.Categorical.from_codes(np.array(codes, np.int64), dtype=dtype)


Maker = Callable[[Any, int], Any]
_SIMPLE: dict[str, Maker] = {
    **{name: lambda draw, n, d=name: _ints(draw, n, d) for name in INTEGERS},
    **{name: lambda draw, n, d=name: _floats(draw, n, d) for name in ("float32", "float64")},
    "bool": lambda draw, n: np.array(draw(_flags(n)), bool),
    "datetime": _times,
    "timedelta": lambda draw, n: _times(draw, n, "m"),
    "zone": _zoned,
    "period": _periods,
    "interval": _intervals,
    "string": _strings,
    "text": lambda draw, n: _texts(draw, n, None),
    "masked": lambda draw, n: _masked(draw, n, draw(st.sampled_from(["Int8", "Int64", "UInt64", "Float64"]))),
}
KINDS: dict[str, Maker] = {
    **_SIMPLE,
    "float16": lambda draw, n: _floats(draw, n, "float16"),
    "complex": lambda draw, n: _floats(draw, 2 * n, "float64").view("c16"),
    "big-endian": lambda draw, n: _ints(draw, n, "int32").astype(">i4"),
    "boolean": lambda draw, n: pd.arrays.BooleanArray(np.array(draw(_flags(n)), bool), _mask(draw, n)),
    "more masked": lambda draw, n: _masked(
        draw, n, draw(st.sampled_from(["Int16", "Int32", "UInt8", "Float32"]))
    ),
    "text with NaN": lambda draw, n: _texts(draw, n, np.nan),
    "category": _categories,
    "sparse": _sparse,
    "arrow": _arrow,
    "objects": _objects,
}
#: Not every dtype can be an index
_INDEXES: dict[str, Maker] = {
    **{k: v for k, v in KINDS.items() if k not in ("float16", "sparse", "big-endian", "complex")},
    "arrow": lambda draw, n: _arrow(draw, n, flat=True),
    "objects": lambda draw, n: as_objects(draw(st.lists(LABELS, min_size=n, max_size=n))),
}


def _whole_ms(array: Any) -> Any:
    if isinstance(array, pd.Categorical):
        kept = _whole_ms(array.categories.array)
        return (
            array if len(set(kept)) < len(kept) else array.rename_categories(pd.Index(kept, dtype=kept.dtype))
        )
    if getattr(array.dtype, "kind", "") != "M":
        return array
    values = pd.DatetimeIndex(array)
    zone, unit = values.tz, values.unit
    whole = (
        values.tz_convert(None).as_unit("ms").as_unit(unit)
        if zone is not None
        else values.as_unit("ms").as_unit(unit)
    )
    return (whole.tz_localize("UTC").tz_convert(zone) if zone is not None else whole).array


#: The columns that the rows format takes, mostly
ROWS: dict[str, Maker] = {
    **{k: v for k, v in KINDS.items() if k not in ("complex", "sparse", "arrow", "interval")},
    **{k: lambda draw, n, k=k: _whole_ms(KINDS[k](draw, n)) for k in ("datetime", "zone", "category")},
    "objects": lambda draw, n: _objects(draw, n, PLAIN),
}


@st.composite
def columns(draw: Any, n: int, kinds: dict[str, Maker] = KINDS) -> pd.Series:
    """A column of `n` values; of few distinct ones where there are more than 8."""
    kind = draw(st.sampled_from(list(kinds)))
    if n <= 8:
        array = kinds[kind](draw, n)
    else:
        few = kinds[kind](draw, 4)
        array = few.take(np.array(draw(st.lists(st.integers(0, 3), min_size=8, max_size=8))).repeat(n)[:n])
    return pd.Series(array, dtype=array.dtype, copy=False)


@st.composite
def indexes(draw: Any, n: int, kinds: dict[str, Maker] = _INDEXES) -> pd.Index:
    """The labels of `n` rows."""
    kind = draw(st.sampled_from(["default", "range", "one", "freq", "multi"]))
    name = draw(LABELS)
    if kind == "default":
        return pd.RangeIndex(n)
    if kind == "range":
        start, step = draw(st.integers(-9, 9)), draw(st.sampled_from([1, 2, -3]))
        return pd.RangeIndex(start, start + n * step, step, name=name)
    if kind == "freq":
        freq = draw(st.sampled_from(["D", "ME", "2h", "W-TUE", "QS-NOV", "B", "ns", "BME", "-1D"]))
        zone = draw(st.none() | st.sampled_from(ZONES))
        return pd.date_range("2020-10-23", periods=n, freq=freq, tz=zone, name=name)
    if kind == "multi":
        levels = [_level(draw, n, kinds) for _ in range(draw(st.integers(1, 3)))]
        return pd.MultiIndex.from_arrays(levels, names=[draw(LABELS) for _ in levels])
    return _level(draw, n, kinds).rename(name)


def _level(draw: Any, n: int, kinds: dict[str, Maker] = _INDEXES) -> pd.Index:
    array = kinds[draw(st.sampled_from(list(kinds)))](draw, n)
    return pd.Index(array, dtype=array.dtype, tupleize_cols=False)


@st.composite
def labels(draw: Any, width: int) -> pd.Index:
    """The labels of `width` columns."""
    kind = draw(st.sampled_from(["text", "any", "range", "one", "multi"]))
    name = draw(st.none() | LABELS)
    if kind == "range":
        return pd.RangeIndex(width, name=name)
    if kind == "multi" and width:
        levels = [_level(draw, width) for _ in range(draw(st.integers(1, 2)))]
        return pd.MultiIndex.from_arrays(levels, names=[draw(LABELS) for _ in levels])
    if kind == "one":
        return _level(draw, width).rename(name)
    own = draw(st.lists(TEXT if kind == "text" else LABELS, min_size=width, max_size=width))
    return pd.Index(as_objects(own), dtype=object, tupleize_cols=False, name=name)


ROW_INDEXES = {
    k: v for k, v in {**_INDEXES, **ROWS}.items() if k in _INDEXES and k in ROWS and k != "objects"
}


@st.composite
def frames(draw: Any, rows: bool = False) -> pd.DataFrame:
    """A frame of up to 4 columns; `rows`: mostly of what the rows format takes."""
    n, width = draw(st.integers(0, 8) | st.just(100)), draw(st.integers(0, 4))
    try:
        index = draw(indexes(n, ROW_INDEXES if rows else _INDEXES)) if n <= 8 else pd.RangeIndex(n)
        own = {i: draw(columns(n, ROWS if rows else KINDS)).set_axis(index) for i in range(width)}
        frame = pd.DataFrame(own, index=index, copy=False)
        frame.columns = draw(labels(width))
        list(frame.index), list(frame.columns)
    except (TypeError, ValueError, ArithmeticError, AttributeError, NotImplementedError, pa.ArrowException):
        reject()  # pandas itself does not make such a frame
    if draw(st.booleans()):
        frame.attrs = draw(st.dictionaries(TEXT, CELLS, max_size=2))
    if frame.index.is_unique and frame.columns.is_unique and draw(st.booleans()):
        frame.flags.allows_duplicate_labels = False
    return frame
