"""Taking tasks to children and their outcomes back, for one runner or worker."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from omegaml.errors import OmegaError, TaskFailed, TimedOut, Unavailable
from omegaml.runtime import actions
from omegaml.runtime.accounts import Account
from omegaml.runtime.base import Task, error_to_doc, short
from omegaml.runtime.child import Child
from omegaml.runtime.output import Writer
from omegaml.runtime.slots import Slots
from omegaml.runtime.tasks import cancelled

ANSWERING = 3.0
GIVING_BACK = 3.0

log = logging.getLogger("omegaml.runner")


class Execution:
    """The tasks in hand, each with its account and, once it has one, its child.

    Args:
        id: of the runner or worker, by which its claims are known.
        slots: whose children carry tasks out.
        labels: of the tasks that are claimed.
    """

    def __init__(self, id: str, slots: Slots, labels: Sequence[str]) -> None:
        self.id = id
        self.slots = slots
        self.labels = list(labels)
        #: Of what the tasks say.
        self.logs = Writer()
        #: By user and id: an id alone may be that of somebody else's task.
        self.in_hand: dict[tuple[str, str], tuple[Account, Child | None]] = {}
        #: A slot got free that somebody had asked for, or there is another reason to look for tasks.
        self.wake = threading.Event()
        self._is_full = False
        self._cancelled: set[tuple[str, str]] = set()
        self._give_up = threading.Event()
        self._is_leaving = False

    def has(self, userid: str, id: str) -> bool:
        """Whether this task of a user is in hand."""
        return (userid, id) in self.in_hand or ("", id) in self.in_hand

    def ids_of(self, account: Account) -> list[str]:
        """Return the ids of the account's tasks in hand."""
        return [id for userid, id in list(self.in_hand) if userid == account.userid]

    # --- queued tasks: documents of their account

    def claim(self, account: Account) -> Task | None:
        """Take the account's oldest queued task, for `carry_out`; None where there is none, or no slot."""
        if not self.slots.reserve():
            self._is_full = True
            return None
        return self._claimed(account, None)

    def claim_one(self, account: Account, id: str) -> Task | None:
        """Wait for a slot and take this task; None where it was taken, has ended or is not there."""
        if not isinstance(id, str) or self.has(account.userid, id) or not self.slots.reserve(None):
            return None
        return self._claimed(account, id)

    def _claimed(self, account: Account, id: str | None) -> Task | None:
        task = None
        try:
            if not self._is_leaving:  # what was given back is for others: here it would be ended again
                task = account.tasks.claim(self.id, self.labels, id)
        finally:
            if task is None:
                self.slots.release()
            else:
                self.in_hand[account.userid, task.id] = account, None
        return task

    def carry_out(self, account: Account, task: Task) -> None:
        """Have a claimed task done, and write down what came of it."""
        began = time.monotonic()
        try:
            child = self._child(account, task)
        except Exception as error:  # the task is given back soon
            warn(error, f"task {short(task.id)}: ")
            return
        try:
            # whoever is told that it has ended finds all that it said
            answer = self._answer(account, child, task, write_now=True)
            if self._is_for_later(account, task, answer):
                message = answer["error"]["message"]
                log.warning("task %s is tried again: %s", short(task.id), short(message))
                return
            unused = self._finish(account, task, answer)
            self._log(account, task, answer, began)
            actions.drop(actions.scope(account.om, task.bucket), unused)
        except Exception as error:
            warn(error, f"task {short(task.id)}: ")
        finally:
            self._release(account, child, task)

    def stop_cancelled(self, account: Account) -> None:
        """End the account's tasks in hand that were cancelled."""
        in_hand = dict(self.in_hand)
        for id in account.tasks.to_stop(self.id, self.ids_of(account)):
            key = account.userid, id
            _, child = in_hand.get(key, (account, None))
            if child is not None and key not in self._cancelled:
                self._cancelled.add(key)
                child.kill()

    def _is_for_later(self, account: Account, task: Task, answer: dict[str, Any]) -> bool:
        # that the database went away under a task is not the task's fault
        if answer.get("error", {}).get("error") != Unavailable.__name__:
            return False
        return bool(self.patiently(lambda: account.tasks.retry(task.id, self.id), seconds=3600))

    def _finish(self, account: Account, task: Task, answer: dict[str, Any]) -> list[str]:
        """Write down what came of a task; return the temporary datasets that nobody needs now."""
        is_cancelled = (account.userid, task.id) in self._cancelled and "error" in answer

        def finish(outcome: dict[str, Any]) -> bool:
            # a result must not be lost because the database is being restarted
            done = self.patiently(
                lambda: account.tasks.finish(task.id, self.id, outcome, is_cancelled), seconds=3600
            )
            return bool(done)

        try:
            # if another has taken the task, it is he who needs what it was given
            return [*task.temporary] if finish(answer) else [*answer["temporary"]]
        except (Unavailable, TimedOut):
            raise
        except OmegaError as error:
            # the result itself is refused: say so instead of leaving the task running
            finish({"error": error_to_doc(error), "temporary": []})
            return [*task.temporary, *answer["temporary"]]

    # --- tasks whose caller waits

    def ask(self, account: Account, task: Task) -> dict[str, Any]:
        """Have a task done and return its answer.

        Its temporary datasets are dropped. Raises: TimedOut, if no slot gets free within its limit.
        """
        began = time.monotonic()
        if not self.slots.reserve(task.limit):
            raise TimedOut(f"all {self.slots.count} slots of the runner were taken all the time")
        child = self._child(account, task)
        try:
            if task.limit is not None:
                task = replace(task, limit=max(0.05, task.limit - (time.monotonic() - began)))
            answer = self._answer(account, child, task)
        finally:
            self._release(account, child, task)
        self._log(account, task, answer, began)
        if task.temporary:
            actions.drop(actions.scope(account.om, task.bucket), task.temporary)
        return answer

    # --- both

    def _child(self, account: Account, task: Task) -> Child:
        """Return a child for a task, in the slot that was reserved for it."""
        try:
            child = self.slots.child(account)
        except BaseException:
            self.in_hand.pop((account.userid, task.id), None)
            raise
        self.in_hand[account.userid, task.id] = account, child
        return child

    def _answer(self, account: Account, child: Child, task: Task, write_now: bool = False) -> dict[str, Any]:
        output = self.logs.open(account.om, task.id)
        try:
            answer = child.run(task, output)
        except Exception as error:  # no process to be had, or no JSON from it
            warn(error, f"task {short(task.id)}: ")
            child.close()
            failed = TaskFailed(f"{task.what} could not be run here: {error}")
            return {"error": error_to_doc(failed), "temporary": []}
        finally:
            self.logs.end(output, write_now)
        if (account.userid, task.id) in self._cancelled and "error" in answer:
            return {"error": error_to_doc(cancelled(task.what, task.id)), "temporary": []}
        return answer

    def _release(self, account: Account, child: Child, task: Task) -> None:
        self.in_hand.pop((account.userid, task.id), None)
        self._cancelled.discard((account.userid, task.id))
        self.slots.give(child)
        if self._is_full:
            self._is_full = False
            self.wake.set()

    def _log(self, account: Account, task: Task, answer: dict[str, Any], began: float) -> None:
        how = "failed" if "error" in answer else "done"
        whose = f" of {account.userid}" if account.userid else ""
        seconds = time.monotonic() - began
        what = f"task {short(task.id)} {short(task.action)} {short(task.name)}"
        log.info("%s%s %s in %.3f s", what, whose, how, seconds)

    def drain(self, seconds: float) -> None:
        """Wait so long for the tasks in hand; give those back that have not ended then, and end them."""
        end = time.monotonic() + seconds
        while self.in_hand and time.monotonic() < end:
            time.sleep(0.02)
        self._is_leaving = True
        if self.in_hand:
            # first give the tasks back: a killed child would be reported as the task's own fault
            end = time.monotonic() + GIVING_BACK
            for account in {account for account, _ in dict(self.in_hand).values()}:
                try:
                    self.patiently(partial(account.tasks.give_back, self.id), end - time.monotonic())
                except Exception as error:
                    warn(error, f"{account}: ")
            self._give_up.set()
            self.slots.kill()
            end = time.monotonic() + ANSWERING
            while self.in_hand and time.monotonic() < end:
                time.sleep(0.02)

    @property
    def has_given_up(self) -> bool:
        """Whether tasks are ended that their callers still wait for."""
        return self._give_up.is_set()

    def patiently(self, do: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Return what `do` returns, trying again while the database is away. Raises: its last error."""
        end = time.monotonic() + seconds
        while True:
            try:
                return do()
            except (Unavailable, TimedOut):
                if time.monotonic() > end or self._give_up.wait(0.5):
                    raise


def warn(error: Exception, where: str = "") -> None:
    """Write an error into the log: one of ours as its sentence, others with where they were raised."""
    if isinstance(error, OmegaError):
        log.warning("%s%s", where, short(error))
    else:
        raised = "".join(traceback.format_tb(error.__traceback__)).rstrip()
        log.error("%s%s: %s\n%s", where, type(error).__name__, short(error), raised)
