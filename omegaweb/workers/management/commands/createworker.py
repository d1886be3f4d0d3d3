"""Make the account by which a runner serves all others: `manage.py createworker --key-file PATH`."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from omegaml.config import write_private
from omegaml.errors import OmegaError
from omegaweb import roles
from omegaweb.accounts.models import ApiKey, User, digest
from omegaweb.workers.secretfile import read_secret

USERID = "runner"
SHORTEST = 20  # characters of a key that somebody else has made


class Command(BaseCommand):
    help = f"Make the account {USERID!r} of role worker, with the key in a file as its one key."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--key-file",
            type=Path,
            required=True,
            help="Holds the API key, closed to others; written where there is none.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["key_file"]
        with transaction.atomic():
            user, is_new = _account()
            text = _read(file)
            if text is None:
                key, text = ApiKey.issue(user, "runner")
                try:
                    write_private(file, text + "\n")
                except OmegaError as error:
                    raise CommandError(str(error)) from None
            else:
                key = _key(user, text)
            others = user.keys.filter(revoked=None).exclude(pk=key.pk)
            others.update(revoked=timezone.now())
        self.stdout.write(f"{USERID}: {'made' if is_new else 'is there'}, with the key in {file}")


def _account() -> tuple[User, bool]:
    user = User.objects.filter(username=USERID).first()
    if user is None:
        # not by create_user, which refuses the name and the role to people
        user = User(username=USERID, role=roles.WORKER, display_name="carries out tasks")
        user.set_unusable_password()
        user.save()
        return user, True
    if user.role != roles.WORKER:
        raise CommandError(f"there is an account {USERID!r} of role {user.role}; delete or rename it first")
    if not user.is_active:
        raise CommandError(f"the account {USERID!r} is disabled; enable it in the admin pages first")
    return user, False


def _read(file: Path) -> str | None:
    try:
        text = read_secret(file)
    except OmegaError as error:
        raise CommandError(error.message) from None
    if text is not None and (len(text) < SHORTEST or len(text.split()) != 1):
        raise CommandError(f"{file} holds no key: one word of {SHORTEST} characters or more")
    return text


def _key(user: User, text: str) -> ApiKey:
    key = ApiKey.objects.filter(digest=digest(text)).first()
    if key is None:
        return ApiKey.objects.create(user=user, name="runner", prefix=text[:8], digest=digest(text))
    if key.user_id != user.pk:
        raise CommandError("the key in the file is one of another account")
    if not key.is_valid:
        key.revoked = key.expires = None
        key.save(update_fields=["revoked", "expires"])
    return key
