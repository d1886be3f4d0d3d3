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

    def meta(self, request: Request, total: int | None, following: int | str | None) -> dict[str, Any]:
        """What a page says of itself; `next` and `previous` are paths, null where there is none.

        Args:
            following: the offset of the next page, or a cursor that stands for it.
        """
        before = max(0, self.offset - self.limit) if self.offset else None
        return {
            "limit": self.limit,
            "offset": self.offset,
            "next": self._at(request, following),
            "previous": self._at(request, before),
            "total_count": total,
        }

    def after(self, shown: int, total: int) -> int | None:
        """The offset of the next page, where there is one."""
        return self.offset + self.limit if shown and self.limit and self.offset + shown < total else None

    def _at(self, request: Request, place: int | str | None) -> str | None:
        if place is None:
            return None
        query = request.query_params.copy()
        for name in ("offset", "cursor"):
            query.pop(name, None)
        query["limit"] = str(self.limit)
        query["cursor" if isinstance(place, str) else "offset"] = str(place)
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
    return {"meta": page.meta(request, total, page.after(len(objects), total)), "objects": objects}
