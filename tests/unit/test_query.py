from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omegaml.errors import InvalidInput, NotFound
from omegaml.query import And, Cond, Q, to_mongo, where
from tests.unit.stored_chunks import ChunkReader, lazy


def matching(frame: pd.DataFrame, q: Q | None = None, **filters: Any) -> list[Any]:
    return lazy(frame).filter(q, **filters).get().index.tolist()


def rows(wanted: pd.Series) -> list[Any]:
    return wanted.index[wanted.fillna(False).astype(bool)].tolist()


NUMBERS = pd.Series([5, -3, 0, 2, 2, 127, -128, 9, 1, 4] * 3)
COMPARISONS = {
    "eq": lambda s, v: s == v,
    "ne": lambda s, v: (s != v) | s.isna(),
    "gt": lambda s, v: s > v,
    "gte": lambda s, v: s >= v,
    "lt": lambda s, v: s < v,
    "lte": lambda s, v: s <= v,
}


@pytest.mark.parametrize("op", COMPARISONS)
@pytest.mark.parametrize("value", [2, 2.5, -200, 300, 10**30, -(10**30), float("inf"), "2", True, np.int8(2)])
@pytest.mark.parametrize(
    "dtype", ["int8", "int64", "uint64", "float16", "float32", "float64", "Int16", "Float64"]
)
def test_comparing_numbers_is_what_pandas_says(op, value, dtype):
    if op in ("eq", "ne", "gt", "gte", "lt", "lte") and isinstance(value, int) and abs(value) > 2**63:
        oracle: Any = float(value)
    else:
        oracle = float(value) if isinstance(value, str) else value
    column = NUMBERS.abs().clip(upper=126) if dtype == "uint64" else NUMBERS
    column = column.astype(dtype)
    if dtype.startswith(("f", "F", "I")):
        column[3] = np.nan if dtype[0] == "f" else pd.NA
    frame = pd.DataFrame({"x": column})
    expected = COMPARISONS[op](frame["x"].astype("float64"), oracle)
    assert matching(frame, **{f"x__{op}": value}) == rows(expected)


def test_integers_are_compared_exactly_beyond_what_a_float_holds():
    frame = pd.DataFrame({"x": [2**53, 2**53 + 1, 2**63 - 1], "u": np.array([2**64 - 1, 2**63, 1], "uint64")})
    assert matching(frame, x=2**53 + 1) == [1]
    assert matching(frame, x__gt=2**53) == [1, 2]
    assert matching(frame, u__gte=2**64 - 1) == [0]
    assert matching(frame, x__in=[2**63, 2**63 - 1]) == [2]


@pytest.mark.parametrize("dtype", [object, "string[python]", "string[pyarrow]", "category"])
def test_text_operators_are_what_pandas_says(dtype):
    words = ["apple", "Äpfel", "banana", None, "", "a.c", "abc", "grape", "zebra%", "日本"]
    frame = pd.DataFrame({"s": pd.Series(words, dtype=dtype)})
    plain = pd.Series(words, dtype=object)
    for value in ("a", "apple", "a.c", "", "日"):
        assert matching(frame, s__contains=value) == rows(plain.str.contains(value, regex=False))
        assert matching(frame, s__startswith=value) == rows(plain.str.startswith(value))
        assert matching(frame, s__endswith=value) == rows(plain.str.endswith(value))
    assert matching(frame, s__regex="^a.c$") == [5, 6]
    assert matching(frame, s__gte="b") == [i for i, w in enumerate(words) if w is not None and w >= "b"]
    assert matching(frame, s__in=["abc", "zebra%"]) == [6, 8]
    assert matching(frame, s__in="abc,grape") == [6, 7]
    assert matching(frame, s__isnull=True) == [3]
    assert matching(frame, s__ne="abc") == [0, 1, 2, 3, 4, 5, 7, 8, 9]


