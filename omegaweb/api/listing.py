"""Lists and pages: `{meta: {limit, next, offset, previous, total_count}, objects: [...]}`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rest_framework.request import Request

from omegaml.errors import InvalidInput

LIMIT, MOST = 50, 500
LAST = 10**12  # an offset beyond it is no offset


@dataclass(frozen=True)
class Page:
    """Which part of something is asked for, by `?limit=` and `?offset=`."""

    limit: int
    offset: int

    @classmethod
    def of(cls, request: Request, limit: int = LIMIT, most: int = MOST, hint: str | None = None) -> Page:
        """Raises InvalidInput naming the parameter that is no number, or too large."""
        return cls(
            number(request, "limit", limit, most, hint or f"ask for at most {most:,} at a time"),
            number(request, "offset", 0, LAST),
        )

    def meta(self, request: Request, has_more: bool, total: int | None) -> dict[str, Any]:
        """What a page says of itself; `next` and `previous` are paths, null where there is none."""
        before = max(0, self.offset - self.limit)
        return {
            "limit": self.limit,
            "offset": self.offset,
            "next": self._at(request, self.offset + self.limit) if has_more and self.limit else None,
            "previous": self._at(request, before) if self.offset else None,
            "total_count": total,
        }

    def _at(self, request: Request, offset: int) -> str:
        query = request.query_params.copy()
        query["limit"], query["offset"] = str(self.limit), str(offset)
        return f"{request.path}?{query.urlencode()}"


def number(request: Request, name: str, default: int, most: int, hint: str | None = None) -> int:
    """A parameter that counts something, from 0 to `most`."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise InvalidInput(f"{name}={text[:40]!r} is no number", hint=f"as {name}={default}")
    if int(text) > most:
        raise InvalidInput(f"{name}={text} is more than {most:,}", hint=hint)
    return int(text)


def listed(request: Request, page: Page, objects: Sequence[Any], total: int) -> dict[str, Any]:
    """A page of a list."""
    has_more = page.offset + len(objects) < total and bool(objects)
    return {"meta": page.meta(request, has_more, total), "objects": objects}
