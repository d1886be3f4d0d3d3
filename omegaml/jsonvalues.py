"""Any value as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def dumps(value: Any, indent: int | None = None) -> str:
    """`value` as JSON: times in ISO-8601 UTC, ids as text, NaN as null."""
    import json

    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def plain(value: Any) -> Any:
    """`value` made of nothing but what JSON has."""
    if value is None or isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        import base64

        return base64.b64encode(value).decode()
    if hasattr(value, "isoformat"):
        return _time(value)
    if hasattr(value, "tolist"):  # numpy and pandas, without importing them
        return plain(value.tolist())
    return str(value)


def _time(value: Any) -> str | None:
    if value != value:  # NaT
        return None
    if getattr(value, "tzinfo", None) is not None and hasattr(value, "astimezone"):
        from datetime import UTC

        return str(value.astimezone(UTC).isoformat()).replace("+00:00", "Z")
    return str(value.isoformat())
