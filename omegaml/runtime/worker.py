"""The process that carries out tasks of a broker: `python -m omegaml.runtime.worker --config FILE`.

FILE is that of `omegaml.runtime.runner`, and names the broker besides: OMEGA_BROKER, with the login of the
service user `omega-worker`. Celery takes the messages (https://docs.celeryq.dev), one thread for each task at
a time; the task itself is done by a child process that knows one account only. A message says by `user_id`
whose it is, which the broker has checked; one without it is refused.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import ssl
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from amqp.exceptions import AccessRefused, PreconditionFailed
from amqp.exceptions import NotFound as Missing
from celery import Celery
from celery.exceptions import Reject
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.strategy import default as strategy
from kombu import Exchange, Queue

from omegaml.config import check_broker
from omegaml.errors import (
    ConfigInvalid,
    Forbidden,
    InvalidInput,
    OmegaError,
    TaskFailed,
    Unavailable,
)
from omegaml.runtime import actions
from omegaml.runtime.accounts import Accounts
from omegaml.runtime.base import DEFAULT, Task, error_to_doc, short
from omegaml.runtime.broker import ca_file, check
from omegaml.runtime.limits import Limits, add_options, from_options
from omegaml.runtime.messages import (
    ASK,
    DELIVERIES,
    REPLIES,
    RUN,
    TASKS,
    check_label,
    may_reply,
    queue_arguments,
    task_queue,
)
from omegaml.runtime.replies import Replies
from omegaml.runtime.runner import accounts_of, read_config, usual_slots
from omegaml.runtime.service import DRAIN, Service

ANSWERED = 1000
"""So many ids of tasks are remembered: a message that comes again after its answer is not done again."""

log = logging.getLogger("omegaml.runner")


class Worker(Service):
    """A service that takes its tasks from the queues of its labels.

    It looks for queued tasks as well, though seldom: of some no message has told, as it was lost.

    Args:
        broker: URL of the broker, as a user who may read the queues and write replies.
    """

    longest_pause = 5.0

    def __init__(
        self,
        accounts: Accounts,
        broker: str,
        slots: int = 1,
        labels: Sequence[str] = (DEFAULT,),
        limits: Limits | None = None,
    ) -> None:
        super().__init__(accounts, slots, labels, limits)
        self._broker = broker
        self._app = make_app(broker, labels)
        self._replies = Replies(
            lambda: self._app.connection_for_write(transport_options={"confirm_publish": True})
        )
        self._answered: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._controller: Any = None
        self._consuming: threading.Thread | None = None
        self._take(ASK, self._ask)
        self._take(RUN, self._run)

    def _take(self, name: str, handle: Callable[..., None]) -> None:
        def called(celery_task: Any, text: str) -> None:
            handle(celery_task.request, text)

        # acknowledged when done: a message of a worker that dies is handed to another
        options = {"bind": True, "acks_late": True, "ignore_result": True, "Strategy": f"{__name__}:checked"}
        self._app.task(called, name=name, **options)

    def open(self) -> None:
        prepare(self._app, self._broker)
        self._controller = self._app.WorkController(
            app=self._app,
            hostname=f"omega@{self.id}",
            pool_cls="threads",
            concurrency=self._slots.count,
            loglevel=logging.WARNING,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            consumer_cls=f"{__name__}:QuietConsumer",
        )
        self._consuming = threading.Thread(target=self._controller.start, name="celery", daemon=True)
        self._consuming.start()

    def close(self) -> None:
        if self._consuming is not None:
            state.should_stop = os.EX_OK  # Celery looks at it in its loop

    def _leave(self) -> None:
        if self._consuming is not None:
            self._consuming.join(10)
        self._replies.close()
        super()._leave()

    # --- messages

    def _ask(self, request: Any, text: str) -> None:
        """Carry out a task whose caller waits, and answer."""
        userid, reply_to = request.properties["user_id"], request.reply_to
        try:
            task = Task.from_json(text)
        except InvalidInput as error:
            log.warning("a message of %s: %s", userid, short(error))
            return
        if self.execution.has(userid, task.id) or (is_again(request) and (userid, task.id) in self._answered):
            return  # the connection to the broker was lost meanwhile
        if not may_reply(reply_to or "", userid):
            log.warning("a message of %s asks for an answer to %s", userid, short(reply_to))
            return
        is_unwanted = is_again(request) and not self._replies.can_reach(reply_to)
        answer = self._answer(userid, task, times_tried(request), is_unwanted)
        if self.execution.has_given_up:
            raise Reject("the worker is being stopped", requeue=True)
        if answer is None:
            return
        self._answered[userid, task.id] = None
        if len(self._answered) > ANSWERED:
            self._answered.popitem(last=False)
        if (
            not self._replies.send(reply_to, task.id, answer, lambda: self.is_stopping)
            and answer["temporary"]
        ):
            with suppress(OmegaError):
                account = self.accounts.find(userid)
                actions.drop(actions.scope(account.om, task.bucket), answer["temporary"])

    def _answer(self, userid: str, task: Task, times: int, is_unwanted: bool) -> dict[str, Any] | None:
        try:
            account = self.accounts.find(userid)
            if is_unwanted:
                actions.drop(actions.scope(account.om, task.bucket), task.temporary)
                return None
            if actions.changes(task):
                raise InvalidInput(f"{task.what} is not answered by a message", hint="enqueue it")
            if times >= DELIVERIES:  # the broker would throw it away the next time, and tell nobody
                raise TaskFailed(
                    f"{task.what} was lost: {times} workers ended while they had it in hand",
                    hint="see their logs: the model may be what ends them",
                )
            return self.execution.ask(account, task)
        except OmegaError as error:
            return {"error": error_to_doc(error), "temporary": []}

    def _run(self, request: Any, id: str) -> None:
        """Carry out a queued task."""
        account = self.accounts.find(request.properties["user_id"])
        if not account.is_prepared:
            self._prepare(account)  # who does not know of this worker would take its tasks for lost
        task = self.execution.claim_one(account, id)
        if task is not None:
            self.execution.carry_out(account, task)


def is_again(request: Any) -> bool:
    """Whether the broker has handed this message to a worker before."""
    return bool(request.delivery_info.get("redelivered"))


def times_tried(request: Any) -> int:
    """How many workers have died of this message, as the queue counts."""
    return int(vars(request).get("x-delivery-count") or 0)


def make_app(broker: str, labels: Sequence[str]) -> Celery:
    """Return the Celery app of a worker: JSON only, quorum queues, no remote control, no events."""
    exchange = Exchange(TASKS, "direct", durable=True, no_declare=True)
    queues = [
        Queue(task_queue(label), exchange, routing_key=label, queue_arguments=queue_arguments())
        for label in labels
    ]
    parts = urlsplit(check_broker(broker))
    app = Celery("omegaml", broker=parts._replace(query="").geturl(), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_queues=queues,
        task_default_queue=queues[0].name,
        task_create_missing_queues=False,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_use_ssl=parts.scheme == "amqps" and verified(broker, parts.hostname),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_heartbeat=30,
    )
    return app


def verified(broker: str, host: str | None) -> dict[str, Any]:
    """Return what has py-amqp accept a broker of that name only; as it is, it takes any name."""
    return {"ca_certs": ca_file(broker), "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": host}


def prepare(app: Celery, broker: str) -> None:
    """Make the queues of the app's labels and what is missing of the exchanges.

    Raises: as `omegaml.runtime.broker.check`; ConfigInvalid (a queue of that name is of another kind).
    """
    check(broker)  # which says what is wrong better than what follows
    with app.connection_for_write() as connection:
        where = f"the broker at {connection.as_uri().rpartition('@')[2]}"
        try:
            connection.ensure_connection(max_retries=2, interval_start=0.2)
            for name in (TASKS, REPLIES):
                _make_exchange(connection, name)
            for queue in app.conf.task_queues:
                queue(connection.default_channel).declare()
        except AccessRefused as error:
            raise Forbidden(f"{where}: {error}", hint="manage.py createworker") from None
        except Missing as error:
            raise ConfigInvalid(f"{where}: {error}", hint="manage.py createbroker") from None
        except PreconditionFailed as error:
            raise ConfigInvalid(
                f"{where}: {error}", hint="delete that queue: it is of another kind"
            ) from None
        except (OSError, *connection.connection_errors) as error:
            raise Unavailable(f"{where} does not answer: {error}", hint="omegacli cluster status") from None


def _make_exchange(connection: Any, name: str) -> None:
    """Make an exchange unless it is there: omegaweb makes them, and a worker has no right to."""
    with connection.channel() as channel:
        try:
            Exchange(name, "direct", durable=True, passive=True)(channel).declare()
            return
        except Missing:
            pass
        except AccessRefused:
            return  # RabbitMQ 4.2.6 and 4.3.0 do not tell; if it is not there, binding to it will say so
    with connection.channel() as channel:
        Exchange(name, "direct", durable=True)(channel).declare()


class QuietConsumer(Consumer):
    """Celery's consumer without what it would declare on the broker for tasks of a later time.

    It looks for a broker that is away every few seconds, not at intervals that grow to half a minute.
    """

    def ensure_connected(self, conn: Any) -> Any:
        where = conn.as_uri()
        return conn.ensure_connection(
            lambda error, seconds: log.warning("%s: %s; again in %s s", where, error, seconds),
            interval_start=0.5,
            interval_step=0.5,
            interval_max=3,
            callback=state.maybe_shutdown,
        )

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        hub.timer.call_repeatedly(0.2, lambda: None)  # so that the loop soon sees that it is to stop

    class Blueprint(Consumer.Blueprint):
        default_steps = [  # noqa: RUF012
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        ]


def checked(task: Any, app: Celery, consumer: Consumer, **options: Any) -> Callable[..., None]:
    """Celery's strategy (how a message becomes a task), for messages that may be one of ours only."""
    handle = strategy(task, app, consumer, **options)

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> None:
        problem = refused(message)
        if problem is None:
            handle(message, body, ack, reject, callbacks, **more)
            return
        log.warning("a message is refused: %s", problem)
        reject(log, consumer.connection_errors)

    return on_message


