"""Accounts that omegaweb makes on RabbitMQ's own image, and one worker for two of them."""

from __future__ import annotations

import pytest

from tests.lab.rabbitmq import RabbitMQ
from tests.services.test_broker_accounts import *  # noqa: F403

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def broker(rabbitmq_container: RabbitMQ) -> RabbitMQ:
    return rabbitmq_container
