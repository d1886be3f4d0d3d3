from __future__ import annotations

from django.apps import AppConfig


class Workers(AppConfig):
    name = "omegaweb.workers"
