"""`omegacli jobs schedule`: when a notebook runs by itself, said and echoed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.services.command_line import Cli
from tests.services.runtime_processes import runner, start_runner

__all__ = ["runner", "start_runner"]
pytestmark = pytest.mark.once


@pytest.fixture
def daily(cli: Cli) -> None:
    (cli.folder / "daily.py").write_text("factor = 1\n")
    cli.ok("jobs", "put", "daily.py", "daily")


def test_a_schedule_is_set_echoed_shown_and_taken_back(cli: Cli, daily: None, runner: Any) -> None:
    said = cli.data(
        "jobs", "schedule", "daily", "Fridays, at 06:00", "--zone", "Europe/Berlin", "--retries", "2"
    )
    assert (said["name"], said["cron"], said["zone"]) == ("daily.ipynb", "0 6 * * 5", "Europe/Berlin")
    assert len(said["next"]) == 5 and all("T06:00:00+0" in time for time in said["next"])
    echoed = cli.ok("jobs", "schedule", "daily").splitlines()
    assert len(echoed) == 5 and all(line.startswith("Fri ") and " 06:00 CE" in line for line in echoed)
    [row] = cli.data("jobs", "schedule")
    assert (row["schedule"], row["retries"], row["due"]) == ("Fridays, at 06:00", 2, said["next"][0])
    assert cli.data("jobs", "schedule", "daily", "--off")["was_scheduled"]
    assert cli.data("jobs", "schedule") == [] and cli.data("jobs", "schedule", "daily")["schedule"] is None


def test_across_the_change_of_the_clock_it_keeps_to_the_clock(cli: Cli, daily: None) -> None:
    said = cli.data("jobs", "schedule", "daily", "0 6 1 * *", "--zone", "Europe/Berlin")
    offsets = {time[-6:] for time in said["next"]}
    assert all("T06:00:00" in time for time in said["next"])
    assert offsets == {"+01:00", "+02:00"}, "five months have a summer and a winter"


def test_the_zone_is_that_of_the_machine(cli: Cli, daily: None) -> None:
    # in a process of its own: a process knows its zone from when it asked first
    words = [sys.executable, "-m", "omegacli", "jobs", "schedule", "daily", "every day at 9:00", "--json"]
    said = subprocess.check_output(words, env={**cli.env, "TZ": "America/New_York"}, cwd=cli.folder)
    assert json.loads(said)["data"]["zone"] == "America/New_York"


def test_parameters_and_limits_travel_with_it(cli: Cli, daily: None) -> None:
    said = cli.data(
        "jobs", "schedule", "daily", "@hourly", "--param", "factor=7", "--require", "gpu", "--timeout", "60"
    )
    assert (said["parameters"], said["label"], said["limit"]) == ({"factor": 7}, "gpu", 60)


def test_a_notebook_that_says_when_it_runs_is_echoed_when_it_is_put(cli: Cli) -> None:
    (cli.folder / "own.py").write_text("# omega-ml:\n#   schedule: every 5 minutes\nx = 1\n")
    done = cli.run("jobs", "put", "own.py", "own")
    told = done.stderr.decode()
    assert done.returncode == 0 and "every 5 minutes" in told and told.count("UTC (+0000)") == 5
    assert [row["origin"] for row in cli.data("jobs", "schedule")] == ["header"]
    (cli.folder / "own.py").write_text("# omega-ml:\n#   shedule: every 5 minutes\nx = 1\n")
    code, said = cli.error("jobs", "put", "own.py", "own", "--replace")
    assert code == 2 and "shedule" in said


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nobody", "@daily"], 4, "nobody"),
        (["nobody"], 4, "nobody"),
        (["nobody", "--off"], 4, "nobody"),
        (["daily", "sometimes"], 2, "sometimes"),
        (["daily", "on 1/2"], 2, "1/2"),
        (["daily", "@daily", "--zone", "Mars/Base"], 2, "Mars/Base"),
        (["daily", "@daily", "--catch-up", "twice"], 2, "twice"),
        (["daily", "@daily", "--retries", "99"], 2, "99"),
        (["daily", "@daily", "--webhook", "ftp://a"], 2, "webhook"),
        (["daily", "@daily", "--off"], 2, "--off"),
        (["--off"], 2, "jobs schedule NAME --off"),
        (["--retries", "3"], 2, "jobs schedule NAME 'Fridays"),
        (["daily", "--retries", "0"], 2, "jobs schedule daily 'Fridays"),
        (["daily", "--catch-up", "once"], 2, "--catch-up"),
        (["daily", "--param", "a=1"], 2, "--param"),
        (["daily", "--mail"], 2, "--mail"),
        (["daily", "--require", "gpu"], 2, "--require"),
        (["daily", "--off", "--zone", "UTC"], 2, "--zone"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, daily: None, words: list[str], code: int, told: str) -> None:
    found, said = cli.error("jobs", "schedule", *words)
    assert found == code and told in said
    assert cli.data("jobs", "schedule") == []


def test_a_dry_run_sets_nothing_and_nobody_to_run_it_is_said(cli: Cli, daily: None) -> None:
    cli.ok("jobs", "schedule", "daily", "@daily", "--dry-run")
    assert cli.data("jobs", "schedule") == []
    done = cli.run("jobs", "schedule", "daily", "@daily")
    assert done.returncode == 0 and b"no runner" in done.stderr, done.stderr
