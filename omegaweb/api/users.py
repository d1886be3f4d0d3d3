"""Accounts by REST: all of them for administrators, everybody's own profile, keys and password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaml.errors import Conflict, InvalidInput
from omegaweb import audit, provision, roles
from omegaweb.accounts.models import ApiKey, User
from omegaweb.accounts.views import revoke
from omegaweb.api import shapes
from omegaweb.api import user_shapes as forms
from omegaweb.api.permissions import Admin, Viewer

PATH = "/api/v1/user/"
MOST = 1000


class _Strict(serializers.Serializer):
    """Refuses what it does not know: a misspelt field would else change nothing, in silence."""

    def to_internal_value(self, data: Any) -> Any:
        strangers = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if strangers:
            raise serializers.ValidationError({str(strangers[0]): ["there is no such field"]})
        return super().to_internal_value(data)


class Profile(_Strict):
    """What everybody may change of the own account."""

    email = serializers.EmailField(required=False, allow_null=True)
    name = serializers.CharField(required=False, allow_blank=True, max_length=100)


class Changes(Profile):
    """What administrators may change of any."""

    role = serializers.ChoiceField(required=False, choices=roles.ROLES)
    enabled = serializers.BooleanField(required=False)


class NewAccount(Profile):
    userid = serializers.CharField(max_length=31)
    role = serializers.ChoiceField(required=False, choices=roles.ROLES)
    password = serializers.CharField(required=False, max_length=1000, trim_whitespace=False)


class NewKey(_Strict):
    name = serializers.CharField(max_length=60)
    expires = serializers.DateTimeField(required=False, allow_null=True)

    def validate_expires(self, value: Any) -> Any:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("that time is over")
        return value


class NewPassword(_Strict):
    password = serializers.CharField(max_length=1000, trim_whitespace=False)
    current = serializers.CharField(required=False, max_length=1000, trim_whitespace=False)


_FIELDS = {"email": "email", "name": "display_name", "role": "role", "enabled": "is_active"}


class Users(APIView):
    """All accounts; POST makes one."""

    permission_classes = (Admin,)

    @extend_schema(
        operation_id="v1_user_list",
        parameters=shapes.PAGING,
        responses={200: forms.AccountList, **shapes.failures()},
    )
    def get(self, request: Request) -> Response:
        limit, offset = _number(request, "limit", 100, 1, MOST), _number(request, "offset", 0, 0, 10**9)
        found = _accounts()
        total = found.count()
        after = offset + limit
        meta = {
            "limit": limit,
            "offset": offset,
            "next": f"{PATH}?limit={limit}&offset={after}" if after < total else None,
            "previous": f"{PATH}?limit={limit}&offset={max(0, offset - limit)}" if offset else None,
            "total_count": total,
        }
        return Response({"meta": meta, "objects": [_shown(user) for user in found[offset:after]]})

    @extend_schema(request=NewAccount, responses={201: forms.Account, **shapes.failures(409, 413, 415)})
    def post(self, request: Request) -> Response:
        given = _valid(NewAccount(data=request.data))
        userid, password = given["userid"], given.get("password")
        if User.objects.filter(username=userid).exists():
            raise _taken(userid)
        if password is not None:
            _check_password(password, User(username=userid, email=given.get("email")))
        fields = {_FIELDS[name]: given[name] for name in ("name", "role") if name in given}
        try:
            with transaction.atomic():
                user = User.objects.create_user(userid, given.get("email"), password, **fields)
        except IntegrityError:
            raise _taken(userid) from None
        audit.record("account.made", request, object=f"account {userid}", role=user.role)
        return Response(_shown(user), status=201, headers={"Location": _uri(user)})


class OneUser(APIView):
    """An account: to be read and changed by administrators, and as far as it is one's own by everybody."""

    permission_classes = (Viewer,)

    @extend_schema(responses={200: forms.Account, **shapes.failures(404)})
    def get(self, request: Request, userid: str) -> Response:
        return Response(_shown(_account(request, userid)))

    @extend_schema(request=Changes, responses={200: forms.Account, **shapes.failures(404, 409, 413, 415)})
    def patch(self, request: Request, userid: str) -> Response:
        user = _account(request, userid)
        changes = _valid(Changes(data=request.data))
        if not _is_admin(request) and set(changes) - set(Profile().fields):
            raise PermissionDenied
        with _administrators():
            user.refresh_from_db()
            ends = changes.get("role", user.role) != roles.ADMIN or not changes.get("enabled", True)
            if ends and user.needed:
                raise _needed(user, "disabled or given another role")
            for name, value in changes.items():
                setattr(user, _FIELDS[name], value)
            user.full_clean()
            user.save(update_fields=[_FIELDS[name] for name in changes])
        audit.record("account.changed", request, object=f"account {userid}", fields=sorted(changes))
        if "enabled" in changes:
            provision.provision(user)  # again, as it must be said where the services could not be told
        return Response(_shown(user))

    @extend_schema(
        parameters=[OpenApiParameter("data", bool)], responses={204: None, **shapes.failures(404, 409)}
    )
    def delete(self, request: Request, userid: str) -> Response:
        if not _is_admin(request):
            raise PermissionDenied
        user = _account(request, userid)
        data = request.query_params.get("data", "").lower() in ("1", "true", "yes")
        with _administrators():
            if user.needed:
                raise _needed(user, "removed")
            # first, and it fails as a whole: an account that is gone could not be told to try again
            provision.forget(userid, data=data)
            user.delete()
        audit.record("account.removed", request, object=f"account {userid}", data=data)
        return Response(status=204)


