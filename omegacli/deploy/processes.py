"""Processes that outlive the command that started them: recorded, recognised again, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from omegacli.deploy.base import read_text, write_file


@cache
def this_boot() -> str:
    """Which run of this machine it is; "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""


@dataclass(frozen=True)
class Process:
    """A process by number and birth, so that a reused number is not taken for it.

    Attributes:
        restarts: how often it was started again in all.
        failures: how often it ended in a row, each time soon after it was started.
        boot: which run of the machine it belongs to: times of birth count from its start.
    """

    pid: int
    born: str
    since: str
    restarts: int = 0
    config: str = ""
    failures: int = 0
    boot: str = field(default_factory=this_boot)

    @property
    def alive(self) -> bool:
        # one that ended before it was looked at has no birth, and nor has a number that is free
        return self.born != "" and self.boot == this_boot() and birth(self.pid) == self.born

    def save(self, path: Path) -> None:
        write_file(path, json.dumps(asdict(self)))

    def send(self, signum: int) -> None:
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def stop(self, seconds: float) -> bool:
        """Ask it to end, insist after `seconds`; False if it was not running."""
        if not self.alive:
            return False
        self.send(signal.SIGTERM)
        if not self.gone(seconds):
            self.send(signal.SIGKILL)
            self.gone(10)
        return True

    def gone(self, seconds: float) -> bool:
        """Wait until it has ended, at most `seconds`."""
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def load(path: Path) -> Process | None:
    """The recorded process, alive or not; None if there is no (readable) record."""
    try:
        return Process(**json.loads(read_text(path)))
    except (OSError, ValueError, TypeError):
        return None


def running(path: Path) -> Process | None:
    """The recorded process if it is alive."""
    process = load(path)
    return process if process and process.alive else None


def birth(pid: int) -> str:
    """When process `pid` was started, in the system's own words; "" if there is none, or its remains."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # the command, in brackets, may itself hold spaces and brackets: count from the last (proc(5))
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else fields[19]
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def command(pid: int) -> str:
    """The command line of `pid`, "" if it cannot be seen."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        done = subprocess.run(
            ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()


def listens(port: int, seconds: float = 0.5) -> bool:
    """Whether something accepts connections on 127.0.0.1:`port`."""
    with socket.socket() as client:
        client.settimeout(seconds)
        return client.connect_ex(("127.0.0.1", port)) == 0
