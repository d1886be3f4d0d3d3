"""The seam between a payload and where its bytes lie: one storage per payload type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from omegaml.errors import InvalidInput, Stale

if TYPE_CHECKING:
    from omegaml.backends.base import Backend
    from omegaml.query import Q


def stale(name: str) -> Stale:
    """The error that says: the data that the metadata of `name` points at is gone."""
    return Stale(f"{name!r} was replaced while it was read", hint="read it again")


@dataclass(frozen=True)
class Written:
    """What a write left behind: `fields` go into the metadata document, `bytes` is the size stored."""

    fields: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0


@dataclass(frozen=True)
class Added:
    """What was stored to be added to an object, and is not part of it yet.

    Attributes:
        match: what the metadata document must still say.
        change: the update that makes the addition visible.
        undo: deletes what was stored.
    """

    match: dict[str, Any]
    change: dict[str, dict[str, Any]]
    undo: Callable[[], None]


@dataclass(frozen=True)
class Once:
    """What tells an append that is sent again from a new one.

    Attributes:
        key: the name that the writer gave to it.
        content: the digest of what is appended.
    """

    key: str
    content: str


@dataclass(frozen=True)
class Selection:
    """Which columns and rows of a dataset are asked for, and as what; all of it where nothing is said."""

    columns: Sequence[Any] | None = None
    excluded: Sequence[str] = ()
    as_: str | None = None
    limit: int | None = None
    q: Q | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)

    def check_whole(self, doc: Mapping[str, Any]) -> None:
        """Raise InvalidInput unless everything is asked for: the object has no columns to choose from."""
        if self != Selection():
            raise InvalidInput(f"{doc['name']!r} ({doc['kind']}) has no columns to choose from")


class Storage(Protocol):
    """Stores payloads of one type in one database. `doc` is always an object's metadata document.

    What `write` and `append` store is not visible before the metadata document says so.
    """

    def write(self, payloads: Iterable[Any], doc: Mapping[str, Any]) -> Written:
        """Store the payloads, one after the other, as one object. `doc` has its name and kind."""

    def append(self, payloads: Iterable[Any], doc: Mapping[str, Any]) -> Added:
        """Store what is to be added to the object. Raises Mismatch (it does not fit), InvalidInput."""

    def get(self, doc: Mapping[str, Any], backend: Backend, asked: Selection) -> Any:
        """Return the object, or what is asked of it. Raises Stale where its data is gone, Corrupt."""

    def copy(self, doc: Mapping[str, Any], name: str) -> Written:
        """Store the object's data once more, for an object called `name`."""

    def free(self, doc: Mapping[str, Any]) -> None:
        """Delete the object's data; nothing happens where it is gone already."""
