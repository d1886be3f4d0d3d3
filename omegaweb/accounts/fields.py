"""Form fields of the settings at /admin/constance/config/."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from django import forms

_HOST = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:(\d{1,5}))?")


class HostField(forms.CharField):
    """`host` or `host:port`, without scheme, user or path."""

    def clean(self, value: object) -> str:
        text = super().clean(value).strip()
        match = _HOST.fullmatch(text)
        if not match or int(match[4] or 1) not in range(1, 65536):
            raise forms.ValidationError("A host name, or host:port, as in mongodb.example.com:27017.")
        return text


class BrokerUrlField(forms.CharField):
    """`amqp://host:port/vhost` without user and password; the misspelt `ampq://` is taken for it."""

    def clean(self, value: object) -> str:
        text = super().clean(value).strip()
        return broker_url(text) if text else ""


def broker_url(text: str) -> str:
    """Return the broker's URL as it is stored. Raises forms.ValidationError for what is none."""
    text = re.sub(r"^ampq(s?)://", r"amqp\1://", text)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("amqp", "amqps") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise forms.ValidationError("A URL as amqp://public-host:5672/vhost, the vhost may be left out.")
    if "@" in parts.netloc:
        raise forms.ValidationError("Leave out user and password: every client gets its own.")
    return text
