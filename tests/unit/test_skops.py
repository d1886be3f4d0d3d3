"""Skops files: estimators come back equal, and nothing hostile in a file is run."""

from __future__ import annotations

import copy
import io
import json
import operator
import os
import resource
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import skops.io
from sklearn import (
    calibration,
    cluster,
    compose,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_extraction,
    feature_selection,
    gaussian_process,
    impute,
    linear_model,
    mixture,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_iris
from sklearn.gaussian_process import kernels
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV

from omegaml import backends
from omegaml.backends import models
from omegaml.backends import skops as skopsfile
from omegaml.backends.base import Blob
from omegaml.backends.modelfile import HEAD, inspect, kind_of
from omegaml.backends.trusted import GROUPS, TRUSTED
from omegaml.errors import Corrupt, FormatTooNew, InvalidInput, NotStorable, OmegaError, Untrusted

pytestmark = pytest.mark.once

X, Y = load_iris(return_X_y=True)
FRAME = pd.DataFrame(X, columns=["a", "b", "c", "d"]).assign(kind=np.where(Y == 0, "small", "large"))
WORDS = ["red wine", "white wine", "red grapes", "white bread", "dark bread"] * 30

MIXED = compose.ColumnTransformer(
    [
        (
            "numbers",
            pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler()),
            ["a", "b"],
        ),
        ("kinds", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["kind"]),
    ]
)
# by what they are fitted on
ESTIMATORS: list[tuple[Any, Any]] = [
    (linear_model.LinearRegression(), X),
    (linear_model.LogisticRegression(max_iter=500), X),
    (linear_model.LogisticRegressionCV(max_iter=500, cv=3), X),
    (linear_model.RidgeCV(), X),
    (linear_model.Lasso(), X),
    (linear_model.SGDClassifier(random_state=0), X),
    (linear_model.SGDRegressor(random_state=0), X),
    (linear_model.PoissonRegressor(), X),
    (linear_model.TweedieRegressor(), X),
    (svm.SVC(), X),
    (svm.SVC(), sp.csr_matrix(X)),
    (svm.SVC(kernel="precomputed"), X @ X.T),
    (svm.NuSVR(), X),
    (svm.LinearSVC(), X),
    (svm.OneClassSVM(), X),
    (tree.DecisionTreeClassifier(), X),
    (tree.DecisionTreeRegressor(), np.where(X > 6, np.nan, X)),
    (ensemble.RandomForestClassifier(8), X),
    (ensemble.ExtraTreesRegressor(8), X),
    (ensemble.GradientBoostingClassifier(n_estimators=4), X),
    (ensemble.GradientBoostingRegressor(n_estimators=4), X),
    (ensemble.HistGradientBoostingClassifier(max_iter=4), np.where(X > 6, np.nan, X)),
    (ensemble.HistGradientBoostingRegressor(max_iter=4, loss="poisson"), X),
    (ensemble.AdaBoostClassifier(n_estimators=4), X),
    (ensemble.BaggingClassifier(n_estimators=4, max_features=2), X),
    (ensemble.IsolationForest(n_estimators=4, max_features=2), X),
    (ensemble.VotingClassifier([("t", tree.DecisionTreeClassifier()), ("n", naive_bayes.GaussianNB())]), X),
    (ensemble.StackingRegressor([("t", tree.DecisionTreeRegressor()), ("r", linear_model.Ridge())]), X),
    (neighbors.KNeighborsClassifier(), X),
    (neighbors.KNeighborsRegressor(metric="manhattan", algorithm="ball_tree"), X),
    (neighbors.KNeighborsClassifier(p=3, leaf_size=5), X),
    (neighbors.KNeighborsClassifier(), sp.csr_array(X)),
    (naive_bayes.MultinomialNB(), X),
    (discriminant_analysis.LinearDiscriminantAnalysis(), X),
    (gaussian_process.GaussianProcessRegressor(kernels.RBF() + kernels.WhiteKernel()), X[::5]),
    (gaussian_process.GaussianProcessClassifier(), X[::5]),
    (neural_network.MLPClassifier((4,), max_iter=20, random_state=0), X),
    (calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), cv=2), X),
    (cluster.KMeans(3, n_init=1, random_state=0), X),
    (cluster.BisectingKMeans(3, random_state=0), X),
    (mixture.GaussianMixture(3), X),
    (decomposition.PCA(2), X),
    (decomposition.TruncatedSVD(2), sp.csr_matrix(X)),
    (preprocessing.SplineTransformer(), X),
    (preprocessing.KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), X),
    (preprocessing.FunctionTransformer(np.log1p), X),
    (preprocessing.TargetEncoder(random_state=0), FRAME[["kind"]]),
    (feature_selection.SelectKBest(feature_selection.f_classif, k=2), X),
    (feature_extraction.text.TfidfVectorizer(), WORDS),
    (pipeline.make_pipeline(feature_extraction.text.CountVectorizer(), naive_bayes.MultinomialNB()), WORDS),
    (pipeline.make_pipeline(MIXED, ensemble.RandomForestClassifier(5)), FRAME),
    (pipeline.make_union(decomposition.PCA(1), feature_selection.SelectKBest(k=1)), X),
    (GridSearchCV(tree.DecisionTreeClassifier(), {"max_depth": [1, 2]}, cv=KFold(3, shuffle=True)), X),
    (GridSearchCV(svm.SVC(), {"C": [1, 2]}, scoring=make_scorer(f1_score, average="macro")), X),
    (RandomizedSearchCV(linear_model.Ridge(), {"alpha": [1, 2]}, n_iter=2, scoring="r2"), X),
]  # fmt: skip


