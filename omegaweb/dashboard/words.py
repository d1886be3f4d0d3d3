"""Sentences of the platform as HTML."""

from __future__ import annotations

import re

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe


def with_code(text: str) -> SafeString:
    """A sentence, escaped, in which `commands` look like such."""
    return mark_safe(re.sub("`([^`]+)`", r"<code>\1</code>", escape(text)))
