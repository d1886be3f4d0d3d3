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

from bson import ObjectId

from omegaml.errors import AuthFailed, Conflict, Forbidden, NotFound, OmegaError, TimedOut, Unavailable
from omegaml.jobs import RESULTS
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

PUT_OFF = timedelta(minutes=10)
"""How long a plan is put off that cannot be read, as one of a newer version."""

TOLD_AGAIN = timedelta(hours=23)
"""A job that goes on failing is told of again after this time."""

EPOCH = datetime.fromtimestamp(0, UTC)
_IDS = UUID("7b1f2f0e-6b0a-4b5e-9a59-1d0f6f3c9a11")

log = logging.getLogger("omegaml.scheduler")


class Scheduler:
    """Runs the plans of one account.

    Args:
        soon: called when a task was queued.
    """

    def __init__(self, account: Account, soon: Callable[[Account], None]) -> None:
        self._account = account
        self._soon = soon
        self._runs = Runs(account.om.db, account.url)
        self._plans = Plans(account.om.db, account.url)
        self._is_prepared = False

    def look(self) -> float | None:
        """Do what is to be done now; return in how many seconds the next plan is due, None without one.

        What cannot be read is put off: it is the account's own, and must not be in the way of its others.
        """
        if not self._is_prepared:
            self._runs.prepare()
            self._plans.hasten()
            self._is_prepared = True
        due, later = self._plans.due()
        for doc in due:
            try:
                self._run(Plan.from_doc(doc))
            except Exception as error:
                if _is_passing(error):
                    raise
                self._warn(f"plan {doc['_id']}", error)
                self._plans.postpone(doc["_id"], self._plans.now() + PUT_OFF)
        for run in self._runs.unsettled():
            try:
                self._settle(run)
            except Exception as error:
                if _is_passing(error):
                    raise
                self._warn(f"run {run.id}", error)
                self._runs.settle(run.id)
        return later

    def _warn(self, what: str, error: object) -> None:
        log.warning("%s: %.100s: %.300s", self._account, what, str(error).partition("\n")[0])

    # --- what is due

    def _run(self, plan: Plan) -> None:
        job = self._plans.job(plan)
        if job is None or plan.due is None:
            return
        now, schedule = self._plans.now(), plan.schedule
        latest = schedule.latest(plan.due - timedelta(microseconds=1), now) or plan.due
        time = self._plans.choose(plan, latest.astimezone(UTC))
        if time is None:  # another was faster
            return
        about: dict[str, Any] = {"trigger": "schedule", "job_id": str(plan.id)}
        run = Run(job.name, job.bucket, time, id=_id(plan.id, time), **about)
        if reason := self._reason_to_skip(plan, run, now):
            self._runs.add(replace(run, status="skipped", error=reason))
            self._trim(run)
            log.info("%s: run %s is skipped: %s", self._account, run.id, reason)
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
            log.info("%s: run %s is queued", self._account, run.id)
        self._soon(self._account)

    # --- what came of it

    def _settle(self, run: Run) -> None:
        if not run.has_ended:
            self._see_to(run)
            return
        plan = self._plan_of(run)
        has_failed = run.status in ("failed", "lost")
        is_overtaken = has_failed and self._runs.is_overtaken(run)
        is_retried = has_failed and not is_overtaken and plan is not None and run.attempt <= plan.retries
        if is_retried and self._plans.now() - (run.finished or EPOCH) < RETRY_AFTER * 2 ** (run.attempt - 1):
            return
        if not self._runs.take(run.id):
            return
        letter = None
        if plan is not None and is_retried:
            self._retry(plan, run)
        elif plan is not None and run.status in ("done", "failed", "lost") and not is_overtaken:
            letter = self._tell(plan, run, has_failed)
        self._runs.settle(run.id, letter)
        self._trim(run)

    def _see_to(self, run: Run) -> None:
        """Queue a run whose planner was stopped before its task was there."""
        if run.status == "queued" and not self._runs.is_queued(run.id):
            plan = self._plan_of(run)
            if plan is not None:
                self._queue(plan, run)

    def _plan_of(self, run: Run) -> Plan | None:
        return self._plans.get(ObjectId(run.job_id)) if ObjectId.is_valid(run.job_id) else None

    def _retry(self, plan: Plan, run: Run) -> None:
        job = self._plans.job(plan)
        if job is None:
            return
        about: dict[str, Any] = {"trigger": "retry", "job_id": run.job_id, "attempt": run.attempt + 1}
        again = Run(job.name, job.bucket, id=_id(run.id, "retry"), retry_of=run.retry_of or run.id, **about)
        self._runs.add(again)
        self._queue(plan, again)

    def _trim(self, run: Run) -> None:
        for old in self._runs.beyond(run.job, run.bucket, KEEP):
            if old.results is not None:
                self._drop(old, old.results)
            self._runs.forget(old.id)

    def _drop(self, run: Run, results: str) -> None:
        """Drop what a run has left, and nothing else that its record may name."""
        jobs = scope(self._account.om, run.bucket).jobs
        with suppress(NotFound):
            if results.startswith(RESULTS) and jobs.metadata(results).attributes.get("run") == run.id:
                jobs.drop(results, missing_ok=True)

    def _tell(self, plan: Plan, run: Run, has_failed: bool) -> str | None:
        """Tell of the first failure and of the end of failing, and that it goes on once a day.

        Returns: what a letter is to be about, which is sent by `post`.
        """
        is_long_ago = plan.told is None or self._plans.now() - plan.told > TOLD_AGAIN
        if has_failed == plan.failing and not (has_failed and is_long_ago):
            return None
        event = "failed" if has_failed else "recovered"
        if plan.webhook:
            kwargs = {"url": plan.webhook, "event": event, "run": run.id}
            task = Task("notify", "jobs", run.job, (), kwargs, bucket=run.bucket, label=plan.label)
            with suppress(Conflict):  # one for each change, however many find it out
                id = _id(plan.id, f"{event} after {plan.told}")
                self._account.tasks.add(replace(task, id=id), repeatable=True)
            self._soon(self._account)
        return event if self._plans.told(plan, has_failed) and plan.mail else None

    def post(self, mail: Callable[[Account, dict[str, Any]], bool]) -> None:
        """Have letters sent, which may take a while; one may come twice, if whoever sends it is killed."""
        if not self._is_prepared:
            return
        for run, event in self._runs.letters():
            if not self._runs.take_letter(run.id):
                continue
            try:
                if not mail(self._account, {"event": event, "run": run.id, "bucket": run.bucket}):
                    self._warn(f"run {run.id}", "no mail can be sent")
            except OmegaError as error:
                if _is_passing(error):
                    raise
                self._warn(f"run {run.id}", error)
            self._runs.sent(run.id)


def _id(of: Any, what: datetime | str) -> str:
    said = what if isinstance(what, str) else what.astimezone(UTC).isoformat()
    return uuid5(_IDS, f"{of}/{said}").hex


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, AuthFailed | Forbidden | TimedOut | Unavailable)
