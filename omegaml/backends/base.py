"""The seam between object kinds and storage: a backend turns an object into a payload and back.

A backend is a codec and does no I/O. Which storage carries a payload follows from the payload's type
(`omegaml.store`): `Blob` goes to GridFS, `Documents` and `Rows` to a collection of their own, `Table` to
the columnar chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

from omegaml.errors import NotStorable

if TYPE_CHECKING:
    import pyarrow as pa

    from omegaml.backends.columnar.schema import Schema


@dataclass(frozen=True)
class Blob:
    """One stream of bytes.

    `data` is bytes-like, or a binary file object that is read once, from where it stands.
    `size` is its length in bytes where that is known beforehand (for progress).
    """

    data: bytes | bytearray | memoryview | BinaryIO
    meta: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None

    def read(self) -> bytes | bytearray | memoryview:
        """Return all of it; a file object is read to its end."""
        if isinstance(self.data, bytes | bytearray | memoryview):
            return self.data
        return self.data.read()


@dataclass(frozen=True)
class Documents:
    """A few BSON documents, each below 16 MB, in order."""

    docs: Sequence[Mapping[str, Any]]
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Columns of Arrow arrays and what they mean.

    `column(i, start, stop)` converts these rows of stored column `i` (data columns first, then index levels)
    when they are asked for, all of them by default, and may be called from several threads.
    """

    schema: Schema
    rows: int
    column: Callable[..., pa.Array | pa.ChunkedArray]


@dataclass(frozen=True)
class Rows:
    """A table as BSON documents, one per row.

    `batches(start)` yields `(buffer, offsets)`: `buffer[offsets[i]:offsets[i + 1]]` is one BSON document;
    `start` is the number of the first row (`_om#rowid`), which goes on where an append begins.
    """

    rows: int
    batches: Callable[[int], Iterable[tuple[memoryview, Sequence[int]]]]
    meta: Mapping[str, Any] = field(default_factory=dict)


Payload = Blob | Documents | Table | Rows


def check_type(obj: object, *exact: type) -> None:
    """Raise NotStorable for an object of a subclass, which would come back as one of its base class."""
    kind = type(obj)
    if kind not in exact:
        base = next(t for t in (*exact, object) if issubclass(kind, t)).__name__
        raise NotStorable(
            f"a {kind.__module__}.{kind.__qualname__} would come back as a plain {base}",
            hint=f"convert it to a {base} first",
        )


@runtime_checkable
class Backend(Protocol):
    """How objects of one kind are stored.

    Attributes:
        kind: the name in the metadata document, upstream's where upstream has one.
        format: the newest layout; `encode` writes it and `decode` reads it and every older one.
        payload: the payload type, which decides the storage.
        name: what a user types as `format=` to choose this backend where several accept an object.
    """

    kind: str
    format: int
    payload: type
    name: str

    def accepts(self, obj: object) -> bool:
        """Tell whether this backend can store `obj`; must not import the object's framework."""

    def encode(self, obj: Any) -> Payload:
        """Return the payload. Raises NotStorable, naming the part that cannot be kept exactly."""

    def decode(self, payload: Any, format: int) -> Any:
        """Return the object, equal to the one that was encoded."""
