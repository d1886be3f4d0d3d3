"""The runtime on Celery workers, over a real RabbitMQ."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LinearRegression

from omegaml.errors import AuthFailed, InvalidInput, TaskFailed, TimedOut, Unavailable
from omegaml.omega import Omega
from omegaml.runtime import Task
from omegaml.runtime.logs import follow
from tests.conftest import free_port
from tests.services.broker_platform import Started, mq, on_celery
from tests.services.runtime_contract import QueueContract, RuntimeContract
from tests.services.runtime_models import Killer, Rebel, Sleeper
from tests.services.runtime_processes import OneDatabase, children_of, is_alive, stored, wait_for
from tests.services.runtime_speakers import Speaker
from tests.services.servers import Broker

__all__ = ["mq"]
pytestmark = pytest.mark.once


def settings_of(mq: Broker, url: str) -> dict[str, str]:
    return {"OMEGA_MONGO_URL": url, "OMEGA_USERID": "boss", "OMEGA_BROKER": mq.url}


class OnCelery(OneDatabase):
    """Tests that share a worker of two tasks at a time."""

    @pytest.fixture
    def om(self, om_url: str, mq: Broker) -> Omega:
        return on_celery(om_url, mq.url)

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def worker(
        cls,
        om_url: str,
        mq: Broker,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Iterator[Any]:
        om = on_celery(om_url, mq.url)
        start = Started(om, settings_of(mq, om_url), lambda: tmp_path_factory.mktemp("worker"))
        yield start("--concurrency", "2")
        start.end()

    @pytest.fixture
    def runtime(self, om: Omega) -> Any:
        for name in om.db.list_collection_names():
            if name not in ("omegaml.tasks", "omegaml.runners"):
                om.db[name].delete_many({})
        return om.runtime.carrier


class TestWaiting(OnCelery, RuntimeContract):
    """What every runtime keeps to, for calls that wait."""


class TestQueued(OnCelery, QueueContract):
    """And for those that are found again by their id."""


class TestCelery(OnCelery):
    def test_a_thousand_predicts_leave_nothing_behind(self, om: Any) -> None:
        om.models.put(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), "same")
        om.runtime.model("same").predict([[1.0]])
        before = stored(om)
        tasks = om.db["omegaml.tasks"].count_documents({})
        with ThreadPoolExecutor(4) as threads:
            answers = list(
                threads.map(lambda n: float(om.runtime.model("same").predict([[float(n)]])[0]), range(1000))
            )
        assert [round(answer) for answer in answers] == list(range(1000))
        assert stored(om) == before
        assert om.db["omegaml.tasks"].count_documents({}) == tasks

    def test_map_spreads_over_the_worker(self, om: Any) -> None:
        om.models.put(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), "same")
        answers = om.runtime.model("same").map("predict", [[[float(n)]] for n in range(20)])
        assert [round(float(answer[0])) for answer in answers] == list(range(20))

    def test_what_a_model_says_is_kept_also_where_its_caller_waits(self, om: Any, runtime: Any) -> None:
        om.models.put(Speaker(), "speaker")
        promise = runtime.submit(Task("predict", "models", "speaker", [[["everything"]]]))
        assert promise.get(60) == [1]
        lines = [line.text for said in follow(om, promise.id) for line in said]
        assert lines[:2] == ["printed ö", "logged"] and lines[-1] == "no end of line"

    @pytest.mark.fault
    def test_a_label_nobody_has_is_said_at_once_with_those_there_are(self, om: Any) -> None:
        began = time.monotonic()
        for ask in (om.runtime.require("gpu").ping, lambda: om.runtime.require("gpu").ping(async_=True)):
            with pytest.raises(Unavailable, match="'gpu'") as caught:
                ask()
            assert "default" in str(caught.value.hint)
        assert time.monotonic() - began < 3
        with pytest.raises(InvalidInput, match="no label"):
            om.runtime.require("../x")

    @pytest.mark.fault
    def test_a_waiting_call_is_cancelled(self, om: Any, runtime: Any) -> None:
        om.models.put(Sleeper(), "sleeper")
        promise = runtime.submit(Task("predict", "models", "sleeper", [[[60.0]]]))
        time.sleep(0.5)
        assert promise.cancel()
        with pytest.raises(TaskFailed, match="cancelled"):
            promise.get(1)
        assert promise.status == "cancelled"
        wait_for(lambda: om.runtime.status()["runners"][0]["running"] == 0)

    def test_what_nobody_waits_for_so_long_is_said(self, om: Any, runtime: Any) -> None:
        om.models.put(Sleeper(), "sleeper")
        promise = runtime.submit(Task("predict", "models", "sleeper", [[[1.0]]]))
        with pytest.raises(TimedOut, match="sleeper"):
            promise.get(0.1)
        assert promise.get(30).tolist() == [1.0]

    @pytest.mark.fault
    def test_a_child_that_dies_is_the_tasks_own_error_and_not_tried_again(self, om: Any) -> None:
        om.models.put(Killer(), "killer")
        with pytest.raises(TaskFailed, match="SIGKILL"):
            om.runtime.model("killer").predict([[1]])
        assert om.runtime.ping()["message"] == "pong"

    @pytest.mark.fault
    @pytest.mark.parametrize("what", ["pickle", "anonymous", "later", "damaged", "elsewhere"])
    def test_a_message_that_is_none_of_ours_is_refused(
        self,
        om: Any,
        mq: Broker,
        worker: Any,
        tmp_path: Path,
        what: str,
    ) -> None:
        from celery import Celery

        evil = tmp_path / "evil"
        app = Celery(broker=mq.url, set_as_current=False)
        task = Task("ping", id="forged").to_json()
        options: dict[str, Any] = {"user_id": "boss", "reply_to": "omega.reply.boss.nobody"}
        args: tuple[Any, ...] = (task,)
        if what == "pickle":
            args = (Evil(str(evil)),)
            options["serializer"] = "pickle"
        elif what == "anonymous":
            del options["user_id"]
        elif what == "later":
            options["eta"] = "2099-01-01T00:00:00+00:00"
        elif what == "damaged":
            args = ("{}",)
        elif what == "elsewhere":
            options["reply_to"] = "omega.reply.bob.nobody"
        before = len(worker.log.read_text())
        headers = {"eta": options.pop("eta", None)} if what == "later" else None
        app.send_task(
            "omega.ask",
            args,
            exchange="omega.tasks",
            routing_key="default",
            ignore_result=True,
            headers=headers,
            **options,
        )
        said = wait_for(lambda: worker.log.read_text()[before:])
        assert om.runtime.ping()["message"] == "pong"
        assert not evil.exists()
        words = {
            "pickle": "untrusted content",
            "anonymous": "does not say whose",
            "later": "more of Celery",
            "damaged": "no task",
            "elsewhere": "omega.reply.bob.nobody",
        }
        assert words[what] in wait_for(
            lambda: words[what] in worker.log.read_text()[before:] and said + worker.log.read_text()
        )

    def test_any_client_of_celery_can_send_a_task(self, om: Any, mq: Broker) -> None:
        from celery import Celery

        queued = Task("ping")
        om.runtime.carrier.tasks.add(queued, True)
        Celery(broker=mq.url, set_as_current=False).send_task(
            "omega.run",
            (queued.id,),
            exchange="omega.tasks",
            routing_key="default",
            user_id="boss",
            ignore_result=True,
        )
        assert om.runtime.result(queued.id, 20)["message"] == "pong"


class Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


@pytest.fixture
def om(om_url: str, mq: Broker) -> Iterator[Omega]:
    platform = on_celery(om_url, mq.url)
    yield platform
    platform.close()


@pytest.fixture
def start(om: Omega, om_url: str, mq: Broker, tmp_path_factory: Any) -> Iterator[Started]:
    starting = Started(om, settings_of(mq, om_url), lambda: tmp_path_factory.mktemp("worker"))
    yield starting
    starting.end()


@pytest.mark.fault
def test_without_a_worker_that_is_said_and_nothing_is_left(om: Any, start: Any) -> None:
    start("--label", "nobody").stop()
    for ask in (om.runtime.ping, lambda: om.runtime.ping(async_=True)):
        began = time.monotonic()
        with pytest.raises(Unavailable, match="no worker is there") as caught:
            ask()
        assert time.monotonic() - began < 3
        assert "omegacli runtime worker" in str(caught.value.hint)
    assert om.db["omegaml.tasks"].count_documents({}) == 0


@pytest.mark.fault
def test_without_a_broker_that_is_said_with_its_address(om_url: str) -> None:
    port = free_port()
    om = on_celery(om_url, f"amqp://boss:secret@127.0.0.1:{port}/", OMEGA_TIMEOUT=0.5)
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as caught:
        om.runtime.ping()
    assert "secret" not in str(caught.value)


def test_a_wrong_password_is_said(om_url: str, mq: Broker) -> None:
    om = on_celery(om_url, f"amqp://boss:wrong@127.0.0.1:{mq.port}/")
    with pytest.raises(AuthFailed, match="'boss'") as caught:
        om.runtime.ping()
    assert "wrong" not in str(caught.value)


@pytest.mark.fault
def test_a_waiting_call_goes_on_with_another_worker_when_its_own_is_killed(om: Any, start: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    first = start("--concurrency", "1")
    promise = om.runtime.carrier.submit(Task("predict", "models", "sleeper", [[[2.0]]]))
    wait_for(lambda: "running" in str(om.runtime.status()["runners"]) and children_of(first.process.pid))
    second = start("--concurrency", "1")
    first.kill()
    assert promise.get(30).tolist() == [2.0]
    assert "done" in second.log.read_text()


@pytest.mark.fault
def test_a_task_that_kills_its_workers_is_not_handed_on_for_ever(om: Any, start: Any) -> None:
    om.models.put(Rebel(), "rebel")
    workers = [start("--concurrency", "1") for _ in range(4)]
    with pytest.raises(TaskFailed, match="3 workers ended while they had it"):
        om.runtime.model("rebel").predict([[1]])
    # the connection of a process that was killed is closed before it can be waited for
    wait_for(lambda: [worker.process.poll() is None for worker in workers].count(False) == 3, 5)
    time.sleep(0.5)
    assert [worker.process.poll() is None for worker in workers].count(True) == 1
    assert om.runtime.ping()["message"] == "pong"


@pytest.mark.fault
def test_a_worker_told_to_stop_gives_back_what_it_cannot_finish(om: Any, start: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    first = start("--concurrency", "2", "--drain", "0.3")
    waiting = om.runtime.carrier.submit(Task("predict", "models", "sleeper", [[[4.0]]]))
    queued = om.runtime.model("sleeper").predict([[4.0]], async_=True)
    wait_for(lambda: queued.status == "running")
    time.sleep(0.3)
    assert first.stop() == 0
    start("--concurrency", "2")
    assert waiting.get(40).tolist() == [4.0]
    assert queued.get(40).tolist() == [4.0]


@pytest.mark.fault
def test_a_worker_told_to_stop_finishes_what_it_has_in_hand(om: Any, start: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    worker = start("--concurrency", "2")
    waiting = om.runtime.carrier.submit(Task("predict", "models", "sleeper", [[[1.5]]]))
    queued = om.runtime.model("sleeper").predict([[1.5]], async_=True)
    wait_for(lambda: queued.status == "running")
    children = children_of(worker.process.pid)
    worker.process.terminate()
    assert waiting.get(60).tolist() == [1.5]
    assert queued.get(60).tolist() == [1.5]
    assert worker.process.wait(20) == 0  # Celery has ten seconds to end its own threads
    assert om.runtime.status()["runners"] == []
    assert not any(is_alive(pid) for pid in children)


@pytest.mark.fault
def test_a_killed_worker_leaves_no_children(om: Any, start: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    worker = start("--concurrency", "1")
    om.runtime.model("sleeper").predict([[60.0]], async_=True)
    children = wait_for(lambda: children_of(worker.process.pid))
    worker.kill()
    wait_for(lambda: not any(is_alive(pid) for pid in children))


def test_labels_are_served_by_those_who_have_them(om: Any, start: Any) -> None:
    plain, gpu = start(), start("--label", "gpu")
    asked = om.runtime.require("gpu")
    host = asked.ping()["pid"]
    assert host in children_of(gpu.process.pid) and host not in children_of(plain.process.pid)
    assert asked.ping(async_=True)["pid"] == host
    om.models.put(LinearRegression(), "m")
    assert asked.model("m").fit([[1.0], [2.0]], [1.0, 2.0])["version"] == 2
    said = json.dumps(om.runtime.status()["runners"])
    assert '["gpu"]' in said and '["default"]' in said


def test_a_notebook_runs_on_a_worker(om: Any, start: Any) -> None:
    start()
    om.jobs.create("import omegaml as om\nom.datasets.put([n], 'made')", "hello")
    assert om.runtime.job("hello").run(n=3)["job"] == "hello.ipynb"
    assert om.datasets.get("made") == [3]
    om.jobs.create("1 / 0", "bad")
    with pytest.raises(TaskFailed, match="ZeroDivisionError"):
        om.runtime.job("bad").run()
    assert [run.status for run in om.runtime.job("bad").runs()] == ["failed"]
    om.runtime.job("hello").schedule("@daily", parameters={"n": 4})
    now = datetime.now(UTC)
    due = {
        "text": f"{now.minute} {now.hour} * * *",
        "zone": "UTC",
        "due": now.replace(second=0, microsecond=0),
    }
    om.db["omegaml.schedules"].update_one({}, {"$set": due})
    wait_for(lambda: om.datasets.get("made") == [4])
    assert {run.trigger for run in om.runtime.job("hello").runs()} == {"manual", "schedule"}
