"""How large a form may be, told before it is read: Django puts its files on the disk, whoever sends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from omegaweb.access import REST, rule
from omegaweb.api.parsing import TooLarge
from omegaweb.api.reports import MOST as NOTEBOOK
from omegaweb.dashboard.errors import shown


class FormSize:
    """Refuses what is larger than the page takes; the REST API reads no body before it knows who calls."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or rule(view, match.app_name) == REST:
            return None
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        most += {"upload": settings.OMEGA_BODY_BYTES, "upload_job": NOTEBOOK}.get(match.url_name or "", 0)
        if int(request.META.get("CONTENT_LENGTH") or 0) <= most:
            return None
        return shown(
            request, TooLarge(f"What was sent is larger than the {most:,} bytes that this page takes")
        )
