"""A runner in a process of its own, and what tests of runtimes look at."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from omegaml.omega import Omega
from tests.conftest import database

ROOT = Path(__file__).parent.parent.parent


def stored(om: Any) -> dict[str, Any]:
    """Everything in the database: how many documents each collection has, and all names of datasets."""
    counts = {name: om.db[name].count_documents({}) for name in om.db.list_collection_names()}
    ours = {"omegaml.runners", "omegaml.tasks", "omegaml.logs"}
    return {
        "names": sorted(om.datasets.list(hidden=True)),
        **{name: n for name, n in counts.items() if n and name not in ours},
    }


def wait_for(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} seconds")


def is_alive(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def children_of(pid: int) -> list[int]:
    """The processes that process `pid` has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[1]) == pid and words[0] != "Z":
            found.append(int(path.parent.name))
    return found


def in_another_process(code: str, *args: str, timeout: float = 120) -> str:
    """Run Python code and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class RunnerProcess:
    def __init__(self, url: str, path: Path, *options: str, **env: str) -> None:
        self.url = url
        self.config = path / "runner.yml"
        self.config.write_text(yaml.safe_dump({"OMEGA_MONGO_URL": url}))
        self.config.chmod(0o600)
        self.log = path / "runner.log"
        command = [sys.executable, "-m", "omegaml.runtime.runner", "--config", str(self.config), *options]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command,
                stderr=log,
                stdout=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), **env},
                start_new_session=True,
            )

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


@pytest.fixture
def start_runner(om: Any, om_url: str, tmp_path: Path) -> Iterator[Callable[..., RunnerProcess]]:
    started: list[RunnerProcess] = []

    def start(*options: str, **env: str) -> RunnerProcess:
        before = len(om.runtime.status()["runners"])
        runner = RunnerProcess(om_url, tmp_path, *options, **env)
        started.append(runner)
        wait_for(lambda: len(om.runtime.status()["runners"]) > before)
        return runner

    yield start
    for runner in started:
        if runner.process.poll() is None:
            runner.kill()


@pytest.fixture
def runner(start_runner: Any) -> RunnerProcess:
    return start_runner()


class OneDatabase:
    """For a class of tests that share a runtime, and so a database."""

    @pytest.fixture(scope="class")
    @classmethod
    def om_url(cls, mongo_url: str) -> Iterator[str]:
        with database(mongo_url) as url:
            yield url

    @pytest.fixture
    def om(self, om_url: str) -> Omega:
        return Omega(mongo_url=om_url)  # it shares its connection with those of the other tests
