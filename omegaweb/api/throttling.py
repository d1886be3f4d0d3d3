"""How often one account, or one unknown caller's address, may call; counted by the minute in each process."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import wraps
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from omegaml.errors import OmegaError
from omegaweb.requests import network


class TooOften(OmegaError):
    """More calls in this minute than are allowed."""

    http_status = 429
    retry = True


def counted(scope: str, caller: Any) -> bool:
    """Count a call; tell whether it is within what `scope` allows the caller in this minute."""
    key = _key(scope, caller)
    cache.add(key, 0, 120)
    return bool(cache.incr(key) <= settings.CALLS_PER_MINUTE[scope])


def uncount(scope: str, caller: Any) -> None:
    """Take back one call that was counted."""
    with suppress(ValueError):  # its minute is over
        cache.decr(_key(scope, caller))


def _key(scope: str, caller: Any) -> str:
    return f"calls-{scope}-{caller}-{int(time.time() // 60)}"


def rest_of_minute() -> float:
    return 60 - time.time() % 60


def sender(request: HttpRequest) -> str:
    """Who has sent the form of which page."""
    return f"{request.resolver_match.url_name}-{network(request)}"


def limited(view: Any) -> Any:
    """Wrap a page so that one address can send its form, or try its link, only so often in a minute.

    Each page has its own count, so that who fills one of them leaves the others to those behind his address.
    """

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        tries = request.method == "POST" or kwargs or request.GET.get("invitation")
        if tries and not counted("form", sender(request)):
            wait = max(1, round(rest_of_minute()))
            raise TooOften("there were too many tries from your address", f"wait {wait} seconds", after=wait)
        return view(request, *args, **kwargs)

    return checked


class _PerMinute(BaseThrottle):
    """One counter for each caller and minute: DRF's own throttles keep the time of every call instead."""

    scope: str

    def caller(self, request: Request) -> Any:
        """Who is counted; None for those that this throttle is not about."""
        raise NotImplementedError

    def allow_request(self, request: Request, view: Any) -> bool:
        caller = self.caller(request)
        if caller is None:
            return True
        return counted(self.scope, caller)

    def wait(self) -> float:
        return rest_of_minute()


class PerAccount(_PerMinute):
    scope = "account"

    def caller(self, request: Request) -> Any:
        return request.user.pk if request.user else None


class PerAddress(_PerMinute):
    scope = "address"

    def caller(self, request: Request) -> Any:
        return None if request.user else network(request)
