"""Which database, bucket and object a request means: its headers, its path, or `?name=`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from urllib.parse import quote, urlencode

from django.db.models import Model
from rest_framework.request import Request

from omegaml.errors import InvalidInput, NotFound
from omegaml.omega import Omega
from omegaml.store.names import VERBS, VERSIONS
from omegaweb import tenancy


def platform(request: Request) -> AbstractContextManager[Omega]:
    """The caller's own platform in the bucket of the header `Bucket`. Raises as `bucket_of`."""
    user: Model = request.user
    return tenancy.omega(user, bucket_of(request))


def bucket_of(request: Request) -> str | None:
    """The bucket of the header `Bucket`, None for the default one.

    Raises: InvalidInput for a header `Qualifier` that names another database than the account's own.
    """
    qualifier = request.headers.get("Qualifier", "default") or "default"
    if qualifier != "default":
        raise InvalidInput(
            f"there is no database {qualifier!r} beside your own",
            hint="leave the header Qualifier out, or send `default`",
        )
    return request.headers.get("Bucket") or None


def asked_name(request: Request, name: str) -> str:
    """The object's name, from the path or from `?name=`. Raises NotFound for what is no object of its own."""
    found = name or request.query_params.get("name", "")
    if found.startswith(VERSIONS):
        raise NotFound(f"{found!r} is a version of another object", hint="ask for name@version")
    return found


def address(noun: str, name: str) -> str:
    """The path of an object; by `?name=` where its last part is one of our verbs, or . or .. is in it."""
    parts = name.split("/")
    if parts[-1] in VERBS or {".", "..", ""} & set(parts):
        return f"/api/v1/{noun}/?{urlencode({'name': name})}"
    return f"/api/v1/{noun}/{quote(name)}/"
