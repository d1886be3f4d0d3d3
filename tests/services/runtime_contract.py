"""What every runtime keeps to. A test class for one runtime gives the fixture `runtime`, bound to `om`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression

from omegaml.errors import InvalidInput, Mismatch, NotFound, TaskFailed
from omegaml.runtime import Promise, Runtime, Task


class RuntimeContract:
    @pytest.fixture
    def iris(self, om: Any) -> Any:
        frame = load_iris(as_frame=True).frame
        om.datasets.put(frame, "iris")
        return frame

    @pytest.fixture
    def fitted(self, om: Any, iris: Any) -> LogisticRegression:
        model = LogisticRegression(max_iter=500).fit(iris.drop(columns="target"), iris["target"])
        om.models.put(model, "flowers")
        return model

    def test_it_is_a_runtime_and_its_promises_are_promises(self, runtime: Any) -> None:
        assert isinstance(runtime, Runtime)
        assert isinstance(runtime.submit(Task("ping")), Promise)

    def test_a_result_comes_back(self, runtime: Any, om: Any) -> None:
        om.models.put(LinearRegression().fit([[1.0], [2.0], [3.0]], [2.0, 4.0, 6.0]), "double")
        promise = runtime.submit(Task("predict", "models", "double", [[[1.0], [5.0]]]))
        np.testing.assert_allclose(promise.get(timeout=60), [2.0, 10.0])
        assert promise.done()
        assert promise.status == "done"

    def test_a_promise_carries_the_id_of_its_task(self, runtime: Any) -> None:
        task = Task("ping")
        assert runtime.submit(task).id == task.id

    def test_data_goes_by_name_with_projections(self, runtime: Any, om: Any, fitted: Any, iris: Any) -> None:
        task = Task("predict", "models", "flowers", ["iris[^target]"])
        np.testing.assert_array_equal(
            runtime.submit(task).get(60), fitted.predict(iris.drop(columns="target"))
        )

    def test_fit_stores_the_next_version(self, runtime: Any, om: Any, iris: Any) -> None:
        om.models.put(LogisticRegression(max_iter=500), "m")
        done = runtime.submit(Task("fit", "models", "m", ["iris[^target]", "iris[target]"])).get(60)
        assert done == {"model": "m", "version": 2, "kind": om.models.metadata("m").kind}
        assert om.models.get("m").score(iris.drop(columns="target"), iris["target"]) > 0.9
        assert not hasattr(om.models.get("m^"), "coef_")

    def test_a_trained_model_keeps_its_format(self, runtime: Any, om: Any, iris: Any) -> None:
        om.models.put(LogisticRegression(max_iter=500), "m", format="joblib")
        runtime.submit(Task("fit", "models", "m", ["iris[^target]", "iris[target]"])).get(60)
        assert om.models.metadata("m").kind == "sklearn.joblib"

    def test_a_result_can_be_stored(self, runtime: Any, om: Any, fitted: Any, iris: Any) -> None:
        task = Task("predict", "models", "flowers", ["iris[^target]"], result="answers")
        assert runtime.submit(task).get(60) == {"dataset": "answers"}
        np.testing.assert_array_equal(om.datasets.get("answers"), fitted.predict(iris.drop(columns="target")))

    def test_an_action_nobody_knows_is_refused_with_the_known_ones(self, runtime: Any) -> None:
        with pytest.raises(InvalidInput, match="predict_proba"):
            runtime.submit(Task("guess", "models", "m", [[[1]]])).get(60)

    def test_a_missing_model_or_dataset_is_not_found(self, runtime: Any, fitted: Any) -> None:
        with pytest.raises(NotFound, match="nobody"):
            runtime.submit(Task("predict", "models", "nobody", [[[1]]])).get(60)
        with pytest.raises(NotFound, match="nothing"):
            runtime.submit(Task("predict", "models", "flowers", ["nothing"])).get(60)

    def test_data_that_does_not_fit_names_the_column(self, runtime: Any, fitted: Any) -> None:
        with pytest.raises(Mismatch, match="'target'") as caught:
            runtime.submit(Task("predict", "models", "flowers", ["iris"])).get(60)
        assert caught.value.exit_code == 2
        with pytest.raises(Mismatch, match="petal width"):
            runtime.submit(Task("predict", "models", "flowers", ["iris[^target,petal width (cm)]"])).get(60)
        with pytest.raises(Mismatch, match="2 columns, fitted on 4"):
            runtime.submit(Task("predict", "models", "flowers", [[[1.0, 2.0]]])).get(60)

    def test_a_model_that_is_not_fitted_says_so(self, runtime: Any, om: Any, iris: Any) -> None:
        om.models.put(LogisticRegression(), "raw")
        with pytest.raises(Mismatch, match="not fitted") as caught:
            runtime.submit(Task("predict", "models", "raw", ["iris[^target]"])).get(60)
        assert "fit" in str(caught.value.hint)

    def test_an_error_in_the_model_has_its_traceback(self, runtime: Any, om: Any) -> None:
        om.models.put(LogisticRegression(), "m")
        promise = runtime.submit(Task("fit", "models", "m", [[[1.0], [2.0]], [0, 0]]))
        with pytest.raises(TaskFailed, match="ValueError") as caught:
            promise.get(60)
        assert "Traceback" in caught.value.details["traceback"]
        assert promise.status == "failed"

    def test_an_error_leaves_the_stored_model_as_it_was(self, runtime: Any, om: Any) -> None:
        om.models.put(LogisticRegression(), "m")
        with pytest.raises(TaskFailed):
            runtime.submit(Task("fit", "models", "m", [[[1.0], [2.0]], [0, 0]])).get(60)
        assert om.models.metadata("m").version == 1

    def test_a_task_is_json_and_nothing_else(self, runtime: Any) -> None:
        task = Task("predict", "models", "m", [[[1, 2]]], {"a": {"b": None}}, temporary=["x"])
        assert Task.from_json(task.to_json()) == task
        assert json.loads(task.to_json())["name"] == "m"
        with pytest.raises(InvalidInput, match="JSON"):
            Task("predict", "models", "m", [object()]).to_json()
