"""What each kind keeps exactly, what it refuses, and how a kind is chosen."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import math
import subprocess
import sys
import types
import uuid
from pathlib import Path
from typing import Any

import bson
import numpy as np
import pytest

from omegaml import backends
from omegaml.backends.base import Backend, Blob, Documents
from omegaml.errors import Corrupt, InvalidInput, NotStorable, OmegaError


def roundtrip(obj: Any, prefix: str = "data/", format: str | None = None) -> Any:
    """Encode, carry the payload as a database would (bytes, BSON), and decode."""
    backend = backends.find(obj, prefix, format)
    payload = backend.encode(obj)
    meta = bson.decode(bson.encode({"m": dict(payload.meta)}))["m"]  # type: ignore[union-attr]
    if isinstance(payload, Blob):
        carried: Any = Blob(io.BytesIO(payload.read()), meta)
    else:
        assert isinstance(payload, Documents)
        carried = Documents([bson.decode(bson.encode(dict(d))) for d in payload.docs], meta)
    return backends.by_kind(backend.kind).decode(carried, backend.format)


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types all the way down, with NaN equal to NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return (isinstance(a, float) and math.isnan(a) and math.isnan(b)) or bool(a == b)


ARRAYS = [
    np.arange(24).reshape(2, 3, 4),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(7),
    np.empty((0, 3), "f4"),
    np.arange(20, dtype=">f4")[::3],
    np.array(["a", "ünï"]),
    np.array([b"a", b"bc"]),
    np.array(["2024-01-01", "NaT"], "M8[ns]"),
    np.array([(1, 2.5)], [("a", "i4"), ("b", "f8", (1,))]),
    np.array([1 + 2j, np.nan]),
    np.array([True, False]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_an_array_comes_back_with_its_dtype_shape_and_order(array: np.ndarray) -> None:
    back = roundtrip(array)
    assert back.dtype == array.dtype and back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert back.flags.f_contiguous == array.flags.f_contiguous or not array.flags.forc


def test_an_array_is_described_as_upstream_does() -> None:
    meta = dict(backends.find(np.eye(2), "data/").encode(np.eye(2)).meta)  # type: ignore[union-attr]
    assert meta == {"dtype": "float64", "shape": [2, 2], "save_method": "np.save", "allow_pickle": False}


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, "a"], object),
        np.ma.masked_array([1, 2], [True, False]),
        np.array([(1, None)], [("a", "i4"), ("b", object)]),
        np.array([(1,)], [("a", "i4")]).view(np.recarray),
        np.zeros(1, np.dtype("i4", metadata={"unit": "m"})),
        np.array(["a", "bc"], np.dtypes.StringDType())
        if hasattr(np.dtypes, "StringDType")
        else np.matrix([1]),
    ],
    ids=["object", "masked", "nested object", "record", "metadata", "string"],
)
def test_an_array_that_would_change_is_refused(array: np.ndarray) -> None:
    with pytest.raises(NotStorable):
        backends.find(array, "data/").encode(array)


def test_array_bytes_that_are_cut_short_are_corrupt() -> None:
    backend = backends.by_kind("ndarray.bin")
    data = backend.encode(np.arange(100)).read()  # type: ignore[union-attr]
    for cut in (0, 5, 100, len(data) - 1):
        with pytest.raises(Corrupt):
            backend.decode(Blob(data[:cut]), 1)


VALUES = [
    None,
    True,
    0,
    -(2**63),
    2**64,
    1.5,
    math.nan,
    math.inf,
    "text",
    "nul \0 and ünï",
    "",
    {},
    [],
    [[]],
    [1, "a", None, [2.5, {"b": b"bytes"}]],
    {"a": 1, "b": {"c": [1, 2**40]}},
    {"a.b": 1, "$c": 2, "": 3},
    {1: "a", (1, 2): "b", None: "c"},
    (1, 2),
    {"t": (1, [2])},
    {1, 2},
    [{1, 2}, "plain", {"a": (1,)}],
    1 + 2j,
    decimal.Decimal("1.10"),
    uuid.UUID(int=5),
    dt.datetime(2024, 1, 2, 3, 4, 5, 123456),
    dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
    dt.date(2024, 1, 2),
    dt.timedelta(days=1, microseconds=1),
    np.float32(1.5),
    np.int64(3),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_python_data_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    assert same(roundtrip(value), value)


def test_plain_data_is_stored_as_upstream_stores_it() -> None:
    payload = backends.find({"a": [1, "x"]}, "data/").encode({"a": [1, "x"]})
    assert isinstance(payload, Documents)
    assert list(payload.docs) == [{"data": {"a": [1, "x"]}}]


def test_documents_that_upstream_wrote_come_back_as_the_list_of_their_data() -> None:
    backend = backends.by_kind("python.data")
    assert backend.decode(Documents([{"_id": 1, "data": {"a": 1}}, {"_id": 2, "data": [2]}]), 1) == [
        {"a": 1},
        [2],
    ]


def test_a_list_of_more_than_16_mb_is_split_over_documents_and_comes_back_whole() -> None:
    value = ["x" * 1_000_000] * 40
    payload = backends.find(value, "data/").encode(value)
    assert isinstance(payload, Documents)
    assert len(payload.docs) == 3
    assert all(len(bson.encode(dict(d))) < 16 * 2**20 for d in payload.docs)
    assert roundtrip(value) == value


def a_cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"v": value}


@pytest.mark.parametrize(
    "value",
    [
        {"a": object()},
        [lambda: 1],
        {"x": "y" * (17 * 2**20)},
        ["y" * (17 * 2**20)],
        a_cycle(),
        deep(200),
        deep(5000),
    ],
    ids=["object", "function", "large dict", "large item", "cycle", "deep", "very deep"],
)
def test_python_data_that_cannot_be_kept_is_refused(value: Any) -> None:
    with pytest.raises(NotStorable):
        backends.find(value, "data/").encode(value)


def test_bytes_come_back_as_bytes_and_files_as_files(tmp_path: Path) -> None:
    path = tmp_path / "f.bin"
    path.write_bytes(b"content")
    assert roundtrip(b"abc") == b"abc"
    assert roundtrip(bytearray(b"abc")) == bytearray(b"abc")
    assert roundtrip(memoryview(b"abcdef")[::2]) == b"ace"
    assert roundtrip(path).read() == b"content"
    assert roundtrip(str(path), format="file").read() == b"content"
    assert roundtrip(io.BytesIO(b"like")).read() == b"like"
    with path.open("rb") as f:
        assert roundtrip(f, "scripts/").read() == b"content"


def test_a_path_is_closed_after_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "f.bin"
    path.write_bytes(b"content")
    blob = backends.find(path, "data/").encode(path)
    assert isinstance(blob, Blob) and not isinstance(blob.data, bytes | bytearray | memoryview)
    assert blob.size == 7 and blob.meta["filename"] == "f.bin"
    while blob.data.read(4):
        pass
    assert blob.data.closed


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for bad in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InvalidInput, match=bad.name):
            backends.find(bad, "data/").encode(bad)
    with pytest.raises(InvalidInput, match="text"):
        backends.find(io.StringIO("x"), "data/").encode(io.StringIO("x"))


class Doubler:
    """A model that is no scikit-learn estimator."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return 2 * x


