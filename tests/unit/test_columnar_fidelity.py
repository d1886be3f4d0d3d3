"""Everything pandas can hold comes back from the columnar format as it was, or is refused."""

from __future__ import annotations

import datetime as dt
import enum

import numpy as np
import pandas as pd
import pytest

from omegaml.backends.columnar.backend import FrameBackend, SeriesBackend
from omegaml.backends.columnar.codec import encode
from omegaml.backends.rows import RowsBackend, SeriesRowsBackend
from omegaml.errors import NotStorable
from tests.unit.columnar_cases import CASES
from tests.unit.equality import assert_same
from tests.unit.stored_chunks import round_trip


@pytest.mark.parametrize("small", [0, 1 << 16])
@pytest.mark.parametrize("rows", [1, 2, 3, 1000])
@pytest.mark.parametrize("name", CASES)
def test_what_is_put_comes_back_equal(name, rows, small, monkeypatch):
    monkeypatch.setattr("omegaml.backends.columnar.chunks._SMALL", small)  # what is larger is made narrower
    obj = CASES[name]()
    before = obj.copy(deep=True)
    assert_same(round_trip(obj, rows), before)
    assert_same(obj, before)  # storing changes nothing either


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
def test_every_compression_gives_the_same_values(codec):
    frame = pd.DataFrame(
        {"a": np.arange(5000), "b": ["x", "y"] * 2500, "c": np.random.default_rng(0).random(5000)}
    )
    assert_same(round_trip(frame, 1000, codec), frame)


def test_a_value_of_another_type_is_equal_only_by_type():
    with pytest.raises(AssertionError):
        assert_same(pd.Series([1, True], dtype=object), pd.Series([1, 1], dtype=object))


class Colour(enum.Enum):
    RED = 1


class Text(str):
    pass


@pytest.mark.parametrize(
    "cell",
    [object(), Colour.RED, Text("a"), lambda: 1, pd.DataFrame(), [object()], {"a": {1: object()}}, range(3)],
)
def test_an_unknown_object_is_refused_by_the_name_of_its_column(cell):
    cells = np.empty(2, object)
    cells[0] = cell
    frame = pd.DataFrame({"fine": [1, 2], "price": pd.Series(cells, dtype=object)})
    table = encode(frame)
    with pytest.raises(NotStorable, match="'price'"):
        table.column(1)


def test_a_cell_that_contains_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(NotStorable, match="'v'"):
        encode(pd.DataFrame({"v": [loop]})).column(0)


@pytest.mark.parametrize("kind", [pd.DataFrame, pd.Series])
def test_an_object_of_a_subclass_is_refused(kind):
    made = type("Special", (kind,), {})([1, 2])
    for backend in (
        (FrameBackend(), RowsBackend()) if kind is pd.DataFrame else (SeriesBackend(), SeriesRowsBackend())
    ):
        with pytest.raises(NotStorable, match="Special"):
            backend.encode(made)


def nested(levels, wrap):
    value = 1
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v}, lambda v: (v,), lambda v: {(1,): v}])
def test_deep_cells_come_back_and_too_deep_ones_are_refused(wrap):
    frame = pd.DataFrame({"v": pd.Series([nested(12, wrap)], dtype=object)})
    assert_same(round_trip(frame, 1), frame)
    for levels in (101, 2000):
        with pytest.raises(NotStorable, match="'v'"):
            encode(pd.DataFrame({"v": pd.Series([nested(levels, wrap)], dtype=object)})).column(0)


def test_more_categories_or_columns_than_a_document_holds_are_refused(monkeypatch):
    monkeypatch.setattr("omegaml.backends.columnar.schema.LIMIT", 100_000)
    many = pd.Categorical(np.random.default_rng(1).integers(0, 2**62, 20_000))
    with pytest.raises(NotStorable, match="'many'"):
        encode(pd.DataFrame({"few": 1, "many": many}))
    with pytest.raises(NotStorable, match="columns"):
        encode(pd.DataFrame([[0] * 3000]))
    few = pd.DataFrame({"many": many[:10].remove_unused_categories()})
    with pytest.raises(NotStorable, match="'many'"):  # nor may they become too many
        encode(few).schema.extend(
            encode(pd.DataFrame({"many": many[10:].remove_unused_categories()[:9000]})).schema
        )


def test_a_dtype_without_a_counterpart_is_refused_by_the_name_of_its_column():
    with pytest.raises(NotStorable, match="'wide'"):
        encode(pd.DataFrame({"wide": np.array([1.5], np.longdouble)}))


def test_an_unknown_time_zone_is_refused_by_the_name_of_its_column():
    class Mars(dt.tzinfo):
        def utcoffset(self, when):
            return dt.timedelta(hours=2)

        def dst(self, when):
            return dt.timedelta(0)

        def tzname(self, when):
            return "Mars"

    column = pd.Series([dt.datetime(2020, 1, 1, tzinfo=Mars())], dtype=object)
    with pytest.raises(NotStorable, match="'when'"):
        encode(pd.DataFrame({"when": column})).column(0)


def test_an_index_of_unknown_objects_is_refused():
    with pytest.raises(NotStorable, match="index"):
        encode(pd.DataFrame({"a": [1]}, index=[object()])).column(1)


def test_unknown_labels_and_attributes_are_refused():
    with pytest.raises(NotStorable, match="columns"):
        encode(pd.DataFrame([[1]], columns=[Colour.RED]))
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["x"] = object()
    with pytest.raises(NotStorable, match="attrs"):
        encode(frame)
