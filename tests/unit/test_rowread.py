"""The columns of row documents hold what `bson` decodes, document by document."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import bson
import numpy as np
import pyarrow as pa
import pytest
from bson import Decimal128, Int64, ObjectId, Regex
from hypothesis import given
from hypothesis import strategies as st

from omegaml.backends import rowread
from omegaml.backends.rowbson import CODEC
from tests.unit.drawn_cells import bounded

KINDS: dict[str, st.SearchStrategy[Any]] = {
    "double": st.floats(),
    "int64": st.integers(-(2**63), 2**63 - 1).map(Int64),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "bool": st.booleans(),
    "datetime": st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)).map(
        lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000, fold=0)
    ),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    "bytes": st.binary(max_size=5),
    "uuid": st.uuids(),
    "list": st.lists(st.integers(0, 9), max_size=3),
    "dict": st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3),
    "id": st.builds(ObjectId, st.binary(min_size=12, max_size=12)),
    "decimal": st.decimals(-99, 99, places=2).map(Decimal128),
    "regex": st.just(Regex("a.b", "i")),
}
ANY = st.one_of(*KINDS.values(), st.none())
NAMES = ["a", "_idx#0_0", "name with ü", "", "x.y"]


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    kinds = [draw(st.sampled_from([*KINDS.values(), ANY])) for _ in names]
    kinds = [draw(st.sampled_from([kind, kind | st.none()])) for kind in kinds]
    return draw(st.lists(st.fixed_dictionaries(dict(zip(names, kinds, strict=True))), max_size=6))


def read(documents: list[dict[str, Any]], **options: Any) -> list[tuple[int, dict[str, Any]]]:
    encoded = [bson.encode(document, codec_options=CODEC) for document in documents]
    offsets = [0, *np.cumsum([len(one) for one in encoded]).tolist()]
    return [(n, dict(found)) for n, found in rowread.columns(b"".join(encoded), offsets, **options)]


def check(documents: list[dict[str, Any]]) -> None:
    found = read(documents)
    assert sum(n for n, _ in found) == len(documents)
    expected = [bson.decode(bson.encode(d, codec_options=CODEC), CODEC) for d in documents]
    for name in {name for document in documents for name in document}:
        cells = [cell for n, part in found for cell in rowread.cells(part.get(name, [None] * n))]
        for cell, document in zip(cells, expected, strict=True):
            other = document.get(name)
            assert type(cell) is type(other) or {type(cell), type(other)} == {int, Int64}
            assert cell == other or (cell != cell and other != other)


@bounded(200)
@given(rows())
def test_documents_of_one_shape(documents):
    check(documents)


@bounded(100)
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), ANY, max_size=3), max_size=5))
def test_documents_of_any_shape(documents):
    check(documents)


@pytest.mark.parametrize("rows", [0, 1, rowread.BLOCK_ROWS, rowread.BLOCK_ROWS + 1])
def test_more_documents_than_are_read_at_a_time(rows: int) -> None:
    documents = [{"i": i, "s": f"text {i}" if i % 3 else None} for i in range(rows)]
    check(documents)
    assert len(read(documents)) == -(-rows // rowread.BLOCK_ROWS)


def test_what_has_one_type_comes_without_an_object_for_each_row() -> None:
    whole = {
        "d": 1.5,
        "i": Int64(1),
        "small": 1,
        "b": True,
        "t": dt.datetime(2020, 1, 1),
        "s": "text",
        "n": None,
    }
    [(rows, found)] = read([whole, dict.fromkeys(whole), whole])
    types = {name: column.type for name, column in found.items()}
    assert rows == 3
    assert types == {
        "d": pa.float64(),
        "i": pa.int64(),
        "small": pa.int64(),
        "b": pa.bool_(),
        "t": pa.timestamp("ms"),
        "s": pa.large_string(),
        "n": pa.null(),
    }
    [(_, mixed)] = read([{"v": 1, "w": uuid.UUID(int=7)}, {"v": "one", "w": uuid.UUID(int=8)}])
    assert mixed == {"v": [1, "one"], "w": [uuid.UUID(int=7), uuid.UUID(int=8)]}


def test_only_the_fields_asked_for_are_made() -> None:
    [(_, found)] = read([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], only=("a",))
    assert list(found) == ["a"] and found["a"].to_pylist() == [1, 2]


def test_a_text_that_is_not_utf8_is_refused_as_by_bson() -> None:
    document = bson.encode({"s": "abc"}).replace(b"abc", b"a\xffc")
    with pytest.raises(bson.errors.InvalidBSON):
        list(rowread.columns(document, [0, len(document)]))
