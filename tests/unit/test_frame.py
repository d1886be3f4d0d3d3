from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

from omegaml import grouping, streams
from omegaml.errors import InvalidInput, Mismatch, NotFound
from omegaml.frame import LazyFrame
from omegaml.query import Q
from tests.unit.stored_chunks import ChunkReader, lazy

FUNCTIONS = ["sum", "mean", "min", "max", "count", "std", "nunique", "first"]


@pytest.fixture
def sales() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    n = 100
    frame = pd.DataFrame(
        {
            "shop": pd.Series(rng.choice(["north", "south", "east", None], n), dtype=object),
            "year": rng.integers(2018, 2022, n),
            "x": rng.normal(size=n),
            "n": rng.integers(-50, 50, n),
            "f": rng.normal(size=n).astype("float32"),
            "i": pd.array(rng.integers(0, 5, n), "Int64"),
            "t": pd.date_range("2020-01-01", periods=n, freq="h"),
            "c": pd.Categorical(rng.choice(list("abc"), n), categories=list("abcd")),
        }
    )
    frame.loc[rng.choice(n, 20), "x"] = np.nan
    frame.loc[rng.choice(n, 20), "i"] = pd.NA
    frame.loc[rng.choice(n, 5), "t"] = pd.NaT
    return frame


def test_columns_are_chosen_and_left_out(sales):
    frame = lazy(sales)
    assert_frame_equal(frame[["x", "shop"]].get(), sales[["x", "shop"]])
    assert_frame_equal(frame.select("x", "shop").collect(), sales[["x", "shop"]])
    assert_frame_equal(frame.select("^x", "shop").get(), sales.drop(columns=["x", "shop"]))
    assert_series_equal(frame["x"].get(), sales["x"])
    assert list(frame[["x", "shop"]].columns) == ["x", "shop"]
    with pytest.raises(NotFound, match="yeer"):
        frame[["yeer"]]


def test_labels_of_any_type_are_chosen():
    frame = pd.DataFrame([[1, 2, 3]], columns=pd.Index([0, "0", ("a", 1)], tupleize_cols=False))
    assert lazy(frame)[[0]].get().iloc[0, 0] == 1
    assert lazy(frame)[["0"]].get().iloc[0, 0] == 2
    assert lazy(frame).select(("a", 1)).get().iloc[0, 0] == 3
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(Mismatch, match="2 columns"):
        lazy(twice)[["a"]]


def test_a_filter_and_a_range_of_rows_are_those_of_pandas(sales):
    frame = lazy(sales)
    wanted = sales[(sales["n"] > 0) & (sales["year"] == 2020)]
    got = frame.filter(n__gt=0).filter(Q(year=2020))
    assert_frame_equal(got.get(), wanted)
    assert_frame_equal(got[2:9].get(), wanted.iloc[2:9])
    assert_frame_equal(got.head(3)[["x"]].get(), wanted[["x"]].head(3))
    assert_frame_equal(frame[20:40][5:10].get(), sales.iloc[25:30])
    assert_frame_equal(frame.head(0).get(), sales.head(0))
    assert len(got) == got.count() == len(wanted)
    assert (got[2:9].count(), got[2:1000].count()) == (min(7, len(wanted) - 2), len(wanted) - 2)
    assert (frame[90:].count(), frame[200:].count()) == (10, 0)


def test_a_filter_after_a_range_is_refused(sales):
    with pytest.raises(InvalidInput, match="before head"):
        lazy(sales).head(3).filter(n=1)
    with pytest.raises(InvalidInput, match="before head"):
        lazy(sales)[1:].sort("n")
    with pytest.raises(InvalidInput, match="range"):
        lazy(sales)[::2]
    with pytest.raises(InvalidInput, match="range"):
        lazy(sales)[-3:]


