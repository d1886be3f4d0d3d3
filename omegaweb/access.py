"""Who may see which page. Each says so by a decorator, REST views by their permission_classes.

A page without one is refused to everybody, and a test that walks all routes fails on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from omegaweb.roles import ADMIN, may

ANYBODY, REST = "anybody", "rest"  # besides the roles


def access(needed: str) -> Callable[[Any], Any]:
    """Mark a view, class-based views' `as_view()` included, with who may see it."""

    def mark(view: Any) -> Any:
        view.access = needed
        return view

    return mark


class LoginRequired:
    """Sends who is not signed in to the sign-in page, and refuses pages that one's role does not reach."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        needed = rule(view, request.resolver_match.app_name)
        if needed in (ANYBODY, REST):
            return None
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path(), reverse("login"))
        if needed is None or not may(request.user, needed):
            raise PermissionDenied
        return None


def rule(view: Any, app_name: str = "") -> str | None:
    """Who may see a view; REST where its permission_classes decide, None where nobody said."""
    declared = getattr(view, "access", None)
    if declared is not None:
        return str(declared)
    cls = getattr(view, "cls", None)  # a REST view
    if cls is not None and any(
        "permission_classes" in vars(c) for c in cls.__mro__ if c.__module__.startswith("omegaweb.")
    ):
        return REST
    return ADMIN if app_name == "admin" else None
