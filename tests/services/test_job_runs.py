"""Notebooks that are run, by real kernels in child processes."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from omegaml.errors import InvalidInput, TaskFailed, TimedOut
from omegaml.runtime import Task, values
from omegaml.runtime.runs import Runs

pytestmark = pytest.mark.once


def run(om: Any, name: str, **params: Any) -> Any:
    """Run a job in a child process, as a limit asks for."""
    kwargs = {key: values.encode(value) for key, value in params.items()}
    return om.runtime.run(Task("run", "jobs", name, kwargs=kwargs, bucket=om.bucket, limit=100)).get()


def text_of(notebook: Any) -> str:
    return "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ()))


def test_a_notebook_runs_with_parameters_and_finds_the_same_platform(om: Any) -> None:
    cells = [new_code_cell("a = 1; b = 2", metadata={"tags": ["parameters"]})]
    cells += [new_code_cell("import omegaml as om, os\nom.datasets.put([a, b], 'made')\nprint(os.environ)")]
    other = om["reports"]
    other.jobs.put(new_notebook(cells=cells), "daily")
    answer = run(other, "daily", b="x'y")
    assert other.datasets.get("made") == [1, "x'y"]
    results = other.jobs.get(answer["results"])
    assert [cell.source for cell in results.cells[:2]] == ["a = 1; b = 2", 'b = "x\'y"']
    assert om.mongo_url not in text_of(results)
    done = Runs(om.db).of("daily.ipynb", "reports")
    assert [(r.id, r.status, r.results) for r in done] == [(answer["run"], "done", answer["results"])]
    left = os.path.join(tempfile.gettempdir(), "omega-run-99999999-killed")  # of a process that was killed
    os.mkdir(left)
    run(other, "daily")
    assert not os.path.exists(left)


@pytest.mark.fault
def test_a_cell_that_raises_makes_the_run_failed_and_what_there_is_is_kept(om: Any) -> None:
    om.jobs.create(["print('before')", "def f(): return 1 / 0\nf()", "print('after')"], "bad")
    with pytest.raises(TaskFailed, match="failed in cell 2: ZeroDivisionError") as caught:
        run(om, "bad")
    assert caught.value.details["cell"] == 2 and "return 1 / 0" in caught.value.details["traceback"]
    [record] = Runs(om.db).of("bad.ipynb", "omegaml")
    assert record.status == "failed" and record.error == caught.value.message
    assert record.results is not None and text_of(om.jobs.get(record.results)) == "before\n"


@pytest.mark.fault
@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("while True: pass", TimedOut, "cell 1 .* took longer than 2 seconds"),
        ("import os; os._exit(3)", TaskFailed, "cell 1: the kernel died"),
        ("input()", TaskFailed, "StdinNotImplementedError"),
    ],
    ids=["endless", "dies", "asks"],
)
def test_what_ends_badly_says_how(om: Any, code: str, error: type[Exception], says: str) -> None:
    om.jobs.create(code, "bad")
    with pytest.raises(error, match=says):
        run(om, "bad", cell_timeout=2.0)
    assert Runs(om.db).of("bad.ipynb", "omegaml")[0].status == "failed"


@pytest.mark.fault
def test_a_kernel_that_is_not_there_is_named_with_those_that_are(om: Any) -> None:
    spec = {"name": "cobol", "display_name": "COBOL"}
    om.jobs.put(new_notebook(metadata={"kernelspec": spec}), "old")
    with pytest.raises(InvalidInput, match=r"cobol.*python3"):
        run(om, "old")


def test_output_is_cut_with_a_mark(om: Any) -> None:
    om.jobs.create("for n in range(300): print('x' * 100_000)", "loud")
    text = text_of(om.jobs.get(run(om, "loud")["results"]))
    assert len(text) < 11 << 20 and "more characters were cut" in text[-100:]


@pytest.mark.fault
def test_a_run_that_is_ended_by_its_limit_has_failed_at_once(om: Any) -> None:
    om.jobs.create("import time; time.sleep(60)", "slow")
    with pytest.raises(TimedOut):
        om.runtime.job("slow", limit=3).run()
    assert om.jobs.status("slow")[0].status == "failed"


def test_a_parameter_may_have_any_name(om: Any) -> None:
    om.jobs.create("print(self, name)", "odd")
    assert text_of(om.jobs.get(om.runtime.job("odd").run(self=1, name=2)["results"])) == "1 2\n"
