"""What an account writes into its own database does not keep a runner from serving the others."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from omegaml.errors import InvalidInput, Unavailable
from omegaml.omega import Omega
from omegaml.runtime.accounts import Account
from omegaml.runtime.base import Task
from omegaml.runtime.service import Service
from omegaml.runtime.tasks import MOST_RELEASED
from tests.conftest import database
from tests.services.runtime_processes import wait_for

pytestmark = pytest.mark.once

QUEUED = {"status": "queued", "label": "default", "attempts": 0, "repeatable": True}
LEFT = {
    "status": "running",
    "runner": "gone",
    "repeatable": False,
    "attempts": 1,
    "action": "fit",
    "name": "m",
}


class Two:
    """Two accounts that are known from the beginning."""

    are_several = False

    def __init__(self, *accounts: Account) -> None:
        self._accounts = list(accounts)

    def all(self) -> list[Account]:
        return self._accounts

    def find(self, userid: str) -> Account:
        return next(one for one in self._accounts if one.userid == userid)

    def refresh(self, facts: dict[str, Any]) -> list[Account]:
        return []

    def mail(self, account: Account, notice: dict[str, Any]) -> bool:
        return False

    def leave(self, id: str) -> None:
        return None


@pytest.fixture
def two(mongo_url: str) -> Iterator[tuple[Account, Account]]:
    with ExitStack() as stack:
        accounts = []
        for userid in ("hostile", "victim"):
            url = stack.enter_context(database(mongo_url))
            accounts.append(Account(Omega(mongo_url=url), url, userid))
            accounts[-1].tasks.prepare()
            stack.callback(accounts[-1].om.close)
        yield accounts[0], accounts[1]


@contextmanager
def serving(two: tuple[Account, Account], slots: int = 1) -> Iterator[Service]:
    service = Service(Two(*two), slots)
    thread = threading.Thread(target=service.run, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.stop()
        thread.join(30)
        assert not thread.is_alive()


def insert(account: Account, *docs: dict[str, Any]) -> None:
    account.om.db["omegaml.tasks"].insert_many(list(docs))


def has_ended(account: Account, id: str, status: str = "done") -> Callable[[], bool]:
    return lambda: account.tasks.status(id) == status


def ping(account: Account) -> None:
    task = Task("ping")
    account.tasks.add(task, True)
    wait_for(has_ended(account, task.id))


def start_long(account: Account) -> str:
    """Have a notebook run that takes a minute."""
    account.om.jobs.create("import time; time.sleep(60)", "long")
    task = Task("run", "jobs", "long")
    account.tasks.add(task, False)
    wait_for(has_ended(account, task.id, "running"))
    return task.id


def test_tasks_that_are_none_fail_and_keep_nobody_waiting(
    two: tuple[Account, Account], caplog: pytest.LogCaptureFixture
) -> None:
    hostile, victim = two
    texts = ["[" * 100_000, "[]", "7", '{"action": "ping"}', '{"action": "ping", "id": []}']
    texts += [json.dumps({"action": "ping", "id": f"t{n}", "limit": "x" * 9}) for n in (5, 6)]
    texts += [Task("ping", id="another").to_json()]
    bad = [{"_id": f"t{n}", **QUEUED, "task": text} for n, text in enumerate(texts)]
    bad += [
        {"_id": "boom", **QUEUED, "attempts": "boom"},
        {"_id": "callbacks", **QUEUED, "callbacks": "boom", "action": {}, "task": 1},
        {"_id": {"a": "b\n" * 300}, **QUEUED, "callbacks": {"failed": "a"}, "task": 1},
    ]
    insert(hostile, *bad)
    with serving(two) as service, caplog.at_level(logging.INFO, "omegaml.runner"):
        wait_for(lambda: hostile.tasks.counts()["failed"] == len(bad))
        ping(victim)
        ping(hostile)
        assert not service.execution.in_hand
        assert service._slots._free == 1
    assert all(len(record.getMessage()) < 500 for record in caplog.records)


def test_what_fails_for_one_account_does_not_stop_the_others(
    two: tuple[Account, Account], caplog: pytest.LogCaptureFixture
) -> None:
    hostile, victim = two
    hostile.om.db.drop_collection("omegaml.tasks")
    # the task that is there cannot be claimed
    hostile.om.db.create_collection("omegaml.tasks", validator={"attempts": {"$lt": 0}})
    hostile.om.db["omegaml.tasks"].insert_one({"_id": "x", **QUEUED, "attempts": -1, "task": ""})
    with caplog.at_level(logging.WARNING, "omegaml.runner"), serving(two):
        for _ in range(3):
            ping(victim)
            time.sleep(0.5)
    said = [record.getMessage() for record in caplog.records if "account hostile" in record.getMessage()]
    assert 1 <= len(said) <= 3
    assert all(len(text) < 300 and "\n" not in text for text in said)


def test_what_claims_to_be_in_hand_ends_nobody_elses_task(two: tuple[Account, Account]) -> None:
    hostile, victim = two
    with serving(two, 2) as service:
        ids = [start_long(account) for account in two]
        wait_for(lambda: all(child is not None for _, child in service.execution.in_hand.values()))
        mine = {"status": "running", "runner": service.id, "cancel": True}
        insert(hostile, {"_id": ids[1], **mine}, {"_id": {"a": 1}, **mine}, {"_id": 7, **mine})
        hostile.tasks.cancel(ids[0])
        wait_for(has_ended(hostile, ids[0], "cancelled"))
        ping(hostile)
        assert victim.tasks.status(ids[1]) == "running"
        assert list(service.execution.in_hand) == [("victim", ids[1])]
        victim.tasks.cancel(ids[1])
        wait_for(has_ended(victim, ids[1], "cancelled"))


def test_what_the_dead_have_left_of_others_is_found_beside_any_number(two: tuple[Account, Account]) -> None:
    hostile, victim = two
    many = [{"_id": f"{n}", **LEFT} for n in range(10 * MOST_RELEASED)]
    insert(hostile, {"_id": "x", "status": "running", "runner": "gone"}, *many)
    insert(victim, {"_id": "lost", **LEFT})
    with serving(two):
        wait_for(has_ended(victim, "lost", "lost"))
        assert hostile.tasks.status("x") == "lost"
        assert hostile.tasks.counts()["lost"] <= 2 * MOST_RELEASED


def test_a_slot_is_free_again_where_no_child_is_to_be_had(two: tuple[Account, Account]) -> None:
    hostile, victim = two
    with serving(two) as service:
        ping(victim)
        nowhere = Account(hostile.om, hostile.url, "nowhere")
        nowhere.om = None  # type: ignore[assignment]
        with pytest.raises(AttributeError):
            service.execution.ask(nowhere, Task("ping", limit=10.0))
        wait_for(service._slots.reserve)  # as a claim does
        service.execution.carry_out(nowhere, Task("ping"))
        assert not service.execution.in_hand
        ping(victim)


@pytest.mark.parametrize(
    "change",
    [
        {"id": 1},
        {"id": {}},
        {"name": None},
        {"args": "x"},
        {"kwargs": []},
        {"limit": "1"},
        {"limit": float("nan")},
        {"limit": 10**400},
        {"temporary": [1]},
        {"callbacks": {"done": 1}},
    ],
)
def test_a_task_has_fields_of_their_types(change: dict[str, Any]) -> None:
    text = json.dumps({**json.loads(Task("ping").to_json()), **change})
    with pytest.raises(InvalidInput, match="no task"):
        Task.from_json(text)


def test_a_callback_is_queued_though_the_database_goes_away_at_the_end_of_its_task(
    two: tuple[Account, Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    account, _ = two
    task = Task("ping", callbacks={"done": "next"})
    account.tasks.add(task, True)
    assert account.tasks.claim("me", ["default"]) is not None
    answer = {"result": 1, "temporary": ["kept"]}
    collection = account.tasks._tasks
    update_one = type(collection).update_one
    seen: list[int] = []

    def breaking(self: Any, *args: Any, **options: Any) -> Any:
        seen.append(1)
        done = update_one(self, *args, **options)
        if len(seen) in breaks:
            raise AutoReconnect("the connection was lost")
        return done

    monkeypatch.setattr(type(collection), "update_one", breaking)
    # after the callback was queued, and after the end was written
    breaks = {2, 5}
    for _ in breaks:
        with pytest.raises(Unavailable):
            account.tasks.finish(task.id, "me", answer)
    assert account.tasks.finish(task.id, "me", answer)
    monkeypatch.undo()
    assert account.tasks.status(task.id) == "done"
    (queued,) = account.tasks.waiting()
    assert (queued["action"], queued["name"]) == ("run", "next")
    assert not account.tasks.finish(task.id, "another", answer)
    assert account.tasks.in_use() == {"kept"}
