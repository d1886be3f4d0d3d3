"""Django's createsuperuser, which also takes the password from a file, and can be repeated.

By environment (DJANGO_SUPERUSER_USERNAME, _EMAIL, _PASSWORD) and by typing it works as in Django.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from omegaweb.accounts.models import User


class Command(createsuperuser.Command):
    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--password-file", type=Path, help="File that holds the password; asks nothing then."
        )
        parser.add_argument("--if-absent", action="store_true", help="An account of that name is no error.")

    def handle(self, *args: Any, **options: Any) -> None:
        name, file = options.get("username"), options.get("password_file")
        if options["if_absent"] and name and User.objects.filter(username=name).exists():
            self.stdout.write(f"There is a user {name} already.")
            return
        if file is None:
            super().handle(*args, **options)
            return
        try:
            password = file.read_text("utf-8").strip()
            User.objects.create_superuser(name or "", options.get("email"), password)
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        self.stdout.write("Superuser created successfully.")
