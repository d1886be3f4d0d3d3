"""What users and services may do on RabbitMQ's own image."""

from __future__ import annotations

import pytest

from tests.lab.rabbitmq import RabbitMQ
from tests.services.test_broker_rights import *  # noqa: F403

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def server(rabbitmq_container: RabbitMQ) -> RabbitMQ:
    return rabbitmq_container
