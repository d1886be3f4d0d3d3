"""On what terms tasks are carried out: retries, callbacks, progress, several together, linked data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression

from omegaml.errors import InvalidInput, Mismatch, NotFound, TaskFailed, TimedOut, Unavailable
from omegaml.runtime import actions
from tests.services.runtime_models import Flaky, Raiser, Reporter, Sleeper
from tests.services.runtime_processes import RunnerProcess, runner, start_runner, wait_for

__all__ = ["runner", "start_runner"]
pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "FIRST_PAUSE", 0.01)


@pytest.fixture
def iris(om: Any) -> Any:
    frame = load_iris(as_frame=True).frame
    om.datasets.put(frame, "iris")
    return frame


# --- retries


def test_a_model_that_fails_is_tried_again_as_often_as_was_said(om: Any, tmp_path: Path) -> None:
    om.models.put(Flaky(), "flaky")
    with pytest.raises(TaskFailed, match="not yet"):
        om.runtime.model("flaky").predict([[str(tmp_path / "a"), 3]])
    assert om.runtime.retry(2).model("flaky").predict([[str(tmp_path / "b"), 3]]) == 3
    with pytest.raises(TaskFailed, match="not yet"):
        om.runtime.retry(1).model("flaky").predict([[str(tmp_path / "c"), 3]])
    assert len((tmp_path / "c").read_text()) == 2


def test_what_would_fail_again_is_not_tried_again(om: Any, iris: Any, tmp_path: Path) -> None:
    om.models.put(Flaky(), "flaky")
    with pytest.raises(NotFound):
        om.runtime.retry(3).model("flaky").predict("nobody")
    om.models.put(LogisticRegression(), "m")
    with pytest.raises(Mismatch):
        om.runtime.retry(3).model("m").predict("iris")
    for times in (-1, 11, 1.5, "2", True):
        with pytest.raises(InvalidInput):
            om.runtime.retry(times)
    om.jobs.create("1", "job")
    with pytest.raises(InvalidInput, match="schedule"):
        om.runtime.retry(1).job("job").run()


def test_a_runner_tries_again_within_the_limit(om: Any, runner: Any, tmp_path: Path) -> None:
    om.models.put(Flaky(), "flaky")
    again = om.runtime.retry(1).model("flaky")
    assert again.predict([[str(tmp_path / "a"), 2]], async_=True).get(60) == 2
    limited = om.runtime.retry(9).model("flaky", limit=1.5)
    with pytest.raises(Exception, match=r"1\.5 seconds"):
        limited.predict([[str(tmp_path / "b"), 99]], async_=True).get(60)


# --- callbacks


def test_a_notebook_is_called_back_when_the_task_has_ended(om: Any, iris: Any, runner: Any) -> None:
    said = "import omegaml as om\nom.datasets.put([task, status, action, name, error], f'told-{name}')"
    om.jobs.create(said, "told")
    om.models.put(LogisticRegression(max_iter=300), "m")
    om.models.put(Raiser(), "bad")
    telling = om.runtime.callback(done="told", failed="told")
    trained = telling.model("m").fit("iris[^target]", "iris[target]")
    assert trained["version"] == 2
    failed = telling.model("bad").predict([[1]], async_=True)
    with pytest.raises(TaskFailed):
        failed.get(60)
    good, bad = (
        wait_for(lambda n=name: om.datasets.exists(n) and om.datasets.get(n))
        for name in ("told-m", "told-bad")
    )
    assert good[1:] == ["done", "fit", "m", None]
    assert bad[:4] == [failed.id, "failed", "predict", "bad"] and "bad" in bad[4]
    om.runtime.callback(failed="told").model("m").fit("iris[^target]", "iris[target]")
    wait_for(lambda: om.runtime.status()["tasks"]["running"] == 0)
    assert len(om.runtime.job("told").runs()) == 2
    with pytest.raises(NotFound):
        om.runtime.callback(done="nobody")


def test_who_is_to_be_called_back_needs_a_runner(om: Any) -> None:
    om.jobs.create("1", "told")
    with pytest.raises(Unavailable):
        om.runtime.callback(done="told").ping()
    assert om.runtime.status()["tasks"]["queued"] == 0


# --- progress


def test_a_task_says_how_far_it_is(om: Any, start_runner: Callable[..., RunnerProcess], om_url: str) -> None:
    start_runner("--slots", "2")
    om.models.put(Reporter(om_url), "reporter")
    om.jobs.create(
        "import time, omegaml as om\nom.runtime.progress(0.25, 'a quarter')\ntime.sleep(6)", "reporter"
    )
    for promise in (
        om.runtime.model("reporter").predict([[6.0]], async_=True),
        om.runtime.job("reporter").run(async_=True),
    ):
        found = wait_for(lambda p=promise: p.progress)
        assert (found.fraction, found.text) == (0.25, "a quarter") and promise.status == "running"
        promise.cancel()
    for wrong in (-0.1, 1.1, "half"):
        with pytest.raises(InvalidInput):
            om.runtime.progress(wrong)
    assert wait_for(lambda: om.runtime.promise(promise.id).status == "cancelled")


# --- several together


@pytest.mark.parametrize("async_", [False, True])
def test_tasks_are_done_at_the_same_time(om: Any, iris: Any, start_runner: Any, async_: bool) -> None:
    om.models.put(Sleeper(), "sleeper")
    om.models.put(LogisticRegression(max_iter=300), "m")
    om.jobs.create("1", "job")
    if async_:
        start_runner("--slots", "2")
    with om.runtime.parallel() as crt:
        asked = [
            crt.model("sleeper").predict([[0.5]]),
            crt.model("m").fit(iris.drop(columns="target"), iris.target),
            crt.job("job").run(),
        ]
    assert asked == [0, 1, 2]
    results = crt.run(async_=async_)
    results = [promise.get(60) for promise in results] if async_ else results
    assert results[0].tolist() == [0.5] and results[1]["version"] == 2 and results[2]["job"] == "job.ipynb"
    assert [run.status for run in om.runtime.job("job").runs()] == ["done"]
    wait_for(lambda: om.datasets.list(".temp/*", hidden=True) == [])


@pytest.mark.parametrize("async_", [False, True])
def test_tasks_are_done_one_after_the_other(om: Any, iris: Any, start_runner: Any, async_: bool) -> None:
    om.models.put(LogisticRegression(max_iter=300), "m")
    om.jobs.create("import omegaml as om\nom.datasets.put(om.datasets.get('said')[:3], 'few')", "job")
    if async_:
        start_runner()
    with om.runtime.sequence() as crt:
        crt.model("m").fit(iris.drop(columns="target"), iris.target)
        crt.model("m").predict(iris.drop(columns="target"), result="said")
        crt.job("job").run()
        crt.model("m").score("iris[^target]", "iris[target]")
    answer = crt.run(async_=async_)
    first, second, third, score = answer.get(60) if async_ else answer
    assert first["version"] == 2 and second == {"dataset": "said"} and third["job"] == "job.ipynb"
    assert len(om.datasets.get("few")) == 3 and score > 0.9
    wait_for(lambda: om.datasets.list(".temp/*", hidden=True) == [])


@pytest.mark.parametrize("async_", [False, True])
def test_a_sequence_ends_with_the_first_step_that_fails(om: Any, start_runner: Any, async_: bool) -> None:
    om.models.put(Raiser(), "bad")
    om.models.put(Sleeper(), "good")
    if async_:
        start_runner()
    crt = om.runtime.sequence()
    crt.model("good").predict([[0.0]], result="first")
    crt.model("bad").predict([[1]])
    crt.model("good").predict([[0.0]], result="last")
    with pytest.raises(TaskFailed, match="step 2 of 3") as caught:
        answer = crt.run(async_=async_)
        answer.get(60)
    assert caught.value.details["step"] == 2
    assert om.datasets.exists("first") and not om.datasets.exists("last")


def test_nothing_is_left_of_what_was_not_done(om: Any) -> None:
    om.models.put(Sleeper(), "m")
    large = np.zeros((200_000, 1))
    with pytest.raises(RuntimeError), om.runtime.parallel() as crt:
        crt.model("m").predict(large)
        raise RuntimeError
    assert om.datasets.list(".temp/*", hidden=True) == []
    with pytest.raises(InvalidInput):
        crt.run()
    crt.model("m").predict(large)
    with pytest.raises(Unavailable):
        crt.run(async_=True)
    assert om.datasets.list(".temp/*", hidden=True) == []


def test_runs_that_are_kept_and_not_begun_leave_no_record(om: Any) -> None:
    om.jobs.create("1", "job")
    with pytest.raises(RuntimeError), om.runtime.parallel() as crt:
        crt.job("job").run()
        raise RuntimeError
    for crt in (om.runtime.sequence(), om.runtime.parallel()):
        crt.job("job").run()
        assert om.runtime.job("job").runs() == []
        with pytest.raises(Unavailable):
            crt.run(async_=True)
    assert om.runtime.job("job").runs() == []


def test_a_sequence_that_is_left_to_others_calls_back_once(om: Any, iris: Any, runner: Any) -> None:
    om.jobs.create("import omegaml as om\nom.datasets.put([action, status], 'told')", "told")
    om.models.put(LogisticRegression(max_iter=300), "m")
    telling = om.runtime.callback(done="told")
    crt = telling.sequence()
    crt.model("m").fit("iris[^target]", "iris[target]")
    crt.model("m").predict("iris[^target]")
    assert len(crt.run(async_=True).get(60)[1]) == 150
    assert wait_for(lambda: om.datasets.exists("told") and om.datasets.get("told")) == ["sequence", "done"]
    assert len(om.runtime.job("told").runs()) == 1
    crt = om.runtime.sequence()
    crt.require("default").callback(done="told").model("m").predict("iris[^target]")
    with pytest.raises(InvalidInput, match="together"):
        crt.run(async_=True)


def test_a_sequence_that_is_left_to_others_keeps_label_and_limits(om: Any, start_runner: Any) -> None:
    om.models.put(Sleeper(), "m")
    om.jobs.create("1", "job")
    start_runner("--label", "gpu", "--label", "default")
    crt = om.runtime.sequence()
    crt.require("gpu").job("job", limit=20).run()
    crt.require("gpu").model("m", limit=0.5).predict([[0.0]])
    first, second = crt.run(async_=True).get(60)
    assert first["job"] == "job.ipynb" and second.tolist() == [0.0]
    crt.require("gpu").model("m", limit=0.5).predict([[30.0]])
    crt.require("gpu").model("m", limit=0.5).predict([[30.0]])
    with pytest.raises(TimedOut, match="1 s"):
        crt.run(async_=True).get(60)
    crt.require("gpu").model("m", limit=1).predict([[0.0]])
    crt.require("gpu").model("m").predict([[0.0]])
    promise = crt.run(async_=True)
    promise.get(60)
    task = json.loads(om.db["omegaml.tasks"].find_one({"_id": promise.id})["task"])
    assert (task["label"], task["limit"]) == ("gpu", None)
    crt.require("gpu").model("m").predict([[0.0]])
    crt.model("m").predict(np.zeros((200_000, 1)))
    with pytest.raises(InvalidInput, match="default, gpu"):
        crt.run(async_=True)
    assert om.datasets.list(".temp/*", hidden=True) == []


def test_runs_in_parallel_are_written_down_while_they_wait(om: Any, start_runner: Any) -> None:
    om.models.put(Sleeper(), "m")
    om.jobs.create("1", "job")
    start_runner()
    crt = om.runtime.parallel()
    crt.model("m").predict([[3.0]])
    crt.job("job").run()
    promises = crt.run(async_=True)
    assert [(run.id, run.status) for run in om.runtime.job("job").runs()] == [(promises[1].id, "queued")]
    assert promises[1].get(60)["run"] == promises[1].id
    assert [run.status for run in om.runtime.job("job").runs()] == ["done"]


# --- the dataset that a model is linked to


def test_a_star_is_the_dataset_that_the_model_is_linked_to(om: Any, iris: Any, cli: Any) -> None:
    om.models.put(LogisticRegression(max_iter=300), "m")
    with pytest.raises(InvalidInput, match="linked to no dataset"):
        om.runtime.model("m").predict("*")
    om.models.link("m", "iris[^target]", "iris[target]")
    om.runtime.model("m").fit("*", "*")
    want = om.models.get("m").predict(iris.drop(columns="target"))
    np.testing.assert_array_equal(om.runtime.model("m").predict("*"), want)
    assert om.runtime.model("m").score("*", "*") > 0.9
    assert len(json.loads(cli.ok("models", "predict", "m", "*", "--json"))["data"]) == len(iris)
    om.models.put(LinearRegression(), "other")
    om.runtime.model("other").fit("iris[^target]", "iris[target]")
    assert len(om.runtime.model("other").predict("*")) == len(iris), "what it was trained on"
    om.runtime.model("other").fit(iris.drop(columns="target"), iris.target)
    with pytest.raises(InvalidInput, match="linked to no dataset"):
        om.runtime.model("other").predict("*")
    with pytest.raises(NotFound):
        om.models.link("nobody", "iris")
    with pytest.raises(InvalidInput):
        om.models.link("m", None)
