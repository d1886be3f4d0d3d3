"""Tasks that are left to a runner, a real process: the contract, and what may befall it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pymongo import MongoClient
from sklearn.datasets import load_iris
from sklearn.linear_model import SGDClassifier

from omegaml.errors import ConfigInvalid, TaskFailed, Unavailable
from omegaml.omega import Omega
from omegaml.runtime import Task
from omegaml.runtime.local import LocalRuntime
from omegaml.runtime.runner import read_config
from omegaml.runtime.tasks import Tasks
from tests.conftest import free_port, mongod_binary
from tests.services.command_line import Cli
from tests.services.runtime_contract import QueueContract, RuntimeContract
from tests.services.runtime_models import Giver, Raiser, Sleeper
from tests.services.runtime_processes import (
    OneDatabase,
    RunnerProcess,
    children_of,
    in_another_process,
    runner,
    start_runner,
    stored,
    wait_for,
)

pytestmark = pytest.mark.once

__all__ = ["runner", "start_runner"]


class Queued(LocalRuntime):
    submit = LocalRuntime.enqueue


class TestThroughTheRunner(OneDatabase, RuntimeContract, QueueContract):
    @pytest.fixture(scope="class")
    @classmethod
    def serving(cls, om_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunnerProcess]:
        process = RunnerProcess(om_url, tmp_path_factory.mktemp("runner"), "--slots", "2")
        yield process
        assert process.stop() == 0

    @pytest.fixture
    def runtime(self, om: Any, serving: RunnerProcess) -> Iterator[Queued]:
        runtime = Queued(om)
        wait_for(runtime.tasks.runners)
        yield runtime
        wait_for(lambda: runtime.tasks.counts()["running"] == 0)
        for name in om.db.list_collection_names():
            if name not in ("omegaml.tasks", "omegaml.runners"):
                om.db[name].delete_many({})


def long_ago(om: Any) -> None:
    """Let the runners' last beat be long ago, instead of waiting for it to be."""
    om.db["omegaml.runners"].update_many({}, [{"$set": {"seen": {"$subtract": ["$seen", 20_000]}}}])


def test_without_a_runner_nothing_is_queued(om: Any, fitted: Any, diabetes: pd.DataFrame) -> None:
    before = stored(om)
    with pytest.raises(Unavailable) as caught:
        om.runtime.model("sugar").predict(pd.concat([diabetes] * 200), async_=True)
    assert "omegacli cluster up" in str(caught.value.hint)
    assert caught.value.exit_code == 7
    assert stored(om) == before
    assert sum(om.runtime.status()["tasks"].values()) == 0


