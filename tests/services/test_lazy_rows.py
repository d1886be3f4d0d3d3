"""Row documents are read lazily as columnar data is; appends can be made once; lists are paged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from omegaml.errors import Conflict, NotFound, Stale
from omegaml.query import Q
from omegaml.store.base import Once


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "x": rng.integers(0, 100, 25_000),
            "y.z": rng.normal(size=25_000).round(3),
            "t": rng.choice(["a", "b", None], 25_000),
        }
    )


@pytest.fixture
def both(om: Any, frame: pd.DataFrame) -> tuple[Any, Any]:
    om.datasets.put(frame, "rows", format="rows")
    om.datasets.put(frame, "columns")
    return om.datasets.getl("rows"), om.datasets.getl("columns")


def test_rows_come_as_from_a_columnar_dataset(both: tuple[Any, Any]) -> None:
    for ask in (
        lambda lazy: lazy,
        lambda lazy: lazy.filter(x__gte=40, t="a"),
        lambda lazy: lazy.filter(Q(x=3) | ~Q(t__isnull=True)).select("t", "x"),
        lambda lazy: lazy.sort("x")[100:250],
        lambda lazy: lazy.sort(["t", "y.z"], [False, True]).head(20_000),
        lambda lazy: lazy[24_990:30_000],
        lambda lazy: lazy.filter(x=1000),
    ):
        mine, columnar = map(ask, both)
        assert_frame_equal(mine.get(), columnar.get(), check_dtype=True, check_index_type=False)
        assert mine.count() == columnar.count()
    chunks = [len(chunk) for chunk in both[0].chunks()]
    assert sum(chunks) == 25_000 and max(chunks) <= 10_000


def test_rows_are_grouped_and_described_without_being_held(both: tuple[Any, Any]) -> None:
    rows, columnar = both
    assert_frame_equal(rows.groupby("t").agg({"x": "sum"}), columnar.groupby("t").agg({"x": "sum"}))
    assert_frame_equal(rows.describe(), columnar.describe())


def test_reading_rows_that_were_replaced_says_so(om: Any, frame: pd.DataFrame) -> None:
    om.datasets.put(frame, "rows", format="rows")
    lazy = om.datasets.getl("rows")
    om.datasets.put(frame, "rows", format="rows")
    with pytest.raises(Stale):
        lazy.get()


def test_a_column_that_is_not_there_is_named(both: tuple[Any, Any]) -> None:
    for ask in (lambda r: r.filter(no=1), lambda r: r.select("no"), lambda r: r.sort("no")):
        with pytest.raises(NotFound, match="no"):
            ask(both[0])


@pytest.mark.parametrize("format", ["rows", "columnar"])
def test_an_append_that_is_repeated_is_made_once(om: Any, format: str) -> None:
    part = pd.DataFrame({"x": range(1000)})

    def append(key: str) -> None:
        for _ in range(10):
            try:
                om.datasets.put_parts([part], "d", append=True, format=format, once=Once(key, "digest"))
                return
            except Conflict as error:
                assert "many writers" in error.message
        raise AssertionError("never came through")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, ["one"] * 8 + ["two"] * 8))
    assert om.datasets.count("d") == len(om.datasets.get("d")) == 2000
    with pytest.raises(Conflict, match="other rows"):
        om.datasets.put_parts([part], "d", append=True, once=Once("one", "other digest"))
    om.datasets.put(part, "d", format=format)
    append("two")
    assert om.datasets.count("d") == 1000


def test_objects_are_listed_a_page_at_a_time(om: Any, frame: pd.DataFrame) -> None:
    om.datasets.put(frame.head(5).set_index("t"), "b/Two", format="rows")
    om.datasets.put(frame.head(9).set_index("t"), "a/one")
    om.datasets.put(frame.head(3), "c")
    om.datasets.put({"a": 1}, "d")
    om.datasets.put(frame, ".hidden")
    page, total = om.datasets.page(0, 10)
    assert [(m.name, m.rows, m.kind_meta.get("width")) for m in page] == [
        ("a/one", 9, 2),
        ("b/Two", 5, 2),
        ("c", 3, 3),
        ("d", None, None),
    ]
    assert total == 4
    page, total = om.datasets.page(1, 2, sort="-rows")
    assert [m.name for m in page] == ["b/Two", "c"] and total == 4
    assert [m.name for m in om.datasets.page(0, 9, contains="TWO")[0]] == ["b/Two"]
    assert om.datasets.page(0, 9, contains=".*")[1] == 0
