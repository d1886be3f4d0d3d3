"""What an owner does with grants: give, take back, look at."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from omegaml.errors import InvalidInput, NotFound
from omegaml.metadata import COLLECTION
from omegaml.mongo import translated
from omegaml.store import Store
from omegaml.store.names import VERSIONS, Asked, check_bucket, is_hidden
from omegaweb import audit, tenancy
from omegaweb.accounts.models import User
from omegaweb.api.throttling import TooOften, counted, rest_of_minute
from omegaweb.sharing.models import BUCKET, MODEL, READ, RIGHTS, Grant, account, key

STORES = {"dataset": "datasets", "model": "models"}


def give(request: Any, kind: str, bucket: str, name: str, userid: Any, right: str) -> tuple[Grant, bool]:
    """Grant `right` on an object of the caller's own. Returns: the grant, and whether there was none before.

    Raises: NotFound (there is no such object), InvalidInput (it is hidden; there is nobody of that userid, or
        it is the caller), TooOften (too many wrong userids in a minute).
    """
    if right not in RIGHTS or (kind == MODEL and right != READ):
        raise InvalidInput(f"a {kind} is not shared to {right[:20]!r}", hint="read, or write for data")
    id = own(request.user, kind, bucket, name)
    grantee = account(userid, request.user)
    if grantee is None:
        if not counted("refused", request.user.pk):  # nobody tries all names
            wait = max(1, round(rest_of_minute()))
            raise TooOften("too many names were tried", f"wait {wait} seconds", after=wait)
        audit.record("grant.refused", request, object=label(kind, bucket, name), to=ascii(userid)[:40])
        if userid == request.user.username:
            raise InvalidInput("what is yours cannot be shared with yourself", hint="name another account")
        raise InvalidInput(
            f"nothing can be shared with {str(userid)[:40]!r}", hint="check the userid: a-z, 0-9 and _"
        )
    with transaction.atomic():
        grant, is_new = Grant.objects.give(request.user, grantee, kind, bucket, name, right, id)
    audit.record("grant.made", request, object=label(kind, bucket, name), to=grantee.username, right=right)
    return grant, is_new


def revoke(request: Any, kind: str, bucket: str, name: str, userid: str) -> None:
    """Take a grant back, also one on an object that is gone. Raises NotFound where there is none."""
    found = Grant.objects.of(request.user, kind, bucket, name).filter(grantee__username=userid)
    if not found.delete()[0]:
        raise NotFound(f"{label(kind, bucket, name)} is not shared with {userid[:40]!r}")
    audit.record("grant.revoked", request, object=label(kind, bucket, name), to=userid)


def give_up(request: Any, id: int) -> Grant:
    """Remove a grant that the caller holds, and return what it was. Raises NotFound where there is none."""
    grant = Grant.objects.select_related("owner").filter(grantee=request.user, pk=id).first()
    if grant is None or not grant.delete()[0]:
        raise NotFound(f"you hold no grant {id}", hint="see /api/v1/grant/")
    about = {"object": label(grant.kind, grant.bucket, grant.name), "owner": grant.owner.username}
    audit.record("grant.revoked", request, **about, because="given up")
    return grant


def dropped(request: Any, kind: str, bucket: str, name: str) -> None:
    """Forget the grants on an object that its owner has deleted: they open nothing any more."""
    if Grant.objects.filter(owner=request.user, key=key(kind, bucket, name)).delete()[0]:
        audit.record("grant.revoked", request, object=label(kind, bucket, name), because="deleted")


def current(user: User, kind: str, bucket: str, name: str) -> list[Grant]:
    """Return the grants on an object of the account's own. Raises NotFound, InvalidInput as `give`."""
    id = own(user, kind, bucket, name)
    return [grant for grant in Grant.objects.of(user, kind, bucket, name) if grant.object_id == id]


def held(user: User) -> Any:
    """The grants that others have given to an account."""
    enabled = Grant.objects.filter(grantee=user, owner__is_active=True)
    return enabled.select_related("owner", "grantee").order_by("owner__username", "kind", "name", "pk")


def given(user: User) -> Any:
    """The grants that an account has given to others."""
    found = Grant.objects.filter(owner=user).select_related("owner", "grantee")
    return found.order_by("kind", "name", "grantee__username", "pk")


def own(user: User, kind: str, bucket: str, name: str) -> str:
    """Return the identity of an object of the account's own that can be shared; a bucket has none.

    Raises: NotFound, InvalidInput (a hidden object, a version, a choice of columns).
    """
    with tenancy.omega(user, check_bucket(bucket)) as om:
        if kind == BUCKET:
            with translated():
                if om.db[COLLECTION].find_one({"bucket": bucket}, {"_id": 1}) is None:
                    raise NotFound(
                        f"there is nothing in bucket {bucket!r}", hint="put something into it first"
                    )
            return ""
        asked = Asked.parse(name)
        if asked != Asked(name):
            raise InvalidInput(f"a {kind} is shared as a whole, not as {name!r}", hint=f"share {asked.name}")
        if is_hidden(name) or name.startswith(VERSIONS):
            raise InvalidInput(f"{name!r} is hidden and cannot be shared", hint="rename it first")
        return str(getattr(om, STORES[kind]).metadata(name).id)


def identity(store: Store, name: str) -> str | None:
    """What an object keeps when it is replaced, and one put again after it was dropped does not have."""
    try:
        return str(store.metadata(name).id)
    except NotFound:
        return None


def label(kind: str, bucket: str, name: str) -> str:
    """An object in words."""
    return f"bucket {bucket}" if kind == BUCKET else f"{kind} {name}"
