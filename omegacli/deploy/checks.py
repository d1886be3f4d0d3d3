"""Checks of this machine for the local target; they change nothing. `up` does some, `doctor` all."""

from __future__ import annotations

import errno
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from omegacli.deploy import mongod, processes, secrets, supervisor, web
from omegacli.deploy.base import Layout, read_text
from omegacli.deploy.spec import ACCOUNT, ClusterSpec
from omegaml import config, diskfull
from omegaml.config import CLUSTER
from omegaml.errors import OmegaError, Unavailable

RUNNER_MODULE = "omegaml.runtime.runner"
_GIB = 2**30
_LEAST_FREE, _LITTLE_FREE = 1 * _GIB, 5 * _GIB


IDS = tuple(
    f"local.{name}"
    for name in (
        *("root", "mongod", "port", "disk", "runner", "web", "mail", "data", "context"),
        *("secrets", "server", "pages", "services"),
    )
)


class Check(NamedTuple):
    """One answer. `status` is ok, warn, fail or skip; `hint` is the next step where there is one."""

    id: str
    status: str
    message: str
    hint: str | None = None


def local(spec: ClusterSpec, client: config.ConfigFile) -> list[Check]:
    """Every check of a local cluster, whether it runs or not."""
    found = preflight(spec, client)
    if found[0].status == "fail":
        return found
    return [*found, check_secrets(spec), check_server(spec), check_pages(spec), check_services(spec)]


def preflight(spec: ClusterSpec, client: config.ConfigFile) -> list[Check]:
    """The checks that must hold before a cluster is started."""
    root = check_root(spec)
    if root.status == "fail":  # of the others, those that look into it would only say so again
        return [root, check_mongod(spec), check_port(spec), check_runner(spec), check_web(spec)]
    return [
        root,
        check_mongod(spec),
        check_port(spec),
        check_disk(spec),
        check_runner(spec),
        check_web(spec),
        check_mail(spec),
        check_data(spec),
        check_context(spec, client),
    ]


def containers(spec: ClusterSpec, client: config.ConfigFile) -> list[Check]:
    """The checks that must hold before a cluster in containers is started."""
    return [
        check_root(spec),
        check_engine(),
        check_published(spec),
        check_mail(spec),
        check_context(spec, client),
    ]


