"""A queue of RabbitMQ's own image that takes no more."""

from __future__ import annotations

import pytest

from tests.lab.rabbitmq import RabbitMQ
from tests.services.test_broker_faults import (
    om,
    test_a_full_queue_is_said_leaves_nothing_and_work_goes_on_when_it_is_not,
    url,
    wire,
    worker,
)

__all__ = [
    "om",
    "test_a_full_queue_is_said_leaves_nothing_and_work_goes_on_when_it_is_not",
    "url",
    "wire",
    "worker",
]
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def mq(rabbitmq_container: RabbitMQ) -> RabbitMQ:
    return rabbitmq_container
