"""What is known of a stored object: one document, with upstream omegaml's field names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

COLLECTION = "metadata"
LATEST = "latest"


@dataclass
class Metadata:
    """One object's metadata.

    `kind_meta` belongs to the backend; `attributes` to the user. `created` and `modified` are UTC.
    `format` and `version` are ours; a document that stock omegaml wrote has neither and reads as format 0.
    """

    name: str
    bucket: str
    prefix: str
    kind: str
    id: Any = None
    format: int = 0
    version: int | None = None
    kind_meta: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    collection: str | None = None
    gridfile: Any = None
    objid: Any = None
    s3file: dict[str, Any] = field(default_factory=dict)
    uri: str | None = None
    created: datetime | None = None
    modified: datetime | None = None

    @property
    def rows(self) -> int | None:
        """How many rows a dataset has, where that is known."""
        return self.kind_meta.get("rows")

    @property
    def bytes(self) -> int | None:
        """How many bytes the object takes in the database, where that is known."""
        return self.kind_meta.get("bytes")

    @property
    def tags(self) -> dict[str, int]:
        return dict((self.attributes.get("versions") or {}).get("tags") or {})

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Metadata:
        known = {k: doc[k] for k in cls.__dataclass_fields__ if k in doc and doc[k] is not None}
        for k in ("created", "modified"):
            if k in known:
                known[k] = known[k].replace(tzinfo=UTC)
        return cls(id=doc.get("_id"), **known)

    def to_dict(self) -> dict[str, Any]:
        """Return what a person or program asks for, without the manifest, JSON-able but for the times."""
        return {
            "name": self.name,
            "kind": self.kind,
            "rows": self.rows,
            "bytes": self.bytes,
            "version": self.version,
            "bucket": self.bucket,
            "attributes": self.attributes,
            "created": self.created,
            "modified": self.modified,
        }
