"""The vectorised encoder against `bson`, the reference."""

from __future__ import annotations

import datetime
import math
import struct
from itertools import pairwise

import bson
import numpy as np
import pyarrow as pa
import pytest

from omegaml.backends import rowbson


def documents(fields: list[rowbson.Field], rows: int) -> list[bytes]:
    buffer, offsets = rowbson.encode_rows(fields, rows)
    raw = buffer.tobytes()
    return [raw[a:b] for a, b in pairwise(offsets)]


def expected(*rows: dict[str, object]) -> list[bytes]:
    wide = [{k: bson.Int64(v) if type(v) is int else v for k, v in row.items()} for row in rows]
    return [bson.encode(row) for row in wide]


def test_documents_of_one_length_are_those_of_bson() -> None:
    fields = [
        rowbson.integers("i", np.array([-1, 0, 2**62])),
        rowbson.doubles("f", np.array([0.5, -0.0, math.inf])),
        rowbson.booleans("b", np.array([True, False, True])),
    ]
    assert documents(fields, 3) == expected(
        {"i": -1, "f": 0.5, "b": True},
        {"i": 0, "f": -0.0, "b": False},
        {"i": 2**62, "f": math.inf, "b": True},
    )


def test_documents_with_text_and_nulls_are_those_of_bson() -> None:
    fields = [
        rowbson.strings("s", pa.array(["", None, "Zürich 🏔", "a\0b"], pa.large_string())),
        rowbson.integers("i", np.arange(4), np.array([True, True, False, True])),
        rowbson.strings("t", pa.array(["x" * 300, "y", "z", ""], pa.large_string())),
        rowbson.cells("o", [1, None, {"a": [1, b"x"]}, "s"]),
    ]
    found = documents(fields, 4)
    wanted = [
        {"s": "", "i": 0, "t": "x" * 300, "o": 1},
        {"s": None, "i": 1, "t": "y", "o": None},
        {"s": "Zürich 🏔", "i": None, "t": "z", "o": {"a": [1, b"x"]}},
        {"s": "a\0b", "i": 3, "t": "", "o": "s"},
    ]
    assert [bson.decode(d) for d in found] == wanted
    assert found == [
        bson.encode({**row, "i": None if row["i"] is None else bson.Int64(row["i"])})
        for row in wanted  # type: ignore[call-overload]
    ]


def test_nan_keeps_its_bits_and_is_no_null() -> None:
    bits = 0x7FF8000000000123
    [found] = documents([rowbson.doubles("f", np.array([bits], np.uint64).view(np.float64))], 1)
    assert struct.unpack("<Q", found[7:15])[0] == bits


def test_milliseconds_are_bson_datetimes_before_and_after_1970() -> None:
    times = [
        datetime.datetime(1, 1, 1),
        datetime.datetime(1969, 12, 31, 23, 59, 59, 999000),
        datetime.datetime(9999, 12, 31),
    ]
    ms = np.array(times, "M8[ms]").astype(np.int64)
    assert documents([rowbson.milliseconds("d", ms)], 3) == expected(*({"d": t} for t in times))


def test_a_slice_of_a_text_array_encodes_its_own_rows() -> None:
    text = pa.array(["a", "bb", None, "dddd", "e"], pa.large_string()).slice(1, 3)
    assert documents([rowbson.strings("s", text)], 3) == expected({"s": "bb"}, {"s": None}, {"s": "dddd"})


@pytest.mark.parametrize(
    "field",
    [
        rowbson.integers("v", np.array([10, 20, 30])),
        rowbson.doubles("v", np.array([1.5, 0, 2.5]), np.array([True, False, True])),
        rowbson.strings("v", pa.array(["a", None, "ccc"], pa.large_string())),
        rowbson.cells("v", [1, "x", None]),
    ],
)
def test_taking_and_slicing_choose_the_same_rows(field: rowbson.Field) -> None:
    all_three = documents([field], 3)
    null = bson.encode({"v": None})
    assert documents([field.slice(1, 3)], 2) == all_three[1:]
    assert documents([field.take(np.array([2, -1, 0]))], 3) == [all_three[2], null, all_three[0]]
    assert documents([field.slice(0, 0)], 0) == []


def test_taking_from_nothing_gives_nulls() -> None:
    field = rowbson.strings("v", pa.array([], pa.large_string()))
    assert documents([field.take(np.array([-1, -1]))], 2) == expected({"v": None}, {"v": None})


def test_random_tables_are_those_of_bson() -> None:
    random = np.random.default_rng(5)
    for rows in (1, 2, 33):
        texts = [None if random.random() < 0.2 else "é" * int(random.integers(0, 40)) for _ in range(rows)]
        numbers = random.integers(-(2**63), 2**63 - 1, rows)
        valid = random.random(rows) < 0.7
        floats = random.normal(size=rows)
        fields = [
            rowbson.integers("n", numbers),
            rowbson.strings("t", pa.array(texts, pa.large_string())),
            rowbson.doubles("f", floats, valid),
        ]
        assert documents(fields, rows) == expected(
            *(
                {"n": int(n), "t": t, "f": float(f) if v else None}
                for n, t, f, v in zip(numbers, texts, floats, valid, strict=True)
            )
        )
