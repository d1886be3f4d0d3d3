"""Names: what an object may be called, how a name asks for columns or a version, where its data lies.

GridFS and file names are upstream omegaml's, so that both read each other's databases; collections are always
found through the metadata.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from bson import ObjectId

from omegaml.errors import InvalidInput

DEFAULT_BUCKET = "omegaml"
VERSIONS = "_versions/"
VERBS = frozenset(
    [
        *("statistics", "predict", "predict_proba", "fit", "partial_fit", "score", "transform"),
        *("decision_function", "run", "report", "grant", "versions", "schedule", "logs", "openapi.json"),
    ]
)
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\[\]@^*?]")
_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,60}")
_TAG = re.compile(r"[A-Za-z0-9._-]{1,60}")
_ASKED = re.compile(
    r"(?P<name>[^\[\]@^]+)(?:\[(?P<columns>\^?[^\[\]]*)\])?"
    r"(?:@(?P<tag>[^\[\]@^]+)|(?P<back>\^+))?(?:\[(?P<more>\^?[^\[\]]*)\])?"
)


def check_name(name: str) -> str:
    """Return `name`. Raises InvalidInput where an object cannot be called so."""
    if not isinstance(name, str) or not name or len(name.encode()) > 500:
        raise InvalidInput(f"{name!r} cannot be a name", hint="1 to 500 characters")
    if name != name.strip("/ ") or "//" in name or _FORBIDDEN.search(name):
        hint = "leave out [ ] @ ^ * ?, and a / or blank at either end"
        raise InvalidInput(f"{name!r} cannot be a name", hint=hint)
    if {".", ".."} & {*name.split("/")}:
        raise InvalidInput(f"{name!r} cannot be a name", hint="leave out the parts that are . or ..")
    if name.rsplit("/", 1)[-1] in VERBS:
        raise InvalidInput(
            f"{name!r} ends in a word that the REST API uses as a verb", hint="choose another last part"
        )
    return name


def check_bucket(bucket: str) -> str:
    if not _BUCKET.fullmatch(bucket):
        raise InvalidInput(f"{bucket!r} cannot be a bucket", hint="letters, digits, - and _")
    return bucket


def check_tag(tag: str) -> str:
    """Return `tag`. Raises InvalidInput where a version cannot be called so; a number is a version's own."""
    if not isinstance(tag, str) or not _TAG.fullmatch(tag) or tag.isdigit():
        raise InvalidInput(f"{tag!r} cannot be a tag", hint="letters, digits, . - and _, and not only digits")
    return tag


def is_hidden(name: str) -> bool:
    """Hidden objects are left out of lists unless asked for: those whose name begins with `.` or `_`."""
    return name.startswith((".", "_"))


def is_shared(name: object) -> bool:
    """Whether a name is one of an object of somebody else: none of one's own begins so."""
    return isinstance(name, str) and name.startswith("@")


@dataclass(frozen=True)
class Asked:
    """What a name asks for: `sales[a,b]`, `sales[^a]` (all but), `model@tag`, `model^` (one before)."""

    name: str
    columns: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()
    tag: str | None = None
    back: int = 0

    @classmethod
    def parse(cls, text: str) -> Asked:
        m = _ASKED.fullmatch(text) if isinstance(text, str) else None
        if is_shared(text):
            raise InvalidInput(
                f"{text!r} is another's: this cannot be done with it",
                hint="get, put or ask it, or copy it first",
            )
        if m is None:
            raise InvalidInput(
                f"{text!r} cannot be read as a name", hint="name, name[a,b], name[^a], name@tag or name^"
            )
        listed = m["columns"] if m["columns"] is not None else m["more"]
        back = len(m["back"] or "")
        if listed is None:
            return cls(m["name"], tag=m["tag"], back=back)
        labels = tuple(c.strip() for c in listed.lstrip("^").split(",") if c.strip())
        if not labels:
            raise InvalidInput(f"{text!r} names no column between [ and ]")
        if listed.startswith("^"):
            return cls(m["name"], None, labels, m["tag"], back)
        return cls(m["name"], labels, (), m["tag"], back)


@dataclass(frozen=True)
class Names:
    """Where the objects of one bucket and prefix lie in a database."""

    bucket: str
    prefix: str

    @property
    def files(self) -> str:
        """The GridFS prefix: `<files>.files` and `<files>.chunks`."""
        return DEFAULT_BUCKET if self.bucket == DEFAULT_BUCKET else f"{DEFAULT_BUCKET}_{self.bucket}"

    @property
    def frames(self) -> str:
        """The collection of columnar chunks. Not `<files>.chunks`: GridFS keeps a unique index there."""
        return f"{self.files}.frames"

    def fresh(self, kind: str) -> str:
        """A collection that nobody has: `<files>.<kind>.<id>`; the id says when it was made."""
        return f"{self.files}.{kind}.{ObjectId()}"

    def key(self, name: str, ext: str) -> str:
        return f"{self.bucket}.{self.prefix}.{name}.{ext}".replace("/", "_").replace("..", ".")

    def collection(self, name: str, ext: str = "datastore") -> str:
        """Upstream's collection or GridFS file name: the SHA-1 of the key, as hex."""
        return hashlib.sha1(self.key(name, ext).encode(), usedforsecurity=False).hexdigest()