def test_a_missing_value_matches_isnull_ne_and_nin_only():
    frame = pd.DataFrame({"f": [1.0, np.nan, 3.0], "i": pd.array([1, None, 3], "Int64"), "o": [1, None, "x"]})
    for column in "fi":
        assert matching(frame, **{f"{column}__isnull": True}) == [1]
        assert matching(frame, **{f"{column}__isnull": "false"}) == [0, 2]
        assert matching(frame, **{f"{column}__ne": 1}) == [1, 2]
        assert matching(frame, **{f"{column}__nin": [3]}) == [0, 1]
        assert matching(frame, **{f"{column}__in": [3, None]}) == [1, 2]
        assert matching(frame, **{f"{column}__nin": [3, None]}) == [0]
        assert matching(frame, **{column: None}) == [1]
        assert matching(frame, **{f"{column}__ne": np.nan}) == [0, 2]
        assert matching(frame, **{f"{column}__lt": 10}) == [0, 2]
        assert matching(frame, ~Q(**{f"{column}__lt": 2})) == [1, 2]
    assert matching(frame, o__isnull=True) == [1]


def test_objects_match_as_python_compares_them():
    cells = [
        1,
        "1",
        2.5,
        None,
        b"1",
        True,
        {"a": 1},
        [1],
        decimal.Decimal("2.5"),
        dt.date(2020, 1, 1),
        np.nan,
    ]
    frame = pd.DataFrame({"o": pd.Series(cells, dtype=object)})
    assert matching(frame, o=1) == [0, 5]
    assert matching(frame, o="1") == [1]
    assert matching(frame, o__gt=2) == [2, 8]
    assert matching(frame, o={"a": 1}) == [6]
    assert matching(frame, o__in=[b"1", dt.date(2020, 1, 1)]) == [4, 9]
    assert matching(frame, o__isnull=True) == [3, 10]
    assert matching(frame, o__contains="1") == [1]
    frame = pd.DataFrame({"o": pd.Series([10**400, 5], dtype=object)})
    assert matching(frame, o__gt=10**300) == [0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_compared_exactly_in_every_unit(unit):
    times = pd.Series(
        pd.to_datetime(["2020-01-01 00:00:00", "2020-06-01 12:00:01", None, "1969-07-20 00:00:00"])
    ).astype(f"M8[{unit}]")
    frame = pd.DataFrame({"t": times, "d": times - pd.Timestamp("2020-01-01").as_unit("s")})
    assert matching(frame, t__gt="2020-01-01") == [1]
    assert matching(frame, t__gte=dt.date(2020, 1, 1)) == [0, 1]
    assert matching(frame, t=np.datetime64("1969-07-20")) == [3]
    assert matching(frame, t__lt=pd.Timestamp("2020-01-01 00:00:00.000000001")) == [0, 3]
    assert matching(frame, t=pd.Timestamp("2020-01-01 00:00:00.5")) == []
    assert matching(frame, t__between=["1900-01-01", "9999-12-31"]) == [0, 1, 3]
    assert matching(frame, t__isnull=True) == [2]
    assert matching(frame, d__gt=dt.timedelta(days=1)) == [1]
    assert matching(frame, d__lt="0 days") == [3]
    with pytest.raises(InvalidInput, match="'t'"):
        matching(frame, t__gt=5)


def test_a_time_without_zone_is_meant_in_the_zone_of_the_column():
    times = pd.date_range("2020-06-01", periods=4, freq="h", tz="Europe/Zurich")
    frame = pd.DataFrame({"t": times})
    assert matching(frame, t__gte="2020-06-01 02:00") == [2, 3]
    assert matching(frame, t__gte=pd.Timestamp("2020-06-01 00:00", tz="UTC")) == [2, 3]
    with pytest.raises(InvalidInput, match="'t'"):
        matching(frame.assign(t=frame["t"].dt.tz_localize(None)), t=pd.Timestamp("2020-06-01", tz="UTC"))


def test_categories_periods_intervals_and_complex_numbers_are_compared_by_value():
    frame = pd.DataFrame(
        {
            "size": pd.Categorical(["m", "s", None, "l"], categories=["s", "m", "l"], ordered=True),
            "num": pd.Categorical([10, 20, 10, None]),
            "day": pd.Categorical(pd.to_datetime(["2020-01-01", None, "2021-01-01", "2020-01-01"])),
            "p": pd.PeriodIndex(["2020-01", "2020-02", None, "2021-01"], freq="M"),
            "iv": pd.arrays.IntervalArray.from_tuples([(0, 1), (1, 2), None, (2, 3)]),
            "c": [1 + 2j, 0j, complex("nan"), 3 + 0j],
            "b": [True, False, True, False],
            "sp": pd.arrays.SparseArray([0.0, 0.0, 1.5, np.nan]),
            "dec": pd.Series(
                [decimal.Decimal("1.50"), None, decimal.Decimal("2.25"), decimal.Decimal("3.00")],
                dtype=pd.ArrowDtype(__import__("pyarrow").decimal128(10, 2)),
            ),
        }
    )
    assert matching(frame, size__gt="s") == [0, 3]
    assert matching(frame, size="l") == [3]
    assert matching(frame, size__isnull=True) == [2]
    assert matching(frame, num__gte=15) == [1]
    assert matching(frame, day__lt="2020-06-01") == [0, 3]
    assert matching(frame, p__gt="2020-01") == [1, 3]
    assert matching(frame, p__isnull=True) == [2]
    assert matching(frame, iv=pd.Interval(1, 2)) == [1]
    assert matching(frame, iv__isnull=True) == [2]
    assert matching(frame, c=1 + 2j) == [0]
    assert matching(frame, c__isnull=True) == [2]
    assert matching(frame, b=True) == [0, 2] == matching(frame, b="true")
    assert matching(frame, sp__gt=1) == [2]
    assert matching(frame, sp__isnull=True) == [3]
    assert matching(frame, dec__gte=2) == [2, 3]
    assert matching(frame, dec="1.5") == [0]
    with pytest.raises(InvalidInput, match="not a category"):
        matching(frame, size__gt="xl")
    with pytest.raises(InvalidInput, match="interval"):
        matching(frame, iv__gt=1)


def test_conditions_combine_with_and_or_and_not():
    frame = pd.DataFrame({"a": range(20), "b": list("xy") * 10})
    q = (Q(a__gt=15) | Q(a__lt=3)) & ~Q(b="x")
    assert matching(frame, q) == [1, 17, 19]
    assert matching(frame, q, a__lt=18) == [1, 17]
    assert matching(frame, ~(Q(a__gte=2) | Q(b="y"))) == [0]
    assert matching(frame, Q() & Q(a=1)) == [1]
    assert matching(frame, Q()) == list(range(20))


def test_an_index_level_is_filtered_by_its_name():
    frame = pd.DataFrame({"v": range(4)}, index=pd.Index(list("abcd"), name="key"))
    assert matching(frame, key__gte="c") == ["c", "d"]
    assert matching(frame.rename_axis(None), index="b") == ["b"]


def test_an_unknown_operator_is_refused_with_a_suggestion():
    with pytest.raises(InvalidInput) as caught:
        where(None, {"sales__gtt": 1})
    assert "'gtt'" in caught.value.message
    assert "sales__gt?" in caught.value.hint
    with pytest.raises(InvalidInput, match="between"):
        where(None, {"sales__about": 1})


def test_a_label_with_two_underscores_is_reached():
    frame = pd.DataFrame({"a__b": [1, 2], "c__gt": [3, 4], "__": [5, 6], "__x": [7, 8]})
    assert matching(frame, a__b=2) == [1]
    assert matching(frame, a__b__eq=2) == [1]
    assert matching(frame, a__b__gte=1) == [0, 1]
    assert matching(frame, c__gt=4) == [1]
    assert matching(frame, c__gt__lt=4) == [0]
    assert matching(frame, Q(__=5) & Q(__x=7)) == [0]
    assert where(None, {"a__b__eq": 2}) == Cond("a__b", "eq", 2)


def test_an_unknown_column_is_not_found():
    with pytest.raises(NotFound, match="salez"):
        lazy(pd.DataFrame({"sales": [1]})).filter(salez=1)


@pytest.mark.parametrize(
    "filters",
    [
        {"x__between": [1]}, {"x__between": [None, 2]}, {"x__isnull": "maybe"}, {"x__gt": None}, {"x__in": 5},
        {"x__contains": 5}, {"x__contains": "5"}, {"x": "five"}, {"x__gt": dt.date(2020, 1, 1)}, {"s__gt": 5},
        {"s__regex": "("}, {"x": b"5"}, {"x__lt": {}},
    ],
)  # fmt: skip
def test_a_value_that_the_column_or_operator_cannot_use_is_refused(filters):
    frame = pd.DataFrame({"x": [1, 2], "s": pd.Series(["a", "b"], dtype="string")})
    with pytest.raises(InvalidInput):
        matching(frame, **filters)


CHUNKED = st.lists(
    st.one_of(st.integers(-5, 5), st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1])),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(
    values=CHUNKED,
    ops=st.lists(
        st.tuples(st.sampled_from([*COMPARISONS]), st.integers(-6, 6) | st.floats(-6, 6), st.booleans()),
        min_size=1, max_size=3,
    ),
    kind=st.sampled_from(["int64", "float64", "Int64", "str"]),
    either=st.booleans(),
)  # fmt: skip
def test_pruning_by_statistics_never_loses_a_row(values, ops, kind, either):
    column: Any = pd.Series(values, dtype="object" if kind == "str" else kind)
    if kind == "str":
        column = column.map(str)
    if kind in ("float64", "Int64"):
        column = column.mask(column == 3)
    q = Q()
    wanted = pd.Series(not either, index=column.index)
    for op, value, negated in ops:
        value = str(value) if kind == "str" else value
        found = COMPARISONS[op](column, value).fillna(False).astype(bool)
        part = Q(**{f"x__{op}": value})
        part, found = (~part, ~found) if negated else (part, found)
        q = q | part if either else q & part
        wanted = wanted | found if either else wanted & found
    got = lazy(pd.DataFrame({"x": column}), size=4).filter(q).get()
    assert got.index.tolist() == rows(wanted)


