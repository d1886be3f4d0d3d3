"""The local runtime: waiting calls run in this process, all others in the cluster's runner.

A waiting call with a limit runs in a child process, which can be ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaml.errors import OmegaError, TimedOut, Unavailable
from omegaml.runtime import actions, values
from omegaml.runtime.base import DEFAULT, Finished, Promise, Task, error_from_doc

if TYPE_CHECKING:
    from omegaml.omega import Omega
    from omegaml.runtime.pool import Pool
    from omegaml.runtime.progress import Progress
    from omegaml.runtime.tasks import Tasks

NO_RUNNER = "start one with `omegacli cluster up --target local`"

#: Seconds between looks whether somebody still works on a task.
LOOK = 5.0


class LocalRuntime:
    """Carries out tasks without a broker: waiting calls here, all others through the `tasks` collection."""

    def __init__(self, om: Omega) -> None:
        self._om = om
        self._held: dict[str, Any] = {}
        self._pool: Pool | None = None
        self._processes: int | None = None

    @property
    def tasks(self) -> Tasks:
        """The queue and the results in the user's own database."""
        from omegaml.runtime.tasks import Tasks

        return Tasks(self._om.db, self._om.mongo_url)

    def submit(self, task: Task) -> Promise:
        """Carry out a task now, in this process, or in a child if it has a limit; its promise has ended.

        One that asks for a label, or to be called back, is left to a runner.
        """
        if task.is_for_the_queue:
            self._store_held(task)
            return self.enqueue(task)
        # nothing could end a thread of this process
        if task.limit is not None or actions.needs_child(task):
            return self._in_child(task)
        try:
            # through JSON, as on every other runtime, so that none takes what another refuses
            result = actions.run(self._om, Task.from_json(task.to_json()), self._held)
            values.check(result)
            return Finished(task.id, result=result)
        except OmegaError as error:
            return Finished(task.id, error=error)
        finally:
            self.release(task)

    def _in_child(self, task: Task) -> Promise:
        """Carry out a task in a child process, which is kept for the next one."""
        from omegaml.runtime.pool import Pool

        if self._pool is None:
            self._pool = Pool(self._om, self._processes)
        try:
            self._store_held(task)
            return self._pool.run(task)
        finally:
            self.release(task)

    def _store_held(self, task: Task) -> None:
        """Store the values of a task that are in this process, for another to find."""
        place = actions.scope(self._om, task.bucket).datasets
        for name in [name for name in task.temporary if name in self._held]:
            place.put(self._held.pop(name), name)

    def close(self) -> None:
        """End the child processes; the next call that needs one starts it."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def enqueue(self, task: Task) -> Promise:
        """Leave a task to a runner. Raises Unavailable if none is alive."""
        queued = self.tasks
        self.require_runner(task.label)
        queued.add(task, actions.is_idempotent(task))
        return StoredPromise(self._om, queued, task.id)

    def promise(self, id: str) -> Promise:
        """Return the promise of a task that any process has queued. Raises NotFound."""
        queued = self.tasks
        queued.ended(id)
        return StoredPromise(self._om, queued, id)

    def require_runner(self, label: str = DEFAULT) -> None:
        """Raise Unavailable unless a runner of that label has been heard of in the last 15 seconds."""
        runners = self.tasks.runners()
        labels = {one for runner in runners for one in runner.get("labels") or (DEFAULT,)}
        if not runners:
            raise Unavailable("no runner is there to carry out the task", hint=NO_RUNNER)
        if label not in labels:
            raise no_label(label, labels)

    def status(self) -> dict[str, Any]:
        """Return `{runners: [{id, host, pid, slots, labels, running, age}], tasks: {status: how many}}`."""
        queued = self.tasks
        return {"runners": queued.runners(), "tasks": queued.counts()}

    def queues(self) -> list[dict[str, Any]]:
        """Return `[{label, waiting, workers, queue}]`, of this account's tasks and runners."""
        queued = self.tasks
        waiting, workers = queued.waiting_by_label(), queued.workers_by_label()
        labels = sorted({DEFAULT, *waiting, *workers})
        return [
            {"label": one, "waiting": waiting.get(one, 0), "workers": workers[one], "queue": None}
            for one in labels
        ]

    def keep(self, value: Any, bucket: str | None, waiting: bool) -> str:
        """Keep a large value: in this process for a call that waits, else in the store."""
        name = actions.temporary_name()
        if waiting:
            self._held[name] = value
        else:
            actions.scope(self._om, bucket).datasets.put(value, name)
        return name

    def release(self, task: Task) -> None:
        """Drop what was kept for a task."""
        stored = [name for name in task.temporary if name not in self._held]
        for name in task.temporary:
            self._held.pop(name, None)
        if stored:
            actions.drop(actions.scope(self._om, task.bucket), stored)

    def map(self, tasks: Sequence[Task], processes: int | None = None) -> list[Promise]:
        """Carry out tasks in parallel in child processes; returns when all have ended, in the same order.

        Args:
            processes: how many at a time; the number of processors where not given.
        """
        from omegaml.runtime.pool import Pool

        with Pool(self._om, min(processes, len(tasks) or 1) if processes else None) as pool:
            return pool.run_all(tasks)


