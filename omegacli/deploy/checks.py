"""Checks of this machine for the local target; they change nothing. `up` does some, `doctor` all."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from omegacli.deploy import mongod, processes, secrets, supervisor
from omegacli.deploy.spec import ClusterSpec, read
from omegaml.errors import OmegaError

RUNNER_MODULE = "omegaml.runtime.runner"
_GIB = 2**30
_LEAST_FREE, _LITTLE_FREE = 1 * _GIB, 5 * _GIB


class Check(NamedTuple):
    """One answer. `status` is ok, warn, fail or skip; `hint` is the next step where there is one."""

    id: str
    status: str
    message: str
    hint: str | None = None


def local(root: Path) -> list[Check]:
    """Every check of the local cluster in `root`, whether it runs or not."""
    try:
        spec = read(root)
    except OmegaError as error:
        return [Check("local.spec", "fail", error.message, error.hint)]
    return [*preflight(spec), check_secrets(spec), check_server(spec), check_services(spec)]


def preflight(spec: ClusterSpec) -> list[Check]:
    """The checks that must hold before a cluster is started."""
    checks: list[Callable[[ClusterSpec], Check]] = [
        check_root,
        check_mongod,
        check_port,
        check_disk,
        check_runner,
    ]
    return [*(check(spec) for check in checks), check_data(spec)]


def check_root(spec: ClusterSpec) -> Check:
    """The root, or the nearest folder above it that is there, must be ours to write in."""
    here = _existing(spec.root)
    if not here.is_dir():
        return Check("local.root", "fail", f"{here} is no folder", "choose another with --root")
    if not os.access(here, os.W_OK | os.X_OK):
        return Check("local.root", "fail", f"{here} is not writable", "choose another with --root")
    return Check("local.root", "ok", f"{spec.root} is writable")


def check_mongod(spec: ClusterSpec) -> Check:
    try:
        program = mongod.find_mongod()
        return Check("local.mongod", "ok", f"{program} is MongoDB {mongod.version(program)}")
    except OmegaError as error:
        return Check("local.mongod", "fail", error.message, error.hint)


def check_port(spec: ClusterSpec) -> Check:
    """The port must be free, unless it is this cluster's own mongod that listens."""
    port = spec.ports.mongodb
    process = _mongodb(spec)
    if process and processes.listens(port):
        return Check("local.port", "ok", f"port {port} is this cluster's mongod (process {process.pid})")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return Check(
                    "local.port",
                    "fail",
                    f"another program listens on port {port}",
                    f"omegacli cluster up --set ports.mongodb={_free_port(port)}",
                )
            reason = f"port {port} cannot be used: {error.strerror}"
            return Check("local.port", "fail", reason, "omegacli cluster up --set ports.mongodb=27018")
    return Check("local.port", "ok", f"port {port} is free")


def check_disk(spec: ClusterSpec) -> Check:
    free = shutil.disk_usage(_existing(spec.root)).free
    message = f"{free / _GIB:.1f} GiB free where {spec.root} lies"
    if free < _LEAST_FREE:
        return Check(
            "local.disk", "fail", f"only {message}; 1 GiB is needed", "free some, or choose another --root"
        )
    if free < _LITTLE_FREE:
        return Check("local.disk", "warn", message, "data may soon fill it")
    return Check("local.disk", "ok", message)


def check_runner(spec: ClusterSpec) -> Check:
    if not spec.runner.enabled:
        return Check("local.runner", "skip", "runner.enabled is false")
    if find_spec(RUNNER_MODULE) is None:
        return Check("local.runner", "fail", f"there is no module {RUNNER_MODULE}", "install omegaml again")
    return Check("local.runner", "ok", f"{RUNNER_MODULE} is there")


def check_data(spec: ClusterSpec) -> Check:
    """Data without the secrets it was secured with cannot be opened again."""
    layout = spec.layout
    if (layout.mongodb_data / "WiredTiger").exists() and not layout.secrets.exists():
        return Check(
            "local.data",
            "fail",
            f"{layout.mongodb_data} holds data, but its {layout.secrets.name} is gone",
            f"restore {layout.secrets}, or choose another --root",
        )
    return Check("local.data", "ok", "data and secrets belong together")


def check_secrets(spec: ClusterSpec) -> Check:
    layout = spec.layout
    if not layout.secrets.exists():
        return Check("local.secrets", "skip", "no cluster was brought up here yet")
    try:
        secrets.load(layout)
    except OmegaError as error:
        return Check("local.secrets", "fail", error.message, error.hint)
    mode = stat.S_IMODE(layout.secrets.stat().st_mode)
    if mode & 0o077:
        return Check(
            "local.secrets", "fail", f"{layout.secrets} can be read by others", f"chmod 600 {layout.secrets}"
        )
    return Check("local.secrets", "ok", f"{layout.secrets} is closed to others")


def check_server(spec: ClusterSpec) -> Check:
    """MongoDB answers and knows the account."""
    from omegaml import admin

    if not spec.layout.secrets.exists():
        return Check("local.server", "skip", "no cluster was brought up here yet")
    try:
        password = secrets.load(spec.layout).admin_password
        found = admin.ping(admin.account_url(spec.ports.mongodb, "admin", password), timeout=2.0)
    except OmegaError as error:
        return Check("local.server", "fail", error.message, error.hint)
    return Check("local.server", "ok", f"MongoDB {found} answers on port {spec.ports.mongodb}")


def check_services(spec: ClusterSpec) -> Check:
    layout = spec.layout
    if not layout.services.exists():
        return Check("local.services", "skip", "nothing was started here yet")
    down = [s.name for s in supervisor.read_services(layout) if supervisor.find(layout, s) is None]
    if not processes.running(layout.process("supervisor")):
        down.insert(0, "supervisor")
    if down:
        return Check("local.services", "fail", f"not running: {', '.join(down)}", "omegacli cluster up")
    return Check("local.services", "ok", "all services run under the supervisor")


def _mongodb(spec: ClusterSpec) -> processes.Process | None:
    layout = spec.layout
    if not layout.services.exists():
        return None
    mine = [s for s in supervisor.read_services(layout) if s.port == spec.ports.mongodb]
    return supervisor.find(layout, mine[0]) if mine else None


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _free_port(taken: int) -> int:
    """The next port above `taken` that nothing listens on; only a suggestion."""
    return next(
        (port for port in range(taken + 1, min(taken + 100, 65536)) if not processes.listens(port)), 27018
    )
