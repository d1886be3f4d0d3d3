"""Objects of others, as `@bob/sales`: reached with bob's login, after the grant was looked up, only here.

Whoever has no grant is told the same whether there is no such account, no such object or no such grant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from rest_framework.exceptions import Throttled
from rest_framework.request import Request

from omegaml.errors import Forbidden, InvalidInput, NotFound
from omegaml.metadata import Metadata
from omegaml.omega import Omega
from omegaml.store.names import DEFAULT_BUCKET, Asked, check_bucket, is_shared
from omegaweb import audit, tenancy
from omegaweb.accounts.models import User
from omegaweb.api.scope import bucket_of, platform
from omegaweb.api.throttling import counted, rest_of_minute
from omegaweb.sharing.giving import STORES, identity
from omegaweb.sharing.models import BUCKET, DATASET, READ, WRITE, Grant

_USERID = re.compile(r"[a-z][a-z0-9_]{2,30}")
_SHARED = re.compile(rf"@(?P<owner>{_USERID.pattern})/(?P<rest>.+)", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """Where an object is: `name` in the platform `om` of `owner`; `prefix` is `@bob/` for one of bob's.

    `only` is the identity of the object that was granted: what gets its name later is not. None where all of
    the bucket is granted, or the caller's own.
    """

    om: Omega
    owner: User
    name: str
    prefix: str = ""
    only: str | None = None
    noun: str = DATASET

    def check(self) -> None:
        """Raise NotFound where another object has the name by now than the one that was granted.

        To be called after what was found under the name: then it was the granted object that was found.
        """
        if self.only is not None and identity(getattr(self.om, STORES[self.noun]), self.name) != self.only:
            raise nothing(self.noun, self.prefix + self.name)

    def shown(self, meta: Metadata) -> Metadata:
        """The metadata with the name by which the caller knows the object."""
        return replace(meta, name=self.prefix + meta.name) if self.prefix else meta


@contextmanager
def place(request: Request, noun: str, name: str, right: str = READ) -> Iterator[Place]:
    """Where the dataset or model `name` is: the caller's own, or another's who has granted `right`.

    Raises: NotFound (whatever it is that is not there), Forbidden (it may only be read), InvalidInput (a
        version of another's object: these stay the owner's).
    """
    if not is_shared(name):
        with platform(request) as om:
            yield Place(om, request.user, name)
        return
    match = _SHARED.fullmatch(name)
    asked = _asked(match["rest"]) if match else None
    if match is None or asked is None:
        raise refusal(request, noun, name)
    bucket = check_bucket(bucket_of(request) or DEFAULT_BUCKET)
    grants = Grant.objects.opening(request.user, match["owner"], noun, bucket, asked.name)
    if not grants:
        raise refusal(request, noun, name)
    owner = grants[0].owner
    with tenancy.omega(owner, bucket) as om:
        id = identity(getattr(om, STORES[noun]), asked.name)
        opening = [grant for grant in grants if _opens(grant, id, right)]
        if not opening:
            # who may see all of a bucket guesses no names in it
            is_seen = any(grant.kind == BUCKET for grant in grants)
            raise nothing(noun, name) if is_seen else refusal(request, noun, name)
        if asked.tag or asked.back or request.query_params.get("version"):
            raise InvalidInput(
                f"{name!r}: the versions of a shared {noun} stay its owner's", hint="leave the version out"
            )
        opening = [grant for grant in opening if grant.allows(right)]
        if not opening:
            raise Forbidden(
                f"{noun} {name!r} is shared with you to be read, not to be changed",
                hint=f"ask {owner} for the right to write",
            )
        only = None if any(grant.kind == BUCKET for grant in opening) else id
        yield Place(om, owner, match["rest"], f"@{owner}/", only, noun)


@contextmanager
def listed_place(request: Request) -> Iterator[Place]:
    """Where the objects of a list are: the caller's own, or with `?of=bob` those of a bucket that bob shares.

    Raises: NotFound where that account shares no such bucket.
    """
    of = request.query_params.get("of")
    if not of:
        with platform(request) as om:
            yield Place(om, request.user, "")
        return
    bucket = check_bucket(bucket_of(request) or DEFAULT_BUCKET)
    known = Grant.objects.opening(request.user, of, BUCKET, bucket, "") if _USERID.fullmatch(of) else []
    if not known:
        raise refusal(request, "bucket", f"@{of}/{bucket}")
    with tenancy.omega(known[0].owner, bucket) as om:
        yield Place(om, known[0].owner, "", f"@{of}/")


def only_own(request: Request, noun: str, name: str, what: str) -> None:
    """Refuse what no grant allows on another's object. Raises NotFound without a grant, else Forbidden."""
    if is_shared(name):
        with place(request, noun, name) as at:
            raise Forbidden(f"only its owner {what} {noun} {name!r}", hint=f"ask {at.owner}")


def check_shared(request: Request, model: str, action: str, x: Any, y: Any, is_async: bool) -> None:
    """Refuse what cannot be done without giving one account's process what is another's.

    A model is code of its owner: it runs with the owner's login, and is given values and no names of data.
    Raises: InvalidInput; for a shared model NotFound (no grant), Forbidden.
    """
    names = [data for data in (x, y) if isinstance(data, str)]
    if not is_shared(model):
        if any(is_shared(data) for data in names):
            raise InvalidInput(
                f"{action} of model {model!r}: no task reads a shared dataset",
                hint="copy it first: GET it as Arrow, and PUT that under a name of your own",
            )
        return
    if action in ("fit", "partial_fit"):
        only_own(request, "model", model, "trains")
    if names or is_async:
        only = "asked while you wait" if is_async else f"given values, not names of datasets as {names[0]!r}"
        with place(request, "model", model):
            raise InvalidInput(f"a shared model is {only}", hint='POST {"columns": [...], "data": [...]}')


def refusal(request: Request, noun: str, name: str) -> Exception:
    """The answer to who has no grant, written down; after too many in a minute that there were too many."""
    if not counted("refused", request.user.pk):
        return Throttled(wait=rest_of_minute())
    audit.record("shared.refused", request, object=f"{noun} {name}")
    return nothing(noun, name)


def nothing(noun: str, name: str) -> NotFound:
    """What is said of an object that is not there for the caller."""
    return NotFound(f"no {noun} {name!r} is shared with you", hint="see /api/v1/grant/")


def _opens(grant: Grant, id: str | None, right: str) -> bool:
    """Whether a grant is on the object that has the name now; one on a bucket may also be for a new one."""
    if grant.kind == BUCKET:
        return id is not None or (right == WRITE and grant.allows(WRITE))
    return id is not None and grant.object_id == id


def _asked(text: str) -> Asked | None:
    try:
        return Asked.parse(text)
    except InvalidInput:
        return None
