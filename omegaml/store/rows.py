"""Row documents in a collection of their own: a fresh one for every put, so that a replace is one update.

An append adds rows to the collection under row numbers that were reserved for it, and makes them part of
the dataset by listing them in the metadata (`omega.parts`). Rows that no part lists are not read.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, DESCENDING, GEOSPHERE, IndexModel
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError, WriteError

from omegaml.backends.base import Backend, Rows
from omegaml.backends.rows import ROWID, compared_field, data_fields, field_of, index_fields, joined, position
from omegaml.errors import InvalidInput, Mismatch
from omegaml.metadata import COLLECTION
from omegaml.mongo import JOURNALED, translated, unbroken
from omegaml.query import Expr, Labels, to_mongo
from omegaml.query import where as parse_where
from omegaml.store.base import Added, Selection, Written, stale
from omegaml.store.names import VERSIONS, Names

if TYPE_CHECKING:
    from omegaml.store.rowreader import RowsReader

MESSAGE_BYTES = 32 << 20
THREADS = 2
_ORDER = {"+": ASCENDING, "-": DESCENDING, "@": GEOSPHERE}
_Key = list[tuple[str, Any]]
GONE = (26, 43, 175)  # NamespaceNotFound, CursorNotFound, QueryPlanKilled
_NEXT = "next_row"  # in the metadata document: the first row number that no writer has reserved


class RowsStorage:
    """Stores `Rows`: the metadata's `collection` holds one document per row."""

    def __init__(self, db: Database[Any], names: Names) -> None:
        self.db = db
        self.names = names

    def write(self, payloads: Iterable[Rows], doc: Mapping[str, Any]) -> Written:
        """Store the rows in a new collection, with the indexes that the first `meta["indexes"]` asks for.

        Each index is a column's label, with `-` (descending) or `@` (GeoJSON) before it where wanted. The
        frame's own index has one, unless it only counts the rows: that is not worth what it costs a put.
        Raises: NotFound (column to index), Mismatch (a later part does not go on), StorageFull.
        """
        collection = self.names.fresh("rows")
        meta: dict[str, Any] = {}
        size = 0
        try:
            with translated(), unbroken(self.db, repr(doc["name"])):
                for payload in payloads:
                    if not meta:
                        meta = dict(payload.meta)
                        # on an empty collection: an index that is there grows for less than one that is built
                        _make_indexes(self.db, collection, _index_keys(meta, meta.pop("indexes", ())))
                        size = _insert(self.db, collection, payload.batches(0))
                    else:
                        _check_append(meta, payload.meta)
                        size += _insert(self.db, collection, payload.batches(meta["rows"]))
                        meta = _longer(meta, payload.rows)
        except BaseException:
            _try(lambda: self.db.drop_collection(collection))
            raise
        fields = {"collection": collection, "kind_meta": {**meta, "bytes": size}, _NEXT: meta["rows"]}
        return Written(fields, size)

    def append(self, payloads: Iterable[Rows], doc: Mapping[str, Any]) -> Added:
        """Add the rows under numbers reserved for them; several writers' appends go on side by side.

        Raises: Mismatch (other columns, dtypes or index than the dataset's), StorageFull.
        """
        collection, old = doc["collection"], dict(doc["kind_meta"])
        parts: list[list[int]] = []

        def undo() -> None:
            for part in parts:
                _try(partial(self.db[collection].delete_many, _within([part])))

        size = 0
        try:
            with translated(), unbroken(self.db, repr(doc["name"])):
                for payload in payloads:
                    meta = dict(payload.meta)
                    keys = _index_keys(meta, meta.pop("indexes", ()))
                    _check_append(old, meta)
                    start = self._reserve(doc, payload.rows)
                    parts.append([start, start + payload.rows])
                    size += _insert(self.db, collection, payload.batches(start))
                    _make_indexes(self.db, collection, keys)
        except BaseException:
            undo()
            raise
        change: dict[str, dict[str, Any]] = {
            "$push": {"kind_meta.omega.parts": {"$each": [part for part in parts if part[1] > part[0]]}},
            "$inc": {"kind_meta.rows": sum(b - a for a, b in parts), "kind_meta.bytes": size},
            # the frequency is that of the first rows alone, and stock would fill the gaps with rows
            "$unset": {"kind_meta.idx_meta.freq": "", "kind_meta.omega.index.freq": ""},
        }
        return Added({"collection": collection}, change, undo)

    def get(self, doc: Mapping[str, Any], backend: Backend, asked: Selection) -> Any:
        """Return the object that `backend` makes of the rows and columns asked for.

        Raises: NotFound (column), InvalidInput, Stale.
        """
        if asked.as_ not in (None, "pandas"):
            hint = "read it as pandas, or store it in the columnar format"
            raise InvalidInput(
                f"{doc['name']!r} in the rows format cannot be read as {asked.as_!r}", hint=hint
            )
        with translated():
            meta = _with_rows_of_stock(self.db, doc, dict(doc.get("kind_meta") or {}))
        expr = parse_where(asked.q, asked.filters, Labels(partial(compared_field, meta)))
        projection = {"_id": 0}
        if asked.columns is not None or asked.excluded:
            meta["take"] = _positions(meta, asked)
            fields = data_fields(meta)
            projection |= {f: 1 for f in [*index_fields(meta), *(fields[i] for i in meta["take"]), ROWID]}
        with translated():
            batches = self._fetch(doc, meta, query_of(meta, expr), projection, asked.limit)
        rows = sum(len(offsets) - 1 for _, offsets in batches)
        listed = meta.get("rows")
        is_short = listed is not None and rows != listed and expr is None and asked.limit is None
        if is_short or (listed and not rows and asked.limit != 0 and self._is_gone(doc)):
            raise stale(doc["name"])
        payload = Rows(rows, lambda start: ((memoryview(batch), offsets) for batch, offsets in batches), meta)
        return backend.decode(payload, doc.get("format") or 0)

    def open(self, doc: Mapping[str, Any], backend: Backend) -> RowsReader:
        """Return a reader of the rows as `doc` lists them."""
        from omegaml.store.rowreader import RowsReader

        with translated():
            meta = _with_rows_of_stock(self.db, doc, dict(doc.get("kind_meta") or {}))
        return RowsReader(self.db[doc["collection"]], doc, meta, backend)

    def copy(self, doc: Mapping[str, Any], name: str) -> Written:
        """Store the rows once more, with their indexes."""
        collection = self.names.fresh("rows")
        source = self.db[doc["collection"]].with_options(write_concern=JOURNALED)
        with translated(), unbroken(self.db, repr(name)):
            meta = _with_rows_of_stock(self.db, doc, dict(doc.get("kind_meta") or {}))
            source.aggregate([{"$match": query_of(meta, None)}, {"$out": collection}])
            for index in source.list_indexes():
                if index["name"] != "_id_":
                    self.db[collection].create_index(list(index["key"].items()), name=index["name"])
        fields = {"collection": collection, "kind_meta": meta}
        return Written(fields | ({_NEXT: doc[_NEXT]} if _NEXT in doc else {}), int(meta.get("bytes") or 0))

    def free(self, doc: Mapping[str, Any]) -> None:
        """Drop the collection."""
        if doc.get("collection"):
            with translated():
                self.db.drop_collection(doc["collection"])

    def count(self, doc: Mapping[str, Any]) -> int:
        """How many rows there are, those that stock omegaml appended included."""
        with translated():
            meta = _with_rows_of_stock(self.db, doc, dict(doc.get("kind_meta") or {}))
            if meta.get("rows") is not None:
                return int(meta["rows"])
            return self.db[doc["collection"]].count_documents({})

    def _fetch(
        self,
        doc: Mapping[str, Any],
        meta: Mapping[str, Any],
        query: Mapping[str, Any],
        projection: Mapping[str, int],
        limit: int | None,
    ) -> list[tuple[bytes, list[int]]]:
        try:
            cursor: Any = self.db[doc["collection"]].find_raw_batches(query, projection)
            if limit is not None:
                cursor = cursor.sort(ROWID, 1).limit(limit) if limit > 0 else ()
            return [(batch, offsets_of(batch)) for batch in cursor]
        except OperationFailure as error:
            if error.code not in GONE:
                raise
            raise stale(doc["name"]) from error

    def _is_gone(self, doc: Mapping[str, Any]) -> bool:
        with translated():
            return self.db[doc["collection"]].find_one({}, ["_id"]) is None

    def _reserve(self, doc: Mapping[str, Any], rows: int) -> int:
        """Return the first of `rows` row numbers that no other writer is given, behind all that are there."""
        collection, documents = doc["collection"], self.db[COLLECTION]
        same = {"_id": doc["_id"], "collection": collection}
        last = self.db[collection].find_one(sort=[(ROWID, -1)], projection=[ROWID])
        floor = int(last[ROWID]) + 1 if last and ROWID in last else 0
        if (doc["kind_meta"].get("omega") or {}).get("parts") is None:
            # written by stock: all that is there belongs to it
            known = {"kind_meta.omega.parts": [[0, floor]] if floor else [], "kind_meta.rows": floor}
            documents.update_one({**same, "kind_meta.omega.parts": {"$exists": False}}, {"$set": known})
        counted = {"$add": [{"$max": [f"${_NEXT}", floor]}, rows]}
        before = documents.find_one_and_update({"_id": doc["_id"]}, [{"$set": {_NEXT: counted}}], [_NEXT])
        reserved = (before or {}).get(_NEXT)
        if reserved is not None and floor > reserved:  # stock appended rows since
            stock = {
                "$push": {"kind_meta.omega.parts": [reserved, floor]},
                "$inc": {"kind_meta.rows": floor - reserved},
            }
            documents.update_one(same, stock)
        return max(reserved or 0, floor)


