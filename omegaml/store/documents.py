"""Python data in a collection of its own per put; an append adds documents, seen whole or not at all.

`kind_meta.ids` lists the documents that belong to the object, in order. What stock omegaml wrote has no such
list: all that is in the collection belongs to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import bson
from bson import ObjectId
from pymongo.collection import Collection
from pymongo.database import Database

from omegaml.backends.base import Backend, Documents
from omegaml.errors import Mismatch, OmegaError
from omegaml.mongo import JOURNALED, translated, unbroken
from omegaml.store.base import Added, Selection, Written, stale
from omegaml.store.names import Names


class DocumentsStorage:
    """Stores `Documents`: the metadata's `collection` holds them."""

    def __init__(self, db: Database[Any], names: Names) -> None:
        self.db = db
        self.names = names

    def write(self, payloads: Iterable[Documents], doc: Mapping[str, Any]) -> Written:
        """Store the documents in a new collection. Raises: StorageFull, Unavailable."""
        payload, *more = payloads
        for other in more:
            _check_append(payload, other.meta, doc)
        docs: list[dict[str, Any]] = [{"_id": ObjectId(), **d} for p in [payload, *more] for d in p.docs]
        ids = [d["_id"] for d in docs]
        collection = self.names.fresh("data")
        try:
            with translated(), unbroken(self.db, repr(doc["name"])):
                self._journaled(collection).insert_many(docs)
        except BaseException:
            self._undo(collection)
            raise
        fields = {"collection": collection, "objid": ids[-1], "kind_meta": {**payload.meta, "ids": ids}}
        return Written(fields, sum(len(bson.encode(d)) for d in docs))

    def append(self, payloads: Iterable[Documents], doc: Mapping[str, Any]) -> Added:
        """Store more documents. Raises: Mismatch (not a list, or to no list)."""
        docs: list[dict[str, Any]] = []
        for payload in payloads:
            _check_append(payload, doc.get("kind_meta") or {}, doc)
            docs += [{"_id": ObjectId(), **d} for d in payload.docs]
        ids, collection = [d["_id"] for d in docs], doc["collection"]

        def undo() -> None:
            with suppress(OmegaError), translated():
                self.db[collection].delete_many({"_id": {"$in": ids}})

        try:
            with translated(), unbroken(self.db, repr(doc["name"])):
                self._journaled(collection).insert_many(docs)
        except BaseException:
            undo()
            raise

        change = {"$push": {"kind_meta.ids": {"$each": ids}}, "$set": {"objid": ids[-1]}}
        change["$inc"] = {"kind_meta.bytes": sum(len(bson.encode(d)) for d in docs)}
        return Added({"collection": collection}, change, undo)

    def get(self, doc: Mapping[str, Any], backend: Backend, asked: Selection) -> Any:
        """Return what the backend makes of the documents. Raises Stale."""
        asked.check_whole(doc)
        meta = doc.get("kind_meta") or {}
        ids = meta.get("ids")
        with translated():
            found = list(self.db[doc["collection"]].find(_query(doc)).sort("_id", 1))
        if ids is not None and len(found) != len(ids):
            raise stale(doc["name"])
        if ids is not None:
            places = {id: n for n, id in enumerate(ids)}
            found.sort(key=lambda d: places[d["_id"]])
        return backend.decode(Documents(found, meta), doc.get("format") or 0)

    def size(self, doc: Mapping[str, Any]) -> int:
        """The bytes that reading it takes."""
        summed = {"$group": {"_id": None, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}}
        with translated():
            found = list(self.db[doc["collection"]].aggregate([{"$match": _query(doc)}, summed]))
        return int(found[0]["bytes"]) if found else 0

    def copy(self, doc: Mapping[str, Any], name: str) -> Written:
        """Store the documents once more."""
        collection = self.names.fresh("data")
        with translated(), unbroken(self.db, repr(name)):
            source = self._journaled(doc["collection"])
            source.aggregate([{"$match": _query(doc)}, {"$out": collection}])
        meta: dict[str, Any] = doc.get("kind_meta") or {}
        fields = {"collection": collection, "objid": doc.get("objid"), "kind_meta": meta}
        return Written(fields, int(meta.get("bytes") or 0))

    def free(self, doc: Mapping[str, Any]) -> None:
        """Drop the collection."""
        if doc.get("collection"):
            with translated():
                self.db.drop_collection(doc["collection"])

    def _journaled(self, collection: str) -> Collection[Any]:
        return self.db[collection].with_options(write_concern=JOURNALED)

    def _undo(self, collection: str) -> None:
        with suppress(OmegaError), translated():
            self.db.drop_collection(collection)


def _query(doc: Mapping[str, Any]) -> dict[str, Any]:
    ids = (doc.get("kind_meta") or {}).get("ids")
    return {} if ids is None else {"_id": {"$in": ids}}


def _check_append(payload: Documents, meta: Mapping[str, Any], doc: Mapping[str, Any]) -> None:
    there, here = meta.get("container"), payload.meta.get("container")
    if there != here or there == "one":
        raise Mismatch(
            f"a list can be appended to a list; {doc['name']!r} is one value, or what is appended is",
            hint="put a list first, then append lists",
        )
