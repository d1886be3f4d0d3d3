"""Who did what: sign-ins, first use of a key per day, refusals, grants, deletions, admin changes."""

from __future__ import annotations

import logging
from typing import Any

_log = logging.getLogger(__name__)


def record(
    action: str,
    request: Any = None,
    *,
    userid: str = "",
    outcome: str = "ok",
    object: str = "",
    **detail: Any,
) -> None:
    """Write one line into the audit log; of refusals only so many in a minute, whoever has them.

    Args:
        action: what, as in "key.used".
        userid: who; the request's user where not given.
        outcome: ok or refused.
        object: on what, as in "dataset sales".
        detail: anything else worth keeping, and no secret.
    """
    from omegaweb.api.throttling import counted
    from omegaweb.audit.models import Entry
    from omegaweb.requests import address, current_id

    outcome = outcome if not action.endswith("refused") else "refused"
    if outcome == "refused" and not counted("refusals", "all"):
        return  # many addresses at once; each has its own limit before this one
    who = userid or getattr(getattr(request, "user", None), "username", "") or ""
    Entry.objects.create(
        action=action,
        userid=who[:150],
        outcome=outcome,
        object=object[:300],
        address=address(request) if request is not None else "",
        path=str(getattr(request, "path", ""))[:300],
        request_id=current_id.get(),
        detail=detail,
    )
