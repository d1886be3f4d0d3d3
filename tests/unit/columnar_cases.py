"""Tables that must come back equal."""

from __future__ import annotations

import datetime as dt
import decimal
import importlib.util
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

NAN = float("nan")
ZURICH = "Europe/Zurich"


def _column(values: Any, **kw: Any) -> pd.DataFrame:
    return pd.DataFrame({"v": pd.Series(values, **kw)})


def _objects(*values: Any) -> pd.DataFrame:
    cells = np.empty(len(values), object)
    for i, value in enumerate(values):
        cells[i] = value
    return _column(cells, dtype=object)


def _indexed(index: pd.Index) -> pd.DataFrame:
    return pd.DataFrame({"v": np.arange(len(index))}, index=index)


def _labelled(labels: Any) -> pd.DataFrame:
    columns = labels if isinstance(labels, pd.Index) else pd.Index(labels, tupleize_cols=False)
    return pd.DataFrame(np.arange(2 * len(columns)).reshape(2, -1), columns=columns)


def _zoned(tz: Any, unit: str = "ns") -> pd.DataFrame:
    # 00:00Z and 01:00Z are 02:00 summer and 02:00 winter time in Zurich
    times = ["2020-10-25 00:00", "2020-10-25 01:00", None, "2020-10-25 02:00"]
    utc = pd.to_datetime(times).tz_localize("UTC")
    return _column(utc.tz_convert(tz).as_unit(unit))


def _zones() -> dict[str, Any]:
    import dateutil.tz

    zones: dict[str, Any] = {
        "utc": dt.UTC,
        "zoneinfo": zoneinfo.ZoneInfo(ZURICH),
        "zoneinfo utc": zoneinfo.ZoneInfo("UTC"),
        "fixed offset": dt.timezone(dt.timedelta(hours=5, minutes=30)),
        "named offset": dt.timezone(dt.timedelta(hours=-3), "BRT"),
        "dateutil": dateutil.tz.gettz(ZURICH),
        "dateutil utc": dateutil.tz.tzutc(),
        "dateutil offset": dateutil.tz.tzoffset("X", 3600),
    }
    if importlib.util.find_spec("pytz"):
        import pytz

        zones |= {"pytz": pytz.timezone(ZURICH), "pytz utc": pytz.UTC, "pytz offset": pytz.FixedOffset(90)}
    return zones


def _numbers() -> dict[str, Callable[[], Any]]:
    cases: dict[str, Callable[[], Any]] = {}
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        info = np.iinfo(name)
        cases[name] = lambda n=name, i=info: _column(np.array([i.min, 0, i.max], n))
        big = name.replace("i", "I", 1).replace("uI", "UI")
        cases[big] = lambda n=big, i=info: _column(pd.array([i.min, None, i.max], dtype=n))
    for name in ("float16", "float32", "float64"):
        cases[name] = lambda n=name: _column(np.array([1.5, NAN, -0.0, np.inf, -np.inf], n))
    for name in ("Float32", "Float64"):
        cases[name] = lambda n=name: _column(pd.array([1.5, None, -0.0], dtype=n))
    cases |= {
        "bool": lambda: _column([True, False, True]),
        "boolean": lambda: _column(pd.array([True, None, False], dtype="boolean")),
        "Float64 with NaN that is not missing": lambda: _column(
            pd.arrays.FloatingArray(np.array([1.0, NAN, 2.0]), np.array([False, False, True]))
        ),
        "complex64": lambda: _column(np.array([1 + 2j, complex(NAN, 1), 0], "c8")),
        "complex128": lambda: _column(np.array([1 + 2j, complex(NAN, 1), 0], "c16")),
        "big-endian": lambda: _column(np.array([1, 2, 3], ">i4")),
        "strided": lambda: pd.DataFrame(np.arange(12.0).reshape(3, 4)),
    }
    return cases


def _times() -> dict[str, Callable[[], Any]]:
    cases: dict[str, Callable[[], Any]] = {}
    for unit in ("s", "ms", "us", "ns"):
        dates = ["1950-02-03", "NaT", "2200-01-01"]
        cases[f"datetime {unit}"] = lambda u=unit, d=dates: _column(np.array(d, f"M8[{u}]"))
        cases[f"timedelta {unit}"] = lambda u=unit: _column(np.array([-5, "NaT", 10**6], f"m8[{u}]"))
        cases[f"zone with {unit}"] = lambda u=unit: _zoned(zoneinfo.ZoneInfo(ZURICH), u)
    for name, tz in _zones().items():
        cases[f"time zone {name}"] = lambda z=tz: _zoned(z)
        cases[f"index in time zone {name}"] = lambda z=tz: _indexed(pd.Index(_zoned(z)["v"], name="t"))
    for freq in ("D", "M", "Q-NOV", "Y", "h", "W-TUE", "s"):
        cases[f"period {freq}"] = lambda f=freq: _column(
            pd.PeriodIndex(["2020-01-01", "NaT", "2021-05-01"], freq=f)
        )
    return cases


