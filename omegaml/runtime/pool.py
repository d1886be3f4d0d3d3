"""Child processes that carry out waiting calls: those with a limit, all with `OMEGA_RUNTIME=pool`, and `map`.

They are ended with the program that started them, however that ends.
"""

from __future__ import annotations

import os
import queue
import sys
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any

from omegaml.runtime import actions, values
from omegaml.runtime.base import Finished, Promise, Task, error_from_doc
from omegaml.runtime.child import Child
from omegaml.runtime.local import LocalRuntime
from omegaml.runtime.logs import OUTPUT, Line
from omegaml.runtime.output import Writer

if TYPE_CHECKING:
    from omegaml.omega import Omega


class Pool:
    """So many processes for one database; each is started when it is first needed.

    Args:
        processes: how many; the number of processors where not given.
    """

    def __init__(self, om: Omega, processes: int | None = None) -> None:
        self._om = om
        count = processes or os.cpu_count() or 1
        self._children = [Child(om.mongo_url, om.bucket, of=count) for _ in range(count)]
        self._free: queue.LifoQueue[Child] = queue.LifoQueue()
        for child in self._children:
            self._free.put(child)
        self._logs = Writer()
        self.close = weakref.finalize(self, _close, self._children, self._logs)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, task: Task) -> Promise:
        """Carry out a task in the next process that is free; its promise has ended."""
        child = self._free.get()
        # a job's log is read where it was left; what else is asked here speaks here, as without a process
        is_job = task.store == "jobs"
        output = self._logs.open(self._om, task.id, None if is_job else _show)
        try:
            answer = child.run(task, output)
        except BaseException:
            child.close()  # its answer to this task must not be taken for one to the next
            raise
        finally:
            self._logs.end(output, now=True)
            self._free.put(child)
        scope = actions.scope(self._om, task.bucket)
        try:
            if "error" in answer:
                return Finished(task.id, error=error_from_doc(answer["error"]))
            return Finished(task.id, result=values.decode(answer["result"], scope.datasets.get))
        finally:
            actions.drop(scope, answer["temporary"])

    def run_all(self, tasks: Sequence[Task]) -> list[Promise]:
        """Carry out tasks in parallel and return, in order, when all have ended."""
        with ThreadPoolExecutor(len(self._children)) as threads:
            try:
                return list(threads.map(self.run, tasks))
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                for child in self._children:
                    child.kill()
                raise


class PoolRuntime(LocalRuntime):
    """The local runtime with its waiting calls in child processes: a model that crashes ends only its own."""

    def __init__(self, om: Omega, processes: int | None = None) -> None:
        super().__init__(om)
        self._processes = processes

    def submit(self, task: Task) -> Promise:
        """Carry out a task in a child process, now; its promise has ended."""
        return self._in_child(task)

    def keep(self, value: Any, bucket: str | None, waiting: bool) -> str:
        """Store a value where child processes find it."""
        return super().keep(value, bucket, waiting=False)


def _show(lines: Sequence[Line]) -> None:
    for line in lines:
        print(line.text if line.name == OUTPUT else f"{line.level}:{line.name}:{line.text}", file=sys.stderr)


def _close(children: Sequence[Child], logs: Writer) -> None:
    for child in children:
        child.close()
    logs.close()