@pytest.mark.parametrize("by", ["x", "n", "t", "shop", "i", ["year", "shop"], "c"])
@pytest.mark.parametrize("ascending", [True, False])
def test_sorting_is_what_pandas_does(sales, by, ascending):
    wanted = sales.sort_values(by, ascending=ascending, kind="stable")
    frame = lazy(sales).sort(by, ascending=ascending)
    assert_frame_equal(frame.get(), wanted)
    assert_frame_equal(frame.head(12).get(), wanted.head(12))
    assert_frame_equal(frame[5:12][["x"]].get(), wanted[["x"]].iloc[5:12])
    assert_frame_equal(frame.head(500).get(), wanted)


def test_a_sorted_frame_is_filtered_and_comes_in_chunks(sales, monkeypatch):
    monkeypatch.setattr("omegaml.frame.BLOCK_ROWS", 16)
    frame = lazy(sales.set_index("t")).filter(n__gt=0).sort(["year", "n"], ascending=[False, True])
    wanted = sales.set_index("t")
    wanted = wanted[wanted["n"] > 0].sort_values(["year", "n"], ascending=[False, True], kind="stable")
    chunks = list(frame.chunks())
    assert max(map(len, chunks)) == 16
    assert_frame_equal(pd.concat(chunks), wanted)
    assert_frame_equal(frame.head(20).groupby("shop").first(), wanted.head(20).groupby("shop").first())
    assert_frame_equal(frame.groupby("shop")[["x", "c"]].first(), wanted.groupby("shop")[["x", "c"]].first())


def test_a_sort_with_head_holds_only_the_head(monkeypatch):
    monkeypatch.setattr("omegaml.frame.FEW_ROWS", 10)
    frame = lazy(pd.DataFrame({"a": np.random.default_rng(1).permutation(1000)}), size=10).sort("a").head(7)
    held: list[int] = []
    concat = pd.concat
    monkeypatch.setattr(
        pd, "concat", lambda parts, **kw: held.append(sum(map(len, parts))) or concat(parts, **kw)
    )
    assert frame.get()["a"].tolist() == list(range(7))
    assert 0 < max(held) <= 30


@pytest.mark.parametrize("by", [[], ["x"], ["n"], ["t", "n"], ["shop"], ["i"], ["year", "shop"], ["c"]])
@pytest.mark.parametrize("ascending", [True, False])
def test_rows_go_on_after_any_row_in_any_order(sales, by, ascending, monkeypatch):
    monkeypatch.setattr("omegaml.frame.FEW_ROWS", 3)
    for wanted, frame in ((sales, lazy(sales)), (sales[sales["n"] > 0], lazy(sales).filter(n__gt=0))):
        if by:
            wanted = wanted.sort_values(by, ascending=ascending, kind="stable")
            frame = frame.sort(by, ascending)
        for place in range(0, len(wanted), 3):
            rest = frame.after(int(wanted.index[place]))
            assert_frame_equal(rest.head(4).get(), wanted.iloc[place + 1 : place + 5])
            assert rest.count() == len(wanted) - place - 1
        numbers = np.concatenate([found for found, _ in frame[7:60].numbered()])
        assert numbers.tolist() == wanted.index[7:60].tolist()
    with pytest.raises(InvalidInput, match="before head"):
        frame.head(3).after(1)


def test_a_dataset_is_what_it_was_before_rows_were_added(sales):
    assert lazy(sales).snapshot == ("a dataset", 100)
    earlier = lazy(sales).upto(40)
    assert_frame_equal(earlier.get(), sales.head(40))
    assert_frame_equal(earlier.sort("x").head(5).get(), sales.head(40).sort_values("x").head(5))
    assert earlier.filter(n__gt=0).count() == (sales["n"].head(40) > 0).sum()


@pytest.mark.parametrize("by", ["x", ["shop", "t"]])
def test_a_sort_of_more_rows_than_are_held_goes_over_them_again(sales, by, monkeypatch):
    monkeypatch.setattr("omegaml.frame.RANKED_ROWS", 13)
    monkeypatch.setattr("omegaml.frame.BLOCK_ROWS", 5)
    wanted, frame = sales.sort_values(by, kind="stable"), lazy(sales).sort(by)
    assert_frame_equal(pd.concat([*frame.chunks()]), wanted)
    assert_frame_equal(pd.concat([*frame[50:71].chunks()]), wanted.iloc[50:71])
    assert_frame_equal(frame.head(90).groupby("year").first(), wanted.head(90).groupby("year").first())


