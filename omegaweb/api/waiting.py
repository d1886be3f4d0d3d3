"""How many answers an account waits for at once: each holds a thread, and others need some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from rest_framework.request import Request

from omegaweb.api.throttling import TooOften

AT_ONCE = 3  # of the eight threads that gunicorn has
PATIENCE = 0.5  # seconds, so that many quick calls at once go one after the other

_waiting: Counter[int] = Counter()
_changed = Condition()


@contextmanager
def waits(request: Request) -> Iterator[None]:
    """Count the caller while the block waits. Raises: TooOften where it waits for AT_ONCE answers already."""
    who = request.user.pk
    with _changed:
        if not _changed.wait_for(lambda: _waiting[who] < AT_ONCE, PATIENCE):
            raise TooOften(
                f"your account waits for {AT_ONCE} answers already",
                hint="wait for one of them, or use ?async=1",
                after=1,
            )
        _waiting[who] += 1
    try:
        yield
    finally:
        with _changed:
            _waiting[who] -= 1
            if not _waiting[who]:
                del _waiting[who]
            _changed.notify_all()
