"""When a job runs by itself, and what its runs have said."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaml.errors import InvalidInput, NotFound
from omegaml.jsonvalues import plain
from omegaml.omega import Omega
from omegaml.runtime.logs import Logs
from omegaml.runtime.runs import Runs
from omegaml.runtime.schedule.plans import Plan
from omegaweb.api import asking, notices, shapes
from omegaweb.api import job_shapes as forms
from omegaweb.api.jobs import own
from omegaweb.api.listing import number
from omegaweb.api.permissions import EditorWrites
from omegaweb.api.scope import platform

NEXT = 5
"""Runs to come that are shown."""

LINES, MOST_LINES = 1000, 10_000


class JobSchedule(APIView):
    """When a job runs by itself."""

    permission_classes = (EditorWrites,)

    @extend_schema(
        operation_id="job_schedule",
        parameters=shapes.HEADERS,
        responses={200: forms.Schedule, **shapes.failures(404)},
    )
    def get(self, request: Request, name: str) -> Response:
        """The schedule of a job and its next five runs; `schedule` is null where it has none."""
        with platform(request) as om:
            job = om.runtime.job(own(request, name))
            return Response(shown(job.name, job.plan()))

    @extend_schema(
        operation_id="job_schedule_set",
        parameters=[*shapes.HEADERS, forms.REQUIRE],
        request=forms.NewSchedule,
        responses={200: forms.Schedule, **shapes.failures(404, 413, 415)},
    )
    def put(self, request: Request, name: str) -> Response:
        """Have a job run by itself, as `{"schedule": "Fridays, at 06:00", "zone": "Europe/Berlin"}`."""
        asked = forms.NewSchedule(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        with platform(request) as om:
            work = asking.required(request, om.runtime)
            job = work.job(own(request, name), limit=given.pop("limit"))
            check_mail = partial(notices.check_mail, request.user)
            plan = job.schedule(given.pop("schedule"), **given, may_mail=check_mail)
            return Response(shown(job.name, plan))

    @extend_schema(exclude=True)  # as PUT
    def post(self, request: Request, name: str) -> Response:
        return self.put(request, name)

    @extend_schema(
        operation_id="job_schedule_end",
        parameters=shapes.HEADERS,
        responses={204: OpenApiResponse(description="It runs no more by itself."), **shapes.failures(404)},
    )
    def delete(self, request: Request, name: str) -> Response:
        """Have a job run no more by itself."""
        with platform(request) as om:
            job = om.runtime.job(own(request, name))
            if not job.unschedule():
                raise NotFound(f"job {job.name!r} has no schedule")
        return Response(status=204)


class JobLogs(APIView):
    """What a run of a job has said."""

    permission_classes = (EditorWrites,)

    @extend_schema(
        operation_id="job_logs",
        parameters=[
            *shapes.HEADERS,
            forms.LOGGED,
            shapes.parameter("tail", f"Only the last lines, {LINES} where not given.", int),
            shapes.parameter("since", "Only lines from then on: a time as ISO 8601, with its zone."),
            shapes.parameter("level", "Of this level at least, as warning."),
        ],
        responses={200: forms.Logs, **shapes.failures(404)},
    )
    def get(self, request: Request, name: str) -> Response:
        """The lines of the newest run, or of `?run=`; they are kept for a day."""
        asked = request.query_params
        since, last = _moment(asked.get("since")), number(request, "tail", LINES, MOST_LINES)
        with platform(request) as om:
            job, run = _run_of(om, own(request, name), asked.get("run"))
            lines = Logs(om, run, since, asked.get("level")).read(last) if run else []
        return Response(plain({"job": job, "run": run, "lines": [line.to_dict() for line in lines]}))


def shown(name: str, plan: Plan | None) -> dict[str, Any]:
    """A job's schedule as JSON; its times are those of its zone."""
    if plan is None:
        return {"job": name, "schedule": None, "next": []}
    said = ("zone", "catch_up", "retries", "label", "limit", "webhook", "mail")
    about = {key: getattr(plan, key) for key in said}
    about |= {"failing": plan.failing, "origin": plan.origin, "parameters": dict(plan.parameters)}
    about |= {"cron": plan.schedule.cron, "meaning": plan.schedule.describe()}
    due = plan.due.astimezone(ZoneInfo(plan.zone)).isoformat() if plan.due else None
    return {
        "job": name,
        "schedule": plan.text,
        **about,
        "due": due,
        "next": [time.isoformat() for time in plan.next(NEXT)],
    }


def _run_of(om: Omega, name: str, run: str | None) -> tuple[str, str | None]:
    """The job, and the run that is asked for or the newest; None where it was never run."""
    job = om.jobs.metadata(name).name
    runs = Runs(om.db, om.mongo_url)
    found = [runs.get(run)] if run else runs.of(job, om.bucket, 1)
    if run and (found[0].job, found[0].bucket) != (job, om.bucket):
        raise NotFound(f"there is no run {run[:40]!r} of job {name!r}")
    return job, found[0].id if found else None


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or is_naive(found):
        raise InvalidInput(f"since={text[:40]!r} is no time", hint="as 2026-12-04T06:00:00Z")
    return found
