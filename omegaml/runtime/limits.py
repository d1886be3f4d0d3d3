"""What a task may use: time and memory, how that is enforced, and the errors that say so.

Time is limited twice: at the soft limit the task's own code is interrupted by TimedOut and may clean up; at
the hard limit its process is killed. Memory is limited twice as well: by the kernel, for what the process
itself allocates (MemoryError), and by the parent, which looks now and then at what the process and all it has
started hold, and kills it.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaml.errors import InvalidInput, OmegaError, TaskFailed, TimedOut
from omegaml.runtime.base import Task, error_to_doc

MIB = 1 << 20
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

#: Smallest memory of a task: Python, pandas and scikit-learn alone take half of it.
LEAST_MEMORY = 256 * MIB

#: Writable memory that is reserved and hardly used: stacks of threads, and for each that calls OpenBLAS at
#: once a buffer of 36 MiB (measured, 0.3.31); without it OpenBLAS ends the process. So much at all, and more
#: for each processor.
ROOM, ROOM_EACH = 512 * MIB, 64 * MIB

#: Seconds between looks at the memory, and the share of the time that looking may take.
WATCH, SHARE = 0.25, 0.05


@dataclass(frozen=True)
class Limits:
    """What each task may use; None is no limit.

    Attributes:
        seconds: after which its process is killed. A task may ask for less (`Task.limit`), not for more.
        soft: seconds after which TimedOut is raised in its code.
        memory: bytes that its process, and all it starts, may hold together.
    """

    seconds: float | None = None
    soft: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        for given in (self.seconds, self.soft):
            if given is not None and not given > 0:
                raise InvalidInput(f"a time limit is a number of seconds above 0, not {given:g}")
        if self.soft is not None and self.seconds is not None and self.soft >= self.seconds:
            raise InvalidInput(
                f"the soft time limit of {self.soft:g} s is not below the time limit of {self.seconds:g} s",
                hint="leave some seconds between them to clean up in",
            )
        if self.memory is not None and self.memory < LEAST_MEMORY:
            raise InvalidInput(
                f"{shown(self.memory)} of memory is too little for any task",
                hint=f"{shown(LEAST_MEMORY)} at least",
            )

    def of(self, task: Task) -> float | None:
        """The seconds after which the task's process is killed."""
        return min((s for s in (task.limit, self.seconds) if s is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add `--time-limit`, `--soft-time-limit` and `--memory`, to be read by `from_options`."""
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="a task is killed then")
    parser.add_argument(
        "--soft-time-limit", type=float, metavar="SECONDS", help="its code gets TimedOut then"
    )
    parser.add_argument("--memory", metavar="SIZE", help="that a task may use, as 2GiB")


def from_options(options: argparse.Namespace) -> Limits:
    """Return the limits that the command line names. Raises InvalidInput."""
    memory = None if options.memory is None else size(options.memory)
    return Limits(options.time_limit, options.soft_time_limit, memory)


def size(text: str) -> int:
    """Return bytes for `2GiB`, `512M`, `1.5g` or a plain number; all units are powers of 1024."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", text, re.IGNORECASE)
    if match is None:
        raise InvalidInput(f"{text!r} is no size of memory", hint="as 2GiB or 512MiB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def shown(n: float) -> str:
    """Return `2 GiB` for 2147483648."""
    unit = next((u for u in ("GiB", "MiB", "KiB") if n >= _UNITS[u[0].lower()]), "bytes")
    return f"{n / (1 if unit == 'bytes' else _UNITS[unit[0].lower()]):.3g} {unit}"


# --- errors: `details["limit"]` says which limit it was


def too_long(task: Task, limits: Limits) -> TimedOut:
    """The error of a task that was killed at its time limit."""
    own = task.limit is not None and task.limit == limits.of(task)
    return TimedOut(
        f"{task.what} was ended at its time limit of {limits.of(task):.3g} seconds",
        hint="give it a higher limit (on the command line: --timeout)"
        if own
        else "do it in smaller parts, or ask who runs the workers for more (--time-limit)",
        limit="time",
    )


def too_long_softly(task: Task, seconds: float) -> TimedOut:
    """What is raised in the code of a task at the soft limit."""
    return TimedOut(
        f"{task.what} was interrupted at the soft time limit of {seconds:.3g} seconds",
        hint="do it in smaller parts, or ask who runs the workers for more (--soft-time-limit)",
        limit="soft",
    )


def too_large(task: Task, memory: int) -> TaskFailed:
    """The error of a task that wanted more memory."""
    return TaskFailed(
        f"{task.what} needs more than the {shown(memory)} a task may use",
        hint="give it less data at a time, or ask who runs the workers for more (--memory)",
        limit="memory",
    )


# --- in the child


class Held:
    """Holds a task to the soft limit and to the memory while it is entered, in the main thread.

    Raises: TimedOut, anywhere inside, when the soft limit is reached.
    """

    def __init__(self, limits: Limits, task: Task) -> None:
        self._limits = limits
        self._task = task
        hard = limits.of(task)
        self._soft = limits.soft if limits.soft is not None and (hard is None or limits.soft < hard) else None
        self._interrupted: TimedOut | None = None

    def __enter__(self) -> None:
        if self._soft is not None:
            signal.signal(signal.SIGALRM, self._interrupt)
            signal.setitimer(signal.ITIMER_REAL, self._soft)
        if self._limits.memory is not None:
            own = _status("self")
            # the kernel counts what is reserved, we mean what is used
            reserved = max(0, own.get("VmData", 0) - own.get("RssAnon", 0))
            room = ROOM + ROOM_EACH * len(os.sched_getaffinity(0))
            _allow(self._limits.memory + reserved + room)

    def __exit__(self, *_: object) -> None:
        if self._soft is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if self._limits.memory is not None:
            _allow(resource.RLIM_INFINITY)

    def _interrupt(self, number: int, frame: object) -> None:
        assert self._soft is not None
        self._interrupted = too_long_softly(self._task, self._soft)
        raise self._interrupted

    def explained(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the task's answer; where it is an error that came of a limit, with that limit named."""
        details = answer.get("error", {}).get("details")
        if details is None:
            return answer
        error: OmegaError | None = self._interrupted  # whatever was made of it
        if self._limits.memory is not None and details.get("out_of_memory"):
            error = too_large(self._task, self._limits.memory)
        if error is None:
            return answer
        told = {"traceback": details["traceback"]} if "traceback" in details else {}
        doc = error_to_doc(error)
        return {**answer, "error": {**doc, "details": {**doc["details"], **told}}}


def _allow(memory: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY and (memory > hard or memory == resource.RLIM_INFINITY):
        memory = hard
    resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))


# --- in the parent


class Watch:
    """Looks now and then whether a process and all it has started hold more than they may."""

    def __init__(self, pid: int, memory: int) -> None:
        self._pid = pid
        self._memory = memory
        self._next = time.monotonic() + WATCH

    def is_exceeded(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        over = held(family(self._pid), self._memory) > self._memory
        self._next = now + max(WATCH, (time.monotonic() - now) / SHARE)
        return over


def family(pid: int) -> set[int]:
    """Return a process and all it has started, also what left its group, as kernels of notebooks do."""
    parents: dict[int, int] = {}
    found = {pid}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        with suppress(OSError, ValueError, IndexError):
            words = Path(entry.path, "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            parents[int(entry.name)] = int(words[1])
            if pid in (int(words[2]), int(words[3])):  # its group, its session
                found.add(int(entry.name))
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def held(pids: set[int], enough: int = 0) -> int:
    """Return the bytes that processes hold for themselves; files that are mapped do not count.

    What a fork shares with its parent is counted once where the system lets us look, if the quick sum, which
    counts it twice, is above `enough`.
    """
    quick = [_status(pid) for pid in pids]
    total = sum(one.get("RssAnon", 0) + one.get("RssShmem", 0) + one.get("VmSwap", 0) for one in quick)
    if total <= enough or len(pids) == 1:
        return total
    try:
        exact = [_numbers(f"/proc/{pid}/smaps_rollup") for pid in pids if os.path.exists(f"/proc/{pid}")]
    except PermissionError:
        return total
    return sum(one.get("Pss_Anon", 0) + one.get("Pss_Shmem", 0) + one.get("SwapPss", 0) for one in exact)


def _status(pid: int | str) -> dict[str, int]:
    return _numbers(f"/proc/{pid}/status")


def _numbers(path: str) -> dict[str, int]:
    """The lines `name: n kB` of a file of /proc, in bytes; none where the process is gone."""
    found: dict[str, int] = {}
    with suppress(FileNotFoundError, ProcessLookupError), open(path, "rb") as file:
        for line in file.read().splitlines():
            name, _, value = line.partition(b":")
            if value.endswith(b" kB"):
                found[name.decode()] = int(value.split()[0]) << 10
    return found


def killed_by(code: int, limits: Limits) -> str | None:
    """Return what most likely ended a process that ended by itself, as a hint."""
    if code == -signal.SIGKILL:
        return "SIGKILL is most often the system running out of memory"
    if code == -signal.SIGABRT and limits.memory is not None:
        return f"C++ ends so where it gets no more of the {shown(limits.memory)} a task may use"
    return None
