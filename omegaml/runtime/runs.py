"""The runs of jobs: one record each, from when it is asked for, kept when its task is long gone.

A record is written before the task is queued, so that nothing runs unseen, and whoever carries the task out
says when it starts and how it ends. What nobody has said, as a process was killed, is found out by whoever
looks: from the task, or where there is none from how long nobody has spoken of the run.
All times are the server's, but `scheduled`, which whoever plans runs has worked out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pymongo.database import Database

from omegaml.errors import Conflict, NotFound
from omegaml.mongo import JOURNALED, translated
from omegaml.runtime.tasks import Tasks

COLLECTION = "omegaml.runs"

BEAT = 10.0
"""Seconds between signs of life of a run that is carried out."""

LOST_AFTER = 60.0
"""Seconds without a sign of life, and without a task, after which a run is lost."""

UNFINISHED = ("queued", "running")
_LOST = "whoever carried it out was stopped"


@dataclass(frozen=True)
class Run:
    """One run of a job.

    Attributes:
        job: the job's name, as it is stored (`daily.ipynb`).
        bucket: that the job is in.
        scheduled: the time that it was due; None for one that somebody asked for.
        trigger: manual, schedule or retry.
        id: also of the task that carries it out.
        status: queued, running, done, failed, lost, cancelled, or skipped where its time was let go by.
        results: name of the notebook with what came of it, also of what there is of a failed run.
        error: why it failed or was skipped, one sentence.
        attempt: 1, or more for one that repeats what failed.
        retry_of: id of the run that failed first.
    """

    job: str
    bucket: str
    scheduled: datetime | None = None
    trigger: str = "manual"
    id: str = field(default_factory=lambda: uuid4().hex)
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    status: str = "queued"
    results: str | None = None
    error: str | None = None
    attempt: int = 1
    retry_of: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.status not in UNFINISHED

    def to_dict(self) -> dict[str, Any]:
        """Return it as a dict, its times as they are."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Run:
        known = {f.name: doc[f.name] for f in fields(cls) if doc.get(f.name) is not None}
        for name in ("scheduled", "created", "started", "finished"):
            if name in known:
                known[name] = known[name].replace(tzinfo=UTC)
        return cls(**known, id=doc["_id"])


