"""What follows when an account is made, disabled or deleted, and when somebody signs in or fails to."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_delete
from django.dispatch import receiver

from omegaweb import audit, provision
from omegaweb.accounts.models import RetiredUserid, User
from omegaweb.api.throttling import counted
from omegaweb.requests import network


@receiver(post_save, sender=User)
def saved(sender: Any, instance: User, update_fields: frozenset[str] | None = None, **kwargs: Any) -> None:
    """Give the account its logins, or take them away; once the account itself is sure to stay."""
    if update_fields is None or "is_active" in update_fields:  # signing in saves the account too
        transaction.on_commit(lambda: provision.try_provision(instance))


@receiver(pre_delete, sender=User)
def going(sender: Any, instance: User, **kwargs: Any) -> None:
    """Remove the logins, or keep the account: of one that is gone nobody could remove them any more."""
    provision.forget(instance.username)


@receiver(post_delete, sender=User)
def deleted(sender: Any, instance: User, **kwargs: Any) -> None:
    """Retire the userid; the data goes with `provision.forget`."""
    RetiredUserid.objects.get_or_create(userid=instance.username)


@receiver(user_logged_in)
def signed_in(sender: Any, request: Any, user: User, **kwargs: Any) -> None:
    audit.record("sign-in", request, userid=user.username)


@receiver(user_login_failed)
def refused(sender: Any, credentials: dict[str, Any], request: Any = None, **kwargs: Any) -> None:
    """Write down a wrong password, as far as one address is not sending them in floods."""
    if request is not None and not request.path.startswith("/api/") and counted("refused", network(request)):
        audit.record("sign-in.refused", request, userid=str(credentials.get("username", "")))
