"""Notebooks whose process, kernel or runner is killed, and those that say too much: what there is is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from omegaml.errors import TaskFailed, TimedOut
from omegaml.runtime.cells import MAX_CELL, MAX_NOTEBOOK
from omegaml.runtime.runs import Run
from tests.services.runtime_processes import (
    ROOT,
    RunnerProcess,
    children_of,
    is_alive,
    runner,
    start_runner,
    wait_for,
)

__all__ = ["runner", "start_runner"]
pytestmark = [pytest.mark.once, pytest.mark.fault]

SLOW = ["print('before')", "print('half', flush=True)\nimport time; time.sleep(60)", "print('after')"]


def said(om: Any, run: Run) -> str:
    assert run.results is not None
    cells = om.jobs.get(run.results).cells
    return "".join(out.get("text", "") for cell in cells for out in cell.outputs)


def newest(om: Any) -> Run:
    found: Run = om.jobs.status("daily")[0]
    return found


def wait_for_half(om: Any) -> None:
    """Wait until the run has kept that its second cell spoke."""
    wait_for(lambda: (run := newest(om)).results and "half" in said(om, run), 60)


def process_of(runner: RunnerProcess) -> tuple[int, int]:
    """The child of a runner that executes a notebook, and its kernel."""
    child = next(pid for pid in children_of(runner.process.pid) if children_of(pid))
    [kernel] = children_of(child)
    return child, kernel


def folders_of(pid: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"omega-run-{pid}-*"))


def test_a_run_that_is_ended_by_its_limit_keeps_what_there_is(om: Any) -> None:
    om.jobs.create(SLOW, "daily")
    with pytest.raises(TimedOut, match="time limit of 8 seconds") as caught:
        om.runtime.job("daily", limit=8).run()
    run = newest(om)
    assert run.status == "failed" and said(om, run) == "before\nhalf\n"
    assert caught.value.details["results"] == run.results


@pytest.mark.parametrize("who", ["kernel", "child", "runner"])
def test_what_there_is_outlives_who_is_killed_and_no_credential_does(
    om: Any, runner: RunnerProcess, start_runner: Any, who: str
) -> None:
    om.jobs.create(SLOW, "daily")
    promise = om.runtime.job("daily").run(async_=True)
    wait_for_half(om)
    child, kernel = process_of(runner)
    assert len(folders_of(child)) == 1
    os.kill({"kernel": kernel, "child": child, "runner": runner.process.pid}[who], signal.SIGKILL)
    if who == "runner":
        runner.process.wait(30)
        seen = {"$set": {"seen": {"$subtract": ["$seen", 20_000]}}}  # instead of waiting for it
        om.db["omegaml.runners"].update_many({}, [seen])
        start_runner()
    says = {"kernel": "cell 2: the kernel died", "child": "SIGKILL", "runner": "was lost"}
    with pytest.raises(TaskFailed, match=says[who]):
        promise.get(60)
    run = newest(om)
    assert run.status == ("lost" if who == "runner" else "failed")
    assert said(om, run) == "before\nhalf\n"
    wait_for(lambda: not is_alive(kernel) and not folders_of(child), 10)


def test_a_folder_that_a_killed_process_left_goes_with_the_next_runner(start_runner: Any) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(30)
    left = Path(tempfile.mkdtemp(prefix=f"omega-run-{gone.pid}-"))
    (left / "config.yml").write_text("secret")
    start_runner()
    wait_for(lambda: not left.exists(), 10)


def test_a_notebook_is_bounded_however_much_its_cells_say(om: Any, runner: RunnerProcess) -> None:
    loud = "for n in range({}): print('x' * 99_999)"
    om.jobs.create([loud.format(2000), *[loud.format(120)] * 7, "1 / 0"], "daily")  # 200 MB, and 12 MB each
    before = memory(runner.process.pid)
    began = time.monotonic()
    with pytest.raises(TaskFailed, match="cell 9: ZeroDivisionError"):
        om.runtime.job("daily").run(async_=True).get(200)
    assert time.monotonic() - began < 100
    assert memory(runner.process.pid) - before < 64 << 20
    assert max(map(memory, children_of(runner.process.pid))) < 1 << 30
    run = newest(om)
    assert run.results is not None
    cells = om.jobs.get(run.results).cells
    kept = [sum(len(out.get("text", "")) for out in cell.outputs) for cell in cells]
    assert MAX_CELL <= kept[0] < MAX_CELL + 200 and MAX_NOTEBOOK < sum(kept) < MAX_NOTEBOOK + 2000
    assert "more characters were cut" in cells[0].outputs[-1].text and len(cells[7].outputs) == 1
    assert cells[8].outputs[0].ename == "ZeroDivisionError"  # which there always is room for


def test_what_is_shown_anew_and_an_endless_message_are_bounded(om: Any) -> None:
    cells = [
        "from IPython.display import clear_output, display\nh = display('small', display_id=True)",
        "for n in range(30): print('x' * 1_000_000); clear_output()\nprint('end')",
        "h.update('y' * 11_000_000)",
        "raise ValueError('z' * 20_000_000)",
    ]
    om.jobs.create(cells, "daily")
    with pytest.raises(TaskFailed, match="cell 4: ValueError: zzz") as caught:
        om.runtime.job("daily").run()
    assert len(str(caught.value)) < 2000 and len(caught.value.details["traceback"]) <= 100_000
    run = newest(om)
    assert run.results is not None
    first, second, third, fourth = om.jobs.get(run.results).cells
    assert first.outputs[0].data["text/plain"] == "'small'"
    assert [out.text for out in second.outputs] == ["end\n"]
    assert "10999995 more characters were cut" in third.outputs[0].text
    assert len(str(fourth.outputs)) < 1_000_000


def memory(pid: int) -> int:
    """The most bytes that a process has had in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("nbformat", "nbclient", "nbconvert", "ipykernel", "jupyter_client"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from omegaml.errors import InvalidInput
from omegaml.omega import Omega
from omegaml.runtime import Task
from omegaml.runtime.actions import run

om = Omega(mongo_url=sys.argv[1])
path = sys.argv[2]
for ask in (
    lambda: om.jobs.create("1", "new"), lambda: om.jobs.put(path, "new"), lambda: om.jobs.get("daily"),
    lambda: om.jobs.export("daily"), lambda: run(om, Task("run", "jobs", "daily.ipynb")),
):
    try:
        ask()
    except InvalidInput as error:
        print(error)
"""


def test_without_the_extra_whoever_needs_it_is_told_how_to_get_it(
    om: Any, om_url: str, tmp_path: Path
) -> None:
    om.jobs.create("1", "daily")
    path = tmp_path / "new.ipynb"
    om.jobs.export("daily", path, format="ipynb")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, om_url, str(path)], cwd=ROOT, capture_output=True, text=True
    )
    expected = (
        "notebooks need the package 'nbformat', which is not installed here (pip install 'omegaml[jobs]')"
    )
    assert done.stdout.splitlines() == [expected] * 5, done.stderr
    assert om.jobs.list() == ["daily.ipynb"]


def test_at_the_soft_limit_a_notebook_is_kept_whole_and_its_kernel_ends(om: Any, start_runner: Any) -> None:
    runner = start_runner("--soft-time-limit", "5")
    om.jobs.create(SLOW, "daily")
    with pytest.raises(TimedOut, match="soft time limit of 5 seconds"):
        om.runtime.job("daily").run(async_=True).get(60)
    run = newest(om)
    assert run.status == "failed" and said(om, run) == "before\nhalf\n"
    [child] = children_of(runner.process.pid)
    wait_for(lambda: not children_of(child) and not folders_of(child), 10)
