"""What every target shares: the files of a cluster's root, its lock, and what a target implements."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from omegacli.deploy.steps import Step
from omegaml.config import replace_file
from omegaml.errors import Conflict, StorageFull, Unavailable


@dataclass(frozen=True)
class Layout:
    """Where things lie below a cluster's root."""

    root: Path

    @property
    def spec(self) -> Path:
        return self.root / "omega.yml"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.yml"

    @property
    def build(self) -> Path:
        return self.root / "build"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def compose(self) -> Path:
        return self.build / "compose.yml"

    @property
    def mongod_conf(self) -> Path:
        return self.build / "mongod.conf"

    @property
    def services(self) -> Path:
        return self.build / "services.json"

    @property
    def keyfile(self) -> Path:
        return self.build / "secrets" / "mongodb" / "keyfile"

    @property
    def runner_config(self) -> Path:
        return self.build / "secrets" / "runner" / "config.yml"

    @property
    def web_config(self) -> Path:
        return self.build / "secrets" / "web" / "web.yml"

    @property
    def gunicorn_conf(self) -> Path:
        return self.build / "gunicorn.conf.py"

    @property
    def web_data(self) -> Path:
        return self.data / "web"

    def apikey(self, userid: str) -> Path:
        """The file that holds the key by which this cluster itself calls omegaweb as `userid`."""
        return self.web_data / f"{userid}.key"

    @property
    def supervisor_lock(self) -> Path:
        return self.state / "supervisor.lock"

    @property
    def mongodb_data(self) -> Path:
        return self.data / "mongodb"

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"

    def process(self, service: str) -> Path:
        """The file in which the supervisor records the process of `service`."""
        return self.state / f"{service}.json"


@dataclass(frozen=True)
class ServiceState:
    """One service as it is now.

    Attributes:
        state: running, starting, stopped or failed (it ends again and again).
        code: name of the error that keeps it from running, as STORAGE_FULL, where that is known.
    """

    name: str
    state: str
    pid: int | None = None
    port: int | None = None
    restarts: int = 0
    since: str | None = None
    message: str = ""
    code: str | None = None


@dataclass(frozen=True)
class Status:
    """The whole cluster: `state` is ok (all runs), degraded (some of it does) or down."""

    state: str
    services: list[ServiceState] = field(default_factory=list)


class Deployer(Protocol):
    """What a target (local, compose, swarm, k8s) can do. Deciding is apart from doing: steps are data."""

    def up(self) -> list[Step]: ...
    def down(self) -> list[Step]: ...
    def start(self) -> list[Step]: ...
    def stop(self) -> list[Step]: ...
    def destroy(self, volumes: bool) -> list[Step]: ...
    def status(self) -> Status: ...
    def logs(self, service: str | None, lines: int, follow: bool) -> Iterator[tuple[str, str]]: ...


def make_dir(path: Path, mode: int = 0o700) -> None:
    """Make `path` and what is missing above it; only `path` itself gets `mode`, the others are 0755.

    Raises: Unavailable if the file system refuses.
    """
    try:
        missing = [path, *path.parents]
        missing = missing[: next(i for i, place in enumerate(missing) if place.is_dir())]
        for place in reversed(missing):
            place.mkdir(mode=mode if place == path else 0o755, exist_ok=True)
            if stat.S_IMODE(place.stat().st_mode) & 0o022:  # a generous umask must not open it to others
                place.chmod(mode if place == path else 0o755)
    except OSError as error:
        raise _refused(path, error) from error


def read_text(path: Path) -> str:
    """The content of one of our files, in UTF-8 whatever the locale says."""
    return path.read_text(encoding="utf-8")


def write_file(path: Path, text: str, mode: int = 0o600) -> bool:
    """Make `path` hold `text` with `mode`, in one move; False if it already did.

    Raises: Unavailable if the file system refuses.
    """
    try:
        if path.is_file() and path.read_bytes() == text.encode():
            if path.stat().st_mode & 0o777 == mode:
                return False
            path.chmod(mode)
            return True
        make_dir(path.parent)
        replace_file(path, text, mode)
        _sync(path.parent)  # what was made once, as secrets, must still be there after a power cut
    except OSError as error:
        raise _refused(path, error) from error
    return True


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refused(path: Path, error: OSError) -> Unavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"the disk is full: {path} was not written", hint="free space, then try again")
    return Unavailable(f"cannot write {path}: {error.strerror}", hint="check the disk and the rights")


def remove(path: Path) -> bool:
    """Remove a file, or a folder with all in it; False if there is none. Raises: Unavailable."""
    if not path.exists():
        return False
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise Unavailable(f"cannot remove {path}: {error.strerror}", hint="check the rights") from error
    return True


def now() -> str:
    """The time as in every output: ISO-8601, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def lock_holder(layout: Layout) -> dict[str, Any] | None:
    """Who wrote the lock file last and did not clear it: pid, host, command, since."""
    try:
        holder = json.loads(read_text(layout.lock))
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


@contextmanager
def locked(layout: Layout, command: str) -> Iterator[dict[str, Any] | None]:
    """Hold the cluster's lock; yields the record of a holder that died without clearing it, else None.

    The kernel's lock on the file decides, so a killed holder never blocks anybody; the record inside only
    says who it was. The holder may remove the file, with the cluster: whoever waits for it starts anew.
    Raises: Conflict naming the holder while another process has it; Unavailable.
    """
    handle = _take(layout)
    try:
        stale = lock_holder(layout)
        record = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": now()}
        text = json.dumps(record).encode()
        with suppress(OSError):  # a full disk: the lock holds, only its holder has no name
            os.pwrite(handle, text, 0)  # first the new text, then the end: a reader never finds it empty
            os.ftruncate(handle, len(text))
        try:
            yield stale
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _take(layout: Layout) -> int:
    """Open and lock the lock file; the handle. Raises: Conflict naming the holder."""
    deadline = time.monotonic() + 1.0
    while True:
        make_dir(layout.state)
        try:
            handle = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # removed with its folder just now
            continue
        except OSError as error:
            raise _refused(layout.lock, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if layout.lock.exists() and os.path.samestat(os.fstat(handle), layout.lock.stat()):
                return handle
            os.close(handle)
        except BlockingIOError as error:
            holder = lock_holder(layout)
            os.close(handle)
            # without a name it was only just taken, or is being given back
            if holder is None and time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            holder = holder or {}
            raise Conflict(
                f"the cluster in {layout.root} is locked by process {holder.get('pid', '?')} on "
                f"{holder.get('host', '?')} ({holder.get('command', '?')}) since {holder.get('since', '?')}",
                hint="wait until it is done, or end that process",
                **holder,
            ) from error
        except FileNotFoundError:
            os.close(handle)
