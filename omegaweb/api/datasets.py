"""`dataset/`: list, read, store and delete datasets, and what their columns hold."""

from __future__ import annotations

import re
from contextlib import ExitStack, suppress
from typing import Any

import pandas as pd
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaml.batches import batches
from omegaml.errors import Busy, InvalidInput, NotFound
from omegaml.jsonvalues import plain
from omegaml.metadata import Metadata
from omegaml.store import Store
from omegaml.store.base import Once
from omegaml.store.names import Asked, check_name
from omegaweb import audit
from omegaweb.api import bodies, downloads, shapes, uploads
from omegaweb.api.listing import LAST, Page, listed
from omegaweb.api.permissions import EditorWrites
from omegaweb.api.scope import address, asked_name, platform
from omegaweb.api.selecting import Lazy, is_filtered, is_sorted, selected
from omegaweb.api.statistics import chosen, statistics

MOST_ROWS = 10_000  # of a page
MOST_CELLS = 500_000
PAGE_BYTES = 64 << 20
MOST_SORTED = 1_000_000  # rows that a sort holds the keys of
OBJECT_BYTES = 4 << 20
TRIES = 10
_TABLES = (
    "pandas.dfcolumnar",
    "pandas.secolumnar",
    "arrow.table",
    "polars.frame",
    "pandas.dfrows",
    "pandas.serows",
)
_PLAIN = ("python.data", "ndarray.bin")  # and nothing else is read here: some kinds of objects run code
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


