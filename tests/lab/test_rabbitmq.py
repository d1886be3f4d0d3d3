"""Workers on RabbitMQ's own image: what they do, and what comes of it when they or the broker are killed."""

from __future__ import annotations

from typing import Any

import pytest

from omegaml.runtime.messages import DELIVERIES, queue_arguments, task_queue
from omegaweb.provision import rabbitmq
from tests.lab.rabbitmq import RabbitMQ
from tests.services.runtime_processes import wait_for
from tests.services.test_broker_restarts import (
    answers,
    test_results_arrive_after_the_broker_was_killed_and_clients_recover,
)
from tests.services.test_runtime_celery import (
    TestCelery,
    om,
    start,
    test_a_task_that_kills_its_workers_is_not_handed_on_for_ever,
    test_a_waiting_call_goes_on_with_another_worker_when_its_own_is_killed,
    test_a_worker_told_to_stop_gives_back_what_it_cannot_finish,
    test_a_wrong_password_is_said,
    test_labels_are_served_by_those_who_have_them,
    test_without_a_worker_that_is_said_and_nothing_is_left,
)

__all__ = [
    "TestCelery",
    "om",
    "start",
    "test_a_task_that_kills_its_workers_is_not_handed_on_for_ever",
    "test_a_waiting_call_goes_on_with_another_worker_when_its_own_is_killed",
    "test_a_worker_told_to_stop_gives_back_what_it_cannot_finish",
    "test_a_wrong_password_is_said",
    "test_labels_are_served_by_those_who_have_them",
    "test_results_arrive_after_the_broker_was_killed_and_clients_recover",
    "test_without_a_worker_that_is_said_and_nothing_is_left",
]
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def mq(rabbitmq_container: RabbitMQ) -> RabbitMQ:
    return rabbitmq_container


def test_a_queue_has_our_limits_and_asks_for_nothing_that_is_deprecated(
    om: Any, start: Any, mq: RabbitMQ
) -> None:
    start("--label", "limits")
    om.runtime.require("limits").ping()
    route = f"/queues/%2F/{task_queue('limits')}"
    # numbers of a queue are told every few seconds
    queue = wait_for(lambda: (found := rabbitmq._call(mq.admin_url, "GET", route)).get("consumers") and found)
    assert queue["delivery_limit"] == DELIVERIES
    assert queue["consumer_details"][0]["consumer_timeout"] == queue_arguments()["x-consumer-timeout"]
    assert rabbitmq._call(mq.admin_url, "GET", "/deprecated-features/used") == []


def test_a_queue_that_found_no_leader_is_made_anew_once_it_is_deleted(
    om: Any, start: Any, mq: RabbitMQ
) -> None:
    start("--label", "lost")
    mq.kill()  # within a second: RabbitMQ 4.0 finds no leader again for a queue that new
    mq.start()
    mq.control("delete_queue", task_queue("lost"))
    wait_for(lambda: answers(om.runtime.require("lost")))
