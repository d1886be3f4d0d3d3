"""Containers of stock images, on free ports of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from tests.services.servers import Server


class Container(Server):
    """A server in a container of its own, which is removed with what it has kept."""

    name: str
    image: str

    def run(self, *options: str) -> None:
        """Make the container and start it."""
        docker("run", "--detach", "--name", self.name, *options, self.image)

    def log(self) -> str:
        """What the server has said last."""
        done = subprocess.run(["docker", "logs", "--tail", "60", self.name], capture_output=True, text=True)
        return done.stdout + done.stderr

    def stop(self) -> None:
        subprocess.run(["docker", "rm", "--force", "--volumes", self.name], capture_output=True)


C = TypeVar("C", bound=Container)


@contextmanager
def running(server: C, request: pytest.FixtureRequest) -> Iterator[C]:
    """The server while the block lasts; where tests fail meanwhile, what it said is shown."""
    failed = request.session.testsfailed
    with server:
        yield server
        if request.session.testsfailed > failed:
            with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
                print(f"\n{server.image} said last:\n{server.log()}")


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"docker {words[0]}: {done.stderr}"
    return done.stdout.strip()