class _Bulk(APIView):
    """A route that streams some formats; whatever it answers otherwise is JSON."""

    permission_classes = (EditorWrites,)
    renderer_classes = downloads.RENDERERS
    parser_classes = uploads.PARSERS

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if isinstance(response, Response):
            response.content_type = "application/json"
        return response


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
        ],
        responses={(200, "application/json"): shapes.DatasetList, **shapes.failures()},
    )
    def get(self, request: Request) -> HttpResponseBase:
        """List datasets. Temporary and hidden ones are left out."""
        if "name" in request.query_params:
            return read(request, asked_name(request, ""))
        page, asked = Page.of(request), request.query_params
        with platform(request) as om:
            found, total = om.datasets.page(
                page.offset, page.limit, asked.get("search", ""), asked.get("sort", "name")
            )
        return Response(listed(request, page, [resource(meta) for meta in found], total))

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
            shapes.VERSION,
            shapes.parameter("orient", "How JSON shows rows.", enum=bodies.ORIENTS),
            shapes.parameter("count", "1: say how many rows match the filters, too.", enum=["0", "1"]),
        ],
        responses={
            (200, "application/json"): shapes.Rows,
            **shapes.BULK,
            **shapes.failures(404, 406),
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
        with platform(request) as om:
            lazy = selected(table(om.datasets, name, _version(request)), request.query_params)
            part, total = chosen(lazy, page.offset, page.limit)
            found = statistics(part)
        has_more = page.offset + len(found["columns"]) < total
        meta = page.meta(request, has_more, total)
        return Response({"name": name, **found, "meta": meta, "resource_uri": _statistics_of(name)})


def resource(meta: Metadata) -> dict[str, Any]:
    """A dataset without its rows."""
    return {
        "data": {"name": meta.name, "kind": meta.kind},
        "name": meta.name,
        "kind": meta.kind,
        "rows": meta.rows,
        "columns": meta.kind_meta.get("width"),
        "bytes": meta.bytes,
        "version": meta.version,
        "modified": meta.modified,
        "resource_uri": address("dataset", meta.name),
    }


def _statistics_of(name: str) -> str:
    by_path = address("dataset", name)
    return address("dataset/statistics", name) if "?" in by_path else f"{by_path}statistics/"


def table(datasets: Store, name: str, version: str | None = None) -> Lazy:
    """The rows of a dataset. Raises NotFound, InvalidInput where it has none."""
    meta = datasets.metadata(name, version)
    if meta.kind not in _TABLES:
        raise InvalidInput(f"dataset {name!r} ({meta.kind}) has no rows and columns")
    return datasets.getl(name, version=version)


def _version(request: Request) -> str | None:
    return request.query_params.get("version") or None


# --- reading


def read(request: Request, name: str) -> HttpResponseBase:
    """Rows as they are asked for, or a whole object that has none."""
    with ExitStack() as until:
        om = until.enter_context(platform(request))
        version = _version(request)
        meta = om.datasets.metadata(name, version)
        if meta.kind == "python.file":
            return _file(om.datasets, name, version, until.pop_all())
        if meta.kind not in _TABLES:
            return Response(_object(om.datasets, name, version, meta))
        lazy = selected(om.datasets.getl(name, version=version), request.query_params)
        renderer = request.accepted_renderer
        if not isinstance(renderer, downloads.Csv | downloads.Arrow | downloads.Parquet):
            return Response(_page(request, meta, lazy))
        lazy = _cut(request, lazy)
        if request.method == "HEAD":
            return HttpResponse(content_type=renderer.media_type)
        pieces = renderer.write(batches(lazy))
        filename = f"{Asked.parse(name).name}.{renderer.format}"
        return downloads.stream(pieces, renderer.media_type, filename, until.pop_all())


def _page(request: Request, meta: Metadata, lazy: Lazy) -> dict[str, Any]:
    asked = request.query_params
    orient = bodies.orient_of(asked.get("orient", "records"))
    width = max(1, len(lazy.columns))
    most = max(1, min(MOST_ROWS, MOST_CELLS // width))
    hint = "ask for fewer, or for all as CSV, Arrow or Parquet by the header Accept"
    page = Page.of(request, min(50, most), most, hint)
    _check_sort(request, page.offset + page.limit)
    total = lazy.count() if not is_filtered(asked) or bodies.flag("count", asked.get("count", "0")) else None
    frame, has_more = _rows(lazy, page)
    return {
        "name": meta.name,
        "kind": meta.kind,
        **bodies.encoded(frame, orient),
        "meta": page.meta(request, has_more, total),
        "resource_uri": address("dataset", meta.name),
    }


def _rows(lazy: Lazy, page: Page) -> tuple[pd.DataFrame, bool]:
    """The rows of a page, and whether there are more."""
    found, size = [], 0
    for chunk in lazy[page.offset : page.offset + page.limit + 1].chunks():
        frame = _frame(chunk)
        size += int(frame.memory_usage(deep=True).sum())
        if size > PAGE_BYTES:
            raise InvalidInput(
                f"limit={page.limit}: so many of these rows are too large for a page",
                hint="ask for fewer, or for all as CSV, Arrow or Parquet by the header Accept",
            )
        found.append(frame)
    frame = pd.concat(found) if found else _frame(lazy._empty())
    has_more = len(frame) > page.limit
    frame = frame.head(page.limit)
    index = getattr(getattr(lazy, "schema", None), "index", None)
    if index is not None and index.range is not None:
        frame.index = bodies.row_numbers(frame.index)  # some rows of a range are one, too
    elif index is not None and not index.names:
        # Arrow tables have no index, and each part of one begins at 0
        frame.index = pd.RangeIndex(page.offset, page.offset + len(frame))
    return frame, has_more


def _frame(chunk: Any) -> pd.DataFrame:
    if not isinstance(chunk, pd.Series):
        return chunk
    return chunk.to_frame(name="value" if chunk.name is None else chunk.name)


def _cut(request: Request, lazy: Lazy) -> Lazy:
    """The rows between `offset` and `limit`, where these are given."""
    page = Page.of(request, LAST, LAST)
    stop = None if "limit" not in request.query_params else page.offset + page.limit
    if is_sorted(request.query_params):
        _check_sort(request, min(stop or LAST, lazy.count()))
    return lazy if stop is None and not page.offset else lazy[page.offset : stop]


def _check_sort(request: Request, rows: int) -> None:
    if is_sorted(request.query_params) and rows > MOST_SORTED:
        raise InvalidInput(
            f"sort: {rows:,} rows are more than are sorted here ({MOST_SORTED:,})",
            hint="filter, set a limit, or leave sort out",
        )


def _file(datasets: Store, name: str, version: str | None, until: ExitStack) -> HttpResponseBase:
    """The bytes of a stored file."""
    with until:
        file = until.enter_context(datasets.open(name, version=version))
        pieces = iter(lambda: file.read(1 << 20), b"")
        media_type = "application/octet-stream"
        return downloads.stream(pieces, media_type, Asked.parse(name).name, until.pop_all())


def _object(datasets: Store, name: str, version: str | None, meta: Metadata) -> dict[str, Any]:
    if meta.kind not in _PLAIN:
        raise InvalidInput(f"dataset {name!r} ({meta.kind}) cannot be read by REST")
    if meta.bytes is None or meta.bytes > OBJECT_BYTES:
        raise InvalidInput(
            f"dataset {name!r} ({meta.kind}) is too large to be read as JSON", hint="read it in Python"
        )
    return {**resource(meta), "data": plain(datasets.get(name, version=version))}


# --- changing


def store(request: Request, name: str) -> Response:
    """Store the body."""
    check_name(name)
    once_key = request.headers.get("Idempotency-Key")
    if once_key is not None and not _KEY.fullmatch(once_key):
        raise InvalidInput(
            "the header Idempotency-Key is no key", hint="1 to 200 characters, without blanks, as a UUID"
        )
    with uploads.received(request) as upload, platform(request) as om:
        is_earlier = bodies.is_earlier(upload.json)
        said = request.query_params.get("append", upload.json.get("append"))
        append = is_earlier if said is None else bodies.flag("append", said)
        existed = om.datasets.exists(name)
        once = Once(once_key, upload.digest) if once_key is not None and append else None
        meta = _stored(om.datasets, upload, name, append, once)
    if is_earlier:
        return Response(status=204)
    headers = {} if existed else {"Location": address("dataset", name)}
    return Response(resource(meta), status=200 if existed else 201, headers=headers)


def _stored(datasets: Store, upload: uploads.Upload, name: str, append: bool, once: Once | None) -> Metadata:
    for attempt in range(TRIES):
        like = _like(datasets, name) if append else None
        try:
            meta = datasets.put_parts(upload.parts(like), name, append=append, once=once)
            break
        except Busy:
            if attempt == TRIES - 1:
                raise
    with suppress(NotFound):  # dropped by somebody else meanwhile
        meta.kind_meta["width"] = len(datasets.getl(name).columns)
    return meta


def _like(datasets: Store, name: str) -> Any:
    """The dataset without its rows, where there is one that rows can be added to."""
    if not datasets.exists(name) or datasets.metadata(name).kind not in _TABLES:
        return None
    lazy = datasets.getl(name)
    return lazy.head(0).get() if datasets.metadata(name).kind == "arrow.table" else lazy._empty()


def drop(request: Request, name: str) -> Response:
    with platform(request) as om:
        om.datasets.drop(name)
    audit.record("dataset.deleted", request, object=f"dataset {name}")
    return Response(status=204)
