"""Who is calling: `Authorization: userid:apikey`, also as `ApiKey userid:apikey` and as Basic."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from omegaml.errors import Forbidden
from omegaweb import audit, roles
from omegaweb.accounts.models import ApiKey, User
from omegaweb.api.throttling import counted, rest_of_minute
from omegaweb.audit.models import Entry
from omegaweb.requests import address, network

HOW = "send the header `Authorization: userid:apikey`"


class ApiKeyAuthentication(BaseAuthentication):
    """`request.user` is the key's user, `request.auth` the key."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        userid, key = credentials(header)
        found = User.objects.with_key(userid, key) if userid and key else None
        if found is None:
            # DRF's throttles come after this, and each wrong key is written down
            if not counted("refused", network(request._request)):
                raise Throttled(wait=rest_of_minute())
            # of the request below, as asking this one for its user would come here again
            audit.record("key.refused", request._request, userid=userid)
            raise AuthenticationFailed("the userid or API key is not known, has expired or was revoked")
        found.used()
        if _is_first_today(found, address(request._request)):
            audit.record("key.used", request._request, userid=userid, key=str(found))
        return found.user, found

    def authenticate_header(self, request: Request) -> str:
        return "ApiKey"


class SameOriginSession(SessionAuthentication):
    """Our own pages call the API as who is signed in; other than reading takes their CSRF token."""


def check_still(request: Request, role: str) -> None:
    """Raise where the caller may not do any more, after a long body, what was allowed before it came.

    Raises: AuthenticationFailed (the account is disabled or gone, its key has ended), Forbidden (its role).
    """
    header = request.headers.get("Authorization")
    if header is not None:
        found = User.objects.with_key(*credentials(header))
        user = found and found.user
    else:  # one of our own pages
        user = User.objects.filter(pk=request.user.pk, is_active=True).first()
    if user is None:
        raise AuthenticationFailed("the account or its API key was disabled meanwhile")
    if not roles.may(user, role):
        raise Forbidden("your account may not do this any more", hint="ask an administrator")


def _is_first_today(key: ApiKey, where: str) -> bool:
    """Whether the key was not used today from this address, as far as this process or the audit log knows."""
    today = timezone.now().date()
    if not cache.add(f"used-{key.pk}-{today}-{where}", True, 86400):
        return False
    begin = datetime.combine(today, time.min, UTC)
    known = Entry.objects.filter(userid=key.user.username, action="key.used", address=where, time__gte=begin)
    return not known.filter(detail__key=str(key)).exists()


def credentials(header: str) -> tuple[str, str]:
    """Return (userid, key) of an Authorization header, empty texts where it holds none."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() == "basic":
        try:
            header = base64.b64decode(rest, validate=True).decode()
        except (binascii.Error, ValueError):
            return "", ""
    elif scheme.lower() == "apikey":
        header = rest
    userid, _, key = header.strip().partition(":")
    return userid, key


class _KeyInSchema(OpenApiAuthenticationExtension):
    target_class = ApiKeyAuthentication
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": HOW}


class _SessionInSchema(OpenApiAuthenticationExtension):
    target_class = SameOriginSession
    name = "Session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
