"""What happens to the backing services when an account is made, disabled or deleted."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from omegaweb import provision
from omegaweb.accounts.models import RetiredUserid, User


@receiver(post_save, sender=User)
def saved(sender: Any, instance: User, update_fields: frozenset[str] | None = None, **kwargs: Any) -> None:
    """Give the account its logins, or take them away; once the account itself is sure to stay."""
    if update_fields is None or "is_active" in update_fields:  # signing in saves the account too
        transaction.on_commit(lambda: provision.try_provision(instance))


@receiver(post_delete, sender=User)
def deleted(sender: Any, instance: User, **kwargs: Any) -> None:
    """Retire the userid and remove the logins; the data goes with `provision.forget`."""
    RetiredUserid.objects.get_or_create(userid=instance.username)
    userid = instance.username
    transaction.on_commit(lambda: provision.try_forget(userid))