class _Sequence(RawBSONDocument):
    """Many encoded documents that go into a message as they are, without an object for each."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def raw(self) -> bytes:
        return self._data


def _longer(meta: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Return the metadata after `rows` rows that follow."""
    exact = {**meta["omega"], "parts": [[0, meta["rows"] + rows]] if meta["rows"] + rows else []}
    exact["index"] = {k: v for k, v in exact["index"].items() if k != "freq"}
    idx_meta = {k: v for k, v in meta["idx_meta"].items() if k != "freq"}
    return {**meta, "rows": meta["rows"] + rows, "omega": exact, "idx_meta": idx_meta}


def _positions(meta: Mapping[str, Any], asked: Selection) -> list[int]:
    """The columns that are asked for. Raises NotFound."""
    if asked.columns is not None:
        return [c if isinstance(c, int) else position(meta, str(c)) for c in asked.columns]
    left_out = {position(meta, text) for text in asked.excluded}
    return [i for i in range(len(data_fields(meta))) if i not in left_out]


def query_of(meta: Mapping[str, Any], where: Expr | None) -> dict[str, Any]:
    """The filter for the rows that belong to the dataset and match."""
    parts = (meta.get("omega") or {}).get("parts")
    query = {} if where is None else to_mongo(where, partial(compared_field, meta))
    if parts is None:
        return query
    return {"$and": [query, _within(parts)]} if query else _within(parts)


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
                f"column {field} has another dtype in the dataset than in the new rows",
                hint=f"both are of kind {a['kind']}, with other details: use astype with the dataset's dtype"
                if a["kind"] == b["kind"]
                else f"{a['kind']} in the dataset, {b['kind']} in the new rows",
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
    """Insert encoded documents; return their bytes. The next are encoded while the server takes the last."""
    size = 0
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for data, count in _messages(batches):
            size += len(data)
            waiting.append(pool.submit(_insert_message, db, collection, data, count))
            if len(waiting) > THREADS:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    return size


