"""The local runtime: in this process, in child processes, and through a real runner process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, Ridge, SGDRegressor
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from omegaml.errors import ConfigInvalid, InvalidInput, Mismatch, NotFound, TaskFailed, TimedOut, Unavailable
from omegaml.omega import Omega
from omegaml.runtime import Task, connect
from omegaml.runtime.local import LocalRuntime
from omegaml.runtime.runner import read_config
from omegaml.runtime.tasks import Tasks
from tests.services.runtime_contract import RuntimeContract
from tests.services.runtime_models import Killer, Leaver, Sleeper

ROOT = Path(__file__).parent.parent.parent


def stored(om: Any) -> list[str]:
    """Names of everything in the database's datasets, hidden ones too, and its data chunks and files."""
    names = om.datasets.list(hidden=True)
    for collection in ("omegaml.frames", "omegaml.files", "omegaml.chunks"):
        names += [f"{collection} {doc['_id']}" for doc in om.db[collection].find({}, {"_id": 1})]
    return sorted(names)


def wait_for(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} seconds")


class TestInProcess(RuntimeContract):
    @pytest.fixture
    def runtime(self, om: Any) -> LocalRuntime:
        return LocalRuntime(om)


class RunnerProcess:
    def __init__(self, url: str, path: Path, *options: str) -> None:
        self.config = path / "runner.yml"
        self.config.write_text(yaml.safe_dump({"OMEGA_MONGO_URL": url}))
        self.config.chmod(0o600)
        self.log = path / "runner.log"
        command = [sys.executable, "-m", "omegaml.runtime.runner", "--config", str(self.config), *options]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=env, start_new_session=True)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


@pytest.fixture
def start_runner(om: Any, om_url: str, tmp_path: Path) -> Iterator[Callable[..., RunnerProcess]]:
    started: list[RunnerProcess] = []

    def start(*options: str) -> RunnerProcess:
        before = len(om.runtime.status()["runners"])
        runner = RunnerProcess(om_url, tmp_path, *options)
        started.append(runner)
        wait_for(lambda: len(om.runtime.status()["runners"]) > before)
        return runner

    yield start
    for runner in started:
        if runner.process.poll() is None:
            runner.process.kill()
            runner.process.wait(30)


@pytest.fixture
def runner(start_runner: Any) -> RunnerProcess:
    return start_runner()


class TestThroughTheRunner(RuntimeContract):
    @pytest.fixture
    def runtime(self, om: Any, runner: RunnerProcess) -> Any:
        class Queued(LocalRuntime):
            submit = LocalRuntime.enqueue

        return Queued(om)


@pytest.fixture
def diabetes(om: Any) -> pd.DataFrame:
    frame = load_diabetes(as_frame=True).frame
    om.datasets.put(frame, "diabetes")
    return frame


@pytest.fixture
def fitted(om: Any, diabetes: pd.DataFrame) -> LinearRegression:
    model = LinearRegression().fit(diabetes.drop(columns="target"), diabetes["target"])
    om.models.put(model, "sugar")
    return model


# --- the facade, waiting


def test_a_stored_model_is_trained_and_asked_by_name(om: Any, diabetes: pd.DataFrame) -> None:
    om.models.put(LinearRegression(), "sugar")
    model = om.runtime.model("sugar")
    assert model.fit("diabetes[^target]", "diabetes[target]")["version"] == 2
    predicted = model.predict("diabetes[^target]")
    assert predicted.shape == (len(diabetes),)
    assert 0.5 < model.score("diabetes[^target]", "diabetes[target]") < 0.6


def test_values_are_taken_as_frames_arrays_and_lists(om: Any, fitted: Any, diabetes: pd.DataFrame) -> None:
    x = diabetes.drop(columns="target")
    model = om.runtime.model("sugar")
    expected = fitted.predict(x)
    for given in (x, x.to_numpy(), x.to_numpy().tolist(), pd.concat([x] * 60)):
        np.testing.assert_allclose(model.predict(given)[: len(x)], expected)


def test_a_thousand_predictions_leave_nothing_behind(om: Any, fitted: Any, diabetes: pd.DataFrame) -> None:
    x = diabetes.drop(columns="target")
    model = om.runtime.model("sugar")
    model.predict(x)
    before = stored(om)
    for _ in range(1000):
        model.predict(x.head(1))
    assert stored(om) == before


