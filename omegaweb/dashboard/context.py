from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest

from omegaml import __version__


def platform(request: HttpRequest) -> dict[str, Any]:
    """What every page knows: where the platform is, and which version it is."""
    return {"platform_url": platform_url(request), "platform_version": __version__}


def platform_url(request: HttpRequest) -> str:
    """The platform's address as this visitor reached it, so that what is copied works there too."""
    try:
        return f"{request.scheme}://{request.get_host()}"
    except DisallowedHost:
        return str(settings.CONFIGURATION.url)
