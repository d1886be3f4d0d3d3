"""Reading datasets: a page as JSON, all of it as a stream, and what is known of it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from omegaml.errors import InvalidInput
from omegaml.jsonvalues import plain
from omegaml.metadata import Metadata
from omegaml.rowframe import LazyRows
from omegaml.store import Store
from omegaml.store.names import Asked
from omegaweb.api import bodies, downloads
from omegaweb.api.cursors import Cursor
from omegaweb.api.listing import LAST, Page
from omegaweb.api.scope import address
from omegaweb.api.selecting import Lazy, is_filtered, is_sorted, selected
from omegaweb.api.sharing import Place, place

MOST_ROWS = 10_000  # of a page
MOST_CELLS = 500_000
PAGE_BYTES = 64 << 20
OBJECT_BYTES = 4 << 20
TABLES = (
    "pandas.dfcolumnar",
    "pandas.secolumnar",
    "arrow.table",
    "polars.frame",
    "pandas.dfrows",
    "pandas.serows",
)
_PLAIN = ("python.data", "ndarray.bin")  # and nothing else is read here: some kinds of objects run code


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


def statistics_of(name: str) -> str:
    by_path = address("dataset", name)
    return address("dataset/statistics", name) if "?" in by_path else f"{by_path}statistics/"


def table(datasets: Store, name: str, version: str | None = None) -> Lazy:
    """The rows of a dataset. Raises NotFound, InvalidInput where it has none."""
    meta = datasets.metadata(name, version)
    if meta.kind not in TABLES:
        raise InvalidInput(f"dataset {name!r} ({meta.kind}) has no rows and columns")
    return datasets.getl(name, version=version)


def version_of(request: Request) -> str | None:
    return request.query_params.get("version") or None


def read(request: Request, name: str) -> HttpResponseBase:
    """Rows as they are asked for, or a whole object that has none."""
    with ExitStack() as until:
        at = until.enter_context(place(request, "dataset", name))
        om, name = at.om, at.name
        version = version_of(request)
        meta = om.datasets.metadata(name, version)
        if meta.kind == "python.file":
            return _file(at, version, until.pop_all())
        if meta.kind not in TABLES:
            found = _object(om.datasets, name, version, at.shown(meta))
            at.check()
            return Response(found)
        lazy = selected(om.datasets.getl(name, version=version), request)
        at.check()
        cursor = Cursor.of(request.query_params)
        if cursor is not None:
            cursor.check(lazy, meta.name)
            lazy = lazy.upto(cursor.size)
        renderer = request.accepted_renderer
        if not isinstance(renderer, downloads.WHOLE):
            return Response(_page(request, at.shown(meta), lazy, cursor))
        if isinstance(renderer, downloads.Exact) and is_sorted(request.query_params):
            raise InvalidInput("sort does not go with this format", hint="sort what you have read")
        lazy = _cut(request, lazy if cursor is None else cursor.rest(lazy))
        if request.method == "HEAD":
            return HttpResponse(content_type=renderer.media_type)
        pieces = renderer.pieces(lazy)
        filename = f"{Asked.parse(name).name}.{renderer.format}"
        return downloads.stream(pieces, renderer.media_type, filename, until.pop_all())


def _page(request: Request, meta: Metadata, lazy: Lazy, cursor: Cursor | None) -> dict[str, Any]:
    asked = request.query_params
    orient = bodies.orient_of(asked.get("orient", "records"))
    width = max(1, len(lazy.columns))
    most = max(1, min(MOST_ROWS, MOST_CELLS // width))
    hint = "ask for fewer, or for all as CSV, Arrow or Parquet by the header Accept"
    page = Page.of(request, min(50, most), most, hint)
    total = lazy.count() if not is_filtered(asked) or bodies.flag("count", asked.get("count", "0")) else None
    if cursor is None:
        rows = lazy[page.offset : page.offset + page.limit + 1]
    else:
        page = Page(page.limit, cursor.place)
        rows = cursor.rest(lazy).head(page.limit + 1)
    frame, numbers = _rows(rows, page)
    following = None
    if len(numbers) > page.limit > 0:
        # the server sorts row documents: there the place alone says where the next page begins
        row = None if is_sorted(asked) and isinstance(lazy, LazyRows) else int(numbers[page.limit - 1])
        following = Cursor.behind(lazy, asked, row, page.offset + page.limit).text
    return {
        "name": meta.name,
        "kind": meta.kind,
        **bodies.encoded(frame, orient),
        "meta": page.meta(request, total, following),
        "resource_uri": address("dataset", meta.name),
    }


def _rows(lazy: Lazy, page: Page) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of a page, and the numbers of all rows that `lazy` has: one more where more follow."""
    found, numbers, size = [], [np.empty(0, np.int64)], 0
    for stored, chunk in lazy.numbered():
        numbers.append(stored)
        frame = _frame(chunk)
        size += int(frame.memory_usage(deep=True).sum())
        if size > PAGE_BYTES:
            raise InvalidInput(
                f"limit={page.limit}: so many of these rows are too large for a page",
                hint="ask for fewer, or for all as CSV, Arrow or Parquet by the header Accept",
            )
        found.append(frame)
    frame = pd.concat(found) if found else _frame(lazy._empty())
    frame = frame.head(page.limit)
    index = getattr(getattr(lazy, "schema", None), "index", None)
    if index is not None and index.range is not None:
        frame.index = bodies.row_numbers(frame.index)  # some rows of a range are one, too
    elif index is not None and not index.names:
        # Arrow tables have no index, and each part of one begins at 0
        frame.index = pd.RangeIndex(page.offset, page.offset + len(frame))
    return frame, np.concatenate(numbers)


def _frame(chunk: Any) -> pd.DataFrame:
    if not isinstance(chunk, pd.Series):
        return chunk
    return chunk.to_frame(name="value" if chunk.name is None else chunk.name)


def _cut(request: Request, lazy: Lazy) -> Lazy:
    """The rows between `offset` and `limit`, where these are given."""
    page = Page.of(request, LAST, LAST)
    stop = None if "limit" not in request.query_params else page.offset + page.limit
    return lazy if stop is None and not page.offset else lazy[page.offset : stop]


def _file(at: Place, version: str | None, until: ExitStack) -> HttpResponseBase:
    """The bytes of a stored file."""
    with until:
        file = until.enter_context(at.om.datasets.open(at.name, version=version))
        at.check()
        pieces = iter(lambda: file.read(1 << 20), b"")
        media_type = "application/octet-stream"
        return downloads.stream(pieces, media_type, Asked.parse(at.name).name, until.pop_all())


def _object(datasets: Store, name: str, version: str | None, meta: Metadata) -> dict[str, Any]:
    if meta.kind not in _PLAIN:
        raise InvalidInput(f"dataset {name!r} ({meta.kind}) cannot be read by REST")
    if datasets.size(name, version=version) > OBJECT_BYTES:
        raise InvalidInput(
            f"dataset {name!r} ({meta.kind}) is too large to be read as JSON", hint="read it in Python"
        )
    return {**resource(meta), "data": plain(datasets.get(name, version=version))}
