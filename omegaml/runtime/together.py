"""Several tasks as one piece of work: `with om.runtime.parallel() as crt: crt.model("m").predict("x")`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from omegaml.errors import InvalidInput, OmegaError
from omegaml.runtime import actions
from omegaml.runtime.base import DEFAULT, Finished, Promise, Task

if TYPE_CHECKING:
    from types import TracebackType

    from omegaml.runtime.job import RuntimeJob
    from omegaml.runtime.model import Runtime, RuntimeModel


class Kept:
    """A runtime that does nothing but to keep the tasks it is given; each one's result is its number.

    Runs of jobs are written down when they are begun, not yet here: what is kept may never be done.
    """

    only_keeps = True

    def __init__(self, carrier: Any) -> None:
        self._carrier = carrier
        self.tasks: list[Task] = []

    def submit(self, task: Task) -> Promise:
        self.tasks.append(task)
        return Finished(task.id, result=len(self.tasks) - 1)

    def enqueue(self, task: Task) -> Promise:
        return self.submit(task)

    def promise(self, id: str) -> Promise:
        promise: Promise = self._carrier.promise(id)
        return promise

    def require_runner(self, label: str = DEFAULT) -> None:
        """Nobody is needed yet."""

    def keep(self, value: Any, bucket: str | None, waiting: bool) -> str:
        name: str = self._carrier.keep(value, bucket, False)  # where whoever does it finds it
        return name

    def release(self, task: Task) -> None:
        self._carrier.release(task)


class Together:
    """Tasks that are asked for one by one and done by `run`; asking returns the task's number, from 0 on."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._kept = Kept(runtime.carrier)
        self._asking = runtime.carried_by(self._kept)

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._discard(self._kept.tasks)
            self._kept.tasks.clear()

    def model(self, name: str, *, limit: float | None = None) -> RuntimeModel:
        """Return a stored model, of which everything that is asked is kept for `run`."""
        return self._asking.model(name, limit=limit)

    def job(self, name: str, *, limit: float | None = None) -> RuntimeJob:
        """Return a notebook, whose runs are kept for `run`."""
        return self._asking.job(name, limit=limit)

    def require(self, label: str) -> Runtime:
        """Return what asks for tasks of that label, kept alike."""
        return self._asking.require(label)

    def retry(self, times: int) -> Runtime:
        """Return what asks for tasks that are tried again, kept alike."""
        return self._asking.retry(times)

    def run(self, *, async_: bool = False) -> Any:
        """Do what was asked for and return the results in that order.

        Args:
            async_: leave it to runners or workers; see the classes for what is returned then.
        Raises: InvalidInput (nothing was asked for), the first error of any task.
        """
        tasks = [*self._kept.tasks]
        if not tasks:
            raise InvalidInput("nothing was asked for", hint='crt.model("m").predict("x")')
        self._kept.tasks.clear()
        if async_:
            try:
                self._check(tasks)
                for label in {task.label for task in tasks}:
                    self._runtime.require_runner(label)
            except BaseException:
                self._discard(tasks)
                raise
            return self._leave(tasks)
        try:
            return self._do(tasks)
        finally:
            self._discard(tasks)

    def _discard(self, tasks: list[Task]) -> None:
        for task in tasks:
            self._runtime.discard(task)

    def _check(self, tasks: list[Task]) -> None:
        """Raise InvalidInput for tasks that cannot be left to others."""

    def _do(self, tasks: list[Task]) -> list[Any]:
        raise NotImplementedError

    def _leave(self, tasks: list[Task]) -> Any:
        raise NotImplementedError


class Parallel(Together):
    """Done at the same time, as far as there are workers or processors; with `async_` a promise for each."""

    def _do(self, tasks: list[Task]) -> list[Any]:
        return [promise.get() for promise in self._runtime.map(tasks)]

    def _leave(self, tasks: list[Task]) -> Any:
        promises: list[Promise] = []
        try:
            for task in tasks:
                promises.append(self._begun(task))
            return promises
        except BaseException:
            for promise in promises:
                with suppress(OmegaError):
                    promise.cancel()
            self._discard(tasks[len(promises) :])
            raise

    def _begun(self, task: Task) -> Promise:
        if task.action != "run":
            return self._runtime.run(task, async_=True)
        return self._runtime.job(task.name).begin(task, async_=True)


class Sequence(Together):
    """Done one after the other, up to the first that fails; with `async_` it is one task, of one promise.

    What a step leaves by `result` is there for the next one. That one task is for workers of the label that
    all steps ask for, and may take as long as they together: any time where one of them has no limit. It is
    what is called back then: `om.runtime.callback(done="told").sequence()`.
    """

    def _do(self, tasks: list[Task]) -> list[Any]:
        results: list[Any] = []
        for n, task in enumerate(tasks, 1):
            try:
                results.append(self._runtime.run(task).get())
            except OmegaError as error:
                raise actions.in_step(error, n, len(tasks)) from error
        return results

    def _leave(self, tasks: list[Task]) -> Any:
        kwargs = {"tasks": [task.to_json() for task in tasks]}
        temporary = [name for task in tasks for name in task.temporary]
        limits = [task.limit for task in tasks if task.limit is not None]
        limit = sum(limits) if len(limits) == len(tasks) else None
        about: dict[str, Any] = {"label": tasks[0].label, "limit": limit, "temporary": temporary}
        whole = self._runtime.new_task("sequence", "", kwargs=kwargs, retries=0, **about)
        return self._runtime.run(whole, async_=True)

    def _check(self, tasks: list[Task]) -> None:
        labels = sorted({task.label for task in tasks})
        if len(labels) > 1:
            raise InvalidInput(
                f"one worker does all steps, and these ask for workers of {len(labels)} labels: "
                f"{', '.join(labels)}",
                hint="require one label for all, or run() without async_",
            )
        whole = self._runtime.new_task("sequence", "")
        if any(task.callbacks != whole.callbacks for task in tasks):
            raise InvalidInput(
                "steps that are left to a worker as one task call back together, not each for itself",
                hint="om.runtime.callback(...).sequence(), or run() without async_",
            )
