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

MOST = 50
"""Runs of an account that are looked at at a time."""

SMALL = {"$expr": {"$lt": [{"$bsonSize": "$$ROOT"}, 64 << 10]}}
"""Documents that are looked at for others: nobody writes larger ones, but whoever wants to be in the way."""

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
        job_id: identity of the notebook, which it keeps when it is renamed.
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
    job_id: str | None = None

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
            self._runs.create_index([("bucket", 1), ("job_id", 1)], sparse=True)
            self._runs.create_index("status")
            self._runs.create_index("settled", partialFilterExpression={"settled": False})
            self._runs.create_index("letter", sparse=True)

    # --- writing

    def add(self, run: Run) -> bool:
        """Write down a run that is asked for; False if there is one for that time of the job, or of that id.

        One that was lost before anybody began is asked for once more by that.
        `prepare` must have been called for this database at any time before.
        """
        again = ("status", "finished", "error")
        doc = {key: value for key, value in run.to_dict().items() if key not in ("id", "created", *again)}
        # those that nobody waits for are seen to by a scheduler when they have ended
        doc["settled"] = run.trigger == "manual" or run.has_ended
        is_free = [{"status": {"$exists": False}}, {"status": "lost", "started": None}]
        try:
            with translated(self._url):
                self._runs.update_one(
                    {"_id": run.id, "$or": is_free},
                    {
                        "$set": {key: getattr(run, key) for key in again},
                        "$setOnInsert": doc,
                        "$currentDate": {"created": True, "seen": True},
                    },
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
        return self._take({"_id": id, "settled": False}, "taken")

    def _take(self, query: dict[str, Any], lease: str) -> bool:
        until = {"$add": ["$$NOW", 60_000]}
        is_free = {"$lt": [{"$ifNull": [f"${lease}", datetime(1970, 1, 1)]}, "$$NOW"]}
        return self._change({**query, "$expr": is_free}, {lease: until})

    def settle(self, id: Any, letter: str | None = None) -> None:
        """Say that all is done that follows from how a run ended, but for a letter about it."""
        self._change({"_id": id}, {"settled": True, **({"letter": letter} if letter else {})})

    def letters(self) -> list[tuple[Run, str]]:
        """Return the runs about which there is a letter to be sent, and which, the oldest first."""
        query = {"letter": {"$type": "string"}, **SMALL}
        with translated(self._url):
            docs = list(self._runs.find(query).sort("created", 1).limit(MOST))
        return [(run, doc["letter"]) for doc in docs for run in self._readable([doc])]

    def take_letter(self, id: str) -> bool:
        """Let the caller alone send a run's letter, for a minute; False if another does, or has done so."""
        return self._take({"_id": id, "letter": {"$type": "string"}}, "sending")

    def sent(self, id: str) -> None:
        """Say that a run's letter is sent, or cannot be."""
        with translated(self._url):
            self._runs.update_one({"_id": id}, {"$unset": {"letter": 1}})

    def _change(self, query: dict[str, Any], change: dict[str, Any]) -> bool:
        with translated(self._url):
            return self._runs.update_one(query, [{"$set": change}]).matched_count == 1

    # --- reading: what has not ended is looked after before it is shown

    def get(self, id: str) -> Run:
        """Return a run. Raises NotFound."""
        return self._current([self._get(id)])[0]

    def of(self, job: str, bucket: str, limit: int = 100, job_id: Any = None) -> list[Run]:
        """Return the runs of a job, newest first; with `job_id` also those under an earlier name."""
        query: dict[str, Any] = {"bucket": bucket, "job": job}
        if job_id is not None:
            query = {"bucket": bucket, "$or": [{"job": job}, {"job_id": str(job_id)}]}
        with translated(self._url):
            found = self._runs.find(query).sort([("created", -1), ("_id", 1)])
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

    def unfinished_of(self, job: str, bucket: str) -> list[Run]:
        """Return the runs of a job that wait or are carried out."""
        with translated(self._url):
            query = {"bucket": bucket, "job": job, "status": {"$in": UNFINISHED}, **SMALL}
            found = self._readable(self._runs.find(query).limit(MOST))
        return [run for run in self._current(found, patiently=False) if not run.has_ended]

    def beyond(self, job: str, bucket: str, keep: int) -> list[Run]:
        """Return the runs that a job has made by itself before its newest `keep`, some at a time."""
        query = {"bucket": bucket, "job": job, "trigger": {"$ne": "manual"}, "settled": True}
        with translated(self._url):
            found = self._runs.find({**query, **SMALL}).sort([("created", -1), ("_id", 1)])
            return self._readable(found.skip(keep).limit(MOST))

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
        """Return the runs that nobody waits for and that are not settled; some, where there are many."""
        stages: list[dict[str, Any]] = [{"$match": {"settled": False, **SMALL}}, {"$sample": {"size": MOST}}]
        with translated(self._url):
            docs = list(self._runs.aggregate(stages))
        return self._current(self._readable(docs), patiently=False)

    def is_queued(self, id: str) -> bool:
        """Tell whether there is a task that carries a run out."""
        try:
            self._tasks.status(id)
            return True
        except NotFound:
            return False

    def _readable(self, docs: Iterable[Mapping[str, Any]]) -> list[Run]:
        """Return the runs that documents say; who has written anything else is not waited for."""
        found = []
        for doc in docs:
            try:
                run = Run.from_doc(doc)
                if not all(isinstance(one, str) for one in (run.id, run.job, run.bucket, run.status)):
                    raise TypeError
                found.append(run)
            except (TypeError, AttributeError, KeyError, ValueError):
                self.settle(doc["_id"])
                self.sent(doc["_id"])
        return found

    def _get(self, id: str) -> Run:
        with translated(self._url):
            doc = self._runs.find_one({"_id": id})
        if doc is None:
            raise NotFound(f"there is no run {id!r}", hint="omegacli jobs status NAME")
        return Run.from_doc(doc)

    def _current(self, runs: Iterable[Run], patiently: bool = True) -> list[Run]:
        current = []
        for run in runs:
            if not run.has_ended and self._found_out(run.id, patiently):
                run = self._get(run.id)
                if patiently and run.status == "lost":
                    self._tasks.recover()  # it was waited for: the others of that runner need not be
                    patiently = False
            current.append(run)
        return current

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
        # one that is planned and was not begun yet is queued by whoever plans next
        begun = [{"trigger": "manual"}, {"started": {"$ne": None}}]
        with translated(self._url):
            query = {"_id": id, "$or": begun, "$expr": {"$gt": [age, LOST_AFTER * 1000]}}
            return self._runs.find_one(query, {"_id": 1}) is not None

    def _lose(self, id: str) -> bool:
        change = {"status": "lost", "finished": "$$NOW", "error": _LOST}
        return self._change({"_id": id, "status": {"$in": UNFINISHED}}, change)