class Keys(APIView):
    """The API keys of an account, of which only the beginning is known; POST makes one and shows it once."""

    permission_classes = (Viewer,)

    @extend_schema(responses={200: forms.KeyList, **shapes.failures(404)})
    def get(self, request: Request, userid: str) -> Response:
        user = _account(request, userid)
        keys = [_shown_key(key) for key in user.keys.filter(revoked=None)]
        meta = {"limit": len(keys), "next": None, "offset": 0, "previous": None, "total_count": len(keys)}
        return Response({"meta": meta, "objects": keys})

    @extend_schema(request=NewKey, responses={201: forms.IssuedKey, **shapes.failures(404, 409, 413, 415)})
    def post(self, request: Request, userid: str) -> Response:
        user = _account(request, userid)
        if not user.is_active:
            raise Conflict(f"the account {userid} is disabled, so that no key opens it")
        given = _valid(NewKey(data=request.data))
        key, text = ApiKey.issue(user, given["name"], given.get("expires"))
        audit.record("key.made", request, object=f"key {key} of account {userid}")
        shown = {**_shown_key(key), "key": text}
        return Response(shown, status=201, headers={"Cache-Control": "no-store"})


class OneKey(APIView):
    """DELETE revokes a key; with an account's last one its connections to the services end."""

    permission_classes = (Viewer,)

    @extend_schema(responses={204: None, **shapes.failures(404)})
    def delete(self, request: Request, userid: str, key: int) -> Response:
        user = _account(request, userid)
        found = user.keys.filter(pk=key, revoked=None).first()
        if found is None:
            raise Http404(f"account {userid} has no key {key}")
        revoke(found)
        audit.record("key.revoked", request, object=f"key {found} of account {userid}")
        return Response(status=204)


class Password(APIView):
    """PUT changes the password for the pages; one's own takes the `current` one, however one is known."""

    permission_classes = (Viewer,)

    @extend_schema(request=NewPassword, responses={204: None, **shapes.failures(404, 413, 415)})
    def put(self, request: Request, userid: str) -> Response:
        user = _account(request, userid)
        given = _valid(NewPassword(data=request.data))
        # by Django's way, which counts wrong ones: a stolen key must not be used to guess the password
        if user.pk == request.user.pk and not authenticate(
            request._request, username=userid, password=given.get("current", "")
        ):
            audit.record("password.refused", request, object=f"account {userid}")
            if getattr(request._request, "axes_locked_out", False):
                request._request.axes_locked_out = False  # else a page would be the answer
                raise Throttled(wait=settings.AXES_COOLOFF_TIME * 3600)
            raise InvalidInput("the current password is missing or wrong", hint="send it as `current`")
        _check_password(given["password"], user)
        user.set_password(given["password"])
        user.save(update_fields=["password"])
        audit.record("password.changed", request, object=f"account {userid}")
        return Response(status=204)


def _accounts() -> Any:
    return User.objects.filter(role__in=roles.ROLES).order_by("username")


def _is_admin(request: Request) -> bool:
    return roles.may(request.user, roles.ADMIN)


def _account(request: Request, userid: str) -> User:
    """The account, if the caller may touch it; others learn not even whether it is there."""
    if userid != request.user.username and not _is_admin(request):
        raise PermissionDenied
    found = _accounts().filter(username=userid).first()
    if found is None:
        raise Http404(f"there is no account {userid}")
    user: User = found
    return user


@contextmanager
def _administrators() -> Iterator[None]:
    """A transaction in which nobody else takes an administrator away."""
    with transaction.atomic():
        list(User.objects.select_for_update().filter(role=roles.ADMIN).values_list("pk"))
        yield


def _needed(user: User, done: str) -> Conflict:
    hint = "make another account administrator first" if "last" in user.needed else None
    return Conflict(f"{user} is {user.needed} and cannot be {done}", hint=hint)


def _taken(userid: str) -> Conflict:
    return Conflict(f"there is an account {userid} already", hint="choose another userid")


def _valid(serializer: serializers.Serializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def _check_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidInput("; ".join(error.messages)) from None


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not re.fullmatch("[0-9]{1,10}", text) or not least <= int(text) <= most:
        raise InvalidInput(f"{name} is {text[:40]!r}, not a number from {least} to {most}")
    return int(text)


def _uri(user: User) -> str:
    return f"{PATH}{user.username}/"


def _shown(user: User) -> dict[str, Any]:
    return {
        "userid": user.username,
        "email": user.email,
        "name": user.display_name,
        "role": user.role,
        "enabled": user.is_active,
        "joined": user.date_joined,
        "last_login": user.last_login,
        "resource_uri": _uri(user),
    }


def _shown_key(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.pk,
        "name": key.name,
        "prefix": key.prefix,
        "created": key.created,
        "expires": key.expires,
        "last_used": key.last_used,
        "resource_uri": f"{_uri(key.user)}key/{key.pk}/",
    }