def test_rows_far_on_are_reached_without_reading_other_columns(sales):
    frame = lazy(sales).filter(n__gt=-10)
    assert_frame_equal(frame[30:33].get(), sales[sales["n"] > -10].iloc[30:33])
    reader = frame.reader
    asked = []
    scan = reader.scan
    reader.scan = lambda columns, *where: asked.append((list(columns), where[1:])) or scan(columns, *where)
    list(frame[30:33].chunks())
    assert asked[0] == ([], (0,)) and asked[1][0] and asked[1][1][0] > 30
    assert len(asked) == 2


@pytest.mark.parametrize("keys", ["shop", "year", "c", ["shop", "year"], ["c", "shop"], "i", "t"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_grouping_is_what_pandas_does(sales, keys, function, monkeypatch):
    monkeypatch.setattr(grouping, "STACKED_ROWS", 9)  # so that stacked parts are reduced many times
    values = [c for c in ["x", "n", "f", "i"] if c not in keys]
    wanted = getattr(sales.groupby(keys, observed=True)[values], function)()
    assert_frame_equal(getattr(lazy(sales).groupby(keys)[values], function)(), wanted, rtol=1e-5)


@pytest.mark.parametrize("function", ["min", "max", "count", "nunique", "first"])
def test_columns_that_are_no_numbers_are_aggregated(sales, function):
    values = ["t", "shop"] if function in ("count", "nunique", "first") else ["t"]
    wanted = getattr(sales.groupby("year")[values], function)()
    assert_frame_equal(getattr(lazy(sales).groupby("year")[values], function)(), wanted)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_keys_of_which_a_filter_leaves_nothing_are_no_groups(sales, function):
    left = sales[sales["shop"].ne("south")]
    grouped = lazy(sales).filter(Q(shop__ne="south")).groupby("shop")["x"]
    expected = getattr(left.groupby("shop")["x"], function)()
    assert_series_equal(getattr(grouped, function)(), expected, check_exact=False)


def test_the_ways_to_ask_for_aggregates_are_those_of_pandas(sales):
    ours, theirs = lazy(sales).groupby("shop"), sales.groupby("shop")
    for spec in ({"x": "mean"}, {"x": ["mean", "max"], "n": "sum"}, {"x": ["min"]}):
        assert_frame_equal(ours.agg(spec), theirs.agg(spec))
    assert_frame_equal(
        ours.agg(top=("x", "max"), low=("n", "min")), theirs.agg(top=("x", "max"), low=("n", "min"))
    )
    assert_frame_equal(ours[["x", "n"]].agg(["mean", "max"]), theirs[["x", "n"]].agg(["mean", "max"]))
    assert_frame_equal(ours["x"].agg(["mean", "max"]), theirs["x"].agg(["mean", "max"]))
    assert_series_equal(ours["x"].mean(), theirs["x"].mean())
    assert_series_equal(ours.size(), theirs.size())
    assert_frame_equal(ours.count(), theirs.count())
    filtered = lazy(sales).filter(n__gt=10).groupby("shop")["x"].sum()
    assert_series_equal(filtered, sales[sales["n"] > 10].groupby("shop")["x"].sum())


def test_groups_by_an_index_level(sales):
    indexed = sales.set_index(["shop", "year"])
    assert_frame_equal(lazy(indexed).groupby("year")[["x"]].mean(), indexed.groupby("year")[["x"]].mean())


def test_all_rows_are_aggregated(sales):
    frame = lazy(sales)
    assert_series_equal(frame.agg({"x": "mean", "n": "sum"}), sales.agg({"x": "mean", "n": "sum"}))
    spec = {"x": ["min", "max"], "n": ["min", "max"]}
    assert_frame_equal(frame.aggregate(spec), sales.agg(spec), check_dtype=False)
    named = frame.agg(a=("x", "std"), b=("shop", "nunique"))
    assert named["a"] == pytest.approx(sales["x"].std())
    assert named["b"] == 3
    empty = frame.filter(n__gt=1000)
    assert empty.agg(a=("n", "count"), b=("n", "sum"))[["a", "b"]].tolist() == [0, 0]
    assert np.isnan(empty.agg({"x": "mean"})["x"])


def test_nothing_gives_no_groups(sales):
    assert lazy(sales).filter(n__gt=1000).groupby("shop")[["x"]].mean().shape == (0, 1)
    assert lazy(sales.head(0)).groupby(["shop", "year"])[["x"]].mean().shape == (0, 1)
    assert lazy(sales.head(0)).count() == 0
    assert_frame_equal(lazy(sales.head(0)).get(), sales.head(0))


def test_an_aggregate_that_is_not_known_or_not_possible_is_refused(sales):
    with pytest.raises(InvalidInput, match="'median'"):
        lazy(sales).groupby("shop").agg({"x": "median"})
    with pytest.raises(InvalidInput, match="numbers"):
        lazy(sales).groupby("year").agg({"shop": "mean"})
    with pytest.raises(NotFound, match="'y'"):
        lazy(sales).groupby("year").agg({"y": "mean"})
    with pytest.raises(InvalidInput, match="aggregate"):
        lazy(sales).agg()
    with pytest.raises(InvalidInput, match="pair"):
        lazy(sales).agg(a="mean")


def test_the_mean_of_huge_integers_and_the_spread_of_far_values_are_right():
    frame = pd.DataFrame({"k": [0] * 50, "big": [2**62] * 50, "far": 1e9 + np.arange(50) % 2})
    found = lazy(frame, size=3).groupby("k").agg(m=("big", "mean"), s=("far", "std"))
    assert found["m"][0] == 2.0**62
    assert found["s"][0] == pytest.approx(frame["far"].std(), rel=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "Int8", "int8[pyarrow]"])
def test_sums_of_small_integers_do_not_overflow(dtype):
    frame = pd.DataFrame({"k": [0, 0, 0, 1], "x": pd.Series([100, 100, 100, 1], dtype=dtype)})
    for size in (1, 2, 5):
        got, wanted = lazy(frame, size).groupby("k")["x"].sum(), frame.groupby("k")["x"].sum()
        assert_series_equal(got, wanted)
        assert lazy(frame, size).agg({"x": "sum"})["x"] == 301


def test_groups_are_counted_without_holding_the_rows(monkeypatch):
    monkeypatch.setattr(grouping, "STACKED_ROWS", 50)
    held: list[int] = []
    concat = pd.concat
    monkeypatch.setattr(
        grouping.pd, "concat", lambda p, *a, **k: held.append(sum(map(len, p))) or concat(p, *a, **k)
    )
    frame = pd.DataFrame({"k": np.arange(5000) % 10, "x": 1.0})
    assert lazy(frame, size=20).groupby("k")["x"].sum().tolist() == [500.0] * 10
    assert max(held) < 100


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a", "b", None]), st.one_of(st.none(), st.floats(-100, 100))),
        min_size=1,
        max_size=40,
    ),
    size=st.integers(1, 10),
)
def test_grouping_does_not_depend_on_the_chunks(rows, size):
    keys, values = zip(*rows, strict=True)
    frame = pd.DataFrame({"k": pd.Series(keys, dtype=object), "x": pd.Series(values, dtype=float)})
    spec: Any = {"x": FUNCTIONS}
    wanted = frame.groupby("k").agg(spec)
    if len(wanted):
        assert_frame_equal(lazy(frame, size).groupby("k").agg(spec), wanted, rtol=1e-6, atol=1e-6)
    else:
        assert lazy(frame, size).groupby("k").agg(spec).shape == (0, len(FUNCTIONS))


