"""JSON bodies of the routes that hold them in memory, and the most that these take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from omegaml.errors import InvalidInput


class TooLarge(InvalidInput):
    """A body larger than the route takes."""

    http_status = 413


class Json(JSONParser):
    """What a few words need; Django's own limit on bodies does not hold for those that DRF reads."""

    most = 1 << 20
    hint = ""

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Raises TooLarge, before anything is read, and ParseError."""
        length = (parser_context or {})["request"].META.get("CONTENT_LENGTH") or 0
        if int(length) > self.most:
            raise TooLarge(f"the body is larger than {self.most:,} bytes", hint=self.hint or None)
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("the body is nested too deeply") from None
