"""Jobs: their list, one with its runs and what these have left, running one, and the upload of a notebook."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from omegaml.errors import Conflict, InvalidInput, OmegaError
from omegaml.jobs import SUFFIX, full_name
from omegaml.metadata import Metadata
from omegaml.omega import Omega
from omegaml.runtime.base import DEFAULT
from omegaml.runtime.logs import Logs
from omegaml.runtime.runs import Run, Runs
from omegaml.store.names import DEFAULT_BUCKET, check_name
from omegaweb import audit
from omegaweb.access import access
from omegaweb.api import reports
from omegaweb.api.waiting import waits
from omegaweb.dashboard import objects, snippets, uploads
from omegaweb.dashboard.context import platform_url
from omegaweb.dashboard.errors import status_of
from omegaweb.dashboard.views import STOP_POLLING
from omegaweb.roles import EDITOR, VIEWER
from omegaweb.workers.models import Worker
from omegaweb.workers.runtime import runtime

SHOWN, NEXT, LOG = 20, 5, 200  # runs on a job's page, times to come, and lines of a run's log


@dataclass(frozen=True)
class Line:
    """A run as a page shows it: how long it took, and where its report is."""

    run: Run
    took: float | None
    href: str


class NotebookUpload(uploads.Upload):
    """A notebook, and what the job is to be called."""

    kinds = (SUFFIX,)
    most = reports.MOST

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["file"].label = "Notebook"
        self.fields["file"].help_text = "As Jupyter saves it: a file whose name ends in .ipynb."
        self.fields["name"].label = "Name of the job"
        self.fields["name"].help_text = "As in daily or reports/daily."
        self.fields["replace"].label = "Replace the job of this name"

    def clean_file(self) -> Any:
        file = super().clean_file()
        try:
            found = json.loads(file.read().decode("utf-8-sig"))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise forms.ValidationError("The file is no notebook: open and save it in Jupyter.")
        return found

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"]).strip().removesuffix(SUFFIX)
        try:
            return full_name(check_name(name))
        except OmegaError as error:
            raise forms.ValidationError(f"{error.message}. {error.hint or ''}".strip()) from None


@access(VIEWER)
def jobs(request: HttpRequest) -> HttpResponse:
    """The list of jobs, each with its newest run."""
    listing = objects.listing(request, "job")
    with objects.platform(request) as om:
        newest = Runs(om.db, om.mongo_url).newest([line.name for line in listing.lines], listing.bucket)
    context = {"listing": listing, "lines": [(line, newest.get(line.name)) for line in listing.lines]}
    return render(request, "dashboard/jobs.html", {**context, "snippet": snippets.JOB})


@access(VIEWER)
@never_cache
def job(request: HttpRequest, name: str = "") -> HttpResponse:
    """One job: what is known of it, its runs, and the report of one of them."""
    with objects.platform(request) as om:
        meta = om.jobs.metadata(objects.asked_name(request, name))
        lines, plan = _lines(om, meta), om.runtime.job(meta.name).plan()
        asked = request.GET.get("run")
        chosen = next((line for line in lines if line.href and asked in (None, line.run.id)), None)
        heard = next((line.run for line in lines if asked in (None, line.run.id)), None)
        log = Logs(om, heard.id).read(LOG) if heard else []
    texts = snippets.Snippets(platform_url(request), request.user.username, meta)
    labels = {label for worker in Worker.alive() for label in worker.labels or [DEFAULT]}
    context = {
        "meta": meta,
        "kernel": meta.kind_meta.get("kernel"),
        **_going_on(lines),
        "chosen": chosen,
        "framed": _report_address(meta, chosen.run.id) if chosen else "",
        "labels": sorted(labels) if len(labels) > 1 else [],
        "snippets": texts,
        "heard": heard,
        "log": log,
        "plan": plan,
        "next": plan.next(NEXT) if plan else [],
        "schedule": objects.address("schedule_job", meta.name, meta.bucket),
        "run": objects.address("run_job", meta.name, meta.bucket),
        "runs": objects.address("job_runs", meta.name, meta.bucket),
        "here": objects.address("job", meta.name, meta.bucket),
        "notebook": objects.address("job_notebook", meta.name, meta.bucket),
        "delete": objects.address("delete_job", meta.name, meta.bucket),
    }
    return render(request, "dashboard/job.html", context)


@access(VIEWER)
@never_cache
def runs(request: HttpRequest, name: str = "") -> HttpResponse:
    """The part of a job's page that changes while a run goes on; asked for no more once none does."""
    with objects.platform(request) as om:
        meta = om.jobs.metadata(objects.asked_name(request, name))
        lines = _lines(om, meta)
    context = {"meta": meta, **_going_on(lines), "here": objects.address("job", meta.name, meta.bucket)}
    if not request.headers.get("HX-Request"):
        return redirect(f"{context['here']}#runs")
    status = 200 if context["going_on"] else STOP_POLLING
    return render(request, "dashboard/job_runs.html", context, status=status)


