"""How far a task is: said by whoever carries it out, as a line of its log, and read from there."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from omegaml.errors import InvalidInput

if TYPE_CHECKING:
    from omegaml.omega import Omega

NAME = "omegaml.progress"
"""The logger's name."""

_SAID = re.compile(r"(\d+)%(?: (.*))?", re.DOTALL)


@dataclass(frozen=True)
class Progress:
    """How far a task was at a time; `fraction` is between 0 and 1."""

    fraction: float
    text: str
    time: datetime


def say(om: Omega, fraction: float, text: str = "") -> None:
    """Say how far the task is that this process carries out. Raises InvalidInput, if not between 0 and 1."""
    if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        raise InvalidInput(f"progress of {fraction!r} is not between 0 and 1", hint="progress(done / total)")
    line = f"{int(fraction * 100)}% {text}".strip()
    om.logger.handle(om.logger.makeRecord(NAME, logging.INFO, __file__, 0, line, (), None))


def latest(om: Omega, task: str) -> Progress | None:
    """Return how far a task was when it said so last, None where it has not."""
    from omegaml.runtime.logs import Logs

    for line in reversed(Logs(om, task).read()):
        said = _SAID.fullmatch(line.text) if line.name == NAME else None
        if said is not None:
            return Progress(int(said[1]) / 100, said[2] or "", line.time)
    return None
