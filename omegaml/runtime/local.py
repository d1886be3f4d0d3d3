"""The local runtime: tasks run in this process, in child processes of it, or in the cluster's runner."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from omegaml.errors import OmegaError, TimedOut, Unavailable
from omegaml.runtime import actions, values
from omegaml.runtime.base import Finished, Promise, Task, error_from_doc
from omegaml.runtime.child import Child

if TYPE_CHECKING:
    from omegaml.omega import Omega
    from omegaml.runtime.tasks import Tasks

NO_RUNNER = "start one with `omegacli cluster up --target local`"


class LocalRuntime:
    """Carries out tasks without a broker: waiting calls here, all others through the `tasks` collection."""

    def __init__(self, om: Omega) -> None:
        self._om = om

    @property
    def tasks(self) -> Tasks:
        """The queue and the results in the user's own database."""
        from omegaml.runtime.tasks import Tasks

        return Tasks(self._om.db, self._om.mongo_url)

    def submit(self, task: Task) -> Promise:
        """Carry out a task in this process, now; its promise has ended."""
        try:
            # through JSON, as on every other runtime, so that none takes what another refuses
            return Finished(task.id, result=actions.run(self._om, Task.from_json(task.to_json())))
        except OmegaError as error:
            return Finished(task.id, error=error)

    def enqueue(self, task: Task) -> Promise:
        """Leave a task to a runner. Raises Unavailable if none is alive."""
        queued = self.tasks
        self.require_runner()
        queued.add(task, actions.is_idempotent(task))
        return StoredPromise(self._om, queued, task.id)

    def promise(self, id: str) -> Promise:
        """Return the promise of a task that any process has queued. Raises NotFound."""
        queued = self.tasks
        queued.ended(id)
        return StoredPromise(self._om, queued, id)

    def require_runner(self) -> None:
        """Raise Unavailable unless a runner has been heard of in the last 15 seconds."""
        if not self.tasks.runners():
            raise Unavailable("no runner is there to carry out the task", hint=NO_RUNNER)

    def map(self, tasks: Sequence[Task], processes: int | None = None) -> list[Promise]:
        """Carry out tasks in parallel in child processes; returns when all have ended, in the same order.

        Args:
            processes: how many at a time; the number of processors where not given.
        """
        size = max(1, min(processes or os.cpu_count() or 1, len(tasks)))
        children = [Child(self._om.mongo_url, self._om.bucket) for _ in range(size)]
        free: queue.SimpleQueue[Child] = queue.SimpleQueue()
        for child in children:
            free.put(child)

        def carry_out(task: Task) -> Promise:
            child = free.get()
            try:
                return _promise_of(self._om, task, child.run(task))
            finally:
                free.put(child)

        try:
            with ThreadPoolExecutor(size) as pool:
                try:
                    return list(pool.map(carry_out, tasks))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    for child in children:
                        child.kill()
                    raise
        finally:
            for child in children:
                child.close()


def _promise_of(om: Omega, task: Task, answer: dict[str, Any]) -> Promise:
    scope = actions.scope(om, task.bucket)
    try:
        if "error" in answer:
            return Finished(task.id, error=error_from_doc(answer["error"]))
        return Finished(task.id, result=values.decode(answer["result"], scope.datasets.get))
    finally:
        actions.drop(scope, answer["temporary"])


class StoredPromise:
    """The promise of a task in the `tasks` collection, from any process."""

    def __init__(self, om: Omega, tasks: Tasks, id: str) -> None:
        self._om = om
        self._tasks = tasks
        self.id = id

    @property
    def status(self) -> str:
        """One of queued, running, done, failed, lost."""
        return str(self._tasks.get(self.id)["status"])

    def done(self) -> bool:
        """Tell whether the task has ended."""
        return self._tasks.ended(self.id)

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the task and return its result; see `Promise.get`."""
        begin = look = time.monotonic()
        pause = 0.002
        while not self._tasks.ended(self.id):
            now = time.monotonic()
            if timeout is not None and now - begin >= timeout:
                raise TimedOut(
                    f"task {self.id} did not end within {timeout:g} seconds; it goes on",
                    hint=f"omegacli runtime result {self.id}",
                    task=self.id,
                )
            if now - look > 5:
                look = now
                if not self._tasks.runners():
                    raise Unavailable(f"the runner of task {self.id} is gone", hint=NO_RUNNER, task=self.id)
            left = pause if timeout is None else max(0.0, min(pause, begin + timeout - now))
            time.sleep(left)
            pause = min(pause * 1.5, 0.1)
        doc = self._tasks.get(self.id)
        answer = doc["answer"]
        if "error" in answer:
            raise error_from_doc(answer["error"])
        return values.decode(answer["result"], actions.scope(self._om, doc["bucket"]).datasets.get)
