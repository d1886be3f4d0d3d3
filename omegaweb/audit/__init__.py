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
    """Write one line into the audit log; of refusals only so many in a minute, and how many it left out.

    Those of accounts that are signed in are counted apart: no flood by strangers hides them.

    Args:
        action: what, as in "key.used".
        userid: who; the request's user where not given.
        outcome: ok or refused.
        object: on what, as in "dataset sales".
        detail: anything else worth keeping, and no secret.
    """
    from omegaweb.api.throttling import counted
    from omegaweb.audit.leaving_out import leave_out
    from omegaweb.audit.models import Entry
    from omegaweb.requests import address, current_id

    outcome = outcome if not action.endswith("refused") else "refused"
    user = getattr(request, "user", None)
    who = userid or getattr(user, "username", "") or ""
    known = "accounts" if getattr(user, "is_authenticated", False) else "strangers"
    if outcome == "refused" and not counted("refusals", known):
        leave_out(who)  # many addresses at once; each has its own limit before this one
        return
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
