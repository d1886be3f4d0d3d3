"""Jobs: notebooks, stored and described here, run by runners and workers, and what they have left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from omegaml.errors import Conflict, InvalidInput, NotFound, OmegaError, TimedOut
from omegaml.jobs import RESULTS, full_name
from omegaml.jsonvalues import plain
from omegaml.metadata import Metadata
from omegaml.omega import Omega
from omegaml.runtime.job import RuntimeJob
from omegaml.runtime.runs import Run, Runs
from omegaml.store.names import is_shared
from omegaweb import audit
from omegaweb.api import asking, errors, reports, shapes
from omegaweb.api import job_shapes as forms
from omegaweb.api.files import JsonOrFiles
from omegaweb.api.listing import Page, listed
from omegaweb.api.models import accepted
from omegaweb.api.parsing import Json
from omegaweb.api.permissions import EditorWrites
from omegaweb.api.scope import address, asked_name, platform
from omegaweb.api.waiting import waits
from omegaweb.workers.runtime import runtime

NEWEST = 10
"""Runs that are shown with a job."""


class NotebookJson(Json):
    """A notebook, or the code of one."""

    most = 16 << 20
    hint = "omegacli jobs put FILE NAME"


class NotebookFile(NotebookJson):
    media_type = reports.NOTEBOOK


class AsNotebook(JSONRenderer):
    """Lets a view be asked for a notebook; errors are JSON whatever is asked for."""

    media_type, format, charset = reports.NOTEBOOK, "ipynb", None


class AsPage(AsNotebook):
    media_type, format = "text/html", "html"


class _Job(JsonOrFiles):
    """A route that also answers with notebooks and pages."""

    permission_classes = (EditorWrites,)
    renderer_classes: tuple[Any, ...] = (JSONRenderer, AsNotebook)
    parser_classes: tuple[Any, ...] = (NotebookJson, NotebookFile)


class Jobs(_Job):
    """All jobs, a page at a time; with `?name=` one of them, as by its path."""

    @extend_schema(
        operation_id="job_list",
        parameters=[
            *shapes.HEADERS,
            *shapes.PAGING,
            shapes.parameter("search", "A text that the names have in them."),
            shapes.parameter("sort", "name, kind, bytes, created or modified; `-` before it: downwards."),
            shapes.parameter("results", "1: also the notebooks that runs have left."),
            shapes.parameter("name", "Answer as `job/<name>/` does."),
        ],
        responses={(200, "application/json"): forms.JobList, **shapes.failures(404, 406)},
    )
    def get(self, request: Request) -> Any:
        """List jobs. Hidden ones, and what runs have left, are left out."""
        if request.query_params.get("name"):
            return _read(request, "")
        page, asked = Page.of(request), request.query_params
        outside = "" if asked.get("results", "") in ("1", "true", "yes") else RESULTS
        with platform(request) as om:
            found, total = om.jobs.page(
                page.offset, page.limit, asked.get("search", ""), asked.get("sort", "name"), outside
            )
            newest = Runs(om.db, om.mongo_url).newest([meta.name for meta in found], om.bucket)
        objects = [brief(meta, newest.get(meta.name)) for meta in found]
        return Response(listed(request, page, objects, total))

    @extend_schema(exclude=True)
    def delete(self, request: Request) -> Response:
        return _deleted(request, "")


class OneJob(_Job):
    """A job: what is known of it, and its notebook."""

    @extend_schema(
        operation_id="job_read",
        parameters=[*shapes.HEADERS, shapes.parameter("fmt", "ipynb: the notebook itself.", enum=["ipynb"])],
        responses={
            (200, "application/json"): forms.WholeJob,
            (200, reports.NOTEBOOK): OpenApiTypes.OBJECT,
            **shapes.failures(404, 406),
        },
    )
    def get(self, request: Request, name: str) -> Any:
        """What is known of a job; its notebook with `Accept: application/x-ipynb+json`."""
        return _read(request, name)

    @extend_schema(
        operation_id="job_make",
        parameters=shapes.HEADERS,
        request={"application/json": forms.NewJob, reports.NOTEBOOK: OpenApiTypes.OBJECT},
        responses={201: forms.WholeJob, **shapes.failures(404, 409, 413, 415)},
    )
    def post(self, request: Request, name: str) -> Response:
        """Make a job of Python code (`{"code": ...}`) or a notebook; of a free name."""
        return _stored(request, name, replace=False)

    @extend_schema(
        operation_id="job_store",
        parameters=shapes.HEADERS,
        request={"application/json": forms.NewJob, reports.NOTEBOOK: OpenApiTypes.OBJECT},
        responses={200: forms.WholeJob, 201: forms.WholeJob, **shapes.failures(404, 409, 413, 415)},
    )
    def put(self, request: Request, name: str) -> Response:
        """Store a notebook (or code) in the place of what there is."""
        return _stored(request, name, replace=True)

    @extend_schema(
        operation_id="job_delete",
        parameters=shapes.HEADERS,
        responses={204: OpenApiResponse(description="Deleted."), **shapes.failures(404)},
    )
    def delete(self, request: Request, name: str) -> Response:
        """Delete a job; what its runs have left stays."""
        return _deleted(request, name)


class JobRuns(_Job):
    """The runs of a job, and the way to one more."""

    parser_classes = (Json,)

    @extend_schema(
        operation_id="job_runs",
        parameters=[*shapes.HEADERS, shapes.parameter("limit", "How many at most.", OpenApiTypes.INT)],
        responses={(200, "application/json"): forms.RunList, **shapes.failures(404, 406)},
    )
    def get(self, request: Request, name: str) -> Response:
        """The runs of a job, the newest first."""
        page = Page(Page.of(request).limit, 0)
        name = own(request, name)
        with platform(request) as om:
            om.jobs.metadata(name)
            found = Runs(om.db, om.mongo_url).of(full_name(name), om.bucket, page.limit) if page.limit else []
        return Response(listed(request, page, [shown(run) for run in found], len(found)))

    @extend_schema(
        operation_id="job_run",
        parameters=[*shapes.HEADERS, *forms.RUNNING],
        request=forms.Parameters,
        responses={
            200: forms.Ran,
            202: forms.Asked,
            **shapes.failures(404, 406, 413, 415),
            **dict.fromkeys((500, 504), OpenApiResponse(forms.RunError)),
        },
    )
    def post(self, request: Request, name: str) -> Response:
        """Run a job with the parameters in the body: 200 where all cells are through, 500 where one fails."""
        name = own(request, name)
        parameters = request.data or {}
        if not isinstance(parameters, Mapping):
            raise InvalidInput("the body is no JSON object", hint='parameters by name, as {"factor": 7}')
        limit, later = asking.wait(request), asking.is_async(request)
        with platform(request) as om:
            work = asking.required(request, runtime(request.user, om))
            job = work.job(name, limit=None if later else limit)
            if later:
                return accepted(request, job.ask(parameters, async_=True).id, name, "job")
            with waits(request):
                return self._ran(om, job, name, parameters, limit)

    def _ran(self, om: Omega, job: RuntimeJob, name: str, given: Mapping[str, Any], limit: float) -> Response:
        promise = job.ask(given)
        try:
            job.answer(promise, 2 * limit + 10)  # it may have to wait for a worker
        except OmegaError as error:
            if "results" in error.details:
                return _failed(error, name, promise.id)
            if not isinstance(error, TimedOut):
                raise
            with suppress(OmegaError):
                promise.cancel()  # it is waiting still
            raise TimedOut(
                f"the run of job {name!r} was ended after {limit:g} s", hint="use ?async=1"
            ) from error
        run = Runs(om.db, om.mongo_url).get(promise.id)
        found = {"job": run.job, "job_results": [run.results], "job_runs": [shown(run)]}
        where = f"{address('job', run.job)}run/"
        return Response(plain({**found, "created": run.created, "resource_uri": where}))


class JobReport(_Job):
    """What a run has left, as a page, as slides or as the notebook; also of one that failed."""

    renderer_classes = (JSONRenderer, AsPage, AsNotebook)

    @extend_schema(
        operation_id="job_report",
        parameters=[*shapes.HEADERS, forms.FORMAT, forms.RUN],
        responses={
            (200, "text/html"): OpenApiTypes.BINARY,
            (200, reports.NOTEBOOK): OpenApiTypes.OBJECT,
            304: OpenApiResponse(description="As `If-None-Match` has it."),
            **shapes.failures(404, 406, 413),
        },
    )
    def get(self, request: Request, name: str) -> Any:
        """The report of a run; the headers `Run-Id` and `Run-Status` say of which, and how it ended.

        It comes with a content policy by which nothing in it is run or loaded.
        """
        name = own(request, name)
        accepted_as = {AsNotebook.media_type: "ipynb"}.get(str(request.accepted_media_type), "html")
        format = request.query_params.get("fmt") or accepted_as
        with platform(request) as om, waits(request):
            return reports.report(request, om, name, request.query_params.get("run"), format)


def brief(meta: Metadata, last: Run | None) -> dict[str, Any]:
    """A job as a list shows it."""
    return plain(
        {
            "data": {"name": meta.name, "kind": meta.kind},
            "name": meta.name,
            "kind": meta.kind,
            "bytes": meta.bytes,
            "created": meta.created,
            "modified": meta.modified,
            "last_run": shown(last) if last else None,
            "resource_uri": address("job", meta.name),
        }
    )


def whole(om: Omega, meta: Metadata) -> dict[str, Any]:
    """All that is known of a job."""
    found = Runs(om.db, om.mongo_url).of(meta.name, om.bucket, NEWEST)
    shown_attributes = {key: value for key, value in meta.attributes.items() if key != "versions"}
    return brief(meta, found[0] if found else None) | plain(
        {
            "bucket": meta.bucket,
            "kernel": meta.kind_meta.get("kernel"),
            "attributes": shown_attributes,
            "runs": [shown(run) for run in found],
        }
    )


def shown(run: Run) -> dict[str, Any]:
    """A run as JSON."""
    left_out = ("job", "bucket", "retry_of")
    about = {key: value for key, value in run.to_dict().items() if key not in left_out}
    return dict(plain(about | {"report": report_address(run.job, run.id) if run.results else None}))


def report_address(job: str, run: str) -> str:
    return f"{address('job', job)}report/?run={run}"


def own(request: Request, name: str) -> str:
    """The job that is asked for. Raises NotFound for another's: jobs are not shared."""
    found = asked_name(request, name)
    if not found:
        raise InvalidInput("no job is named", hint="/api/v1/job/<name>/")
    if is_shared(found):
        raise NotFound(f"there is no job {found!r}", hint="jobs are not shared")
    return found


