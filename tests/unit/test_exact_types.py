"""Python data, arrays and files keep their exact types, and nothing but models is ever pickled."""

from __future__ import annotations

import array
import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omegaml import backends
from omegaml.backends.base import Blob
from omegaml.errors import NotStorable
from tests.unit.drawn_cells import CELLS, bounded
from tests.unit.equality import same
from tests.unit.test_kinds import roundtrip

ROOT = Path(backends.__file__).parents[1]
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def pickling(source: str) -> set[str]:
    """What a module uses that runs code of whoever wrote the data."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names} & PICKLERS
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").partition(".")[0]} & PICKLERS
        elif isinstance(node, ast.Attribute) and "pickle" in node.attr:
            found.add(node.attr)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                found.add("allow_pickle")
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("eval", "exec", "__import__"):
            found.add(node.func.id)  # type: ignore[attr-defined]
    return found


def test_only_models_are_pickled():
    assert pickling("import pickle\npd.read_pickle(f)\nnp.load(f, allow_pickle=x)") == {
        "pickle", "read_pickle", "allow_pickle",
    }  # fmt: skip
    files = [*(ROOT / "backends").rglob("*.py"), *(ROOT / "store").rglob("*.py"), *ROOT.glob("*.py")]
    found = {str(file.relative_to(ROOT)): used for file in files if (used := pickling(file.read_text()))}
    assert set(found) == {"backends/models.py"}


@bounded(150)
@given(CELLS | st.lists(CELLS, max_size=4) | st.dictionaries(st.text(max_size=2), CELLS, max_size=3))
def test_any_value_comes_back_or_is_refused(value):
    try:
        got = roundtrip(value, format="numpy" if isinstance(value, np.ndarray) else "python")
    except NotStorable:
        return
    assert same(got, value), (got, value)


@pytest.mark.parametrize(
    "value", [{"$ref": "a", "$id": 1}, [{"x": {"$ref": "a", "$id": 1, "$db": "c"}}], {"$ref": 1}]
)
def test_what_the_driver_takes_for_a_reference_stays_a_dict(value):
    assert same(roundtrip(value), value)


def test_a_view_of_any_items_is_stored_as_its_bytes():
    items = array.array("i", [1, 2, 3])
    blob = backends.find(memoryview(items), "data/").encode(memoryview(items))
    assert isinstance(blob, Blob) and isinstance(blob.data, memoryview)
    assert blob.size == len(blob.data) == 12 and roundtrip(memoryview(items)) == items.tobytes()
    assert roundtrip(memoryview(b"")) == b""


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype([("a", "i1"), ("b", "f8")], align=True),
        np.dtype([("x", np.dtype([("a", "i1"), ("b", "f8")], align=True))]),
        np.dtype({"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 0]}),
    ],
)
def test_a_dtype_that_the_file_does_not_describe_is_refused(dtype: Any):
    with pytest.raises(NotStorable):
        backends.find(np.zeros(2, dtype), "data/").encode(np.zeros(2, dtype))


@pytest.mark.parametrize(
    "dtype", ["V5", np.dtype({"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 16})]
)
def test_gaps_and_raw_bytes_of_a_dtype_come_back(dtype: Any):
    assert roundtrip(np.zeros(2, dtype)).dtype == np.dtype(dtype)