@access(EDITOR)
@require_POST
def run(request: HttpRequest, name: str = "") -> HttpResponse:
    """Have a job run, with the parameters that the form has, and go back to its page."""
    name, bucket = objects.asked_name(request, name), request.GET.get("bucket") or None
    try:
        given = _parameters(request.POST.get("parameters", ""))
        with objects.platform(request) as om:
            work = runtime(request.user, om)
            label = request.POST.get("label") or DEFAULT
            asked = (work if label == DEFAULT else work.require(label)).job(name)
            name, bucket = asked.name, om.bucket
            asked.ask(given, async_=True)
        messages.success(request, f"“{name}” is run.")
    except OmegaError as error:
        if error.http_status == 404:  # it has no page to go back to
            raise
        messages.error(request, f"It is not run: {error.message}. {error.hint or ''}".strip())
    return redirect(objects.address("job", full_name(name), bucket or DEFAULT_BUCKET) + "#runs")


@access(EDITOR)
@require_POST
def schedule(request: HttpRequest, name: str = "") -> HttpResponse:
    """Have a job run by itself, or with `end` in the form no more, and go back to its page."""
    name, sent = objects.asked_name(request, name), request.POST
    with objects.platform(request) as om:
        job = om.runtime.job(name)
        meta = om.jobs.metadata(job.name)
        try:
            if "end" in sent:
                job.unschedule()
                messages.success(request, f"“{job.name}” runs no more by itself.")
            else:
                plan, kept = job.plan(), dict[str, Any]()
                if plan:  # what the form does not have stays
                    kept = {key: getattr(plan, key) for key in ("parameters", "webhook", "mail")}
                    job = om.runtime.require(plan.label).job(name, limit=plan.limit)
                zone, catch_up = sent.get("zone", "").strip() or "UTC", sent.get("catch_up", "once")
                tries = sent.get("retries", "0")
                retries = int(tries) if tries.isdecimal() and len(tries) < 4 else -1
                kept |= {"zone": zone, "catch_up": catch_up, "retries": retries}
                made = job.schedule(sent.get("schedule", ""), **kept, may_mail=lambda om: None)
                messages.success(request, f"“{job.name}” runs {made.schedule.describe()}.")
        except InvalidInput as error:
            messages.error(request, f"Nothing was changed: {error.message}. {error.hint or ''}".strip())
    return redirect(objects.address("job", meta.name, meta.bucket) + "#schedule")


@access(VIEWER)
def report(request: HttpRequest, name: str = "") -> HttpResponse:
    """What a run has left, to be shown in a frame without rights; `?fmt=` as in the REST API."""
    name, asked = objects.asked_name(request, name), request.GET
    try:
        with objects.platform(request) as om, waits(request):
            found: HttpResponse = reports.report(
                request, om, name, asked.get("run"), asked.get("fmt") or "html"
            )
            return found
    except OmegaError as error:  # in the same frame
        context = {"error": error}
        answer = render(request, "dashboard/report_error.html", context, status=status_of(error))
        answer["Content-Security-Policy"] = reports.POLICY
        answer["X-Frame-Options"] = "SAMEORIGIN"
        return answer


@access(VIEWER)
def notebook(request: HttpRequest, name: str = "") -> HttpResponse:
    """The notebook itself, as a file."""
    with objects.platform(request) as om:
        found: HttpResponse = reports.notebook(om, objects.asked_name(request, name))
        return found


@access(EDITOR)
def upload(request: HttpRequest) -> HttpResponse:
    """Store a notebook as a job; one that exists is replaced only where that was said."""
    where = f"{reverse('upload_job_name')}?{urlencode({'bucket': request.GET.get('bucket', '')})}"
    form = NotebookUpload(
        where, request.POST or None, request.FILES or None, initial={"name": request.GET.get("name")}
    )
    context: dict[str, Any] = {"form": form, "noun": "job"}
    if request.method != "POST":
        return render(request, "dashboard/upload.html", context)
    status = 400
    if form.is_valid():
        name, replace = form.cleaned_data["name"], form.cleaned_data["replace"]
        with objects.platform(request) as om:
            try:
                meta = om.jobs.put(form.cleaned_data["file"], name, replace=replace)
                audit.record("job.uploaded", request, object=f"job {meta.name}")
                messages.success(request, f"The notebook is stored as “{meta.name}”.")
                return redirect(objects.address("job", meta.name, meta.bucket))
            except Conflict:
                context["taken"], status = om.jobs.metadata(name), 409
                form.add_error("name", "There is a job of this name. Nothing was changed.")
            except InvalidInput as error:
                form.add_error("file", f"{error.message}. {error.hint or ''}".strip())
    return render(request, "dashboard/upload.html", context, status=status)


def _parameters(text: str) -> dict[str, Any]:
    """The parameters in a form, as JSON. Raises InvalidInput."""
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput("the parameters are no JSON object", hint='as {"factor": 7}')
    return found


def _lines(om: Omega, meta: Metadata) -> Sequence[Line]:
    found = Runs(om.db, om.mongo_url).of(meta.name, om.bucket, SHOWN)
    here = objects.address("job", meta.name, meta.bucket)
    mark = "&" if "?" in here else "?"
    return [Line(r, _took(r), f"{here}{mark}run={r.id}#report" if r.results else "") for r in found]


def _took(run: Run) -> float | None:
    if run.started is None:
        return None
    return ((run.finished or datetime.now(UTC)) - run.started).total_seconds()


def _going_on(lines: Sequence[Line]) -> dict[str, Any]:
    return {"lines": lines, "going_on": sum(not line.run.has_ended for line in lines)}


def _report_address(meta: Metadata, run: str) -> str:
    found = objects.address("job_report", meta.name, meta.bucket)
    return f"{found}{'&' if '?' in found else '?'}run={run}"
