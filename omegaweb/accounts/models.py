"""Accounts: who somebody is (userid), what they may do (role), and the keys by which programs say so."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from omegaml.config import check_userid
from omegaml.errors import InvalidInput
from omegaweb import roles
from omegaweb.accounts.prepared import ByField
from omegaweb.provision.rabbitmq import administrator


def validate_userid(value: str) -> None:
    """Raises ValidationError unless `value` can name a user in every service and was never given before."""
    try:
        check_userid(value)
    except InvalidInput as error:
        raise ValidationError(f"{error.message}: {error.hint}") from None
    taken = (*RESERVED, administrator(settings.CONFIGURATION.broker_admin_url))  # users of the broker itself
    if value in taken or RetiredUserid.objects.filter(userid=value).exists():
        raise ValidationError(f"{value!r} is not to be had; choose another.")


# names that the services use themselves, or that would be mistaken for theirs
RESERVED = frozenset(
    ("root", "system", "guest", "local", "config", "public", "anonymous", "omega", "omegaml", "runner")
)


ROLES = [(role, role) for role in roles.ROLES]


class Users(BaseUserManager):
    """Makes accounts; every way to make one goes through here."""

    use_in_migrations = True

    def create_user(
        self, username: str, email: str | None = None, password: str | None = None, **fields: Any
    ) -> User:
        """Make an account. Raises ValidationError (the userid, the address, the role)."""
        email = (email or "").strip().lower() or None
        user: User = self.model(username=username, email=email, **fields)
        user.set_password(password)
        user.full_clean()
        user.save(using=self._db)
        return user

    def create_superuser(
        self, username: str, email: str | None = None, password: str | None = None, **fields: Any
    ) -> User:
        return self.create_user(username, email, password, role=roles.ADMIN, is_superuser=True, **fields)

    def with_key(self, userid: str, key: str) -> ApiKey | None:
        """Return the API key, with its user, if it is good for that user now."""
        found = _by_digest().get(digest(key))  # every request asks this
        good = found and found.user.username == userid and found.user.is_active and found.is_valid
        return found if good else None


class User(AbstractBaseUser, PermissionsMixin):
    """An account. `username` is the userid: the same in every service, never changed or given again."""

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ("email",)
    username = models.CharField(
        "userid",
        max_length=31,
        unique=True,
        validators=[validate_userid],
        help_text="3 to 31 of a-z, 0-9 and _, beginning with a letter. It cannot be changed later.",
        error_messages={"unique": "That userid is taken; choose another."},
    )
    email = models.EmailField("e-mail", unique=True, null=True, blank=True)
    display_name = models.CharField("name", max_length=100, blank=True)
    role = models.CharField(max_length=10, choices=ROLES, default=roles.EDITOR)
    is_active = models.BooleanField("enabled", default=True)
    date_joined = models.DateTimeField("joined", default=timezone.now, editable=False)

    objects = Users()

    class Meta:
        verbose_name = "account"
        ordering = ("username",)

    @property
    def is_staff(self) -> bool:
        """Whether the admin pages are open to the account."""
        return bool(self.role == roles.ADMIN)

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Django's permissions: an administrator has all of them, everybody else none."""
        return bool(self.is_active and self.role == roles.ADMIN)

    def has_module_perms(self, app_label: str) -> bool:
        return self.has_perm(app_label)

    @property
    def needed(self) -> str:
        """Why this account, as it is stored, must stay an enabled administrator; "" where it need not."""
        if self.username == settings.CONFIGURATION.own_account:
            return "the account by which the cluster itself works"
        administrators = User.objects.filter(role=roles.ADMIN, is_active=True)
        is_last = list(administrators.values_list("pk", flat=True)[:2]) == [self.pk]
        return "the last administrator" if is_last else ""

    def clean(self) -> None:
        super().clean()
        self.email = (self.email or "").strip().lower() or None  # '' would be the same for two
        if not (self.is_active and self.role == roles.ADMIN) and self.pk and self.needed:
            raise ValidationError(f"{self} is {self.needed}: it stays enabled and administrator.")

    def __str__(self) -> str:
        return str(self.username)

    def get_short_name(self) -> str:
        return str(self.display_name or self.username)


class RetiredUserid(models.Model):
    """The userid of a deleted account, so that nobody is taken for another later."""

    userid = models.CharField(max_length=31, primary_key=True)
    retired = models.DateTimeField(default=timezone.now)


class ApiKey(models.Model):
    """A key by which a program acts as its user. Only its digest is kept: the key is shown once.

    SHA-256 without salt or stretching is enough, and takes microseconds: keys are 256 random bits.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=60, help_text="What it is for, as in 'laptop' or 'nightly build'.")
    prefix = models.CharField(max_length=12, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created = models.DateTimeField(default=timezone.now, editable=False)
    expires = models.DateTimeField(null=True, blank=True)
    last_used = models.DateTimeField(null=True, editable=False)
    revoked = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ("-created",)

    # how exact `last_used` is: every request would otherwise be a write
    EXACTNESS = timedelta(minutes=1)

    @classmethod
    def issue(cls, user: User, name: str, expires: datetime | None = None) -> tuple[ApiKey, str]:
        """Make a key; return it and its text, which is to be had only now."""
        text = f"om_{secrets.token_urlsafe(32)}"
        return cls.objects.create(
            user=user, name=name, expires=expires, prefix=text[:8], digest=digest(text)
        ), text

    @property
    def is_valid(self) -> bool:
        return self.revoked is None and (self.expires is None or self.expires > timezone.now())

    def revoke(self) -> None:
        self.revoked = timezone.now()
        self.save(update_fields=["revoked"])

    def used(self) -> None:
        """Note that the key is used."""
        now = timezone.now()
        if self.last_used is None or now - self.last_used > self.EXACTNESS:
            ApiKey.objects.filter(pk=self.pk).update(last_used=now)
            self.last_used = now

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"


@cache
def _by_digest() -> ByField[ApiKey]:
    return ByField(ApiKey.objects.select_related("user", "user__service_login"), "digest")


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class ServiceLogin(models.Model):
    """What an account's logins to the backing services are, as last provisioned."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="service_login")
    # both encrypted (omegaweb.provision.sealed)
    mongo_password = models.BinaryField()
    broker_password = models.BinaryField(default=b"")
    provisioned = models.DateTimeField(null=True, help_text="When all services last knew the account.")


class Invitation(models.Model):
    """Lets one person open an account."""

    digest = models.CharField(max_length=64, unique=True, editable=False)
    email = models.EmailField(blank=True)
    role = models.CharField(max_length=10, choices=ROLES, default=roles.EDITOR)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, editable=False)
    created = models.DateTimeField(default=timezone.now, editable=False)
    expires = models.DateTimeField()
    used = models.DateTimeField(null=True, editable=False)

    LASTS = timedelta(days=7)

    def issue(self) -> str:
        """Store the invitation; return the word that goes into its link, which is to be had only now."""
        word = secrets.token_urlsafe(24)
        self.digest, self.expires = digest(word), timezone.now() + self.LASTS
        self.save()
        return word

    @classmethod
    def open(cls, word: str) -> Invitation | None:
        """Return the invitation of that word, if it can still be used."""
        return cls.objects.filter(digest=digest(word), used=None, expires__gt=timezone.now()).first()

    def __str__(self) -> str:
        return f"{self.role} {self.email or 'whoever has the link'}"
