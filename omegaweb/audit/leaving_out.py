"""Refusals that are too many to be written down each: one line for those of a minute, once it is over."""

from __future__ import annotations

import logging
from collections import Counter
from threading import Lock, Timer

from django.db import DatabaseError, InterfaceError, connection

from omegaweb.api.throttling import rest_of_minute
from omegaweb.audit.models import Entry

ACTION = "refusals.left-out"
NAMES = 100  # accounts that are named; whoever invents more is one of the others

_log = logging.getLogger(__name__)
_left: Counter[str] = Counter()
_lock = Lock()


def leave_out(userid: str) -> None:
    """Count a refusal of `userid` instead of writing it down."""
    with _lock:
        if not _left:
            timer = Timer(rest_of_minute(), _tell)
            timer.daemon = True
            timer.start()
        name = userid[:40]
        _left[name if name in _left or len(_left) < NAMES else "(others)"] += 1


def _tell() -> None:
    with _lock:
        accounts = dict(_left.most_common())
        _left.clear()
    try:
        said = f"{sum(accounts.values())} refusals left out"
        Entry.objects.create(action=ACTION, outcome="refused", object=said, detail={"accounts": accounts})
    except (DatabaseError, InterfaceError) as error:
        _log.warning("%s, and not written down: %s", said, type(error).__name__)
    finally:
        connection.close()
