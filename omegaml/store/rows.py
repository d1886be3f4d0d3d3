"""Row documents in a collection of their own: a fresh one for every put, so that a replace is one update.

An append adds rows to the collection under row numbers that were reserved for it, and makes them part of
the dataset by listing them in the metadata (`omega.parts`). Rows that no part lists are not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, DESCENDING, GEOSPHERE, WriteConcern
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError, WriteError

from omegaml.backends.base import Rows
from omegaml.backends.rows import ROWID, data_fields, field_of, index_fields, position
from omegaml.errors import Corrupt, InvalidInput, Mismatch
from omegaml.metadata import COLLECTION
from omegaml.mongo import translated
from omegaml.query import Expr, to_mongo
from omegaml.store.base import Written
from omegaml.store.names import VERSIONS, Names

MESSAGE_BYTES = 32 << 20
_ORDER = {"+": ASCENDING, "-": DESCENDING, "@": GEOSPHERE}
_Key = list[tuple[str, Any]]
_GONE = (26, 43, 175)  # NamespaceNotFound, CursorNotFound, QueryPlanKilled
_NEXT = "next_row"  # in the metadata document: the first row number that no writer has reserved


class RowsStorage:
    """Stores `Rows`: the metadata's `collection` holds one document per row."""

    def write(
        self, db: Database[Any], names: Names, payload: Rows, doc: Mapping[str, Any], append: bool
    ) -> Written:
        """Store the rows in a new collection, with the indexes that `payload.meta["indexes"]` asks for.

        Each index is a column's label, with `-` (descending) or `@` (GeoJSON) before it where wanted.
        Raises: NotFound (column to index), StorageFull. An append is made by `append`.
        """
        assert not append, "rows are added by `append`, which makes them visible too"
        meta = dict(payload.meta)
        indexes = meta.pop("indexes", ())
        collection = names.collection(doc["name"], f"{ObjectId()}.datastore")
        with translated():
            try:
                keys = _index_keys(meta, indexes)
                size = _insert(db, collection, payload.batches(0))
                _make_indexes(db, collection, keys)
            except BaseException:
                _try(lambda: db.drop_collection(collection))
                raise
        return Written(
            {"collection": collection, "kind_meta": {**meta, "bytes": size}, _NEXT: payload.rows}, size
        )

    def append(
        self, db: Database[Any], payload: Rows, doc: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> bool:
        """Add the rows to the dataset of metadata document `doc`, then list them there and set `fields`.

        Appends of several writers go on side by side. Returns False, with nothing changed, where the dataset
        was replaced meanwhile.
        Raises: Mismatch (other columns, dtypes or index than the dataset's), StorageFull.
        """
        collection, old, meta = doc["collection"], dict(doc["kind_meta"]), dict(payload.meta)
        keys = _index_keys(meta, meta.pop("indexes", ()))
        _check_append(old, meta)
        with translated():
            return self._append(db, collection, payload, doc, keys, fields)

    def read(
        self,
        db: Database[Any],
        names: Names,
        doc: Mapping[str, Any],
        columns: Sequence[str | int] | None = None,
        where: Expr | None = None,
        limit: int | None = None,
    ) -> Rows:
        """Return the rows, or those of them that `where` selects, the first `limit` of these.

        Args:
            columns: labels as text, or positions; None is all.

        Raises: NotFound (column), Corrupt (the collection does not have the rows that the metadata lists).
        """
        with translated():
            meta = _with_rows_of_stock(db, doc, dict(doc.get("kind_meta") or {}))
        parts = (meta.get("omega") or {}).get("parts")
        query = {} if where is None else to_mongo(where, lambda text: _filterable(meta, text))
        if parts is not None:
            query = {"$and": [query, _within(parts)]} if query else _within(parts)
        projection = {"_id": 0}
        if columns is not None:
            meta["take"] = [c if isinstance(c, int) else position(meta, c) for c in columns]
            fields = data_fields(meta)
            projection |= {f: 1 for f in [*index_fields(meta), *(fields[i] for i in meta["take"]), ROWID]}
        found = db[doc["collection"]]
        with translated():
            try:
                cursor: Any = found.find_raw_batches(query, projection)
                if limit is not None:
                    cursor = cursor.sort(ROWID, 1).limit(limit) if limit > 0 else ()
                batches = [(batch, _offsets(batch)) for batch in cursor]
            except OperationFailure as error:
                if error.code not in _GONE:
                    raise
                raise Corrupt(f"the rows of {doc['name']!r} are gone", hint="read again") from error
            rows = sum(len(offsets) - 1 for _, offsets in batches)
            listed = meta.get("rows")
            short = listed is not None and rows != listed and where is None and limit is None
            if short or (listed and not rows and limit != 0 and found.find_one({}, ["_id"]) is None):
                raise Corrupt(f"{doc['name']!r} lists {listed} rows and {rows} were found", hint="read again")
        return Rows(rows, lambda start: ((memoryview(batch), offsets) for batch, offsets in batches), meta)

    def get(
        self,
        db: Database[Any],
        names: Names,
        doc: Mapping[str, Any],
        backend: Any,
        columns: Sequence[str] | None = None,
        excluded: Sequence[str] = (),
        where: Expr | None = None,
        limit: int | None = None,
    ) -> Any:
        """Return the object that `backend` makes of the rows and columns asked for."""
        if columns is None and excluded:
            meta = doc.get("kind_meta") or {}
            left_out = {position(meta, text) for text in excluded}
            kept = [i for i in range(len(data_fields(meta))) if i not in left_out]
            payload = self.read(db, names, doc, kept, where, limit)
        else:
            payload = self.read(db, names, doc, columns, where, limit)
        return backend.decode(payload, doc.get("format") or 0)

    def free(self, db: Database[Any], names: Names, doc: Mapping[str, Any]) -> None:
        """Drop the collection."""
        if doc.get("collection"):
            with translated():
                db.drop_collection(doc["collection"])

    def count(self, db: Database[Any], doc: Mapping[str, Any], where: Expr | None = None) -> int:
        """How many rows `where` selects, counted by the server."""
        with translated():
            meta = _with_rows_of_stock(db, doc, dict(doc.get("kind_meta") or {}))
        parts = (meta.get("omega") or {}).get("parts")
        if where is None and meta.get("rows") is not None:
            return int(meta["rows"])
        query = {} if where is None else to_mongo(where, lambda text: _filterable(meta, text))
        if parts is not None:
            query = {"$and": [query, _within(parts)]} if query else _within(parts)
        with translated():
            return db[doc["collection"]].count_documents(query)

    def _append(
        self,
        db: Database[Any],
        collection: str,
        payload: Rows,
        doc: Mapping[str, Any],
        keys: Sequence[_Key],
        fields: Mapping[str, Any],
    ) -> bool:
        same = {"_id": doc["_id"], "collection": collection}
        known = (doc["kind_meta"].get("omega") or {}).get("parts")
        last = db[collection].find_one(sort=[(ROWID, -1)], projection=[ROWID])
        floor = int(last[ROWID]) + 1 if last and ROWID in last else 0
        if known is None:  # written by stock: all that is there belongs to it
            known = [[0, floor]] if floor else []
            first = {"kind_meta.omega.parts": known, "kind_meta.rows": floor}
            db[COLLECTION].update_one({**same, "kind_meta.omega.parts": {"$exists": False}}, {"$set": first})
        start, reserved = _reserve(db, doc, floor, payload.rows)
        if reserved is not None and floor > reserved:  # stock appended rows since
            stock = {
                "$push": {"kind_meta.omega.parts": [reserved, floor]},
                "$inc": {"kind_meta.rows": floor - reserved},
            }
            db[COLLECTION].update_one(same, stock)
        part = [start, start + payload.rows]
        listed = False
        try:
            size = _insert(db, collection, payload.batches(start))
            _make_indexes(db, collection, keys)
            change = {
                "$push": {"kind_meta.omega.parts": {"$each": [part] if payload.rows else []}},
                "$inc": {"kind_meta.rows": payload.rows, "kind_meta.bytes": size},
                # the frequency is that of the first rows alone, and stock would fill the gaps with rows
                "$unset": {"kind_meta.idx_meta.freq": "", "kind_meta.omega.index.freq": ""},
                "$set": dict(fields),
            }
            change = {k: v for k, v in change.items() if v}
            journaled = db[COLLECTION].with_options(write_concern=WriteConcern(w=1, j=True))
            listed = bool(journaled.update_one(same, change).matched_count)
        finally:
            if not listed:
                _try(lambda: db[collection].delete_many({ROWID: {"$gte": part[0], "$lt": part[1]}}))
        return listed


class _Sequence(RawBSONDocument):
    """Many encoded documents that go into a message as they are, without an object for each."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def raw(self) -> bytes:
        return self._data


def _check_append(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise Mismatch, naming the column, unless rows of `new` can be added to a dataset of `old`."""
    there, here = old.get("omega") or {}, new.get("omega") or {}
    fields = [stored for _, stored in old["columns"]]
    if fields != [stored for _, stored in new["columns"]]:
        pairs = zip(data_fields(old), data_fields(new), strict=False)
        differ = next((b for a, b in pairs if a != b), "the index or the number of columns")
        raise Mismatch(
            f"the rows to append have other columns: {differ}",
            hint=f"the dataset has {', '.join(data_fields(old))}",
        )
    for field, dtype in old["dtypes"].items():
        if new["dtypes"].get(field) != dtype:
            raise Mismatch(
                f"column {field} is {dtype} in the dataset and {new['dtypes'].get(field)} in the new rows"
            )
    if "types" not in there:
        return
    for field, a, b in zip(data_fields(old), there["types"], here["types"], strict=True):
        if a != b:
            raise Mismatch(
                f"column {field} has another dtype in the dataset than in the new rows", hint=f"{a}, {b}"
            )
    if there["columns"] != here["columns"] or there.get("series") != here.get("series"):
        raise Mismatch("the rows to append have other column labels than the dataset")
    _check_index(there["index"], here["index"], int(old["rows"]))


def _check_index(there: Mapping[str, Any], here: Mapping[str, Any], rows: int) -> None:
    if there["names"] != here["names"]:
        raise Mismatch(f"the new rows have an index named {here['names']}, not {there['names']}")
    if "range" in there and "range" in here:
        start, step = there["range"]
        if here["range"] not in ([0, 1], [start + step * rows, step]):
            raise Mismatch("the new rows have a range index that does not go on where the dataset ends")
    elif there.get("levels") != here.get("levels"):
        raise Mismatch(
            "the new rows have another kind of index than the dataset", hint="reset_index() first?"
        )


def _insert(db: Database[Any], collection: str, batches: Iterable[tuple[memoryview, Sequence[int]]]) -> int:
    """Insert encoded documents; return their bytes."""
    size = 0
    for buffer, positions in batches:
        offsets = np.asarray(positions)
        first, last = 0, len(offsets) - 1
        while first < last:
            stop = int(np.searchsorted(offsets, offsets[first] + MESSAGE_BYTES, "right")) - 1
            stop = min(max(stop, first + 1), last)
            data = bytes(buffer[offsets[first] : offsets[stop]])
            answer = db.command(
                "insert", collection, documents=[_Sequence(data)], ordered=True, writeConcern={"w": 1}
            )
            for error in [*answer.get("writeErrors", ()), *filter(None, [answer.get("writeConcernError")])]:
                raise WriteError(error.get("errmsg", "the server refused rows"), error.get("code"), error)
            if answer["n"] != stop - first:
                raise WriteError(f"{answer['n']} of {stop - first} rows were stored")
            size += len(data)
            first = stop
    return size


def _index_keys(meta: Mapping[str, Any], asked: Sequence[str]) -> list[_Key]:
    """The row number, the index levels together, and each column asked for."""
    levels = index_fields(meta)
    keys: list[_Key] = [[(ROWID, ASCENDING)], *([[(field, ASCENDING) for field in levels]] if levels else [])]
    for text in [asked] if isinstance(asked, str) else asked:
        order = text[0] if text[:1] in _ORDER else "+"
        keys.append([(field_of(meta, text.removeprefix(order)), _ORDER[order])])
    return keys


def _make_indexes(db: Database[Any], collection: str, keys: Sequence[_Key]) -> None:
    for key in keys:  # named as stock names them
        name = hashlib.md5(str(key).encode(), usedforsecurity=False).hexdigest()
        db[collection].create_index(key, name=name)


def _reserve(db: Database[Any], doc: Mapping[str, Any], floor: int, rows: int) -> tuple[int, int | None]:
    """Return the first of `rows` row numbers, from `floor` on, that no other writer is given.

    The second number is where the ones reserved before ended, if any were.
    """
    counted = {"$add": [{"$max": [f"${_NEXT}", floor]}, rows]}
    before = db[COLLECTION].find_one_and_update({"_id": doc["_id"]}, [{"$set": {_NEXT: counted}}], [_NEXT])
    reserved = (before or {}).get(_NEXT)
    return max(reserved or 0, floor), reserved


def _with_rows_of_stock(db: Database[Any], doc: Mapping[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """Return `meta` with the rows that stock omegaml appended, which it does not list.

    They lie beyond all numbers that our writers reserved; these reserve before they insert.
    """
    exact = meta.get("omega") or {}
    if "parts" not in exact or doc["name"].startswith(VERSIONS):
        return meta
    last = db[doc["collection"]].find_one({}, [ROWID], sort=[(ROWID, -1)])
    end = int(last[ROWID]) + 1 if last and ROWID in last else 0
    if end <= max((stop for _, stop in exact["parts"]), default=0):
        return meta
    now = db[COLLECTION].find_one({"_id": doc["_id"], "collection": doc["collection"]}, [_NEXT]) or {}
    reserved = now.get(_NEXT)
    if reserved is None or end <= reserved:
        return meta
    parts = [*exact["parts"], [reserved, end]]
    return {**meta, "rows": meta["rows"] + end - reserved, "omega": {**exact, "parts": parts}}


def _within(parts: Sequence[Sequence[int]]) -> dict[str, Any]:
    joined: list[list[int]] = []
    for a, b in sorted(map(list, parts)):
        if joined and joined[-1][1] == a:
            joined[-1][1] = b
        else:
            joined.append([a, b])
    ranges = [{ROWID: {"$gte": a, "$lt": b}} for a, b in joined]
    return ranges[0] if len(ranges) == 1 else {"$or": ranges} if ranges else {ROWID: {"$lt": 0}}


def _filterable(meta: Mapping[str, Any], text: str) -> str:
    field = field_of(meta, text)
    types = (meta.get("omega") or {}).get("types")
    if types and field in data_fields(meta):
        kind = types[data_fields(meta).index(field)]["kind"]
        if kind in ("timedelta", "period"):
            raise InvalidInput(f"column {text!r} of type {kind} cannot be filtered in the rows format")
    return field


def _offsets(batch: bytes) -> list[int]:
    """Where the documents of a batch begin, and its end."""

    def walk() -> Iterator[int]:
        at = 0
        while at < len(batch):
            yield at
            at += int.from_bytes(batch[at : at + 4], "little")
        yield at

    return list(walk())


def _try(action: Any) -> None:
    """Clean up after a failure; the server may be its reason, then `gc` finds the rest."""
    try:
        action()
    except PyMongoError:
        return
