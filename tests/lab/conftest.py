"""Containers for the tests of several files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.container import running
from tests.lab.rabbitmq import RabbitMQ


@pytest.fixture(scope="session")
def rabbitmq_container(request: pytest.FixtureRequest) -> Iterator[RabbitMQ]:
    """A broker for all files."""
    with running(RabbitMQ(), request) as server:
        yield server
