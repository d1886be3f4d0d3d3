"""What tasks print and log, kept with them: by a real runner, read from the database."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from omegaml.errors import InvalidInput, NotFound, TaskFailed
from omegaml.omega import Omega
from omegaml.runtime.logs import COLLECTION, KEEP, MAX_LOG, Line, Logs, check_task, follow
from omegaml.runtime.output import EVERY
from tests.conftest import database
from tests.services.runtime_models import Sleeper
from tests.services.runtime_processes import RunnerProcess, in_another_process, wait_for
from tests.services.runtime_speakers import Speaker

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def runner(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunnerProcess]:
    with database(mongo_url) as url:
        process = RunnerProcess(url, tmp_path_factory.mktemp("runner"))
        om = Omega(mongo_url=url)
        om.models.put(Speaker(), "speaker")
        om.models.put(Sleeper(), "quiet")
        wait_for(lambda: om.runtime.status()["runners"])
        yield process
        process.kill()
        om.close()


@pytest.fixture
def om(runner: RunnerProcess) -> Omega:
    return Omega(mongo_url=runner.url)


def ask(om: Any, what: str) -> Any:
    return om.runtime.model("speaker").predict([[what]], async_=True)


def said(om: Any, what: str) -> list[Line]:
    promise = ask(om, what)
    assert promise.get(120) == [1]
    return Logs(om, promise.id).read()


def test_what_is_printed_logged_and_warned_of_is_there_when_the_task_has_ended(om: Any) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    lines = said(om, "everything")
    assert [(line.level, line.name, line.text) for line in lines[:3]] == [
        ("INFO", "output", "printed ö"),
        ("INFO", "mine", "logged"),
        ("INFO", "mine", "in two lines"),
    ]
    rest = [(line.level, line.name, line.text) for line in lines[3:]]
    [warning] = [text for level, name, text in rest if (level, name) == ("WARNING", "py.warnings")][:1]
    assert warning.endswith("UserWarning: careful")
    assert ("WARNING", "om", "by om.logger") in rest and ("ERROR", "om", "caught") in rest
    assert ("ERROR", "om", "ZeroDivisionError: division by zero") in rest
    assert [text for _, name, text in rest if name == "output"] == [
        "bytes \\xff\\xfe",
        "of another process",
        "bar 99%",
        "no end of line",
    ]
    assert all(before < line.time < datetime.now(UTC) for line in lines)
    assert len({line.task for line in lines}) == 1


def test_a_task_that_says_nothing_costs_no_write(om: Any) -> None:
    before = om.db[COLLECTION].count_documents({})
    promise = om.runtime.model("speaker").predict([["__repr__"]], async_=True)
    promise.get(60)
    assert Logs(om, promise.id).read() == []
    assert om.db[COLLECTION].count_documents({}) == before
    check_task(om, promise.id)
    assert list(follow(om, promise.id)) == []


@pytest.mark.fault
def test_the_last_words_of_a_process_that_is_killed_are_there(om: Any) -> None:
    promise = ask(om, "dies")
    with pytest.raises(TaskFailed, match="SIGKILL"):
        promise.get(60)
    assert [line.text for line in Logs(om, promise.id).read()] == ["last words"]


@pytest.mark.fault
def test_a_flood_keeps_its_end_and_costs_the_runner_no_memory(om: Any, runner: RunnerProcess) -> None:
    said(om, "everything")
    before, began = resident(runner.process.pid), time.monotonic()
    promise = ask(om, "floods")
    promise.get(120)
    assert time.monotonic() - began < 20
    assert resident(runner.process.pid) - before < 16 << 20
    lines = Logs(om, promise.id).read()
    assert lines[-1].text == "dry again" and lines[-2].text == "x" * 99
    kept = sum(len(line.text) + 1 for line in lines[1:])
    assert lines[0].text == f"[{200_000_010 - kept} bytes were left out: a log keeps the last 256 KiB]"
    assert om.db[COLLECTION].count_documents({"task": promise.id}) < 4
    assert kept < 2 * MAX_LOG


def resident(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1]) << 10


def test_a_long_line_is_cut_and_empty_ones_count(om: Any) -> None:
    before, long, after = said(om, "long_line")
    assert (before.text, after.text) == ("before", "after")
    kept, _, cut = long.text.partition(" [")
    assert set(kept) == {"a"} and len(kept) < 100_000
    assert cut == f"{10_000_000 - len(kept)} more bytes were cut]"
    lines = said(om, "empty_lines")
    assert lines[-1].text == "end" and len(lines) < 10_000


def test_made_up_records_stay_in_the_log_of_who_made_them_up(om: Any) -> None:
    lines = said(om, "forges")
    assert [(line.level, line.name) for line in lines] == [
        ("ERROR", "omegaml"),
        ("INFO", "output"),
        ("INFO", "x"),
        *[("INFO", "output")] * 4,
    ]
    assert (lines[0].text, lines[2].text, lines[5].text) == ("forged", "\\ud800 half", "before")
    assert lines[0].time > datetime(2020, 1, 1, tzinfo=UTC)
    assert Logs(om, "0").read() == []


def test_the_log_of_a_running_task_is_followed_to_its_end(om: Any) -> None:
    promise, came = ask(om, "slowly"), []
    for lines in follow(om, promise.id):
        came += [(line.text, promise.done()) for line in lines]
    assert [text for text, _ in came] == ["step 0", "step 1", "step 2", "step 3"]
    assert came[0][1] is False


def test_many_lines_are_few_writes(om: Any) -> None:
    began = time.monotonic()
    promise = ask(om, "ticks")
    promise.get(60)
    seconds = time.monotonic() - began
    docs = list(om.db[COLLECTION].find({"task": promise.id}))
    assert sum(len(doc["lines"]) for doc in docs) == 300
    assert 2 < len(docs) < seconds / EVERY + 2


def test_lines_are_chosen_by_number_time_and_level(om: Any) -> None:
    task = ask(om, "everything")
    task.get(60)
    assert len(Logs(om, task.id).read(2)) == 2
    assert {line.level for line in Logs(om, task.id, level="error").read()} == {"ERROR"}
    assert Logs(om, task.id, since=datetime.now(UTC) + timedelta(seconds=5)).read() == []
    assert [line.task for line in Logs(om).read(3)] == [task.id] * 3
    with pytest.raises(InvalidInput, match="'loud'"):
        Logs(om, level="loud")
    with pytest.raises(NotFound, match="no task 'nobody'"):
        list(follow(om, "nobody"))


def test_a_log_goes_after_a_day(om: Any) -> None:
    said(om, "everything")
    indexes = om.db[COLLECTION].index_information().values()
    assert [index["expireAfterSeconds"] for index in indexes if index["key"] == [("at", 1)]] == [KEEP]
    assert sorted(om.datasets.list()) == []


def test_a_waiting_call_in_a_process_of_its_own_speaks_here_too(
    om: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    promise = om.runtime.run(om.runtime.task("predict", "speaker", [["everything"]], limit=60))
    assert promise.get() == [1]
    shown = capsys.readouterr().err
    assert "printed ö\nINFO:mine:logged\n" in shown and "\x1e" not in shown
    assert Logs(om, promise.id).read()[0].text == "printed ö"
    om.runtime.carrier.close()


def test_a_notebook_has_what_its_cells_say_in_its_log(om: Any) -> None:
    om.jobs.create(
        [
            "import omegaml as om, os, sys\nprint('one'); om.logger.info('two')",
            "os.write(sys.__stderr__.fileno(), b'three\\n')\n_ = os.system('echo four')",
            "1 / 0",
        ],
        "talks",
        replace=True,
    )
    job = om.runtime.job("talks")
    with pytest.raises(TaskFailed, match="cell 3"):
        job.run()
    [run] = job.runs(1)
    lines = Logs(om, run.id).read()
    texts = [(line.level, line.name, line.text) for line in lines]
    assert ("INFO", "output", "one") in texts and ("INFO", "om", "two") in texts
    assert {"three", "four"} <= {line.text for line in lines}
    assert ("ERROR", "notebook", "ZeroDivisionError: division by zero") in texts


def test_a_program_logs_without_waiting_and_its_lines_are_there_when_it_ends(
    om: Any, runner: RunnerProcess
) -> None:
    code = """
