"""The broker is killed while tasks are under way, and comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from omegaml.errors import Unavailable
from omegaml.runtime import Task
from omegaml.runtime.caller import caller
from tests.services.broker_platform import Started, on_celery
from tests.services.runtime_models import Sleeper
from tests.services.runtime_processes import wait_for
from tests.services.servers import Broker, RabbitMQ

pytestmark = pytest.mark.once


@pytest.fixture
def mq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


@pytest.mark.fault
def test_results_arrive_after_the_broker_was_killed_and_clients_recover(
    om_url: str, mq: Broker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    om = on_celery(om_url, mq.url, OMEGA_TIMEOUT=1.0)
    settings = {"OMEGA_MONGO_URL": om_url, "OMEGA_USERID": "boss", "OMEGA_BROKER": mq.url}
    start = Started(om, settings, lambda: tmp_path_factory.mktemp("worker"))
    try:
        start("--concurrency", "2")
        om.models.put(Sleeper(), "sleeper")
        # RabbitMQ 3.10 finds no leader again for a quorum queue that it made seconds before it was killed
        for _ in range(60):
            om.runtime.ping()
            time.sleep(0.1)
        waiting = om.runtime.carrier.submit(Task("predict", "models", "sleeper", [[[3.0]]]))
        queued = om.runtime.model("sleeper").fit([[3.0]], async_=True)
        wait_for(lambda: queued.status == "running")
        mq.kill()
        wait_for(lambda: caller(mq.url).away() > 0)
        began = time.monotonic()
        with pytest.raises(Unavailable, match=f"127.0.0.1:{mq.port}"):
            om.runtime.ping()
        assert time.monotonic() - began < 3
        assert queued.get(30)["version"] == 2  # what is kept in the database needs no broker
        mq.start()
        assert waiting.get(60).tolist() == [3.0]
        patient = on_celery(om_url, mq.url, OMEGA_TIMEOUT=30.0)
        wait_for(lambda: answers(patient.runtime))
        assert patient.runtime.model("sleeper").predict([[0.0]], async_=True).get(30).tolist() == [0.0]
    finally:
        start.end()


def answers(runtime: Any) -> bool:
    try:
        return runtime.ping()["message"] == "pong"
    except Unavailable:  # the worker looks for the broker every few seconds
        return False
