"""A home of its own in which `omegacli cluster up` is typed."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from omegacli.deploy import spec
from omegacli.deploy.local import Local
from omegaml import config
from omegaml.omega import Omega

REPOSITORY = Path(__file__).resolve().parents[2]
NO_WEB = ("--set", "web.enabled=false")  # what it adds is in test_cluster_web.py


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass
class Machine:
    """A home of its own, and what a person there can do. With `web_port` its cluster has pages."""

    home: Path
    port: int
    web_port: int = 0

    @property
    def root(self) -> Path:
        return self.home / ".omegaml" / "clusters" / "default"

    @property
    def config(self) -> Path:
        return self.home / ".omegaml" / "config.yml"

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("OMEGA") or k == "OMEGA_MONGOD"}
        return {**kept, "HOME": str(self.home), "PYTHONPATH": str(REPOSITORY)}

    def cluster(self, *words: str, code: int = 0, **environment: str) -> dict[str, Any]:
        """Run `omegacli cluster ... --json`, check its exit code, return the envelope."""
        done = self.type("cluster", *words, "--json", **environment)
        assert done.returncode == code, done.stdout + done.stderr
        envelope: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return envelope

    def up(self, *words: str) -> dict[str, Any]:
        return self.cluster("up", "--target", "local", *self.settings, *words)

    @property
    def settings(self) -> tuple[str, ...]:
        web = ("--set", f"ports.web={self.web_port}") if self.web_port else NO_WEB
        return ("--set", f"ports.mongodb={self.port}", *web)

    def destroy(self) -> None:
        self.cluster("destroy", "--volumes", "--no-backup", "--yes")

    def type(self, *words: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `omegacli ...` as it is typed; `given` is piped in."""
        return subprocess.run(
            [sys.executable, "-m", "omegacli", *words],
            cwd=self.home,
            timeout=150,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            input=given,
        )

    def typed(self, *words: str, answer: str) -> int:
        """Run `omegacli ...` on a terminal, answer its question; the exit code."""
        return self.on_terminal(*words, answer=answer)[0]

    def on_terminal(self, *words: str, answer: str = "") -> tuple[int, str]:
        """Run `omegacli ...` on a terminal; the exit code, and all that is seen."""
        here, there = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "omegacli", *words],
            cwd=self.home,
            env={k: v for k, v in self.environment.items() if k != "CI"},
            stdin=there,
            stdout=there,
            stderr=there,
        )
        os.close(there)
        os.write(here, f"{answer}\n".encode())
        seen = b""
        with suppress(OSError):  # how a terminal says that the other side is gone
            while part := os.read(here, 4096):
                seen += part
        os.close(here)
        return process.wait(60), seen.decode()

    def services(self) -> dict[str, dict[str, Any]]:
        """What `cluster status` would say, without a process for each question."""
        found = Local(spec.read(self.root), config_file=self.config).status()
        return {service.name: asdict(service) for service in found.services}

    def pids(self) -> dict[str, int]:
        return {name: service["pid"] for name, service in self.services().items()}

    def wait(self) -> None:
        """`cluster wait`, in this process."""
        Local(spec.read(self.root), config_file=self.config).wait()

    def om(self, context: str = "default") -> Omega:
        return Omega(config=config.load(self.config, context))

    def python(self, source: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "import omegaml as om\n" + source],
            cwd=self.home,
            timeout=60,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def secrets(self) -> dict[str, str]:
        loaded: dict[str, str] = yaml.safe_load((self.root / "secrets.yml").read_text())
        return loaded

    def files(self) -> dict[str, tuple[str, int]]:
        """Digest and mode of every file but those that the running services write."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            place = path.relative_to(self.home)
            if path.is_file() and not {"data", "logs"} & set(place.parts):
                found[str(place)] = (
                    hashlib.sha256(path.read_bytes()).hexdigest(),
                    path.stat().st_mode & 0o777,
                )
        return found


def eventually(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
