"""Accounts, keys and provisioning again, with MariaDB and RabbitMQ beside MongoDB."""

from __future__ import annotations

from collections.abc import Iterator

import pika
import pytest
from pika.exceptions import AMQPError, ChannelClosedByBroker, ProbableAuthenticationError

from omegaweb.provision import rabbitmq
from tests.services.servers import MariaDB, RabbitMQ
from tests.services.test_web_accounts import *  # noqa: F403
from tests.services.web_platform import Person, WebPlatform, running

pytestmark = pytest.mark.once


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        rabbitmq.ensure_topology(server.admin_url)
        yield server


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory, broker: RabbitMQ) -> Iterator[WebPlatform]:
    """omegaweb on MariaDB beside a secured MongoDB and a broker."""
    addresses = {"broker_url": f"amqp://localhost:{broker.port}", "broker_admin_url": broker.admin_url}
    with (
        MariaDB(tmp_path_factory.mktemp("mariadb")) as database,
        running(tmp_path_factory.mktemp("web"), database.url, **addresses) as platform,
    ):
        yield platform


@pytest.fixture(scope="session")
def boss(web: WebPlatform) -> Person:
    """An administrator."""
    return web.person(role="admin")


def connect(person: Person) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(person.settings["OMEGA_BROKER"]))


def test_a_user_publishes_tasks_and_reads_own_replies_and_nothing_else(ann: Person, bob: Person) -> None:
    with connect(ann) as connection:
        channel = connection.channel()
        channel.queue_declare(f"omega.reply.{ann.userid}.1", exclusive=True)
        channel.confirm_delivery()
        own = pika.BasicProperties(user_id=ann.userid)
        channel.basic_publish("omega.tasks", "omega.q.default", b"{}", own)
        assert channel.basic_get(f"omega.reply.{ann.userid}.1") == (None, None, None)
        for attempt in (
            lambda c: c.queue_declare(f"omega.reply.{bob.userid}.1"),
            lambda c: c.queue_declare("omega.q.default"),
            lambda c: c.queue_declare("mine"),
            lambda c: c.basic_get("omega.q.default"),
            lambda c: c.exchange_declare("celery.pidbox", "fanout"),
            lambda c: c.exchange_delete("omega.tasks"),
            lambda c: c.basic_publish("", "omega.q.default", b"{}"),
            lambda c: c.basic_publish("amq.direct", "x", b"{}"),
            lambda c: c.basic_publish("omega.tasks", "x", b"{}", pika.BasicProperties(user_id=bob.userid)),
            lambda c: c.queue_bind(f"omega.reply.{ann.userid}.1", "omega.tasks", "#"),
        ):
            channel = connection.channel()
            channel.confirm_delivery()
            with pytest.raises(ChannelClosedByBroker) as refused:
                attempt(channel)
            assert refused.value.reply_code in (403, 406)


def test_another_or_no_password_does_not_open_the_broker(ann: Person, broker: RabbitMQ) -> None:
    for userid, password in ((ann.userid, "wrong"), ("guest", "guest"), (ann.userid, "")):
        url = f"amqp://{userid}:{password}@localhost:{broker.port}"
        with pytest.raises(ProbableAuthenticationError):
            pika.BlockingConnection(pika.URLParameters(url))


def test_revoking_the_last_key_ends_what_is_connected_to_the_broker(web: WebPlatform, ann: Person) -> None:
    connection, url = connect(ann), ann.settings["OMEGA_BROKER"]
    ann.revoke_keys()
    with pytest.raises(AMQPError):
        for _ in range(100):
            connection.process_data_events(time_limit=0.1)
    with pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(pika.URLParameters(url))


def test_an_account_is_opened_while_the_broker_is_away_and_repaired_later(
    web: WebPlatform, broker: RabbitMQ
) -> None:
    ann = web.person()
    rabbitmq.drop_user(broker.admin_url, ann.userid)  # as if it had been away
    with pytest.raises(ProbableAuthenticationError):
        connect(ann)
    assert f"{ann.userid}: ok" in web.manage("provision", "--all").stdout
    connect(ann).close()
