"""What people see when something fails: one sentence and what to do next, as a page or a part of one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from omegaml.errors import OmegaError
from omegaweb.access import ANYBODY, access

_log = logging.getLogger(__name__)
TITLES = {
    400: "That does not work",
    403: "Not yours",
    404: "Not here",
    409: "Somebody was faster",
    422: "That does not fit",
    503: "Not there at the moment",
    504: "It takes too long",
}


class ErrorPages:
    """Turns the errors that are raised on purpose into pages; the REST API answers its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, OmegaError) and not request.path.startswith("/api/"):
            return shown(request, error)
        return None


def status_of(error: OmegaError) -> int:
    """The page's status. That MongoDB refuses a user means that a login is out of step, not who asks."""
    return error.http_status if error.http_status != 401 else 503


def shown(request: HttpRequest, error: OmegaError) -> HttpResponse:
    """The page of an error; for a part of a page, that part."""
    status = status_of(error)
    if status >= 500:
        _log.warning("%s: %s", error.code, error.message)
    template = "dashboard/error_part.html" if request.headers.get("HX-Request") else "error.html"
    title = TITLES.get(status, "Something went wrong")
    response = render(request, template, {"error": error, "title": title}, status=status)
    if status in (503, 504):
        response["Retry-After"] = "5"
    return response


@access(ANYBODY)
def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler500: 503 where the database of accounts is away, with a page that asks it nothing."""
    if isinstance(sys.exception(), OperationalError | InterfaceError):
        part = bool(request.headers.get("HX-Request"))
        content = render_to_string("unavailable.html", {"part": part})
        return HttpResponse(content, status=503, headers={"Retry-After": "5"})
    return render(request, "500.html", status=500)
