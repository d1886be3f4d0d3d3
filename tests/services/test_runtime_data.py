"""Data that models are trained on and asked with: every form of it, and what is said of what does not fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from omegaml.errors import Mismatch, NotFound, NotStorable

COLUMNS = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.fixture
def frame(om: Any) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    made = pd.DataFrame(rng.normal(size=(30, 3)), columns=COLUMNS)
    made["y"] = (made["a"] > made["b"]).astype(int)
    made["name"] = made["y"].map({0: "nö", 1: "yes"})
    om.datasets.put(made, "data")
    return made


@pytest.fixture
def asked(om: Any, frame: pd.DataFrame) -> Any:
    """A runtime model that was fitted on the frame's columns."""
    om.models.put(LogisticRegression(), "m")
    om.runtime.model("m").fit("data[a,b,c]", "data[y]")
    return om.runtime.model("m")


FORMS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "frame": lambda x: x,
    "other order": lambda x: x[["c", "a", "b"]],
    "array": lambda x: x.to_numpy(),
    "list": lambda x: x.to_numpy().tolist(),
    "tuples": lambda x: tuple(map(tuple, x.to_numpy().tolist())),
    "columns": lambda x: x.to_dict("list"),
    "records": lambda x: x.to_dict("records"),
    "index": lambda x: x.set_index(pd.date_range("2026", periods=len(x))),
}


@pytest.mark.parametrize("form", FORMS)
def test_x_comes_in_any_form(asked: Any, om: Any, frame: pd.DataFrame, form: str) -> None:
    expected = om.models.get("m").predict(frame[COLUMNS])
    np.testing.assert_array_equal(asked.predict(FORMS[form](frame[COLUMNS])), expected)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_tables_of_other_libraries_train_and_ask(om: Any, frame: pd.DataFrame, library: str) -> None:
    made = pytest.importorskip(library)
    convert = made.from_pandas if library == "polars" else made.Table.from_pandas
    om.models.put(LogisticRegression(), "m")
    model = om.runtime.model("m")
    model.fit(convert(frame[COLUMNS]), convert(frame[["y"]]))
    assert list(om.models.get("m").feature_names_in_) == COLUMNS
    assert len(model.predict(convert(frame[["b", "c", "a"]]))) == 30
    om.datasets.put(convert(frame[COLUMNS]), "other")
    assert len(model.predict("other")) == 30


@pytest.mark.parametrize("y", ["data[y]", "frame", "array", "list", "series"])
def test_y_of_one_column_is_a_vector_however_it_comes(om: Any, frame: pd.DataFrame, y: str) -> None:
    given = {"frame": frame[["y"]], "array": frame[["y"]].to_numpy(), "series": frame["y"]}
    om.models.put(RandomForestClassifier(3, random_state=1), "m")
    om.runtime.model("m").fit("data[a,b,c]", {**given, "list": [[v] for v in frame["y"]]}.get(y, y))
    assert om.runtime.model("m").predict("data[a,b,c]").shape == (30,)


def test_a_model_fitted_without_names_is_asked_with_a_frame(om: Any, frame: pd.DataFrame) -> None:
    om.models.put(LogisticRegression(), "m")
    om.runtime.model("m").fit(frame[COLUMNS].to_numpy(), frame["y"])
    assert len(om.runtime.model("m").predict("data[a,b,c]")) == 30
    with pytest.raises(Mismatch, match="2 columns, fitted on 3"):
        om.runtime.model("m").predict("data[a,b]")


def test_columns_that_do_not_fit_are_named(asked: Any, frame: pd.DataFrame) -> None:
    x = frame[COLUMNS]
    with pytest.raises(Mismatch, match="misses 'b'") as caught:
        asked.predict(x.drop(columns="b"))
    assert (caught.value.exit_code, caught.value.details["missing"]) == (2, ["b"])
    with pytest.raises(Mismatch, match="has 'z' which it was not fitted on"):
        asked.predict(x.assign(z=1))
    with pytest.raises(Mismatch, match="misses 'c' and has 'd'"):
        asked.predict(x.rename(columns={"c": "d"}))
    with pytest.raises(Mismatch, match="'a' more than once"):
        asked.predict(x.iloc[:, [0, 0, 1, 2]])
    with pytest.raises(NotFound, match="'zz'"):
        asked.predict("data[a,zz]")


