"""Frames as row documents come back equal, or are refused with the column's name."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
import zoneinfo
from typing import Any

import dateutil.tz
import numpy as np
import pandas as pd
import pytest

from omegaml.backends.base import Rows
from omegaml.backends.rows import RowsBackend, SeriesRowsBackend
from omegaml.errors import NotStorable

FOLD = pd.date_range("2020-10-25", periods=8, freq="30min", tz="UTC")
NAN = float("nan")


def case(values: Any, **options: Any) -> pd.DataFrame:
    return pd.DataFrame({"x": pd.Series(values, **options)})


def cells(*values: Any) -> pd.DataFrame:
    column = np.empty(len(values), object)
    column[:] = values
    return pd.DataFrame({"x": pd.Series(column, dtype=object)})


def indexed(index: pd.Index) -> pd.DataFrame:
    return pd.DataFrame({"x": range(len(index))}, index=index)


def labelled(columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame(np.arange(2 * len(columns)).reshape(2, -1))
    frame.columns = columns
    return frame


GOOD = {
    **{
        d: case([0, 1, 100], dtype=d)
        for d in ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", ">i4"]
    },
    **{d: case([0.5, NAN, -2], dtype=d) for d in ["float16", "float32", "float64"]},
    **{
        d: case([1, None, 3], dtype=d)
        for d in ["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt64", "Float32", "Float64"]
    },
    "bool": case([True, False]),
    "boolean": case([True, None, False], dtype="boolean"),
    "big int64": case([-(2**63), 2**63 - 1]),
    "masked NaN": pd.DataFrame(
        {"x": pd.arrays.FloatingArray(np.array([NAN, 1.0, 0]), np.array([False, False, True]))}
    ),
    "string python": case(["a", None, "ü"], dtype="string[python]"),
    "string pyarrow": case(["a", None, "ü"], dtype="string[pyarrow]"),
    "inferred text": pd.DataFrame({"x": ["a", "b"]}),
    "object text": cells("a", None, "", "a\0b"),
    "object None and NaN": cells(None, NAN, "x"),
    "object NaN": cells(NAN, 1.5),
    "object mixed": cells(1, 1.0, True, "1", None, b"1", 2**40),
    "object bools": cells(True, False),
    "object ints": cells(1, 2**62),
    "object nested": cells({"a": [1, {"b": None}]}, [], {}, [1.5, "x"]),
    "object lists of one length": cells([1, 2], [3, 4]),
    "object datetime": cells(datetime.datetime(2020, 1, 2, 3, 4, 5, 6000), None),
    "object uuid": cells(uuid.UUID(int=5), None),
    "all None": cells(None, None),
    "datetime": case(pd.to_datetime(["2020-01-01 00:00:00.123", None, "1900-01-01"], format="ISO8601")),
    **{
        f"datetime {u}": case(np.array(["2020-01-01", "NaT", "0005-01-01"], f"M8[{u}]"))
        for u in ("s", "ms", "us")
    },
    "datetime ns": case(np.array(["2020-01-01", "NaT"], "M8[ns]")),
    "fold": pd.DataFrame({"x": FOLD.tz_convert("Europe/Zurich")}),
    "zoneinfo": pd.DataFrame({"x": FOLD.tz_convert(zoneinfo.ZoneInfo("America/New_York"))}),
    "utc": pd.DataFrame({"x": FOLD}),
    "fixed offset": pd.DataFrame({"x": FOLD.tz_convert("+05:30")}),
    "zone of dateutil": pd.DataFrame({"x": FOLD.tz_convert(dateutil.tz.gettz("Europe/Zurich"))}),
    "offset with a name": pd.DataFrame(
        {"x": FOLD.tz_convert(datetime.timezone(datetime.timedelta(hours=-3), "BRT"))}
    ),
    "timedelta": case(pd.to_timedelta(["1D", None, "1ns"])),
    "period": case(pd.PeriodIndex(["2020-01", None], freq="M")),
    "category": case(pd.Categorical(["b", None, "a"], categories=["b", "a", "unused"], ordered=True)),
    "category int": case(pd.Categorical([3, 1, None], categories=[3, 1, 2])),
    "category float": case(pd.Categorical([0.5, None])),
    "category datetime": case(pd.Categorical(pd.to_datetime(["2020-01-01", None]))),
    "category bool": case(pd.Categorical([True, False, None])),
    "category of object text": case(pd.Categorical(pd.Series(["a", "b"], dtype=object))),
    "category of 127": case(pd.Categorical(range(127))),
    "category empty": case(pd.Categorical([None, None], categories=[])),
    "empty rows": pd.DataFrame({"i": pd.Series([], dtype="int32"), "s": pd.Series([], dtype=object)}),
    "no columns": pd.DataFrame(index=[3, 1]),
    "nothing": pd.DataFrame(),
    "index range": indexed(pd.RangeIndex(5, 11, 3, name="r")),
    "index int": indexed(pd.Index([5, -1, 5])),
    "index int8": indexed(pd.Index([1, 2], dtype="int8")),
    "index text": indexed(pd.Index(["a", "b"], name="a.b")),
    "index object": indexed(pd.Index([1, "b", None], dtype=object)),
    "index dates": indexed(pd.date_range("2020-01-01", periods=3, freq="D", name="when")),
    "index hours": indexed(pd.date_range("2020-01-01", periods=3, freq="2h", tz="Europe/Zurich")),
    "index category": indexed(pd.CategoricalIndex(["a", "b", "a"], ordered=True)),
    "index multi": indexed(pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["k", None])),
    "index multi named by numbers": indexed(pd.MultiIndex.from_arrays([[1, 2], ["a", "b"]], names=[1, 0])),
    "index named by a tuple": indexed(pd.Index([1, 2], name=("a", 1))),
    "index named beyond 64 bits": indexed(pd.Index([1, 2], name=2**70)),
    "index named without Unicode": indexed(pd.Index([1, 2], name="\ud800")),
    "index multi dates": indexed(pd.MultiIndex.from_arrays([pd.date_range("2020", periods=2), ["x", None]])),
    "index period": indexed(pd.period_range("2020-01", periods=3, freq="M")),
    "labels awkward": labelled(["a.b", "a_b", "$x", "", "_id", "_idx#0_0", "_om#rowid", "x\0y"]),
    "labels twice": labelled(["a", "a", "b"]),
    "labels int": labelled([3, 1]),
    "labels range": labelled(pd.RangeIndex(3)),
    "labels mixed": labelled(pd.Index([1, "1", None, 2.5], dtype=object)),
    "labels dates": labelled(pd.to_datetime(["2020-01-01", "2021-01-01"])),
    "labels named": labelled(pd.Index(["a", "b"], name="n")),
    "labels without Unicode": labelled(pd.Index(["\ud800", "\udcff"], dtype=object)),
    "labels of tuples": labelled(pd.Index([(1, 2), ("a",)], dtype=object, tupleize_cols=False)),
    "labels to the nanosecond": labelled(pd.DatetimeIndex(["2020-01-01 00:00:00.000000001"])),
    "labels multi": labelled(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"])),
}


def same(frame: pd.DataFrame, back: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(frame, back, check_exact=True, check_freq=True, check_column_type=True)
    assert type(back.index) is type(frame.index)
    assert type(back.columns) is type(frame.columns)
    for i in range(frame.shape[1]):
        assert back.dtypes.iloc[i] == frame.dtypes.iloc[i]
        if frame.dtypes.iloc[i].kind == "O" and frame.dtypes.iloc[i] == np.dtype(object):
            for a, b in zip(frame.iloc[:, i], back.iloc[:, i], strict=True):
                assert type(a) is type(b) and (a == b or a != a), (a, b)


@pytest.mark.parametrize("name", GOOD)
def test_a_frame_comes_back_equal(name: str) -> None:
    backend = RowsBackend()
    same(GOOD[name], backend.decode(backend.encode(GOOD[name]), backend.format))


def test_every_column_of_one_frame_comes_back_equal() -> None:
    frames = [f.head(2).reset_index(drop=True) for k, f in GOOD.items() if len(f) >= 2 and f.shape[1] == 1]
    wide = pd.concat(frames, axis=1)
    backend = RowsBackend()
    same(wide, backend.decode(backend.encode(wide), backend.format))


def test_what_was_said_about_the_frame_comes_back() -> None:
    frame = pd.DataFrame({"x": [1]})
    frame.attrs, frame.flags.allows_duplicate_labels = {"source": "a", "n": [1, (2,)]}, False
    back = RowsBackend().decode(RowsBackend().encode(frame), 1)
    assert back.attrs == frame.attrs
    assert not back.flags.allows_duplicate_labels


@pytest.mark.parametrize("name", ["s", "None", None, 5, "a.b", 2.5, ("a", 1), "\ud800"])
def test_a_series_comes_back_with_its_name(name: object) -> None:
    series = pd.Series([1, 2], name=name, index=["a", "b"], dtype="int16")
    backend = SeriesRowsBackend()
    back = backend.decode(backend.encode(series), backend.format)
    pd.testing.assert_series_equal(series, back)
    assert type(back.name) is type(name)


BAD = {
    "uint64 beyond int64": case([2**63], dtype="uint64"),
    "complex": case([1j]),
    "microseconds": case(np.array(["2020-01-01T00:00:00.000001"], "M8[us]")),
    "year 12000": case(np.array(["12000-01-01"], "M8[s]")),
    "year -5": case(np.array([-(10**13)], "M8[s]")),
    "interval": pd.DataFrame({"x": pd.interval_range(0, 2)}),
    "sparse": case(pd.arrays.SparseArray([0, 1])),
    "decimal cell": cells(decimal.Decimal("1.5")),
    "tuple cell": cells((1, 2)),
    "date cell": cells(datetime.date(2020, 1, 1)),
    "aware cell": cells(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
    "timestamp cell": cells(pd.Timestamp("2020-01-01"), "x"),
    "numpy cell": cells(np.int64(1), "x"),
    "NA cell": cells(pd.NA, "x"),
    "set cell": cells({1}),
    "big int cell": cells(2**63),
    "nested date": cells({"a": [datetime.date(2020, 1, 1)]}),
    "int keys": cells({1: 2}),
    "surrogate": cells("\ud800"),
    "surrogate in a string": case(["\ud800"], dtype="string[python]"),
    "surrogate in a list": cells(["\ud800"]),
    "deep": cells(json.loads("[" * 97 + "]" * 97)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_value_that_would_change_is_refused_with_its_column(name: str) -> None:
    with pytest.raises(NotStorable, match="'x'"):
        RowsBackend().encode(BAD[name])


def test_a_cell_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotStorable, match="'x'"):
        RowsBackend().encode(cells(loop))


def test_a_frequency_that_has_no_text_form_is_refused() -> None:
    days = pd.date_range("2020-01-01", periods=3, freq=pd.offsets.CustomBusinessDay(holidays=["2020-01-02"]))
    with pytest.raises(NotStorable, match="index"):
        RowsBackend().encode(indexed(days))


def test_a_row_beyond_a_document_is_refused() -> None:
    big = RowsBackend().encode(pd.DataFrame({"x": ["a", "b" * (17 << 20)]}))
    with pytest.raises(NotStorable, match="row 1"):
        list(big.batches(0))


def test_the_metadata_has_no_bytes_which_stock_would_change() -> None:
    frame = labelled(pd.Index([("a", 1), 2.5], dtype=object, tupleize_cols=False)).astype("category")
    frame.attrs = {"a": b"x"}
    text = json.dumps(RowsBackend().encode(frame).meta)
    assert (
        RowsBackend().decode(Rows(2, RowsBackend().encode(frame).batches, json.loads(text)), 1).equals(frame)
    )
