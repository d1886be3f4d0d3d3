"""The addresses that clients are given, tried from here: a wrong one is seen before a client meets it."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from constance.utils import get_values_for_keys
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from omegaml import admin
from omegaml.errors import OmegaError
from omegaweb import provision
from omegaweb.access import access
from omegaweb.accounts.models import User
from omegaweb.roles import ADMIN

TIMEOUT = 3.0


@dataclass(frozen=True)
class Trial:
    """One setting, tried.

    Attributes:
        works: None where there is nothing to try.
        said: what came of it, in a sentence.
    """

    name: str
    value: str
    works: bool | None
    said: str


@access(ADMIN)
@never_cache
def external(request: HttpRequest) -> HttpResponse:
    """Try the external addresses, as a client of this administrator's account would use them."""
    return render(request, "dashboard/external.html", {"trials": trials(request.user)})


def trials(user: User) -> list[Trial]:
    given = get_values_for_keys(["MONGO_HOST", "BROKER_URL"])
    return [_mongo(user, given["MONGO_HOST"]), _broker(given["BROKER_URL"])]


def _mongo(user: User, host: str) -> Trial:
    began = time.perf_counter()
    try:
        version = admin.ping(provision.mongo_url(user, host), TIMEOUT)
    except OmegaError as error:
        return Trial("MONGO_HOST", host, False, str(error.message))
    took = 1e3 * (time.perf_counter() - began)
    return Trial("MONGO_HOST", host, True, f"MongoDB {version} took your login in {took:.0f} ms")


def _broker(url: str) -> Trial:
    if not url:
        return Trial("BROKER_URL", "", None, "there is no broker: tasks go to the runner of this platform")
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (5671 if parts.scheme == "amqps" else 5672)
    try:
        connection = socket.create_connection((host, port), TIMEOUT)
    except (OSError, UnicodeError) as error:
        return Trial("BROKER_URL", url, False, f"nothing answers at {host}:{port}: {error}")
    with connection:
        if parts.scheme == "amqp" and not _is_broker(connection):
            return Trial("BROKER_URL", url, False, f"what answers at {host}:{port} is no broker")
    if not settings.CONFIGURATION.broker_admin_url:
        said = "a broker answers, but omegaweb has no broker_admin_url, so that no account has a login there"
        return Trial("BROKER_URL", url, False, said)
    return Trial("BROKER_URL", url, True, f"a broker answers at {host}:{port}")


def _is_broker(connection: socket.socket) -> bool:
    """A broker answers a version that it does not know with its own (AMQP 0-9-1, 4.2.2)."""
    connection.settimeout(TIMEOUT)
    try:
        connection.sendall(b"AMQP\x00\x00\x00\x00")
        return connection.recv(4) == b"AMQP"
    except OSError:
        return False