BAD: dict[str, tuple[Callable[[pd.DataFrame], Any], str]] = {
    "missing": (lambda x: x.assign(b=np.nan), "column 'b' has missing"),
    "missing in a list": (lambda x: [[1.0, None, 2.0]], "column 'b' has missing"),
    "missing integers": (lambda x: x.assign(b=pd.array([None] * 30, "Int64")), "column 'b' has missing"),
    "infinite": (lambda x: x.assign(a=np.inf), "column 'a' has values that are infinite"),
    "text": (lambda x: x.assign(c="fat"), "column 'c' holds text, not numbers: 'fat'"),
    "categories": (lambda x: x.assign(c=pd.Categorical(["u"] * 30)), "column 'c' holds text"),
    "times": (lambda x: x.assign(c=pd.Timestamp("2026")), "column 'c' holds times"),
    "lists": (lambda x: x.assign(c=[[1]] * 30), "column 'c' holds values of type object"),
    "no rows": (lambda x: x.head(0), "X has no rows"),
    "a row": (lambda x: [1.0, 2.0, 3.0], "one dimension"),
    "a column": (lambda x: x["a"], "one dimension"),
    "ragged": (lambda x: [[1.0, 2.0, 3.0], [1.0]], "not all of one length"),
    "ragged columns": (lambda x: {"a": [1.0], "b": [1.0, 2.0]}, "not all of one length"),
}


@pytest.mark.parametrize("case", BAD)
def test_data_of_which_no_model_makes_sense_says_why(
    asked: Any, om: Any, frame: pd.DataFrame, case: str
) -> None:
    make, said = BAD[case]
    with pytest.raises(Mismatch, match=said) as caught:
        asked.predict(make(frame[COLUMNS]))
    assert caught.value.exit_code == 2


def test_what_training_needs_is_said(asked: Any, om: Any, frame: pd.DataFrame) -> None:
    x, y = frame[COLUMNS], frame["y"]
    for action in ("fit", "gridsearch"):
        how = {"parameters": {"C": [1.0]}, "cv": 2} if action == "gridsearch" else {}
        with pytest.raises(Mismatch, match="30 rows and Y has 2"):
            asked.call(action, x, [0, 1], **how)
        with pytest.raises(Mismatch, match="needs X"):
            asked.call(action, **how)
    with pytest.raises(Mismatch, match="needs Y"):
        asked.fit(x)
    with pytest.raises(Mismatch, match="Y has missing"):
        asked.fit(x, y.astype(float).where(y > 0))
    assert om.models.metadata("m").version == 2


def test_only_the_column_that_is_wrong_is_named_where_others_hold_text_rightly(
    om: Any, frame: pd.DataFrame
) -> None:
    columns = make_column_transformer((OneHotEncoder(), ["name"]), remainder="passthrough")
    om.models.put(make_pipeline(columns, LinearRegression()), "pipe")
    model = om.runtime.model("pipe")
    model.fit("data[a,name]", "data[c]")
    with pytest.raises(Mismatch, match="column 'a' holds text, not numbers: 'thirty'"):
        model.predict(frame[["a", "name"]].assign(a="thirty"))
    with pytest.raises(Mismatch, match="unknown categories"):
        model.predict(frame[["a", "name"]].assign(name="never seen"))
    assert model.predict([[1.0, "yes"]]).shape == (1,)  # by position, though it chooses columns by name


