"""Telling a webhook how a job's runs end now: as a task, so that it has the rights of user code only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from omegaml.errors import InvalidInput, NotFound, OmegaError, TimedOut, Unavailable

if TYPE_CHECKING:
    from omegaml.omega import Omega
    from omegaml.runtime.base import Task

PAUSES = (1.0, 5.0, 20.0)
"""Seconds between tries."""


def check_webhook(url: str) -> str:
    """Return the URL of a webhook. Raises InvalidInput; no message shows more than its host."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(ord(c) <= 32 for c in url) or len(url) > 2000:
        raise InvalidInput("this webhook is no URL", hint="as https://chat.example.com/hooks/abc")
    return url


def check_mail(om: Omega) -> None:
    """Raise InvalidInput if no mail can be sent to the account of `om`; as omegaweb says."""
    from omegaml import rest

    if not rest.call(om.config, "GET", "config/").json()["meta"].get("mail"):
        raise no_mail()


def no_mail() -> InvalidInput:
    """Return the error of an account that no mail can be sent to."""
    return InvalidInput(
        "no mail can be sent to you: the platform has no mail server, or your account no address",
        hint="give a webhook, or set mail_host in web.yml",
    )


def notify(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Post an event of a job to a webhook, a few times where nothing answers; return `{event, run}`.

    The body is `{text, event, job, bucket, run, scheduled, status, error, results}`; `text` is one sentence,
    as chat servers show it. Raises: Unavailable, TimedOut (names the host), InvalidInput (it was refused).
    """
    from omegaml import rest
    from omegaml.runtime.runs import Runs

    url, event = check_webhook(params.get("url", "")), params.get("event")
    try:
        run = Runs(om.db, om.mongo_url).get(str(params.get("run"))).to_dict()
    except NotFound:
        run = {"id": params.get("run"), "job": task.name, "bucket": om.bucket}
    shown = {key: run.get(key) for key in ("job", "bucket", "status", "error", "results")}
    scheduled = run.get("scheduled")
    body = {"text": text_of(run, str(event)), "event": event, "run": run["id"], **shown}
    body["scheduled"] = scheduled.isoformat() if scheduled else None
    for pause in (*PAUSES, None):
        try:
            rest.post(url, body)
            break
        except (Unavailable, TimedOut) as error:
            if pause is None:
                raise _final(error) from error
            time.sleep(pause)
    return {"event": event, "run": run["id"]}


def text_of(run: dict[str, Any], event: str) -> str:
    """Return the event in one sentence."""
    if event == "recovered":
        return f"job {run['job']} is well again"
    why = run.get("error") or "it was lost"
    return f"job {run['job']} failed: {why}"


def _final(error: OmegaError) -> OmegaError:
    # not one of those after which a task is tried again: it has been
    return InvalidInput(error.message, hint=error.hint)
