"""Steps as data: what a command will do, in order, before any of it is done."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from omegaml.errors import InvalidInput, OmegaError, Unavailable

Emit = Callable[..., None]  # emit(step id, status, **fields), as `omegacli.console.event`


@dataclass(frozen=True)
class Step:
    """One thing to do, idempotent.

    `run` returns whether it changed anything; or `argv` is a command to execute. `readonly` steps change
    nothing and are also done in a dry run; `always` steps are done even when beginning at a later one.
    """

    id: str
    title: str
    run: Callable[[], bool] | None = None
    argv: tuple[str, ...] = ()
    readonly: bool = False
    always: bool = False


def execute(steps: Sequence[Step], emit: Emit, *, start: str | None = None, dry_run: bool = False) -> bool:
    """Do `steps` in order, from the one called `start`; True if any of them changed something.

    Every step is reported: done, unchanged, skipped, would (dry run) or failed, with its seconds.
    Raises: InvalidInput for an unknown `start`; whatever a step raises, after reporting it.
    """
    ids = [step.id for step in steps]
    if start is not None and start not in ids:
        raise InvalidInput(f"there is no step {start!r}", hint="steps: " + ", ".join(ids))
    begin = ids.index(start) if start else 0
    changed = False
    for position, step in enumerate(steps):
        if position < begin and not step.always:
            emit(step.id, "skipped", title=step.title)
        elif dry_run and not step.readonly:
            emit(step.id, "would", title=step.title, **({"argv": list(step.argv)} if step.argv else {}))
        else:
            changed |= _do(step, emit)
    return changed


def _do(step: Step, emit: Emit) -> bool:
    began = time.monotonic()
    try:
        changed = step.run() if step.run else _command(step.argv)
    except OmegaError as error:
        emit(step.id, "failed", title=step.title, message=error.message, seconds=_since(began))
        raise
    emit(step.id, "done" if changed else "unchanged", title=step.title, seconds=_since(began))
    return changed


def _since(began: float) -> float:
    return round(time.monotonic() - began, 2)


def _command(argv: Sequence[str]) -> bool:
    done: subprocess.CompletedProcess[Any] = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return True
