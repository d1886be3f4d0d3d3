"""Lazy frames drawn at random give what pandas gives, dtypes included, in every cut into chunks."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

from omegaml.errors import InvalidInput
from omegaml.grouping import FUNCTIONS
from tests.unit.drawn_cells import bounded
from tests.unit.stored_chunks import lazy

WORDS = st.sampled_from(["a", "b", "cc", ""])
DAYS = st.sampled_from([pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-02"), pd.Timestamp("1969-12-31")])
SMALL = st.integers(-3, 3)
COLUMNS: dict[str, tuple[Any, Any]] = {
    "int64": (SMALL, "int64"),
    "int8": (SMALL, "int8"),
    "uint8": (st.integers(0, 255), "uint8"),
    "float64": (st.sampled_from([np.nan, -1.5, 0.0, 2.25]), "float64"),
    "float32": (st.sampled_from([np.nan, -1.5, 0.0, 2.25]), "float32"),
    "bool": (st.booleans(), "bool"),
    "Int64": (st.none() | SMALL, "Int64"),
    "UInt8": (st.none() | st.integers(0, 255), "UInt8"),
    "Float64": (st.none() | st.sampled_from([-1.5, 0.0, 2.25]), "Float64"),
    "Float32": (st.none() | st.sampled_from([-1.5, 0.0, 2.25]), "Float32"),
    "boolean": (st.none() | st.booleans(), "boolean"),
    "object": (st.none() | WORDS, object),
    "string": (st.none() | WORDS, "string"),
    "date": (st.none() | DAYS, "M8[ns]"),
    "date in s": (st.none() | DAYS, "M8[s]"),
    "zone": (st.none() | DAYS, pd.DatetimeTZDtype("us", "Europe/Zurich")),
    "timedelta": (st.none() | SMALL.map(lambda v: dt.timedelta(hours=v)), "m8[us]"),
    "category": (st.none() | st.sampled_from(["x", "y"]), pd.CategoricalDtype(["y", "x", "z"])),
    "ordered": (st.none() | st.sampled_from([1, 2]), pd.CategoricalDtype([2, 1, 3], ordered=True)),
    "arrow": (st.none() | SMALL, pd.ArrowDtype(pa.int64())),
    "arrow text": (st.none() | WORDS, pd.ArrowDtype(pa.string())),
}


def _column(draw: Any, kind: str, n: int) -> pd.Series:
    values, dtype = COLUMNS[kind]
    return pd.Series(draw(st.lists(values, min_size=n, max_size=n)), dtype=dtype)


KINDS = st.sampled_from(list(COLUMNS))


@st.composite
def frames(draw: Any, keys: Any = None) -> pd.DataFrame:
    """Columns k0 and k1 to group by, of the types `keys`, and v0 to v2."""
    n = draw(st.integers(0, 14))
    kinds = [*(keys or [draw(KINDS), draw(KINDS)]), draw(KINDS), draw(KINDS), draw(KINDS)]
    names = ("k0", "k1", "v0", "v1", "v2")
    return pd.DataFrame({name: _column(draw, kind, n) for name, kind in zip(names, kinds, strict=True)})


PAIRS = st.tuples(KINDS, KINDS).flatmap(lambda keys: st.tuples(frames(keys), frames(keys)))


def pandas_says(ask: Any) -> Any:
    try:
        return ask()
    except Exception:  # whatever pandas raises where it has no answer
        return None


KEYS = st.sampled_from(["k0", "k1", ["k0"], ["k0", "k1"]])


@bounded(150)
@given(frames(), KEYS, st.sampled_from(FUNCTIONS), st.integers(1, 6))
def test_groups_are_those_of_pandas(frame, keys, function, size):
    for label in ("v0", "v1", "v2"):
        wanted = pandas_says(
            lambda label=label: getattr(frame.groupby(keys, observed=True)[[label]], function)()
        )
        if wanted is None:
            continue
        try:
            got = getattr(lazy(frame, size).groupby(keys)[[label]], function)()
        except InvalidInput:  # means of times, sums of text
            assert function in ("mean", "std", "sum") and frame[label].dtype.kind in "MmOU"
            continue
        # of float32 without values pandas gives a mean of float64
        assert_frame_equal(got, wanted, rtol=1e-5, check_dtype=frame[label].dtype != "float32")


@bounded(60)
@given(frames(), KEYS, st.integers(1, 6))
def test_sizes_and_several_aggregates_are_those_of_pandas(frame, keys, size):
    ours, theirs = lazy(frame, size).groupby(keys), frame.groupby(keys, observed=True)
    assert_series_equal(ours.size(), theirs.size())
    for spec in ({"v0": ["count", "nunique"], "v1": "first"}, {"v2": "count"}):
        assert_frame_equal(ours.agg(spec), theirs.agg(spec))
    assert_frame_equal(
        ours.agg(a=("v0", "count"), b=("v1", "first")), theirs.agg(a=("v0", "count"), b=("v1", "first"))
    )


@bounded(60)
@given(frames(), st.sampled_from(FUNCTIONS), st.integers(1, 6))
def test_aggregates_of_all_rows_are_those_of_pandas(frame, function, size):
    for label in ("v0", "v1"):
        if function == "first":
            continue  # of a whole frame pandas has none
        wanted = pandas_says(lambda label=label: frame.agg({label: function}))
        if wanted is None:
            continue
        try:
            got = lazy(frame, size).agg({label: function})
        except InvalidInput:
            assert function in ("mean", "std", "sum", "min", "max") and frame[label].dtype.kind in "MmOU"
            continue
        check_dtype = len(frame) > 0 and frame[label].dtype != "float32"
        assert_series_equal(got, wanted, rtol=1e-5, check_dtype=check_dtype)


@bounded(80)
@given(
    frames(),
    st.lists(st.tuples(st.sampled_from(["k0", "k1", "v0", "v1"]), st.booleans()), min_size=1, max_size=3),
    st.tuples(st.integers(0, 16), st.integers(0, 16)),
    st.integers(1, 6),
)
def test_sorted_rows_are_those_of_pandas(frame, order, rows, size):
    by, ways = [label for label, _ in order], [way for _, way in order]
    wanted = pandas_says(lambda: frame.sort_values(by, ascending=ways, kind="stable"))
    if wanted is None or len(set(by)) < len(by):
        return
    ours = lazy(frame, size).sort(by, ways)
    assert_frame_equal(ours.get(), wanted, check_index_type=False)
    start, stop = min(rows), max(rows)
    assert_frame_equal(ours[start:stop].get(), wanted.iloc[start:stop], check_index_type=False)
    assert_frame_equal(lazy(frame, size)[start:stop].get(), frame.iloc[start:stop], check_index_type=False)
    numbers = [int(n) for part, _ in ours.numbered() for n in part]
    for place, row in enumerate(numbers[start:stop], start):
        rest = ours.after(row).head(3).get()
        assert_frame_equal(rest, wanted.iloc[place + 1 : place + 4], check_index_type=False)


@bounded(80)
@given(
    PAIRS,
    st.sampled_from(["k0", ["k0", "k1"]]),
    st.sampled_from(["inner", "left"]),
    st.integers(1, 6),
)
def test_joined_rows_are_those_of_pandas(pair, on, how, size):
    frame, other = pair
    right = other[["k0", "k1", "v0"]]

    def merged() -> pd.DataFrame:
        rows, partners = frame.assign(row=range(len(frame))), right.assign(partner=range(len(right)))
        made = rows.merge(partners, on=on, how=how).sort_values(["row", "partner"])
        return made.drop(columns=["row", "partner"]).reset_index(drop=True)

    wanted = pandas_says(merged)
    if wanted is None:
        return
    joined = lazy(frame, size).join(right, on=on, how=how)
    assert_frame_equal(joined.get(), wanted, check_index_type=False)
    assert joined.count() == len(wanted)


@bounded(40)
@given(frames(), st.integers(1, 6))
def test_descriptions_are_those_of_pandas(frame, size):
    numeric = [
        c
        for c in frame
        if pd.api.types.is_numeric_dtype(frame[c]) and not pd.api.types.is_bool_dtype(frame[c])
    ]
    if numeric:
        wanted = frame[numeric].describe()
        assert_frame_equal(lazy(frame, size)[numeric].describe(), wanted, rtol=1e-5)
