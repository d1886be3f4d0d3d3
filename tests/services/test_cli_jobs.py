"""`omegacli jobs` and `om.runtime.job`: notebooks run by hand, by a runner, and what they leave."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from omegaml.errors import InvalidInput, NotFound, TaskFailed, Unavailable
from omegaml.runtime.runs import Run, Runs
from tests.services.command_line import Cli
from tests.services.runtime_processes import runner, start_runner

__all__ = ["runner", "start_runner"]
pytestmark = pytest.mark.once


@pytest.fixture
def daily(cli: Cli) -> str:
    file = cli.folder / "daily.py"
    file.write_text("import omegaml as om\nfactor = factor if 'factor' in dir() else 1\nprint(6 * factor)\n")
    cli.ok("jobs", "put", str(file), "daily")
    return str(file)


def test_a_notebook_is_put_run_and_read(cli: Cli, daily: str) -> None:
    done = cli.data("jobs", "run", "daily", "--param", "factor=7")
    assert [row["name"] for row in cli.data("jobs", "list", "daily*")] == ["daily.ipynb"]
    [run] = cli.data("jobs", "status", "daily")
    assert (run["id"], run["status"], run["results"]) == (done["run"], "done", done["results"])
    results = json.loads(cli.ok("jobs", "results", "daily"))
    assert "42\n" in json.dumps(results["cells"]).replace("\\n", "\n")
    page = cli.out("jobs", "results", "daily", done["run"], "--format", "html", str(cli.folder / "a.html"))
    assert "42" in Path(page).read_text()
    notebook = cli.out("jobs", "get", "daily", str(cli.folder / "copy.ipynb"))
    cli.ok("jobs", "put", notebook, "copies/daily")
    assert cli.data("jobs", "show", "copies/daily")["kind"] == "script.ipynb"
    cli.ok("jobs", "drop", "copies/daily", "--yes")
    assert cli.error("jobs", "show", "copies/daily")[0] == 4


def test_a_cell_that_fails_is_exit_code_1_and_its_notebook_is_kept(cli: Cli) -> None:
    file = cli.folder / "bad.py"
    file.write_text("print('so far')\n1 / 0\n")
    cli.ok("jobs", "put", str(file), "bad")
    code, said = cli.error("jobs", "run", "bad")
    assert code == 1 and "ZeroDivisionError" in said and "cell 1" in said
    [run] = cli.data("jobs", "status", "bad")
    assert run["status"] == "failed" and "ZeroDivisionError" in run["error"]
    assert "so far" in cli.ok("jobs", "results", "bad")


def test_what_is_wrong_is_said(cli: Cli, daily: str) -> None:
    assert cli.error("jobs", "put", daily, "daily")[0] == 5
    assert cli.error("jobs", "run", "nobody")[0] == 4
    assert cli.error("jobs", "status", "nobody")[0] == 4
    code, said = cli.error("jobs", "results", "daily")
    assert code == 4 and "jobs status" in said
    assert cli.error("jobs", "run", "daily", "--async")[0] == 7
    assert cli.data("jobs", "status", "daily") == []  # nothing is left of it
    assert cli.error("jobs", "put", str(cli.folder / "no.ipynb"), "x")[0] == 2
    assert cli.error("jobs", "get", "daily", "-", "--format", "pdf")[0] == 2


def test_a_runner_runs_a_job_and_any_process_reads_the_end(
    om: Any, cli: Cli, daily: str, runner: Any
) -> None:
    id = cli.ok("jobs", "run", "daily", "--async").strip()
    assert om.runtime.result(id, 60)["run"] == id
    assert [run.status for run in om.runtime.job("daily").runs()] == ["done"]
    om.jobs.create("raise ValueError('no')", "bad")
    promise = om.runtime.job("bad").run(async_=True)
    with pytest.raises(TaskFailed, match="ValueError"):
        promise.get(60)
    assert promise.status == "failed"
    assert cli.run("runtime", "result", promise.id).returncode == 1


def test_the_examples_of_the_document_work(om: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs/jobs.md"
    names: dict[str, Any] = {"om": om}
    for block in re.findall(r"(?ms)^```python\n(.*?)^```", page.read_text()):
        exec(block.replace("import omegaml as om\n", ""), names)
    assert "42" in names["page"].decode()


def test_a_job_in_python(om: Any) -> None:
    om.jobs.create("print(a)", "hello")
    done = om.runtime.job("hello").run(a=[1, {"b": None}])
    assert done["job"] == "hello.ipynb"
    assert "[1, {'b': None}]" in json.dumps(om.jobs.get(done["results"]))
    with pytest.raises(NotFound, match="nobody"):
        om.runtime.job("nobody").run()
    with pytest.raises(InvalidInput):
        om.runtime.job("hello").run(a=[b"no JSON"])
    with pytest.raises(Unavailable):
        om.runtime.job("hello").run(async_=True)
    assert [run.status for run in om.runtime.job("hello").runs()] == ["failed", "done"]


def test_a_run_is_found_by_its_id_however_old_it_is_and_only_of_its_job(
    om: Any, cli: Cli, daily: str
) -> None:
    first = cli.data("jobs", "run", "daily")["run"]
    (cli.folder / "other.py").write_text("1\n")
    cli.ok("jobs", "put", "other.py", "other")
    records = Runs(om.db)
    for _ in range(101):
        records.add(Run("daily.ipynb", om.bucket, status="skipped"))
    assert first not in [run.id for run in om.runtime.job("daily").runs()]
    cli.ok("jobs", "results", "daily", first, "left.ipynb")
    assert json.loads((cli.folder / "left.ipynb").read_text())["cells"]
    assert cli.run("jobs", "logs", "daily", first).returncode == 0
    for words in (["logs", "other", first], ["results", "other", first], ["logs", "daily", "none"]):
        code, said = cli.error("jobs", *words)
        assert code == 4 and "has no run" in said and "jobs status" in said
