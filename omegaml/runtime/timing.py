"""How long the parts of a task took, for whoever asks where the time went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_seconds: ContextVar[dict[str, float] | None] = ContextVar("_seconds", default=None)


@contextmanager
def collected() -> Iterator[dict[str, float]]:
    """Collect what is measured inside: seconds by the name of the part."""
    found: dict[str, float] = {}
    token = _seconds.set(found)
    try:
        yield found
    finally:
        _seconds.reset(token)


@contextmanager
def measured(part: str) -> Iterator[None]:
    """Measure a part of a task, where somebody collects it."""
    began = time.perf_counter()
    try:
        yield
    finally:
        found = _seconds.get()
        if found is not None:
            found[part] = found.get(part, 0.0) + time.perf_counter() - began
