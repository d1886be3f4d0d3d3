"""The records of jobs' runs: one for each time, and they end even if nobody says so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from omegaml.errors import NotFound
from omegaml.runtime.base import Task
from omegaml.runtime.runs import Run, Runs
from omegaml.runtime.tasks import Tasks

pytestmark = pytest.mark.once

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def runs(om: Any) -> Runs:
    made = Runs(om.db, om.mongo_url)
    made.prepare()
    return made


def test_a_run_is_written_down_from_when_it_is_asked_for_to_its_end(runs: Runs) -> None:
    run = Run("daily.ipynb", "omegaml")
    assert runs.add(run) and not runs.add(run)
    assert runs.get(run.id).status == "queued"
    assert runs.start(run.id) and runs.beat(run.id)
    assert runs.finish(run.id, "failed", "results/daily_1.ipynb", "$it failed")
    assert not runs.finish(run.id, "done") and not runs.start(run.id) and not runs.beat(run.id)
    ended = runs.get(run.id)
    assert (ended.status, ended.results, ended.error) == ("failed", "results/daily_1.ipynb", "$it failed")
    assert ended.created and ended.started and ended.finished
    assert ended.created <= ended.started <= ended.finished
    with pytest.raises(NotFound):
        runs.get("nobody")


def test_each_time_of_a_job_has_one_run_however_many_plan_it(runs: Runs) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: runs.add(Run("daily.ipynb", "a", NOON, "schedule")), range(16)))
    assert made.count(True) == 1
    assert runs.add(Run("daily.ipynb", "b", NOON)) and runs.add(Run("other.ipynb", "a", NOON))
    assert runs.add(Run("daily.ipynb", "a")) and runs.add(Run("daily.ipynb", "a"))
    of = runs.of("daily.ipynb", "a")
    times = [run.created for run in of if run.created]
    assert len(times) == 3 and times == sorted(times, reverse=True)
    assert {run.scheduled for run in of} == {NOON, None}
    assert len(runs.of("daily.ipynb", "a", limit=2)) == 2
    assert len(runs.of("daily.ipynb", "b")) == len(runs.of("other.ipynb", "a")) == 1


def test_a_run_of_which_nobody_says_how_it_ended_takes_that_from_its_task(om: Any, runs: Runs) -> None:
    tasks = Tasks(om.db, om.mongo_url)
    tasks.beat("runner")
    failed, done, cancelled, waiting = (Run(f"{n}.ipynb", "omegaml") for n in range(4))
    for run in (failed, done, cancelled, waiting):
        runs.add(run)
        tasks.add(Task("run", "jobs", run.job, id=run.id), repeatable=False)
    error = {"error": "TaskFailed", "message": "cell 2", "details": {"results": "results/0.ipynb"}}
    for run, answer in ((failed, {"error": error}), (done, {"result": {"results": "results/1.ipynb"}})):
        assert tasks.claim("runner", ["default"], run.id) is not None
        assert tasks.finish(run.id, "runner", answer)
    tasks.cancel(cancelled.id)
    ended = runs.get(failed.id)
    assert (ended.status, ended.results, ended.error) == ("failed", "results/0.ipynb", "cell 2")
    assert runs.get(done.id).results == "results/1.ipynb" and runs.get(done.id).status == "done"
    assert runs.get(cancelled.id).status == "cancelled"
    assert runs.get(waiting.id).status == "queued"


def test_a_run_without_a_task_of_which_nobody_speaks_is_lost_but_may_come_back(om: Any, runs: Runs) -> None:
    silent, spoken_of = Run("a.ipynb", "omegaml"), Run("b.ipynb", "omegaml")
    for run in (silent, spoken_of):
        runs.add(run)
        runs.start(run.id)
    om.db["omegaml.runs"].update_many({}, [{"$set": {"seen": {"$subtract": ["$seen", 70_000]}}}])
    runs.beat(spoken_of.id)
    assert runs.get(spoken_of.id).status == "running"
    lost = runs.get(silent.id)
    assert lost.status == "lost" and lost.error
    assert runs.finish(silent.id, "done", "results/a_1.ipynb")  # the machine had only slept
    assert runs.get(silent.id).status == "done"
