"""`omegacli doctor`: check this machine, the configuration and the connection."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omegacli import connect, console
from omegaml import config as settings
from omegaml.errors import InvalidInput, NotFound, OmegaError

if TYPE_CHECKING:
    from omegaml.omega import Omega

app = typer.Typer()

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"
MIN_FREE = 1 << 30
Answer = tuple[str, str, str | None]  # status, message, hint


def _python() -> Answer:
    version = ".".join(str(n) for n in sys.version_info[:3])
    return OK, f"Python {version}", None


def _packages() -> Answer:
    from importlib.metadata import PackageNotFoundError, version

    found, missing = [], []
    for name in ("pandas", "pyarrow", "pymongo"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return FAIL, f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}"
    return OK, ", ".join(found), None


def _config_file() -> Answer:
    file = connect.config_file()
    file.read()
    if not file.path.exists():
        return WARN, f"there is no {file.path}", "omegacli init, or omegacli cluster up"
    mode = stat.S_IMODE(file.path.stat().st_mode)
    if mode & 0o077:
        return WARN, f"{file.path} can be read by others (mode {mode:04o})", f"chmod 600 {file.path}"
    return OK, str(file.path), None


def _settings() -> Answer:
    config = connect.config()
    if config.get("OMEGA_MONGO_URL"):
        return OK, f"database set by {config.origin('OMEGA_MONGO_URL')}", None
    if config.get("OMEGA_RESTAPI_URL") and config.get("OMEGA_APIKEY"):
        return OK, f"account {config.get('OMEGA_USERID')} at {config.get('OMEGA_RESTAPI_URL')}", None
    return FAIL, "no platform is configured", "omegacli cluster up, or omegacli init"


def _rest() -> Answer:
    config = connect.config()
    url, userid, apikey = (config.get(f"OMEGA_{n}") for n in ("RESTAPI_URL", "USERID", "APIKEY"))
    if not (url and userid and apikey):
        return SKIP, "no web address is configured", None
    from omegaml import rest

    rest.fetch_config(url, userid, apikey, config.get("OMEGA_TIMEOUT"))
    return OK, f"{url} accepts {userid}", None


def _configured() -> bool:
    config = connect.config()
    return bool(config.get("OMEGA_MONGO_URL") or config.get("OMEGA_RESTAPI_URL"))


def _database() -> Answer:
    if not _configured():
        return SKIP, "no platform is configured", None
    om = connect.omega()
    state = om.status()["mongodb"]
    if state["ok"]:
        return OK, f"MongoDB {state['version']} at {state['address']}", None
    return FAIL, state["error"], state["hint"] or "omegacli cluster up"


def _runner() -> Answer:
    if not _configured():
        return SKIP, "no platform is configured", None
    status = connect.omega().status()
    if not status["mongodb"]["ok"]:
        return SKIP, "the database does not answer", None
    runners = status["runtime"]["runners"]
    if not runners:
        return WARN, "no runner is alive, so --async does not work", "omegacli cluster up"
    return OK, f"{len(runners)} alive", None


def _without_broker(om: Omega) -> Answer | None:
    try:
        known = om.renewed().get("OMEGA_BROKER")
    except OmegaError:  # which `rest` tells of
        return SKIP, "the platform does not say which broker is the account's", None
    return None if known else (SKIP, "no broker is configured", None)


def _broker() -> Answer:
    om = connect.omega()
    if answer := _without_broker(om):
        return answer
    from omegaml.runtime import broker

    config = om.in_force
    return OK, broker.check(config.get("OMEGA_BROKER"), config.get("OMEGA_TIMEOUT")), None


def _workers() -> Answer:
    om = connect.omega()
    if answer := _without_broker(om):
        return answer
    if (runtime := om.in_force.get("OMEGA_RUNTIME")) != "celery":
        return SKIP, f"the runtime {runtime!r} takes no tasks to the broker", None
    if not om.status()["mongodb"]["ok"]:
        return SKIP, "the database does not answer", None
    start = "omegacli runtime worker --label {}"
    try:
        queues = om.runtime.queues()
    except OmegaError:  # which `broker` tells of
        return SKIP, "the broker does not answer", None
    for row in queues:
        if row["waiting"] and not row["workers"]:
            text = f"{row['waiting']} tasks wait for label {row['label']!r}, and no worker of it listens"
            return WARN, text, start.format(row["label"])
    listening = [f"{row['label']}: {row['workers']}" for row in queues if row["workers"]]
    if not listening:
        return WARN, "no worker listens, so no task is carried out", start.format("default")
    return OK, f"workers that listen: {', '.join(listening)}", None


def _disk() -> Answer:
    folder = _nearest(settings.home())
    free = shutil.disk_usage(folder).free
    text = f"{console.human_bytes(free)} free at {folder}"
    return (
        (OK, text, None)
        if free >= MIN_FREE
        else (WARN, text, "free some space: data needs room twice while replaced")
    )


def _home() -> Answer:
    folder = settings.home()
    nearest = _nearest(folder)
    if not os.access(nearest, os.W_OK | os.X_OK):
        return FAIL, f"{nearest} cannot be written", f"chmod u+w {nearest}, or set OMEGA_HOME"
    return OK, str(folder), None


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


CHECKS: dict[str, Callable[[], Answer]] = {
    "python": _python,
    "packages": _packages,
    "home": _home,
    "disk": _disk,
    "config": _config_file,
    "settings": _settings,
    "rest": _rest,
    "database": _database,
    "runner": _runner,
    "broker": _broker,
    "workers": _workers,
}


@app.command("doctor")
def doctor(
    target: Annotated[
        str | None, typer.Option("--target", help="Also what this target needs: local.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="IDS", help="Only these checks, as a,b.")
    ] = None,
    skip: Annotated[str | None, typer.Option("--skip", metavar="IDS", help="Not these checks.")] = None,
    bundle: Annotated[
        str | None,
        typer.Option("--bundle", metavar="FILE", help="Also write a .tgz for a bug report, without secrets."),
    ] = None,
) -> None:
    """Run all checks; exits with 1 if one fails."""
    if target not in (None, "local"):
        raise InvalidInput(f"there is no target {target!r} to check", hint="--target local")
    chosen, skipped = _ids(only), _ids(skip)
    wanted = [name for name in chosen or CHECKS if name not in skipped]
    rows = [_run(name) for name in wanted if name in CHECKS]
    if target == "local" or any(name.startswith("local.") for name in chosen):
        rows += [row for row in _local() if row["id"] in (chosen or [row["id"]]) and row["id"] not in skipped]
    failed = [row["id"] for row in rows if row["status"] == FAIL]
    if bundle is not None:
        _bundle(Path(bundle), rows)
    console.show("doctor", rows, columns=["id", "status", "message", "hint"], exit_code=1 if failed else 0)


def _run(name: str) -> dict[str, Any]:
    try:
        status, message, hint = CHECKS[name]()
    except OmegaError as e:
        status, message, hint = FAIL, e.message, e.hint
    except Exception as e:  # a check that breaks is a finding, and the others go on
        status, message, hint = FAIL, f"{type(e).__name__}: {e}", None
    return {"id": name, "status": status, "message": message, "hint": hint}


def _local() -> list[dict[str, Any]]:
    """What the local target needs, and how its cluster is."""
    from omegacli.deploy import checks, spec

    file = connect.config_file()
    try:
        given = console.options.root, console.options.context
        cluster = spec.read(spec.find_root(None, *given, config_file=file.path))
        return [check._asdict() for check in checks.local(cluster, file)]
    except OmegaError as e:
        return [{"id": "local.root", "status": FAIL, "message": e.message, "hint": e.hint}]


def _ids(text: str | None) -> list[str]:
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if names:
        from omegacli.deploy import checks

        known = [*CHECKS, *checks.IDS]
        for name in names:
            if name not in known:
                raise NotFound(f"there is no check {name!r}", hint=f"one of {', '.join(known)}")
    return names


def _bundle(path: Path, rows: list[dict[str, Any]]) -> None:
    import io
    import platform
    import tarfile

    from omegacli import transfer

    try:
        known = [
            {"name": s.name, "value": None if s.secret else v.value, "origin": v.origin}
            for s, v in connect.config().items()
        ]
    except OmegaError as e:
        known = [{"error": e.message}]
    parts = {"doctor.json": rows, "settings.json": known, "machine.json": platform.uname()._asdict()}
    with transfer.target(str(path)) as stream, tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in parts.items():
            data = console.dumps(content, indent=1).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    console.say(f"wrote {path}")