class Runs:
    """The run records of one database."""

    def __init__(self, db: Database[dict[str, Any]], url: str = "") -> None:
        self._runs = db.get_collection(COLLECTION, write_concern=JOURNALED)
        self._tasks = Tasks(db, url)
        self._url = url

    def prepare(self) -> None:
        """Make the indexes; one of them sees that a time of a job has one run."""
        with translated(self._url):
            self._runs.create_index(
                [("bucket", 1), ("job", 1), ("scheduled", 1)],
                unique=True,
                partialFilterExpression={"scheduled": {"$type": "date"}},
            )
            self._runs.create_index([("bucket", 1), ("job", 1), ("created", -1)])
            self._runs.create_index("status")
            self._runs.create_index("settled", partialFilterExpression={"settled": False})

    # --- writing

    def add(self, run: Run) -> bool:
        """Write down a run that is asked for; False if there is one for that time of the job, or of that id.

        One that was lost before anybody began is asked for once more by that.
        `prepare` must have been called for this database at any time before.
        """
        shown = ("job", "bucket", "scheduled", "trigger", "status", "started", "finished", "results", "error")
        doc = {name: getattr(run, name) for name in (*shown, "attempt", "retry_of")}
        # those that nobody waits for are seen to by a scheduler when they have ended
        doc["settled"] = run.trigger == "manual" or run.has_ended
        is_free = [{"status": {"$exists": False}}, {"status": "lost", "started": None}]
        try:
            with translated(self._url):
                self._runs.update_one(
                    {"_id": run.id, "$or": is_free},
                    {"$set": doc, "$currentDate": {"created": True, "seen": True}},
                    upsert=True,
                )
        except Conflict:
            return False
        return True

    def withdraw(self, id: str) -> None:
        """Take a run back whose task nobody takes."""
        with translated(self._url):
            self._runs.delete_one({"_id": id, "status": "queued"})

    def start(self, id: str) -> bool:
        """Say that a run is being carried out; False if there is none that could be."""
        change = {"status": "running", "started": "$$NOW", "seen": "$$NOW"}
        return self._change({"_id": id, "status": {"$in": UNFINISHED}}, change)

    def beat(self, id: str) -> bool:
        """Say that a run goes on; False if it is held to be ended."""
        return self._change({"_id": id, "status": "running"}, {"seen": "$$NOW"})

    def keeps(self, id: str, results: str) -> bool:
        """Say which notebook has what there is of a run, which may be killed; False if there is none."""
        return self._change(
            {"_id": id, "status": {"$in": [*UNFINISHED, "lost"]}}, {"results": {"$literal": results}}
        )

    def finish(self, id: str, status: str, results: str | None = None, error: str | None = None) -> bool:
        """Say how a run ended; False if that is known already. Who was thought lost may still say so.

        Where no `results` are named, those that the run keeps stay.
        """
        kept = {"$ifNull": [{"$literal": results}, "$results"]}
        change = {"status": status, "finished": "$$NOW", "results": kept}
        change["error"] = {"$literal": error}
        return self._change({"_id": id, "status": {"$in": [*UNFINISHED, "lost"]}}, change)

    def take(self, id: str) -> bool:
        """Let the caller alone settle an ended run, for a minute; False if another does, or has done so."""
        until = {"$add": ["$$NOW", 60_000]}
        is_free = {"$lt": [{"$ifNull": ["$taken", datetime(1970, 1, 1)]}, "$$NOW"]}
        return self._change({"_id": id, "settled": False, "$expr": is_free}, {"taken": until})

    def settle(self, id: str) -> None:
        """Say that all is done that follows from how a run ended."""
        self._change({"_id": id}, {"settled": True})

    def drop(self, job: str, bucket: str) -> int:
        """Forget the runs of a job; return how many there were."""
        with translated(self._url):
            return self._runs.delete_many({"bucket": bucket, "job": job}).deleted_count

    def _change(self, query: dict[str, Any], change: dict[str, Any]) -> bool:
        with translated(self._url):
            return self._runs.update_one(query, [{"$set": change}]).matched_count == 1

    # --- reading: what has not ended is looked after before it is shown

    def get(self, id: str) -> Run:
        """Return a run. Raises NotFound."""
        return self._current([self._get(id)])[0]

    def of(self, job: str, bucket: str, limit: int = 100) -> list[Run]:
        """Return the runs of a job, newest first."""
        with translated(self._url):
            found = self._runs.find({"bucket": bucket, "job": job}).sort([("created", -1), ("_id", 1)])
            return self._current(Run.from_doc(doc) for doc in found.limit(limit))

    def newest(self, jobs: Sequence[str], bucket: str) -> dict[str, Run]:
        """Return the newest run of each of these jobs that has any, as its record says."""
        stages: list[dict[str, Any]] = [
            {"$match": {"bucket": bucket, "job": {"$in": list(jobs)}}},
            {"$sort": {"job": 1, "created": -1}},
            {"$group": {"_id": "$job", "run": {"$first": "$$ROOT"}}},
        ]
        with translated(self._url):
            return {doc["_id"]: Run.from_doc(doc["run"]) for doc in self._runs.aggregate(stages)}

    def unfinished(self) -> list[Run]:
        """Return the runs that wait or are carried out, oldest first, as their records say."""
        with translated(self._url):
            found = self._runs.find({"status": {"$in": UNFINISHED}}).sort("created", 1)
            return [Run.from_doc(doc) for doc in found]

    def unfinished_of(self, job: str, bucket: str) -> list[Run]:
        """Return the runs of a job that wait or are carried out."""
        with translated(self._url):
            query = {"bucket": bucket, "job": job, "status": {"$in": UNFINISHED}}
            found = [Run.from_doc(doc) for doc in self._runs.find(query)]
        return [run for run in self._current(found, patiently=False) if not run.has_ended]

    def beyond(self, job: str, bucket: str, keep: int) -> list[Run]:
        """Return the runs that a job has made by itself before its newest `keep`, some at a time."""
        query = {"bucket": bucket, "job": job, "trigger": {"$ne": "manual"}, "settled": True}
        with translated(self._url):
            found = self._runs.find(query).sort([("created", -1), ("_id", 1)]).skip(keep).limit(20)
            return [Run.from_doc(doc) for doc in found]

    def forget(self, id: str) -> None:
        """Delete the record of a run."""
        with translated(self._url):
            self._runs.delete_one({"_id": id})

    def is_overtaken(self, run: Run) -> bool:
        """Tell whether a run's job has been due again since it was asked for, and was run then."""
        query = {"bucket": run.bucket, "job": run.job, "trigger": "schedule", "status": {"$ne": "skipped"}}
        with translated(self._url):
            return self._runs.find_one({**query, "created": {"$gt": run.created}}, {"_id": 1}) is not None

    def unsettled(self) -> list[Run]:
        """Return the runs that nobody waits for and that are not settled, oldest first."""
        with translated(self._url):
            found = [Run.from_doc(doc) for doc in self._runs.find({"settled": False}).sort("created", 1)]
        return self._current(found, patiently=False)

    def reconcile(self) -> list[Run]:
        """Look after all runs that have not ended; return those that turn out to have."""
        return [run for run in self._current(self.unfinished()) if run.has_ended]

    def _get(self, id: str) -> Run:
        with translated(self._url):
            doc = self._runs.find_one({"_id": id})
        if doc is None:
            raise NotFound(f"there is no run {id!r}", hint="omegacli jobs status NAME")
        return Run.from_doc(doc)

    def _current(self, runs: Iterable[Run], patiently: bool = True) -> list[Run]:
        found_out = self._found_out
        return [
            run if run.has_ended or not found_out(run.id, patiently) else self._get(run.id) for run in runs
        ]

    def _found_out(self, id: str, patiently: bool) -> bool:
        """Write down what is known of a run that says that it has not ended; whether that is anything.

        `patiently`: take some seconds, where its runner may have died.
        """
        try:
            if patiently and self._tasks.status(id) == "running":
                self._tasks.recover_from_the_dead(id)
            task = self._tasks.get(id) if self._tasks.ended(id) else None
        except NotFound:
            return self._is_silent(id) and self._lose(id)
        if task is None:
            return False
        answer = task["answer"] or {}
        if "error" in answer:
            error = answer["error"]
            self.finish(id, task["status"], error.get("details", {}).get("results"), error["message"])
        else:
            self.finish(id, task["status"], answer["result"].get("results"))
        return True

    def _is_silent(self, id: str) -> bool:
        age = {"$subtract": ["$$NOW", "$seen"]}
        with translated(self._url):
            query = {"_id": id, "$expr": {"$gt": [age, LOST_AFTER * 1000]}}
            return self._runs.find_one(query, {"_id": 1}) is not None

    def _lose(self, id: str) -> bool:
        change = {"status": "lost", "finished": "$$NOW", "error": _LOST}
        return self._change({"_id": id, "status": {"$in": UNFINISHED}}, change)
