"""MySQL in a container, from the image that the environment's MYSQL_IMAGE names or the official one."""

from __future__ import annotations

import os
import secrets
import time
import uuid
from dataclasses import dataclass, field

import pymysql

from tests.lab.container import Container, docker

IMAGE = "mysql:8.4"


@dataclass
class MySQL(Container):
    """A server with one empty database `omegaweb` and its user, as the image makes them."""

    image: str = field(default_factory=lambda: os.environ.get("MYSQL_IMAGE", IMAGE))
    name: str = field(default_factory=lambda: f"omega-test-mysql-{uuid.uuid4().hex[:12]}")
    password: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def url(self) -> str:
        return f"mysql://omegaweb:{self.password}@127.0.0.1:{self.port}/omegaweb"

    def start(self) -> None:
        settings = {"DATABASE": "omegaweb", "USER": "omegaweb", "PASSWORD": self.password}
        settings["ROOT_PASSWORD"] = secrets.token_hex(12)
        environment = [f"--env=MYSQL_{name}={value}" for name, value in settings.items()]
        self.run("--publish", "127.0.0.1::3306", *environment)
        self.port = int(docker("port", self.name, "3306/tcp").split(":")[-1])
        deadline = time.monotonic() + 120
        # while it makes its files it answers nobody outside
        while not self._answers():
            assert time.monotonic() < deadline, f"{self.image} does not start:\n{self.log()}"
            time.sleep(0.3)

    def _answers(self) -> bool:
        try:
            self.connect().close()
            return True
        except pymysql.err.OperationalError:
            return False

    def connect(self) -> pymysql.Connection:
        login = {"user": "omegaweb", "password": self.password, "database": "omegaweb"}
        return pymysql.connect(host="127.0.0.1", port=self.port, **login, read_timeout=5)  # type: ignore[arg-type]
