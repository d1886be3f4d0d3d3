"""A table's schema: finding columns, choosing some, appending rows, reading as another library's table."""

from __future__ import annotations

import importlib.util

import bson
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from omegaml.backends.columnar.backend import ArrowBackend, FrameBackend, SeriesBackend
from omegaml.backends.columnar.chunks import pack, stats, unpack
from omegaml.backends.columnar.codec import decode, encode
from omegaml.backends.columnar.schema import Schema
from omegaml.backends.columnar.texts import joined, split
from omegaml.backends.columnar.types import ColumnType
from omegaml.errors import Corrupt, Mismatch, NotFound
from tests.unit.equality import assert_same
from tests.unit.stored_chunks import appended, round_trip, stored


@pytest.fixture
def sales():
    index = pd.Index(["x", "y", "z"], name="shop")
    return pd.DataFrame({"a.b": [1, 2, 3], 7: [1.5, np.nan, 2.5], "name": ["p", None, "q"]}, index=index)


def test_columns_are_found_by_label_by_its_text_and_by_index_name(sales):
    schema = encode(sales).schema
    assert [schema.find(name) for name in ("a.b", "7", "name", "shop")] == [0, 1, 2, 3]


def test_an_exact_label_goes_before_one_that_only_reads_like_it():
    assert encode(pd.DataFrame([[1, 2]], columns=[1, "1"])).schema.find("1") == 1


def test_an_unnamed_index_is_called_index():
    assert encode(pd.DataFrame({"a": [1]}, index=["x"])).schema.find("index") == 1


def test_an_unknown_column_is_not_found_and_near_ones_are_named(sales):
    with pytest.raises(NotFound, match="name"):
        encode(sales).schema.find("nmae")


def test_a_label_that_two_columns_have_is_ambiguous():
    with pytest.raises(Mismatch, match="2 columns"):
        encode(pd.DataFrame([[1, 2]], columns=["a", "a"])).schema.find("a")


def test_chosen_columns_come_in_the_order_asked_for_with_the_index(sales):
    schema, columns, rows = stored(sales, 2)
    got = decode(schema.select([2, 0]), [columns[2], columns[0], columns[3]], rows)
    assert_same(got, sales[["name", "a.b"]])


def test_selected_rows_keep_their_numbers_in_a_range_index():
    frame = pd.DataFrame({"a": np.arange(10)}, index=pd.RangeIndex(5, 25, 2, name="n"))
    positions = np.array([1, 4, 9])
    table = encode(frame)
    got = decode(table.schema, [[table.column(0).take(pa.array(positions))]], 3, positions)
    assert_same(got, frame.iloc[positions])


def test_a_default_index_goes_on_when_rows_are_appended():
    a, b = pd.DataFrame({"v": [1, 2, 3]}), pd.DataFrame({"v": [4, 5]})
    assert_same(appended(a, b), pd.concat([a, b], ignore_index=True))


def test_a_range_index_goes_on_where_the_new_rows_begin():
    frame = pd.DataFrame({"v": range(10)}, index=pd.RangeIndex(20, 0, -2, name="r"))
    assert_same(appended(frame[:6], frame[6:]), frame)
    with pytest.raises(Mismatch, match="range"):
        appended(frame[:6], frame[7:])


def test_appended_rows_keep_their_own_labels_of_an_index(sales):
    assert_same(appended(sales, sales), pd.concat([sales, sales]))


def test_appending_to_dates_with_a_frequency_keeps_dates_that_do_not_follow_it():
    frame = pd.DataFrame({"v": [1, 2, 3]}, index=pd.date_range("2020-01-01", periods=3))
    want = pd.concat([frame, frame])
    assert list(appended(frame, frame).index) == list(want.index)


def test_new_categories_are_added_behind_the_old_ones():
    a = pd.DataFrame({"c": pd.Categorical(["x", "y", None])})
    b = pd.DataFrame({"c": pd.Categorical(["z", None, "x"], categories=["z", "x"])})
    got = appended(a, b)["c"]
    assert list(got.cat.categories) == ["x", "y", "z"]
    assert got.astype(object).tolist()[:2] == ["x", "y"]
    assert got.astype(object).tolist()[3::2] == ["z", "x"]
    assert list(got.isna()) == [False, False, True, False, True, False]


