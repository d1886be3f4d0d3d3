from __future__ import annotations

from django.apps import AppConfig


class Dashboard(AppConfig):
    name = "omegaweb.dashboard"
