from __future__ import annotations

from django.apps import AppConfig


class Sharing(AppConfig):
    name = "omegaweb.sharing"