def asked(model: Any, x: Any) -> np.ndarray:
    answer = (model.predict if hasattr(model, "predict") else model.transform)(x)
    return answer.toarray() if sp.issparse(answer) else np.asarray(answer)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model", "x"), ESTIMATORS, ids=lambda value: type(value).__name__)
def test_a_fitted_estimator_comes_back_and_answers_the_same(model: Any, x: Any) -> None:
    y = Y[::5] if hasattr(x, "shape") and x.shape[0] < len(Y) else Y
    model = copy.deepcopy(model).fit(x, y)
    backend = backends.find(model, "models/", "skops")
    blob = backend.encode(model)
    back = backend.decode(blob, 1)
    assert type(back) is type(model)
    np.testing.assert_array_equal(asked(back, x), asked(model, x))


def test_an_estimator_that_is_not_fitted_comes_back_to_be_fitted() -> None:
    model = pipeline.make_pipeline(MIXED, ensemble.HistGradientBoostingClassifier(max_iter=2))
    assert load(skops.io.dumps(model)).fit(FRAME, Y).score(FRAME, Y) > 0.8


def load(data: bytes) -> Any:
    return backends.by_kind("sklearn.skops").decode(Blob(data), 1)


# --- what is refused


class Own(TransformerMixin, BaseEstimator):
    """A transformer that is in no library."""

    def fit(self, x: Any, y: Any = None) -> Own:
        return self

    def transform(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize(
    ("part", "named"),
    [
        (Own(), "tests.unit.test_skops.Own"),
        (preprocessing.FunctionTransformer(os.system), "posix.system"),
        (preprocessing.FunctionTransformer(np.load), "numpy.load"),
        (preprocessing.FunctionTransformer(np.vectorize), "numpy.vectorize"),
        (preprocessing.FunctionTransformer(eval), "builtins.eval"),
        (preprocessing.FunctionTransformer(partial(np.log1p)), "functools.partial"),
        (preprocessing.FunctionTransformer(operator.methodcaller("fit")), "operator.methodcaller"),
        (preprocessing.FunctionTransformer(operator.attrgetter("x")), "operator.attrgetter"),
        (preprocessing.FunctionTransformer(Own().transform), "tests.unit.test_skops.Own"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_part_that_is_not_on_the_list_is_named(part: Any, named: str) -> None:
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), part)
    with pytest.raises(Untrusted, match=named.replace(".", r"\.")) as caught:
        load(skops.io.dumps(model))
    assert "trusted=[...]" in str(caught.value.hint)
    with pytest.raises(NotStorable, match=named.replace(".", r"\.")):
        backends.by_kind("sklearn.skops").encode(model)


def test_what_cannot_be_a_skops_file_is_said_when_it_is_put() -> None:
    categories = ensemble.HistGradientBoostingClassifier(max_iter=2, categorical_features=[0])
    for model, what in ((cluster.Birch(n_clusters=2), "Birch"), (categories, "functools.partial")):
        with pytest.raises(NotStorable, match=what):
            backends.by_kind("sklearn.skops").encode(model.fit(X, Y))


def state(loader: str, name: str, **more: Any) -> dict[str, Any]:
    module, _, cls = name.rpartition(".")
    return {"__loader__": loader, "__module__": module, "__class__": cls, **more}


def archive(schema: Any, files: dict[str, bytes] | None = None, protocol: Any = 2) -> bytes:
    """A skops file made by hand."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in (files or {}).items():
            file.writestr(name, data)
        file.writestr("schema.json", json.dumps({**schema, "protocol": protocol}))
    return out.getvalue()


def text(value: str) -> dict[str, Any]:
    return state("JsonNode", "builtins.str", content=json.dumps(value), is_json=True)


def items(loader: str, name: str, *content: Any) -> dict[str, Any]:
    return state(loader, name, content=list(content))


def mapping(name: str = "builtins.dict", **content: Any) -> dict[str, Any]:
    keys = items("ListNode", "builtins.list", *[state("TypeNode", "builtins.str") for _ in content])
    return state("DictNode", name, content=content, key_types=keys)


def attacks(canary: str) -> dict[str, dict[str, Any]]:
    """States that would make the file `canary`, were they loaded without a look."""
    touch = f"touch {canary}"
    arguments = items("TupleNode", "builtins.tuple", text(touch))
    opened = items("TupleNode", "builtins.tuple", text(canary), text("w"))
    nothing = mapping()
    system = state("FunctionNode", "os.system")
    pipe = "sklearn.pipeline.Pipeline"
    calls = items("ListNode", "builtins.list", system)
    return {
        "a constructor": state("ConstructorFromReduceNode", "os.system", content=arguments),
        "open": state("ConstructorFromReduceNode", "io.open", content=opened),
        "a process": state("ConstructorFromReduceNode", "subprocess.Popen", content=arguments),
        "partial": state(
            "PartialNode", "functools.partial",
            content={"func": system, "args": arguments, "kwds": nothing, "namespace": nothing},
        ),
        "methodcaller": state("OperatorFuncNode", "operator.methodcaller", attrs=arguments),
        "a method": state("MethodNode", pipe, content={"func": "fit", "obj": state("ObjectNode", pipe)}),
        "a loss": state("LossNode", "os.system", __reduce__={"args": arguments}, content=nothing),
        "a trusted loss of another kind": state(
            "LossNode", "numpy.max", __reduce__={"args": arguments}, content=nothing
        ),
        "a tree that is none": state(
            "TreeNode", "os.system", __reduce__={"args": arguments}, content=nothing
        ),
        "a list that is none": items("ListNode", "os.system", text(touch)),
        "a set that is none": items("SetNode", "os.system", text(touch)),
        "a dict that is none": mapping("os.system"),
        "keys that are calls": {**mapping(), "content": {touch: text("")}, "key_types": calls},
        "a default dict": state(
            "DefaultDictNode", "collections.defaultdict", content={"main": nothing, "default_factory": system}
        ),
        "a random state": state("RandomStateNode", "subprocess.Popen", content=nothing),
        "a generator": state(
            "RandomGeneratorNode",
            "numpy.random._generator.Generator",
            content={"bit_generator": mapping(bit_generator=text("seed")), "seed_seq": nothing},
        ),
        "an unknown loader": state("EvilNode", "os.system", content=arguments),
        "a loader that is no text": {**state("x", "os.system"), "__loader__": {"a": 1}},
        "an import": state("TypeNode", "antigravity.fly"),
        "in a pipeline": state("ObjectNode", pipe, content=mapping(steps=calls)),
    }  # fmt: skip


@pytest.mark.parametrize("name", attacks(""))
@pytest.mark.parametrize("protocol", [1, 2])
def test_a_hostile_file_is_refused_and_runs_nothing(tmp_path: Path, name: str, protocol: int) -> None:
    canary = tmp_path / "canary"
    data = archive(attacks(str(canary))[name], protocol=protocol)
    assert kind_of(data) == "sklearn.skops"
    inspect(data[:HEAD])
    with pytest.raises(OmegaError) as caught:
        load(data)
    assert isinstance(caught.value, Untrusted | Corrupt), caught.value
    assert not canary.exists()
    assert "antigravity" not in sys.modules


def test_the_same_attacks_work_where_nobody_looks(tmp_path: Path) -> None:
    """The canary is one: what is refused above does run once it is trusted."""
    canary = tmp_path / "canary"
    skops.io.loads(archive(attacks(str(canary))["a constructor"]), trusted=["os.system"])
    assert canary.exists()


def good(model: Any = None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The schema and the other files of a sound skops file."""
    data = skops.io.dumps(model or linear_model.LinearRegression().fit(X, Y))
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    return json.loads(members.pop("schema.json")), members


def test_a_file_of_a_later_protocol_says_what_to_upgrade() -> None:
    with pytest.raises(FormatTooNew, match="protocol 3") as caught:
        load(archive(*good(), protocol=3))
    assert "skops" in str(caught.value.hint)
    for protocol in (0, -1, True, None, "2", 2.0):
        with pytest.raises(InvalidInput, match="is not read"):
            load(archive(*good(), protocol=protocol))
    assert load(archive(*good())).predict(X).shape == (150,)


def test_a_damaged_file_is_refused() -> None:
    data = archive(*good())
    for length in (0, 4, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(Corrupt):
            load(data[:length])
    middle = len(data) // 3
    with pytest.raises(OmegaError):
        load(data[:middle] + b"\0" * 16 + data[middle + 16 :])
    schema, _ = good()
    with pytest.raises(Corrupt):
        load(archive(schema))
    for broken in ({}, {"a": 1}, state("ObjectNode", "sklearn.svm._classes.SVC", content=[])):
        with pytest.raises(Corrupt):
            load(archive(broken))


def test_files_in_folders_or_twice_are_refused(tmp_path: Path) -> None:
    schema, files = good()
    for name in ("../canary", "/tmp/canary", "a/b.npy", "..", "a\\b", ".hidden"):
        with pytest.raises(Corrupt):
            load(archive(schema, {**files, name: b"x"}))
    out = io.BytesIO(archive(schema, files))
    with zipfile.ZipFile(out, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("schema.json", json.dumps(schema))
    with pytest.raises(Corrupt):
        load(out.getvalue())


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    schema, files = good()
    array = next(name for name in files if name.endswith(".npy"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bomb = archive(schema, {**files, "zeros.bin": bytes(300 << 20)})
    assert len(bomb) < 1 << 20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Corrupt, match="far more"):
        load(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < max(peak, before) + 150_000  # KiB
    # one whose directory says that it is small
    at = bomb.index(b"PK\x01\x02", bomb.index(b"zeros.bin") + 100)
    central = bomb.index(b"zeros.bin", at) - 46
    lying = bomb[: central + 24] + (100).to_bytes(4, "little") + bomb[central + 28 :]
    with pytest.raises(Corrupt):
        load(lying)
    # an array that says that it is large
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with pytest.raises(Corrupt, match="array"):
        load(archive(schema, {**files, array: header.getvalue() + bytes(64)}))
    # an archive in the archive
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data.npy", bytes(100 << 20))
    sparse = state("SparseMatrixNode", "scipy.sparse._csr.csr_matrix", type="scipy", file="1.npz")
    with pytest.raises(Corrupt, match="far more"):
        load(archive(sparse, {"1.npz": inner.getvalue()}))


def test_one_array_is_not_read_without_end() -> None:
    array = io.BytesIO()
    np.save(array, np.zeros(1 << 17))
    part = state("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy")
    files = {"1.npy": array.getvalue()}
    assert len(load(archive(items("ListNode", "builtins.list", *[part] * 3), files))) == 3
    with pytest.raises(Corrupt, match="more memory"):
        load(archive(items("ListNode", "builtins.list", *[part] * 5000), files))


def test_arrays_with_pickles_in_them_are_refused(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {canary}",)

    pickled = io.BytesIO()
    np.save(pickled, np.array([Bomb()], dtype=object), allow_pickle=True)
    schema, files = good()
    array = next(name for name in files if name.endswith(".npy"))
    for data in (pickled.getvalue(), b"", b"PK\x03\x04", pickled.getvalue()[128:]):
        with pytest.raises(Corrupt):
            load(archive(schema, {**files, array: data}))
    npz = io.BytesIO()
    np.savez(npz, format=np.array([Bomb()], dtype=object))
    sparse = state("SparseMatrixNode", "scipy.sparse._csr.csr_matrix", type="scipy", file="1.npz")
    with pytest.raises(Corrupt):
        load(archive(sparse, {"1.npz": npz.getvalue()}))
    assert not canary.exists()


def test_an_id_that_means_two_things_is_refused() -> None:
    """Else what is looked at would not be what is made: of two parts with one id skops makes the first."""
    one, other = {**text("a"), "__id__": 7}, {**text("b"), "__id__": 7}
    assert load(archive(items("ListNode", "builtins.list", one, one))) == ["a", "a"]
    assert skops.io.loads(archive(items("ListNode", "builtins.list", one, other))) == ["a", "a"]
    with pytest.raises(Corrupt, match="one id"):
        load(archive(items("ListNode", "builtins.list", one, other)))


def test_a_random_generator_takes_no_more_memory_than_one_has() -> None:
    schema, files = good(HISTOGRAM)
    seed = schema["content"]["content"]["_feature_subsample_rng"]["content"]["seed_seq"]["content"]
    assert seed["pool_size"]["content"] == "4"
    seed["pool_size"] = {**text(""), "content": "1000000000000"}
    with pytest.raises(Corrupt, match="random generator"):
        load(archive(schema, files))


def test_a_file_that_is_nested_too_deeply_is_refused() -> None:
    inside: Any = text("x")
    for _ in range(3000):
        inside = {
            "__loader__": "ListNode",
            "__module__": "builtins",
            "__class__": "list",
            "content": [inside],
        }
    deep = '{"__loader__": "ListNode", "__module__": "builtins", "__class__": "list", "content": ['
    data = deep * 3000 + "]}" * 3000
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("schema.json", data)
    with pytest.raises(OmegaError):
        load(out.getvalue())


# --- what compiled code would follow


def changed(model: Any, change: Callable[[Any], None]) -> Any:
    """Load a model that was changed before it was written."""
    model = copy.deepcopy(model)
    change(model)
    return load(skops.io.dumps(model))


def nodes_of(tree_: Any, **values: Any) -> Any:
    """A tree with other numbers in its first node."""
    own = tree_.__getstate__()
    nodes = own["nodes"].copy()
    for field, value in values.items():
        nodes[field][0] = value
    other = type(tree_)(tree_.n_features, tree_.n_classes, tree_.n_outputs)
    other.__setstate__({**own, "nodes": nodes})
    return other


FOREST = ensemble.RandomForestClassifier(3, random_state=0).fit(X, Y)
BOOSTED = ensemble.GradientBoostingClassifier(n_estimators=2, random_state=0).fit(X, Y)
HISTOGRAM = ensemble.HistGradientBoostingClassifier(max_iter=2, random_state=0).fit(X, Y)
NEAR = neighbors.KNeighborsClassifier(algorithm="kd_tree").fit(X, Y)
VECTORS = svm.SVC().fit(X, Y)
SPARSE = svm.SVC().fit(sp.csr_matrix(X), Y)
MEANS = cluster.KMeans(3, n_init=1).fit(X)
CACHED = pipeline.make_pipeline(preprocessing.StandardScaler(), memory="cache")
NARROW = tree.DecisionTreeClassifier().fit(X[:, :2], Y)


def replace_tree(**values: Any) -> Callable[[Any], None]:
    def change(forest: Any) -> None:
        part = forest.estimators_[1]
        part = part if hasattr(part, "tree_") else part[0]
        part.tree_ = nodes_of(part.tree_, **values)

    return change


def search_tree(position: int, value: Callable[[Any], Any]) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        own = list(model._tree.__getstate__())
        own[position] = value(own[position])
        model._tree = model._tree.__class__.__new__(model._tree.__class__)
        model._tree.__setstate__(tuple(own))

    return change


def first_node(**values: Any) -> Callable[[Any], Any]:
    def change(nodes: Any) -> Any:
        nodes = np.array(nodes)
        for field, value in values.items():
            nodes[field][0] = value
        return nodes

    return change


def set_node(field: str, value: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model._predictors[0][0].nodes[field][0] = value

    return change


def attribute(name: str, value: Any) -> Callable[[Any], None]:
    return lambda model: setattr(model, name, value(model) if callable(value) else value)


def bad_indices(model: Any) -> None:
    model.support_vectors_.indices[0] = 10**6


@pytest.mark.parametrize(
    ("model", "change", "named"),
    [
        (FOREST, replace_tree(left_child=10**6), "Tree"),
        (FOREST, replace_tree(right_child=-7), "Tree"),
        (FOREST, replace_tree(left_child=0), "Tree"),
        (FOREST, replace_tree(feature=4), "Tree"),
        (FOREST, replace_tree(feature=-2), "Tree"),
        (FOREST, lambda m: m.estimators_.__setitem__(1, NARROW), "RandomForestClassifier"),
        (FOREST, lambda m: m.estimators_.__setitem__(1, linear_model.Ridge()), "RandomForestClassifier"),
        (FOREST, attribute("n_features_in_", 2), "RandomForestClassifier"),
        (NARROW, lambda m: delattr(m, "n_features_in_"), "DecisionTreeClassifier"),
        (NARROW, attribute("tree_", [1]), "DecisionTreeClassifier"),
        (NARROW, attribute("_validate_X_predict", lambda m: np.log1p), "DecisionTreeClassifier"),
        (BOOSTED, replace_tree(feature=99), "Tree"),
        (BOOSTED, attribute("estimators_", lambda m: m.estimators_[:, :2]), "GradientBoostingClassifier"),
        (BOOSTED, attribute("n_features_in_", 3), "GradientBoostingClassifier"),
        (HISTOGRAM, set_node("left", 10**6), "TreePredictor"),
        (HISTOGRAM, set_node("feature_idx", 4), "HistGradientBoostingClassifier"),
        (HISTOGRAM, set_node("is_categorical", 1), "HistGradientBoostingClassifier"),
        (NEAR, search_tree(1, lambda rows: rows + 10**6), "KDTree"),
        (NEAR, search_tree(2, first_node(idx_end=10**6)), "KDTree"),
        (NEAR, search_tree(3, lambda bounds: bounds[:, :1].copy()), "KDTree"),
        (NEAR, search_tree(6, lambda count: count + 100), "KDTree"),
        (VECTORS, attribute("_n_support", lambda m: m._n_support * 100), "SVC"),
        (VECTORS, attribute("_dual_coef_", lambda m: m._dual_coef_[:, :2].copy()), "SVC"),
        (VECTORS, attribute("_intercept_", lambda m: m._intercept_[:1].copy()), "SVC"),
        (VECTORS, attribute("support_vectors_", lambda m: m.support_vectors_[:, :2].copy()), "SVC"),
        (VECTORS, attribute("_sparse", 1), "SVC"),
        (SPARSE, attribute("_sparse", False), "SVC"),
        (SPARSE, bad_indices, "csr_matrix"),
        (MEANS, attribute("cluster_centers_", lambda m: m.cluster_centers_[:, :2].copy()), "KMeans"),
        (CACHED, lambda m: None, "Pipeline"),
    ],
)  # fmt: skip
def test_a_model_whose_numbers_lead_outside_it_is_refused(
    model: Any, change: Callable[[Any], None], named: str
) -> None:
    assert model is CACHED or load(skops.io.dumps(model))  # it is the change that is refused
    with pytest.raises(Corrupt, match=f"a {named} that is not in order"):
        changed(model, change)


# --- the list, and what a file is taken for


def test_each_name_is_on_the_list_once_and_is_there() -> None:
    names = [name for group in GROUPS for name in group.names]
    assert len(names) == len(set(names)) == len(TRUSTED)
    assert all(group.why for group in GROUPS)
    known = [name for name in names if not name.startswith("scipy._lib")]
    for module, _, attribute in (name.rpartition(".") for name in known):
        assert hasattr(import_module(module), attribute), (module, attribute)


def test_a_file_is_known_by_its_first_bytes() -> None:
    data = skops.io.dumps(linear_model.LinearRegression().fit(X, Y))
    assert kind_of(data[:HEAD]) == "sklearn.skops"
    assert inspect(data) == {"module": "sklearn.linear_model._base", "class": "LinearRegression"}
    assert kind_of(b"\x80\x05") == kind_of(b"PK\x03\x04") == kind_of(b"") == "sklearn.joblib"
    assert inspect(data[:200]) == {}


def test_where_no_model_is_loaded_no_skops_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_may_load", False)
    with pytest.raises(InvalidInput, match="not loaded here"):
        load(skops.io.dumps(linear_model.LinearRegression().fit(X, Y)))


def test_what_a_file_says_cannot_write_to_a_terminal() -> None:
    hostile = state("ObjectNode", "evil.\x1b[2J\nname", content=mapping())
    with pytest.raises(Untrusted) as caught:
        load(archive(hostile))
    assert str(caught.value).isprintable()
    assert skopsfile.about(archive(hostile))["class"].isprintable()
