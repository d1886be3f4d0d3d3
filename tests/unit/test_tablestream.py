"""The stream in which tables come by REST: what is wrong with one is said, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bson
import numpy as np
import pandas as pd
import pytest

from omegaml import tablestream
from omegaml.backends.columnar import chunks, codec
from omegaml.errors import Corrupt, FormatTooNew, Unavailable
from tests.unit.equality import assert_same

FRAME = pd.DataFrame({"x": [1, 2], "t": ["a", None]})


def docs() -> list[dict[str, Any]]:
    """The documents of a stream of FRAME."""
    table = codec.encode(FRAME)
    types = table.schema.types
    packed = [chunks.pack(table.column(i), type_, "lz4") for i, type_ in enumerate(types)]
    schema = {"format": 1, "schema": table.schema.to_doc(), "whole": True}
    return [schema, {"rows": 2, "columns": packed}, {"end": 2}]


def encoded(docs: list[dict[str, Any]]) -> Iterator[bytes]:
    return map(bson.encode, docs)


def test_a_stream_is_read_in_whatever_pieces_it_comes() -> None:
    whole = b"".join(encoded(docs()))
    for size in (1, 7, len(whole)):
        pieces = (whole[at : at + size] for at in range(0, len(whole), size))
        assert_same(tablestream.read(pieces), FRAME)


def test_a_stream_in_a_newer_format_says_so_before_anything_is_read() -> None:
    with pytest.raises(FormatTooNew, match="format 2"):
        tablestream.read(encoded([{"format": 2, "something": "new"}]))


def _set(number: int, key: str, value: Any) -> Any:
    return lambda docs: docs[number].__setitem__(key, value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda docs: docs[0].pop("format"),
        lambda docs: docs[0].pop("schema"),
        lambda docs: docs[0].pop("whole"),
        lambda docs: docs.pop(0),
        lambda docs: docs.insert(0, {"format": 1}),
        lambda docs: docs[1].pop("rows"),
        lambda docs: docs[1].pop("columns"),
        lambda docs: docs[1]["columns"].pop(),
        lambda docs: docs.insert(1, {}),
        lambda docs: docs.insert(1, {"error": "x"}),
        _set(0, "format", "1"),
        _set(0, "format", 0),
        _set(0, "schema", {}),
        _set(0, "schema", 5),
        _set(0, "schema", {"types": [["no such"]]}),
        _set(0, "new", 1),
        _set(0, "whole", False),
        _set(1, "rows", 3),
        _set(1, "rows", "2"),
        _set(1, "columns", 5),
        _set(1, "columns", [b"", b""]),
        _set(1, "columns", [1, 2]),
        _set(1, "numbers", np.arange(2).tobytes()),
        _set(2, "end", 3),
        _set(2, "end", None),
    ],
)
def test_what_is_no_table_is_said_to_be_none(spoil: Any) -> None:
    spoiled = docs()
    spoil(spoiled)
    with pytest.raises(Corrupt):
        tablestream.read(encoded(spoiled))


def test_a_stream_without_its_end_has_ended_early() -> None:
    for count in (0, 1, 2):
        with pytest.raises(Unavailable):
            tablestream.read(encoded(docs()[:count]))
