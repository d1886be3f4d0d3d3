"""Models: every put is a version, equal after a round trip, and loadable by another process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from omegaml import errors


def fitted(c: float = 1.0) -> LogisticRegression:
    X, y = load_iris(return_X_y=True, as_frame=True)
    return LogisticRegression(C=c, max_iter=500).fit(X, y)


def test_every_put_of_a_model_is_a_version(om: Any) -> None:
    for c in (0.1, 1.0, 10.0):
        om.models.put(fitted(c), "iris", tag=f"c{c:g}")
    assert om.models.get("iris").C == 10
    assert om.models.get("iris^").C == 1
    assert om.models.get("iris^^").C == 0.1
    assert om.models.get("iris@c0.1").C == 0.1
    assert om.models.get("iris@2").C == 1
    assert [v.version for v in om.models.versions("iris")] == [3, 2, 1]
    assert om.models.list() == ["iris"]


def test_a_promoted_version_is_what_get_returns(om: Any) -> None:
    om.models.put(fitted(0.1), "iris")
    om.models.put(fitted(1.0), "iris")
    om.models.promote("iris", 1, "prod")
    assert om.models.get("iris").C == 1
    assert om.models.get("iris@prod").C == 0.1
    om.models.promote("iris", "prod")
    assert om.models.get("iris").C == 0.1


@pytest.mark.parametrize("format", ["zstd", "joblib"])
def test_dropping_a_model_frees_all_its_versions(om: Any, format: str) -> None:
    for c in (0.1, 1.0):
        om.models.put(fitted(c), "iris", format=format)
    om.models.drop("iris")
    assert om.models.list(hidden=True) == []
    assert om.db["omegaml.files"].count_documents({}) == 0
    assert om.db["omegaml.chunks"].count_documents({}) == 0


def test_a_model_is_asked_by_another_process(om: Any, om_url: str) -> None:
    model = fitted()
    om.models.put(model, "iris")
    code = (
        "import omegaml as om, sys; from sklearn.datasets import load_iris;"
        "om.setup(mongo_url=sys.argv[1]); iris = load_iris(as_frame=True).data;"
        "print(om.models.get('iris').predict(iris).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code, om_url], capture_output=True, text=True, check=True)
    expected = model.predict(load_iris(as_frame=True).data)
    np.testing.assert_array_equal(np.array(eval(done.stdout)), expected)


def test_a_model_that_cannot_be_pickled_is_refused(om: Any) -> None:
    model = fitted()
    model.callback = lambda x: x
    with pytest.raises(errors.NotStorable):
        om.models.put(model, "iris")
    assert om.models.list() == []


def test_other_kinds_come_back_equal(om: Any) -> None:
    for value in ([1, "a", None], {"a": {"b": [1.5, True]}}, 42, "text", np.arange(6).reshape(2, 3)):
        om.datasets.put(value, "v")
        got = om.datasets.get("v")
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(got, value)
        else:
            assert got == value and type(got) is type(value), got
    assert om.datasets.list() == ["v"]
