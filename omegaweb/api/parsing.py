"""JSON bodies of the routes that hold them in memory, and the most that these take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from omegaml.errors import InvalidInput


class TooLarge(InvalidInput):
    """A body larger than the route takes."""

    http_status = 413


class Json(BaseParser):
    """What a few words need. No parser of DRF's: the bodies of those have one limit for all routes."""

    media_type = "application/json"
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
            return json.loads(stream.read().decode("utf-8"), parse_constant=_refused)
        except RecursionError:
            raise ParseError("the body is nested too deeply") from None
        except ValueError as error:
            raise ParseError(f"the body is no JSON: {error}") from None


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no value of JSON")
