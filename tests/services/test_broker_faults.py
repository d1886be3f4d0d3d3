"""The broker cannot be reached for a while, or takes no more."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pika
import pytest
import requests

from omegaml.errors import Unavailable
from omegaml.omega import Omega
from omegaml.runtime import Task
from omegaml.runtime.caller import caller
from omegaml.runtime.messages import MOST_WAITING, TASKS, task_queue
from tests.services.broker_platform import Started, mq, on_celery
from tests.services.runtime_models import Counter, Sleeper
from tests.services.runtime_processes import stored, wait_for
from tests.services.servers import RabbitMQ
from tests.services.wire import Wire

__all__ = ["mq"]
pytestmark = [pytest.mark.once, pytest.mark.fault]

AWAY = float(os.environ.get("BROKER_AWAY", "3"))
"""Seconds without a broker."""


@pytest.fixture
def wire(mq: RabbitMQ) -> Iterator[Wire]:
    with Wire(mq.port) as between:
        yield between


@pytest.fixture
def url(mq: RabbitMQ, wire: Wire) -> str:
    """The broker's URL, over the wire."""
    return mq.url.replace(f":{mq.port}/", f":{wire.port}/")


@pytest.fixture
def om(om_url: str, url: str) -> Iterator[Omega]:
    platform = on_celery(om_url, url, OMEGA_TIMEOUT=1.0)
    yield platform
    caller(url).close()
    platform.close()


@pytest.fixture
def worker(om: Omega, om_url: str, url: str, tmp_path_factory: Any) -> Iterator[Any]:
    settings = {"OMEGA_MONGO_URL": om_url, "OMEGA_USERID": "boss", "OMEGA_BROKER": url}
    start = Started(om, settings, lambda: tmp_path_factory.mktemp("worker"))
    yield start("--concurrency", "2")
    start.end()


def answers(om: Any) -> bool:
    try:
        return bool(om.runtime.ping()["message"] == "pong")
    except Unavailable:  # the worker looks for the broker every few seconds
        return False


@pytest.mark.timeout(120 + 2 * AWAY)
@pytest.mark.parametrize("how", ["cut", "hold"])
def test_while_the_broker_cannot_be_reached_nothing_is_lost_and_nothing_done_twice(
    om: Any, om_url: str, url: str, wire: Wire, worker: Any, how: str
) -> None:
    om.models.put(Sleeper(), "sleeper")
    om.models.put(Counter().fit([]), "counter")
    patient = on_celery(om_url, url, OMEGA_TIMEOUT=AWAY + 60)
    before = om.runtime.carrier.submit(Task("predict", "models", "sleeper", [[[2.0]]]))
    trained = om.runtime.model("counter").partial_fit([[1]], async_=True)
    assert trained.get(60)["version"] == 2
    trained = om.runtime.model("sleeper").fit([[2.0]], async_=True)
    wait_for(lambda: trained.status == "running")
    getattr(wire, how)()
    if how == "cut":
        wait_for(lambda: caller(url).away() > 0)
    else:
        time.sleep(1.1)  # for so long a label is taken to have the worker that it had
    began = time.monotonic()
    for ask in (om.runtime.ping, lambda: om.runtime.model("counter").partial_fit([[1]] * 1000, async_=True)):
        with pytest.raises(Unavailable, match=f"the broker at 127.0.0.1:{wire.port}"):
            ask()
    assert time.monotonic() - began < 6
    assert trained.get(30)["version"] == 2  # what is kept in the database needs no broker
    with ThreadPoolExecutor(4) as threads:
        asked = threads.submit(patient.runtime.model("sleeper").predict, [[0.5]])
        more = [
            threads.submit(patient.runtime.model("counter").partial_fit, [[1]] * n, async_=True)
            for n in (10, 100)
        ]
        time.sleep(max(0.0, AWAY - (time.monotonic() - began)))
        assert not asked.done() and not any(one.done() for one in more)
        wire.mend()
        assert before.get(60).tolist() == [2.0]
        assert asked.result(60).tolist() == [0.5]
        versions = sorted(one.result(60).get(60)["version"] for one in more)
    assert versions == [3, 4]
    wait_for(lambda: answers(om), 60)
    assert om.runtime.model("counter").partial_fit([[1]] * 10_000, async_=True).get(60)["version"] == 5
    assert om.models.get("counter").rows_ == 10_111
    wait_for(lambda: om.runtime.status()["tasks"]["running"] == 0)
    assert om.runtime.status()["tasks"]["queued"] == 0
    assert {doc["attempts"] for doc in om.db["omegaml.tasks"].find()} == {1}


def test_a_full_queue_is_said_leaves_nothing_and_work_goes_on_when_it_is_not(
    om: Any, mq: RabbitMQ, worker: Any
) -> None:
    om.models.put(Counter().fit([]), "counter")
    assert om.runtime.ping()["message"] == "pong"
    queue, management = task_queue("default"), f"{mq.admin_url}api"
    made = requests.get(f"{management}/queues/%2F/{queue}", timeout=10).json()["arguments"]
    assert (made["x-max-length"], made["x-overflow"]) == (MOST_WAITING, "reject-publish")
    fewer = {"pattern": f"^{queue}$", "definition": {"max-length": 20}, "apply-to": "queues"}
    policy = f"{management}/policies/%2F/small"  # the smaller number holds
    assert requests.put(policy, json=fewer, timeout=10).ok
    before, tasks = stored(om), om.db["omegaml.tasks"].count_documents({})
    with pika.BlockingConnection(pika.URLParameters(mq.url)) as connection:
        channel = connection.channel()
        os.kill(worker.process.pid, signal.SIGSTOP)
        try:
            fill(channel, queue)
            asks = (om.runtime.ping, lambda: om.runtime.model("counter").partial_fit([[1]], async_=True))
            for ask in asks:
                began = time.monotonic()
                with pytest.raises(Unavailable, match="for workers of label 'default' is full") as caught:
                    ask()
                assert time.monotonic() - began < 3
                assert caught.value.hint == "try again later"
            assert stored(om) == before and om.db["omegaml.tasks"].count_documents({}) == tasks
            channel.queue_purge(queue)
        finally:
            os.kill(worker.process.pid, signal.SIGCONT)
            requests.delete(policy, timeout=10)
    wait_for(lambda: answers(om))
    assert om.runtime.model("counter").partial_fit([[1]], async_=True).get(60)["version"] == 2


def fill(channel: Any, queue: str) -> None:
    """Publish until the queue takes no more."""
    channel.confirm_delivery()
    for _ in range(1000):
        try:
            channel.basic_publish(TASKS, "default", json.dumps([[], {}, {}]))
        except pika.exceptions.NackError:
            return
    raise AssertionError(f"{queue} takes any number")
