"""The schedules of a database's jobs: one document each, beside the job it is of.

A plan hangs on the identity of the notebook, so that it goes on when the notebook is replaced or renamed and
ends with it; a copy has none. `due` is kept for whoever looks what to run next, and is moved on by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.database import Database

from omegaml.errors import InvalidInput
from omegaml.metadata import COLLECTION as OBJECTS
from omegaml.metadata import Metadata
from omegaml.mongo import JOURNALED, translated
from omegaml.runtime.base import DEFAULT
from omegaml.runtime.schedule import Schedule
from omegaml.runtime.schedule.header import CATCH_UP, MOST_RETRIES

COLLECTION = "omegaml.schedules"


@dataclass(frozen=True)
class Plan:
    """When a job runs, and how.

    Attributes:
        text: the schedule, as it was written.
        zone: whose clock it is meant by.
        catch_up: what is done about a time that was missed: run `once`, or `skip`.
        retries: how often a run that failed or was lost is repeated.
        label: of the workers that may run it.
        limit: seconds that a run may take.
        parameters: of the notebook, encoded as those of a task.
        webhook: URL that is told of failures and recoveries.
        mail: whether the account's own address is.
        origin: `call`, or `header` where the notebook itself says it.
        due: the next time.
        failing: the last run failed.
        told: when that was last told.
    """

    text: str
    zone: str = "UTC"
    catch_up: str = "once"
    retries: int = 0
    label: str = DEFAULT
    limit: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    webhook: str | None = None
    mail: bool = False
    origin: str = "call"
    due: datetime | None = None
    failing: bool = False
    told: datetime | None = None
    id: Any = None

    def __post_init__(self) -> None:
        if self.catch_up not in CATCH_UP:
            raise InvalidInput(f"catch-up is {self.catch_up!r}", hint="once or skip")
        if type(self.retries) is not int or not 0 <= self.retries <= MOST_RETRIES:
            raise InvalidInput(f"retries is {self.retries!r}", hint=f"0 to {MOST_RETRIES}")

    @property
    def schedule(self) -> Schedule:
        """The times. Raises InvalidInput."""
        return Schedule.parse(self.text, self.zone)

    def next(self, n: int, after: datetime | None = None) -> list[datetime]:
        """Return the next `n` times, in the schedule's time zone."""
        return self.schedule.following(n, after or datetime.now(UTC))

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Plan:
        known = {f.name: doc[f.name] for f in fields(cls) if doc.get(f.name) is not None}
        for name in ("due", "told"):
            if name in known:
                known[name] = known[name].replace(tzinfo=UTC)
        return cls(**{**known, "id": doc["_id"]})


class Plans:
    """The plans of one database."""

    def __init__(self, db: Database[dict[str, Any]], url: str = "") -> None:
        self._plans = db.get_collection(COLLECTION, write_concern=JOURNALED)
        self._objects = db[OBJECTS]
        self._db = db
        self._url = url

    def set(self, id: Any, plan: Plan) -> Plan:
        """Let the job with this identity run by `plan`; the same plan once more goes on as it was.

        Returns: the plan, with `due`.
        """
        said = {f.name: getattr(plan, f.name) for f in fields(Plan) if f.name not in _KEPT}
        with translated(self._url):
            same: Any = self._plans.find_one({"_id": id, **{k: {"$eq": v} for k, v in said.items()}})
            if same is None:
                due = plan.schedule.next(self.now()).astimezone(UTC)
                change = {"$set": {**said, "due": due, "failing": False, "told": None}}
                after = ReturnDocument.AFTER
                same = self._plans.find_one_and_update(
                    {"_id": id}, change, upsert=True, return_document=after
                )
        return Plan.from_doc(same)

    def get(self, id: Any) -> Plan | None:
        """Return the plan of a job, None where it has none."""
        with translated(self._url):
            doc = self._plans.find_one({"_id": id})
        return Plan.from_doc(doc) if doc else None

    def drop(self, id: Any, origin: str | None = None) -> bool:
        """Have a job run no more by itself; with `origin`, only where that is what said so."""
        with translated(self._url):
            query = {"_id": id} if origin is None else {"_id": id, "origin": origin}
            return self._plans.delete_one(query).deleted_count == 1

    def all(self, bucket: str) -> list[tuple[Metadata, Plan]]:
        """Return the jobs of a bucket that have plans, with them, by what is due next."""
        with translated(self._url):
            plans = [Plan.from_doc(doc) for doc in self._plans.find().sort("due", 1)]
            query = {"_id": {"$in": [plan.id for plan in plans]}, "bucket": bucket}
            found = {doc["_id"]: Metadata.from_doc(doc) for doc in self._objects.find(query)}
        return [(found[plan.id], plan) for plan in plans if plan.id in found]

    # --- for whoever runs what is due

    def now(self) -> datetime:
        """Return the server's time, by which things are due."""
        with translated(self._url):
            said: datetime = self._db.command("hello")["localTime"]
        return said.replace(tzinfo=UTC)

    def due(self) -> tuple[list[Plan], float | None]:
        """Return the plans that are due, and in how many seconds the next one of the others is."""
        left = {"$divide": [{"$subtract": ["$due", "$$NOW"]}, 1000]}
        stages: list[dict[str, Any]] = [{"$set": {"left": left}}, {"$sort": {"left": 1}}, {"$limit": _MOST}]
        with translated(self._url):
            docs = list(self._plans.aggregate(stages))
        later = next((doc["left"] for doc in docs if doc["left"] > 0), None)
        return [Plan.from_doc(doc) for doc in docs if doc["left"] <= 0], later

    def job(self, plan: Plan) -> Metadata | None:
        """Return what is known of a plan's notebook; where that is dropped, the plan ends."""
        with translated(self._url):
            doc = self._objects.find_one({"_id": plan.id}, {"kind_meta": 0})
        if doc is None:
            self.drop(plan.id)
        return Metadata.from_doc(doc) if doc else None

    def of(self, job: str, bucket: str) -> Plan | None:
        """Return the plan of the notebook that has this name now."""
        with translated(self._url):
            doc = self._objects.find_one({"name": job, "bucket": bucket, "prefix": "jobs/"}, {"_id": 1})
        return self.get(doc["_id"]) if doc else None

    def advance(self, plan: Plan, due: datetime) -> None:
        """Say when a plan is due next, unless somebody has said so already."""
        with translated(self._url):
            self._plans.update_one({"_id": plan.id, "due": plan.due}, {"$set": {"due": due}})

    def told(self, plan: Plan, failing: bool) -> None:
        """Write down that it was told how a plan's runs end now."""
        with translated(self._url):
            self._plans.update_one({"_id": plan.id}, [{"$set": {"failing": failing, "told": "$$NOW"}}])


_KEPT = ("id", "due", "failing", "told")
_MOST = 50
"""Plans that are looked at at a time; the rest come when these have been moved on."""