def test_pipelines_and_labels_of_text(om: Any, frame: pd.DataFrame) -> None:
    om.models.put(make_pipeline(StandardScaler(), LogisticRegression()), "pipe")
    model = om.runtime.model("pipe")
    model.fit("data[a,b,c]", "data[name]")
    assert set(model.predict("data[c,b,a]")) == {"nö", "yes"}
    assert model.predict_proba("data[a,b,c]").shape == (30, 2)
    assert model.decision_function("data[a,b,c]").shape == (30,)
    assert model.score("data[a,b,c]", "data[name]") > 0.8
    model.predict("data[a,b,c]", result="labels")
    assert set(om.datasets.get("labels")) == {"nö", "yes"}


def test_documents_are_taken_from_a_dataset_by_name(om: Any) -> None:
    docs = pd.DataFrame({"text": ["good day", "bad day", "good", "bad"], "label": ["g", "b", "g", "b"]})
    om.datasets.put(docs, "docs")
    om.models.put(make_pipeline(TfidfVectorizer(), LogisticRegression()), "mood")
    model = om.runtime.model("mood")
    model.fit("docs[text]", "docs[label]")
    assert model.predict(["good"]).tolist() == ["g"]
    assert model.predict("docs[text]").tolist() == docs["label"].tolist()
    om.models.put(make_pipeline(DictVectorizer(), LogisticRegression()), "dicts")
    om.runtime.model("dicts").fit([{"a": "x"}, {"a": "y"}], [0, 1])
    assert om.runtime.model("dicts").predict([{"a": "y"}]).tolist() == [1]


def test_clusterers_need_no_y_and_many_outputs_are_answered(om: Any, frame: pd.DataFrame) -> None:
    om.models.put(KMeans(2, random_state=1, n_init=1), "groups")
    groups = om.runtime.model("groups")
    groups.fit("data[a,b]")
    assert groups.predict("data[b,a]").shape == (30,)
    assert groups.transform("data[a,b]").shape == (30, 2)
    assert groups.score("data[a,b]") < 0
    om.models.put(LinearRegression(), "both")
    om.runtime.model("both").fit("data[a]", "data[b,c]")
    assert om.runtime.model("both").predict("data[a]").shape == (30, 2)
    om.models.put(RandomForestClassifier(2, random_state=1), "forest")
    om.runtime.model("forest").fit("data[a,b]", frame[["y", "name"]].assign(y=frame["y"].astype(str)))
    assert [p.shape for p in om.runtime.model("forest").predict_proba("data[a,b]")] == [(30, 2)] * 2


def test_sparse_matrices_go_in_and_come_out(om: Any, frame: pd.DataFrame) -> None:
    om.models.put(OneHotEncoder().fit(frame[["name"]]), "encoder")
    given = om.runtime.model("encoder").transform("data[name]")
    assert sparse.issparse(given)
    om.models.put(LogisticRegression(), "m")
    om.runtime.model("m").fit(given, "data[y]")
    np.testing.assert_array_equal(om.runtime.model("m").predict(given), frame["y"])
    with pytest.raises(NotStorable, match="result of transform") as caught:
        om.runtime.model("encoder").transform("data[name]", result="codes")
    assert "leave `result` out" in str(caught.value.hint)


def test_data_and_models_are_taken_by_version(om: Any, frame: pd.DataFrame) -> None:
    om.datasets.put(frame, "kept", keep_versions=True)
    om.datasets.put(frame.head(5), "kept")
    om.models.put(LogisticRegression(), "m", tag="raw")
    om.runtime.model("m").fit("kept@1[a,b,c]", "kept@1[y]")
    assert len(om.runtime.model("m").predict("kept[a,b,c]")) == 5
    assert len(om.runtime.model("m").predict("kept@1[a,b,c]")) == 30
    for name in ("m^", "m@raw"):
        with pytest.raises(Mismatch, match="not fitted"):
            om.runtime.model(name).predict("kept[a,b,c]")
    assert om.runtime.model("m@raw").fit("kept[a,b,c]", "kept[y]")["version"] == 3
