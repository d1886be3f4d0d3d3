"""The catalog: the metadata documents of one bucket and prefix, and which of them a name means.

The document of the name holds the newest version. Older ones are kept as `_versions/<id>/<number>`, where
`<id>` is that document's `_id`, which stays when it is replaced or renamed: so each change is one atomic
update. A writer keeps the document that it is about to replace; a killed one leaves at most a second copy of
the newest, which nothing asks for, or versions of a dropped object, which `gc` finds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pymongo import ReturnDocument

from omegaml.errors import Conflict, InvalidInput, NotFound
from omegaml.metadata import COLLECTION, LATEST, Metadata
from omegaml.mongo import JOURNALED, ensure_index, translated
from omegaml.store.base import Once
from omegaml.store.names import VERSIONS, Asked

_NOUNS = {"data/": "dataset", "models/": "model", "jobs/": "job", "scripts/": "script"}
_BRIEF = {"kind_meta.segs": 0, "kind_meta.inline": 0, "kind_meta.schema": 0}


def _size(field: str) -> dict[str, Any]:
    return {"$size": {"$ifNull": [field, []]}}


# the number of columns: columnar tables list their types, then those of the index; rows their fields
_SCHEMA = "$kind_meta.schema"
_LEVELS = {"$cond": [{"$isArray": f"{_SCHEMA}.index.range"}, 0, _size(f"{_SCHEMA}.index.names")]}
_FIELDS = {
    "$filter": {
        "input": {"$ifNull": ["$kind_meta.columns", []]},
        "cond": {"$not": {"$regexMatch": {"input": {"$last": "$$this"}, "regex": "^(_idx#|_om#rowid)"}}},
    }
}
_WIDTH = {
    "$switch": {
        "branches": [
            {
                "case": {"$isArray": f"{_SCHEMA}.types"},
                "then": {"$subtract": [_size(f"{_SCHEMA}.types"), _LEVELS]},
            },
            {"case": {"$isArray": "$kind_meta.columns"}, "then": {"$size": _FIELDS}},
        ],
        "default": None,
    }
}

# how many appends are known to have been made, oldest forgotten first
_APPENDS = 100
_VISIBLE = {"$not": {"$regex": "^[._]"}}  # as names.is_hidden
_ORDERS = {"name": "name", "modified": "modified", "created": "created", "rows": "kind_meta.rows"}
_ORDERS |= {"bytes": "kind_meta.bytes", "kind": "kind"}

Doc = dict[str, Any]


class Catalog:
    """Finds and changes metadata documents; every change is journaled before it returns."""

    def __init__(self, db: Any, bucket: str, prefix: str) -> None:
        self.db = db
        self.bucket = bucket
        self.prefix = prefix

    @property
    def noun(self) -> str:
        return _NOUNS.get(self.prefix, "object")

    # --- reading

    def find(self, name: str) -> Doc | None:
        with translated():
            found: Doc | None = self._documents.find_one(self._key(name))
        return found

    def require(self, name: str) -> Doc:
        """Return the document of `name`. Raises NotFound."""
        found = self.find(name)
        if found is None:
            raise self._missing(name)
        return found

    def exists(self, name: str) -> bool:
        with translated():
            return self._documents.find_one(self._key(name), {"_id": 1}) is not None

    def resolve(self, asked: Asked, version: int | str | None = None) -> Doc:
        """Return the document that a name and version mean. Raises NotFound."""
        doc = self.require(asked.name)
        wanted: Any = version if version is not None else asked.tag
        if wanted is None and not asked.back:
            return doc
        current = doc.get("version") or 0
        tags = _versions(doc).get("tags") or {}
        if wanted is None:
            number = current - asked.back
        elif wanted in tags:
            number = tags[wanted]
        else:
            number = int(wanted) if str(wanted).isdecimal() else -1
        if number == current:
            return doc
        found = None
        if not isinstance(number, int):  # stock's are digests, below the object's name
            found = self.find(f"{VERSIONS}{asked.name}/{number}")
        elif 0 <= number < current:
            found = self.find(_kept_name(doc, number))
        if found is None:
            label = f"{asked.back} before the newest" if wanted is None else repr(wanted)
            raise NotFound(
                f"{self.noun} {asked.name!r} has no version {label}",
                hint=f"see `omegacli {self.noun}s show {asked.name}`",
            )
        return found

    def list(self) -> Sequence[Metadata]:
        """Return all objects, by name, without what only readers of their data need."""
        with translated():
            found = self._documents.find({"bucket": self.bucket, "prefix": self.prefix}, _BRIEF)
            return [Metadata.from_doc(doc) for doc in found.sort("name", 1)]

    def page(
        self, start: int, count: int, contains: str = "", sort: str = "name", outside: str = ""
    ) -> tuple[Sequence[Metadata], int]:
        """Return some of the objects that are not hidden, and how many there are: two queries in all.

        `kind_meta` of each has `width`, the number of a table's columns. Raises InvalidInput (sort, text).
        """
        field = _ORDERS.get(sort.removeprefix("-"))
        if field is None:
            raise InvalidInput(f"objects are not sorted by {sort!r}", hint=f"one of {', '.join(_ORDERS)}")
        if "\0" in contains:
            raise InvalidInput("no name has the character 0 in it", hint="search for another text")
        like: list[dict[str, Any]] = (
            [{"name": {"$regex": re.escape(contains), "$options": "i"}}] if contains else []
        )
        like += [{"name": {"$not": re.compile(f"^{re.escape(outside)}")}}] if outside else []
        match = {"$and": [{"bucket": self.bucket, "prefix": self.prefix}, {"name": _VISIBLE}, *like]}
        order = {field: -1 if sort.startswith("-") else 1, "name": 1}
        steps = [{"$match": match}, {"$project": {"kind_meta.inline": 0, "kind_meta.segs": 0}}]
        steps += [{"$sort": order}, {"$skip": start}, {"$limit": max(1, count)}]
        steps += [{"$set": {"kind_meta.width": _WIDTH}}, {"$project": _BRIEF}]
        with translated():
            found = [Metadata.from_doc(d) for d in self._documents.aggregate(steps)]
            return found[:count], self._documents.count_documents(match)

    def versions(self, name: str, match: Mapping[str, Any] | None = None) -> Sequence[Metadata]:
        """Return the versions that are kept, the newest (which the name means) first.

        Args:
            match: what the documents of those before the newest have to say.
        """
        doc = self.require(name)
        current = doc.get("version") or 0
        kept = [Metadata.from_doc({**d, "name": name}) for d in self._older(doc, match)]
        older = sorted((m for m in kept if (m.version or 0) < current), key=lambda m: -(m.version or 0))
        return [*([Metadata.from_doc(doc)] if self.keeps_versions(doc) else []), *older]

    def keeps_versions(self, doc: Mapping[str, Any]) -> bool:
        """Whether what replaces this object leaves it as a version: models always, others once asked for."""
        return self.prefix == "models/" or bool(_versions(doc).get("keep"))

    # --- changing

    def insert(self, doc: Doc) -> bool:
        """Add a document; False where its name is taken."""
        try:
            with translated():
                self._documents.insert_one(doc)
        except Conflict:
            return False
        return True

    def replace(self, old: Doc, new: Doc) -> bool:
        """Put `new` in the place of `old`; False where `old` was changed meanwhile."""
        same = {k: old.get(k) for k in ("_id", "version", "modified", "gridfile", "collection")}
        same["kind_meta.rows"] = (old.get("kind_meta") or {}).get("rows")
        with translated():
            return bool(self._documents.replace_one(same, {"_id": old["_id"], **new}).matched_count)

    def update(self, old: Doc, match: Mapping[str, Any], change: Mapping[str, Any]) -> Doc | None:
        """Change parts of a document; None where it does not say what `match` says any more."""
        same = {"_id": old["_id"], **match}
        with translated():
            after = ReturnDocument.AFTER
            found: Doc | None = self._documents.find_one_and_update(same, change, return_document=after)
        return found

    def keep(self, doc: Doc) -> None:
        """Keep a document that is about to be replaced as a version."""
        name = _kept_name(doc, doc.get("version") or 0)
        content = {k: v for k, v in doc.items() if k != "_id"}
        # another writer may be keeping the same one, and a killed one may have kept it as it was earlier
        with suppress(Conflict), translated():
            self._documents.replace_one(self._key(name), {**content, "name": name}, upsert=True)

    def appended(self, doc: Mapping[str, Any], once: Once) -> bool:
        """Tell whether this append was made before. Raises Conflict where its key stands for another one."""
        for known in doc.get("appends") or ():
            if known["key"] == once.key and known["content"] != once.content:
                raise Conflict(
                    f"key {once.key!r} was used for other rows before", hint="give every append its own key"
                )
            if known["key"] == once.key:
                return True
        return False

    def tag(self, doc: Doc, tag: str, version: int) -> bool:
        """Let `tag` mean `version`; False where the document was changed meanwhile."""
        attributes = dict(doc.get("attributes") or {})
        attributes["versions"] = {
            **_versions(doc),
            "tags": {**(_versions(doc).get("tags") or {}), tag: version},
        }
        return self.replace(doc, {**doc, "attributes": attributes, "modified": now()})

    def remove(self, name: str) -> Sequence[Doc]:
        """Remove an object, then its versions, and return their documents. Raises NotFound."""
        with translated():
            newest: Doc | None = self._documents.find_one_and_delete(self._key(name))
            if newest is None:
                raise self._missing(name)
            older = [*self._documents.find(self._key_of_versions(newest))]
            self._documents.delete_many({"_id": {"$in": [d["_id"] for d in older]}})
        return [newest, *older]

    def rename(self, name: str, new: str) -> None:
        """Give an object another name. Raises NotFound, Conflict."""
        try:
            with translated():
                changed = {"$set": {"name": new, "modified": now()}}
                if not self._documents.update_one(self._key(name), changed).matched_count:
                    raise self._missing(name)
        except Conflict:
            raise Conflict(
                f"there is a {self.noun} {new!r} already", hint="drop it first, or choose another name"
            ) from None

    def is_shared(self, doc: Doc, pointer: Mapping[str, Any]) -> bool:
        """Whether what replaced `doc`, or a version, points at the same data as it did."""
        if not self.keeps_versions(doc):
            return False
        keys = {"$or": [{"_id": doc["_id"]}, self._key_of_versions(doc)]}
        with translated():
            return self._documents.find_one({**keys, **pointer}, {"_id": 1}) is not None

    # --- inside

    @property
    def _documents(self) -> Any:
        with translated():
            ensure_index(self.db[COLLECTION], [("name", 1), ("bucket", 1), ("prefix", 1)], unique=True)
        return self.db[COLLECTION].with_options(write_concern=JOURNALED)

    def _older(self, doc: Doc, match: Mapping[str, Any] | None = None) -> Sequence[Doc]:
        with translated():
            return [*self._documents.find({**self._key_of_versions(doc), **(match or {})}, _BRIEF)]

    def _key(self, name: str) -> dict[str, str]:
        return {"name": name, "bucket": self.bucket, "prefix": self.prefix}

    def _key_of_versions(self, doc: Doc) -> dict[str, Any]:
        return {**self._key(""), "name": {"$regex": f"^{VERSIONS}{doc['_id']}/[0-9]+$"}}

    def _missing(self, name: str) -> NotFound:
        return NotFound(
            f"there is no {self.noun} {name!r} in bucket {self.bucket!r}",
            hint=f"see `omegacli {self.noun}s list`",
        )


def appending(once: Once) -> tuple[Doc, Doc]:
    """Return what the document must say for an append to be new, and the change that makes it known."""
    entry = {"key": once.key, "content": once.content}
    return {"appends.key": {"$ne": once.key}}, {"appends": {"$each": [entry], "$slice": -_APPENDS}}


def now() -> datetime:
    """The time as BSON keeps it: UTC without a zone, whole milliseconds."""
    time = datetime.now(UTC).replace(tzinfo=None)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def with_version(attributes: Doc, number: int, tag: str | None) -> Doc:
    """Return attributes that say: version `number` is kept, is the latest, and is what `tag` means."""
    versions = attributes.get("versions") or {}
    tags = {**(versions.get("tags") or {}), **({tag: number} if tag else {}), LATEST: number}
    return {**attributes, "versions": {**versions, "keep": True, "tags": tags}}


def _kept_name(doc: Mapping[str, Any], number: int) -> str:
    return f"{VERSIONS}{doc['_id']}/{number}"


def _versions(doc: Mapping[str, Any]) -> dict[str, Any]:
    return dict((doc.get("attributes") or {}).get("versions") or {})