def _dtypes() -> dict[str, Callable[[], Any]]:
    breaks = {
        "int64": [0, 1, 2, 5],
        "float64": [0.0, 0.5, 5.0],
        "datetime": pd.to_datetime(["2020-01-01", "2020-01-02", "2021-01-01"]),
        "zone": pd.to_datetime(["2020-01-01", "2020-01-02", "2021-01-01"]).tz_localize(ZURICH),
        "timedelta": pd.to_timedelta(["1s", "2s", "5s"]),
    }
    cases: dict[str, Callable[[], Any]] = {}
    for name, ends in breaks.items():
        for closed in ("left", "right", "both", "neither"):
            cases[f"interval {name} {closed}"] = lambda e=ends, c=closed: _column(
                pd.arrays.IntervalArray.from_breaks(e, closed=c)
            )
    cases |= {
        "interval with a missing one": lambda: _column(
            pd.arrays.IntervalArray.from_tuples([(0.0, 1.0), None, (1.5, 2.0)])
        ),
        "interval of dates with a missing one": lambda: _column(
            pd.arrays.IntervalArray.from_arrays(*[pd.to_datetime(["2020-01-01", None])] * 2, "both")
        ),
        "string python": lambda: _column(pd.array(["a", None, "ü", ""], dtype="string[python]")),
        "string pyarrow": lambda: _column(pd.array(["a", None, "ü", ""], dtype="string[pyarrow]")),
        "string of low cardinality": lambda: _column(pd.array(["a", None, "b", "c"] * 100, dtype="string")),
        "string as inferred": lambda: _column(["a", "b", None]),
        "sparse float": lambda: _column(pd.arrays.SparseArray([0.0, NAN, 1.0])),
        "sparse int filled with 0": lambda: _column(pd.arrays.SparseArray([0, 0, 3], fill_value=0)),
        "sparse int filled with 3": lambda: _column(
            pd.arrays.SparseArray([0, 0, 3], fill_value=3, kind="block")
        ),
        "sparse bool": lambda: _column(pd.arrays.SparseArray([True, False, False], fill_value=False)),
        "category of str": lambda: _column(pd.Categorical(["b", None, "a"], categories=["b", "a", "unused"])),
        "category ordered": lambda: _column(
            pd.Categorical(["b", None, "a"], categories=["b", "a"], ordered=True)
        ),
        "category of int": lambda: _column(pd.Categorical([3, 1, None, 3])),
        "category of float": lambda: _column(pd.Categorical([0.5, 1.5])),
        "category of bool": lambda: _column(pd.Categorical([True, False, None])),
        "category of dates": lambda: _column(pd.Categorical(pd.to_datetime(["2020-01-01", None]))),
        "category of zoned dates": lambda: _column(pd.Categorical(_zoned(zoneinfo.ZoneInfo(ZURICH))["v"])),
        "category of timedelta": lambda: _column(pd.Categorical(pd.to_timedelta(["1s", "2s"]))),
        "category of periods": lambda: _column(
            pd.Categorical(pd.period_range("2020-01", periods=3, freq="M"))
        ),
        "category of intervals": lambda: _column(pd.cut([1, 5, 9], [0, 3, 6, 10])),
        "category of mixed": lambda: _column(pd.Categorical([1, "a", (2, 3)], categories=[1, "a", (2, 3)])),
        "category of none": lambda: _column(pd.Categorical([None, None])),
        "category of Int64": lambda: _column(pd.Categorical(pd.array([1, 2, None], dtype="Int64"))),
        "category of 40000": lambda: _column(pd.Categorical([0, 39999, None], categories=range(40000))),
        # at each of these pandas takes wider codes
        **{
            f"category of {n}": lambda n=n: _column(pd.Categorical([0, n - 1, None], categories=range(n)))
            for n in (126, 127, 128, 200, 32766, 32767, 32768)
        },
    }
    arrow = {
        "int": pa.array([1, None, 3], pa.int16()),
        "string": pa.array(["a", None, "b"]),
        "list": pa.array([[1, 2], None, []], pa.list_(pa.int32())),
        "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}]),
        "decimal": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("-2.50")]),
        "timestamp": pa.array([1, None, 3], pa.timestamp("us", ZURICH)),
        "date": pa.array([dt.date(2020, 1, 1), None, dt.date(2021, 1, 1)]),
        "binary": pa.array([b"a", None, b""]),
        "bool": pa.array([True, None, False]),
        "dictionary": pa.array(["a", None, "b"]).dictionary_encode(),
        "string of low cardinality": pa.array(["a", None, "b"] * 100),
        "null": pa.nulls(3),
    }
    for name, array in arrow.items():
        cases[f"arrow {name}"] = lambda a=array: _column(pd.arrays.ArrowExtensionArray(pa.chunked_array([a])))
    return cases


