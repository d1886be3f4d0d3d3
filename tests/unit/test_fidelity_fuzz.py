"""Tables drawn at random come back as they were, or are refused; FUZZ_EXAMPLES=5000 looks longer."""

from __future__ import annotations

from typing import Any
from unittest import mock

import bson
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omegaml.backends.base import Rows
from omegaml.backends.columnar import chunks
from omegaml.backends.rows import RowsBackend, SeriesRowsBackend
from omegaml.errors import NotStorable
from tests.unit import drawn
from tests.unit.drawn_cells import LABELS, TEXT, bounded
from tests.unit.equality import assert_same
from tests.unit.stored_chunks import appended, round_trip


def as_rows(obj: Any) -> Any:
    """Return `obj` from its row documents, with the metadata through BSON too."""
    backend = SeriesRowsBackend() if isinstance(obj, pd.Series) else RowsBackend()
    payload = backend.encode(obj)
    meta = bson.decode(bson.encode(dict(payload.meta)))
    return backend.decode(Rows(payload.rows, payload.batches, meta), backend.format)


def check(way: Any, obj: Any) -> None:
    try:
        got = way(obj)
    except NotStorable as refused:
        assert any(word in refused.message for word in ("column", "index", "attrs", "name"))
        return
    assert_same(got, obj)


@bounded(120)
@given(drawn.frames(), st.integers(1, 9), st.sampled_from([0, 1 << 16]))
def test_any_frame_comes_back_in_chunks_or_is_refused(frame, rows, small):
    with mock.patch.object(chunks, "_SMALL", small):  # what is larger is made narrower
        check(lambda obj: round_trip(obj, rows), frame)


@bounded(120)
@given(drawn.frames(rows=True))
def test_any_frame_comes_back_from_row_documents_or_is_refused(frame):
    check(as_rows, frame)


@bounded(60)
@given(drawn.frames(), LABELS)
def test_any_series_comes_back_or_is_refused(frame, name):
    for i in range(frame.shape[1]):
        series = frame.iloc[:, i].rename(None)
        series.name = name
        check(lambda obj: round_trip(obj, 5), series)
        check(as_rows, series)


@bounded(80)
@given(drawn.frames(), st.integers(0, 8), st.integers(1, 9))
def test_a_frame_that_is_put_in_two_parts_is_the_frame(frame, cut, rows):
    frame.attrs, frame.flags.allows_duplicate_labels = {}, True
    try:
        got = appended(frame.iloc[:cut], frame.iloc[cut:], rows)
    except NotStorable:
        return
    for index in (got.index, frame.index):
        if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
            index.freq = None
    if isinstance(frame.index, pd.MultiIndex):  # its levels may have had a frequency
        frame.index = pd.MultiIndex.from_arrays(
            [
                frame.index.set_names([None] * frame.index.nlevels).get_level_values(i)
                for i in range(frame.index.nlevels)
            ],
            names=frame.index.names,
        )
    assert_same(got, frame)


@st.composite
def tables(draw: Any) -> pa.Table:
    rows = draw(st.integers(0, 8) | st.just(100))
    arrays = []
    for _ in range(draw(st.integers(1, 4))):
        few = drawn.arrow_array(draw, min(rows, 8))
        arrays.append(few.take(pa.array(np.arange(rows) % max(1, len(few)))))
    return pa.Table.from_arrays(
        arrays, names=draw(st.lists(TEXT, min_size=len(arrays), max_size=len(arrays)))
    )


@bounded(60)
@given(tables(), st.integers(1, 9) | st.just(100))
def test_any_arrow_table_comes_back(table, rows):
    got = round_trip(table, rows)
    assert got.schema.equals(table.schema, check_metadata=True) and got.to_pylist() == table.to_pylist()


@bounded(60)
@given(tables(), st.integers(1, 9) | st.just(100))
def test_any_polars_frame_comes_back_or_is_refused(table, rows):
    pl = pytest.importorskip("polars")
    try:
        frame = pl.from_arrow(
            table.rename_columns([f"{i}{name}" for i, name in enumerate(table.column_names)])
        )
    except (pl.exceptions.PolarsError, pa.ArrowException):
        return
    try:
        got = round_trip(frame, rows)
    except NotStorable as refused:
        assert "\0" in "".join(frame.columns) and "NUL" in refused.message
        return
    assert got.schema == frame.schema and got.rows() == frame.rows()
