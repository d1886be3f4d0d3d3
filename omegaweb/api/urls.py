"""Routes below /api/."""

from __future__ import annotations

from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView

from omegaweb import access
from omegaweb.api import config, errors, service, users, workers

urlpatterns = [
    path("v1/ping", service.Ping.as_view()),
    path("v1/ping/", service.Ping.as_view(), name="ping"),
    path("v1/config/", config.Config.as_view(), name="api-config"),
    path("v1/worker/", workers.Workers.as_view()),
    path("v1/worker/accounts/", workers.Accounts.as_view()),
    path("v1/worker/<str:id>/", workers.OneWorker.as_view()),
    path("v1/user/", users.Users.as_view()),
    path("v1/user/<str:userid>/", users.OneUser.as_view()),
    path("v1/user/<str:userid>/key/", users.Keys.as_view()),
    path("v1/user/<str:userid>/key/<int:key>/", users.OneKey.as_view()),
    path("v1/user/<str:userid>/password/", users.Password.as_view()),
    path("schema/", access.access(access.REST)(SpectacularAPIView.as_view()), name="schema"),
    re_path(r"^.*$", access.access(access.ANYBODY)(errors.not_found)),
]
