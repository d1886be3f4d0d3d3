"""Accounts that omegaweb makes on RabbitMQ's own image, and one worker for two of them."""

from __future__ import annotations

import pytest

from tests.lab.rabbitmq import RabbitMQ
from tests.services.test_broker_accounts import (
    anns,
    bobs,
    cli,
    test_a_client_with_yesterdays_password_of_the_broker_asks_for_todays,
    test_a_disabled_account_gets_no_more_answers,
    test_a_hostile_model_finds_nothing_of_another_or_of_a_service,
    test_a_reply_goes_to_nobody_else,
    test_a_task_for_another_is_refused_by_the_broker,
    test_each_gets_the_answers_of_the_own_models,
    test_rest_asks_and_trains_by_the_same_worker,
    web,
    worker,
)

__all__ = [
    "anns",
    "bobs",
    "cli",
    "test_a_client_with_yesterdays_password_of_the_broker_asks_for_todays",
    "test_a_disabled_account_gets_no_more_answers",
    "test_a_hostile_model_finds_nothing_of_another_or_of_a_service",
    "test_a_reply_goes_to_nobody_else",
    "test_a_task_for_another_is_refused_by_the_broker",
    "test_each_gets_the_answers_of_the_own_models",
    "test_rest_asks_and_trains_by_the_same_worker",
    "web",
    "worker",
]
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def broker(rabbitmq_container: RabbitMQ) -> RabbitMQ:
    return rabbitmq_container