def check_engine() -> Check:
    """A Docker engine answers, and `docker compose` is there and new enough for `start_interval`."""
    from omegacli.deploy import images

    try:
        with images.engine(30) as engine:
            version = str(engine.version()["Version"])
    except OmegaError as error:
        return Check("compose.engine", "fail", error.message, error.hint)
    if _numbers(version) < (25, 0):
        return Check("compose.engine", "fail", f"the Docker engine is {version}", "25.0 or newer is needed")
    try:
        argv = ["docker", "compose", "version", "--short"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(
            "compose.engine", "fail", f"there is no `docker compose`: {error}", "install Docker Compose 2"
        )
    if done.returncode:
        return Check("compose.engine", "fail", "there is no `docker compose`", "install Docker Compose 2")
    compose = done.stdout.strip()
    if _numbers(compose) < (2, 20):
        return Check("compose.engine", "fail", f"Docker Compose is {compose}", "2.20 or newer is needed")
    return Check("compose.engine", "ok", f"Docker engine {version}, Compose {compose}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def check_published(spec: ClusterSpec) -> Check:
    """What nginx shall publish must be free, unless it is this cluster's own."""
    from omegacli.deploy import images, render

    ports = {"web": spec.ports.web, "mongodb": spec.ports.mongodb, "rabbitmq": spec.ports.rabbitmq}
    taken = [name for name, port in ports.items() if not _is_free(spec.ports.address, port)]
    if taken:
        with suppress(OmegaError), images.engine(30) as engine:
            query = {"label": [f"com.docker.compose.project={render.project(spec)}"]}
            bound = {
                int(one["HostPort"])
                for container in engine.containers.list(filters=query, ignore_removed=True)
                for found in container.ports.values()
                for one in found or ()
            }
            taken = [name for name in taken if ports[name] not in bound]
    if taken:
        said = ", ".join(f"port {ports[name]} ({name})" for name in taken)
        return Check("local.port", "fail", f"taken by another: {said}", f"--set ports.{taken[0]}=NUMBER")
    return Check(
        "local.port", "ok", f"ports {', '.join(str(port) for port in ports.values())} are free or ours"
    )


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            return True
        except OSError:
            return False


def check_root(spec: ClusterSpec) -> Check:
    """The root, or the nearest folder above it that is there, must be ours to write in."""
    other = "choose another with --root"
    try:
        here = _existing(spec.root)
    except OSError as error:
        return Check("local.root", "fail", f"{spec.root} cannot be used: {error.strerror}", other)
    if not here.is_dir():
        return Check("local.root", "fail", f"{here} is no folder", other)
    stranger = owner(spec.layout)
    if stranger:
        message = f"the cluster in {spec.root} belongs to user {stranger}"
        return Check("local.root", "fail", message, f"be {stranger}, or {other}")
    if not os.access(here, os.W_OK | os.X_OK):
        return Check("local.root", "fail", f"{here} is not writable", other)
    return Check("local.root", "ok", f"{spec.root} is writable")


def owner(layout: Layout) -> str | None:
    """Whose cluster it is, where it is not ours: what we made in it, its owner could no longer use."""
    try:
        uid = layout.secrets.stat().st_uid
    except PermissionError:
        uid = next(p.stat().st_uid for p in layout.secrets.parents if os.access(p.parent, os.X_OK))
    except OSError:
        return None
    if uid == os.geteuid():
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_mongod(spec: ClusterSpec) -> Check:
    try:
        program = mongod.find_mongod()
        return Check("local.mongod", "ok", f"{program} is MongoDB {mongod.version(program)}")
    except OmegaError as error:
        return Check("local.mongod", "fail", error.message, error.hint)


def check_port(spec: ClusterSpec) -> Check:
    """Each port must be free, unless it is this cluster's own service that listens."""
    ports = {"mongodb": spec.ports.mongodb}
    if web.is_part_of(spec):
        ports |= {"web": spec.ports.web} | ({"metrics": spec.ports.metrics} if spec.ports.metrics else {})
    if len(set(ports.values())) < len(ports):
        last = list(ports)[-1]
        message = f"of {' and '.join(f'ports.{name}' for name in ports)} two are the same"
        return Check("local.port", "fail", message, f"give --set ports.{last}")
    found = [_check_port(spec, name, port) for name, port in ports.items()]
    failed = [check for check in found if check.status == "fail"]
    messages = "; ".join(check.message for check in failed or found)
    hints = " ".join(check.hint.removeprefix(_AGAIN) for check in failed if check.hint)
    return Check("local.port", "fail" if failed else "ok", messages, _AGAIN + hints if failed else None)


_AGAIN = "omegacli cluster up "


def _check_port(spec: ClusterSpec, name: str, port: int) -> Check:
    process = _listener(spec, port)
    if process and processes.listens(port):
        return Check("local.port", "ok", f"port {port} is this cluster's {name} (process {process.pid})")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            hint = f"{_AGAIN}--set ports.{name}={_free_port(port)}"
            if error.errno == errno.EADDRINUSE:
                message = f"another program listens on port {port}, which {name} needs"
            else:
                message = f"port {port} cannot be used: {error.strerror}"
            return Check("local.port", "fail", message, hint)
    return Check("local.port", "ok", f"port {port} is free")


def check_disk(spec: ClusterSpec) -> Check:
    """There must be room for a new cluster; one with data is kept down only by a disk that is full."""
    free = shutil.disk_usage(_existing(spec.root)).free
    message = f"{free / _GIB:.1f} GiB free where {spec.root} lies"
    hint = "free some, or choose another --root"
    if free < diskfull.NOTHING_FREE:
        return Check("local.disk", "fail", f"the disk of {spec.root} is full", "free at least 1 GiB")
    if free < _LEAST_FREE and not _has_data(spec):
        return Check("local.disk", "fail", f"only {message}; 1 GiB is needed", hint)
    if free < _LITTLE_FREE:
        return Check("local.disk", "warn", message, "data may soon fill it")
    return Check("local.disk", "ok", message)


def check_runner(spec: ClusterSpec) -> Check:
    if not spec.runner.enabled:
        return Check("local.runner", "skip", "runner.enabled is false")
    if find_spec(RUNNER_MODULE) is None:
        return Check("local.runner", "fail", f"there is no module {RUNNER_MODULE}", "install omegaml again")
    return Check("local.runner", "ok", f"{RUNNER_MODULE} is there")


def check_web(spec: ClusterSpec) -> Check:
    """What omegaweb needs is installed; without it a cluster comes up as well, and has no pages."""
    if not spec.web.enabled:
        return Check("local.web", "skip", "web.enabled is false")
    missing = web.missing()
    if missing:
        message = f"no pages and no REST API, as {missing[0]} is not installed: {web.INSTALL}"
        return Check("local.web", "warn", message, f"{web.INSTALL}, then omegacli cluster up")
    return Check("local.web", "ok", f"pages and REST API at {web.url(spec)}")


def check_data(spec: ClusterSpec) -> Check:
    """Data without the secrets it was secured with cannot be opened again."""
    layout = spec.layout
    if _has_data(spec) and not layout.secrets.exists():
        return Check(
            "local.data",
            "fail",
            f"{layout.mongodb_data} holds data, but its {layout.secrets.name} is gone",
            f"restore {layout.secrets}, or choose another --root",
        )
    return Check("local.data", "ok", "data and secrets belong together")


def check_context(spec: ClusterSpec, client: config.ConfigFile) -> Check:
    """The context that `up` writes must not be somebody else's: an account's, or another cluster's."""
    try:
        found = client.contexts().get(spec.name)
    except OmegaError as error:
        return Check("local.context", "fail", error.message, error.hint)
    name = f"the context {spec.name!r} of {client.path}"
    if not found:
        return Check("local.context", "ok", f"{name} is free")
    root, other = found.get(CLUSTER), None
    if root is not None and root != str(spec.root):
        other = f"the cluster in {root}"
    elif root is None and found.get("OMEGA_RESTAPI_URL"):
        other = f"an account at {found['OMEGA_RESTAPI_URL']}"
    elif root is None and found.get("OMEGA_USERID") not in (None, ACCOUNT):
        other = f"the account {found['OMEGA_USERID']}"
    if other:
        hint = "give this cluster a name of its own with --name, or see `omegacli context remove`"
        return Check("local.context", "fail", f"{name} is that of {other}", hint)
    return Check("local.context", "ok", f"{name} is this cluster's")


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
        found = admin.ping(
            admin.account_url(f"127.0.0.1:{spec.ports.mongodb}", ACCOUNT, password), timeout=2.0
        )
    except OmegaError as error:
        if isinstance(error, Unavailable) and (full := diskfull.reason(spec.root)):
            return Check("local.server", "fail", f"MongoDB does not answer: {full}", diskfull.HINT)
        return Check("local.server", "fail", error.message, error.hint)
    return Check("local.server", "ok", f"MongoDB {found} answers on port {spec.ports.mongodb}")


def check_mail(spec: ClusterSpec) -> Check:
    """Where mail is sent there is a sender; a file of the password that is named is closed to others."""
    mail = spec.mail
    if not mail.host or not web.is_part_of(spec):
        return Check("local.mail", "ok", "no mail is sent")
    if not mail.sender:
        hint = f"{_AGAIN}--set mail.sender=platform@example.com"
        return Check("local.mail", "fail", "there is a mail.host and no mail.sender", hint)
    try:
        if file := spec.mail_password_file:
            read_text(file)
            if file.stat().st_mode & 0o077:
                return Check("local.mail", "fail", f"{file} is open to others", f"chmod 600 {file}")
    except (OSError, UnicodeDecodeError) as error:
        message = f"the file of mail.password_file cannot be read: {error}"
        return Check("local.mail", "fail", message, "write the password of the mail account into it")
    return Check("local.mail", "ok", f"mail goes to {mail.host}:{mail.port} as {mail.sender}")


def check_pages(spec: ClusterSpec) -> Check:
    """omegaweb answers, where it was started."""
    layout = spec.layout
    if not layout.services.exists() or "web" not in [s.name for s in supervisor.read_services(layout)]:
        return Check("local.pages", "skip", "no pages were started here")
    problem = web.answers(spec.ports.web)
    if problem:
        return Check("local.pages", "fail", f"{web.url(spec)}: {problem}", "omegacli cluster logs web")
    return Check("local.pages", "ok", f"{web.url(spec)} answers")


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


def _listener(spec: ClusterSpec, port: int) -> processes.Process | None:
    """The process of this cluster's service that has `port`."""
    layout = spec.layout
    if not layout.services.exists():
        return None
    services = supervisor.read_services(layout)
    mine = [s for s in services if s.port == port]
    if not mine and port == spec.ports.metrics and web.binds(layout, port):
        mine = [s for s in services if s.name == "web"]
    return supervisor.find(layout, mine[0]) if mine else None


def _has_data(spec: ClusterSpec) -> bool:
    return (spec.layout.mongodb_data / "WiredTiger").exists()


def _existing(path: Path) -> Path:
    """The nearest thing there is on the way to `path`. Raises: OSError where nobody could make it."""
    while True:
        try:
            path.stat()
            return path
        except (FileNotFoundError, NotADirectoryError):
            path = path.parent


def _free_port(taken: int) -> int:
    """The next port above `taken` that nothing listens on; only a suggestion."""
    return next(
        (port for port in range(taken + 1, min(taken + 100, 65536)) if not processes.listens(port)), 27018
    )
