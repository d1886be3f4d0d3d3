"""Chunks that somebody has written by hand: none makes a reader look beside it, or fill the memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omegaml.backends.columnar import chunks, codec
from omegaml.backends.columnar.types import ColumnType
from omegaml.errors import Corrupt, InvalidInput
from tests.unit.drawn_cells import bounded

COLUMNS: dict[str, Any] = {
    "bytes": pa.array([b"abcdefgh", b"ijklmnop"] * 4, pa.large_binary()),
    "short bytes": pa.array([b"abcdefgh", b"ijklmnop"] * 4, pa.binary()),
    "text": pa.array(["abcdefgh", None, "ijklmnöp"] * 4, pa.large_string()),
    "lists": pa.array([[1, 2, 3], None, [4]] * 4, pa.list_(pa.int64())),
    "structs": pa.array([{"a": "x", "b": 1}, None] * 4),
    "dictionary": pa.array(["a", "b", None] * 4).dictionary_encode(),
}
FRAMES: dict[str, Any] = {
    "numbers": pd.Series(np.arange(40_000)),
    "many texts": pd.Series([f"text {i * 7919 % 9973}" for i in range(6_000)], dtype="string"),
    "few texts": pd.Series(["north", "south"] * 500, dtype="string"),
    "categories": pd.Series(pd.Categorical(["a", "b", "c"] * 5)),
    "objects": pd.Series([{"a": 1}, None, b"x", 1.5] * 5, dtype=object),
    "masked": pd.Series([1, None, 3] * 5, dtype="Int32"),
}


@pytest.fixture(scope="module", autouse=True)
def doubting() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "_most", None)
        chunks.never_trust(1 << 20)
        yield


def column(name: str) -> tuple[ColumnType, Any, bytes]:
    """The type of a column, how to make values of it, and a chunk of it."""
    obj = pa.table({"v": COLUMNS[name]}) if name in COLUMNS else FRAMES[name].to_frame("v")
    table = codec.encode(obj)
    type_ = table.schema.types[0]
    array = chunks.whole(table.column(0))

    def made(found: pa.Array) -> Any:
        return codec.decode(
            table.schema.select([0]), [[found], *_index(table, len(found))], len(found), None, None
        )

    return type_, made, chunks.pack(array, type_)


def _index(table: Any, rows: int) -> list[list[pa.Array]]:
    return [[chunks.whole(table.column(i))[:rows]] for i in range(1, len(table.schema.types))]


@pytest.mark.parametrize("middle", [300, 60_000, 2_000_000, -1, 2**62])
def test_an_offset_outside_of_the_chunk_is_refused(middle: int) -> None:
    type_ = codec.encode(pa.table({"v": COLUMNS["bytes"][:2]})).schema.types[0]
    for place in (8, 16):  # the middle one, the last one
        data = bytearray(chunks.pack(COLUMNS["bytes"][:2], type_, "none"))
        data[(at := data.index(struct.pack("<qqq", 0, 8, 16)) + place) : at + 8] = struct.pack("<q", middle)
        with pytest.raises(Corrupt):
            chunks.unpack(bytes(data), type_)


@pytest.mark.parametrize("code", [3, 50, -2])
def test_a_code_without_a_category_is_refused(code: int) -> None:
    table = codec.encode(pd.DataFrame({"c": pd.Categorical(["a", "b", "c"])}))
    type_ = table.schema.types[0]
    found = chunks.unpack(chunks.pack(pa.array([0, code, 1], type_.arrow), type_, "none"), type_)
    for as_ in (None, "arrow"):
        with pytest.raises(Corrupt):
            codec.decode(table.schema, [[found], *_index(table, 3)], 3, None, as_)


@pytest.mark.parametrize("form", ["message", "stream"])
def test_a_small_chunk_that_stands_for_much_is_refused_before_it_is_unpacked(form: str) -> None:
    obj = (
        pd.Series(np.zeros(1 << 20))
        if form == "message"
        else pd.Series(["x" * (2 << 20)] * 2, dtype="string")
    )
    table = codec.encode(obj.to_frame("v"))
    data = chunks.pack(table.column(0), table.schema.types[0])
    assert len(data) < 1 << 18
    before = pa.total_allocated_bytes()
    with pytest.raises(InvalidInput, match="is more than the 1,048,576"):
        chunks.unpack(data, table.schema.types[0])
    assert pa.total_allocated_bytes() == before


def test_a_text_that_is_not_utf8_is_refused() -> None:
    type_, _, data = column("text")
    with pytest.raises(Corrupt):
        chunks.unpack(data.replace(b"abc", b"a\xffc", 1), type_)


@pytest.mark.parametrize("name", [*COLUMNS, *FRAMES])
def test_changed_bytes_are_refused_or_read_as_other_values(name: str) -> None:
    type_, made, data = column(name)
    assert len(made(chunks.unpack(data, type_)))

    @bounded(60)
    @given(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), min_size=1, max_size=4))
    def check(changes: list[tuple[int, int]]) -> None:
        changed = bytearray(data)
        for place, byte in changes:
            changed[place] = byte
        try:
            found = chunks.unpack(bytes(changed), type_)
            found.validate(full=True)
            repr(made(found))
        except (Corrupt, InvalidInput):
            pass

    check()
