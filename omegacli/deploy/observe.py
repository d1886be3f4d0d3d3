"""How services are doing, and what they wrote: found on this machine, not as last written down."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from omegacli.deploy import processes, supervisor, web
from omegacli.deploy.base import Layout, ServiceState
from omegacli.deploy.supervisor import Service
from omegaml import admin, diskfull
from omegaml.errors import OmegaError, StorageFull, TimedOut, Unavailable

BLOCK = 65536
_STORAGE_FULL = StorageFull("").code
GIVES_UP = 3  # ends in a row after which a service counts as one that cannot run
_FIRST_WORDS = "MongoDB starting"
_STACK = ("Frame", "BACKTRACE")
# what MongoDB says after the error that matters
_EMPTY_WORDS = ("Fatal assertion", "\n\n***aborting after fassert() failure\n\n", "Writing fatal message")


def supervisor_state(layout: Layout) -> ServiceState:
    """The supervisor: running, stopped, or failed if it left its record behind."""
    path = layout.process("supervisor")
    process = processes.running(path)
    if process:
        return ServiceState("supervisor", "running", process.pid, since=process.since)
    if path.exists():
        message = "it was killed; `omegacli cluster up` starts another"
        return ServiceState("supervisor", "failed", message=message)
    return ServiceState("supervisor", "stopped")


def service_states(layout: Layout, services: list[Service], url: str) -> list[ServiceState]:
    """Every service: running only if it also does its work. `url` is the account's database."""
    found: dict[str, ServiceState] = {}
    for service in services:
        found[service.name] = _state(layout, service, url, found.get(service.after or ""))
    return list(found.values())


def _state(layout: Layout, service: Service, url: str, needed: ServiceState | None) -> ServiceState:
    process = supervisor.find(layout, service)
    if process is None:
        return _ended(layout, service)
    state, message, code = "running", "", None
    try:
        if service.name == "mongodb":
            admin.ping(url, timeout=2.0)
        elif needed and needed.state != "running":
            state, message = "starting", f"{needed.name} does not run"
        elif service.name == "web":
            message = web.answers(service.port or 0)
            state = "starting" if message else "running"
        elif service.name == "runner" and process.pid not in _runner_pids(url):
            state, message = "starting", "it has not reported to the database yet"
    except OmegaError as error:
        state, message, code = "starting", error.message, error.code
        if isinstance(error, Unavailable | TimedOut) and (full := diskfull.reason(layout.root)):
            message, code = full, _STORAGE_FULL
    return ServiceState(
        service.name, state, process.pid, service.port, process.restarts, process.since, message, code
    )


def _runner_pids(url: str) -> list[int]:
    from omegaml.mongo import connect
    from omegaml.runtime.tasks import Tasks

    runners = Tasks(connect(url, 2.0).get_default_database(), url).runners()
    return [runner["pid"] for runner in runners]


def _ended(layout: Layout, service: Service) -> ServiceState:
    left = processes.load(layout.process(service.name))
    state, message, code = "stopped", "", None
    if processes.running(layout.process("supervisor")):
        state = "starting"
        if left and left.failures >= GIVES_UP:
            state, message = "failed", "it ends as soon as it is started"
            message += reason(layout, service.name) + f"; see `omegacli cluster logs {service.name}`"
        if full := diskfull.reason(layout.root):
            message, code = f"{full}; it starts again by itself when there is space", _STORAGE_FULL
    restarts = left.restarts if left else 0
    return ServiceState(service.name, state, None, service.port, restarts, message=message, code=code)


def reason(layout: Layout, service: str) -> str:
    """Why a service ended, as its own last error says: ": <that>"; empty if it does not."""
    entries = [entry for line in tail(layout.log(service), 300) if (entry := _entry(line))]
    starts = [n for n, entry in enumerate(entries) if entry.get("msg") == _FIRST_WORDS]
    entries = [e for e in entries[starts[-1] if starts else 0 :] if e.get("msg") not in _EMPTY_WORDS]
    fatal = [entry for entry in entries if entry.get("s") == "F"]
    # of errors the first is the cause and the others follow from it
    errors = fatal[-1:] or [entry for entry in entries if entry.get("s") == "E"]
    if not errors:
        return ""
    said = errors[0].get("attr", {})
    words = [errors[0].get("msg"), *(said.get(key) for key in ("message", "error"))]
    texts = (word.get("msg") or word.get("errmsg") if isinstance(word, dict) else word for word in words)
    return ": " + ", ".join(str(text) for text in texts if text)[:300]


def last_words(path: Path, lines: int) -> list[str]:
    """The last lines of a log that mean something to people: no stack of a program's own functions."""
    found = [line for line in tail(path, 10 * lines) if (_entry(line) or {}).get("msg") not in _STACK]
    return found[-lines:]


def readable(line: str) -> str:
    """A line of MongoDB's log, which is JSON, for people; other lines as they are."""
    entry = _entry(line)
    if not entry or "msg" not in entry:
        return line
    when = entry.get("t")
    since = str(when.get("$date", "")) if isinstance(when, dict) else ""
    said = json.dumps(entry["attr"], ensure_ascii=False) if entry.get("attr") else ""
    return " ".join(filter(None, [since, str(entry.get("s")), str(entry.get("msg")), said]))


def _entry(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("attr", {}), dict) else None


def tail(path: Path, lines: int) -> list[str]:
    """The last whole lines of a file, read from its end."""
    return last(path, lines)[1]


def last(path: Path, lines: int) -> tuple[int, list[str]]:
    """Where the last whole line of a file ends, and the last `lines` of those."""
    try:
        with open(path, "rb") as file:
            place = end = file.seek(0, os.SEEK_END)
            content = b""
            while place > 0 and content.count(b"\n") <= lines:
                place = max(0, place - BLOCK)
                file.seek(place)
                content = file.read(end - place)
    except OSError:
        return 0, []
    whole, newline, rest = content.rpartition(b"\n")
    found = whole.split(b"\n")[-lines:] if newline and lines else []
    return end - len(rest), [line.decode(errors="replace") for line in found]


def after(path: Path, place: int) -> tuple[int, list[str]]:
    """Whole lines added to a file after `place`, and the new place; from 0 again if it shrank."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(place if place <= size else 0)
            start = file.tell()
            whole, newline, _ = file.read().rpartition(b"\n")
    except OSError:
        return 0, []
    if not newline:
        return start, []
    return start + len(whole) + 1, [line.decode(errors="replace") for line in whole.split(b"\n")]