def test_a_large_value_leaves_nothing_behind_even_if_the_model_fails(
    om: Any, fitted: Any, diabetes: pd.DataFrame
) -> None:
    large = pd.concat([diabetes.drop(columns="target")] * 200, ignore_index=True)
    before = stored(om)
    assert len(om.runtime.model("sugar").predict(large)) == len(large)
    with pytest.raises(Mismatch, match="misses 's6'"):
        om.runtime.model("sugar").predict(large.drop(columns="s6"))
    with pytest.raises(NotFound, match="nobody"):
        om.runtime.model("nobody").predict(large)
    assert stored(om) == before


def test_partial_fit_goes_on_from_the_stored_model(om: Any, diabetes: pd.DataFrame) -> None:
    om.models.put(SGDRegressor(random_state=1), "sgd")
    expected = SGDRegressor(random_state=1)
    for version in (2, 3):
        assert (
            om.runtime.model("sgd").partial_fit("diabetes[^target]", "diabetes[target]")["version"] == version
        )
        expected.partial_fit(diabetes.drop(columns="target"), diabetes["target"])
    np.testing.assert_allclose(om.models.get("sgd").coef_, expected.coef_)


def test_transform_returns_what_the_model_returns(om: Any, diabetes: pd.DataFrame) -> None:
    x = diabetes.drop(columns="target")
    om.models.put(StandardScaler(), "scaler")
    om.runtime.model("scaler").fit("diabetes[^target]")
    np.testing.assert_allclose(om.runtime.model("scaler").transform(x), StandardScaler().fit_transform(x))
    om.models.put(OneHotEncoder().fit([["a"], ["b"]]), "onehot")
    assert om.runtime.model("onehot").transform([["b"]]).toarray().tolist() == [[0.0, 1.0]]


def test_gridsearch_stores_the_best_and_says_what_it_tried(om: Any, diabetes: pd.DataFrame) -> None:
    om.models.put(Ridge(), "ridge")
    found = om.runtime.model("ridge").gridsearch(
        "diabetes[^target]", "diabetes[target]", parameters={"alpha": [0.1, 1000.0]}, cv=3
    )
    assert found["best_params"] == {"alpha": 0.1}
    assert [t["params"] for t in found["tried"]] == [{"alpha": 0.1}, {"alpha": 1000.0}]
    assert found["version"] == 2
    assert om.models.get("ridge").alpha == 0.1


def test_an_older_version_answers_as_it_did(om: Any, fitted: Any, diabetes: pd.DataFrame) -> None:
    x = diabetes.drop(columns="target")
    om.runtime.model("sugar").fit(x, np.zeros(len(x)))
    np.testing.assert_allclose(om.runtime.model("sugar").predict(x), 0, atol=1e-9)
    np.testing.assert_allclose(om.runtime.model("sugar^").predict(x), fitted.predict(x))


def test_a_bucket_has_its_own_models_and_data(om: Any, fitted: Any) -> None:
    with pytest.raises(NotFound, match="other"):
        om["other"].runtime.model("sugar").predict([[0.0] * 10])


def test_what_a_model_cannot_do_names_what_it_can(om: Any, fitted: Any) -> None:
    with pytest.raises(Mismatch, match="no predict_proba") as caught:
        om.runtime.model("sugar").predict_proba([[0.0] * 10])
    assert "predict" in str(caught.value.hint)


def test_text_and_missing_values_name_their_column(om: Any, fitted: Any, diabetes: pd.DataFrame) -> None:
    x = diabetes.drop(columns="target")
    with pytest.raises(Mismatch, match="'bmi' holds text"):
        om.runtime.model("sugar").predict(x.assign(bmi="fat"))
    with pytest.raises(Mismatch, match="'bp' has missing"):
        om.runtime.model("sugar").predict(x.assign(bp=np.nan))
    with pytest.raises(Mismatch, match="other order"):
        om.runtime.model("sugar").predict(x[x.columns[::-1]])
    with pytest.raises(Mismatch, match="442 rows and Y has 3"):
        om.runtime.model("sugar").fit(x, [1, 2, 3])


def test_a_model_that_exits_does_not_end_this_process(om: Any) -> None:
    om.models.put(Leaver(), "leaver")
    with pytest.raises(TaskFailed, match="SystemExit"):
        om.runtime.model("leaver").predict([[1]])


