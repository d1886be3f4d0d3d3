"""The one shape of an error: `{"error": {"code", "message", "hint", "request_id"}}`."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.response import Response

from omegaml.errors import OmegaError
from omegaweb import audit
from omegaweb.api import authentication
from omegaweb.api.throttling import counted, rest_of_minute
from omegaweb.requests import current_id, network

_log = logging.getLogger(__name__)
CODES = {
    400: "INVALID_INPUT",
    401: "AUTH_FAILED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    409: "CONFLICT",
    413: "TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "MISMATCH",
    429: "THROTTLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "TIMED_OUT",
}


def body(code: str, message: str, hint: str | None = None, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "hint": hint, "request_id": current_id.get(), **more}}


def answer(exc: Exception, context: dict[str, Any]) -> Response:
    """The response to an exception in a view, as DRF's EXCEPTION_HANDLER."""
    status, headers = 500, {}
    if isinstance(exc, PermissionDenied | exceptions.PermissionDenied) and not _counted(context["request"]):
        exc = exceptions.Throttled(wait=rest_of_minute())  # each refusal is written down
    if isinstance(exc, OmegaError):
        # the database's own refusal of a user is no refusal of the caller: a login is out of step
        status = exc.http_status if exc.http_status != 401 else 503
        content = body(exc.code, exc.message, exc.hint)
        if "after" in exc.details:
            headers["Retry-After"] = str(exc.details["after"])
    elif isinstance(exc, exceptions.APIException):
        status = exc.status_code
        message, hint = _sentence(exc), None
        if status == 401:
            message, hint = message.rstrip("."), authentication.HOW
            headers["WWW-Authenticate"] = getattr(exc, "auth_header", "ApiKey")
        if status == 403:
            message = "your account may not do this"
        if isinstance(exc, exceptions.Throttled) and exc.wait is not None:
            headers["Retry-After"] = str(max(1, round(exc.wait)))
        content = body(CODES.get(status, "ERROR"), message, hint)
    elif isinstance(exc, Http404):
        status, content = 404, body("NOT_FOUND", str(exc) or "there is no such route")
    elif isinstance(exc, PermissionDenied):
        status, content = 403, body("FORBIDDEN", "your account may not do this")
    elif isinstance(exc, ValidationError):
        status, content = 400, body("INVALID_INPUT", "; ".join(exc.messages))
    elif isinstance(exc, OperationalError | InterfaceError):
        _log.exception("the database does not answer")
        status, content = (
            503,
            body("UNAVAILABLE", "the web application's database does not answer", "try again"),
        )
    else:
        _log.exception("failed")
        content = body("INTERNAL", "something went wrong here", "tell the administrator the request_id")
    if status == 403:
        audit.record("refused", context["request"], outcome="refused")
    if status in (503, 504):
        headers.setdefault("Retry-After", "2")
    # whatever the request accepts: a view that answers with files has no other form for an error
    return Response(content, status=status, headers=headers, content_type="application/json")


def _counted(request: Any) -> bool:
    """Count a refusal; False where there are too many of them in this minute."""
    return counted("refused", getattr(request.user, "pk", None) or network(request))


def _sentence(exc: exceptions.APIException) -> str:
    detail = exc.detail
    if isinstance(detail, dict):
        return "; ".join(f"{field}: {_first(problem)}" for field, problem in detail.items())
    return _first(detail)


def _first(problem: Any) -> str:
    return str(problem[0] if isinstance(problem, list) and problem else problem)


@csrf_exempt  # it does nothing, and who calls with a key is to be told what is wrong
def not_found(request: HttpRequest, **kwargs: Any) -> JsonResponse:
    """What every path below /api/ answers that is no route."""
    return JsonResponse(body("NOT_FOUND", f"there is no route {request.path}", "see /api/docs/"), status=404)
