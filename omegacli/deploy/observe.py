"""How services are doing, and what they wrote: found on this machine, not as last written down."""

from __future__ import annotations

import os
from pathlib import Path

from omegacli.deploy import processes, supervisor
from omegacli.deploy.base import Layout, ServiceState
from omegacli.deploy.supervisor import Service
from omegaml import admin
from omegaml.errors import OmegaError


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


def service_state(layout: Layout, service: Service, url: str) -> ServiceState:
    """One service: running only if it also does its work. `url` is the account's database."""
    process = supervisor.find(layout, service)
    if process is None:
        supervised = processes.running(layout.process("supervisor")) is not None
        left = processes.load(layout.process(service.name))
        state = "starting" if supervised else "stopped"
        return ServiceState(service.name, state, None, service.port, left.restarts if left else 0)
    state, message = "running", ""
    try:
        if service.name == "mongodb":
            admin.ping(url, timeout=2.0)
        elif service.name == "runner" and process.pid not in _runner_pids(url):
            state, message = "starting", "it has not reported to the database yet"
    except OmegaError as error:
        state, message = "starting", error.message
    return ServiceState(
        service.name, state, process.pid, service.port, process.restarts, process.since, message
    )


def _runner_pids(url: str) -> list[int]:
    from omegaml.mongo import connect
    from omegaml.runtime.tasks import Tasks

    runners = Tasks(connect(url, 2.0).get_default_database(), url).runners()
    return [runner["pid"] for runner in runners]


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file, read from its end."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1000 * (lines + 1)))
            return file.read().decode(errors="replace").splitlines()[-lines:] if lines else []
    except OSError:
        return []


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
    return start + len(whole) + 1, whole.decode(errors="replace").splitlines()
