"""What a task may use: time, softly and hard, and memory, in one process and in many."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omegaml.errors import InvalidInput, TaskFailed, TimedOut
from omegaml.runtime import Task
from omegaml.runtime.child import Child
from omegaml.runtime.limits import MIB, Limits, shown, size
from tests.services.runtime_models import Cleaner, Eater, Launcher, Sleeper, Threader
from tests.services.runtime_processes import RunnerProcess, is_alive, start_runner, wait_for

pytestmark = pytest.mark.once

__all__ = ["start_runner"]

MEMORY = 400 * MIB


@pytest.fixture
def child(om_url: str) -> Iterator[Any]:
    """Make a child of this test's database with limits."""
    made: list[Child] = []

    def make(**limits: Any) -> Child:
        made.append(Child(om_url, limits=Limits(**limits)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def predict(name: str, x: Any = 1, limit: float | None = None, **params: Any) -> Task:
    return Task("predict", "models", name, [[[x]]], params, limit=limit)


def error_of(answer: dict[str, Any]) -> dict[str, Any]:
    assert "error" in answer, answer
    found: dict[str, Any] = answer["error"]
    return found


def test_a_task_that_names_no_limit_has_that_of_its_process_and_none_has_more(om: Any, child: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    limited = child(seconds=1.0)
    for task in (predict("sleeper", 60.0), predict("sleeper", 60.0, limit=1000)):
        error = error_of(limited.run(task))
        assert error["error"] == "TimedOut" and error["details"]["limit"] == "time"
        assert error["message"] == "predict of model 'sleeper' was ended at its time limit of 1 seconds"
        assert "--time-limit" in error["hint"]
    error = error_of(limited.run(predict("sleeper", 60.0, limit=0.5)))
    assert "0.5 seconds" in error["message"] and "--timeout" in error["hint"]
    assert limited.run(predict("sleeper", 0.1))["result"] is not None


def test_at_the_soft_limit_a_model_may_clean_up_and_its_process_lives_on(
    om: Any, child: Any, tmp_path: Path
) -> None:
    om.models.put(Cleaner(str(tmp_path / "said")), "cleaner")
    limited = child(seconds=30.0, soft=0.5)
    assert limited.run(predict("cleaner", 0.0))["result"] is not None
    pid = limited.pid
    error = error_of(limited.run(predict("cleaner", 60.0)))
    assert (error["error"], error["details"]["limit"]) == ("TimedOut", "soft")
    assert error["message"].endswith("'cleaner' was interrupted at the soft time limit of 0.5 seconds")
    assert (tmp_path / "said").read_text().startswith("TimedOut: predict of model 'cleaner'")
    time.sleep(0.6)  # no interruption is left for who comes next
    assert limited.run(predict("cleaner", 0.2))["result"] is not None
    assert limited.pid == pid


@pytest.mark.fault
def test_a_model_that_takes_no_notice_of_the_soft_limit_is_killed_at_the_hard_one(
    om: Any, child: Any, tmp_path: Path
) -> None:
    om.models.put(Cleaner(str(tmp_path / "said"), goes_on=True), "cleaner")
    error = error_of(child(seconds=1.5, soft=0.5).run(predict("cleaner", 60.0)))
    assert error["details"]["limit"] == "time"
    assert "soft" in (tmp_path / "said").read_text()


@pytest.mark.fault
def test_a_model_that_allocates_too_much_fails_and_its_process_lives_on(om: Any, child: Any) -> None:
    om.models.put(Eater(), "eater")
    limited = child(memory=MEMORY)
    assert limited.run(predict("eater", how="array", mib=200))["result"] is not None
    pid = limited.pid
    for _ in range(2):
        error = error_of(limited.run(predict("eater", how="array", mib=4000)))
        assert error["error"] == "TaskFailed" and error["details"]["limit"] == "memory"
        assert error["message"] == "predict of model 'eater' needs more than the 400 MiB a task may use"
        assert "--memory" in error["hint"]
        assert "MemoryError" in error["details"]["traceback"]
    assert limited.run(predict("eater", how="array", mib=200))["result"] is not None
    assert limited.pid == pid


@pytest.mark.fault
@pytest.mark.parametrize("how", ["shared", "processes"])
def test_memory_that_the_kernel_does_not_count_for_the_process_is_seen(om: Any, child: Any, how: str) -> None:
    om.models.put(Eater(), "eater")
    error = error_of(child(memory=MEMORY).run(predict("eater", how=how, mib=600)))
    assert error["message"] == "predict of model 'eater' needs more than the 400 MiB a task may use"


def test_what_forks_share_with_their_parent_counts_once(om: Any, child: Any) -> None:
    om.models.put(Eater(), "eater")
    assert child(memory=MEMORY).run(predict("eater", how="forks", mib=150)).get("result") is not None


def test_many_threads_start_under_a_small_limit(om: Any, child: Any) -> None:
    om.models.put(Threader(), "threader")
    answer = child(memory=MEMORY).run(predict("threader", threads=8))
    assert answer["result"] is not None


def test_what_has_left_the_group_of_a_killed_task_ends_with_it(om: Any, child: Any, tmp_path: Path) -> None:
    om.models.put(Launcher(), "launcher")
    error = error_of(child(seconds=3.0).run(predict("launcher", str(tmp_path / "pid"))))
    assert error["details"]["limit"] == "time"
    started = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_alive(started))


@pytest.mark.fault
def test_a_runner_holds_tasks_to_the_limits_it_was_given_and_logs_which(
    om: Any, start_runner: Any, tmp_path: Path
) -> None:
    options = ("--time-limit", "30", "--soft-time-limit", "0.5", "--memory", "400MiB")
    runner: RunnerProcess = start_runner(*options)
    om.models.put(Sleeper(), "sleeper")
    om.models.put(Eater(), "eater")
    slow = om.runtime.model("sleeper").predict([[60.0]], async_=True)
    large = om.runtime.model("eater").predict([[1]], how="array", mib=4000, async_=True)
    with pytest.raises(TimedOut, match=r"soft time limit of 0\.5 seconds"):
        slow.get(60)
    with pytest.raises(TaskFailed, match="needs more than the 400 MiB a task may use") as caught:
        large.get(60)
    assert caught.value.details["limit"] == "memory"
    assert f"task {slow.id} reached its limit (soft)" in runner.log.read_text()
    assert f"task {large.id} reached its limit (memory)" in runner.log.read_text()


def test_limits_that_cannot_be_kept_are_refused(start_runner: Any, om_url: str, tmp_path: Path) -> None:
    assert (size("2GiB"), size("1.5g"), size("300")) == (2 << 30, 3 << 29, 300)
    assert (shown(2 << 30), shown(300 * MIB)) == ("2 GiB", "300 MiB")
    for text in ("much", "-1G", "2 Gibson"):
        with pytest.raises(InvalidInput, match="no size"):
            size(text)
    for wrong in ({"seconds": 0}, {"soft": 2.0, "seconds": 2.0}, {"memory": 1000}):
        with pytest.raises(InvalidInput):
            Limits(**wrong)
    process = RunnerProcess(om_url, tmp_path, "--memory", "lots")
    assert process.process.wait(30) == 2
    assert "'lots' is no size of memory" in process.log.read_text()
