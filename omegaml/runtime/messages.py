"""Names on the broker, and who may be behind them.

Tasks go through the exchange `omega.tasks` to one queue per label; replies to callers that wait through
`omega.replies` to queues of their own. A user may publish to the first and read own reply queues only
(`omegaweb.provision.rabbitmq` gives these rights); the broker checks the property `user_id` of each message.
"""

from __future__ import annotations

import re
import secrets

from omegaml.errors import InvalidInput

TASKS = "omega.tasks"
REPLIES = "omega.replies"
WEB, SCHEDULER, WORKER = "omega-web", "omega-scheduler", "omega-worker"

#: Service users that speak for others: their tag `impersonator` lets them set `user_id` to an account.
IMPERSONATORS = (WEB, SCHEDULER)

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
