"""Jobs that run by themselves: each time once, whoever plans, whatever was missed, and who is told of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from omegaml.errors import InvalidInput, NotFound
from omegaml.runtime import scheduler as module
from omegaml.runtime.accounts import Account
from omegaml.runtime.runs import Run, Runs
from omegaml.runtime.schedule.plans import COLLECTION, Plans
from omegaml.runtime.scheduler import Scheduler
from tests.services.runtime_processes import RunnerProcess, start_runner, wait_for

__all__ = ["start_runner"]
pytestmark = pytest.mark.once


@pytest.fixture
def account(om: Any) -> Account:
    made = Account(om, om.mongo_url)
    made.tasks.prepare()
    return made


def planner_of(account: Account) -> Scheduler:
    return Scheduler(account, lambda _: None)


@pytest.fixture
def scheduler(account: Account) -> Scheduler:
    return planner_of(account)


@pytest.fixture
def runs(om: Any) -> Runs:
    return Runs(om.db, om.mongo_url)


def let_be_due(om: Any, name: str, minutes: int = 0) -> datetime:
    """Let the job be one that is due once a day, so many whole minutes ago; return when."""
    due: datetime = Plans(om.db).now().replace(second=0, microsecond=0) - timedelta(minutes=minutes)
    change = {"text": f"{due.minute} {due.hour} * * *", "zone": "UTC", "due": due}
    id = om.jobs.metadata(name).id
    assert om.db[COLLECTION].update_one({"_id": id}, {"$set": change}).matched_count == 1
    return due


def carry_out(account: Account, id: str, error: str | None = None) -> None:
    """End a queued task as a runner does that knows of no notebook."""
    assert account.tasks.claim("r", ["default"], id) is not None
    answer: dict[str, Any] = {"result": {"results": "results/x.ipynb"}}
    if error:
        answer = {"error": {"error": "TaskFailed", "message": error, "details": {}}}
    assert account.tasks.finish(id, "r", answer)


def queued(om: Any) -> list[dict[str, Any]]:
    return [
        dict(doc, task=json.loads(doc["task"])) for doc in om.db["omegaml.tasks"].find().sort("submitted", 1)
    ]


def test_a_job_is_run_when_it_is_due_and_not_before(om: Any, scheduler: Scheduler, runs: Runs) -> None:
    om.jobs.create("factor = 1", "daily")
    job = om.runtime.require("gpu").job("daily", limit=60)
    plan = job.schedule("every minute", zone="Europe/Berlin", parameters={"factor": 7})
    assert plan.due is not None and plan.due.second == 0
    assert [t.tzname() for t in plan.next(1, datetime(2026, 7, 1, tzinfo=UTC))] == ["CEST"]
    left = scheduler.look()
    assert left is not None and 0 < left <= 60 and not queued(om)
    due = let_be_due(om, "daily")
    scheduler.look()
    [run] = runs.of("daily.ipynb", om.bucket)
    assert (run.scheduled, run.trigger, run.status) == (due, "schedule", "queued")
    [task] = queued(om)
    assert task["_id"] == run.id and task["label"] == "gpu" and not task["repeatable"]
    assert task["task"]["kwargs"] == {"factor": 7} and task["task"]["limit"] == 60
    after = job.plan()
    assert after is not None and after.due == due + timedelta(days=1)


def test_however_many_plan_each_time_is_run_once(om: Any, account: Account, runs: Runs) -> None:
    for n in range(4):
        om.jobs.create("1", f"job{n}")
        om.jobs.schedule(f"job{n}", "@daily")
        let_be_due(om, f"job{n}")
    planners = [planner_of(account) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda planner: planner.look(), planners * 4))
    assert len(queued(om)) == 4 and all(len(runs.of(f"job{n}.ipynb", om.bucket)) == 1 for n in range(4))


@pytest.mark.fault
@pytest.mark.parametrize("until", ["the run is written down", "the task is queued", "the plan goes on"])
def test_who_is_killed_is_followed_by_the_next(
    om: Any, scheduler: Scheduler, account: Account, until: str
) -> None:
    om.jobs.create("1", "daily")
    om.jobs.schedule("daily", "@daily")
    due = let_be_due(om, "daily")
    plan = Plans(om.db).get(om.jobs.metadata("daily").id)
    assert plan is not None
    runs = Runs(om.db, om.mongo_url)
    runs.prepare()
    id = module._id(plan.id, due)
    run = Run("daily.ipynb", om.bucket, due, "schedule", id)
    if until != "the run is written down":
        runs.add(run)
    if until == "the plan goes on":
        scheduler._queue(plan, run)
    scheduler.look()
    scheduler.look()
    [found] = runs.of("daily.ipynb", om.bucket)
    assert (found.id, found.status) == (id, "queued") and [doc["_id"] for doc in queued(om)] == [id]
    carry_out(account, id)
    om.db[COLLECTION].update_one({}, {"$set": {"due": due}})  # and nobody had said that it was run
    scheduler.look()
    assert [run.status for run in runs.of("daily.ipynb", om.bucket)] == ["done"] and len(queued(om)) == 1


def test_a_planner_that_stands_still_for_long_loses_nothing_and_nothing_runs_twice(
    om: Any, scheduler: Scheduler, account: Account, runs: Runs
) -> None:
    om.jobs.create("1", "daily")
    om.jobs.schedule("daily", "@daily", retries=2)
    due = let_be_due(om, "daily")
    runs.prepare()
    plan = Plans(om.db).get(om.jobs.metadata("daily").id)
    assert plan is not None
    run = Run("daily.ipynb", om.bucket, due, "schedule", module._id(plan.id, due), job_id=str(plan.id))
    runs.add(run)  # here it stands still
    om.db["omegaml.runs"].update_one({}, {"$set": {"seen": datetime.now(UTC) - timedelta(minutes=2)}})
    assert runs.get(run.id).status == "queued"
    Plans(om.db).advance(plan, due + timedelta(days=1))  # of others
    scheduler.look()
    assert runs.get(run.id).status == "queued" and [doc["_id"] for doc in queued(om)] == [run.id]
    scheduler._queue(plan, run)  # and goes on
    runs.add(Run("daily.ipynb", om.bucket, id=run.id))  # as whoever carries it out does
    [found] = runs.of("daily.ipynb", om.bucket)
    assert (found.scheduled, found.trigger) == (due, "schedule") and len(queued(om)) == 1


@pytest.mark.parametrize(("catch_up", "status"), [("once", "queued"), ("skip", "skipped")])
def test_times_that_were_missed_are_run_once_or_skipped(
    om: Any, scheduler: Scheduler, runs: Runs, catch_up: str, status: str
) -> None:
    om.jobs.create("1", "hourly")
    om.jobs.schedule("hourly", "every hour", zone="UTC", catch_up=catch_up)
    now = Plans(om.db).now()
    last = now.replace(minute=0, second=0, microsecond=0)
    if now - last <= module.MISSED:
        time.sleep(61)
    id = om.jobs.metadata("hourly").id
    om.db[COLLECTION].update_one({"_id": id}, {"$set": {"due": last - timedelta(hours=5)}})
    scheduler.look()
    scheduler.look()
    [run] = runs.of("hourly.ipynb", om.bucket)
    assert (run.status, run.scheduled) == (status, last)
    assert len(queued(om)) == (status == "queued")
    plan = Plans(om.db).get(id)
    assert plan is not None and plan.due == last + timedelta(hours=1)
    assert (run.error is None) == (status == "queued")


def test_a_time_at_which_the_run_before_goes_on_is_skipped_and_says_so(
    om: Any, account: Account, scheduler: Scheduler, runs: Runs
) -> None:
    om.jobs.create("1", "daily")
    om.jobs.schedule("daily", "@daily")
    let_be_due(om, "daily", 3)
    scheduler.look()
    [first] = runs.of("daily.ipynb", om.bucket)
    due = let_be_due(om, "daily", 2)
    scheduler.look()
    newest = runs.of("daily.ipynb", om.bucket)[0]
    assert (newest.status, newest.scheduled) == ("skipped", due)
    assert first.id[:8] in str(newest.error) and len(queued(om)) == 1
    carry_out(account, first.id)
    let_be_due(om, "daily", 1)
    scheduler.look()
    assert [run.status for run in runs.of("daily.ipynb", om.bucket)] == ["queued", "skipped", "done"]


def test_a_plan_goes_with_its_notebook(om: Any, scheduler: Scheduler, runs: Runs) -> None:
    om.jobs.create("1", "daily")
    om.jobs.schedule("daily", "every minute", zone="UTC")
    om.jobs.create("2", "daily")
    om.jobs.rename("daily", "reports/daily")
    om.jobs.copy("reports/daily", "copy")
    assert [(meta.name, plan.text) for meta, plan in om.jobs.scheduled()] == [
        ("reports/daily.ipynb", "every minute")
    ]
    let_be_due(om, "reports/daily")
    scheduler.look()
    assert len(runs.of("reports/daily.ipynb", om.bucket)) == 1
    let_be_due(om, "reports/daily")
    om.jobs.drop("reports/daily")
    om.jobs.create("1", "reports/daily")
    scheduler.look()
    assert om.jobs.scheduled() == [] and om.db[COLLECTION].count_documents({}) == 0
    assert len(queued(om)) == 1
    with pytest.raises(NotFound):
        om.jobs.schedule("nobody", "every minute")
    with pytest.raises(NotFound):
        om.jobs.unschedule("nobody")


def test_what_a_notebook_says_of_itself_is_its_plan(om: Any) -> None:
    header = '# omega-ml:\n#   schedule: "Fridays, at 06:00"\n#   zone: Europe/Berlin\n#   retries: 2\n'
    om.jobs.create([header + "x = 1", "x"], "daily")
    [(meta, plan)] = om.jobs.scheduled()
    assert meta.name == "daily.ipynb" and (plan.zone, plan.retries) == ("Europe/Berlin", 2)
    assert plan.schedule.cron == "0 6 * * 5"
    om.jobs.create([header + "x = 2", "x"], "daily")
    assert om.jobs.scheduled()[0][1] == plan
    om.jobs.put(om.jobs.get("daily"), "results/daily_1")
    assert len(om.jobs.scheduled()) == 1
    with pytest.raises(InvalidInput, match="two schedules"):
        om.jobs.create("# omega-ml:\n# schedule: daily\n# run-at: hourly\n", "daily")
    om.jobs.create("x", "daily")
    assert om.jobs.scheduled() == []
    om.jobs.schedule("daily", "@daily")
    om.jobs.create("y", "daily")
    assert len(om.jobs.scheduled()) == 1, "what was said by a call stays"
    assert om.jobs.unschedule("daily") and not om.jobs.unschedule("daily")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("now and then", {}),
        ("every day", {"zone": "Mars/Base"}),
        ("every day", {"catch_up": "twice"}),
        ("every day", {"retries": 11}),
        ("every day", {"webhook": "file:///etc/passwd"}),
        ("every day", {"webhook": "http://"}),
        (5, {}),
    ],
)
def test_what_is_no_schedule_is_refused_and_nothing_is_changed(om: Any, text: Any, options: Any) -> None:
    om.jobs.create("1", "daily")
    before = om.jobs.schedule("daily", "@daily")
    with pytest.raises(InvalidInput) as caught:
        om.jobs.schedule("daily", text, **options)
    assert caught.value.message and om.jobs.scheduled()[0][1] == before


def test_a_plan_that_cannot_be_read_holds_up_no_other(om: Any, scheduler: Scheduler, runs: Runs) -> None:
    for name in ("odd", "good"):
        om.jobs.create("1", name)
        om.jobs.schedule(name, "@daily")
        let_be_due(om, name)
    om.db[COLLECTION].update_one(
        {"_id": om.jobs.metadata("odd").id},
        {"$set": {"text": "whenever it rains", "due": datetime(2020, 1, 1)}},
    )
    scheduler.look()
    assert len(runs.of("good.ipynb", om.bucket)) == 1 and not runs.of("odd.ipynb", om.bucket)
    left = scheduler.look()
    assert left is not None and left > 0


def fail(om: Any, account: Account, runs: Runs, error: str | None = "it broke") -> Run:
    """End the newest run, so long ago that a retry is due."""
    newest = runs.of("daily.ipynb", om.bucket)[0]
    carry_out(account, newest.id, error)
    ended = runs.get(newest.id)
    past = datetime.now(UTC) - timedelta(hours=1)
    om.db["omegaml.runs"].update_one({"_id": newest.id}, {"$set": {"finished": past}})
    return ended


def test_a_run_that_failed_is_repeated_as_often_as_was_asked_for(
    om: Any, account: Account, scheduler: Scheduler, runs: Runs
) -> None:
    om.jobs.create("1", "daily")
    om.jobs.schedule("daily", "@daily", retries=2)
    let_be_due(om, "daily")
    scheduler.look()
    first = runs.of("daily.ipynb", om.bucket)[0]
    carry_out(account, first.id, "it broke")
    scheduler.look()
    assert len(queued(om)) == 1, "a retry waits a while"
    om.db["omegaml.runs"].update_one({}, {"$set": {"finished": datetime.now(UTC) - timedelta(seconds=31)}})
    for planner in (scheduler, planner_of(account)):
        planner.look()
    again = runs.of("daily.ipynb", om.bucket)[0]
    assert (again.trigger, again.attempt, again.retry_of) == ("retry", 2, first.id)
    fail(om, account, runs)
    scheduler.look()
    last = runs.of("daily.ipynb", om.bucket)[0]
    assert (last.attempt, last.retry_of) == (3, first.id)
    fail(om, account, runs)
    scheduler.look()
    assert len(queued(om)) == 3 and len(runs.of("daily.ipynb", om.bucket)) == 3
    assert om.db["omegaml.runs"].count_documents({"settled": False}) == 0


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook, and what it was told. It is out of order for the first message."""
    told: list[dict[str, Any]] = []
    answers = iter([503])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = next(answers, 204)
            if status == 204:
                told.append({**body, "authorization": self.headers.get("Authorization")})
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret-path", told
    server.shutdown()


