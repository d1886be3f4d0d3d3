"""Grid searches that several workers share find what scikit-learn's own finds, whoever is killed."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from omegaml.errors import InvalidInput, Mismatch, OmegaError, TaskFailed
from tests.services.runtime_models import Slow
from tests.services.runtime_processes import RunnerProcess, start_runner, wait_for

__all__ = ["start_runner"]
pytestmark = pytest.mark.once

X, Y = load_iris(return_X_y=True)


def tasks_of(om: Any, action: str) -> list[dict[str, Any]]:
    return list(om.db["omegaml.tasks"].find({"action": action}))


@pytest.mark.parametrize(
    ("model", "grid", "options"),
    [
        (LogisticRegression(max_iter=300), {"C": [1e-4, 1e-2, 1.0, 10.0, 100.0]}, {"cv": 3}),
        (SVC(), [{"kernel": ["rbf"], "gamma": [0.1, 1.0, 10.0]}, {"kernel": ["linear"], "C": [1, 5]}], {}),
        (
            DecisionTreeClassifier(random_state=1),
            {"max_depth": [1, 2, 3, 3, 3], "max_features": [1, None]},
            {},
        ),
        (
            DecisionTreeClassifier(random_state=1),
            {"max_depth": [1, 2, -3, 4, -5]},  # two of them cannot be fitted
            {"scoring": ["accuracy", "f1_macro"], "refit": "f1_macro"},
        ),
    ],
)
def test_shared_out_it_finds_the_same(
    om: Any, start_runner: Callable[..., RunnerProcess], model: Any, grid: Any, options: dict[str, Any]
) -> None:
    want = GridSearchCV(model, grid, **options).fit(X, Y)
    om.models.put(model, "m")
    om.datasets.put(X, "x")
    om.datasets.put(Y, "y")
    start_runner("--slots", "2")
    for data in (("x", "y"), (X, Y)):
        found = om.runtime.model("m").gridsearch(*data, parameters=grid, async_=True, **options).get(60)
        assert found["best_params"] == want.best_params_ and found["best_score"] == want.best_score_
        metric = options.get("refit", "score")
        np.testing.assert_array_equal(
            [one["mean"] for one in found["tried"]], want.cv_results_[f"mean_test_{metric}"]
        )
        assert [one["params"] for one in found["tried"]] == want.cv_results_["params"]
        best = om.models.get("m")
        assert best.get_params() == want.best_estimator_.get_params()
        np.testing.assert_array_equal(best.predict(X), want.best_estimator_.predict(X))
        om.models.put(model, "m")
    assert tasks_of(om, "try"), "others did a part"
    wait_for(lambda: om.datasets.list(".temp/*", hidden=True) == [])


def test_where_none_can_be_fitted_the_model_says_why(om: Any, start_runner: Any) -> None:
    om.models.put(DecisionTreeClassifier(), "m")
    om.datasets.put(X, "x")
    om.datasets.put(Y, "y")
    start_runner("--slots", "2")
    for async_ in (False, True):
        with pytest.raises((TaskFailed, Mismatch, InvalidInput), match="max_depth"):
            answer = om.runtime.model("m").gridsearch(
                "x", "y", parameters={"max_depth": [-1, -2, -3, -4]}, async_=async_
            )
            answer.get(60)
    assert om.models.metadata("m").version == 1
    assert not [task for task in tasks_of(om, "try") if task["status"] in ("queued", "running")]


@pytest.mark.fault
def test_a_worker_that_is_killed_in_its_share_is_stood_in_for(om: Any, start_runner: Any) -> None:
    om.models.put(Slow(), "m")
    first = start_runner()
    found = om.runtime.model("m").gridsearch(
        [[1.0]] * 4, [1.0] * 4, parameters={"pause": [0.0, 0.5, 1.0, 1.5]}, cv=2, async_=True
    )
    wait_for(lambda: found.status == "running")
    second = start_runner()
    wait_for(lambda: [t for t in tasks_of(om, "try") if t["status"] == "running"] or found.done())
    for runner in (first, second):  # the one that has the whole in hand among them
        runner.kill()
    om.db["omegaml.runners"].delete_many({})
    start_runner("--slots", "2")
    assert found.get(90)["best_params"] == {"pause": 1.5} and om.models.metadata("m").version == 2


@pytest.mark.fault
def test_a_share_whose_worker_was_the_only_one_and_died_is_done_by_who_waits(
    om: Any, start_runner: Any
) -> None:
    om.models.put(Slow(), "m")
    runner = start_runner()
    grid = {"pause": [1.5, 1.6]}  # time enough for the runner to come
    with ThreadPoolExecutor(1) as pool:
        search = om.runtime.model("m").gridsearch
        found = pool.submit(search, [[1.0]] * 4, [1.0] * 4, parameters=grid, cv=2)
        wait_for(lambda: [task for task in tasks_of(om, "try") if task["status"] == "running"])
        runner.kill()
        om.db["omegaml.runners"].delete_many({})
        assert found.result(60)["best_params"] == {"pause": 1.6}
    assert tasks_of(om, "try") == []


@pytest.mark.fault
def test_shares_end_with_the_search_that_they_are_of(om: Any, start_runner: Any) -> None:
    om.models.put(Slow(), "m")
    start_runner()
    grid = {"pause": [20.0, 21.0]}
    search = om.runtime.model("m").gridsearch([[1.0]] * 4, [1.0] * 4, parameters=grid, cv=2, async_=True)
    wait_for(lambda: [task for task in tasks_of(om, "try") if task["status"] == "queued"])
    search.cancel()
    wait_for(lambda: {task["status"] for task in tasks_of(om, "try")} <= {"cancelled", "failed"}, 15)
    assert all(re.search("has ended|was cancelled", task["answer"]) for task in tasks_of(om, "try"))


@pytest.mark.fault
def test_who_is_at_a_share_stops_when_its_search_has_ended(om: Any, start_runner: Any) -> None:
    om.models.put(Slow(), "m")
    start_runner("--slots", "2")
    grid = {"pause": [60.0, 61.0]}
    search = om.runtime.model("m").gridsearch([[1.0]] * 4, [1.0] * 4, parameters=grid, cv=2, async_=True)
    wait_for(lambda: [task for task in tasks_of(om, "try") if task["status"] == "running"])
    search.cancel()
    wait_for(lambda: {task["status"] for task in tasks_of(om, "try")} <= {"cancelled", "failed"}, 15)
    assert om.models.metadata("m").version == 1


def test_nobody_waits_for_ever_where_all_are_busy_with_grid_searches(om: Any, start_runner: Any) -> None:
    om.models.put(LogisticRegression(max_iter=300), "m")
    om.datasets.put(X, "x")
    om.datasets.put(Y, "y")
    start_runner("--slots", "2")
    grid = {"C": [0.1, 1.0, 10.0, 100.0]}
    promises = [om.runtime.model("m").gridsearch("x", "y", parameters=grid, async_=True) for _ in range(4)]
    assert len({promise.get(120)["best_score"] for promise in promises}) == 1
    assert om.models.metadata("m").version == 5
    with pytest.raises(OmegaError):
        om.runtime.model("m").gridsearch("x", "nobody", parameters=grid)
