"""Remove what is over and kept for nothing: `manage.py trim`. omegaweb does so itself, every hour."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from omegaweb.trimming import trim


class Command(BaseCommand):
    help = "Remove old audit entries, sessions and tries to sign in that are over, and old invitations."

    def handle(self, *args: Any, **options: Any) -> None:
        for name, count in trim().items():
            self.stdout.write(f"{name}: {count}")