def _messages(batches: Iterable[tuple[memoryview, Sequence[int]]]) -> Iterator[tuple[bytes, int]]:
    """Yield the documents of the batches as pieces that fit into a message, and how many are in each."""
    for buffer, positions in batches:
        offsets = np.asarray(positions)
        first, last = 0, len(offsets) - 1
        while first < last:
            stop = int(np.searchsorted(offsets, offsets[first] + MESSAGE_BYTES, "right")) - 1
            stop = min(max(stop, first + 1), last)
            yield bytes(buffer[offsets[first] : offsets[stop]]), stop - first
            first = stop


def _insert_message(db: Database[Any], collection: str, data: bytes, count: int) -> None:
    answer = db.command(
        "insert", collection, documents=[_Sequence(data)], ordered=True, writeConcern=JOURNALED.document
    )
    for error in [*answer.get("writeErrors", ()), *filter(None, [answer.get("writeConcernError")])]:
        raise WriteError(error.get("errmsg", "the server refused rows"), error.get("code"), error)
    if answer["n"] != count:
        raise WriteError(f"{answer['n']} of {count} rows were stored")


def _index_keys(meta: Mapping[str, Any], asked: Sequence[str]) -> list[_Key]:
    """The row number, the index unless it only counts the rows, and each column asked for."""
    keys: list[_Key] = [[(ROWID, ASCENDING)]]
    if "range" not in meta["omega"]["index"]:
        keys.append([(field, ASCENDING) for field in index_fields(meta)])
    for text in [asked] if isinstance(asked, str) else asked:
        order = text[0] if text[:1] in _ORDER else "+"
        keys.append([(field_of(meta, text.removeprefix(order)), _ORDER[order])])
    return keys


def _make_indexes(db: Database[Any], collection: str, keys: Sequence[_Key]) -> None:
    """Make the indexes in one command, named as stock names them."""
    named = {hashlib.md5(str(key).encode(), usedforsecurity=False).hexdigest(): key for key in keys}
    db[collection].create_indexes([IndexModel(key, name=name) for name, key in named.items()])


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
    ranges = [{ROWID: {"$gte": a, "$lt": b}} for a, b in joined(parts)]
    return ranges[0] if len(ranges) == 1 else {"$or": ranges} if ranges else {ROWID: {"$lt": 0}}


def offsets_of(batch: bytes) -> list[int]:
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
