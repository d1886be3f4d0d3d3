"""Grants: one account lets another read, or also write, one of its objects."""

from __future__ import annotations

import hashlib
from typing import Any

from django.db import models
from django.utils import timezone

from omegaml.config import check_userid
from omegaml.errors import InvalidInput
from omegaml.store.names import is_hidden
from omegaweb import roles
from omegaweb.accounts.models import User

READ, WRITE = RIGHTS = ("read", "write")  # who may write may read
DATASET, MODEL, BUCKET = KINDS = ("dataset", "model", "bucket")


class Grants(models.Manager):
    """Finds grants, and changes them."""

    def opening(self, grantee: User, owner: str, kind: str, bucket: str, name: str) -> list[Grant]:
        """Return the grants by which `grantee` may use the object of the account `owner`: none, one or two.

        One query, whether or not there is such an account. A bucket's grant opens nothing hidden in it.
        """
        keys = [key(kind, bucket, name), *([] if is_hidden(name) else [key(BUCKET, bucket)])]
        enabled = {"owner__username": owner, "owner__is_active": True, "owner__role__in": roles.ROLES}
        found = self.select_related("owner__service_login").filter(grantee=grantee, key__in=keys, **enabled)
        return sorted(found, key=lambda grant: grant.right, reverse=True)  # write before read

    def of(self, owner: User, kind: str, bucket: str, name: str = "") -> models.QuerySet[Grant]:
        """The grants that an account has given on one of its objects."""
        return self.select_related("grantee").filter(owner=owner, key=key(kind, bucket, name))

    def give(
        self, owner: User, grantee: User, kind: str, bucket: str, name: str, right: str, object_id: str
    ) -> tuple[Grant, bool]:
        """Let `grantee` use the object; a right given before is replaced. Returns: whether it is new."""
        about = {"kind": kind, "bucket": bucket, "name": name, "right": right, "object_id": object_id}
        return self.update_or_create(
            owner=owner, grantee=grantee, key=key(kind, bucket, name), defaults=about
        )


class Grant(models.Model):
    """One account may use one object, or all of a bucket, of another.

    `object_id` is the identity of the object in the owner's database, which it keeps when it is replaced, and
    which an object of the same name that is put after it was dropped, however that was done, does not have:
    so a grant never opens another object than the one it was given on.
    """

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="grants_given")
    grantee = models.ForeignKey(User, on_delete=models.CASCADE, related_name="grants_held")
    kind = models.CharField(max_length=10, choices=[(kind, kind) for kind in KINDS])
    bucket = models.CharField(max_length=60)
    name = models.CharField(max_length=500, blank=True, help_text="Of the object; empty for a bucket.")
    object_id = models.CharField(max_length=64, blank=True, editable=False)
    right = models.CharField(max_length=10, choices=[(right, right) for right in RIGHTS])
    created = models.DateTimeField(default=timezone.now, editable=False)
    # compared instead of the names, whose letters MySQL takes for the same whatever their case
    key = models.CharField(max_length=64, editable=False)

    objects = Grants()

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(fields=("owner", "grantee", "key"), name="one_grant_per_object"),
        )

    def __str__(self) -> str:
        return f"{self.right} of {self.kind} {self.name or self.bucket} to {self.grantee}"

    @property
    def shared_name(self) -> str:
        """How the grantee names it."""
        return f"@{self.owner}/{self.name}"

    def allows(self, right: str) -> bool:
        return RIGHTS.index(self.right) >= RIGHTS.index(right)


def key(kind: str, bucket: str, name: str = "") -> str:
    """What stands for an object in comparisons: exact, and short enough for an index."""
    return hashlib.sha256("\0".join((kind, bucket, name)).encode("utf-8", "surrogatepass")).hexdigest()


def account(userid: Any, owner: User) -> User | None:
    """Return the account that something can be shared with, None where there is no such one."""
    try:
        check_userid(str(userid))
    except InvalidInput:
        return None
    found = User.objects.filter(username=userid, is_active=True, role__in=roles.ROLES)
    return found.exclude(pk=owner.pk).first()