class StoredPromise:
    """The promise of a task in the `tasks` collection, from any process."""

    def __init__(
        self, om: Omega, tasks: Tasks, id: str, has_runner: Callable[[], bool] | None = None
    ) -> None:
        """Args:
        has_runner: tells whether anybody is there to carry it out; runners heard of where not given.
        """
        self._om = om
        self._tasks = tasks
        self._has_runner = has_runner or (lambda: bool(tasks.runners()))
        self._looked = float("-inf")
        self.id = id

    @property
    def status(self) -> str:
        """One of queued, running, done, failed, lost, cancelled."""
        self._look()
        return self._tasks.status(self.id)

    @property
    def progress(self) -> Progress | None:
        """How far the task was when it said so last."""
        from omegaml.runtime.progress import latest

        return latest(self._om, self.id)

    def done(self) -> bool:
        """Tell whether the task has ended."""
        self._look()
        return self._tasks.ended(self.id)

    def cancel(self) -> bool:
        """Keep the task from running, or have its runner stop it; see `Promise.cancel`."""
        doc = self._tasks.cancel(self.id)
        if doc is None:
            return False
        actions.drop(actions.scope(self._om, doc["bucket"]), doc["temporary"])
        return True

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the task and return its result; see `Promise.get`."""
        begin = time.monotonic()
        pause = 0.002
        while not self._tasks.ended(self.id):
            now = time.monotonic()
            if timeout is not None and now - begin >= timeout:
                raise TimedOut(
                    f"task {self.id} did not end within {timeout:g} seconds; it goes on",
                    hint=f"omegacli runtime result {self.id}",
                    task=self.id,
                )
            if self._look() and not self._has_runner():
                if self._tasks.ended(self.id):
                    break
                raise Unavailable(
                    f"no runner is there to carry out task {self.id}", hint=NO_RUNNER, task=self.id
                )
            time.sleep(pause if timeout is None else max(0.0, min(pause, begin + timeout - now)))
            pause = min(pause * 1.5, 0.1)
        return outcome(self._om, self._tasks.get(self.id))

    def _look(self) -> bool:
        """See now and then that somebody still works on the task; tell whether it was time to."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return False
        self._looked = now
        self._tasks.recover_from_the_dead(self.id)
        return True


def no_label(label: str, labels: Iterable[str]) -> Unavailable:
    """Return the error of a task for whose label nobody is there, naming those there are."""
    return Unavailable(
        f"no worker of label {label!r} is there", hint=f"labels there are: {', '.join(sorted(labels))}"
    )


def outcome(om: Omega, doc: Mapping[str, Any]) -> Any:
    """Return the result of a task that has ended, as `Tasks.get` shows it, or raise its error."""
    answer = doc["answer"]
    if "error" in answer:
        raise error_from_doc(answer["error"])
    return values.decode(answer["result"], lambda name: actions.scope(om, doc["bucket"]).datasets.get(name))
