"""Having jobs run when they are due, and seeing to what comes of it.

Every runner and worker does so for all accounts it serves, beside the others: whatever is done is written
down under an id that follows from what it is for, so that it is done once, and whoever is killed in the midst
is followed by the next. Nobody waits: runs are queued as tasks, as those that somebody asks for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from omegaml.errors import AuthFailed, Conflict, Forbidden, NotFound, OmegaError, TimedOut, Unavailable
from omegaml.runtime.accounts import Account
from omegaml.runtime.actions import scope
from omegaml.runtime.base import Task
from omegaml.runtime.runs import Run, Runs
from omegaml.runtime.schedule.plans import Plan, Plans

MISSED = timedelta(seconds=60)
"""A time that is longer ago was missed."""

RETRY_AFTER = timedelta(seconds=30)
"""What the first retry waits, and each further one twice as long."""

KEEP = 200
"""So many runs that a job has made by itself are kept, with what they have left."""

TOLD_AGAIN = timedelta(hours=23)
"""A job that goes on failing is told of again after this time."""

EPOCH = datetime.fromtimestamp(0, UTC)
_IDS = UUID("7b1f2f0e-6b0a-4b5e-9a59-1d0f6f3c9a11")

log = logging.getLogger("omegaml.scheduler")


class Scheduler:
    """Runs the plans of one account.

    Args:
        soon: called when a task was queued.
        mail: sends a notice to the account's address; False where that cannot be.
    """

    def __init__(
        self,
        account: Account,
        soon: Callable[[Account], None],
        mail: Callable[[Account, dict[str, Any]], bool],
    ) -> None:
        self._account = account
        self._soon = soon
        self._mail = mail
        self._runs = Runs(account.om.db, account.url)
        self._plans = Plans(account.om.db, account.url)
        self._is_prepared = False

    def look(self) -> float | None:
        """Do what is to be done now; return in how many seconds the next plan is due, None without one."""
        if not self._is_prepared:
            self._runs.prepare()
            self._is_prepared = True
        due, later = self._plans.due()
        for plan in due:
            try:
                self._run(plan)
            except OmegaError as error:
                log.warning("%s: plan %s: %s", self._account, plan.id, error)
                if not _is_passing(error):  # as a schedule or a time zone that only a newer version knows
                    self._plans.advance(plan, self._plans.now() + timedelta(minutes=10))
        for run in self._runs.unsettled():
            self._settle(run)
        return later

    # --- what is due

    def _run(self, plan: Plan) -> None:
        job = self._plans.job(plan)
        if job is None or plan.due is None:
            return
        now, schedule = self._plans.now(), plan.schedule
        time = schedule.latest(plan.due - timedelta(microseconds=1), now) or plan.due
        run = Run(job.name, job.bucket, time.astimezone(UTC), "schedule", _id(plan.id, time))
        if reason := self._reason_to_skip(plan, run, now):
            self._runs.add(replace(run, status="skipped", error=reason))
            log.info("run of %s at %s is skipped: %s", job.name, time.isoformat(), reason)
        else:
            self._runs.add(run)
            self._queue(plan, run)
        self._plans.advance(plan, schedule.next(now).astimezone(UTC))

    def _reason_to_skip(self, plan: Plan, run: Run, now: datetime) -> str | None:
        assert run.scheduled is not None
        if plan.catch_up == "skip" and now - run.scheduled > MISSED:
            return "nobody was there to run it at its time"
        for one in self._runs.unfinished_of(run.job, run.bucket):
            if one.id != run.id and one.trigger != "manual":
                return f"the run {one.id[:8]} before had not ended"
        return None

    def _queue(self, plan: Plan, run: Run) -> None:
        """Have a run carried out, unless that was done."""
        try:
            if self._runs.get(run.id).status != "queued":
                return
        except NotFound:  # that time of the job has a run of another id, as it was made anew
            return
        task = Task("run", "jobs", run.job, (), dict(plan.parameters), bucket=run.bucket, limit=plan.limit)
        with suppress(Conflict):
            self._account.tasks.add(replace(task, label=plan.label, id=run.id), repeatable=False)
            log.info("run %s of %s is queued: %s", run.id, run.job, run.scheduled or run.trigger)
        self._soon(self._account)

    # --- what came of it

    def _settle(self, run: Run) -> None:
        if not run.has_ended:
            return
        plan = self._plans.of(run.job, run.bucket)
        has_failed = run.status in ("failed", "lost")
        is_retried = has_failed and plan is not None and run.attempt <= plan.retries
        if is_retried and self._plans.now() - (run.finished or EPOCH) < RETRY_AFTER * 2 ** (run.attempt - 1):
            return
        if not self._runs.take(run.id):
            return
        if plan is not None and is_retried and not self._runs.is_overtaken(run):
            again = Run(run.job, run.bucket, trigger="retry", id=_id(run.id, "retry"))
            again = replace(again, attempt=run.attempt + 1, retry_of=run.retry_of or run.id)
            self._runs.add(again)
            self._queue(plan, again)
        elif plan is not None and (has_failed or run.status == "done"):
            self._tell(plan, run, has_failed)
        self._runs.settle(run.id)
        self._trim(run.job, run.bucket)

    def _trim(self, job: str, bucket: str) -> None:
        for old in self._runs.beyond(job, bucket, KEEP):
            if old.results is not None:
                scope(self._account.om, bucket).jobs.drop(old.results, missing_ok=True)
            self._runs.forget(old.id)

    def _tell(self, plan: Plan, run: Run, has_failed: bool) -> None:
        """Tell of the first failure and of the end of failing, and that it goes on once a day."""
        is_long_ago = plan.told is None or self._plans.now() - plan.told > TOLD_AGAIN
        if has_failed == plan.failing and not (has_failed and is_long_ago):
            return
        event = "failed" if has_failed else "recovered"
        if plan.mail:
            self._send(run, event)
        if plan.webhook:
            kwargs = {"url": plan.webhook, "event": event, "run": run.id}
            task = Task("notify", "jobs", run.job, (), kwargs, bucket=run.bucket, label=plan.label)
            with suppress(Conflict):
                self._account.tasks.add(replace(task, id=_id(run.id, "notice")), repeatable=True)
            self._soon(self._account)
        self._plans.told(plan, has_failed)

    def _send(self, run: Run, event: str) -> None:
        """Raises what may be over in a minute: then it is tried again."""
        notice = {"event": event, "run": run.id, "job": run.job, "bucket": run.bucket, "error": run.error}
        try:
            if not self._mail(self._account, notice):
                log.warning("%s: no mail can be sent about %s", self._account, run.job)
        except OmegaError as error:
            if _is_passing(error):
                raise
            log.warning("%s: mail about %s: %s", self._account, run.job, error)


def _id(of: Any, what: datetime | str) -> str:
    said = what if isinstance(what, str) else what.astimezone(UTC).isoformat()
    return uuid5(_IDS, f"{of}/{said}").hex


def _is_passing(error: OmegaError) -> bool:
    return isinstance(error, AuthFailed | Forbidden | TimedOut | Unavailable)