import sys, time
from omegaml.omega import Omega
om = Omega(mongo_url=sys.argv[1])
om.logger.debug("not shown")
began = time.monotonic()
for n in range(100):
    om.logger.info("program %d", n)
print(time.monotonic() - began)
"""
    assert float(in_another_process(code, runner.url)) < 2
    frame = om.logger.tail(2)
    assert list(frame.text) == ["program 98", "program 99"]
    assert list(frame["name"]) == ["om", "om"]
    assert frame.task.isna().all()


def test_the_logger_is_one_of_the_standard_library(om: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(om.logger, logging.Logger)
    om.logger.setLevel("DEBUG")
    om.logger.debug("down %s", "here")
    assert caplog.messages == ["down here"]
    assert list(om.logger.tail(1).text) == ["down here"]
    om.logger.error("before the end")
    om.close()
    assert list(om.logger.tail(1, level="error").text) == ["before the end"]


def test_a_database_that_is_not_there_does_not_disturb_who_logs(caplog: pytest.LogCaptureFixture) -> None:
    nowhere = Omega(mongo_url="mongodb://127.0.0.1:1/nothing?serverSelectionTimeoutMS=100")
    began = time.monotonic()
    for _ in range(100):
        nowhere.logger.info("to nobody")
    assert time.monotonic() - began < 2  # less than a connection is tried for
    nowhere.close()
    assert [text for text in caplog.messages if "could not be written" in text]