def test_chunks_that_cannot_match_are_not_fetched():
    frame = pd.DataFrame(
        {"n": range(100), "f": np.arange(100) / 2, "s": [f"k{i:03}" for i in range(100)],
         "t": pd.date_range("2020-01-01", periods=100)}
    )  # fmt: skip
    for filters, chunks in [
        ({"n": 55}, 1), ({"n__gte": 90}, 1), ({"n__between": [25, 34]}, 2), ({"n__in": [1, 99]}, 2),
        ({"n": 55.5}, 0),
        ({"f__lt": 2}, 1), ({"s": "k055"}, 1), ({"s__startswith": "k05"}, 1), ({"s__gt": "k095"}, 1),
        ({"t__gte": "2020-04-01"}, 1), ({"n__isnull": True}, 0), ({"n__lt": 50, "s__gte": "k045"}, 1),
    ]:  # fmt: skip
        reader = ChunkReader(frame, 10)
        expr = where(None, filters)
        assert expr is not None
        assert sum(reader.may_match(expr)) == chunks, filters
    negated = where(~Q(n__lt=90))
    assert negated is not None
    assert sum(ChunkReader(frame, 10).may_match(negated)) == 1


def test_a_filter_becomes_a_query_of_the_server():
    q = where(
        (Q(a__gt=np.int64(1)) | ~Q(b__in=["x", None])),
        {"t__gte": pd.Timestamp("2020-01-01"), "c__endswith": "a.b"},
    )
    assert q is not None
    assert to_mongo(q, lambda c: f"f.{c}")["$and"][1:] == [
        {"f.t": {"$gte": dt.datetime(2020, 1, 1)}},
        {"f.c": {"$regex": r"a\.b\z"}},
    ]
    either = to_mongo(q, str)["$and"][0]["$or"]
    assert either[0] == {"a": {"$gt": 1}} and type(either[0]["a"]["$gt"]) is int
    assert either[1]["$nor"][0]["b"]["$in"][:2] == ["x", None]
    assert to_mongo(Cond("a", "between", [1, 2]), str) == {"a": {"$gte": 1, "$lte": 2}}


def test_a_condition_tells_its_columns():
    expr = where(Q(a=1) | ~Q(b__gt=2), {"c__x__eq": 3})
    assert isinstance(expr, And)
    assert expr.columns() == {"a", "b", "c__x"}
