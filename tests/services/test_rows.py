"""Row documents in a real MongoDB: puts, appends, queries, indexes and races."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest

from omegaml.errors import Mismatch, NotFound


@pytest.fixture
def sales() -> pd.DataFrame:
    random = np.random.default_rng(3)
    rows = 45_000
    return pd.DataFrame(
        {
            "k": random.permutation(rows),
            "x": random.normal(size=rows).astype("float32"),
            "s": pd.Series(random.choice(["a", "b", None], rows), dtype=object),
            "c": pd.Categorical(random.choice(["u", "v"], rows), categories=["v", "u", "w"]),
            "t": pd.date_range("2020-01-01", periods=rows, freq="min", tz="Europe/Zurich"),
            "n": pd.array(random.integers(0, 9, rows), dtype="Int16"),
        }
    )


def same(frame: Any, back: Any) -> None:
    compare = (
        pd.testing.assert_series_equal if isinstance(frame, pd.Series) else pd.testing.assert_frame_equal
    )
    compare(frame, back, check_exact=True, check_freq=True)


def test_a_frame_in_rows_comes_back_equal_whole_and_in_part(om: Any, sales: pd.DataFrame) -> None:
    meta = om.datasets.put(sales, "sales", format="rows", index=["k", "-t"])
    assert (meta.kind, meta.rows) == ("pandas.dfrows", len(sales))
    same(sales, om.datasets.get("sales"))
    same(sales[["c", "k"]], om.datasets.get("sales[c,k]"))
    same(sales.drop(columns=["c", "k"]), om.datasets.get("sales[^c,k]"))
    same(sales[sales.k < 20], om.datasets.get("sales", k__lt=20))
    same(sales.loc[sales.k < 20, ["s"]], om.datasets.get("sales[s]", k__lt=20))
    same(sales[(sales.c == "u") & (sales.n == 3)], om.datasets.get("sales", c="u", n=3))
    same(sales[sales.s.isna()], om.datasets.get("sales", s__isnull=True))
    same(sales[sales.t >= sales.t[44_990]], om.datasets.get("sales", t__gte=sales.t[44_990]))
    same(sales.head(7), om.datasets.get("sales", limit=7))
    same(sales[sales.k < 0], om.datasets.get("sales", k__lt=0))
    keys = [list(i["key"]) for i in om.db[meta.collection].list_indexes()]
    assert keys == [["_id"], ["_om#rowid"], ["k"], ["t"]]


@pytest.mark.parametrize(
    ("labels", "asked", "indexed"),
    [
        (None, [], []),
        (pd.RangeIndex(5, 9, 2), [], []),
        (None, ["index"], [["_idx#0_0"]]),
        (["x", "y"], [], [["_idx#0_0"]]),
        (["x", "y"], ["index", "-index"], [["_idx#0_0"], ["_idx#0_0"]]),
        (pd.MultiIndex.from_tuples([(1, 2), (3, 4)]), ["a"], [["_idx#0_0", "_idx#1_1"], ["a"]]),
    ],
)
def test_an_index_that_only_counts_the_rows_is_not_indexed_unasked(
    om: Any, labels: Any, asked: list[str], indexed: list[list[str]]
) -> None:
    meta = om.datasets.put(pd.DataFrame({"a": [1, 2]}, index=labels), "f", format="rows", index=asked)
    keys = [list(i["key"]) for i in om.db[meta.collection].list_indexes()]
    assert keys == [["_id"], ["_om#rowid"], *indexed]


def test_a_column_that_is_not_there_is_named(om: Any) -> None:
    om.datasets.put(pd.DataFrame({"a": [1]}), "few", format="rows")
    for ask in (lambda: om.datasets.get("few[b]"), lambda: om.datasets.get("few", b=1)):
        with pytest.raises(NotFound, match="'b'"):
            ask()
    with pytest.raises(NotFound, match="'b'"):
        om.datasets.put(pd.DataFrame({"a": [1]}), "indexed", format="rows", index=["b"])
    assert not om.datasets.exists("indexed")


def test_a_replace_leaves_one_collection(om: Any, sales: pd.DataFrame) -> None:
    om.datasets.put(sales, "sales", format="rows")
    om.datasets.put(sales.head(2), "sales", format="rows")
    same(sales.head(2), om.datasets.get("sales"))
    assert len(om.db.list_collection_names()) == 2  # this and the metadata
    om.datasets.drop("sales")
    assert om.db.list_collection_names() == ["metadata"]


def test_appended_rows_follow_and_a_default_index_goes_on(om: Any, sales: pd.DataFrame) -> None:
    om.datasets.put(sales.head(10), "sales", format="rows")
    om.datasets.put(sales[10:25].reset_index(drop=True), "sales", append=True)
    om.datasets.put(sales.head(0), "sales", append=True)
    meta = om.datasets.put(sales[25:30], "sales", append=True)
    assert meta.rows == 30
    same(sales.head(30).assign(t=sales.t[:30]), om.datasets.get("sales"))
    same(sales[12:14], om.datasets.get("sales", k__in=[int(k) for k in sales.k[12:14]]))


def test_rows_are_found_by_an_index_that_counts_them(om: Any) -> None:
    whole = pd.DataFrame({"v": range(10, 70)})
    om.datasets.put(whole[:40], "f", format="rows")
    om.datasets.put(whole[40:60], "f", append=True)
    assert om.datasets.get("f", index__gte=58).v.tolist() == [68, 69]
    assert om.datasets.get("f", index=41, v__gt=0).v.tolist() == [51]
    named = whole.rename_axis("n")
    om.datasets.put(named, "n", format="rows")
    assert om.datasets.get("n", n__lt=2).v.tolist() == [10, 11]


@pytest.mark.parametrize(("start", "step"), [(0, 1), (10, 2), (7, -3), (-4, 5)])
def test_labels_that_count_the_rows_are_found_and_sorted_over_numbers_left_out(
    om: Any, start: int, step: int
) -> None:
    om.datasets.put(
        pd.DataFrame({"v": range(5)}, pd.RangeIndex(start, start + 5 * step, step)), "f", format="rows"
    )
    for first in (5, 8, 11):
        # an append that was undone has used numbers up
        om.db.metadata.update_one({"name": "f"}, {"$inc": {"next_row": first}})
        om.datasets.put(pd.DataFrame({"v": range(first, first + 3)}), "f", append=True)
    whole = pd.DataFrame({"v": range(14)}, pd.RangeIndex(start, start + 14 * step, step))
    same(whole, om.datasets.get("f"))
    lazy = om.datasets.getl("f")
    for label in [
        *range(int(whole.index.min()) - 2, int(whole.index.max()) + 3),
        start + 0.5,
        -(2**70),
        2**70,
    ]:
        tests = {
            "eq": "__eq__",
            "ne": "__ne__",
            "lt": "__lt__",
            "lte": "__le__",
            "gt": "__gt__",
            "gte": "__ge__",
        }
        for op, compare in tests.items():
            found = om.datasets.get("f", **{f"index__{op}": label})
            expected = whole[getattr(pd.Index(whole.index, dtype=object), compare)(label)]
            assert found.v.tolist() == expected.v.tolist(), (op, label)
            assert found.index.tolist() == expected.index.tolist()
            assert lazy.filter(**{f"index__{op}": label}).count() == len(expected)
    some = [*whole.index[[0, 4, 5, 13]], start + 1, None]
    assert om.datasets.get("f", index__in=some).v.tolist() == whole[whole.index.isin(some)].v.tolist()
    assert om.datasets.get("f", index__nin=some).v.tolist() == whole[~whole.index.isin(some)].v.tolist()
    low, high = sorted([whole.index[3], whole.index[9]])
    assert om.datasets.get("f", index__between=(low, high)).v.tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert om.datasets.get("f", index__isnull=True).empty
    for ascending in (True, False):
        same(whole.sort_index(ascending=ascending), lazy.sort("index", ascending).get())


def test_appended_series_and_labelled_rows_follow(om: Any) -> None:
    dates = pd.Series([1.5, 2.5], index=pd.date_range("2020-01-01", periods=2), name="v")
    later = pd.Series([3.5], index=pd.date_range("2021-01-01", periods=1, freq="D"), name="v")
    om.datasets.put(dates, "v", format="rows")
    om.datasets.put(later, "v", append=True)
    pd.testing.assert_series_equal(pd.concat([dates, later]), om.datasets.get("v"), check_freq=False)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (pd.DataFrame({"b": [1]}), "b"),
        (pd.DataFrame({"a": [1.5]}), "a"),
        (pd.DataFrame({"a": np.array([1], "int32")}), "a"),
        (pd.DataFrame({"a": [1], "b": [2]}), "number of columns"),
        (pd.DataFrame({"a": [1]}, index=["x"]), "_idx#0_0"),
        (pd.DataFrame({"a": [1]}, index=[7]), "index"),
    ],
)
def test_rows_that_do_not_fit_are_not_appended(om: Any, other: pd.DataFrame, named: str) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    om.datasets.put(frame, "f", format="rows")
    with pytest.raises(Mismatch, match=named):
        om.datasets.put(other, "f", append=True)
    same(frame, om.datasets.get("f"))


def test_rows_that_no_metadata_lists_are_not_read(om: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    meta = om.datasets.put(frame, "f", format="rows")
    # what a writer leaves that was killed in an append: a number reserved, and the row
    om.db.metadata.update_one({"name": "f"}, {"$inc": {"next_row": 1}})
    om.db[meta.collection].insert_one({"_idx#0_0": 2, "a": 9, "_om#rowid": 2})
    same(frame, om.datasets.get("f"))
    same(frame.head(0), om.datasets.get("f", a=9))
    om.datasets.put(pd.DataFrame({"a": [3]}), "f", append=True)
    same(pd.DataFrame({"a": [1, 2, 3]}), om.datasets.get("f"))


def test_appends_at_the_same_time_all_survive(om: Any) -> None:
    om.datasets.put(pd.DataFrame({"w": [-1], "i": [-1]}), "f", format="rows")

    def write(w: int) -> None:
        for i in range(10):
            om.datasets.put(pd.DataFrame({"w": [w] * 50, "i": [i] * 50}), "f", append=True)

    seen: list[int] = []
    threads = [threading.Thread(target=write, args=(w,)) for w in range(4)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        seen.append(len(om.datasets.get("f")))
    back = om.datasets.get("f")
    assert len(back) == 1 + 4 * 10 * 50
    assert back.index.equals(pd.RangeIndex(len(back)))
    assert (back[1:].groupby(["w", "i"]).size() == 50).all()
    assert all((n - 1) % 50 == 0 for n in seen) and seen == sorted(seen)


def test_a_reader_racing_a_replace_sees_one_or_the_other(om: Any) -> None:
    frames = [pd.DataFrame({"v": np.full(3_000 + i, i)}) for i in range(2)]
    om.datasets.put(frames[0], "f", format="rows")
    stop = threading.Event()

    def write() -> None:
        for i in range(12):
            om.datasets.put(frames[i % 2], "f", format="rows")
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not stop.is_set():
        back = om.datasets.get("f")
        same(frames[int(back.v.iloc[0])], back)
        assert len(om.datasets.get("f", v__gte=0)) in (3_000, 3_001)
        reads += 1
    writer.join()
    assert reads > 3