def _read(request: Request, name: str) -> Any:
    name = own(request, name)
    format = request.query_params.get("fmt") or ""
    if format not in ("", "ipynb", "json"):
        raise InvalidInput(f"fmt={format[:40]!r} is not known", hint="ipynb; report/ has html and slides")
    with platform(request) as om:
        meta = om.jobs.metadata(name)
        if format == "ipynb" or str(request.accepted_media_type) == reports.NOTEBOOK:
            return reports.notebook(om, name)
        return Response(whole(om, meta))


def _stored(request: Request, name: str, replace: bool) -> Response:
    name = own(request, name)
    body = request.data
    if not isinstance(body, dict):
        raise InvalidInput("the body is no JSON object", hint='{"code": "print(1)"}, or a notebook')
    with platform(request) as om:
        is_new = not om.jobs.exists(name)
        if not is_new and not replace:
            raise Conflict(f"there is a job {name!r} already", hint="PUT takes its place")
        meta = _put(om, name, body, replace)
        return Response(whole(om, meta), status=201 if is_new else 200)


def _put(om: Omega, name: str, body: dict[str, Any], replace: bool) -> Metadata:
    code = body.get("code")
    if code is None:
        return om.jobs.put(body, name, replace=replace)
    if not isinstance(code, str) and not isinstance(code, Iterable):
        raise InvalidInput("`code` is no text", hint='{"code": "print(1)"}')
    return om.jobs.create(code, name, replace=replace)


def _deleted(request: Request, name: str) -> Response:
    name = own(request, name)
    with platform(request) as om:
        om.jobs.drop(name)
    audit.record("job.deleted", request, object=f"job {name}")
    return Response(status=204)


def _failed(error: OmegaError, name: str, run: str) -> Response:
    """The answer to a run that failed: which it was, why, and what it has left so far."""
    results = error.details.get("results")
    about = {"job": name, "run": run, "results": results}
    about["report"] = report_address(full_name(name), run) if results else None
    if error.details.get("traceback"):
        about["traceback"] = error.details["traceback"]
    hint = "use ?async=1" if error.details.get("limit") == "time" else error.hint
    return Response(plain(errors.body(error.code, error.message, hint, **about)), error.http_status)
