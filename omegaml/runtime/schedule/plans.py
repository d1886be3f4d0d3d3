"""The schedules of a database's jobs: one document each, beside the job it is of.

A plan hangs on the identity of the notebook, so that it goes on when the notebook is replaced or renamed and
ends with it; a copy has none. `due` is kept for whoever looks what to run next, and is moved on by them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
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
from omegaml.runtime.runs import SMALL
from omegaml.runtime.schedule import Schedule
from omegaml.runtime.schedule.header import CATCH_UP, MOST_RETRIES

COLLECTION = "omegaml.schedules"

MAX_PARAMETERS = 20_000
"""Characters of JSON."""


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
        if len(json.dumps(dict(self.parameters), default=str)) > MAX_PARAMETERS:
            raise InvalidInput(
                f"the parameters take more than {MAX_PARAMETERS} characters",
                hint="put them into a dataset, and give its name",
            )
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
        due = plan.schedule.next(self.now()).astimezone(UTC)
        same = {"_id": id, **{k: {"$eq": v} for k, v in said.items()}}
        after = ReturnDocument.AFTER
        with translated(self._url):
            # a clock that was wrong for a while may have put it off
            doc: Any = self._plans.find_one_and_update(same, {"$min": {"due": due}}, return_document=after)
            if doc is None:
                change = {"$set": {**said, "due": due, "failing": False, "told": None}}
                change["$unset"] = {"chosen": 1}
                doc = self._plans.find_one_and_update({"_id": id}, change, upsert=True, return_document=after)
        return Plan.from_doc(doc)

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

    def due(self) -> tuple[list[dict[str, Any]], float | None]:
        """Return the documents of plans that are due, and in how many seconds there are more."""
        left = {"$divide": [{"$subtract": ["$due", "$$NOW"]}, 1000]}
        stages: list[dict[str, Any]] = [{"$match": {"due": {"$type": "date"}, **SMALL}}]
        stages += [{"$set": {"left": left}}, {"$sort": {"left": 1}}, {"$limit": _MOST}]
        with translated(self._url):
            docs = list(self._plans.aggregate(stages))
        due = [doc for doc in docs if doc["left"] <= 0]
        later = next((doc["left"] for doc in docs if doc["left"] > 0), None)
        return due, 0.0 if len(due) == _MOST else later

    def choose(self, plan: Plan, time: datetime) -> datetime | None:
        """Return the time that the plan is run for now, the same for all who plan; None where it has been."""
        with translated(self._url):
            doc = self._plans.find_one_and_update(
                {"_id": plan.id, "due": plan.due},
                [{"$set": {"chosen": {"$ifNull": ["$chosen", time]}}}],
                {"chosen": 1},
                return_document=ReturnDocument.AFTER,
            )
        chosen: datetime | None = doc["chosen"] if doc else None
        return chosen.replace(tzinfo=UTC) if chosen else None

    def advance(self, plan: Plan, due: datetime) -> None:
        """Say when a plan is due next, unless somebody has said so already."""
        self._put_off({"_id": plan.id, "due": plan.due}, due)

    def postpone(self, id: Any, due: datetime) -> None:
        """Say when to look again at a plan that cannot be read."""
        self._put_off({"_id": id}, due)

    def _put_off(self, query: dict[str, Any], due: datetime) -> None:
        with translated(self._url):
            self._plans.update_one(query, {"$set": {"due": due}, "$unset": {"chosen": 1}})

    def hasten(self) -> None:
        """See that no plan is due later than its schedule says: a clock may have been wrong for a while."""
        now = self.now()
        with translated(self._url):
            docs = list(self._plans.find(SMALL).limit(_MOST * 20))
            for doc in docs:
                with suppress(InvalidInput, TypeError, AttributeError, OverflowError):
                    plan = Plan.from_doc(doc)
                    due = plan.schedule.next(now).astimezone(UTC)
                    if plan.due is not None and plan.due > due:
                        self.advance(plan, due)

    def job(self, plan: Plan) -> Metadata | None:
        """Return what is known of a plan's notebook; where that is dropped, the plan ends."""
        shown = {"name": 1, "bucket": 1, "prefix": 1, "kind": 1}
        with translated(self._url):
            doc = self._objects.find_one({"_id": plan.id, "prefix": "jobs/"}, shown)
        if doc is None:
            self.drop(plan.id)
        return Metadata.from_doc(doc) if doc else None

    def told(self, plan: Plan, failing: bool) -> bool:
        """Write down that it is told how a plan's runs end now; False where another has."""
        change = [{"$set": {"failing": failing, "told": "$$NOW"}}]
        same = {"_id": plan.id, "failing": plan.failing, "told": plan.told}
        with translated(self._url):
            return self._plans.update_one(same, change).modified_count == 1


_KEPT = ("id", "due", "failing", "told")
_MOST = 50
"""Plans that are looked at at a time; the rest come when these have been moved on."""
