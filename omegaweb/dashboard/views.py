"""Home with its first steps, and the lists of what is stored."""

from __future__ import annotations

from constance import config
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from omegaweb.access import ANYBODY, access
from omegaweb.dashboard import library, objects, sharing_pages
from omegaweb.dashboard.context import platform_url
from omegaweb.dashboard.models import LandingPage
from omegaweb.dashboard.snippets import PUT, TRAIN, first_steps
from omegaweb.dashboard.steps import progress
from omegaweb.roles import VIEWER

STOP_POLLING = 286  # htmx's own status


@access(ANYBODY)
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """The landing page; the first steps for who is signed in."""
    if not request.user.is_authenticated:
        context = {"page": LandingPage.objects.first(), "signup": config.SIGNUP == "open"}
        return render(request, "dashboard/landing.html", context)
    context = {
        "progress": progress(request.user),
        "snippets": first_steps(platform_url(request), request.user.username),
        "library": library.NAME,
    }
    return render(request, "dashboard/home.html", context)


@access(VIEWER)
@never_cache
def steps(request: HttpRequest) -> HttpResponse:
    """The ticks of the first steps, where they are others than the page has (`?have=`)."""
    now = progress(request.user)
    if not now.known or now.word == request.GET.get("have"):
        return HttpResponse(status=204)
    status = STOP_POLLING if now.is_complete else 200
    return render(request, "dashboard/ticks.html", {"progress": now, "oob": True}, status=status)


@access(VIEWER)
def listed(request: HttpRequest, noun: str) -> HttpResponse:
    """The list of datasets or models: search, sort, page."""
    context = {"listing": objects.listing(request, noun), "snippets": {"put": PUT, "train": TRAIN}}
    context |= sharing_pages.held(request, noun)
    return render(request, f"dashboard/{noun}s.html", context)
