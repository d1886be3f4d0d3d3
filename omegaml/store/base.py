"""The seam between a payload and where its bytes lie: one storage per payload type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pymongo.database import Database

    from omegaml.backends.base import Payload
    from omegaml.store.names import Names


@dataclass(frozen=True)
class Written:
    """What a write left behind: `fields` go into the metadata document, `bytes` is the size stored."""

    fields: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0


class Storage(Protocol):
    """Stores payloads of one type. Nothing that `write` stores is visible before the metadata names it."""

    def write(
        self, db: Database[Any], names: Names, payload: Any, doc: Mapping[str, Any], append: bool
    ) -> Written:
        """Store `payload` under fresh ids. `doc` is the metadata document (`name`, `kind`, ...); with
        `append` it is the existing object's, which the payload is added to."""

    def read(self, db: Database[Any], names: Names, doc: Mapping[str, Any]) -> Payload:
        """Return the payload that `doc` names. Raises Corrupt where it is not what was written."""

    def free(self, db: Database[Any], names: Names, doc: Mapping[str, Any]) -> None:
        """Delete what `doc` names; nothing happens where it is gone already."""
