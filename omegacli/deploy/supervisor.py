"""Keeps the services of a local cluster running: `python -m omegacli.deploy.supervisor ROOT`.

It reads build/services.json, starts what is not running, adopts what still runs after an earlier supervisor
was killed, and starts again what ends, at growing intervals. On SIGTERM it stops everything in reverse order.
A full disk does not end it: what it could not write down it writes as soon as it can. While MongoDB is down
for want of space it says so (`omegaml.diskfull.mark`). It ends with its services when its folder is removed,
and leaves them to another supervisor that has taken its place.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType

from omegacli.deploy import processes
from omegacli.deploy.base import Layout, make_dir, now, read_text, write_file
from omegacli.deploy.processes import Process
from omegaml import diskfull
from omegaml.errors import OmegaError, Unavailable

POLL = 0.2
SELF_CHECK = 10  # polls
TRIM = 300
FILES = 64000  # mongodb.com/docs/manual/reference/ulimit
STEADY = 30.0  # seconds after which a service counts as running well, and its next restart is prompt again
LOG_LIMIT = 32 * 2**20
LAST_WORDS = 2**20
NO_SPACE = (b"No space left on device", b"Disk quota exceeded")  # strerror(3)


@dataclass(frozen=True)
class Service:
    """One program to keep running.

    Attributes:
        port: where it listens on 127.0.0.1, if it does.
        needs: a file that must exist before it is started.
        after: a service whose port must answer before it is started.
        lockfile: a file in which the program itself writes its process number.
        config: digest of its configuration; a running process with another one is out of date.
    """

    name: str
    argv: list[str]
    port: int | None = None
    needs: str | None = None
    after: str | None = None
    lockfile: str | None = None
    config: str = ""
    stop_seconds: float = 60.0


def read_services(layout: Layout) -> list[Service]:
    return [Service(**item) for item in json.loads(read_text(layout.services))]


def write_services(layout: Layout, services: list[Service]) -> bool:
    return write_file(layout.services, json.dumps([asdict(service) for service in services], indent=1) + "\n")


def services_digest(layout: Layout) -> str:
    """Tells whether a supervisor watches what services.json says now."""
    return hashlib.sha256(layout.services.read_bytes()).hexdigest()[:16]


def find(layout: Layout, service: Service) -> Process | None:
    """The running process of `service`, recorded by a supervisor or, failing that, by the program itself."""
    process = processes.running(layout.process(service.name))
    if process or not service.lockfile:
        return process
    try:
        pid = int(read_text(Path(service.lockfile)))
    except (OSError, ValueError):
        return None
    # the number may have been given to another program since: only one with our arguments is ours
    if " ".join(service.argv[1:]) not in processes.command(pid):
        return None
    return Process(pid, processes.birth(pid), now(), config=service.config)


def launch(layout: Layout) -> subprocess.Popen[bytes]:
    """Start a supervisor that outlives this process; its words go to logs/supervisor.log.

    Raises: Unavailable.
    """
    make_dir(layout.logs)
    # -P: a module that happens to lie in the cluster's folder is none of ours
    argv = [sys.executable, "-P", "-m", "omegacli.deploy.supervisor", str(layout.root)]
    try:
        with open(layout.log("supervisor"), "ab") as log:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=layout.root,
                env=environment(),
                start_new_session=True,
            )
    except OSError as error:
        raise Unavailable(f"the supervisor cannot be started: {error}") from error


def environment() -> dict[str, str]:
    """What services see: nothing that the person who typed `up` had set for omega|ml."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OMEGA") or k == "OMEGA_HOME"}
    here = Path(__file__).resolve().parents[2]
    if here.name not in ("site-packages", "dist-packages"):  # a checkout: found only with our help
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(here), os.environ.get("PYTHONPATH")]))
    return kept


@dataclass
class Watched:
    """A service and its process."""

    service: Service
    process: Process | None = None
    child: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    next_start: float = 0.0
    seen: bool = field(default=False)
    recorded: bool = False
    log_start: int = 0
    lacks_space: bool = False

    @property
    def alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        return self.process is not None and self.process.alive


