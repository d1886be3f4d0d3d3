"""What people see when something fails: one sentence and what to do next, as a page or a part of one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from omegaml import __version__
from omegaml.errors import Forbidden, NotFound, OmegaError, Unavailable
from omegaweb.access import ANYBODY, access
from omegaweb.dashboard.words import with_code

_log = logging.getLogger(__name__)
TITLES = {
    400: "That does not work",
    403: "Not yours",
    404: "Not here",
    409: "Somebody was faster",
    422: "That does not fit",
    429: "Too often",
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


class FormTooOld(Forbidden):
    """A form without the token of the session that sends it."""


class Failed(OmegaError):
    """An error that nobody has foreseen."""


def status_of(error: OmegaError) -> int:
    """The page's status. That MongoDB refuses a user means that a login is out of step, not who asks."""
    return error.http_status if error.http_status != 401 else 503


def shown(request: HttpRequest, error: OmegaError, title: str = "", bare: bool = False) -> HttpResponse:
    """The page of an error; for a part of a page, that part.

    Args:
        bare: ask no database who the visitor is.
    """
    status = status_of(error)
    if status >= 500:
        _log.warning("%s: %s", error.code, error.message)
    template = "dashboard/error_part.html" if request.headers.get("HX-Request") else "error.html"
    context = {
        "error": error,
        "hint": with_code(error.hint or ""),
        "title": title or TITLES.get(status, "Something went wrong"),
        "again": request.get_full_path() if request.method == "GET" and status in (429, 503, 504) else "",
        "request_id": getattr(request, "id", ""),
        "platform_version": __version__,
    }
    response = HttpResponse(render_to_string(template, context, None if bare else request), status=status)
    after = error.details.get("after", 5 if status in (503, 504) else None)
    if after is not None:
        response["Retry-After"] = str(after)
    return response


@access(ANYBODY)
def forbidden(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Django's handler403."""
    return shown(request, Forbidden("your account may not see this page", "ask an administrator"))


@access(ANYBODY)
def absent(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Django's handler404."""
    return shown(request, NotFound("there is no page of that name"))


@access(ANYBODY)
def form_too_old(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW."""
    error = FormTooOld(
        "The page with that form was too old, or of another sign-in. Nothing was changed",
        "go back, load the page anew and send it again; cookies must be allowed for this",
    )
    return shown(request, error, "Send it again")


@access(ANYBODY)
def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler500: 503 where the database of accounts is away, with a page that asks it nothing."""
    if isinstance(sys.exception(), OperationalError | InterfaceError):
        away = Unavailable(
            "the database of accounts does not answer", "nothing is lost; try again in a while"
        )
        return shown(request, away, bare=True)
    return shown(request, Failed("it was written down with the number below", "tell it to the administrator"))
