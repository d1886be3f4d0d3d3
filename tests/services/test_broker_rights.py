"""What users and services of the broker may do, each tried by a connection of its own to a real RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pika
import pytest
from pika.exceptions import AMQPError, ChannelClosedByBroker, ProbableAuthenticationError, UnroutableError

from omegaml.errors import ConfigInvalid, Conflict
from omegaml.runtime.messages import REPLIES, SCHEDULER, TASKS, WEB, WORKER, queue_arguments, task_queue
from omegaweb.provision import rabbitmq
from tests.services.servers import Broker, RabbitMQ

pytestmark = pytest.mark.once

QUEUE = task_queue("default")
Attempt = Callable[[Any], Any]


@dataclass
class Login:
    """A user of the broker with the password `pw`."""

    broker: Broker
    name: str

    def connect(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self.url))

    @property
    def url(self) -> str:
        return rabbitmq.login_url(f"amqp://127.0.0.1:{self.broker.port}", self.name, "pw")

    def is_refused(self, attempt: Attempt, code: int = 403) -> bool:
        """Tell whether the broker closes the channel over that, with that code."""
        with self.connect() as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            with pytest.raises(ChannelClosedByBroker) as refused:
                attempt(channel)
            return bool(refused.value.reply_code == code)

    def do(self, attempt: Attempt) -> Any:
        with self.connect() as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            return attempt(channel)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="module")
def broker(server: Broker) -> Broker:
    """What omegaweb makes of it: ann, bob and the services, a queue of tasks, and queues of replies."""
    rabbitmq.ensure_topology(server.admin_url)
    for name in ("ann", "ann2", "bob"):
        rabbitmq.ensure_user(server.admin_url, name, "pw")
    for name in rabbitmq.SERVICES:
        rabbitmq.ensure_service(server.admin_url, name, "pw")
    with Login(server, WORKER).connect() as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True, arguments=queue_arguments())
        channel.queue_bind(QUEUE, TASKS, "default")
    for name in ("ann", "bob", "ann2", WEB):
        with Login(server, name).connect() as connection:
            connection.channel().queue_declare(f"omega.reply.{name}.1", durable=True)
    return server


@pytest.fixture
def ann(broker: Broker) -> Login:
    return Login(broker, "ann")


@pytest.fixture
def worker(broker: Broker) -> Login:
    return Login(broker, WORKER)


def message(user_id: str | None) -> pika.BasicProperties:
    return pika.BasicProperties(user_id=user_id)


def test_a_user_publishes_tasks_as_herself_and_reads_own_replies(ann: Login, worker: Login) -> None:
    ann.do(lambda c: c.basic_publish(TASKS, "default", b"a task", message("ann"), mandatory=True))

    def take(channel: Any) -> str:
        _, properties, body = channel.basic_get(QUEUE, auto_ack=True)
        assert body == b"a task"
        channel.queue_bind("omega.reply.ann.1", REPLIES, "omega.reply.ann.1")
        channel.basic_publish(REPLIES, "omega.reply.ann.1", b"an answer", mandatory=True)
        return str(properties.user_id)

    assert worker.do(take) == "ann"
    assert ann.do(lambda c: c.basic_get("omega.reply.ann.1", auto_ack=True))[2] == b"an answer"


REFUSED: dict[str, Attempt] = {
    "make a queue of tasks": lambda c: c.queue_declare(QUEUE, durable=True, arguments=queue_arguments()),
    "make one of a new label": lambda c: c.queue_declare("omega.q.mine"),
    "read tasks": lambda c: c.basic_get(QUEUE),
    "consume tasks": lambda c: c.basic_consume(QUEUE, lambda *_: None),
    "purge tasks": lambda c: c.queue_purge(QUEUE),
    "delete the queue of tasks": lambda c: c.queue_delete(QUEUE),
    "bind a queue to tasks": lambda c: c.queue_bind("omega.reply.ann.1", TASKS, "default"),
    "unbind the queue of tasks": lambda c: c.queue_unbind(QUEUE, TASKS, "default"),
    "publish to the default exchange": lambda c: c.basic_publish("", QUEUE, b"{}"),
    "publish to amq.direct": lambda c: c.basic_publish("amq.direct", "x", b"{}"),
    "publish to amq.topic": lambda c: c.basic_publish("amq.topic", "x", b"{}"),
    "publish replies": lambda c: c.basic_publish(REPLIES, "omega.reply.bob.1", b"{}"),
    "bind a queue to replies": lambda c: c.queue_bind("omega.reply.ann.1", REPLIES, "omega.reply.bob.1"),
    "have dead messages go to replies": lambda c: c.queue_declare(
        "omega.reply.ann.2", arguments={"x-dead-letter-exchange": REPLIES}
    ),
    "have dead messages go anywhere": lambda c: c.queue_declare(
        "omega.reply.ann.2", arguments={"x-dead-letter-exchange": ""}
    ),
    "read the replies of bob": lambda c: c.basic_get("omega.reply.bob.1"),
    "read the replies of who has a longer name": lambda c: c.basic_get("omega.reply.ann2.1"),
    "read the replies of omegaweb": lambda c: c.basic_get(f"omega.reply.{WEB}.1"),
    "make a queue of bob's": lambda c: c.queue_declare("omega.reply.bob.2"),
    "make any other queue": lambda c: c.queue_declare("mine"),
    "have the broker name a queue": lambda c: c.queue_declare(""),
    "make the exchange of remote control": lambda c: c.exchange_declare("celery.pidbox", "fanout"),
    "make the exchange of events": lambda c: c.exchange_declare("celeryev", "topic"),
    "delete the exchange of tasks": lambda c: c.exchange_delete(TASKS),
    "bind an exchange to tasks": lambda c: (
        c.exchange_declare("omega.reply.ann.x", "fanout", auto_delete=True),
        c.exchange_bind("omega.reply.ann.x", TASKS, "default"),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_user_may_not(ann: Login, what: str) -> None:
    assert ann.is_refused(REFUSED[what])


@pytest.mark.parametrize("name", ["bob", WEB, WORKER])
def test_a_user_cannot_claim_to_be_somebody_else(ann: Login, name: str) -> None:
    assert ann.is_refused(lambda c: c.basic_publish(TASKS, "default", b"{}", message(name)), 406)


def test_a_worker_takes_tasks_and_publishes_none(worker: Login) -> None:
    assert worker.is_refused(lambda c: c.basic_publish(TASKS, "default", b"{}", message("ann")))
    assert worker.is_refused(lambda c: c.basic_publish("", QUEUE, b"{}"))
    assert worker.is_refused(
        lambda c: c.basic_publish(REPLIES, "omega.reply.ann.1", b"{}", message("ann")), 406
    )
    assert worker.is_refused(lambda c: c.basic_get("omega.reply.ann.1"))
    assert worker.is_refused(lambda c: c.exchange_delete(REPLIES))
    assert worker.is_refused(lambda c: c.queue_delete("omega.reply.ann.1"))


@pytest.mark.parametrize("name", [WEB, SCHEDULER])
def test_a_service_speaks_for_an_account_and_takes_no_tasks(broker: Broker, worker: Login, name: str) -> None:
    service = Login(broker, name)
    service.do(lambda c: c.basic_publish(TASKS, "default", b"{}", message("ann"), mandatory=True))
    assert worker.do(lambda c: c.basic_get(QUEUE, auto_ack=True))[1].user_id == "ann"
    assert service.is_refused(lambda c: c.basic_get(QUEUE))
    assert service.is_refused(lambda c: c.basic_get("omega.reply.bob.1"))
    assert service.is_refused(lambda c: c.basic_publish(REPLIES, "omega.reply.bob.1", b"{}"))


def test_nobody_knows_the_password_of_guest(broker: Broker) -> None:
    with pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(pika.URLParameters(f"amqp://guest:guest@127.0.0.1:{broker.port}"))


def test_a_task_for_a_label_that_no_queue_has_comes_back(ann: Login) -> None:
    with pytest.raises(UnroutableError):
        ann.do(lambda c: c.basic_publish(TASKS, "tpu", b"{}", message("ann"), mandatory=True))


def test_who_is_removed_is_cut_off_at_once(broker: Broker) -> None:
    rabbitmq.ensure_user(broker.admin_url, "eve", "pw")
    eve = Login(broker, "eve")
    connection = eve.connect()
    connection.channel()
    rabbitmq.drop_user(broker.admin_url, "eve")
    with pytest.raises(AMQPError):
        for _ in range(50):
            connection.process_data_events(time_limit=0.1)
    with pytest.raises(ProbableAuthenticationError):
        eve.connect()


def test_making_everything_again_changes_nothing_for_who_is_connected(broker: Broker, ann: Login) -> None:
    with ann.connect() as connection:
        channel = connection.channel()
        rabbitmq.ensure_topology(broker.admin_url)
        rabbitmq.ensure_user(broker.admin_url, "ann", "pw")
        channel.basic_publish(TASKS, "nobody", b"{}", message("ann"))
        assert channel.queue_declare("omega.reply.ann.1", passive=True).method.queue == "omega.reply.ann.1"


def test_the_administrator_of_the_broker_is_no_account(broker: Broker) -> None:
    with pytest.raises(Conflict, match="'boss' of the broker"):
        rabbitmq.ensure_user(broker.admin_url, "boss", "pw")
    with pytest.raises(Conflict, match="'boss' of the broker"):
        rabbitmq.drop_user(broker.admin_url, "boss")


def test_a_vhost_that_is_not_there_is_said(broker: Broker) -> None:
    with pytest.raises(ConfigInvalid, match="refuses /permissions/missing/eve"):
        rabbitmq.ensure_user(f"{broker.admin_url}missing", "eve", "pw")
