"""`dataset/`: list, read, store and delete datasets, and what their columns hold."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaweb.api import bodies, downloads, shapes, uploads
from omegaweb.api.files import JsonOrFiles
from omegaweb.api.listing import Page, listed
from omegaweb.api.permissions import EditorWrites
from omegaweb.api.reading import read, resource, statistics_of, table, version_of
from omegaweb.api.scope import asked_name
from omegaweb.api.selecting import selected
from omegaweb.api.sharing import listed_place, place
from omegaweb.api.statistics import chosen, statistics
from omegaweb.api.storing import drop, store


class _Bulk(JsonOrFiles):
    """A route that streams some formats."""

    permission_classes = (EditorWrites,)
    renderer_classes = downloads.RENDERERS
    parser_classes = uploads.PARSERS


class Datasets(_Bulk):
    """The datasets of the bucket; with `?name=` one of them, as by its path."""

    @extend_schema(
        operation_id="dataset_list",
        parameters=[
            *shapes.HEADERS,
            *shapes.PAGING,
            shapes.parameter("search", "A text that the names have in them."),
            shapes.parameter(
                "sort", "name, kind, rows, bytes, created or modified; `-` before it: downwards."
            ),
            shapes.parameter("name", "Answer as `dataset/<name>/` does."),
            shapes.OF,
        ],
        responses={(200, "application/json"): shapes.DatasetList, **shapes.failures(404, 406)},
    )
    def get(self, request: Request) -> HttpResponseBase:
        """List datasets. Temporary and hidden ones are left out."""
        if "name" in request.query_params:
            return read(request, asked_name(request, ""))
        page, asked = Page.of(request), request.query_params
        with listed_place(request) as at:
            found, total = at.om.datasets.page(
                page.offset, page.limit, asked.get("search", ""), asked.get("sort", "name")
            )
        return Response(listed(request, page, [resource(at.shown(meta)) for meta in found], total))

    @extend_schema(exclude=True)
    def delete(self, request: Request) -> Response:
        return drop(request, asked_name(request, ""))


class OneDataset(_Bulk):
    """A dataset."""

    @extend_schema(
        operation_id="dataset_read",
        parameters=[
            *shapes.HEADERS,
            shapes.FILTERS,
            shapes.COLUMNS,
            shapes.parameter("sort", "Columns to sort by, separated by commas; `-` before one: downwards."),
            *shapes.PAGING,
            shapes.CURSOR,
            shapes.VERSION,
            shapes.parameter("orient", "How JSON shows rows.", enum=bodies.ORIENTS),
            shapes.parameter("count", "1: say how many rows match the filters, too.", enum=["0", "1"]),
        ],
        responses={
            (200, "application/json"): shapes.Rows,
            **shapes.BULK,
            **shapes.failures(404, 406, 409),
        },
    )
    def get(self, request: Request, name: str) -> HttpResponseBase:
        """Read rows: a page as JSON, or all that match as CSV, Arrow stream or Parquet (header Accept)."""
        return read(request, asked_name(request, name))

    @extend_schema(
        operation_id="dataset_store",
        parameters=[
            *shapes.HEADERS,
            shapes.parameter("append", "Add the rows instead of replacing the dataset.", enum=["0", "1"]),
            OpenApiParameter(
                "Idempotency-Key",
                str,
                OpenApiParameter.HEADER,
                description="Makes an append that is sent again with the same key, however often, once.",
            ),
        ],
        request=shapes.BODIES,
        responses={
            (200, "application/json"): shapes.Dataset,
            (201, "application/json"): shapes.Dataset,
            204: OpenApiResponse(description="Stored; the answer to a body of the earlier form."),
            **shapes.failures(409, 413, 415, 422),
        },
    )
    def put(self, request: Request, name: str) -> Response:
        """Store rows, whole or not at all: replaces the dataset unless they are appended."""
        return store(request, asked_name(request, name))

    @extend_schema(
        operation_id="dataset_delete",
        parameters=shapes.HEADERS,
        responses={204: OpenApiResponse(description="Deleted."), **shapes.failures(404)},
    )
    def delete(self, request: Request, name: str) -> Response:
        """Delete a dataset and its versions."""
        return drop(request, asked_name(request, name))


class DatasetStatistics(APIView):
    """What the columns of a dataset hold."""

    permission_classes = (EditorWrites,)

    @extend_schema(
        operation_id="dataset_statistics",
        parameters=[*shapes.HEADERS, shapes.FILTERS, shapes.COLUMNS, *shapes.PAGING, shapes.VERSION],
        responses={(200, "application/json"): shapes.Statistics, **shapes.failures(404)},
    )
    def get(self, request: Request, name: str = "") -> Response:
        """Per column: nulls, distinct values, range, mean, histogram and most frequent values.

        `limit` and `offset` count columns here.
        """
        name = asked_name(request, name)
        page = Page.of(request, 50, 200)
        with place(request, "dataset", name) as at:
            lazy = selected(table(at.om.datasets, at.name, version_of(request)), request)
            at.check()
            part, total = chosen(lazy, page.offset, page.limit)
            found = statistics(part)
        meta = page.meta(request, total, page.after(len(found["columns"]), total))
        return Response({"name": name, **found, "meta": meta, "resource_uri": statistics_of(name)})
