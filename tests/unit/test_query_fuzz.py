"""Filters drawn at random match what Python says of each cell, in every cut into chunks."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from omegaml.errors import InvalidInput
from omegaml.query import Cond, Not, Q, mask, where
from tests.unit import drawn
from tests.unit.drawn_cells import bounded
from tests.unit.drawn_filters import OPERATORS, expected, matched, odd, typed
from tests.unit.stored_chunks import ChunkReader


@bounded(250)
@given(typed(), st.integers(1, 5))
def test_a_comparison_is_what_python_says_of_each_cell(asked, size):
    column, op, value = asked
    expr = where(None, {f"x__{op}": value})
    assert expr is not None
    assert matched(column, expr, size) == expected(column, op, value), (column, op, value)
    assert matched(column, Not(expr), size) == [not v for v in expected(column, op, value)]


@bounded(250)
@given(odd())
def test_any_value_is_compared_alike_in_every_chunk_or_refused(asked):
    column, op, value = asked
    try:
        expr = where(None, {f"x__{op}": value})
    except InvalidInput:
        return
    assert expr is not None
    whole, parts = matched(column, expr, 100), matched(column, expr, 1)
    assert whole == parts, (column, expr)
    inverse = matched(column, Not(expr), 2)
    assert whole == "refused" or inverse == [not found for found in whole]


@st.composite
def trees(draw: Any) -> tuple[pd.DataFrame, Q, list[bool]]:
    """A frame, a tree of filters of it, and what Python says of each row."""
    n = draw(st.integers(1, 12))
    frame = pd.DataFrame(
        {
            "a": pd.Series(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)), dtype="int8"),
            "b": pd.array(
                draw(st.lists(st.none() | st.integers(-3, 3), min_size=n, max_size=n)), dtype="Int64"
            ),
            "s": pd.Series(
                draw(st.lists(st.sampled_from([None, "a", "b", "é" * 70, "é" * 71]), min_size=n, max_size=n)),
                dtype=object,
            ),
            "f": pd.Series(draw(st.lists(st.sampled_from([np.nan, -1.5, 0.0, 2.0]), min_size=n, max_size=n))),
        }
    )

    def one() -> tuple[Q, list[bool]]:
        name = draw(st.sampled_from(list("absf")))
        op = draw(st.sampled_from(OPERATORS[:6]))
        value = draw(st.sampled_from(["a", "b", "é" * 70, "é" * 71]) if name == "s" else st.integers(-3, 3))
        return Q(**{f"{name}__{op}": value}), expected(frame[name], op, value)

    def tree(depth: int) -> tuple[Q, list[bool]]:
        how = draw(st.sampled_from(["one", "and", "or", "not"])) if depth else "one"
        if how == "one":
            return one()
        q, rows = tree(depth - 1)
        if how == "not":
            return ~q, [not row for row in rows]
        other, more = tree(depth - 1)
        if how == "and":
            return q & other, [a and b for a, b in zip(rows, more, strict=True)]
        return q | other, [a or b for a, b in zip(rows, more, strict=True)]

    return frame, *tree(3)


@bounded(150)
@given(trees(), st.integers(1, 5))
def test_trees_of_filters_match_what_python_says_of_each_row(asked, size):
    frame, q, rows = asked
    expr = where(q)
    assert expr is not None
    reader = ChunkReader(frame, size)
    for n, possible in enumerate(reader.may_match(expr)):
        found = mask(expr, lambda text, n=n: reader.column(text, n)).to_pylist()
        assert found == rows[n * size : (n + 1) * size]
        assert possible or not any(found)


def test_values_that_would_take_for_ever_are_only_huge():
    column = pd.Series([1, 2])
    for value in ("1e999999999", decimal.Decimal("1e999999")):
        assert matched(column, Cond("x", "lt", value), 1) == [True, True]
        assert matched(column, Cond("x", "eq", value), 1) == [False, False]
    assert matched(column, Cond("x", "gt", "1e-999999999"), 1) == [True, True]


def test_a_time_that_the_clock_skips_or_repeats_is_refused():
    for zone in ("Europe/Zurich", drawn.ZONES[2]):
        column = pd.Series(pd.to_datetime(["2020-10-25"]).tz_localize(zone))
        for value in ("2020-10-25 02:30", "2020-03-29 02:30"):
            assert matched(column, Cond("x", "gt", value), 1) == "refused"


def test_dates_and_times_of_arrow_are_compared_with_text_and_with_their_own():
    column = pd.Series([dt.date(2020, 1, 1), dt.date(2021, 1, 1), None], dtype=pd.ArrowDtype(pa.date32()))
    for value in ("2020-06-01", dt.date(2020, 6, 1), dt.datetime(2020, 1, 1, 12), pd.Timestamp("2020-06-01")):
        assert matched(column, Cond("x", "gt", value), 2) == [False, True, False]
    assert matched(column, Cond("x", "eq", dt.datetime(2020, 1, 1, 12)), 2) == [False] * 3
    column = pd.Series([dt.time(8), dt.time(9)], dtype=pd.ArrowDtype(pa.time64("us")))
    assert matched(column, Cond("x", "gte", "08:30"), 2) == [False, True]


def test_the_least_and_greatest_values_of_a_type_are_found():
    for dtype, values in [
        ("bool", [False, True]),
        ("uint8", [0, 255]),
        ("int8", [-128, 127]),
        ("boolean", [False, True]),
    ]:
        column = pd.Series(values, dtype=dtype)
        assert matched(column, Cond("x", "in", values), 2) == [True, True]
        assert matched(column, Cond("x", "nin", values), 2) == [False, False]


def test_decimals_are_compared_exactly():
    values = [decimal.Decimal("1.50"), decimal.Decimal("1.51")]
    column = pd.Series(values, dtype=pd.ArrowDtype(pa.decimal128(10, 2)))
    assert matched(column, Cond("x", "gt", decimal.Decimal("1.505")), 2) == [False, True]
    assert matched(column, Cond("x", "in", [decimal.Decimal("1.5"), 7]), 2) == [True, False]
