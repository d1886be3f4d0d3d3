"""Removes what only grows: old audit entries, sessions and tries to sign in that are over, old invitations.

Links for a new password are kept nowhere: each is signed, and good for three days.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from axes.models import AccessAttempt, AccessLog  # type: ignore[import-untyped]
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.db.models import Q, QuerySet
from django.utils import timezone

from omegaweb.accounts.models import Invitation
from omegaweb.audit.models import Entry

EVERY = 3600.0
_FIRST = 5.0  # seconds after the start
_PART = 1000  # rows in one transaction, so that nobody who writes waits for long
_log = logging.getLogger(__name__)


def trim() -> dict[str, int]:
    """Remove all of it and return how many of each kind went. Done again, it finds nothing."""
    return {name: sum(_deleted(rows)) for name, rows in _over().items()}


def _over() -> dict[str, QuerySet[Any]]:
    now, kept = timezone.now(), settings.CONFIGURATION
    refused = Entry.objects.filter(outcome="refused").order_by("-pk").values_list("pk", flat=True)
    newest = list(refused[kept.audit_refusals : kept.audit_refusals + 1])
    old = Q(time__lt=now - timedelta(days=kept.audit_days))
    tries = now - timedelta(hours=settings.AXES_COOLOFF_TIME)
    return {
        "audit entries": Entry.objects.filter(old | Q(outcome="refused", pk__lte=newest[0] if newest else 0)),
        "sessions": Session.objects.filter(expire_date__lt=now),
        "tries to sign in": AccessAttempt.objects.filter(attempt_time__lt=tries),
        "sign-ins": AccessLog.objects.filter(attempt_time__lt=now - timedelta(days=kept.audit_days)),
        "invitations": Invitation.objects.filter(
            Q(used__lt=now - Invitation.LASTS) | Q(expires__lt=now - Invitation.LASTS)
        ),
    }


def _deleted(rows: QuerySet[Any]) -> Iterator[int]:
    while part := list(rows.order_by().values_list("pk", flat=True)[:_PART]):
        yield rows.model.objects.filter(pk__in=part).delete()[0]


def keep_trimming() -> None:
    """Trim every hour, in a thread beside the requests of this process."""
    threading.Thread(target=_keep_trimming, name="trimming", daemon=True).start()


def _keep_trimming() -> None:
    wait = threading.Event().wait
    wait(_FIRST)
    while True:
        try:
            if removed := {name: n for name, n in trim().items() if n}:
                _log.info("trimmed: %s", ", ".join(f"{n} {name}" for name, n in removed.items()))
        except (DatabaseError, InterfaceError) as error:
            _log.warning("nothing is trimmed until the next hour: %s", type(error).__name__)
        finally:
            close_old_connections()
        wait(EVERY)
