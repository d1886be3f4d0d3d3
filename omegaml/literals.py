"""Values that come as text: `5` is a number, `2026-01-31` a date, `null` nothing."""

from __future__ import annotations

import re
from typing import Any

_NUMBER = re.compile(r"[+-]?(?=\.?\d)(\d+(_\d+)*)?(\.\d*)?([eE][+-]?\d+)?")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?")
_WORDS = {"true": True, "false": False, "null": None, "none": None}


def scalar(text: str) -> Any:
    """Return what `text` means: numbers, true, false, null and dates are what they look like."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _NUMBER.fullmatch(text):
        try:
            return int(text)
        except ValueError:
            return float(text)
    if text.lower() in ("nan", "inf", "-inf"):
        return float(text)
    if _TIME.fullmatch(text):
        from datetime import datetime

        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return text
    return text
