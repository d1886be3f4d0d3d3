from __future__ import annotations

from django.apps import AppConfig


class Accounts(AppConfig):
    name = "omegaweb.accounts"

    def ready(self) -> None:
        from omegaweb.accounts import signals  # noqa: F401  connects them