def _cells() -> dict[str, Callable[[], Any]]:
    zone = zoneinfo.ZoneInfo(ZURICH)
    fold = dt.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=zone)
    nested = {"a": [1, (2, {3}), None], ("k", 1): {"$x.y": b"z"}, None: frozenset({1, "a"})}
    values: dict[str, tuple[Any, ...]] = {
        "str": ("a", "ü", ""),
        "str and None": ("a", None, "b"),
        "str and NaN": ("a", NAN, "b"),
        "str, None and NaN": ("a", None, NAN),
        "only None": (None, None),
        "only NaN": (NAN, NAN),
        "lone surrogates": ("a", "\udcff", None),
        "int": (1, -(2**63), 2**63 - 1),
        "int and None": (1, None, 2),
        "int and NaN": (1, NAN, 2),
        "int beyond 64 bits": (2**63, -(2**63) - 1, 10**40, 1),
        "float": (1.5, NAN, -0.0),
        "float and None": (1.5, None, NAN),
        "bool": (True, False),
        "bool and None": (True, None, False),
        "bool and int": (True, 1, 0, False),
        "int and float": (1, 1.0),
        "bytes": (b"a", b"", None),
        "mixed": (1, "a", None, NAN, True, b"x", 2.5),
        "list": ([1, 2], [], None, [1, "a", [None]]),
        "dict": ({"a": 1}, {}, {"$or": [1], "a.b": {"c": None}}, nested),
        "tuple": ((1, 2), (), ("a", (1,))),
        "set": ({1, 2}, set(), frozenset({"a"})),
        "Decimal": (
            decimal.Decimal("1.10"),
            decimal.Decimal("NaN"),
            decimal.Decimal("-0"),
            decimal.Decimal("1E+50"),
        ),
        "UUID": (uuid.UUID(int=5), None),
        "complex": (1 + 2j, complex(NAN, 0)),
        "datetime": (dt.datetime(2020, 1, 1, 1, 2, 3, 4), dt.datetime.min, fold, fold.replace(fold=0)),
        "datetime with offset": (dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),),
        "date and time": (dt.date(2020, 1, 1), dt.time(1, 2, 3, 4, fold=1), dt.time(1, tzinfo=dt.UTC)),
        "timedelta": (dt.timedelta(-1, 5, 7), pd.Timedelta(5, "ns"), pd.Timedelta("1s").as_unit("s")),
        "Timestamp": (
            pd.Timestamp("2020-01-01"),
            pd.Timestamp(fold.replace(fold=1)),
            pd.Timestamp(fold.replace(fold=0)),
            pd.Timestamp("2020-01-01 00:00:00.000000001", tz="UTC"),
            pd.Timestamp("2020-01-01").as_unit("s"),
        ),
        "NA and NaT": (pd.NA, pd.NaT, None, NAN),
        "Period and Interval": (pd.Period("2020-01", "M"), pd.Interval(1, 2.5, closed="left")),
        "numpy scalars": (
            np.int8(1),
            np.float32(1.5),
            np.bool_(True),
            np.str_("a\0"),
            np.bytes_(b"b\0"),
            np.float64(2),
        ),
        "numpy times": (np.datetime64("2020-01-01"), np.datetime64("NaT", "s"), np.timedelta64(5, "h")),
        "arrays": (
            np.arange(6, dtype="f4").reshape(2, 3),
            np.asfortranarray(np.arange(6).reshape(2, 3)),
            np.array(5),
            np.array([], "M8[s]"),
            np.array(["a", "bc"]),
            np.array([1, None, "a"], object),
        ),
    }
    cases: dict[str, Callable[[], Any]] = {
        f"cells of {name}": lambda v=cells: _objects(*v) for name, cells in values.items()
    }
    cases["cells of low cardinality"] = lambda: _objects(*["a", None, "b"] * 100)
    cases["cells of low cardinality with NaN"] = lambda: _objects(*["a", NAN, "b"] * 100)
    return cases