def test_a_task_is_cancelled_by_its_id_from_the_shell(om: Any, cli: Cli, runner: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    om.datasets.put(pd.DataFrame({"seconds": [60.0]}), "long")
    running, queued = (cli.ok("models", "fit", "sleeper", "long", "--async").strip() for _ in range(2))
    wait_for(lambda: om.runtime.promise(running).status == "running")
    assert cli.data("runtime", "cancel", running, "--dry-run") == {"task": running}
    for id in (queued, running, running):  # asked for twice it is what was asked for
        assert cli.data("runtime", "cancel", id) == {"task": id, "status": "cancelled"}
        assert om.runtime.promise(id).status == "cancelled"
    assert cli.error("runtime", "result", running)[0] == 1
    assert om.models.metadata("sleeper").version == 1
    om.datasets.put(pd.DataFrame({"seconds": [0.0]}), "short")
    ended = cli.ok("models", "predict", "sleeper", "short", "--async").strip()
    assert cli.ok("runtime", "result", ended) == "0.0\n"
    code, text = cli.error("runtime", "cancel", ended)
    assert code == 5 and "ended already: done" in text and f"omegacli runtime result {ended}" in text
    assert cli.error("runtime", "cancel", "0" * 32)[0] == 4


def test_large_values_of_queued_tasks_are_dropped_and_large_results_kept(
    om: Any, fitted: Any, diabetes: pd.DataFrame, runner: Any
) -> None:
    large = pd.concat([diabetes.drop(columns="target")] * 200, ignore_index=True)
    promise = om.runtime.model("sugar").predict(large, async_=True)
    for _ in range(2):
        assert promise.get(60).shape == (len(large),)
    wait_for(lambda: len(om.datasets.list(".temp/*", hidden=True)) == 1)
    assert set(om.datasets.list(".temp/*", hidden=True)) == Tasks(om.db).in_use()


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


TOLD_WHILE_IT_HOLDS_A_LOCK = """
import os, signal, sys, threading, time
from omegaml.runtime import runner

class Inconvenient(threading.Event):
    def wait(self, timeout=None):
        with self._cond:  # as in Event.wait
            if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL and time.monotonic() > began + 2:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)  # the main thread handles it between two of its steps
        return super().wait(timeout)

began = time.monotonic()
threading.Event = Inconvenient
sys.exit(runner.main(sys.argv[1:]))
"""


def test_a_runner_told_to_stop_while_it_looks_at_its_events_does_not_hang(
    om: Any, om_url: str, tmp_path: Path
) -> None:
    config = tmp_path / "runner.yml"
    config.write_text(yaml.safe_dump({"OMEGA_MONGO_URL": om_url}))
    config.chmod(0o600)
    in_another_process(TOLD_WHILE_IT_HOLDS_A_LOCK, "--config", str(config), timeout=25)
    assert om.runtime.status()["runners"] == []


@pytest.mark.fault
def test_a_task_not_done_when_the_runner_must_stop_is_given_back_or_lost(om: Any, start_runner: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    om.jobs.create("import time; time.sleep(30)", "sleeper")
    runner = start_runner("--slots", "3", "--drain", "0.2")
    asked = om.runtime.model("sleeper").predict([[3.0]], async_=True)
    trained = om.runtime.model("sleeper").fit([[3.0]], async_=True)
    run = om.runtime.job("sleeper").run(async_=True)
    wait_for(lambda: {one.status for one in (asked, trained, run)} == {"running"})
    assert runner.stop() == 0
    assert (asked.status, trained.status) == ("queued", "queued")
    with pytest.raises(TaskFailed, match="lost"):
        run.get(1)
    start_runner()
    assert asked.get(60).tolist() == [3.0] and trained.get(60)["version"] == 2


@pytest.mark.fault
def test_tasks_of_a_killed_runner_are_repeated_once_at_most(om: Any, start_runner: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    om.jobs.create("import time; time.sleep(30)", "sleeper")
    runner = start_runner("--slots", "3")
    asked = om.runtime.model("sleeper").predict([[3.0]], async_=True)
    trained = om.runtime.model("sleeper").fit([[3.0]], async_=True)
    run = om.runtime.job("sleeper").run(async_=True)
    wait_for(lambda: {one.status for one in (asked, trained, run)} == {"running"})
    runner.kill()
    long_ago(om)
    assert om.runtime.status()["runners"] == []
    start_runner()
    assert asked.get(60).tolist() == [3.0] and trained.get(60)["version"] == 2
    with pytest.raises(TaskFailed, match="lost"):
        run.get(60)
    assert run.status == "lost" and om.runtime.job("sleeper").runs()[0].status == "lost"
    assert om.models.metadata("sleeper").version == 2


@pytest.mark.fault
@pytest.mark.parametrize("action", ["fit", "partial_fit", "gridsearch"])
def test_training_that_is_carried_out_twice_makes_one_version(om: Any, action: str) -> None:
    om.datasets.put(load_iris(as_frame=True).frame, "iris")
    om.models.put(SGDClassifier(random_state=1), "m")
    kwargs: dict[str, Any] = {"parameters": {"alpha": [0.1, 1.0]}} if action == "gridsearch" else {}
    kwargs |= {"classes": [0, 1, 2]} if action == "partial_fit" else {}
    task = Task(action, "models", "m", ["iris[^target]", "iris[target]"], kwargs)
    first = om.runtime.run(task).get()
    om.models.put(om.models.get("m"), "m")  # somebody else goes on meanwhile
    assert om.runtime.run(task).get() == first
    assert om.models.metadata("m").version == 3
    with ThreadPoolExecutor(4) as threads:
        again = Task(action, "models", "m", ["iris[^target]", "iris[target]"], kwargs)
        answers = list(threads.map(lambda _: om.runtime.run(again).get(), range(4)))
    assert all(answer == answers[0] for answer in answers) and om.models.metadata("m").version == 4


@pytest.mark.fault
def test_a_task_taken_from_its_runner_keeps_what_it_was_given(om: Any, runner: RunnerProcess) -> None:
    om.models.put(Sleeper(), "m")
    x = np.zeros((200_000, 1))
    x[0] = 3.0
    promise = om.runtime.model("m").predict(x, async_=True)
    wait_for(lambda: promise.status == "running")
    given = om.datasets.list(".temp/*", hidden=True)
    taken = {"status": "queued", "runner": None, "label": "another"}
    om.db["omegaml.tasks"].update_one({"_id": promise.id}, {"$set": taken})
    wait_for(lambda: f"task {promise.id} predict m done" in runner.log.read_text())
    time.sleep(0.5)
    assert om.datasets.list(".temp/*", hidden=True) == given != []
    om.db["omegaml.tasks"].update_one({"_id": promise.id}, {"$set": {"label": "default"}})
    assert len(promise.get(60)) == len(x)
    wait_for(lambda: om.datasets.list(".temp/*", hidden=True) not in (given, []))  # the result alone


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


@pytest.mark.fault
def test_a_task_of_a_killed_runner_is_not_running_for_ever_though_none_follows(
    om: Any, start_runner: Any
) -> None:
    om.models.put(Sleeper(), "sleeper")
    runner = start_runner("--slots", "2")
    asked = om.runtime.model("sleeper").predict([[60.0]], async_=True)
    trained = om.runtime.model("sleeper").fit([[60.0]], async_=True)
    wait_for(lambda: (asked.status, trained.status) == ("running", "running"))
    runner.kill()
    long_ago(om)
    assert om.runtime.promise(trained.id).status == "queued"
    assert om.runtime.promise(asked.id).status == "queued"
    with pytest.raises(Unavailable, match="no runner") as caught:
        om.runtime.result(asked.id, 60)
    assert "omegacli cluster up" in str(caught.value.hint)


def test_a_runner_that_is_heard_of_again_keeps_its_task(om: Any, runner: RunnerProcess) -> None:
    om.models.put(Sleeper(), "sleeper")
    trained = om.runtime.model("sleeper").fit([[12.0]], async_=True)
    wait_for(lambda: trained.status == "running")
    long_ago(om)  # as after a pause of the whole machine
    assert om.runtime.promise(trained.id).status == "running"
    assert trained.get(60)["version"] == 2


def test_a_task_that_its_runner_does_not_know_of_is_given_back(om: Any, runner: RunnerProcess) -> None:
    id = om.runtime.status()["runners"][0]["id"]
    fit = Task("fit", "models", "m", [[[1]]])
    # as it is for a claim whose answer the runner never got
    claim = {"_id": fit.id, "status": "running", "runner": id, "attempts": 1, "repeatable": False}
    shown = {"task": fit.to_json(), "action": "fit", "name": "m", "bucket": None, "temporary": []}
    om.db["omegaml.tasks"].insert_one({**claim, **shown})
    with pytest.raises(TaskFailed, match="lost"):
        om.runtime.result(fit.id, 60)


def test_a_task_that_is_none_fails_and_the_runner_goes_on(om: Any, runner: RunnerProcess) -> None:
    doc = {"_id": "broken", "status": "queued", "task": "{}", "action": "fit", "name": "m", "bucket": None}
    om.db["omegaml.tasks"].insert_one({**doc, "attempts": 0, "repeatable": True, "temporary": []})
    wait_for(lambda: om.runtime.promise("broken").status == "failed")
    assert om.runtime.ping(async_=True, timeout=60)["message"] == "pong"
    assert runner.process.poll() is None


def test_an_error_of_any_length_is_told(om: Any, runner: RunnerProcess) -> None:
    om.models.put(Raiser(20_000_000), "raiser")
    with pytest.raises(TaskFailed, match="Local: öch") as caught:
        om.runtime.model("raiser").predict([[1]], async_=True).get(120)
    assert len(str(caught.value)) < 2000


def test_large_results_go_with_their_task(om: Any, runner: RunnerProcess) -> None:
    om.models.put(Giver(), "giver")
    before = stored(om)
    promise = om.runtime.model("giver").predict([[1]], what="labels", async_=True)
    assert len(promise.get(60)) == 300_000
    assert len(om.datasets.list(".temp/*", hidden=True)) == 1
    # a day later: the server has removed the task, and the next runner tidies
    om.db["omegaml.tasks"].delete_many({})
    om.db["metadata"].update_many(
        {"name": {"$regex": "^.temp/"}},
        [{"$set": {"created": {"$subtract": ["$created", 25 * 3600 * 1000]}}}],
    )
    runner.stop()
    again = RunnerProcess(runner.url, runner.config.parent)
    try:
        wait_for(lambda: stored(om) == before)
    finally:
        again.kill()


def test_a_runner_and_its_tasks_outlive_a_restart_of_the_database(tmp_path: Path) -> None:
    port = free_port()
    url = f"mongodb://127.0.0.1:{port}/restarted?directConnection=true"
    (tmp_path / "db").mkdir()

    def start_database() -> subprocess.Popen[bytes]:
        command = [mongod_binary(), "--dbpath", str(tmp_path / "db"), "--port", str(port), "--quiet"]
        command += ["--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "0.3"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with MongoClient(url, serverSelectionTimeoutMS=60_000) as client:
            client.admin.command("ping")
        return process

    database = start_database()
    processes = []
    try:
        om = Omega(mongo_url=url)
        om.models.put(Sleeper(), "sleeper")
        runner = RunnerProcess(url, tmp_path)
        processes.append(runner)
        wait_for(lambda: om.runtime.status()["runners"])
        promise = om.runtime.model("sleeper").predict([[3.0]], async_=True)
        wait_for(lambda: promise.status == "running")
        database.kill()
        database.wait(30)
        time.sleep(4)
        database = start_database()
        assert promise.get(60).tolist() == [3.0]
        assert runner.process.poll() is None
        database.kill()
        database.wait(30)
        began = time.monotonic()
        assert runner.stop() == 0
        assert time.monotonic() - began < 20
    finally:
        for one in processes:
            one.process.kill()
        database.kill()
        database.wait(30)


@pytest.mark.parametrize(("given", "threads"), [({}, "1"), ({"OMP_NUM_THREADS": "7"}, "7")])
def test_children_share_the_processors(
    om: Any, start_runner: Any, given: dict[str, str], threads: str
) -> None:
    runner = start_runner("--slots", str(os.cpu_count()), **given)
    found = wait_for(lambda: children_of(runner.process.pid))
    environments = [Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in found]
    assert all(f"OMP_NUM_THREADS={threads}".encode() in each for each in environments)
    assert all(b"OPENBLAS_NUM_THREADS=1" in each for each in environments)
