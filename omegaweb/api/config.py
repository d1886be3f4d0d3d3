"""`GET config/`: the caller's own settings, with own passwords and the host names that clients use."""

from __future__ import annotations

import time
from typing import Any

from constance.signals import config_updated
from constance.utils import get_values_for_keys
from django.conf import settings
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaml import config as names
from omegaweb import provision, roles
from omegaweb.accounts.models import User
from omegaweb.api import notices, shapes
from omegaweb.api import user_shapes as forms
from omegaweb.api.permissions import ViewerOrWorker

KEEP = 1.0  # seconds after which every process has seen that a setting was changed


class Config(APIView):
    """The settings that `omegacli init` and `import omegaml` work with.

    For administrators: `?user=` gives those of another account, `?view=1` host names inside the cluster.
    A worker is given those of the account that it names.
    """

    permission_classes = (ViewerOrWorker,)

    @extend_schema(
        responses={200: forms.ClientSettingsList, **shapes.failures(404)},
        parameters=[
            OpenApiParameter("user", description="another account's settings; administrators and workers"),
            OpenApiParameter("view", description="1: host names inside the cluster; administrators, workers"),
        ],
    )
    def get(self, request: Request) -> Response:
        user, inside = request.user, request.query_params.get("view") == "1"
        asked = request.query_params.get("user", user.username)
        is_worker = user.role == roles.WORKER
        if is_worker and asked == user.username:
            raise PermissionDenied  # it has no data of its own
        if (asked != user.username or inside) and not (is_worker or roles.may(user, roles.ADMIN)):
            raise PermissionDenied
        if asked != user.username:
            user = get_object_or_404(User, username=asked, is_active=True)
        data = client_settings(user, inside)
        meta: dict[str, Any] = {"limit": 1, "next": None, "offset": 0, "previous": None, "total_count": 1}
        meta["mail"] = notices.address_of(user)
        response = Response({"meta": meta, "objects": [{"data": data, "resource_uri": "/api/v1/config/"}]})
        response["Cache-Control"] = "no-store"
        return response


class _Addresses:
    """The services' addresses as an administrator has set them.

    They are read again after KEEP seconds; the process in which they are set sees them at once.
    """

    def __init__(self) -> None:
        self._read = float("-inf")
        self._values: dict[str, Any] = {}

    def get(self) -> dict[str, Any]:
        now = time.monotonic()
        if now - self._read > KEEP:
            self._values = get_values_for_keys(["MONGO_HOST", "BROKER_URL"])
            self._read = now
        return self._values

    def forget(self, **kwargs: Any) -> None:
        self._read = float("-inf")


_addresses = _Addresses()
config_updated.connect(_addresses.forget)


def client_settings(user: User, inside: bool = False) -> dict[str, Any]:
    """What a client of this account needs to know; `inside`: of a client in the cluster's own network."""
    shown, known = _addresses.get(), settings.CONFIGURATION
    address = (inside and known.broker_server) or shown["BROKER_URL"]
    broker = provision.broker_url(user, address)
    runtime = {"OMEGA_RUNTIME": "celery"} if broker and known.web_broker_url else {}
    return {
        "OMEGA_USERID": user.username,
        "OMEGA_RESTAPI_URL": known.url,
        "OMEGA_MONGO_URL": provision.mongo_url(user, None if inside else shown["MONGO_HOST"]),
        "OMEGA_BROKER": broker,
        **runtime,
        "OMEGA_MONGO_COLLECTION": names.setting("OMEGA_BUCKET").default,
        "OMEGA_CELERY_CONFIG": None,
    }