def _indexes() -> dict[str, Callable[[], Any]]:
    dates = pd.date_range("2020-01-31", periods=4, freq="D")
    indexes: dict[str, Callable[[], pd.Index]] = {
        "range": lambda: pd.RangeIndex(3, 12, 3, name="r"),
        "range downwards": lambda: pd.RangeIndex(5, 0, -2),
        "int": lambda: pd.Index([5, 5, 1], name=("a", 1)),
        "int8": lambda: pd.Index(np.array([1, 2, 3], "i1")),
        "float": lambda: pd.Index([1.5, NAN, 2.0]),
        "bool": lambda: pd.Index([True, False]),
        "str": lambda: pd.Index(["b", "a", "b"], name="name"),
        "object": lambda: pd.Index([1, "a", None, (1, 2)], dtype=object),
        "tuples": lambda: pd.Index([(1, 2), (3, 4)], tupleize_cols=False),
        "dates": lambda: pd.DatetimeIndex(["2020-01-01", "NaT", "2021-01-01"]),
        "dates with frequency": lambda: dates,
        "months": lambda: pd.date_range("2020-01-31", periods=4, freq="ME", name="t"),
        "hours over a clock change": lambda: pd.date_range(
            "2020-10-24 22:00", periods=8, freq="h", tz=ZURICH
        ),
        "timedelta": lambda: pd.timedelta_range("1s", periods=3, freq="5s"),
        "period": lambda: pd.period_range("2020-01", periods=3, freq="M"),
        "interval": lambda: pd.interval_range(0, 3),
        "category": lambda: pd.CategoricalIndex(["a", "b", "a"], ordered=True),
        "Int64": lambda: pd.Index(pd.array([1, None, 3], dtype="Int64")),
        "string": lambda: pd.Index(pd.array(["a", None], dtype="string")),
        "arrow": lambda: pd.Index(pd.array([1, 2], dtype="int64[pyarrow]")),
        "multi": lambda: pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", None]),
        "multi with missing": lambda: pd.MultiIndex.from_arrays([["a", None], [1.5, NAN], list(dates[:2])]),
        "multi of duplicates": lambda: pd.MultiIndex.from_tuples([(1, 2), (1, 2)], names=["x", "x"]),
        "multi with names that are numbers of levels": lambda: pd.MultiIndex.from_arrays(
            [[1, 2], ["a", "b"]], names=[1, 0]
        ),
        "multi of one level": lambda: pd.MultiIndex.from_arrays([[1, 2]], names=[3]),
        "multi with category and zone": lambda: pd.MultiIndex.from_arrays(
            [pd.CategoricalIndex(["a", "b"], ["b", "a", "c"]), dates[:2].tz_localize(ZURICH)]
        ),
        "empty": lambda: pd.Index([], dtype="float32", name="e"),
        "empty multi": lambda: pd.MultiIndex.from_arrays([[], []], names=["a", "b"]),
    }
    cases: dict[str, Callable[[], Any]] = {}
    for name, make in indexes.items():
        cases[f"index {name}"] = lambda m=make: _indexed(m())
        cases[f"labels {name}"] = lambda m=make: _labelled(m())
    return cases


def _shapes() -> dict[str, Callable[[], Any]]:
    full = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["p", "q"])})

    def with_attrs() -> pd.DataFrame:
        frame = full.copy()
        frame.attrs = {"unit": "m", 1: (2, 3)}
        return frame

    return {
        "no columns, no rows": pd.DataFrame,
        "no columns": lambda: pd.DataFrame(index=range(3)),
        "no columns but an index": lambda: pd.DataFrame(index=["a", "b"]),
        "no rows": lambda: full.head(0),
        "one row": lambda: full.head(1),
        "attributes": with_attrs,
        "no duplicates allowed": lambda: full.set_flags(allows_duplicate_labels=False),
        "labels with dots and dollars": lambda: _labelled(["a.b", "$x", "_id", ""]),
        "duplicate labels": lambda: _labelled(["a", "a", "b"]),
        "labels of all sorts": lambda: _labelled([1, "1", None, 1.5, (1, 2), dt.date(2020, 1, 1), True]),
        "labels with a name": lambda: _labelled(pd.Index(["a", "b"], name="n")),
        "series": lambda: pd.Series([1, None, 3], name="s", dtype="Int64"),
        "series without a name": lambda: pd.Series([1.5, NAN]),
        "series named by a tuple": lambda: pd.Series([1, 2], name=("a", 1), index=["x", "y"]),
        "series of objects": lambda: pd.Series([[1], None, {"a": 1}], name=5, dtype=object),
        "series with nothing": lambda: pd.Series([], dtype="category"),
    }


CASES: dict[str, Callable[[], Any]] = {
    **_numbers(),
    **_times(),
    **_dtypes(),
    **_cells(),
    **_indexes(),
    **_shapes(),
}
