"""What `om.runtime.job("daily")` is: one notebook, to be run, and its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from omegaml.errors import InvalidInput, NotFound, OmegaError
from omegaml.jobs import SUFFIX, full_name
from omegaml.metadata import Metadata
from omegaml.runtime import values
from omegaml.runtime.base import Promise, Task
from omegaml.runtime.notices import check_mail, check_webhook
from omegaml.runtime.runs import Run, Runs
from omegaml.runtime.schedule import local_zone
from omegaml.runtime.schedule.plans import Plan, Plans

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

    def run(self, /, *, async_: bool = False, **parameters: Any) -> Any:
        """Execute the notebook and return `{job, run, results}`; `results` names the executed notebook.

        Args:
            async_: return a Promise at once and leave the work to a runner; its id is that of the run.
            parameters: values, as JSON has them, that a cell at the top sets, or one after the cell tagged
                `parameters`; `cell_timeout` is not the notebook's: seconds that each cell may take.
        Raises: NotFound (no such notebook), TaskFailed (a cell raised; has the traceback, and
            `details["results"]` names the notebook as far as it came), TimedOut, Unavailable (no runner).
        """
        promise = self.ask(parameters, async_=async_)
        return promise if async_ else self.answer(promise)

    def ask(self, parameters: Mapping[str, Any], *, async_: bool = False) -> Promise:
        """As `run`, of parameters of any name; for what it returns where it waits there is `answer`."""
        kwargs = {key: values.encode(value) for key, value in parameters.items()}
        task = self._runtime.new_task("run", self.name, store="jobs", kwargs=kwargs, limit=self._limit)
        if task.retries:
            raise InvalidInput("a job is not tried again by `retry`", hint="job.schedule(..., retries=2)")
        if getattr(self._runtime.carrier, "only_keeps", False):
            self.metadata()
            return self._runtime.run(task, async_=async_)
        return self.begin(task, async_=async_)

    def begin(self, task: Task, *, async_: bool) -> Promise:
        """Write a run down and hand its task to the runtime.

        Raises: NotFound (no such notebook), Unavailable; nothing is written then.
        """
        meta, runs = self.metadata(), self._records()
        if async_:
            self._runtime.require_runner(task.label)
        runs.add(Run(self.name, self._om.bucket, id=task.id, job_id=str(meta.id)))
        try:
            return self._runtime.run(task, async_=async_)
        except BaseException:
            runs.withdraw(task.id)
            raise

    def answer(self, promise: Promise, timeout: float | None = None) -> Any:
        """Wait for a run and return what it answers, or raise its error; its record says so then."""
        try:
            return promise.get(timeout)
        except OmegaError as error:
            with suppress(OmegaError):
                if promise.done():  # whoever carried it out may have been killed before it wrote that down
                    records, results = self._records(), error.details.get("results")
                    records.finish(promise.id, promise.status, results, error.message)
                    error.details["results"] = results or records.get(promise.id).results
            raise

    def runs(self, limit: int = 100) -> list[Run]:
        """Return the job's runs, newest first, also those under an earlier name."""
        return self._records().of(self.name, self._om.bucket, limit, self._identity())

    def _identity(self) -> str | None:
        """What the notebook keeps when it is renamed; None where it is dropped."""
        with suppress(NotFound):
            return str(self.metadata().id)
        return None

    def run_of(self, id: str) -> Run:
        """Return the job's run with that id, however old. Raises NotFound."""
        with suppress(NotFound):
            run = self._records().get(id)
            is_its = run.job == self.name or (run.job_id and run.job_id == self._identity())
            if run.bucket == self._om.bucket and is_its:
                return run
        name = self._om.jobs.metadata(self.name).name.removesuffix(SUFFIX)
        raise NotFound(f"job {name!r} has no run {id[:40]!r}", hint=f"omegacli jobs status {name}")

    # --- by itself

    def schedule(
        self,
        text: str,
        *,
        zone: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        catch_up: str = "once",
        retries: int = 0,
        webhook: str | None = None,
        mail: bool = False,
        may_mail: Callable[[Omega], None] = check_mail,
    ) -> Plan:
        """Have the job run by itself, from now on, on runners or workers of the label that was required.

        Args:
            text: cron's five fields, a word as `@daily`, or words as "Fridays, at 06:00".
            zone: whose clock it is meant by, as Europe/Berlin; this machine's where not given.
            parameters: values that each run is given, as those of `run`.
            catch_up: what is done about a time at which nobody was there to run it: run `once`, or `skip`.
            retries: how often a run that failed or was lost is repeated, after 30 s, 1 min, 2 min, ...
            webhook: URL that is sent a message when runs begin to fail, and when they are well again.
            mail: send that to the account's own address, too.
            may_mail: raises InvalidInput where no mail can be sent; omegaweb is asked where not given.
        Returns: the plan; `plan.next(5)` are the next times.
        Raises: InvalidInput (what is no schedule, or could mean two; mail that cannot be sent), NotFound (no
            such notebook).
        """
        plan = Plan(
            text,
            zone=zone if zone is not None else local_zone(),
            parameters={key: values.encode(value) for key, value in (parameters or {}).items()},
            catch_up=catch_up,
            retries=retries,
            label=self._runtime.label,
            limit=self._limit,
            webhook=check_webhook(webhook) if webhook is not None else None,
            mail=mail,
        )
        _ = plan.schedule  # read once, so that what is none is refused
        if mail:
            may_mail(self._om)
        return self._plans().set(self.metadata().id, plan)

    def unschedule(self) -> bool:
        """Have it run no more by itself; False if it did not."""
        return self._plans().drop(self.metadata().id)

    def metadata(self) -> Metadata:
        """Return what is known of the notebook. Raises NotFound."""
        return self._om.jobs.metadata(self.name)

    def plan(self) -> Plan | None:
        """Return its plan, None where it has none. Raises NotFound."""
        return self._plans().get(self.metadata().id)

    def _plans(self) -> Plans:
        return Plans(self._om.db, self._om.mongo_url)

    def _records(self) -> Runs:
        runs = Runs(self._om.db, self._om.mongo_url)
        runs.prepare()
        return runs
