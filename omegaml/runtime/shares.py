"""Sharing out one task among those workers that are free.

Whoever carries out the task does a share himself, then those that nobody has begun, and waits for the others:
so it comes to an end also where all are busy, and two of them never wait for each other. What is queued again
while he waits, as its runner has died, he does himself. Shares name the try of the task that they are of: who
comes to one whose task has ended, or was begun anew, leaves it, and who is at it then is stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from omegaml.errors import Conflict, OmegaError
from omegaml.runtime import progress
from omegaml.runtime.base import DEFAULT, Task

if TYPE_CHECKING:
    from omegaml.omega import Omega

EACH = 2
"""Shares for each slot: who is fast does more of them."""

PARENT = "parent"
"""The parameter of a share that names what it is of: `[id, started]`, none where nobody else can look."""

_PAUSE = 0.05


class Shares:
    """The parts of a task that is made of `count` equal ones.

    Attributes:
        numbers: of the parts of each share. Neighbours are in different ones, as they take alike long.
    """

    def __init__(self, om: Omega, task: Task, count: int) -> None:
        from omegaml.runtime.tasks import Tasks

        self._om = om
        self._task = task
        self._tasks = Tasks(om.db, om.mongo_url)
        self._parent = self._tasks.try_of(task.id)
        shares = max(1, min(count, EACH * self._slots()))
        self.numbers = [range(first, count, shares) for first in range(shares)]

    def done(self, action: str, do: Callable[[Sequence[int]], Any]) -> list[Any]:
        """Return what `do` returns for the numbers of each share; others do `action` with `numbers` for it.

        Raises: the first error of any of them; the others are stopped then.
        """
        if len(self.numbers) == 1:
            return [do(self.numbers[0])]
        from omegaml.runtime.local import StoredPromise

        tasks = self._tasks
        asked = {n: self._asked(action, numbers) for n, numbers in enumerate(self.numbers) if n}
        try:
            for task in asked.values():
                tasks.add(task, repeatable=True, parent=self._parent)
            answers = {0: do(self.numbers[0])}
            for n, task in reversed(asked.items()):
                self._say(len(answers))
                if tasks.withdraw(task.id):
                    answers[n] = do(self.numbers[n])
            for n, task in asked.items():
                if n not in answers:
                    promise = StoredPromise(self._om, tasks, task.id)
                    while not promise.done():  # which queues again what a dead runner had in hand
                        if tasks.status(task.id) == "queued" and tasks.withdraw(task.id):
                            answers[n] = do(self.numbers[n])
                            break
                        time.sleep(_PAUSE)
                    else:
                        answers[n] = promise.get()
                    self._say(len(answers))
            return [answers[n] for n in range(len(self.numbers))]
        except BaseException:
            for task in asked.values():
                with suppress(OmegaError):
                    if not tasks.withdraw(task.id):
                        tasks.cancel(task.id)
            raise

    def _say(self, done: int) -> None:
        progress.say(self._om, done / len(self.numbers), f"{done} of {len(self.numbers)} shares")

    def _asked(self, action: str, numbers: Sequence[int]) -> Task:
        task = self._task
        kwargs = {**task.kwargs, "numbers": list(numbers), PARENT: self._parent}
        about: dict[str, Any] = {"bucket": self._om.bucket, "limit": task.limit, "label": task.label}
        return Task(action, task.store, task.name, task.args, kwargs, **about)

    def _slots(self) -> int:
        """How many tasks are carried out at a time; 0 where no other finds what this one needs."""
        store = self._om.datasets
        if not all(map(store.exists, self._task.temporary)):  # values that only this process has
            return 0
        label = self._task.label
        alive = self._tasks.runners()
        slots = [r.get("slots") or 1 for r in alive if label in (r.get("labels") or (DEFAULT,))]
        return sum(slots)


def check_parent(om: Omega, parent: Sequence[str] | None) -> None:
    """Raise Conflict if nobody waits for a share any more: its task has ended, or was begun anew."""
    from omegaml.runtime.tasks import Tasks

    if parent and Tasks(om.db, om.mongo_url).try_of(parent[0]) != list(parent):
        raise Conflict("the task that this is a share of has ended")