def refused(message: Any) -> str | None:
    """Return why a message is none that we carry out; None if it is."""
    if not message.properties.get("user_id"):
        return "it does not say whose it is"
    if message.headers.get("eta") or message.headers.get("chord") or message.headers.get("group"):
        return "it asks for more of Celery than to carry out one task"
    return None


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(prog="omegaml.runtime.worker", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML file, mode 0600, with OMEGA_BROKER")
    parser.add_argument("--label", action="append", help="of the tasks it takes; default")
    parser.add_argument("--concurrency", type=int, help="tasks at a time; 2 and one per processor at least")
    parser.add_argument("--drain", type=float, default=DRAIN, help="seconds to finish tasks in after SIGTERM")
    parser.add_argument("--alive-file", type=Path, help="touched every few seconds, while it can work")
    add_options(parser)
    options = parser.parse_args(argv)
    logging.getLogger("celery").setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings, limits = read_config(options.config), from_options(options)
        return serve(settings, options.label, options.concurrency, options.drain, limits, options.alive_file)
    except OmegaError as error:
        log.error("%s", error)
        return error.exit_code


def serve(
    settings: dict[str, Any],
    labels: Sequence[str] | None = None,
    concurrency: int | None = None,
    drain: float = DRAIN,
    limits: Limits | None = None,
    alive_file: Path | None = None,
) -> int:
    """Be a worker with these settings until SIGTERM or SIGINT; return the exit code.

    Raises: ConfigInvalid (no broker), InvalidInput (a label), and what `prepare` raises.
    """
    if not settings.get("OMEGA_BROKER"):
        raise ConfigInvalid("a worker needs OMEGA_BROKER", hint="amqp://user:password@host:5672")
    accounts = accounts_of(settings)
    known = [check_label(label) for label in labels or (DEFAULT,)]
    slots = max(1, concurrency or usual_slots(accounts))
    worker = Worker(accounts, str(settings["OMEGA_BROKER"]), slots, known, limits)
    worker.alive_file = alive_file
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    # as in the runner: signals are handled by a thread that holds no lock
    with ThreadPoolExecutor(1) as working:
        working.submit(worker.run, drain).result()
    return 0


if __name__ == "__main__":
    sys.exit(main())
