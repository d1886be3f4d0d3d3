"""Whether the platform is there: `ping` for clients, `/healthz` for whoever keeps it running."""

from __future__ import annotations

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework.fields import CharField, DateTimeField
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from omegaml import __version__
from omegaweb import access
from omegaweb.api.permissions import Anybody


class Ping(APIView):
    """The version and the time; the one REST route that asks for no key."""

    permission_classes = (Anybody,)
    authentication_classes = ()

    @extend_schema(responses=inline_serializer("Ping", {"version": CharField(), "time": DateTimeField()}))
    def get(self, request: Request) -> Response:
        return Response({"version": __version__, "time": timezone.now()})


@access.access(access.ANYBODY)
def healthz(request: HttpRequest) -> JsonResponse:
    """Up (200) or down (503), and nothing else."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return JsonResponse({"status": "up"})
    except (DatabaseError, InterfaceError):
        return JsonResponse({"status": "down"}, status=503)
