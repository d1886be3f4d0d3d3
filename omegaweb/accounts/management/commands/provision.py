"""Make the backing services know the accounts: `manage.py provision --all`, or one by its userid."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from omegaml.errors import OmegaError
from omegaweb import provision
from omegaweb.accounts.models import User


class Command(BaseCommand):
    help = "Make or repair the users of MongoDB that belong to accounts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("userid", nargs="?")
        parser.add_argument("--all", action="store_true", help="Every account.")
        parser.add_argument("--rotate", action="store_true", help="New passwords; ends what is connected.")
        parser.add_argument(
            "--password-file",
            type=Path,
            help="Holds the password that the user has already (not with --all).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        userid, file = options["userid"], options["password_file"]
        if bool(userid) == options["all"] or (file and options["all"]):
            raise CommandError("name one account, or give --all")
        users = User.objects.filter(**({} if options["all"] else {"username": userid}))
        if userid and not users:
            raise CommandError(f"there is no account {userid}")
        password = file.read_text("utf-8").strip() if file else None
        failed = []
        for user in users:
            try:
                provision.rotate(user) if options["rotate"] else provision.provision(user, password)
                self.stdout.write(f"{user.username}: ok")
            except OmegaError as error:
                failed.append(user.username)
                self.stderr.write(f"{user.username}: {error.message}")
        if failed:
            raise CommandError(f"not provisioned: {', '.join(failed)}")
