"""The tasks and runners of one database: two collections that every process of the user can read.

A task is claimed by one atomic update, so any number of runners may look for work. Results stay for a day.
All times are the server's, so clocks of clients and runners need not agree.

A runner that was not heard of for 15 seconds is dead. The tasks it had in hand are then queued again, if
doing them twice is the same as once (predict, score, ...) and this was the first try; the others (fit, ...)
are lost: their error says so, and what they have stored by then stays. Runners see to that, and whoever waits
for a task or asks for its status.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid5

from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from omegaml.errors import Conflict, InvalidInput, NotFound, TaskFailed
from omegaml.mongo import translated
from omegaml.runtime.base import DEFAULT, Task, described, error_to_doc

KEEP_RESULTS = 24 * 3600
BEAT = 3.0
DEAD_AFTER = 15.0
ATTEMPTS = 2
MOST_SHOWN = 100
MOST_RUNNERS = 1000
MOST_LOOKING = 2000
"""Milliseconds that a look for tasks of a runner may take."""
MOST_RELEASED = 50
"""Tasks that are given back or up in one go: an account with many of them must not keep others waiting."""

_CALLBACKS = UUID("0d6e0a5c-4f0e-4a53-9a63-5d0b1f0f6f0e")
_CANCELLING = dict.fromkeys(("status", "bucket", "action", "store", "name", "temporary"), 1)
_CALLING = dict.fromkeys(("action", "name", "bucket", "label", "callbacks"), 1)
_NO_CALLBACKS: Mapping[str, Any] = {"callbacks": {"$in": [None, {}]}}
_LIVING: Sequence[Mapping[str, Any]] = (
    {"$addFields": {"age": {"$divide": [{"$subtract": ["$$NOW", "$seen"]}, 1000]}}},
    {"$match": {"age": {"$lt": DEAD_AFTER}}},
    {"$sort": {"_id": 1}},
    {"$limit": MOST_RUNNERS},
)
_ENDED = ("done", "failed", "lost", "cancelled")
_BRIEF = ("status", "action", "store", "name", "bucket", "submitted", "started")


class Tasks:
    """The queue of a database and the results of the last day."""

    def __init__(self, db: Database[dict[str, Any]], url: str = "") -> None:
        # a task that was accepted, and a result that was shown, must outlive a crash of the server
        durable = WriteConcern(w=1, j=True)
        self._tasks = db.get_collection("omegaml.tasks", write_concern=durable)
        self._runners = db.get_collection("omegaml.runners", write_concern=WriteConcern(w=1))
        self._url = url

    def prepare(self) -> None:
        """Make the indexes: results and dead runners go by themselves."""
        with translated(self._url):
            self._tasks.create_index("expires", expireAfterSeconds=0)
            self._tasks.create_index([("status", 1), ("submitted", 1)])
            self._runners.create_index("seen", expireAfterSeconds=3600)

    # --- tasks

    def add(self, task: Task, repeatable: bool, parent: Sequence[str] | None = None) -> None:
        """Queue a task.

        Args:
            repeatable: it may run twice if its runner dies.
            parent: the try of another task without which this one is to be stopped, as `try_of` returns it.
        Raises: Conflict if there is a task of that id.
        """
        doc = {
            "status": "queued",
            "task": task.to_json(),
            "action": task.action,
            "store": task.store,
            "label": task.label,
            "name": task.name,
            "bucket": task.bucket,
            "attempts": 0,
            "repeatable": repeatable,
            "temporary": list(task.temporary),
            "callbacks": dict(task.callbacks),
            **({"parent": list(parent)} if parent else {}),
        }
        try:
            with translated(self._url):
                self._tasks.update_one(
                    {"_id": task.id, "status": {"$exists": False}},
                    {"$set": doc, "$currentDate": {"submitted": True}},
                    upsert=True,
                )
        except Conflict:
            raise Conflict(f"there is a task {task.id!r} already", task=task.id) from None

    def claim(self, runner: str, labels: Sequence[str], id: str | None = None) -> Task | None:
        """Take the oldest queued task with one of these labels for `runner`, or the one of that id.

        Returns: None when there is none, or it is none that can be carried out: that has failed then.
        """
        # tasks that an older version has queued have no label
        wanted: dict[str, Any] = {"label": {"$in": [*labels, *([None] if DEFAULT in labels else [])]}}
        if id is not None:
            wanted["_id"] = id
        started = {
            "status": "running",
            "runner": runner,
            "started": "$$NOW",
            # whoever may write to the database may have written anything
            "attempts": {"$cond": [{"$isNumber": "$attempts"}, {"$add": ["$attempts", 1]}, 1]},
        }
        with translated(self._url):
            doc = self._tasks.find_one_and_update(
                {"status": "queued", **wanted},
                [{"$set": started}],
                sort=[("submitted", 1)],
                return_document=ReturnDocument.AFTER,
            )
        if doc is None:
            return None
        try:
            task = Task.from_json(doc.get("task", ""))
            if task.id != doc["_id"]:
                raise InvalidInput("this is no task: it says that it is another one")
            return task
        except InvalidInput as error:
            self.finish(doc["_id"], runner, {"error": error_to_doc(error)})
            return None

    def cancel(self, id: str) -> dict[str, Any] | None:
        """Keep a task from running, or mark it so that its runner stops it.

        Returns: `{bucket, temporary}`, what nobody else will drop; None if the task had ended already.
        Raises: NotFound.
        """
        doc = self._find(id, _CANCELLING)
        while doc["status"] not in _ENDED:
            if doc["status"] == "queued":
                if self._end({"_id": id, "status": "queued"}, "cancelled", _cancelled(doc)):
                    return {"bucket": doc["bucket"], "temporary": doc["temporary"]}
            else:
                with translated(self._url):
                    query = {"_id": id, "status": "running"}
                    if self._tasks.update_one(query, {"$set": {"cancel": True}}).matched_count:
                        return {"bucket": doc["bucket"], "temporary": []}
            doc = self._find(id, _CANCELLING)
        return None

    def withdraw(self, id: str) -> bool:
        """Take back a task that nobody has claimed yet; False if somebody has."""
        with translated(self._url):
            return self._tasks.delete_one({"_id": id, "status": "queued"}).deleted_count == 1

    def cancel_asked(self, task: Task) -> None:
        """Have a task stopped that is not kept here, as its caller waits for it."""
        answer = {"error": error_to_doc(cancelled(task.what, task.id))}
        doc: dict[str, Any] = {"action": task.action, "store": task.store, "name": task.name}
        doc |= {"bucket": task.bucket, "status": "cancelled", "temporary": [], "answer": json.dumps(answer)}
        change: dict[str, Any] = {key: {"$literal": value} for key, value in doc.items()}
        change["expires"] = {"$add": ["$$NOW", KEEP_RESULTS * 1000]}
        with translated(self._url):
            self._tasks.update_one({"_id": task.id}, [{"$set": change}], upsert=True)

    def to_stop(self, runner: str, ids: Sequence[str]) -> list[str]:
        """Return those of the tasks that `runner` has in hand that it shall stop."""
        asked = {"status": "running", "runner": runner, "cancel": True}
        is_share = {"status": "running", "runner": runner, "parent": {"$type": "array"}}
        query = {"_id": {"$in": ids}, "$or": [asked, {"status": "cancelled"}, is_share]}
        with translated(self._url):
            found = list(self._tasks.find(query, {"status": 1, "cancel": 1, "parent": 1}))
        return [doc["_id"] for doc in found if not self._is_wanted(doc)]

    def _is_wanted(self, doc: Mapping[str, Any]) -> bool:
        """Tell whether a share is to go on."""
        parent = doc.get("parent")
        if doc["status"] == "cancelled" or doc.get("cancel") is True or not parent:
            return False
        return self.try_of(parent[0], heard_of=False) == parent

    def try_of(self, id: str, heard_of: bool = True) -> list[str] | None:
        """Return `[id, started]` of a task that was queued and is being carried out, else None.

        Args:
            heard_of: only by a runner that is alive; else one counts that may have died or been asleep.
        """
        with translated(self._url):
            # who is to be stopped frees his slot for a share before he has written down that he was
            query = {"_id": {"$eq": id}, "status": "running", "cancel": {"$exists": False}}
            doc = self._tasks.find_one(query, {"started": 1, "runner": 1})
        if doc is None or (heard_of and doc["runner"] not in [runner["id"] for runner in self.runners()]):
            return None
        return [id, doc["started"].isoformat()]

    def finish(self, id: str, runner: str, answer: Mapping[str, Any], is_cancelled: bool = False) -> bool:
        """Write the outcome of a task; False if the task was taken from `runner` meanwhile.

        It may be called again where it is not known whether it was written.
        """
        status = "cancelled" if is_cancelled else "failed" if "error" in answer else "done"
        if self._end({"_id": {"$eq": id}, "status": "running", "runner": runner}, status, answer):
            return True
        with translated(self._url):
            written = {"_id": {"$eq": id}, "status": status, "runner": runner, "answer": json.dumps(answer)}
            return self._tasks.find_one(written, {"_id": 1}) is not None

    def _end(self, query: dict[str, Any], status: str, answer: Mapping[str, Any]) -> bool:
        change = {
            "status": status,
            "answer": {"$literal": json.dumps(answer)},
            "finished": "$$NOW",
            "temporary": {"$literal": list(answer.get("temporary", ()))},
            "expires": {"$add": ["$$NOW", KEEP_RESULTS * 1000]},
        }
        with translated(self._url):
            # most have no callbacks, and need no second look
            if self._tasks.update_one({**query, **_NO_CALLBACKS}, [{"$set": change}]).matched_count:
                return True
            found = self._tasks.find_one(query, _CALLING)
        if found is None:
            return False
        # first what is to follow: should this process or the database end in between, it is not forgotten
        self._call_back(found, status, answer)
        with translated(self._url):
            return self._tasks.update_one(query, [{"$set": change}]).matched_count == 1

    def _call_back(self, ended: Mapping[str, Any], status: str, answer: Mapping[str, Any]) -> None:
        """Queue the notebook that is to be run now, if any."""
        callbacks = ended.get("callbacks")
        job = callbacks.get("done" if status == "done" else "failed") if isinstance(callbacks, dict) else None
        if not isinstance(job, str):
            return
        about = {"task": str(ended["_id"]), "status": status}
        about |= {key: str(ended.get(key, "")) for key in ("action", "name")}
        error = (answer.get("error") or {}).get("message")
        id = uuid5(_CALLBACKS, about["task"]).hex
        bucket, label = ended.get("bucket"), ended.get("label")
        again = Task(
            "run",
            "jobs",
            job,
            (),
            {**about, "error": error},
            bucket=bucket if isinstance(bucket, str) else None,
            label=label if isinstance(label, str) else DEFAULT,
            id=id,
        )
        with suppress(Conflict):
            self.add(again, repeatable=False)

    def retry(self, id: str, runner: str) -> bool:
        """Queue a task again that `runner` has; False where that must not, or was done."""
        again = {"_id": id, "status": "running", "runner": runner, "repeatable": True}
        again |= {"attempts": {"$lt": ATTEMPTS}, "cancel": {"$exists": False}}
        with translated(self._url):
            changed = self._tasks.update_one(again, {"$set": {"status": "queued", "runner": None}})
        return changed.modified_count == 1

    def give_back(self, runner: str, besides: Iterable[str] = ()) -> list[str]:
        """Requeue or give up some of what `runner` has and is not in `besides`; return the ids."""
        return self._release({"status": "running", "runner": runner, "_id": {"$nin": list(besides)}})

    def recover(self) -> list[str]:
        """Requeue or give up some of the tasks of runners that are no longer alive; return the ids."""
        with translated(self._url):
            alive = [doc["_id"] for doc in self._runners.aggregate([*_LIVING, {"$project": {"_id": 1}}])]
        return self._release({"status": "running", "runner": {"$nin": alive}})

    def recover_from_the_dead(self, id: str) -> None:
        """Requeue or give up a task if its runner is no longer alive.

        Takes some seconds then: after a pause of the database or of this machine, runners are heard of again
        with their next beat.
        """
        if self._is_left(id):
            time.sleep(BEAT + 1)
            if runner := self._is_left(id):
                self._release({"_id": id, "status": "running", "runner": runner})

    def _is_left(self, id: str) -> str | None:
        """Return the runner of a task if that is dead."""
        with translated(self._url):
            doc = self._tasks.find_one({"_id": id, "status": "running"}, {"runner": 1})
        if doc is None or doc.get("runner") in [runner["id"] for runner in self.runners()]:
            return None
        return str(doc.get("runner"))

    def _release(self, query: dict[str, Any]) -> list[str]:
        shown = {"runner": 1, "repeatable": 1, "attempts": 1, "action": 1, "store": 1, "name": 1}
        shown["cancel"] = 1
        with translated(self._url):  # not all at once: they may be large
            found = self._tasks.find(query, shown, limit=MOST_RELEASED, max_time_ms=MOST_LOOKING)
            return [doc["_id"] for doc in found if self._released(doc)]

    def _released(self, doc: Mapping[str, Any]) -> bool:
        """Requeue or give up a task; False if somebody else has."""
        attempts = doc.get("attempts")
        same = {"_id": {"$eq": doc["_id"]}, "status": "running", "runner": {"$eq": doc.get("runner")}}
        if doc.get("cancel"):
            return self._end(same, "cancelled", _cancelled(doc))
        if doc.get("repeatable") and isinstance(attempts, int | float) and attempts < ATTEMPTS:
            with translated(self._url):
                changed = self._tasks.update_one(same, {"$set": {"status": "queued", "runner": None}})
            return changed.modified_count == 1
        return self._end(same, "lost", {"error": error_to_doc(_lost(doc))})

    def get(self, id: str) -> dict[str, Any]:
        """Return `{id, status, action, store, name, bucket, submitted, started, finished, answer}` of a task.

        Raises: NotFound if there is none, or none any more.
        """
        doc = self._find(id)
        answer = json.loads(doc["answer"]) if doc.get("answer") else None
        return {"id": id, **{key: doc.get(key) for key in (*_BRIEF, "finished")}, "answer": answer}

    def status(self, id: str) -> str:
        """Return a task's status; reads no result. Raises NotFound."""
        return str(self._find(id, {"status": 1})["status"])

    def ended(self, id: str) -> bool:
        """Tell whether a task has ended; reads no result. Raises NotFound."""
        return self.status(id) in _ENDED

    def _find(self, id: str, shown: Mapping[str, int] | None = None) -> dict[str, Any]:
        with translated(self._url):
            doc = self._tasks.find_one({"_id": id}, shown)
        if doc is None:
            raise NotFound(f"there is no task {id!r}", hint="results are kept for 24 hours")
        return doc

    def waiting(self) -> list[dict[str, Any]]:
        """Return the tasks that have not ended, oldest first: `{id, status, action, name, ...}`."""
        with translated(self._url):
            found = self._tasks.find({"status": {"$in": ["queued", "running"]}}, [*_BRIEF, "label"])
            docs = list(found.sort("submitted", 1).limit(MOST_SHOWN))
        return [{"id": doc.pop("_id"), **doc} for doc in docs]

    def failures(self, limit: int) -> list[dict[str, Any]]:
        """Return the tasks that failed or were lost, the newest first, as `waiting` does and with `error`."""
        with translated(self._url):
            found = self._tasks.find({"status": {"$in": ["failed", "lost"]}}, [*_BRIEF, "finished", "answer"])
            docs = list(found.sort("submitted", -1).limit(limit))
        said = [json.loads(doc.pop("answer", None) or "{}").get("error") or {} for doc in docs]
        return [
            {"id": doc.pop("_id"), **doc, "error": error.get("message")}
            for doc, error in zip(docs, said, strict=True)
        ]

    def counts(self) -> dict[str, int]:
        """Return how many tasks are in each status."""
        with translated(self._url):
            found = self._tasks.aggregate([{"$group": {"_id": "$status", "n": {"$sum": 1}}}])
            counted = {doc["_id"]: doc["n"] for doc in found}
        return {status: counted.get(status, 0) for status in ("queued", "running", *_ENDED)}

    def waiting_by_label(self) -> dict[str, int]:
        """Return how many tasks are queued for each label that any is queued for."""
        stages: list[dict[str, Any]] = [{"$match": {"status": "queued"}}]
        stages.append({"$group": {"_id": "$label", "n": {"$sum": 1}}})
        with translated(self._url):
            return {doc["_id"] or DEFAULT: doc["n"] for doc in self._tasks.aggregate(stages)}

    def in_use(self) -> set[str]:
        """Return the names of all temporary datasets that a task or result still refers to."""
        with translated(self._url):
            return set(self._tasks.distinct("temporary"))

    # --- runners

    def beat(self, runner: str, **facts: Any) -> None:
        """Say that `runner` is alive."""
        change = {key: {"$literal": value} for key, value in facts.items()} | {"seen": "$$NOW"}
        with translated(self._url):
            self._runners.update_one({"_id": runner}, [{"$set": change}], upsert=True)

    def leave(self, runner: str) -> None:
        """Take `runner` off the list."""
        with translated(self._url):
            self._runners.delete_one({"_id": runner})

    def workers_by_label(self) -> Counter[str]:
        """Return how many living runners take tasks of each label."""
        return Counter(one for runner in self.runners() for one in runner.get("labels") or (DEFAULT,))

    def labels(self) -> set[str]:
        """Return the labels of all runners of the last hour, dead ones too, and of the tasks that wait."""
        with translated(self._url):
            return {*self._runners.distinct("labels"), *self.waiting_by_label()}

    def runners(self) -> list[dict[str, Any]]:
        """Return the living runners: `{id, host, pid, slots, labels, running, age}`; age in seconds."""
        with translated(self._url):
            found = list(self._runners.aggregate([*_LIVING]))
        return [{"id": doc.pop("_id"), **{k: v for k, v in doc.items() if k != "seen"}} for doc in found]


def cancelled(what: str, id: str) -> TaskFailed:
    """Return the error of a task that was cancelled."""
    return TaskFailed(f"{what} was cancelled", task=id, cancelled=True)


def _what(doc: Mapping[str, Any]) -> str:
    action, store, name = (str(doc.get(key) or "") for key in ("action", "store", "name"))
    return described(action or "task", store or "models", name)


def _cancelled(doc: Mapping[str, Any]) -> dict[str, Any]:
    return {"error": error_to_doc(cancelled(_what(doc), str(doc["_id"])))}


def _lost(doc: Mapping[str, Any]) -> TaskFailed:
    return TaskFailed(
        f"{_what(doc)} was lost: its runner stopped while it ran",
        hint="see what it has done, then ask for it again",
        task=str(doc["_id"]),
    )
