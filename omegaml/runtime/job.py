"""What `om.runtime.job("daily")` is: one notebook, to be run, and its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaml.jobs import full_name
from omegaml.runtime import values
from omegaml.runtime.base import Promise, Task
from omegaml.runtime.runs import Run, Runs

if TYPE_CHECKING:
    from omegaml.omega import Omega
    from omegaml.runtime.model import Runtime


class RuntimeJob:
    """One notebook of `om.jobs`."""

    def __init__(self, om: Omega, runtime: Runtime, name: str, limit: float | None = None) -> None:
        self._om = om
        self._runtime = runtime
        self._limit = limit
        self.name = full_name(name)

    def __repr__(self) -> str:
        return f"RuntimeJob({self.name!r})"

    def run(self, *, async_: bool = False, **parameters: Any) -> Any:
        """Execute the notebook and return `{job, run, results}`; `results` names the executed notebook.

        Args:
            async_: return a Promise at once and leave the work to a runner; its id is that of the run.
            parameters: values, as JSON has them, that a cell at the top sets, or one after the cell tagged
                `parameters`; `cell_timeout` is not the notebook's: seconds that each cell may take.
        Raises: NotFound (no such notebook), TaskFailed (a cell raised; has the traceback, and
            `details["results"]` names the notebook as far as it came), TimedOut, Unavailable (no runner).
        """
        self._om.jobs.metadata(self.name)
        kwargs = {key: values.encode(value) for key, value in parameters.items()}
        about: dict[str, Any] = {"bucket": self._om.bucket, "limit": self._limit}
        task = Task("run", "jobs", self.name, (), kwargs, **about, label=self._runtime.label)
        runs = self._records()
        if async_:
            self._runtime.require_runner()
        runs.add(Run(self.name, self._om.bucket, id=task.id))
        try:
            promise: Promise = self._runtime.run(task, async_=async_)
        except BaseException:
            runs.withdraw(task.id)
            raise
        return promise if async_ else promise.get()

    def runs(self, limit: int = 100) -> list[Run]:
        """Return the job's runs, newest first."""
        return self._records().of(self.name, self._om.bucket, limit)

    def _records(self) -> Runs:
        runs = Runs(self._om.db, self._om.mongo_url)
        runs.prepare()
        return runs
