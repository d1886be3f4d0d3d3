"""What Prometheus reads at /metrics: requests by route, and what the platform holds.

With several gunicorn workers each writes into files of the folder `metrics_folder`, and any of them adds up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

# read by prometheus_client as it is imported
if settings.CONFIGURATION.metrics_folder:
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", settings.CONFIGURATION.metrics_folder)

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import REGISTRY
from rest_framework.request import Request
from rest_framework.views import APIView

from omegaml import __version__
from omegaweb.accounts.models import ApiKey, User
from omegaweb.api.permissions import Admin

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
REQUESTS = Counter(
    "omegaweb_requests", "Requests by route, method and status.", ["route", "method", "status"]
)
SECONDS = Histogram(
    "omegaweb_request_seconds", "Seconds until the answer began, by route.", ["route"], buckets=_BUCKETS
)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Measured:
    """Counts every request under its route's pattern, never under the path, of which there is no end."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        start = time.perf_counter()
        response = self.get_response(request)
        route = request.resolver_match.route if request.resolver_match else "none"
        method = request.method if request.method in _METHODS else "other"
        REQUESTS.labels(route, method, response.status_code).inc()
        SECONDS.labels(route).observe(time.perf_counter() - start)
        return response


class _Platform:
    """Counts that the database knows, asked for when they are read."""

    def collect(self) -> Any:
        now = timezone.now()
        keys = ApiKey.objects.filter(revoked=None).exclude(expires__lte=now)
        yield GaugeMetricFamily(
            "omegaweb_accounts", "Enabled accounts.", User.objects.filter(is_active=True).count()
        )
        yield GaugeMetricFamily("omegaweb_api_keys", "API keys that are good now.", keys.count())
        version = GaugeMetricFamily("omegaweb_version", "The version, as a label.", labels=["version"])
        version.add_metric([__version__], 1)
        yield version


class Metrics(APIView):
    """All figures, as text for Prometheus; for administrators' keys."""

    permission_classes = (Admin,)
    schema = None  # no part of the API

    def get(self, request: Request) -> HttpResponse:
        return figures()


class InternalPort:
    """Answers /metrics to whoever reaches `metrics_port`, and nothing else there.

    Which port it is tells the socket; headers, by which a visitor could claim it, are not looked at.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not settings.CONFIGURATION.metrics_port or _port(request) != settings.CONFIGURATION.metrics_port:
            return self.get_response(request)
        if request.path == "/metrics" and request.method in ("GET", "HEAD"):
            return figures()
        return HttpResponse("only /metrics is here\n", status=404, content_type="text/plain")


def _port(request: HttpRequest) -> int | None:
    """Where the server took the request; None where that is no port of TCP, or no gunicorn."""
    socket = request.META.get("gunicorn.socket")
    name = socket.getsockname() if socket is not None else None
    return int(name[1]) if isinstance(name, tuple) else None


def figures() -> HttpResponse:
    """All figures, as text for Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Platform())  # type: ignore[arg-type]
    own = generate_latest(registry)
    if settings.CONFIGURATION.metrics_folder:
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return HttpResponse(generate_latest(together) + own, content_type=CONTENT_TYPE_LATEST)
    return HttpResponse(generate_latest(REGISTRY) + own, content_type=CONTENT_TYPE_LATEST)