@pytest.mark.parametrize("format", [None, "joblib"])
def test_an_estimator_comes_back_and_predicts_the_same(format: str | None) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 3
    model = linear_model.LogisticRegression().fit(x, y)
    back = roundtrip(model, "models/", format)
    assert type(back) is type(model)
    assert (back.predict_proba(x) == model.predict_proba(x)).all()


@pytest.mark.parametrize("format", [None, "joblib"])
def test_any_picklable_object_is_a_model(format: str | None) -> None:
    assert roundtrip(Doubler(), "models/", format).predict(21) == 42
    assert roundtrip({"weights": np.arange(3.0)}, "models/", format)["weights"].tolist() == [0, 1, 2]


def test_a_model_is_described_by_class_versions_and_signature() -> None:
    sklearn = pytest.importorskip("sklearn")
    linear_model = pytest.importorskip("sklearn.linear_model")
    pd = pytest.importorskip("pandas")
    x = pd.DataFrame({"a": [0.0, 1, 2, 3], "b": [1.0, 0, 1, 0]})
    model = linear_model.LogisticRegression().fit(x, ["n", "n", "y", "y"])
    about = backends.find(model, "models/").encode(model).meta["model"]  # type: ignore[union-attr]
    assert (about["class"], about["module"].split(".")[0]) == ("LogisticRegression", "sklearn")
    assert about["versions"]["sklearn"] == sklearn.__version__
    assert about["signature"]["features"] == ["a", "b"]
    assert about["signature"]["classes"] == ["n", "y"]
    assert {"fit", "predict", "predict_proba"} <= set(about["signature"]["methods"])


def test_the_joblib_format_is_upstreams() -> None:
    backend = backends.by_kind("sklearn.joblib")
    blob = backend.encode(Doubler())
    assert isinstance(blob, Blob)
    assert bytes(blob.read()[:1]) == b"\x78"  # a zlib stream
    assert blob.meta["_om_backend_version"] == "1"