def test_categories_may_outgrow_their_codes():
    a = pd.DataFrame({"c": pd.Categorical([0, 99], categories=range(100))})
    b = pd.DataFrame({"c": pd.Categorical([5, 299], categories=range(300))})
    assert appended(a, b)["c"].tolist() == [0, 99, 5, 299]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"a": [1.5], "b": ["x"]}, "'a'"),
        ({"a": [1], "c": ["x"]}, "'c'"),
        ({"b": ["x"], "a": [1]}, "'b'"),
        ({"a": [1]}, "'b'"),
        ({"a": [1], "b": ["x"], "c": [1]}, "'c'"),
    ],
)
def test_rows_of_another_shape_are_refused_by_the_column_that_differs(other, named):
    schema = encode(pd.DataFrame({"a": [1], "b": ["x"]})).schema
    with pytest.raises(Mismatch, match=named):
        schema.extend(encode(pd.DataFrame(other)).schema)


@pytest.mark.parametrize("index", [["x"], pd.MultiIndex.from_tuples([(1, 2)]), pd.RangeIndex(5, 6)])
def test_rows_with_another_kind_of_index_are_refused(index):
    schema = encode(pd.DataFrame({"a": [1]})).schema
    with pytest.raises(Mismatch, match="index"):
        schema.extend(encode(pd.DataFrame({"a": [1]}, index=index)).schema)


def test_categories_of_a_first_part_without_any_take_those_of_the_next():
    a = pd.DataFrame({"c": pd.Categorical([None, None])})
    b = pd.DataFrame({"c": pd.Categorical([3, None])})
    got = appended(a, b)["c"]
    assert got.cat.categories.tolist() == [3] and got.isna().tolist() == [True, True, False, True]


def test_a_new_category_that_is_equal_to_an_old_one_of_another_type_is_refused():
    a = pd.DataFrame({"c": pd.Categorical([1, "x"], categories=[1, "x"])})
    b = pd.DataFrame({"c": pd.Categorical([True, "y"], categories=[True, "y"])})
    with pytest.raises(Mismatch, match="'c'"):
        encode(a).schema.extend(encode(b).schema)


def test_categories_that_overlap_as_intervals_grow():
    a, b = (
        pd.DataFrame({"c": pd.Categorical(pd.arrays.IntervalArray.from_tuples(t))})
        for t in ([(0, 5), (3, 8)], [(3, 8), (4, 9)])
    )
    assert appended(a, b)["c"].tolist() == [pd.Interval(*t) for t in [(0, 5), (3, 8), (3, 8), (4, 9)]]


def test_ordered_categories_do_not_grow():
    a, b = (pd.DataFrame({"c": pd.Categorical([v], ordered=True)}) for v in "xy")
    with pytest.raises(Mismatch, match="'c'"):
        encode(a).schema.extend(encode(b).schema)


def test_ordered_categories_are_the_same_however_they_were_stored(monkeypatch):
    frame = pd.DataFrame({"c": pd.Categorical(["x", "y"], ordered=True)})
    monkeypatch.setattr("omegaml.backends.columnar.chunks._SMALL", 0)
    other = encode(frame).schema
    monkeypatch.undo()
    mine = encode(frame).schema
    assert mine.types != other.types
    assert mine.extend(other, 2).types == mine.types


def test_a_schema_survives_bson_whole(sales):
    doc = bson.decode(bson.encode(encode(sales).schema.to_doc()))
    assert bson.encode(Schema.from_doc(doc).to_doc()) == bson.encode(doc)


@pytest.mark.parametrize(
    ("values", "want"),
    [
        (np.array([3, 1, 2], "i2"), (1, 3, 0)),
        (np.array([np.nan, 1.5, -2.0]), (-2.0, 1.5, 0)),
        (np.array([np.nan]), (None, None, 0)),
        (np.array([1.5, np.nan], "f2"), (1.5, 1.5, 0)),
        (np.array([True, False]), (False, True, 0)),
        (np.array([1, 2**63], "u8"), (None, None, 0)),
        (np.array(["1970-01-02", "NaT"], "M8[s]"), (86400, 86400, 1)),
        (pd.array([None, 5], dtype="Int8"), (5, 5, 1)),
        (pd.array(["b", None, "a"], dtype="string"), ("a", "b", 1)),
        (np.array(["b", None, "a"], object), ("a", "b", 1)),
        (np.array(["a", 1], object), (None, None, 0)),
        (np.array([], "f8"), (None, None, 0)),
        (np.array([1j]), (None, None, 0)),
        (pd.array(["b", "a"] * 100, dtype="string"), ("a", "b", 0)),
    ],
)
def test_statistics_bound_the_values_in_their_stored_unit(values, want):
    table = encode(pd.DataFrame({"v": pd.Series(values, dtype=values.dtype)}))
    type_ = table.schema.types[0]
    array = table.column(0)
    array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    assert stats(array, type_) == want
    assert stats(unpack(pack(array, type_), type_), type_) == want