def test_a_later_time_takes_the_place_of_a_retry(
    om: Any, account: Account, scheduler: Scheduler, runs: Runs
) -> None:
    om.jobs.create("1", "daily")
    om.jobs.schedule("daily", "@daily", retries=2)
    let_be_due(om, "daily", 2)
    scheduler.look()
    carry_out(account, runs.of("daily.ipynb", om.bucket)[0].id, "it broke")
    let_be_due(om, "daily", 1)
    scheduler.look()
    om.db["omegaml.runs"].update_many({"status": "failed"}, {"$set": {"finished": datetime(2020, 1, 1)}})
    scheduler.look()
    assert [run.trigger for run in runs.of("daily.ipynb", om.bucket)] == ["schedule", "schedule"]


def test_the_newest_runs_are_kept_with_what_they_have_left(
    om: Any, account: Account, scheduler: Scheduler, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP", 2)
    om.jobs.create("1", "daily")
    om.jobs.schedule("daily", "@daily")
    by_hand = Run("daily.ipynb", om.bucket, results="results/by-hand.ipynb")
    for minutes in (9, 8, 7, 6):
        let_be_due(om, "daily", minutes)
        scheduler.look()
        newest = runs.of("daily.ipynb", om.bucket)[0]
        om.jobs.copy("daily", f"results/{newest.id}")
        runs.finish(newest.id, "done", f"results/{newest.id}.ipynb")
        meta = om.db["metadata"].update_one(
            {"name": f"results/{newest.id}.ipynb"}, {"$set": {"attributes.run": newest.id}}
        )
        assert meta.matched_count == 1
        om.db["omegaml.tasks"].delete_many({})
        if minutes == 9:
            runs.add(by_hand)
            runs.finish(by_hand.id, "done", by_hand.results)
            om.jobs.copy("daily", "results/by-hand")
        scheduler.look()
    kept = runs.of("daily.ipynb", om.bucket)
    assert [run.trigger for run in kept] == ["schedule", "schedule", "manual"]
    assert sorted(om.jobs.list("results/*")) == sorted(run.results for run in kept if run.results)


def test_the_first_failure_is_told_and_the_recovery_and_a_failing_job_once_a_day(
    om: Any, account: Account, scheduler: Scheduler, runs: Runs
) -> None:
    om.jobs.create("1", "daily")
    om.jobs.schedule("daily", "@daily", webhook="http://127.0.0.1:1/secret-path")

    def events(minutes: int, error: str | None) -> list[str]:
        let_be_due(om, "daily", minutes)
        scheduler.look()
        carry_out(account, runs.of("daily.ipynb", om.bucket)[0].id, error)
        for planner in (scheduler, planner_of(account)):
            planner.look()
        notices = [doc["task"]["kwargs"]["event"] for doc in queued(om) if doc["action"] == "notify"]
        om.db["omegaml.tasks"].delete_many({"action": "notify"})
        return notices

    told = [events(n, error) for n, error in ((9, None), (8, "broke"), (7, "broke"), (6, None), (5, None))]
    assert told == [[], ["failed"], [], ["recovered"], []]
    assert events(4, "broke") == ["failed"]
    om.db[COLLECTION].update_one({}, {"$set": {"told": datetime.now(UTC) - timedelta(hours=24)}})
    assert events(3, "broke") == ["failed"]


def test_a_job_runs_by_itself_and_says_that_it_failed(
    om: Any, start_runner: Callable[..., RunnerProcess], hook: Any, runs: Runs
) -> None:
    url, told = hook
    om.jobs.create("import omegaml as om\n1 / len(om.datasets.get('fine'))", "daily")
    om.datasets.put([], "fine")
    om.jobs.schedule("daily", "@daily", webhook=url)
    let_be_due(om, "daily")
    first, second = start_runner(), start_runner()
    [run] = wait_for(lambda: [r for r in runs.of("daily.ipynb", om.bucket) if r.has_ended])
    assert run.status == "failed" and run.trigger == "schedule" and "ZeroDivisionError" in str(run.error)
    assert wait_for(lambda: told)[0]["event"] == "failed", (
        "which was told although the first try found it ill"
    )
    assert (
        told[0]["run"] == run.id
        and "ZeroDivisionError" in told[0]["text"]
        and told[0]["authorization"] is None
    )
    om.datasets.put([1], "fine")
    first.kill()
    let_be_due(om, "daily", 1)
    wait_for(lambda: len(told) == 2)
    assert told[1]["event"] == "recovered"
    assert second.stop() == 0


@pytest.mark.fault
def test_two_schedulers_run_each_of_many_times_once_though_one_is_killed(
    om: Any, start_runner: Callable[..., RunnerProcess], runs: Runs
) -> None:
    om.jobs.create("1", "daily")
    names = [f"daily{n}" for n in range(6)]
    for name in names:
        om.jobs.copy("daily", name)
        om.jobs.schedule(name, "@daily")
        let_be_due(om, name)
    first, _second = start_runner(), start_runner()
    wait_for(lambda: any(runs.of(f"{name}.ipynb", om.bucket) for name in names))
    first.kill()
    every = wait_for(lambda: all(runs.of(f"{name}.ipynb", om.bucket) for name in names))
    assert every
    for name in names:
        due = [run.scheduled for run in runs.of(f"{name}.ipynb", om.bucket)]
        assert len(due) == len(set(due))
    assert len({doc["_id"] for doc in queued(om)}) == sum(
        len(runs.of(f"{n}.ipynb", om.bucket)) for n in names
    )


def test_planners_on_both_sides_of_a_minute_take_the_same_time(om: Any, account: Account, runs: Runs) -> None:
    om.jobs.create("1", "daily")
    om.jobs.schedule("daily", "@daily")
    due = let_be_due(om, "daily", 5)
    plans = Plans(om.db)
    plan = plans.get(om.jobs.metadata("daily").id)
    assert plan is not None
    assert plans.choose(plan, due) == plans.choose(plan, due + timedelta(minutes=1)) == due
    plans.advance(plan, due + timedelta(days=1))
    assert plans.choose(plan, due) is None


def test_many_plans_at_the_same_time_are_all_run(om: Any, scheduler: Scheduler, runs: Runs) -> None:
    om.jobs.create("1", "job")
    for n in range(60):
        om.jobs.copy("job", f"job{n}")
        om.jobs.schedule(f"job{n}", "@daily")
        let_be_due(om, f"job{n}")
    assert scheduler.look() == 0
    left = scheduler.look()
    assert left is not None and left > 0 and len(queued(om)) == 60


def test_a_clock_that_was_wrong_puts_nothing_off(om: Any, account: Account) -> None:
    om.jobs.create("1", "daily")
    before = om.jobs.schedule("daily", "@daily")
    for heal in (lambda: om.jobs.schedule("daily", "@daily"), planner_of(account).look):
        om.db[COLLECTION].update_one({}, {"$set": {"due": datetime(2100, 1, 1)}})
        heal()
        assert om.jobs.scheduled()[0][1].due == before.due


def test_a_failure_that_is_overtaken_is_not_told(
    om: Any, account: Account, scheduler: Scheduler, runs: Runs
) -> None:
    om.jobs.create("1", "daily")
    om.jobs.schedule("daily", "@daily", retries=3, webhook="http://127.0.0.1:1/x")
    for minutes, error in ((3, "broke"), (2, None)):
        let_be_due(om, "daily", minutes)
        scheduler.look()
        carry_out(account, runs.of("daily.ipynb", om.bucket)[0].id, error)
    for _ in range(2):
        scheduler.look()
        om.db["omegaml.runs"].update_many({}, {"$set": {"finished": datetime(2020, 1, 1)}})
    assert not [doc for doc in queued(om) if doc["action"] == "notify"]
    assert om.jobs.scheduled()[0][1].failing is False
    assert om.db["omegaml.runs"].count_documents({"settled": False}) == 0


def test_a_job_that_is_renamed_while_it_runs_is_retried_and_shown(
    om: Any, account: Account, scheduler: Scheduler, runs: Runs
) -> None:
    om.jobs.create("1", "daily")
    om.jobs.schedule("daily", "@daily", retries=1)
    let_be_due(om, "daily")
    scheduler.look()
    om.jobs.rename("daily", "reports/daily")
    fail(om, account, runs)
    scheduler.look()
    [again] = runs.of("reports/daily.ipynb", om.bucket)
    assert again.trigger == "retry"
    assert len(om.jobs.status("reports/daily")) == 2


def test_what_an_account_writes_by_hand_is_in_its_own_way_at_most(
    om: Any, account: Account, scheduler: Scheduler, runs: Runs
) -> None:
    for name in ("good", "precious"):
        om.jobs.create("1", name)
    om.jobs.schedule("good", "@daily")
    let_be_due(om, "good")
    scheduler.look()
    plans, records = om.db[COLLECTION], om.db["omegaml.runs"]
    now = datetime.now(UTC)
    plans.insert_many(
        [
            {"_id": 1, "due": now, "text": "@daily", "catch_up": "all"},
            {"_id": 2, "due": "soon", "text": "@daily"},
            {"_id": "x" * 100_000, "due": now, "text": 5},
            {"_id": 4, "due": now, "text": "@daily", "zone": "z" * 50_000},
            {"_id": om.jobs.metadata("precious").id, "due": now, "text": "@daily", "parameters": 5},
        ]
    )
    odd: list[dict[str, Any]] = [
        {"_id": 1, "settled": False, "status": "done"},
        {"_id": "a", "settled": False, "status": "failed", "job": "x", "bucket": "b", "created": "now"},
        {"_id": "b", "settled": False, "status": "queued", "job": "x", "bucket": "../b", "job_id": "0" * 24},
        {"_id": "c", "letter": "failed", "settled": True},
    ]
    many = [
        {"settled": False, "status": "running", "job": "x", "bucket": "b", "_id": f"r{n}"} for n in range(500)
    ]
    records.insert_many([*odd, *many])
    began = time.monotonic()
    for _ in range(3):
        scheduler.look()
        scheduler.post(lambda *_: True)
    assert time.monotonic() - began < 10
    records.delete_many({})
    let_be_due(om, "good", 1)
    scheduler.look()
    assert len(runs.of("good.ipynb", om.bucket)) == 1
    for n in range(module.KEEP + 1):
        doc = {"_id": f"k{n}", "settled": True, "status": "done", "job": "good.ipynb", "bucket": om.bucket}
        doc |= {"trigger": "schedule", "results": "precious.ipynb", "created": datetime(2020, 1, 1)}
        records.insert_one(doc)
    scheduler._trim(runs.of("good.ipynb", om.bucket)[0])
    assert om.jobs.exists("precious") and records.count_documents({}) <= module.KEEP + 1
