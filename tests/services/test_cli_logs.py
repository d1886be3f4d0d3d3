"""`omegacli runtime logs` and `jobs logs`, on what a real runner has kept."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.services.command_line import Cli
from tests.services.runtime_processes import runner, start_runner
from tests.services.runtime_speakers import Speaker

__all__ = ["runner", "start_runner"]
pytestmark = pytest.mark.once


@pytest.fixture
def ask(om: Any, runner: Any) -> Any:
    om.models.put(Speaker(), "speaker")
    return lambda what: om.runtime.model("speaker").predict([[what]], async_=True)


def texts(lines: list[str]) -> list[str]:
    return [line.split(": ", 1)[1] for line in lines]


def test_a_log_is_shown_by_number_level_and_time(cli: Cli, ask: Any, om: Any) -> None:
    promise = ask("everything")
    promise.get(60)
    lines = cli.ok("runtime", "logs", promise.id).splitlines()
    time, level, name, text = lines[0].split(" ", 3)
    assert abs(datetime.fromisoformat(time) - datetime.now(UTC)) < timedelta(minutes=5)
    assert (level, name, text) == ("INFO", "output:", "printed ö")
    assert texts(cli.ok("runtime", "logs", promise.id, "--tail", "1").splitlines()) == ["no end of line"]
    found = cli.data("runtime", "logs", promise.id, "--level", "error", "--since", "10m")
    assert {(line["level"], line["task"]) for line in found} == {("ERROR", promise.id)}
    done = cli.run("runtime", "logs", promise.id, "--since", "2099-01-01")
    assert (done.returncode, done.stdout) == (0, b"") and b"said nothing" in done.stderr
    om.logger.info("by hand\x1b[31m\a")
    om.logger.flush()
    *_, last = cli.ok("runtime", "logs").splitlines()
    assert last.endswith(" - INFO om: by hand\\x07")
    assert f" {promise.id} INFO output: no end of line" in cli.ok("runtime", "logs", "--tail", "2")


def test_what_is_wrong_is_said(cli: Cli) -> None:
    code, said = cli.error("runtime", "logs", "nobody")
    assert code == 4 and "omegacli runtime logs" in said
    assert cli.error("runtime", "logs", "--level", "loud")[0] == 2
    assert cli.error("runtime", "logs", "--since", "yesterday")[0] == 2
    assert cli.error("jobs", "logs", "nobody")[0] == 4
    assert cli.data("runtime", "logs") == []


def test_a_followed_task_ends_by_itself(cli: Cli, ask: Any) -> None:
    promise = ask("slowly")
    lines = [json.loads(line) for line in cli.ok("runtime", "logs", promise.id, "-f", "--json").splitlines()]
    assert [line["text"] for line in lines[:-1]] == ["step 0", "step 1", "step 2", "step 3"]
    assert lines[-1]["ok"] is True and promise.done()


def test_following_all_ends_with_ctrl_c(cli: Cli, om: Any) -> None:
    words = [sys.executable, "-m", "omegacli", "runtime", "logs", "-f", "--tail", "0"]
    follower = subprocess.Popen(words, cwd=cli.folder, env=cli.env, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(1.5)  # it is there
        om.logger.info("now")
        assert follower.stdout is not None
        assert follower.stdout.readline().endswith(" - INFO om: now\n")
        follower.send_signal(signal.SIGINT)
        assert follower.wait(20) == 130
    finally:
        follower.kill()
        follower.wait()


def test_a_job_shows_the_log_of_its_newest_run(cli: Cli) -> None:
    file = cli.folder / "talk.py"
    file.write_text(
        "import omegaml as om\nfactor = 1\nprint('printed', factor)\nom.logger.warning('logged')\n"
    )
    cli.ok("jobs", "put", str(file), "talk")
    code, said = cli.error("jobs", "logs", "talk")
    assert code == 4 and "jobs run" in said
    first = cli.data("jobs", "run", "talk")["run"]
    cli.ok("jobs", "run", "talk")
    assert sorted(texts(cli.ok("jobs", "logs", "talk").splitlines())) == ["logged", "printed 1"]
    lines = cli.data("jobs", "logs", "talk", first)
    assert {line["task"] for line in lines} == {first}
    assert texts(cli.ok("jobs", "logs", "talk", "-f", "--level", "warning").splitlines()) == ["logged"]
    assert cli.error("jobs", "logs", "talk", "nobody")[0] == 4
