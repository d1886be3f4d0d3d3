"""What a runner asks: which accounts there are. It says at the same time that it is there, and where."""

from __future__ import annotations

import hashlib
from typing import Any

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaml.runtime.base import DEFAULT
from omegaweb import roles
from omegaweb.accounts.models import User
from omegaweb.api import model_shapes as forms
from omegaweb.api import shapes
from omegaweb.api.permissions import Worker as IsWorker
from omegaweb.provision.sealed import seal
from omegaweb.workers.models import Worker


class Facts(serializers.Serializer):
    """What a runner says of itself."""

    id = serializers.RegexField(r"^[\w.-]{1,150}$")
    host = serializers.CharField(max_length=255)
    slots = serializers.IntegerField(min_value=1, max_value=10_000)
    running = serializers.IntegerField(min_value=0, max_value=10_000)
    labels = serializers.ListField(
        child=serializers.RegexField(r"^[a-z0-9][a-z0-9_.-]{0,62}$"), default=[DEFAULT]
    )
    # a Celery worker takes no tasks directly
    address = serializers.CharField(max_length=255, allow_blank=True, default="")
    token = serializers.CharField(max_length=200, allow_blank=True, default="")


class Accounts(APIView):
    """The accounts whose tasks are to be carried out; disabled ones are not among them."""

    permission_classes = (IsWorker,)

    @extend_schema(operation_id="worker_accounts", responses={200: forms.Accounts, **shapes.failures()})
    def get(self, request: Request) -> Response:
        return Response(accounts())


class Workers(APIView):
    """A runner joins, or says that it is still there."""

    permission_classes = (IsWorker,)

    @extend_schema(
        operation_id="worker_join",
        request=Facts,
        responses={200: forms.Accounts, **shapes.failures(413, 415)},
    )
    def post(self, request: Request) -> Response:
        facts = Facts(data=request.data)
        facts.is_valid(raise_exception=True)
        values = dict(facts.validated_data)
        values |= {"token": seal(values["token"]), "seen": timezone.now()}
        Worker.objects.update_or_create(id=values.pop("id"), defaults=values)
        Worker.objects.filter(seen__lt=timezone.now() - 20 * Worker.DEAD_AFTER).delete()
        return Response(accounts())


class OneWorker(APIView):
    """A runner leaves."""

    permission_classes = (IsWorker,)

    @extend_schema(operation_id="worker_leave", responses={204: None, **shapes.failures()})
    def delete(self, request: Request, id: str) -> Response:
        Worker.objects.filter(id=id).delete()
        return Response(status=204)


def accounts() -> dict[str, Any]:
    known = User.objects.filter(is_active=True, role__in=roles.ROLES).order_by("pk")
    rows = known.values_list("username", "service_login__mongo_password")
    objects = [{"userid": userid, "version": _version(password)} for userid, password in rows]
    return {"meta": {"total_count": len(objects)}, "objects": objects}


def _version(password: bytes | None) -> str:
    """Another one when an account's URL may have changed: so that a runner need not ask for all of them."""
    server = settings.CONFIGURATION.mongo_server
    return hashlib.sha256(b"%s %s" % (server.encode(), password or b"")).hexdigest()[:16]
