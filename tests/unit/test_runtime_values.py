"""Values that travel in tasks come back equal, types included."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from omegaml.errors import InvalidInput, Mismatch, NotStorable, OmegaError, TimedOut
from omegaml.runtime import values
from omegaml.runtime.base import error_from_doc, error_to_doc


def there_and_back(value: Any, spill: Any = None, fetch: Any = None) -> Any:
    return values.decode(json.loads(json.dumps(values.encode(value, spill), allow_nan=False)), fetch)


class Shelf(dict[str, Any]):
    """A place for large values, as the store is one."""

    def spill(self, value: Any) -> str:
        self[f"v{len(self)}"] = value
        return f"v{len(self) - 1}"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        2**70,
        -1.5,
        float("inf"),
        "",
        "ü\n",
        [],
        {},
        (1, (2.5, "a")),
        {"a": [1, {"b": None}]},
        {1: 2, (3, 4): 5},
        {"$value": "array"},
        b"\x00\xff",
        datetime(2026, 1, 2, 3, 4, 5, 6),
        date(2026, 1, 2),
        Decimal("1.10"),
        UUID(int=7),
    ],
    ids=repr,
)
def test_a_value_comes_back_equal_with_its_type(value: Any) -> None:
    back = there_and_back(value)
    assert back == value
    assert type(back) is type(value)


def test_nan_travels_in_strict_json() -> None:
    assert np.isnan(there_and_back([float("nan")])[0])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="i1").reshape(2, 3),
        np.asfortranarray(np.eye(3)),
        np.array(1.5),
        np.array([], "f4"),
        np.array(["a", "ü"]),
        np.array(["2026-01-01", "NaT"], "M8[ns]"),
        np.array([1 + 2j]),
        np.array([True, False]),
        np.array([1, "a", None], object),
        np.arange(3, dtype=">i4"),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_an_array_comes_back_with_dtype_and_shape(array: np.ndarray) -> None:
    back = there_and_back(array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_a_numpy_scalar_stays_one() -> None:
    back = there_and_back({"a": np.float32(1.25)})["a"]
    assert type(back) is np.float32
    assert back == np.float32(1.25)


@pytest.mark.parametrize("format", ["csr", "csc", "coo"])
def test_a_sparse_matrix_comes_back(format: str) -> None:
    matrix = sparse.random(20, 30, 0.1, format=format, random_state=1)
    np.testing.assert_array_equal(there_and_back(matrix).toarray(), matrix.toarray())


def test_a_frame_comes_back_with_dtypes_index_and_labels() -> None:
    frame = pd.DataFrame(
        {
            "n": pd.array([1, None, 3], "Int64"),
            "f": np.array([1, 2, np.nan], "f4"),
            "s": ["a", None, "ü"],
            7: [True, False, True],
            "t": pd.to_datetime(["2026-01-01", None, "2026-03-29"]).tz_localize("Europe/Berlin"),
            "c": pd.Categorical(["x", "y", "x"], ["y", "x"], ordered=True),
        },
        index=pd.Index([3, 1, 2], name="key"),
    )
    pd.testing.assert_frame_equal(there_and_back(frame), frame)
    pd.testing.assert_series_equal(there_and_back({"w": frame["f"]})["w"], frame["f"])


def test_an_empty_frame_comes_back() -> None:
    frame = pd.DataFrame({"a": np.array([], "f8")})
    pd.testing.assert_frame_equal(there_and_back(frame), frame)


def test_what_is_large_travels_by_name() -> None:
    shelf = Shelf()
    large = np.arange(values.INLINE, dtype="f8")
    data = values.encode({"w": large, "n": 1}, shelf.spill)
    assert len(json.dumps(data)) < 200
    np.testing.assert_array_equal(values.decode(data, shelf.__getitem__)["w"], large)
    frame = pd.DataFrame({"a": large})
    data = values.encode(frame, shelf.spill)
    assert len(json.dumps(data)) < 200
    pd.testing.assert_frame_equal(values.decode(data, shelf.__getitem__), frame)


def test_a_large_list_travels_by_name_and_stays_a_list() -> None:
    shelf = Shelf()
    rows = [[float(i), i, str(i)] for i in range(30_000)]
    data = values.encode(rows, shelf.spill)
    assert len(json.dumps(data)) < 200
    assert values.decode(data, shelf.__getitem__) == rows


def test_a_value_that_cannot_travel_is_refused_by_its_type() -> None:
    with pytest.raises(NotStorable, match=r"builtins\.object"):
        values.encode({"a": [object()]})
    with pytest.raises(NotStorable, match="function"):
        values.encode({"scoring": lambda: 1})


def test_a_kind_of_value_from_a_newer_version_is_refused() -> None:
    with pytest.raises(InvalidInput, match="hologram"):
        values.decode({"$value": "hologram"})


@pytest.mark.parametrize(
    "value",
    [np.ma.array([1, 2], mask=[0, 1]), np.random.RandomState(0), np.dtype("f8"), pd.Index([1]), {1, 2}],
    ids=lambda v: type(v).__name__,
)
def test_what_would_not_come_back_equal_is_refused_by_its_type(value: Any) -> None:
    with pytest.raises(NotStorable, match=f"{type(value).__qualname__} cannot be sent"):
        values.encode(value)


def test_a_list_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotStorable, match="contains itself"):
        values.encode(endless)


def test_cells_of_pandas_come_back() -> None:
    times = [pd.Timestamp("2026-03-29 01:30", tz="Europe/Berlin"), pd.Timestamp(1), pd.Timedelta("1s")]
    assert there_and_back(times) == times
    assert there_and_back([pd.NaT, pd.NA])[0] is pd.NaT
    assert there_and_back([pd.NaT, pd.NA])[1] is pd.NA
    labels = np.array([pd.Timestamp("2026-01-01"), None], object)
    assert there_and_back(labels).tolist() == labels.tolist()


@pytest.mark.parametrize(
    "large",
    ["ü" * values.INLINE, b"x" * values.INLINE, np.array(["label"] * 60_000, object)],
    ids=["text", "bytes", "labels"],
)
def test_whatever_is_large_travels_by_name(large: Any) -> None:
    shelf = Shelf()
    data = values.encode(large, shelf.spill)
    assert len(json.dumps(data)) < 200
    np.testing.assert_array_equal(values.decode(data, shelf.__getitem__), large)


@pytest.mark.parametrize(
    "data",
    [
        {"$value": "array", "dtype": "<f8", "shape": [7], "data": "AAAA"},
        {"$value": "array"},
        {"$value": "decimal", "data": "one"},
        {"$value": ["array"]},
        {"$value": "bytes", "data": 7},
    ],
    ids=repr,
)
def test_a_value_that_is_damaged_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput, match="value of kind"):
        values.decode(data)


class Theirs(TimedOut):
    """An error of a plugin."""


def test_an_error_travels_with_its_class_sentence_hint_and_details() -> None:
    error = Mismatch("müsli", hint="try", missing=["a"], at=UUID(int=1), nan=float("nan"))
    back = error_from_doc(json.loads(json.dumps(error_to_doc(error), allow_nan=False)))
    assert (type(back), str(back)) == (Mismatch, str(error))
    assert back.details == {"missing": ["a"], "at": str(UUID(int=1)), "nan": "NaN"}
    assert type(error_from_doc(error_to_doc(Theirs("late")))) is TimedOut
    assert type(error_from_doc({"error": "FromTheFuture", "message": "m"})) is OmegaError
