from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from omegaml import __version__


def platform(request: HttpRequest) -> dict[str, Any]:
    """What every page knows: where the platform is, and which version it is."""
    return {"platform_url": settings.CONFIGURATION.url, "platform_version": __version__}
