"""Names on the broker, and who may be behind them.

Tasks go through the exchange `omega.tasks` to one queue per label; replies to callers that wait through
`omega.replies` to queues of their own. A user may publish to the first and read own reply queues only
(`omegaweb.provision.rabbitmq` gives these rights); the broker checks the property `user_id` of each message.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from omegaml.errors import InvalidInput

TASKS = "omega.tasks"
REPLIES = "omega.replies"
ASK, RUN = "omega.ask", "omega.run"
"""Celery's names of the two messages: a task to be answered; the id of one that waits in its database."""

WEB, SCHEDULER, WORKER = "omega-web", "omega-scheduler", "omega-worker"

#: Service users that speak for others: their tag `impersonator` lets them set `user_id` to an account.
IMPERSONATORS = (WEB, SCHEDULER)

DELIVERIES = 3
"""So many times a message is handed out again whose worker died."""

MOST_WAITING = 100_000
"""Messages that a queue holds; more are refused, and whoever sends them is told."""

_LABEL = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


def check_label(label: str) -> str:
    """Return a worker's label. Raises InvalidInput for what no queue is named by."""
    if not _LABEL.fullmatch(label):
        raise InvalidInput(
            f"{label!r} is no label", hint="small letters, digits and _.-, at most 63, as in gpu"
        )
    return label


def task_queue(label: str) -> str:
    """The queue of the tasks for workers of that label."""
    return f"omega.q.{check_label(label)}"


def queue_arguments() -> dict[str, Any]:
    """Return what every queue of tasks is declared with: durable, bounded, no message comes for ever.

    Source: https://www.rabbitmq.com/docs/quorum-queues
    """
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERIES,
        "x-max-length": MOST_WAITING,
        "x-overflow": "reject-publish",
        # a training may take long (RabbitMQ 3.12 and newer; before, its setting consumer_timeout)
        "x-consumer-timeout": 7 * 24 * 3600 * 1000,
    }


def reply_queue(user: str) -> str:
    """A new name for a queue of replies to `user`: an account, or a service that speaks for accounts."""
    return f"omega.reply.{user}.{secrets.token_hex(16)}"


def may_reply(queue: str, userid: str) -> bool:
    """Tell whether replies to the account's tasks may go to that queue.

    A service that speaks for accounts has queues of its own; what a user sends there is thrown away, as
    nobody can guess the ids of its tasks.
    """
    owner = queue.removeprefix("omega.reply.").rpartition(".")[0]
    return queue.startswith("omega.reply.") and owner in (userid, *IMPERSONATORS)