@pytest.mark.parametrize("how", ["inner", "left"])
def test_a_join_is_what_pandas_merge_does(sales, how):
    shops = pd.DataFrame(
        {"shop": ["north", "south", "south", "west"], "x": [1, 2, 3, 4], "area": [10, 20, 30, 40]}
    )
    # pandas 2.2 sorts the rows of an inner join otherwise
    wanted = sales.assign(row=range(100)).merge(shops.assign(partner=range(4)), on="shop", how=how)
    wanted = wanted.sort_values(["row", "partner"]).drop(columns=["row", "partner"]).reset_index(drop=True)
    joined = lazy(sales).join(shops, on="shop", how=how)
    assert_frame_equal(joined.get(), wanted)
    assert_frame_equal(lazy(sales).join(lazy(shops), on="shop", how=how).get(), wanted)
    assert list(joined.columns) == list(wanted.columns)
    assert joined.count() == len(wanted)
    assert_frame_equal(joined.head(9), wanted.head(9))
    assert_frame_equal(joined.groupby("area")[["n"]].sum(), wanted.groupby("area")[["n"]].sum())
    assert joined.agg(a=("area", "sum"))["a"] == wanted["area"].sum()


def test_a_join_without_partners_is_empty_and_an_unknown_key_is_refused(sales):
    other = pd.DataFrame({"year": [1], "w": [2]})
    assert lazy(sales).join(other, on="year").get().shape == (0, len(sales.columns) + 1)
    with pytest.raises(NotFound, match="'zip'"):
        lazy(sales).join(other, on="zip")
    with pytest.raises(InvalidInput, match="'year'"):
        lazy(sales).join(other.assign(year="x"), on="year").get()
    with pytest.raises(InvalidInput, match="outer"):
        lazy(sales).join(other, on="year", how="outer")


