"""One dataset with all that can be seen of it, and the upload of one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from omegaml.errors import Conflict, InvalidInput, NotFound, OmegaError
from omegaweb import audit
from omegaweb.access import access
from omegaweb.dashboard import conditions, objects, sharing_pages, snippets, tables, uploads
from omegaweb.dashboard.columns import statistics
from omegaweb.dashboard.context import platform_url
from omegaweb.dashboard.errors import status_of
from omegaweb.roles import EDITOR, VIEWER

LINES = 4  # at most so many columns in one plot


@access(VIEWER)
def dataset(request: HttpRequest, name: str = "") -> HttpResponse:
    """One dataset: its first rows, filtered as asked, and what can be done with it."""
    with objects.store(request, "dataset") as store:
        meta = store.metadata(objects.asked_name(request, name))
        context: dict[str, Any] = {"meta": meta, "versions": store.versions(meta.name)}
        asked = conditions.asked(request.GET)
        status, filters, dtypes = 200, {}, {}
        if tables.is_table(meta):
            dtypes = tables.labels(tables.header(store, meta))
            try:
                filters = conditions.filters(asked)
                context["preview"] = tables.preview(store, meta, filters)
            except (InvalidInput, NotFound) as error:  # what was asked for, which the form shows again
                context["error"], status, filters = error, status_of(error), {}
    plottable = [label for label, dtype in dtypes.items() if tables.is_plottable(dtype)]
    times = [label for label in plottable if dtypes[label].kind == "M"]
    numbers = [label for label in plottable if label not in times]
    context |= {
        "is_table": tables.is_table(meta),
        "labels": list(dtypes),
        "lines": [*asked, conditions.Condition()],
        "operators": conditions.OPERATORS.items(),
        "is_filtered": bool(filters),
        "snippets": snippets.Snippets(
            platform_url(request),
            request.user.username,
            meta,
            filters,
            conditions.literals(asked if filters else [], dtypes),
        ),
        "plottable": plottable,
        "x": times[0] if times and numbers else "",
        "ys": numbers[:1] or times[:1],
        "filter_query": _filter_query(request) if filters else "",
        "points": objects.address("points", meta.name, meta.bucket),
        "columns": objects.address("columns", meta.name, meta.bucket),
        "delete": objects.address("delete_dataset", meta.name, meta.bucket),
        "here": objects.address("dataset", meta.name, meta.bucket),
        **sharing_pages.section(request, "dataset", meta),
    }
    return render(request, "dashboard/dataset.html", context, status=status)


@access(VIEWER)
def columns(request: HttpRequest, name: str = "") -> HttpResponse:
    """The part of a dataset's page that takes longest: statistics of its columns."""
    with objects.store(request, "dataset") as store:
        meta = store.metadata(objects.asked_name(request, name))
        found, width = statistics(store, meta)
    context = {"meta": meta, "columns": found, "left_out": width - len(found)}
    context["back"] = objects.address("dataset", meta.name, meta.bucket)
    part = "_part" if request.headers.get("HX-Request") else ""
    return render(request, f"dashboard/columns{part}.html", context)


@access(VIEWER)
def points(request: HttpRequest, name: str = "") -> HttpResponse:
    """What a plot of `?x=&y=&y=` draws, as JSON."""
    ys = request.GET.getlist("y")[:LINES]
    try:
        if not ys:
            raise InvalidInput("no column to draw is chosen", hint="choose one or more")
        with objects.store(request, "dataset") as store:
            meta = store.metadata(objects.asked_name(request, name))
            filters = conditions.filters(conditions.asked(request.GET))
            return JsonResponse(tables.points(store, meta, request.GET.get("x", ""), ys, filters))
    except OmegaError as error:
        text = f"{error.message}. {error.hint or ''}".strip()
        return JsonResponse({"error": text}, status=status_of(error))


@access(EDITOR)
def upload(request: HttpRequest) -> HttpResponse:
    """Store a CSV or Parquet file as a dataset; one that exists is replaced only where that was said."""
    where = f"{reverse('upload_name')}?{urlencode({'bucket': request.GET.get('bucket', '')})}"
    form = uploads.Upload(
        where, request.POST or None, request.FILES or None, initial={"name": request.GET.get("name")}
    )
    context: dict[str, Any] = {"form": form, "noun": "dataset"}
    if request.method != "POST":
        return render(request, "dashboard/upload.html", context)
    status = 400
    if form.is_valid():
        with objects.store(request, "dataset") as store:
            try:
                meta = uploads.put(store, **form.cleaned_data)
                audit.record("dataset.uploaded", request, object=f"dataset {meta.name}")
                messages.success(request, f"{meta.rows or 0:,} rows are stored as “{meta.name}”.")
                return redirect(objects.address("dataset", meta.name, meta.bucket))
            except Conflict:
                context["taken"], status = store.metadata(form.cleaned_data["name"]), 409
                form.add_error("name", "There is a dataset of this name. Nothing was changed.")
            except InvalidInput as error:
                status = error.http_status
                form.add_error("file", f"{error.message}. {error.hint or ''}".strip())
    return render(request, "dashboard/upload.html", context, status=status)


@access(EDITOR)
def upload_name(request: HttpRequest, noun: str) -> HttpResponse:
    """What there is under the name that is being typed, asked before anything is sent."""
    name, found = request.GET.get("name", ""), None
    with objects.store(request, noun) as store:
        if name and store.exists(name):
            found = store.metadata(name)
    return render(request, "dashboard/upload_name.html", {"found": found, "noun": noun})


def _filter_query(request: HttpRequest) -> str:
    """The conditions of the filter builder as they stand in the address."""
    query = request.GET.copy()
    for key in [k for k in query if k not in ("col", "op", "value")]:
        del query[key]
    return query.urlencode()