class Supervisor:
    """The loop. One per root: the kernel's lock on state/supervisor.lock sees to that."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.watched = [Watched(service) for service in read_services(layout)]
        self.stopping = False
        self._guard = -1
        pid = os.getpid()
        self._self = Process(pid, processes.birth(pid), now(), config=services_digest(layout))

    def run(self) -> int:
        make_dir(self.layout.state)
        self._guard = os.open(self.layout.supervisor_lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another supervisor runs here")
            return 1
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        limits()
        self._record_self()
        say(f"supervisor {self._self.pid} watches {', '.join(w.service.name for w in self.watched)}")
        for watched in self.watched:
            self._adopt(watched)
        turn = 0
        while not self.stopping:
            for watched in self.watched:
                self._look_after(watched)
            self._mark()
            if turn % SELF_CHECK == 0 and self._replaced():
                say("another supervisor has taken over: this one ends")
                return 0
            if turn % TRIM == 0:
                self._trim_logs()
            turn += 1
            time.sleep(POLL)
        self._shut_down()
        return 0

    def _replaced(self) -> bool:
        """Whether another supervisor has our place; ask for the end of all services if nobody has."""
        try:
            if os.path.samestat(os.fstat(self._guard), self.layout.supervisor_lock.stat()):
                if not self.layout.process("supervisor").exists():
                    self._record_self()
                return False
        except OSError:
            say(f"{self.layout.state} was removed")
            self.stopping = True
            return False
        return True

    def _record_self(self) -> None:
        _save(self._self, self.layout.process("supervisor"))

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _adopt(self, watched: Watched) -> None:
        process = find(self.layout, watched.service)
        if process:
            say(f"{watched.service.name} runs as {process.pid}: adopted")
            watched.process, watched.started, watched.seen = process, time.monotonic(), True
            self._record(watched)

    def _record(self, watched: Watched) -> None:
        """Write down which process it is; where the disk is full, the next turn tries again."""
        if watched.process:
            watched.recorded = _save(watched.process, self.layout.process(watched.service.name))

    def _look_after(self, watched: Watched) -> None:
        if watched.alive:
            if watched.process and watched.failures and time.monotonic() - watched.started > STEADY:
                watched.failures, watched.lacks_space = 0, False
                watched.process = replace(watched.process, failures=0)
                watched.recorded = False
            if not watched.recorded:
                self._record(watched)
            return
        name = watched.service.name
        if watched.process is not None:
            code = watched.child.returncode if watched.child else None
            wait = self._delay(watched)
            watched.lacks_space = self._lacked_space(watched)
            say(
                f"{name} ended"
                + (f" with {code}" if code is not None else "")
                + f", starts again in {wait:g} s"
            )
            watched.process = replace(watched.process, failures=watched.failures)
            self._record(watched)
            watched.process = watched.child = None
        if time.monotonic() >= watched.next_start and self._ready(watched.service):
            self._start(watched)

    def _lacked_space(self, watched: Watched) -> bool:
        """Whether MongoDB ended for want of space: as its last words say, if there was space for those."""
        if watched.service.name != "mongodb":
            return False
        if diskfull.is_full(self.layout.root):
            return True
        try:
            with open(self.layout.log("mongodb"), "rb") as log:
                size = log.seek(0, os.SEEK_END)
                start = watched.log_start if watched.log_start <= size else 0  # it was trimmed
                log.seek(max(start, size - LAST_WORDS))
                said = log.read()
        except OSError:
            return False
        return any(words in said for words in NO_SPACE)

    def _mark(self) -> None:
        """Tell everybody whether MongoDB is down for want of space; the next turn tries again."""
        mark = diskfull.mark(self.layout.root)
        lacks_space = any(watched.lacks_space for watched in self.watched)
        if lacks_space != mark.exists():
            with suppress(OSError):
                mark.touch(mode=0o600) if lacks_space else mark.unlink()

    def _delay(self, watched: Watched) -> float:
        """Put off the next start, for longer each time."""
        wait: float = min(30.0, 0.5 * 2**watched.failures)
        watched.failures += 1
        watched.next_start = time.monotonic() + wait
        return wait

    def _ready(self, service: Service) -> bool:
        if service.needs and not Path(service.needs).exists():
            return False
        ports = {w.service.name: w.service.port for w in self.watched}
        port = ports.get(service.after) if service.after else None
        return port is None or processes.listens(port)

    def _start(self, watched: Watched) -> None:
        service = watched.service
        try:
            make_dir(self.layout.logs)
            with open(self.layout.log(service.name), "ab") as log:
                watched.log_start = log.tell()
                watched.child = subprocess.Popen(
                    service.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.layout.root,
                    start_new_session=True,
                )
        except (OSError, OmegaError) as error:
            say(f"{service.name} cannot be started: {error}; tried again in {self._delay(watched):g} s")
            return
        earlier = processes.load(self.layout.process(service.name))
        restarts = earlier.restarts + 1 if earlier and watched.seen else 0
        pid = watched.child.pid
        watched.process = Process(
            pid, processes.birth(pid), now(), restarts, service.config, watched.failures
        )
        self._record(watched)
        watched.started, watched.seen = time.monotonic(), True
        say(f"{service.name} started as {pid}")

    def _shut_down(self) -> None:
        for watched in reversed(self.watched):
            if watched.alive and watched.process:
                say(f"stopping {watched.service.name}")
                watched.process.send(signal.SIGTERM)
                deadline = time.monotonic() + watched.service.stop_seconds
                while watched.alive and time.monotonic() < deadline:
                    time.sleep(0.05)
                if watched.alive:
                    say(f"{watched.service.name} did not end in {watched.service.stop_seconds:g} s: killed")
                    watched.process.send(signal.SIGKILL)
            _forget(self.layout.process(watched.service.name))
        _forget(diskfull.mark(self.layout.root))
        _forget(self.layout.process("supervisor"))
        say("supervisor ends")

    def _trim_logs(self) -> None:
        for name in ("supervisor", *(watched.service.name for watched in self.watched)):
            path = self.layout.log(name)
            try:
                if path.stat().st_size > LOG_LIMIT:
                    # copied and emptied: the service keeps the file open, for appending
                    shutil.copyfile(path, path.with_suffix(".log.1"))
                    os.truncate(path, 0)
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
                    say(f"{path} is not trimmed: {error.strerror}")


def limits() -> None:
    """As many open files as MongoDB asks for, where that is allowed, and no core files beside the data."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    with suppress(OSError, ValueError):
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _save(process: Process, path: Path) -> bool:
    try:
        process.save(path)
    except OmegaError:
        return False
    return True


def _forget(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def say(message: str) -> None:
    """One line into the supervisor's log, which its standard output is; lost where the disk is full."""
    with suppress(OSError):
        sys.stdout.write(f"{now()} {message}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(Supervisor(Layout(Path(sys.argv[1]))).run())
