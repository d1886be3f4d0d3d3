"""Python data in a collection of its own per put; an append adds one document, seen whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import bson
from bson import ObjectId
from pymongo import WriteConcern
from pymongo.database import Database
from pymongo.errors import PyMongoError

from omegaml.backends.base import Documents
from omegaml.errors import InvalidInput, Mismatch
from omegaml.mongo import translated
from omegaml.store.base import Written
from omegaml.store.names import Names


class DocumentsStorage:
    """Stores `Documents`: the metadata's `collection` holds them in the order of their `_id`."""

    def write(
        self, db: Database[Any], names: Names, payload: Documents, doc: Mapping[str, Any], append: bool
    ) -> Written:
        """Store the documents in a new collection, or one more in the existing one.

        Raises: Mismatch (append to something that is not a list), InvalidInput (append of more than one
            document holds, 16 MB), StorageFull.
        """
        docs: list[dict[str, Any]] = [{"_id": ObjectId(), **d} for d in payload.docs]
        size = sum(len(bson.encode(d)) for d in docs)
        if append:
            self._check_append(payload, doc)
            collection = doc["collection"]
        else:
            collection = names.collection(doc["name"], f"{ObjectId()}.datastore")
        target = db[collection].with_options(write_concern=WriteConcern(w=1, j=True))
        try:
            with translated():
                target.insert_many(docs)
        except BaseException:
            if not append:
                with suppress(PyMongoError):  # the server may be the reason; then `gc` finds it later
                    db.drop_collection(collection)
            raise
        fields: dict[str, Any] = {"objid": docs[-1]["_id"]}
        if not append:
            fields |= {"collection": collection, "kind_meta": dict(payload.meta)}
        return Written(fields, size)

    def read(self, db: Database[Any], names: Names, doc: Mapping[str, Any]) -> Documents:
        """Return all documents, in the order in which they were stored."""
        with translated():
            found = list(db[doc["collection"]].find().sort("_id", 1))
        return Documents(found, doc.get("kind_meta") or {})

    def free(self, db: Database[Any], names: Names, doc: Mapping[str, Any]) -> None:
        """Drop the collection."""
        if doc.get("collection"):
            with translated():
                db.drop_collection(doc["collection"])

    def _check_append(self, payload: Documents, doc: Mapping[str, Any]) -> None:
        there, here = ((m or {}).get("container") for m in (doc.get("kind_meta"), payload.meta))
        if there != here or there == "one":
            raise Mismatch(
                f"a list can be appended to a list; {doc['name']!r} is one value, or what is appended is",
                hint="put a list first, then append lists",
            )
        if len(payload.docs) > 1:
            raise InvalidInput(
                "an append of Python data may have 16 MB", hint="append it in several parts, or store a frame"
            )
