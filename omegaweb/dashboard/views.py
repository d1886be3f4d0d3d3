"""The pages of the dashboard."""

from __future__ import annotations

from constance import config
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from omegaweb.access import ANYBODY, access
from omegaweb.dashboard.models import LandingPage


@access(ANYBODY)
def home(request: HttpRequest) -> HttpResponse:
    """The landing page, or where to go on for who is signed in."""
    if not request.user.is_authenticated:
        context = {"page": LandingPage.objects.first(), "signup": config.SIGNUP == "open"}
        return render(request, "dashboard/landing.html", context)
    return render(
        request, "dashboard/home.html", {"has_key": request.user.keys.filter(revoked=None).exists()}
    )
