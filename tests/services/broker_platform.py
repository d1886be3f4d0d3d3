"""A broker, and workers of one database or of an omegaweb's accounts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from omegaml import config
from omegaml.omega import Omega
from tests.services.runtime_processes import ROOT, wait_for
from tests.services.servers import RabbitMQ


def on_celery(url: str, broker: str, **settings: Any) -> Omega:
    """The platform of a database with the runtime on Celery, whatever is configured for this person."""
    settings = {"OMEGA_MONGO_URL": url, "OMEGA_BROKER": broker, "OMEGA_RUNTIME": "celery", **settings}
    return Omega(config.load(path=Path("/nonexistent"), **settings))


class WorkerProcess:
    """`python -m omegaml.runtime.worker` with these settings."""

    def __init__(self, settings: dict[str, str], path: Path, *options: str, **env: str) -> None:
        self.config = path / "worker.yml"
        self.config.write_text(yaml.safe_dump(settings))
        self.config.chmod(0o600)
        self.log = path / "worker.log"
        command = [sys.executable, "-m", "omegaml.runtime.worker", "--config", str(self.config), *options]
        with self.log.open("a") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
            self.process = subprocess.Popen(
                command, stderr=log, stdout=log, env=environment, start_new_session=True
            )

    def takes_tasks(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return "takes tasks" in self.log.read_text()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


@pytest.fixture(scope="module")
def mq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A broker for the tests of one file."""
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


class Started:
    """Starts workers, waits until they consume, and kills those that are left in the end."""

    def __init__(self, om: Omega, settings: dict[str, str], make_path: Callable[[], Path]) -> None:
        self._om = om
        self._settings = settings
        self._make_path = make_path
        self._all: list[WorkerProcess] = []

    def __call__(self, *options: str, **env: str) -> WorkerProcess:
        worker = WorkerProcess(self._settings, self._make_path(), *options, **env)
        self._all.append(worker)
        wait_for(worker.takes_tasks)
        label = options[options.index("--label") + 1] if "--label" in options else "default"
        wait_for(lambda: self._has_worker(label))
        return worker

    def _has_worker(self, label: str) -> bool:
        from omegaml.errors import Unavailable

        try:
            self._om.runtime.require_runner(label)
        except Unavailable:
            return False
        return True

    def end(self) -> None:
        for worker in self._all:
            if worker.process.poll() is None:
                worker.kill()
            print(worker.log.read_text())  # which is seen where a test fails