def test_many_are_asked_in_parallel_in_order(om: Any, fitted: Any, diabetes: pd.DataFrame) -> None:
    x = diabetes.drop(columns="target")
    before = stored(om)
    large = pd.concat([x] * 100, ignore_index=True)
    results = om.runtime.model("sugar").map("predict", [x.head(1), "diabetes[^target]", large], processes=2)
    assert [len(r) for r in results] == [1, 442, 44200]
    np.testing.assert_allclose(results[1], fitted.predict(x))
    assert stored(om) == before


def test_a_child_that_is_killed_fails_its_task_only(om: Any, fitted: Any) -> None:
    om.models.put(Killer(), "killer")
    tasks = [Task("predict", "models", "killer", [[[1]]]), Task("predict", "models", "sugar", [[[0.0] * 10]])]
    bad, good = om.runtime.map(tasks, processes=1)
    with pytest.raises(TaskFailed, match="SIGKILL"):
        bad.get()
    assert good.get().shape == (1,)
    with pytest.raises(InvalidInput, match="parallel"):
        om.runtime.model("sugar").map("fit", [[[1]]])


def test_a_runtime_that_is_not_there_is_named(om: Any) -> None:
    with pytest.raises(InvalidInput, match="'telepathy'"):
        connect(om, "telepathy")


# --- later, through the runner


def test_without_a_runner_nothing_is_queued(om: Any, fitted: Any, diabetes: pd.DataFrame) -> None:
    before = stored(om)
    with pytest.raises(Unavailable) as caught:
        om.runtime.model("sugar").predict(pd.concat([diabetes] * 200), async_=True)
    assert "omegacli cluster up" in str(caught.value.hint)
    assert caught.value.exit_code == 7
    assert stored(om) == before
    assert sum(om.runtime.status()["tasks"].values()) == 0


def test_a_result_is_read_by_its_id_in_another_process(
    om: Any, om_url: str, fitted: Any, runner: Any
) -> None:
    promise = om.runtime.model("sugar").score("diabetes[^target]", "diabetes[target]", async_=True)
    code = "import sys; from omegaml.omega import Omega; om = Omega(mongo_url=sys.argv[1]); "
    code += "print(om.runtime.result(sys.argv[2], 60))"
    run = subprocess.run(
        [sys.executable, "-c", code, om_url, promise.id], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) == pytest.approx(promise.get(60))
    assert om.runtime.ping(async_=True)["pid"] != os.getpid()
    assert om.runtime.status()["tasks"]["done"] == 2


def test_large_values_of_queued_tasks_are_dropped_and_large_results_kept(
    om: Any, fitted: Any, diabetes: pd.DataFrame, runner: Any
) -> None:
    large = pd.concat([diabetes.drop(columns="target")] * 200, ignore_index=True)
    promise = om.runtime.model("sugar").predict(large, async_=True)
    for _ in range(2):
        assert promise.get(60).shape == (len(large),)
    wait_for(lambda: len(om.datasets.list(".temp/*", hidden=True)) == 1)
    assert set(om.datasets.list(".temp/*", hidden=True)) == om_tasks(om).in_use()


def om_tasks(om: Any) -> Tasks:
    return Tasks(om.db)


def test_a_task_that_kills_its_process_is_reported_and_the_runner_lives(om: Any, runner: Any) -> None:
    om.models.put(Killer(), "killer")
    with pytest.raises(TaskFailed, match="SIGKILL"):
        om.runtime.model("killer").predict([[1]], async_=True).get(60)
    assert om.runtime.ping(async_=True, timeout=60)["message"] == "pong"
    assert runner.process.poll() is None