@pytest.mark.parametrize("kind", ["model.joblib", "sklearn.joblib"])
def test_a_model_that_cannot_be_pickled_is_refused_with_its_class(kind: str) -> None:
    model = Doubler()
    model.hook = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(NotStorable, match="Doubler"):
        backends.by_kind(kind).encode(model)


@pytest.mark.parametrize("kind", ["model.joblib", "sklearn.joblib"])
def test_a_missing_package_is_named_with_its_version(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("oddpackage")
    module.__version__ = "1.2"  # type: ignore[attr-defined]
    module.Model = type("Model", (), {"__module__": "oddpackage"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "oddpackage", module)
    backend = backends.by_kind(kind)
    blob = backend.encode(module.Model())
    monkeypatch.delitem(sys.modules, "oddpackage")
    with pytest.raises(OmegaError, match="needs the package 'oddpackage'") as caught:
        backend.decode(blob, 1)
    assert caught.value.hint == "pip install oddpackage==1.2"


def test_a_class_that_is_gone_says_what_the_model_was_made_with(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = backends.by_kind("model.joblib")
    blob = backend.encode(Doubler())
    monkeypatch.delattr(sys.modules[__name__], "Doubler")
    with pytest.raises(OmegaError, match="Doubler cannot be loaded here"):
        backend.decode(blob, 1)


def test_damaged_model_bytes_are_an_error_of_ours() -> None:
    for kind in ("model.joblib", "sklearn.joblib"):
        backend = backends.by_kind(kind)
        blob = backend.encode(Doubler())
        assert isinstance(blob, Blob)
        with pytest.raises(OmegaError):
            backend.decode(Blob(bytes(blob.read()[:10]), blob.meta), 1)


@pytest.mark.parametrize(
    ("obj", "prefix", "format", "kind"),
    [
        (np.eye(2), "data/", None, "ndarray.bin"),
        ({"a": 1}, "data/", None, "python.data"),
        ("text", "data/", None, "python.data"),
        (b"raw", "data/", None, "python.file"),
        (Path("x"), "data/", None, "python.file"),
        (Doubler(), "models/", None, "model.joblib"),
        (Doubler(), "models/", "joblib", "sklearn.joblib"),
        ("print(1)", "scripts/", None, "python.file"),
        (b"{}", "jobs/", None, "python.file"),
    ],
    ids=str,
)
def test_the_kind_follows_from_the_object_the_store_and_the_format(
    obj: object, prefix: str, format: str | None, kind: str
) -> None:
    backend = backends.find(obj, prefix, format)
    assert backend.kind == kind
    assert isinstance(backend, Backend)


def test_an_unknown_format_or_kind_names_what_is_near() -> None:
    with pytest.raises(InvalidInput, match="did you mean 'joblib'"):
        backends.find(Doubler(), "models/", "jolib")
    with pytest.raises(InvalidInput, match=r"did you mean 'python\.data'"):
        backends.by_kind("python.dat")
    with pytest.raises(InvalidInput, match="no store"):
        backends.find(1, "nowhere/")


def test_an_object_that_nothing_stores_is_refused_with_its_type() -> None:
    with pytest.raises(NotStorable, match="Doubler"):
        backends.find(Doubler(), "data/")
    with pytest.raises(NotStorable, match="'rows' does not store objects of type dict"):
        backends.find({}, "data/", "rows")


def test_choosing_a_kind_imports_no_framework_the_object_is_not_from() -> None:
    code = (
        "import sys; from omegaml import backends; backends.find(b'x', 'data/').encode(b'x'); "
        "backends.find({'a': [1]}, 'data/').encode({'a': [1]}); backends.find(open, 'models/'); "
        "frameworks = {'pandas', 'numpy', 'pyarrow', 'polars', 'sklearn', 'joblib', 'pymongo'}; "
        "print(sorted(frameworks & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_an_installed_package_adds_a_kind(tmp_path: Path) -> None:
    (tmp_path / "plug.py").write_text(
        "from omegaml.backends.base import Blob\n"
        "class Money:\n    cents = 5\n"
        "class MoneyBackend:\n"
        "    kind, format, payload, name = 'plug.money', 1, Blob, 'money'\n"
        "    def accepts(self, obj): return isinstance(obj, Money)\n"
        "    def encode(self, obj): return Blob(str(obj.cents).encode())\n"
        "    def decode(self, payload, format): return Money()\n"
    )
    info = tmp_path / "plug-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[omegaml.backends]\nplug.money = plug:MoneyBackend\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import plug; from omegaml import backends; "
        "print(backends.find(plug.Money(), 'data/').kind, backends.by_kind('plug.money').name, "
        "'money' in backends.names('data/'), 'money' in backends.names('models/'))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout == "plug.money money True False\n", done.stderr
