"""Waiting calls that a runner carries out over its socket: the contract of all runtimes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Client
from typing import Any

import pytest
from sklearn.linear_model import LinearRegression

from omegaml.errors import NotFound, TaskFailed, Unavailable
from omegaml.omega import Omega
from omegaml.runtime import Task
from omegaml.runtime.accounts import OneAccount
from omegaml.runtime.direct import DirectRuntime, Line
from omegaml.runtime.runner import Runner
from tests.services.runtime_contract import RuntimeContract
from tests.services.runtime_models import Sleeper
from tests.services.runtime_processes import OneDatabase, wait_for

pytestmark = pytest.mark.once


class TestDirect(OneDatabase, RuntimeContract):
    @pytest.fixture(scope="class")
    @classmethod
    def serving(cls, om_url: str) -> Iterator[Runner]:
        runner = Runner(OneAccount(Omega(mongo_url=om_url), om_url), slots=2)
        thread = threading.Thread(target=runner.run)
        thread.start()
        yield runner
        runner.stop()
        thread.join(60)
        assert not thread.is_alive()

    @pytest.fixture
    def line(self, serving: Runner) -> Line:
        return Line(serving.facts()["address"], serving.facts()["token"])

    @pytest.fixture
    def runtime(self, om: Any, line: Line) -> Iterator[DirectRuntime]:
        yield DirectRuntime(om, "", line)
        for name in om.db.list_collection_names():
            if name not in ("omegaml.tasks", "omegaml.runners"):
                om.db[name].delete_many({})

    def test_a_call_leaves_nothing_in_the_database(self, runtime: DirectRuntime, om: Any) -> None:
        om.models.put(LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0]), "line")
        before = om.db["omegaml.tasks"].count_documents({})
        promise = runtime.submit(Task("predict", "models", "line", [[[2.0]]]))
        assert promise.get(1) == pytest.approx([5.0])
        assert om.db["omegaml.tasks"].count_documents({}) == before
        assert {"load", "predict"} <= set(promise.seconds)  # type: ignore[attr-defined]

    def test_a_queued_task_is_looked_for_at_once(self, runtime: DirectRuntime, om: Any) -> None:
        om.models.put(LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0]), "line")
        promise = runtime.enqueue(Task("predict", "models", "line", [[[2.0]]]))
        assert promise.get(60) == pytest.approx([5.0])

    def test_callers_wait_for_a_slot(self, runtime: DirectRuntime, om: Any) -> None:
        om.models.put(Sleeper(), "sleeper")
        answers: list[Any] = []

        def ask() -> None:
            answers.append(runtime.submit(Task("predict", "models", "sleeper", [[[1.0]]])).get(1))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(answers) == 4 and time.monotonic() - began >= 2.0

    def test_another_userid_is_not_served(self, om: Any, line: Line) -> None:
        with pytest.raises(NotFound):
            DirectRuntime(om, "eve", line).submit(Task("ping")).get(1)

    def test_who_does_not_know_the_token_is_not_heard(self, om: Any, serving: Runner) -> None:
        address = serving.facts()["address"]
        silent = Client(address, "AF_UNIX")  # says nothing, and keeps nobody else from being heard
        with pytest.raises(Unavailable):
            Line(address, "guessed").call({"userid": ""})
        assert Line(address, serving.facts()["token"]).call({"userid": ""}) == {}
        silent.close()


def test_a_runner_that_ended_is_noticed(om: Any, om_url: str) -> None:
    om.models.put(Sleeper(), "sleeper")
    runner = Runner(OneAccount(om, om_url))
    thread = threading.Thread(target=runner.run, args=(0.2,))
    thread.start()
    facts = runner.facts()
    runtime = DirectRuntime(om, "", Line(facts["address"], facts["token"]))
    wait_for(lambda: om.runtime.status()["runners"])
    assert runtime.submit(Task("ping")).get(1)["message"] == "pong"
    threading.Timer(1.0, runner.stop).start()
    with pytest.raises(TaskFailed):
        runtime.submit(Task("predict", "models", "sleeper", [[[30.0]]])).get(1)
    thread.join(60)
    with pytest.raises(Unavailable):
        runtime.submit(Task("ping")).get(1)
