"""In which form an answer comes: as the header Accept or `?format=` wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import Http404
from rest_framework.negotiation import DefaultContentNegotiation

from omegaml.errors import InvalidInput


class Negotiation(DefaultContentNegotiation):
    """As DRF's, but a format that is not known is a wrong request, and no route that is missing."""

    def filter_renderers(self, renderers: Sequence[Any], format: str) -> Any:
        try:
            return super().filter_renderers(renderers, format)
        except Http404:
            known = ", ".join(renderer.format for renderer in renderers)
            raise InvalidInput(f"format={format[:40]!r} is not known here", hint=f"one of {known}") from None
