"""Tasks that go on: their state and result, and what is at work for the caller. All are the caller's own."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import nullcontext
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaml.errors import OmegaError
from omegaml.jsonvalues import plain
from omegaml.omega import Omega
from omegaml.runtime.base import DEFAULT
from omegaml.runtime.local import LocalRuntime, outcome
from omegaml.runtime.tasks import Tasks
from omegaweb.api import asking, shapes
from omegaweb.api import model_shapes as forms
from omegaweb.api.permissions import Viewer
from omegaweb.api.scope import platform
from omegaweb.api.waiting import waits
from omegaweb.workers.models import Worker

NOUNS = {"models": "model", "jobs": "job"}


class Task(APIView):
    """One task: `status` is queued, running, done, failed, lost or cancelled. It is kept for 24 hours.

    `?wait=` is how many seconds to wait for its end before answering what it is then.
    """

    permission_classes = (Viewer,)

    @extend_schema(
        operation_id="task_read",
        parameters=[*shapes.HEADERS, shapes.parameter("wait", "Seconds to wait for its end.", float)],
        responses={200: forms.Task, **shapes.failures(404)},
    )
    def get(self, request: Request, id: str) -> Response:
        """State, result and error of a task."""
        seconds = asking.wait(request, "wait", 0.0)
        with platform(request) as om, waits(request) if seconds else nullcontext():
            return Response(_task(om, id, seconds))

    @extend_schema(
        operation_id="task_cancel",
        parameters=shapes.HEADERS,
        responses={200: forms.Task, **shapes.failures(404)},
    )
    def delete(self, request: Request, id: str) -> Response:
        """Keep the task from running, or stop it; one that has ended stays as it is."""
        with platform(request) as om:
            LocalRuntime(om).promise(id).cancel()
            return Response(_task(om, id))


class Runtime(APIView):
    """Who carries out tasks, and the caller's own that have not ended."""

    permission_classes = (Viewer,)

    @extend_schema(
        operation_id="runtime_read",
        parameters=shapes.HEADERS,
        responses={200: forms.RuntimeState, **shapes.failures()},
    )
    def get(self, request: Request) -> Response:
        """Who is at work, and on what of the caller's."""
        with platform(request) as om:
            return Response(plain(state(om)))


def state(om: Omega) -> dict[str, Any]:
    """Return `{workers, labels, queues, tasks}`: who is at work, and on what of the account's."""
    tasks = Tasks(om.db, om.mongo_url)
    waiting, queued = tasks.waiting(), tasks.waiting_by_label()
    workers = [
        {"id": w.id, "slots": w.slots, "running": w.running, "labels": w.labels or [DEFAULT], "seen": w.seen}
        for w in Worker.alive()
    ]
    labels = {label for worker in workers for label in worker["labels"]}
    running = Counter(task.get("label") or DEFAULT for task in waiting if task["status"] == "running")
    return {
        "workers": workers,
        "labels": sorted(labels),
        "queues": {
            label: {"queued": queued.get(label, 0), "running": running[label]}
            for label in sorted({DEFAULT, *labels, *queued, *running})
        },
        "tasks": [
            {"store": "models", "label": DEFAULT, **task, "resource_uri": f"/api/v1/task/{task['id']}/"}
            | {when: _utc(task.get(when)) for when in ("submitted", "started")}
            for task in waiting
        ],
    }


def _task(om: Omega, id: str, seconds: float = 0.0) -> dict[str, Any]:
    tasks = Tasks(om.db, om.mongo_url)
    doc = tasks.get(id)
    if doc["answer"] is None and _ends(om, id, seconds):
        doc = tasks.get(id)
    shown: dict[str, Any] = {
        "id": id,
        "status": doc["status"],
        "action": doc["action"],
        NOUNS.get(doc["store"], "model"): doc["name"],
        "bucket": doc["bucket"],
        **{when: _utc(doc[when]) for when in ("submitted", "started", "finished")},
        "result": None,
        "error": None,
        "resource_uri": f"/api/v1/task/{id}/",
    }
    if doc["answer"] is not None:
        try:
            shown["result"] = asking.answered(outcome(om, doc))
        except OmegaError as error:
            shown["error"] = {"code": error.code, "message": error.message, "hint": error.hint}
            known = {key: error.details.get(key) for key in ("traceback", "results")}
            shown["error"] |= {key: value for key, value in known.items() if value}
    return dict(plain(shown))


def _ends(om: Omega, id: str, seconds: float) -> bool:
    """Wait for a task at most so long; tell whether it has ended, also because whoever had it has died."""
    promise, pause, end = LocalRuntime(om).promise(id), 0.002, time.monotonic() + seconds
    while not promise.done():
        if time.monotonic() + pause > end:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return True


def _utc(when: Any) -> str | None:
    """The server's times come without a zone, and are in UTC."""
    return None if when is None else f"{when.isoformat(timespec='milliseconds')}Z"
