"""Storing and deleting datasets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from omegaml.errors import Busy, InvalidInput, OmegaError
from omegaml.metadata import Metadata
from omegaml.store import Store
from omegaml.store.base import Once
from omegaml.store.names import check_name, is_shared
from omegaweb import audit
from omegaweb.api import bodies, uploads
from omegaweb.api.authentication import check_still
from omegaweb.api.reading import TABLES, resource
from omegaweb.api.scope import address, platform
from omegaweb.api.sharing import Place, only_own, place
from omegaweb.roles import EDITOR
from omegaweb.sharing import giving
from omegaweb.sharing.models import DATASET, WRITE

TRIES = 10
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


def store(request: Request, name: str) -> Response:
    """Store the body, as a dataset of the caller's own or, with a grant to write, as one of another."""
    if not is_shared(name):
        check_name(name)
    once_key = request.headers.get("Idempotency-Key")
    if once_key is not None and not _KEY.fullmatch(once_key):
        raise InvalidInput(
            "the header Idempotency-Key is no key", hint="1 to 200 characters, without blanks, as a UUID"
        )
    with place(request, "dataset", name, WRITE):
        pass  # who may not write sends no body
    with uploads.received(request) as upload, _again(request, name) as at:
        om, asked, name = at.om, name, check_name(at.name)
        is_earlier = bodies.is_earlier(upload.json)
        said = request.query_params.get("append", upload.json.get("append"))
        append = is_earlier if said is None else bodies.flag("append", said)
        existed = om.datasets.exists(name)
        if once_key is not None and at.prefix:  # the owner's keys, and those of others, are other ones
            once_key = f"{request.user.username} {once_key}"
        once = Once(once_key, upload.digest) if once_key is not None and append else None
        meta = _stored(om.datasets, upload, name, append, once, at.only)
    if at.prefix:
        audit.record("shared.written", request, object=f"dataset {asked}", append=append)
    if is_earlier:
        return Response(status=204)
    headers = {} if existed else {"Location": address("dataset", asked)}
    return Response(resource(at.shown(meta)), status=200 if existed else 201, headers=headers)


@contextmanager
def _again(request: Request, name: str) -> Iterator[Place]:
    """As `place`, once the body has come: meanwhile grants were taken back, keys ended, objects dropped."""
    check_still(request, EDITOR)
    with place(request, "dataset", name, WRITE) as at:
        yield at


def _stored(
    datasets: Store, upload: uploads.Upload, name: str, append: bool, once: Once | None, only: str | None
) -> Metadata:
    for attempt in range(TRIES):
        like = _like(datasets, name) if append else None
        try:
            meta = datasets.put_parts(upload.parts(like), name, append=append, once=once, only=only)
            break
        except Busy:
            if attempt == TRIES - 1:
                raise
    with suppress(OmegaError):  # dropped or replaced by somebody else meanwhile
        meta.kind_meta["width"] = len(datasets.getl(name).columns)
    return meta


def _like(datasets: Store, name: str) -> Any:
    """The dataset without its rows, where there is one that rows can be added to."""
    if not datasets.exists(name) or datasets.metadata(name).kind not in TABLES:
        return None
    lazy = datasets.getl(name)
    return lazy.head(0).get() if datasets.metadata(name).kind == "arrow.table" else lazy._empty()


def drop(request: Request, name: str) -> Response:
    only_own(request, "dataset", name, "deletes")
    with platform(request) as om:
        om.datasets.drop(name)
        giving.dropped(request, DATASET, om.bucket, name)
    audit.record("dataset.deleted", request, object=f"dataset {name}")
    return Response(status=204)
