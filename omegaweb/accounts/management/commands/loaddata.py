"""Django's loaddata, which with --if-absent leaves alone what is there: edits survive."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.core.management.commands import loaddata


class Command(loaddata.Command):
    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--if-absent",
            action="store_true",
            help="Load a fixture (JSON) only where none of its objects' models has any object.",
        )

    def handle(self, *labels: str, **options: Any) -> None:
        if options["if_absent"]:
            kept = [label for label in labels if self._is_loaded(label)]
            for label in kept:
                self.stdout.write(f"{label} is loaded already.")
            labels = tuple(label for label in labels if label not in kept)
        if labels:
            super().handle(*labels, **options)

    def _is_loaded(self, label: str) -> bool:
        from django.conf import settings

        files = [folder / label for folder in settings.FIXTURE_DIRS if (folder / label).is_file()]
        if not files:
            raise CommandError(f"there is no fixture {label}")
        models = {item["model"] for item in json.loads(files[0].read_text("utf-8"))}
        return any(apps.get_model(model).objects.exists() for model in models)
