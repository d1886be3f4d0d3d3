"""Real servers beside MongoDB, on free ports: RabbitMQ with its management API, and MariaDB."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from tests.conftest import free_port


def _program(*places: str) -> str:
    found = next((place for place in places if shutil.which(place)), None)
    assert found, f"{Path(places[0]).name} is not installed: scripts/test installs it"
    return found


class Server:
    """A process that is there while the block lasts."""

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class Broker(Server):
    """A RabbitMQ with its management API; `boss` administers it, guest is not there."""

    port: int
    management: int
    password: str

    def kill(self) -> None:
        """End all its processes at once; `start` then starts it again with what it has kept."""
        raise NotImplementedError

    @property
    def admin_url(self) -> str:
        return f"http://boss:{self.password}@127.0.0.1:{self.management}/"

    @property
    def url(self) -> str:
        return f"amqp://boss:{self.password}@127.0.0.1:{self.port}/%2F"


@dataclass
class RabbitMQ(Broker):
    """The machine's own. `more` are lines of its configuration."""

    folder: Path
    more: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    management: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(12))

    def start(self) -> None:
        # Debian's wrapper in sbin drops to the user rabbitmq and looks into /var/lib only
        program = _program("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
        users = [{"name": "boss", "password": self.password, "tags": ["administrator"], "limits": {}}]
        may = {"user": "boss", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
        definitions = {"users": users, "vhosts": [{"name": "/"}], "permissions": [may]}
        settings = [
            f"listeners.tcp.default = 127.0.0.1:{self.port}",
            "management.tcp.ip = 127.0.0.1",
            f"management.tcp.port = {self.management}",
            f"load_definitions = {self.folder / 'definitions.json'}",
            *self.more,
        ]
        self.folder.joinpath("definitions.json").write_text(json.dumps(definitions))
        self.folder.joinpath("rabbitmq.conf").write_text("\n".join(settings) + "\n")
        self.folder.joinpath("plugins").write_text("[rabbitmq_management].\n")
        environment = {
            "HOME": str(self.folder),  # Erlang's cookie
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
        self.environment = {**os.environ, **environment}
        with (self.folder / "out.log").open("wb") as log:
            self.process = subprocess.Popen(
                [program], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 90
        # its ports answer before it has read the definitions
        while "completed with" not in (said := (self.folder / "out.log").read_text()):
            assert time.monotonic() < deadline and self.process.poll() is None, said[-2000:]
            time.sleep(0.3)

    def kill(self) -> None:
        parent = psutil.Process(self.process.pid)
        for process in [*parent.children(recursive=True), parent]:
            if process.name() != "epmd":
                process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        if hasattr(self, "process"):
            self.process.terminate()
            self.process.wait(60)
            epmd = next(iter(Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None)
            subprocess.run([str(epmd or "epmd"), "-kill"], env=self.environment, capture_output=True)


@dataclass
class MariaDB(Server):
    """A database server with one empty database `omegaweb` and its user."""

    folder: Path
    port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def url(self) -> str:
        return f"mysql://omegaweb:{self.password}@127.0.0.1:{self.port}/omegaweb"

    def start(self) -> None:
        installer = _program("mariadb-install-db")
        self.folder.joinpath("first.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS omegaweb CHARACTER SET utf8mb4;\n"
            f"CREATE USER IF NOT EXISTS omegaweb@'127.0.0.1' IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL ON omegaweb.* TO omegaweb@'127.0.0.1';\n"
        )
        subprocess.run(
            [installer, *self._options, "--auth-root-authentication-method=socket", "--skip-test-db"],
            check=True,
            capture_output=True,
        )
        self.run()

    @property
    def _options(self) -> list[str]:
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        return ["--no-defaults", f"--datadir={self.folder / 'data'}", *as_root]

    def run(self) -> None:
        """Start the process, also after it was killed."""
        options = {
            "port": self.port,
            "bind-address": "127.0.0.1",
            "socket": self.folder / "s",
            "init-file": self.folder / "first.sql",
            "innodb-buffer-pool-size": "64M",
            "innodb-flush-log-at-trx-commit": 2,  # what is committed survives that it is killed
        }
        argv = [_program("mariadbd", "/usr/sbin/mariadbd"), *self._options]
        argv += ["--skip-log-bin", "--skip-name-resolve", *(f"--{name}={it}" for name, it in options.items())]
        with (self.folder / "out.log").open("wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while "ready for connections" not in (said := (self.folder / "out.log").read_text()):
            assert time.monotonic() < deadline and self.process.poll() is None, said[-2000:]
            time.sleep(0.1)

    def stop(self) -> None:
        if hasattr(self, "process"):
            self.process.terminate()
            self.process.wait(60)
