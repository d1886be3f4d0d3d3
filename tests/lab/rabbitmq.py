"""RabbitMQ in a container, from the image that the environment's RABBITMQ_IMAGE names or the official one."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
import uuid
from dataclasses import dataclass, field

from tests.conftest import free_port
from tests.lab.container import Container, docker
from tests.services.servers import Broker

IMAGE = "rabbitmq:4-management"


@dataclass
class RabbitMQ(Container, Broker):
    """A broker as the image makes it, with a volume of its own."""

    image: str = field(default_factory=lambda: os.environ.get("RABBITMQ_IMAGE", IMAGE))
    name: str = field(default_factory=lambda: f"omega-test-rabbitmq-{uuid.uuid4().hex[:12]}")
    port: int = field(default_factory=free_port)
    management: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(12))

    def start(self) -> None:
        if self._exists():
            docker("start", self.name)
        else:
            self.run(
                f"--hostname={self.name}",  # its files are of the host of that name
                "--volume=/var/lib/rabbitmq",
                f"--publish=127.0.0.1:{self.port}:5672",
                f"--publish=127.0.0.1:{self.management}:15672",
                "--env=RABBITMQ_DEFAULT_USER=boss",
                f"--env=RABBITMQ_DEFAULT_PASS={self.password}",
            )
        deadline = time.monotonic() + 120
        # a ping is answered seconds before clients are
        while not self._asked("check_port_connectivity"):
            assert time.monotonic() < deadline, f"{self.image} does not start:\n{self.log()}"

    def kill(self) -> None:
        docker("kill", self.name)

    def control(self, *words: str) -> str:
        """Run rabbitmqctl; return what it said."""
        return docker("exec", "--user=rabbitmq", self.name, "rabbitmqctl", "-q", *words)

    def _exists(self) -> bool:
        return subprocess.run(["docker", "inspect", self.name], capture_output=True).returncode == 0

    def _asked(self, what: str) -> bool:
        ask = ["docker", "exec", "--user=rabbitmq", self.name, "rabbitmq-diagnostics", "-q", what]
        return subprocess.run(ask, capture_output=True).returncode == 0
