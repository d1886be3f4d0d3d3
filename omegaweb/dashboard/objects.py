"""Stored objects as the pages see them: whose and which one an address means, and lists of them."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from omegaml.errors import NotFound
from omegaml.jobs import RESULTS
from omegaml.metadata import COLLECTION, Metadata
from omegaml.mongo import translated
from omegaml.omega import Omega
from omegaml.store import Store
from omegaml.store.names import DEFAULT_BUCKET, is_shared
from omegaweb import tenancy

STORES = {"dataset": "datasets", "model": "models", "job": "jobs"}
SORTS = ("name", "kind", "rows", "bytes", "modified")
PAGE = 50


@dataclass(frozen=True)
class Line:
    """One object in a list."""

    name: str
    href: str
    kind: str
    rows: int | None
    bytes: int | None
    modified: datetime | None
    about: str


@dataclass(frozen=True)
class Listing:
    """One page of the objects of a store, as asked for by `?q=`, `?sort=` and `?page=`."""

    lines: Sequence[Line]
    number: int
    total: int
    q: str
    sort: str
    bucket: str
    buckets: Sequence[str]

    @property
    def head(self) -> builtins.list[tuple[str, str, str]]:
        """Per column that can be sorted by: its name, `aria-sort`, and where a click on it leads."""
        found = []
        for column in SORTS:
            way = {column: "ascending", f"-{column}": "descending"}.get(self.sort, "none")
            found.append((column, way, self.query(sort=f"-{column}" if way == "ascending" else column)))
        return found

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PAGE))

    @property
    def before(self) -> str:
        """Where the page before is; nowhere from the first."""
        return self.query(page=self.number - 1) if self.number > 1 else ""

    @property
    def after(self) -> str:
        return self.query(page=self.number + 1) if self.number < self.pages else ""

    def query(self, **changes: Any) -> str:
        bucket = "" if self.bucket == DEFAULT_BUCKET else self.bucket
        asked = {"q": self.q, "sort": self.sort, "bucket": bucket, **changes}
        return "?" + urlencode({key: value for key, value in asked.items() if value})


@contextmanager
def platform(request: HttpRequest) -> Iterator[Omega]:
    """The visitor's own platform, in the bucket that `?bucket=` names."""
    with tenancy.omega(request.user, request.GET.get("bucket") or None) as om:
        yield om


@contextmanager
def store(request: HttpRequest, noun: str) -> Iterator[Store]:
    """The visitor's own datasets, models or jobs."""
    with platform(request) as om:
        yield getattr(om, STORES[noun])


def asked_name(request: HttpRequest, name: str) -> str:
    """The object that the address means, by its path or by `?name=`. Raises NotFound for another's."""
    found = name or request.GET.get("name", "")
    if is_shared(found):
        raise NotFound(
            f"there is no page of {found!r}", hint="what others share is read by REST and in Python"
        )
    return found


def address(view: str, name: str, bucket: str = DEFAULT_BUCKET) -> str:
    """Where the page `view` about an object is."""
    # browsers resolve . and .. away, however they are written
    by_query = not name or {".", ".."} & set(name.split("/"))
    query = {"name": name} if by_query else {}
    if bucket != DEFAULT_BUCKET:
        query["bucket"] = bucket
    path = reverse(view) if by_query else reverse(view, args=[name])
    return f"{path}?{urlencode(query)}" if query else path


def listing(request: HttpRequest, noun: str) -> Listing:
    """The part of a store that a list page shows; three queries however many objects there are."""
    q, sort = request.GET.get("q", "").strip(), request.GET.get("sort", "name")
    if sort.removeprefix("-") not in SORTS:
        sort = "name"
    asked = request.GET.get("page", "")
    number = int(asked) if asked.isdecimal() and 0 < int(asked) < 10**6 else 1
    with store(request, noun) as found:
        outside = RESULTS if noun == "job" else ""
        objects, total = found.page(PAGE * (number - 1), PAGE, q, sort, outside)
        buckets = _buckets(found)
    lines = [_line(noun, m) for m in objects]
    return Listing(lines, number, total, q, sort, found.bucket, buckets)


def _line(noun: str, m: Metadata) -> Line:
    about = str((m.kind_meta.get("model") or {}).get("class") or m.kind)
    return Line(m.name, address(noun, m.name, m.bucket), m.kind, m.rows, m.bytes, m.modified, about)


def _buckets(store: Store) -> Sequence[str]:
    with translated():
        found = store.db[COLLECTION].distinct("bucket", {"prefix": store.prefix})
    return sorted({*map(str, found), store.bucket})


def has_any(store: Store) -> bool:
    """Whether the account has any such object that lists show, in whatever bucket."""
    shown = {"prefix": store.prefix, "name": {"$not": re.compile(r"^[._]")}}
    with translated():
        return store.db[COLLECTION].find_one(shown, {"_id": 1}) is not None


def freed(store: Store, name: str) -> tuple[int, int]:
    """What deleting an object frees: how many versions, and bytes. Data that versions share counts once."""
    versions = list(store.versions(name)) or [store.metadata(name)]
    stored = {repr(m.kind_meta.get("id") or m.gridfile or m.collection or m.version): m for m in versions}
    return len(versions), sum(m.bytes or 0 for m in stored.values())
