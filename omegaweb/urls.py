"""All routes. Who may use which is said at each view (omegaweb.access)."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from omegaweb.api.service import healthz
from omegaweb.metrics import Metrics

handler403 = "omegaweb.dashboard.errors.forbidden"
handler404 = "omegaweb.dashboard.errors.absent"
handler500 = "omegaweb.dashboard.errors.failed"

urlpatterns = [
    path("api/", include("omegaweb.api.urls")),  # first: programs ask often, and patterns are tried in order
    path("", include("omegaweb.dashboard.urls")),
    path("account/", include("omegaweb.accounts.urls")),
    path("admin/", admin.site.urls),
    path("healthz", healthz),
    path("metrics", Metrics.as_view()),
]
