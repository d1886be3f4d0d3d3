"""Cursors: where a page of a dataset ended, so that the next one begins there and in the same data.

A cursor is our own signed word, for the same filters and sort as the page's that gave it. It holds no values:
the number of the last row says where it stands in any order. Rows that are appended meanwhile are not seen;
of a dataset that was replaced nothing is shown.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from typing import Any, TypeVar

from django.core import signing
from django.http import QueryDict

from omegaml.errors import Conflict, InvalidInput
from omegaweb.api.selecting import Lazy, is_filter

PARAMETER = "cursor"
_SALT = "omegaweb.api.cursors"
_BOUND = ("sort", "version")
_Lazy = TypeVar("_Lazy", bound=Lazy)


@dataclass(frozen=True)
class Cursor:
    """Where to go on.

    Attributes:
        data: which data it is.
        size: how much of it there was on the first page.
        row: the number of the last row that was shown; None where the place alone says it.
        place: how many rows were before.
        asked: of which filters and sort these are the places.
    """

    data: str
    size: int
    row: int | None
    place: int
    asked: str

    @classmethod
    def of(cls, asked: QueryDict) -> Cursor | None:
        """The cursor of a request. Raises InvalidInput for what is none of ours, or of another query."""
        text = asked.get(PARAMETER)
        if text is None:
            return None
        if "offset" in asked:
            raise InvalidInput("offset and cursor both say where to begin", hint="leave one of them out")
        try:
            found = cls(*signing.loads(text, salt=_SALT))
        except (signing.BadSignature, TypeError):
            raise InvalidInput(
                f"cursor={text[:40]!r} is none of ours", hint="take it from meta.next as it is"
            ) from None
        if found.asked != _digest(asked):
            raise InvalidInput(
                "the cursor was given for other filters, another sort or another version",
                hint="leave it out to begin anew",
            )
        return found

    @classmethod
    def behind(cls, lazy: Lazy, asked: QueryDict, row: int | None, place: int) -> Cursor:
        """The cursor of what follows the first `place` rows, of which `row` is the last."""
        return cls(*lazy.snapshot, row, place, _digest(asked))

    @property
    def text(self) -> str:
        return signing.dumps(astuple(self), salt=_SALT)

    def check(self, lazy: Lazy, name: str) -> None:
        """Raise Conflict unless the dataset still is the one that the cursor is of."""
        data, size = lazy.snapshot
        if data != self.data or size < self.size:
            what = f"dataset {name!r} was replaced since the first page"
            raise Conflict(what, hint="leave the cursor out to begin anew")

    def rest(self, lazy: _Lazy) -> _Lazy:
        """The rows that are still to come."""
        return lazy.after(self.row) if self.row is not None else lazy[self.place :]  # type: ignore[return-value]


def _digest(asked: QueryDict) -> str:
    bound: list[Any] = [(key, asked.getlist(key)) for key in sorted(asked) if is_filter(key) or key in _BOUND]
    return hashlib.sha256(repr(bound).encode()).hexdigest()[:16]
