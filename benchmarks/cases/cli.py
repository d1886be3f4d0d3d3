"""The command line: CPU time of one command, from start to end of its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import frames
from benchmarks.bench import Bench
from benchmarks.lines import Line, alone
from benchmarks.rounds import Sample, Timing

CLI = [sys.executable, "-m", "omegacli"]


def run(bench: Bench) -> list[Line]:
    names = [bench.name() for _ in range(3)]
    for name in names:
        bench.om.datasets.put(frames.mixed(100, seed=8), name)
    rounds = bench.rounds(10)
    measured = {
        "import omegaml": [sys.executable, "-c", "import omegaml as om"],
        "omegacli --version": [*CLI, "--version"],
        "omegacli --help": [*CLI, "--help"],
        "omegacli config get": [*CLI, "config", "get", "OMEGA_BUCKET"],
        "omegacli datasets list": [*CLI, "datasets", "list"],
    }
    bench.say("cli: start-up")
    timings = {what: Timing("omega|ml") for what in measured}
    for n in range(-1, rounds):
        for what, command in measured.items():
            sample = _spent(bench, command)
            if n >= 0:  # the first run of each compiles modules
                timings[what].samples.append(sample)
    lines = [alone("cli", what, timing) for what, timing in timings.items()]
    bench.timings += [(f"cli: {what}", timing) for what, timing in timings.items()]
    lines.append(_slowest_help(bench))
    for name in names:
        bench.om.datasets.drop(name)
    return lines


def _slowest_help(bench: Bench) -> Line:
    """The help of every command, of which the slowest is the figure."""
    found = subprocess.run(
        [*CLI, "help", "--json"], env=_environment(bench), capture_output=True, check=True
    ).stdout
    tree = json.loads(found)["data"]
    worst: tuple[str, Timing] | None = None
    commands = list(_paths(tree))
    bench.say(f"cli: help of {len(commands)} commands")
    for path in commands[: 3 if bench.quick else None]:
        timing = Timing("omega|ml")
        for _ in range(bench.rounds(3)):
            timing.samples.append(_spent(bench, [*CLI, *path.split()[1:], "--help"]))
        if worst is None or timing.cpu > worst[1].cpu:
            worst = (path, timing)
    assert worst is not None
    bench.timings.append((f"cli: {worst[0]} --help", worst[1]))
    return alone("cli", f"slowest help: {worst[0]} --help", worst[1], "omegacli --help")


def _paths(command: dict[str, Any]) -> Iterator[str]:
    yield command["path"]
    for each in command.get("commands") or []:
        yield from _paths(each)


def _environment(bench: Bench) -> dict[str, str]:
    home = bench.folder / "home"
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith("OMEGA_") and k != "PYTHONDONTWRITEBYTECODE"
    }
    return {**kept, "OMEGA_HOME": str(home), "OMEGA_MONGO_URL": bench.server.url}


def _spent(bench: Bench, command: list[str]) -> Sample:
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=_environment(bench), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    assert process.returncode == 0, f"{' '.join(command)}: {said.decode()}"
    return Sample(wall, usage.ru_utime + usage.ru_stime, 0.0)
