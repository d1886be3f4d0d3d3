"""The runtime: who carries out tasks, what of the visitor's waits, runs or has failed, and stopping one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from omegaml.errors import NotFound
from omegaml.omega import Omega
from omegaml.runtime.base import DEFAULT, described
from omegaml.runtime.local import LocalRuntime
from omegaml.runtime.tasks import Tasks
from omegaml.store.names import DEFAULT_BUCKET
from omegaweb.access import access
from omegaweb.api.tasks import NOUNS, state
from omegaweb.dashboard import objects
from omegaweb.roles import VIEWER
from omegaweb.workers.models import Worker

FAILED = 20  # tasks that failed, on the page


@access(VIEWER)
@never_cache
def runtime(request: HttpRequest) -> HttpResponse:
    """Who carries out tasks, and what came of those of the last day; asked again every few seconds."""
    with objects.platform(request) as om:
        tasks, workers = Tasks(om.db, om.mongo_url), _workers(om)
        context = {
            "workers": workers,
            "queues": _queues(om, workers),
            "waiting": [_shown(task) for task in tasks.waiting()],
            "failed": [_shown(task) for task in tasks.failures(FAILED)],
            "counts": tasks.counts(),
            "now": timezone.now(),
        }
    part = "_part" if request.headers.get("HX-Request") else ""
    return render(request, f"dashboard/runtime{part}.html", context)


@access(VIEWER)
@require_POST
def cancel(request: HttpRequest, id: str) -> HttpResponse:
    """Keep a task of the visitor's from running, or stop it; go back to the job in the form, if any."""
    with objects.platform(request) as om:
        try:
            if LocalRuntime(om).promise(id).cancel():
                messages.success(request, "The task is cancelled.")
            else:
                messages.info(request, "The task had ended before.")
        except NotFound as error:
            messages.error(request, f"{error.message}.")
        job, bucket = request.POST.get("job"), om.bucket
    return redirect(f"{objects.address('job', job, bucket)}#runs" if job else "runtime")


def _workers(om: Omega) -> list[dict[str, Any]]:
    """Those of the platform, and those that only the visitor has."""
    now, joined = timezone.now(), list(Worker.alive())
    known = {worker.id for worker in joined}
    found = [{**vars(w), "age": (now - w.seen).total_seconds(), "serves": "all accounts"} for w in joined]
    own = om.runtime.status()["runners"]
    found += [{**runner, "serves": "you"} for runner in own if runner["id"] not in known]
    return [{**one, "labels": one.get("labels") or [DEFAULT]} for one in found]


def _queues(om: Omega, workers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What waits and runs for the visitor by label, and how many workers have that."""
    having = Counter(label for worker in workers for label in worker["labels"])
    queues = {label: {"queued": 0, "running": 0} for label in having} | state(om)["queues"]
    return [{"label": label, "workers": having[label], **queues[label]} for label in sorted(queues)]


def _shown(task: dict[str, Any]) -> dict[str, Any]:
    """A task as the page shows it: in words, with the page of what it is of."""
    noun = NOUNS.get(task.get("store") or "models", "model")
    bucket = task.get("bucket") or DEFAULT_BUCKET
    times = {when: _utc(task.get(when)) for when in ("submitted", "started", "finished")}
    about = {
        "what": described(task["action"], f"{noun}s", task["name"]),
        "label": task.get("label") or DEFAULT,
    }
    return {
        **task,
        **times,
        **about,
        "href": objects.address(noun, task["name"], bucket) if task["name"] else "",
    }


def _utc(when: datetime | None) -> datetime | None:
    """The server's times come without a zone, and are in UTC."""
    return when.replace(tzinfo=UTC) if when else None
