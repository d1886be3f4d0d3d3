"""What every request carries: an id, the address it comes from, a content policy, and its line in the log."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

View = Callable[[HttpRequest], HttpResponse]
current_id: ContextVar[str] = ContextVar("current_id", default="")
_log = logging.getLogger("omegaweb.requests")
_ID = re.compile(r"[\w.-]{1,64}")


class RequestId:
    """Gives each request an id (or keeps the caller's X-Request-ID), and logs how it ended."""

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        start = time.perf_counter()
        given = request.headers.get("X-Request-ID", "")
        request.id = given if _ID.fullmatch(given) else uuid4().hex
        token = current_id.set(request.id)
        try:
            response = self.get_response(request)
            response["X-Request-ID"] = request.id
            _log.info(
                "%s %s %s",
                request.method,
                request.path,
                response.status_code,
                extra={
                    "method": request.method,
                    "path": request.path,
                    "status": response.status_code,
                    "ms": round(1000 * (time.perf_counter() - start), 1),
                    "userid": _userid(request),
                    "address": address(request),
                },
            )
            return response
        finally:
            current_id.reset(token)


def _userid(request: HttpRequest) -> str | None:
    """Who asked, where that was looked up: to do so now takes the database, which may be away."""
    user = getattr(request, "user", None)
    if isinstance(user, SimpleLazyObject):
        user = getattr(request, "_cached_user", None)
    return getattr(user, "username", None) or None


class ContentSecurityPolicy:
    """Nothing is loaded from elsewhere, and no script runs but ours: a second wall behind escaping."""

    POLICY = (
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", self.POLICY)
        return response


def address(request: HttpRequest) -> str:
    """The address of the client: of the last proxy we know, the entry that it put into X-Forwarded-For."""
    proxies = settings.CONFIGURATION.proxies
    hops = [hop.strip() for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    if proxies and len(hops) >= proxies:
        with suppress(ValueError):  # where there are fewer proxies than were said, the caller has written it
            return str(ip_address(hops[-proxies]))
    return str(request.META.get("REMOTE_ADDR", ""))


def network(request: HttpRequest) -> str:
    """What callers are counted by: the address or, of IPv6, the /64 in which one household has them all."""
    text = address(request)
    with suppress(ValueError):
        found = ip_address(text)
        if isinstance(found, IPv6Address):
            return str(found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64))
    return text


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    FIELDS = ("method", "path", "status", "ms", "userid", "address")

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": current_id.get() or None,
            **{name: getattr(record, name) for name in self.FIELDS if hasattr(record, name)},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