def test_chunks_are_the_frame_piece_by_piece(sales):
    for frame in (sales, sales.set_index("t"), sales.set_index(["year", "shop"])):
        chunks = list(lazy(frame, 30).chunks())
        assert [len(c) for c in chunks] == [30, 30, 30, 10]
        assert_frame_equal(pd.concat(chunks), frame)
    series = sales["x"]
    assert_series_equal(pd.concat(list(lazy(series).chunks())), series)
    assert_series_equal(lazy(series).filter(x__gt=0).get(), series[series > 0])


def test_describe_is_what_pandas_says(sales):
    columns = ["x", "n", "f"]
    wanted = sales[columns].astype("float64").describe()
    assert_frame_equal(lazy(sales)[columns].describe(), wanted)
    assert list(lazy(sales).describe().columns) == ["year", "x", "n", "f", "i"]
    with pytest.raises(InvalidInput, match="numbers"):
        lazy(sales)[["shop"]].describe()


def test_only_the_columns_asked_for_are_read(sales):
    asked: list[set[int]] = []

    class Watched(ChunkReader):
        def scan(self, columns, where=None, start=0, stop=None):  # type: ignore[no-untyped-def]
            asked.append(set(columns))
            return super().scan(columns, where, start, stop)

    frame = LazyFrame(Watched(sales))  # type: ignore[arg-type]
    assert asked == []
    frame.filter(n__gt=0).count()
    frame.groupby("shop")["x"].mean()
    frame[["f"]].get()
    assert asked == [set(), {0, 2}, {4}]


def test_arrow_tables_come_back_as_arrow():
    table = pa.table({"a": [3, 1, None, 2], "b": ["x", "y", "z", None]})
    frame = lazy(table, size=2)
    assert frame.filter(a__gte=2).get().to_pydict() == {"a": [3, 2], "b": ["x", None]}
    assert frame.sort("a").head(2).get().to_pydict() == {"a": [1, 2], "b": ["y", None]}
    assert frame.sort("a").get(as_="pandas")["b"].tolist()[:2][0] == "y"
    assert isinstance(frame.get(as_="pandas"), pd.DataFrame)
    assert frame.groupby("b")["a"].sum().to_dict() == {"x": 3, "y": 1, "z": 0}


def test_any_stream_of_frames_can_be_grouped():
    assert issubclass(LazyFrame, streams.Frames)
