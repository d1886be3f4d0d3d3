"""Users in the backing services: made with the account, repaired at any time, removed with it.

The password by which a user reaches MongoDB is random, known to nobody but the services, and kept encrypted:
a client gets it from the config route, omegaweb itself uses it to read that user's data. The credential
that makes users is used here and nowhere else.
"""

from __future__ import annotations

import logging
import secrets
import string
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from omegaml import admin
from omegaml.errors import ConfigInvalid, OmegaError
from omegaweb import roles
from omegaweb.provision import rabbitmq
from omegaweb.provision.sealed import seal, unseal

if TYPE_CHECKING:
    from omegaweb.accounts.models import ServiceLogin, User

_log = logging.getLogger(__name__)
_ALPHABET = string.ascii_letters + string.digits  # so that it stands in any URL and file as it is


def provision(user: User, password: str | None = None) -> None:
    """Make the services know the account as it is now: its login, or none while it is disabled.

    May be repeated; what is right already stays. A login keeps its password unless one is given, or the
    account is disabled.

    Raises: Unavailable, AuthFailed (the provisioning credential).
    """
    login = service_login(user, password)
    if user.is_active and user.role != roles.WORKER:
        admin.ensure_account(settings.CONFIGURATION.mongo_url, user.username, mongo_password(login))
        if settings.CONFIGURATION.broker_admin_url:
            rabbitmq.ensure_user(
                settings.CONFIGURATION.broker_admin_url, user.username, unseal(login.broker_password)
            )
    else:
        forget(user.username)
        # a connection opened before would be refused for ever where the login is the same once enabled again
        login.mongo_password, login.broker_password = seal(_password()), seal(_password())
    login.provisioned = timezone.now()
    login.save()


def try_provision(user: User) -> bool:
    """As `provision`, but False where a service is away: the account stays, and is repaired later."""
    try:
        provision(user)
        return True
    except OmegaError as error:
        _log.warning("account %s is not provisioned: %s", user, error.message)
        return False


def rotate(user: User) -> None:
    """Give the account a new password and end what is connected with the old one.

    An open connection survives a change of password, but not that its user is made anew.
    """
    login = service_login(user)
    login.mongo_password, login.broker_password = seal(_password()), seal(_password())
    login.provisioned = None
    login.save()
    forget(user.username)
    provision(user)


def forget(userid: str, data: bool = False) -> None:
    """Remove the logins of an account, and with `data` its database. Raises: as `provision`."""
    admin.drop_account(settings.CONFIGURATION.mongo_url, userid, data=data)
    if settings.CONFIGURATION.broker_admin_url:
        rabbitmq.drop_user(settings.CONFIGURATION.broker_admin_url, userid)


def service_login(user: User, password: str | None = None) -> ServiceLogin:
    """The account's logins, made where there are none; with `password`, that one from now on."""
    from omegaweb.accounts.models import ServiceLogin

    found = getattr(user, "service_login", None)  # a query, unless it was read with the account
    if found is None:
        fresh = {"mongo_password": seal(password or _password()), "broker_password": seal(_password())}
        with transaction.atomic():
            found, _ = ServiceLogin.objects.get_or_create(user=user, defaults=fresh)
    if password and mongo_password(found) != password:
        found.mongo_password = seal(password)
        found.save(update_fields=["mongo_password"])
    return found


def mongo_password(login: ServiceLogin) -> str:
    return unseal(login.mongo_password)


def mongo_url(user: User, host: str | None = None) -> str:
    """The URL by which the user reaches the own database, at `host` (`host:port`) or where omegaweb does."""
    server = host or settings.CONFIGURATION.mongo_server
    return admin.account_url(server, user.username, mongo_password(service_login(user)))


def broker_url(user: User, broker: str) -> str | None:
    """The URL by which the user reaches the broker at `broker`; None where the platform has none."""
    if not (broker and settings.CONFIGURATION.broker_admin_url):
        return None
    return rabbitmq.login_url(broker, user.username, unseal(service_login(user).broker_password))


def service_url(name: str, broker: str, known: str | None = None) -> str:
    """Make a service user of the broker; return the URL by which it reaches it.

    Args:
        broker: the broker as that service reaches it, without a login.
        known: the URL it has already, of which the password stays.
    Raises: as `rabbitmq.ensure_user`, ConfigInvalid (`known` is another user's).
    """
    url = settings.CONFIGURATION.broker_admin_url
    if known is None:
        rabbitmq.drop_user(url, name)  # what is connected with a password that is no more
        password = _password()
    else:
        parts = urlsplit(known)
        if parts.username != name or not parts.password:
            raise ConfigInvalid(f"this is no URL of the service user {name}")
        password = unquote(parts.password)
    rabbitmq.ensure_service(url, name, password)
    return rabbitmq.login_url(broker, name, password)


def _password() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(32))