def test_waiting_too_long_says_how_to_get_the_result_later(om: Any, runner: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    promise = om.runtime.model("sleeper").predict([[2.0]], async_=True)
    with pytest.raises(TimedOut, match=promise.id):
        promise.get(0.2)
    assert promise.get(60).tolist() == [2.0]


def test_a_task_id_nobody_gave_is_not_found(om: Any) -> None:
    with pytest.raises(NotFound, match="abc"):
        om.runtime.result("abc")


def test_results_go_after_a_day(om: Any, runner: Any) -> None:
    om.runtime.ping(async_=True, timeout=60)
    doc = om.db["omegaml.tasks"].find_one()
    assert (doc["expires"] - doc["finished"]).total_seconds() == 24 * 3600
    indexes = om.db["omegaml.tasks"].index_information().values()
    assert any(index.get("expireAfterSeconds") == 0 and index["key"] == [("expires", 1)] for index in indexes)


def test_a_runner_told_to_stop_finishes_what_it_has_in_hand(om: Any, runner: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    promise = om.runtime.model("sleeper").predict([[1.5]], async_=True)
    wait_for(lambda: promise.status == "running")
    assert runner.stop() == 0
    assert promise.get(1).tolist() == [1.5]
    assert om.runtime.status()["runners"] == []


def test_a_task_not_done_when_the_runner_must_stop_is_given_back_or_lost(om: Any, start_runner: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    runner = start_runner("--slots", "2", "--drain", "0.2")
    asked = om.runtime.model("sleeper").predict([[3.0]], async_=True)
    trained = om.runtime.model("sleeper").fit([[30.0]], async_=True)
    wait_for(lambda: (asked.status, trained.status) == ("running", "running"))
    assert runner.stop() == 0
    assert asked.status == "queued"
    with pytest.raises(TaskFailed, match="lost"):
        trained.get(1)
    start_runner()
    assert asked.get(60).tolist() == [3.0]


def test_tasks_of_a_killed_runner_are_repeated_once_at_most(om: Any, start_runner: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    runner = start_runner("--slots", "2")
    asked = om.runtime.model("sleeper").predict([[3.0]], async_=True)
    trained = om.runtime.model("sleeper").fit([[30.0]], async_=True)
    wait_for(lambda: (asked.status, trained.status) == ("running", "running"))
    runner.process.send_signal(signal.SIGKILL)
    runner.process.wait(30)
    # its last beat is made to be long ago instead of waiting for it to be
    om.db["omegaml.runners"].update_many({}, [{"$set": {"seen": {"$subtract": ["$seen", 20_000]}}}])
    assert om.runtime.status()["runners"] == []
    start_runner()
    assert asked.get(60).tolist() == [3.0]
    with pytest.raises(TaskFailed, match="lost"):
        trained.get(60)
    assert trained.status == "lost"
    assert om.models.metadata("sleeper").version == 1


def test_two_runners_share_the_tasks_and_do_each_once(om: Any, fitted: Any, start_runner: Any) -> None:
    start_runner()
    start_runner()
    promises = [om.runtime.model("sugar").predict("diabetes[^target]", async_=True) for _ in range(40)]
    assert {len(p.get(60)) for p in promises} == {442}
    assert {doc["attempts"] for doc in om.db["omegaml.tasks"].find()} == {1}


def test_temporary_data_of_killed_clients_goes_after_a_day(om: Any, start_runner: Any) -> None:
    for name, age in ((".temp/old", 25), (".temp/new", 1)):
        om.datasets.put(np.arange(3), name)
        om.db["metadata"].update_one(
            {"name": name}, [{"$set": {"created": {"$subtract": ["$$NOW", age * 3600 * 1000]}}}]
        )
    start_runner()
    wait_for(lambda: om.datasets.list(".temp/*", hidden=True) == [".temp/new"])


def test_a_runner_refuses_a_config_that_others_may_read(tmp_path: Path) -> None:
    config = tmp_path / "runner.yml"
    config.write_text("OMEGA_MONGO_URL: mongodb://127.0.0.1/x")
    config.chmod(0o644)
    with pytest.raises(ConfigInvalid, match="others may read"):
        read_config(config)
    config.chmod(0o600)
    assert read_config(config)["OMEGA_MONGO_URL"].startswith("mongodb://")
    config.write_text("OMEGA_USERID: x")
    with pytest.raises(ConfigInvalid, match="no OMEGA_MONGO_URL"):
        read_config(config)


def test_no_password_is_seen_in_the_process_list(om: Any, om_url: str, runner: RunnerProcess) -> None:
    om.runtime.ping(async_=True, timeout=60)
    listed = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    ours = [line for line in listed if b"omegaml.runtime." in line]
    assert len(ours) >= 2  # the runner and its child
    assert not any(om.db.name.encode() in line for line in ours)


def test_an_omega_of_another_process_sees_the_same_runner(om_url: str, runner: Any) -> None:
    other = Omega(mongo_url=om_url)
    assert [r["pid"] for r in other.runtime.status()["runners"]] == [runner.process.pid]
