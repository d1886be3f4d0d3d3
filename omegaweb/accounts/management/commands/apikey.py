"""Give an account an API key, in a file: `manage.py apikey USERID --key-file PATH`."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from omegaml.config import write_private
from omegaml.errors import OmegaError
from omegaweb import audit
from omegaweb.accounts.models import ApiKey, User


class Command(BaseCommand):
    help = "Write an API key of an account to a file closed to others; a good one there already stays."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("userid")
        parser.add_argument("--key-file", type=Path, required=True, help="Where the key goes.")
        parser.add_argument("--name", default="cluster", help="What the key is for; one earlier of it ends.")

    def handle(self, *args: Any, **options: Any) -> None:
        userid, file, name = options["userid"], options["key_file"], options["name"]
        user = User.objects.filter(username=userid, is_active=True).first()
        if user is None:
            raise CommandError(f"there is no enabled account {userid}")
        if User.objects.with_key(userid, _read(file)):
            self.stdout.write(f"{userid}: the key in {file} is good")
            return
        try:
            with transaction.atomic():
                user.keys.filter(name=name, revoked=None).update(revoked=timezone.now())
                key, text = ApiKey.issue(user, name)
                write_private(file, text + "\n")
        except OmegaError as error:
            raise CommandError(str(error)) from None
        audit.record("key.made", userid=userid, object=str(key))
        self.stdout.write(f"{userid}: made a key in {file}")


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}") from None
