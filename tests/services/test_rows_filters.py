"""A filter of row documents finds the rows that it finds in the columnar format."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import assume, given
from hypothesis import strategies as st

from omegaml.backends.rows import ROWID, RowsBackend, field_of
from omegaml.errors import InvalidInput, NotStorable
from omegaml.query import Not, Q, to_mongo, where
from tests.unit import drawn
from tests.unit.drawn_cells import bounded
from tests.unit.drawn_filters import matched, odd, typed


@pytest.fixture(scope="module")
def rows(mongo_url: str) -> Any:
    """A collection of its own."""
    from pymongo import MongoClient

    with MongoClient(mongo_url) as client:
        yield client.test_filters.rows
        client.drop_database("test_filters")


def check(rows: Any, column: pd.Series, op: str, value: Any) -> None:
    try:
        expr = where(None, {f"x__{op}": value})
        payload = RowsBackend().encode(pd.DataFrame({"x": column}))
    except (InvalidInput, NotStorable):
        assume(False)
    assert expr is not None
    rows.delete_many({})
    for buffer, offsets in payload.batches(0):
        rows.insert_many([RawBSONDocument(bytes(buffer[a:b])) for a, b in pairwise(offsets)])
    for condition in (expr, Not(expr)):
        want = matched(column, condition, 100)
        try:
            query = to_mongo(condition, lambda text: field_of(payload.meta, text))
        except InvalidInput as refused:
            assert want == "refused" or "in row documents" in refused.message, (column, condition)
            continue
        assert want != "refused", (column, condition, query)
        got = [document[ROWID] for document in rows.find(query, [ROWID]).sort(ROWID, 1)]
        assert got == [i for i, is_found in enumerate(want) if is_found], (column, condition, query)


TYPED = {k: v for k, v in drawn.ROWS.items() if k not in ("objects", "category")}


@bounded(60)
@given(asked=typed(TYPED))
def test_a_comparison_of_a_typed_column(rows, asked):
    check(rows, *asked)


@bounded(60)
@given(asked=odd(drawn.ROWS))
def test_any_value_with_any_column(rows, asked):
    check(rows, *asked)


@st.composite
def objects(draw: Any) -> tuple[pd.Series, str, Any]:
    column, op, _ = draw(odd({"objects": drawn.ROWS["objects"]}))
    own = column.tolist()
    value = draw(
        st.sampled_from(own) | st.sampled_from([0, 1, True, 2.5, "a", b"a", dt.datetime(2020, 1, 1)])
    )
    return column, op, [value, draw(st.sampled_from(own))] if op in ("in", "nin", "between") else value


@bounded(60)
@given(asked=objects())
def test_a_value_of_a_cell_with_objects(rows, asked):
    check(rows, *asked)


def test_times_are_meant_in_the_zone_of_the_column_and_compared_exactly(om):
    times = pd.date_range("2020-10-25", periods=6, freq="30min", tz="Europe/Zurich")
    om.datasets.put(pd.DataFrame({"t": times, "n": times.tz_localize(None)}), "t", format="rows")
    for filters, rows in [
        ({"t__gte": "2020-10-25 01:00"}, [2, 3, 4, 5]),
        ({"t__gt": pd.Timestamp("2020-10-25 00:00:00.0001", tz="Europe/Zurich")}, [1, 2, 3, 4, 5]),
        ({"n": "2020-10-25 00:30"}, [1]),
        ({"n": pd.Timestamp("2020-10-25 00:30:00.0001")}, []),
        ({"n__gte": dt.date(2020, 10, 26)}, []),
    ]:
        assert om.datasets.get("t", **filters).index.tolist() == rows, filters
    with pytest.raises(InvalidInput, match="'t'"):
        om.datasets.get("t", t__gte="2020-10-25 02:30")  # which comes twice


def test_text_of_the_command_line_is_read_as_the_type_of_the_column(om):
    frame = pd.DataFrame(
        {
            "i": [1, 2, 3],
            "b": [True, False, True],
            "c": pd.Categorical(["s", "l", "m"], categories=["s", "m", "l"], ordered=True),
            "k": pd.Categorical([10, 20, 10]),
        },
        index=pd.Index([5, 6, 7], name="key"),
    )
    om.datasets.put(frame, "t", format="rows")
    for filters, rows in [
        ({"i": "2"}, [6]),
        ({"b": "true"}, [5, 7]),
        ({"c__gt": "s"}, [6, 7]),
        ({"k__gte": "15"}, [6]),
        ({"key__lte": "6"}, [5, 6]),
        ({"q": ~Q(i__in="1,2")}, [7]),
    ]:
        assert om.datasets.get("t", **filters).index.tolist() == rows, filters
    with pytest.raises(InvalidInput, match="'i'"):
        om.datasets.get("t", i="two")
