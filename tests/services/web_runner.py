"""A runner that serves all accounts of the tests' omegaweb."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from tests.services.runtime_processes import ROOT, wait_for
from tests.services.web_platform import WebPlatform


class WebRunner:
    """`python -m omegaml.runtime.runner` with the settings that the local target gives it."""

    def __init__(self, web: WebPlatform, folder: Path, slots: int = 2) -> None:
        self.web = web
        self.folder = folder
        self.slots = slots
        self.log = folder / "runner.log"
        self.key_file = folder / "runner.key"
        web.manage("createworker", "--key-file", str(self.key_file))
        self.config = folder / "runner.yml"
        settings = {"OMEGA_RESTAPI_URL": web.url, "OMEGA_USERID": "runner", "OMEGA_APIKEY": self.key}
        self.config.write_text(yaml.safe_dump(settings))
        self.config.chmod(0o600)
        self.start()

    @property
    def key(self) -> str:
        return self.key_file.read_text().strip()

    def start(self) -> None:
        command = [sys.executable, "-m", "omegaml.runtime.runner", "--config", str(self.config)]
        command += ["--slots", str(self.slots), "--drain", "3"]
        with self.log.open("a") as log:
            env = {**os.environ, "PYTHONPATH": str(ROOT), "OMEGA_SECRET_OF_THE_RUNNER": "not for children"}
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=env, start_new_session=True)
        try:
            wait_for(self.has_joined)
        except BaseException:
            self.process.kill()
            raise

    def has_joined(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return f"-{self.process.pid}-" in str(self.get("runtime/", as_worker=False).get("workers"))

    def get(self, route: str, as_worker: bool = True) -> dict:
        """What omegaweb answers the runner's account, or somebody who has one."""
        headers = {"Authorization": f"runner:{self.key}"}
        if not as_worker:
            someone = getattr(self, "_someone", None) or self.web.person()
            self._someone = someone
            headers = {"Authorization": f"{someone.userid}:{someone.key}"}
        return dict(requests.get(f"{self.web.url}/api/v1/{route}", headers=headers, timeout=60).json())

    def children(self) -> list[int]:
        """The processes that carry out tasks."""
        found = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for file in found for pid in file.read_text().split()]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


@pytest.fixture(scope="module")
def runner(web: WebPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebRunner]:
    """A runner that serves everybody who comes from now on."""
    web.dismiss()
    running = WebRunner(web, tmp_path_factory.mktemp("runner"))
    yield running
    assert running.stop() == 0