@pytest.mark.parametrize("char", ["a", "é", "\ud7ff", "\U0010ffff", "\U0001f600"])
def test_bounds_of_long_text_are_short_and_still_bound_it(char):
    text = char * 100
    low, high, _ = stats(pa.array([text], pa.large_string()), ColumnType("object"))
    assert low <= text and len(low) == 64
    assert high is None or (high > text and len(high) <= 64)
    assert (high is None) == (char == "\U0010ffff")


def test_damaged_chunks_are_reported_as_such():
    type_ = ColumnType("number", {"dtype": "<i8"})
    data = pack(pa.array(np.arange(1000)), type_)
    for broken in (b"", b"abc", data[: len(data) // 2]):
        with pytest.raises(Corrupt):
            unpack(broken, type_)


def test_noise_is_not_compressed_and_patterns_are():
    noise = pa.array(np.random.default_rng(0).random(20_000))
    type_ = ColumnType("number", {"dtype": "<f8"})
    assert len(pack(noise, type_)) >= noise.nbytes
    assert len(pack(pa.array(np.arange(20_000.0)), type_)) < noise.nbytes / 3


@pytest.mark.parametrize(("length", "width"), [(200, 1), (300, 2), (70_000, 4)])
@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()], ids=str)
def test_texts_are_kept_with_lengths_as_narrow_as_they_may_be(type_, length, width):
    texts = pa.array([None, "", "ü", "x" * length, None] * 3, pa.string()).cast(type_)
    for array in (texts, texts[1:14], texts[:1]):
        batch = split(array)
        assert batch.column(0).values.type.bit_width == 8 * (width if len(array) > 1 else 1)
        assert joined(batch).equals(array)
        joined(batch).validate(full=True)


def test_texts_that_do_not_fit_their_lengths_are_reported_as_such():
    batch = split(pa.array(["a", "bc"]))
    with pytest.raises(Corrupt):
        joined(batch.set_column(1, "text", pa.array(["a"])))


def test_few_distinct_words_take_little_space():
    words = encode(pd.DataFrame({"s": ["alpha", "beta", None, "gamma"] * 5000})).column(0)
    words = pa.concat_arrays(words.chunks) if isinstance(words, pa.ChunkedArray) else words
    assert len(pack(words, ColumnType("object"), "none")) < 25_000


def test_an_arrow_table_comes_back_with_its_schema():
    fields = pa.schema(
        [pa.field("a", pa.int8(), nullable=False), pa.field("b", pa.string(), metadata={"k": "v"})]
    )
    table = pa.table(
        {"a": pa.array([1, 2], pa.int8()), "b": ["x", None]}, schema=fields.with_metadata({"m": "n"})
    )
    got = round_trip(table, 1)
    assert got.equals(table) and got.schema.equals(table.schema, check_metadata=True)


def test_a_frame_can_be_read_as_an_arrow_table(sales):
    sales["cat"] = pd.Categorical(["u", None, "v"])
    sales["when"] = pd.to_datetime(["2020-01-01"] * 3).tz_localize("Europe/Zurich")
    got = decode(*stored(sales, 2), as_="arrow")
    assert got.column_names == ["a.b", "7", "name", "cat", "when", "shop"]
    assert got["name"].to_pylist() == ["p", None, "q"]
    assert got["cat"].to_pylist() == ["u", None, "v"]
    assert got.schema.field("when").type.tz == "Europe/Zurich"


@pytest.mark.skipif(not importlib.util.find_spec("polars"), reason="polars is an optional extra")
def test_polars_frames_and_series_come_back_equal():
    import polars as pl
    from polars.testing import assert_frame_equal, assert_series_equal

    frame = pl.DataFrame({"a": [1, None, 3], "b": ["x", "y", None], "c": [[1], [], None]})
    assert_frame_equal(round_trip(frame, 2), frame)
    assert_series_equal(round_trip(frame["b"], 2), frame["b"])
    assert decode(*stored(pd.DataFrame({"a": [1, 2]}), 1), as_="polars")["a"].to_list() == [1, 2]


def test_each_backend_takes_its_own_kind_and_returns_it():
    for backend, obj in (
        (FrameBackend(), pd.DataFrame({"a": ["x", None]})),
        (SeriesBackend(), pd.Series([1, 2])),
    ):
        assert backend.accepts(obj) and not backend.accepts([1])
        assert_same(backend.decode(backend.encode(obj), backend.format), obj)
    assert ArrowBackend().accepts(pa.table({"a": [1]})) and not ArrowBackend().accepts(pd.DataFrame())


def test_columns_that_are_read_can_be_changed():
    frame = round_trip(
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.array([1, None], dtype="Int64")}), 10
    )
    frame.loc[0, "a"] = 5
    frame.loc[0, "b"] = "z"
    frame.loc[0, "c"] = 7
    assert frame.iloc[0].tolist() == [5, "z", 7]
