"""How often one account, or one unknown caller's address, may call."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from omegaweb.requests import address


class PerAccount(SimpleRateThrottle):
    scope = "account"

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        return f"throttle-account-{request.user.pk}" if request.user else None


class PerAddress(SimpleRateThrottle):
    scope = "address"

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        return None if request.user else f"throttle-address-{address(request)}"
