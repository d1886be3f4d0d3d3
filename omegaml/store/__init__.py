"""The store: named objects in a bucket, each one metadata document that points at its data.

All writes follow one order: store the data under fresh ids, flip the metadata document, free what the old
document pointed at. A reader follows the document it read; where the data went away meanwhile it reads again.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from bson import ObjectId
from pymongo import ReturnDocument, WriteConcern
from pymongo.errors import DuplicateKeyError

from omegaml import backends
from omegaml.backends.base import Blob, Documents, Rows, Table
from omegaml.backends.rows import field_of
from omegaml.errors import Conflict, Corrupt, FormatTooNew, InvalidInput, Mismatch, NotFound
from omegaml.metadata import COLLECTION, LATEST, Metadata
from omegaml.mongo import translated
from omegaml.query import Labels
from omegaml.query import where as parse_where
from omegaml.store.names import VERSIONS, Asked, Names, check_bucket, check_name, is_hidden

if TYPE_CHECKING:
    from omegaml.frame import LazyFrame
    from omegaml.query import Q
    from omegaml.store.columns import Reader

_NOUNS = {"data/": "dataset", "models/": "model", "jobs/": "job", "scripts/": "script"}
_MANIFEST = {"kind_meta.segs": 0, "kind_meta.inline": 0, "kind_meta.schema": 0}
_RETRIES = 20


def _storage(payload: type) -> Any:
    """The storage that carries payloads of this type."""
    if payload is Table:
        from omegaml.store.columns import TableStorage

        return TableStorage()
    if payload is Rows:
        from omegaml.store.rows import RowsStorage

        return RowsStorage()
    if payload is Blob:
        from omegaml.store.blobs import BlobStorage

        return BlobStorage()
    assert payload is Documents, payload
    from omegaml.store.documents import DocumentsStorage

    return DocumentsStorage()


class Store:
    """The objects of one prefix (datasets, models, jobs, scripts) in one bucket of one database."""

    def __init__(self, db: Any, bucket: str, prefix: str) -> None:
        self.db = db
        self.bucket = check_bucket(bucket)
        self.prefix = prefix
        self.names = Names(bucket, prefix)
        self._indexed = False

    def __repr__(self) -> str:
        return f"<{self.noun}s of bucket {self.bucket} in {self.db.name}>"

    @property
    def noun(self) -> str:
        return _NOUNS.get(self.prefix, "object")

    # --- writing

    def put(
        self,
        obj: Any,
        name: str,
        *,
        append: bool = False,
        replace: bool = True,
        format: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        index: Sequence[str] | None = None,
        tag: str | None = None,
        keep_versions: bool | None = None,
    ) -> Metadata:
        """Store `obj` as `name`, whole or not at all.

        Args:
            append: add rows to an existing dataset (made where there is none) instead of replacing it.
            replace: False refuses a name that exists.
            format: a backend's name, as "rows" or "columnar", where several can store the object.
            attributes: kept with the object, merged into those it has.
            index: columns to index, where the format has indexes (rows).
            tag: a name for this version (`get("name@tag")`).
            keep_versions: keep what is replaced as a version. Models always do, datasets once asked for.
        Raises: NotStorable (a value that would not come back equal; names the column), Conflict, Mismatch.
        """
        check_name(name)
        backend = backends.find(obj, self.prefix, format)
        payload = backend.encode(obj)
        storage = _storage(backend.payload)
        if index:
            payload = _with_index(payload, index)
        if append:
            return self._append(payload, name, backend, storage, obj, attributes)
        old = self._find(name)
        if old is not None and not replace:
            raise Conflict(
                f"there is a {self.noun} {name!r} already",
                hint="use replace=True or append=True, or another name",
            )
        with translated():
            written = storage.write(self.db, self.names, payload, self._new(name, backend), False)
        return self._flip(name, backend, storage, written, attributes, tag, keep_versions)

    def _new(self, name: str, backend: Any) -> dict[str, Any]:
        return {"name": name, "bucket": self.bucket, "prefix": self.prefix, "kind": backend.kind}

    def _fields(self, name: str, backend: Any, written: Any) -> dict[str, Any]:
        return {
            **self._new(name, backend),
            "format": backend.format,
            "collection": None,
            "gridfile": None,
            "objid": None,
            "s3file": {},
            "uri": None,
            **written.fields,
        }

    def _flip(
        self,
        name: str,
        backend: Any,
        storage: Any,
        written: Any,
        attributes: Mapping[str, Any] | None,
        tag: str | None,
        keep_versions: bool | None,
    ) -> Metadata:
        """Make what was written visible, in one update of the metadata document."""
        for _ in range(_RETRIES):
            old = self._find(name)
            now = _now()
            attrs = {**((old or {}).get("attributes") or {}), **(attributes or {})}
            kept = (
                keep_versions
                if keep_versions is not None
                else bool((attrs.get("versions") or {}).get("keep"))
            )
            kept = kept or self.prefix == "models/"
            new = {
                **self._fields(name, backend, written),
                "attributes": attrs,
                "created": old["created"] if old else now,
                "modified": now,
                "version": ((old or {}).get("version") or 0) + 1,
            }
            new["kind_meta"].setdefault("bytes", written.bytes)
            snapshot = None
            if kept:
                versions = dict(attrs.get("versions") or {})
                tags = {
                    **(versions.get("tags") or {}),
                    **({tag: new["version"]} if tag else {}),
                    LATEST: new["version"],
                }
                attrs["versions"] = {**versions, "keep": True, "tags": tags}
                if old is not None and not self._exact(f"{VERSIONS}{name}/{old.get('version') or 0}"):
                    self._insert_version(old)  # put before versions were asked for
                snapshot = self._insert_version(new)
                if snapshot is None:
                    continue  # somebody else is just making this version
            try:
                if old is None:
                    self._metadata.insert_one({"_id": ObjectId(), **new})
                else:
                    before = self._metadata.find_one_and_replace(
                        {"_id": old["_id"], "version": old.get("version")},
                        new,
                        return_document=ReturnDocument.BEFORE,
                    )
                    if before is None:
                        self._drop_version(snapshot)
                        continue
                    self._release(before)
                return self.metadata(name)
            except DuplicateKeyError:
                self._drop_version(snapshot)
        storage.free(self.db, self.names, {**self._fields(name, backend, written), "_id": None})
        raise Conflict(f"{self.noun} {name!r} is being changed by many writers at once", hint="try again")

    def _append(
        self,
        payload: Any,
        name: str,
        backend: Any,
        storage: Any,
        obj: Any,
        attributes: Mapping[str, Any] | None,
    ) -> Metadata:
        for _ in range(_RETRIES):
            old = self._find(name)
            if old is None:
                with translated():
                    written = storage.write(self.db, self.names, payload, self._new(name, backend), False)
                new = {
                    "_id": ObjectId(),
                    **self._fields(name, backend, written),
                    "attributes": dict(attributes or {}),
                    "created": _now(),
                    "modified": _now(),
                    "version": 1,
                }
                try:
                    self._metadata.insert_one(new)
                    return self.metadata(name)
                except DuplicateKeyError:
                    storage.free(self.db, self.names, new)
                    continue
            if old["kind"] != backend.kind:
                backend = backends.by_kind(old["kind"])
                if not backend.accepts(obj):
                    raise Mismatch(
                        f"a {type(obj).__name__} cannot be appended to {self.noun} {name!r} ({old['kind']})"
                    )
                payload, storage = backend.encode(obj), _storage(backend.payload)
            if self._flip_append(payload, storage, old, attributes):
                return self.metadata(name)
        raise Conflict(f"{self.noun} {name!r} is being changed by many writers at once", hint="try again")

    def _flip_append(
        self, payload: Any, storage: Any, old: dict[str, Any], attributes: Mapping[str, Any] | None
    ) -> bool:
        set_attributes = {f"attributes.{k}": v for k, v in (attributes or {}).items()}
        if isinstance(payload, Rows):
            return bool(storage.append(self.db, payload, old, {**set_attributes, "modified": _now()}))
        if not isinstance(payload, Table):
            with translated():
                written = storage.write(self.db, self.names, payload, old, True)
            changes = {f"{k}" if k != "kind_meta" else k: v for k, v in written.fields.items()}
            done = self._metadata.update_one(
                {"_id": old["_id"], "collection": old.get("collection")},
                {"$set": {**changes, **set_attributes, "modified": _now()}},
            )
            return bool(done.matched_count)
        from omegaml.backends.columnar.codec import adapt
        from omegaml.backends.columnar.schema import Schema

        manifest = old["kind_meta"]
        schema = Schema.from_doc(manifest["schema"])
        if not manifest["rows"] and not len(schema.types):
            extended = payload.schema
        else:
            extended = schema.extend(payload.schema)
        if not payload.rows:
            return True
        written = storage.write(self.db, self.names, adapt(payload, extended), old, True)
        segs = written.fields["kind_meta"]["segs"]
        doc = extended.to_doc()
        same = {} if doc == manifest["schema"] else {"kind_meta.schema": doc}
        done = self._metadata.update_one(
            {"_id": old["_id"], "kind_meta.id": manifest["id"], "kind_meta.schema": manifest["schema"]},
            {
                "$push": {"kind_meta.segs": {"$each": segs}},
                "$inc": {"kind_meta.rows": payload.rows, "kind_meta.bytes": written.bytes},
                "$set": {**same, **set_attributes, "modified": _now()},
            },
        )
        if not done.matched_count:
            storage.free(self.db, self.names, {"kind_meta": {"id": manifest["id"], "segs": segs}})
        return bool(done.matched_count)

    def drop(self, name: str, *, missing_ok: bool = False) -> bool:
        """Remove an object, its versions and their data. Raises NotFound unless `missing_ok`."""
        with translated():
            old = self._metadata.find_one_and_delete(self._key(name))
            if old is None:
                if missing_ok:
                    return False
                raise self._missing(name)
            versions = list(self._metadata.find(self._key_of_versions(name)))
            self._metadata.delete_many({"_id": {"$in": [v["_id"] for v in versions]}})
        for doc in [old, *versions]:
            self._release(doc)
        return True

    def copy(self, name: str, new: str, *, replace: bool = False) -> Metadata:
        """Store what `name` holds as `new` too."""
        if self.exists(new) and not replace:
            raise Conflict(
                f"there is a {self.noun} {new!r} already", hint="drop it first, or choose another name"
            )
        source = self._resolve(Asked.parse(name))
        obj = self.get(name)
        backend = backends.by_kind(source["kind"])
        attributes = {k: v for k, v in (source.get("attributes") or {}).items() if k != "versions"}
        return self.put(obj, new, format=backend.name, attributes=attributes)

    def rename(self, name: str, new: str) -> Metadata:
        """Give an object another name; its data stays where it is. Raises Conflict where `new` exists."""
        check_name(new)
        try:
            with translated():
                doc = self._metadata.find_one_and_update(
                    self._key(name), {"$set": {"name": new, "modified": _now()}}
                )
                if doc is None:
                    raise self._missing(name)
                for v in self._metadata.find(self._key_of_versions(name), {"name": 1}):
                    moved = f"{VERSIONS}{new}/{v['name'].rsplit('/', 1)[1]}"
                    self._metadata.update_one({"_id": v["_id"]}, {"$set": {"name": moved}})
        except Conflict:
            raise Conflict(
                f"there is a {self.noun} {new!r} already", hint="drop it first, or choose another name"
            ) from None
        return self.metadata(new)

    # --- reading

    def get(
        self,
        name: str,
        *,
        version: int | str | None = None,
        columns: Iterable[str] | None = None,
        as_: str | None = None,
        limit: int | None = None,
        q: Q | None = None,
        **filters: Any,
    ) -> Any:
        """Return the object, or the selected columns and rows of a dataset.

        Args:
            name: may carry `[a,b]` (these columns), `[^a]` (all but), `@tag` or `@3`, `^` (a version before).
            version: a number or tag, the same as `@`.
            as_: "pandas", "arrow" or "polars"; what was put where not given.
            limit: at most so many rows, from the first.
            q, filters: conditions as `sales__gte=100`, all of which hold.
        Raises: NotFound (object, version, column), InvalidInput, Corrupt, FormatTooNew.
        """
        asked = Asked.parse(name)
        labels = list(columns) if columns is not None else asked.columns
        last: Any = None
        for _ in range(_RETRIES):
            doc = self._resolve(asked, version)
            backend = self._backend(doc)
            if backend.payload is Table:
                from omegaml.store.columns import Stale

                if last is not None and last["kind_meta"] == doc["kind_meta"]:
                    raise Corrupt(
                        f"parts of {self.noun} {asked.name!r} are gone", hint="restore it from a backup"
                    )
                last = doc
                try:
                    return self._get_table(doc, asked, labels, as_, limit, q, filters)
                except Stale:
                    continue
            storage = _storage(backend.payload)
            if backend.payload is Rows:
                expr = parse_where(q, filters, Labels(partial(field_of, doc["kind_meta"])))
                try:
                    return storage.get(self.db, self.names, doc, backend, labels, asked.excluded, expr, limit)
                except Corrupt:
                    if self._resolve(asked, version)["collection"] == doc["collection"]:
                        raise
                    continue  # replaced while it was read
            if labels is not None or asked.excluded or q is not None or filters or as_ or limit is not None:
                raise InvalidInput(
                    f"{self.noun} {asked.name!r} ({doc['kind']}) has no columns to choose from"
                )
            with translated():
                return backend.decode(storage.read(self.db, self.names, doc), doc.get("format") or 0)
        raise Conflict(f"{self.noun} {asked.name!r} is being replaced all the time", hint="try again")

    def getl(
        self, name: str, *, version: int | str | None = None, q: Q | None = None, **filters: Any
    ) -> LazyFrame:
        """Return a lazy frame: filters, sorts, groups and joins in bounded memory, reads on `get()`."""
        from omegaml.frame import LazyFrame

        asked = Asked.parse(name)
        doc = self._resolve(asked, version)
        reader = self._reader(doc)
        lazy = LazyFrame(reader).filter(q, **filters)
        if asked.columns:
            return lazy.select(list(asked.columns))
        if asked.excluded:
            return lazy.select("^" + asked.excluded[0], *asked.excluded[1:])
        return lazy

    def open(self, name: str, *, version: int | str | None = None) -> BinaryIO:
        """Return a stored file or model as a seekable binary stream, read piece by piece.

        Raises: NotFound, InvalidInput (the object is no file), Corrupt while reading.
        """
        doc = self._resolve(Asked.parse(name), version)
        if self._backend(doc).payload is not Blob:
            raise InvalidInput(f"{self.noun} {name!r} ({doc['kind']}) is no file", hint="use get() instead")
        with translated():
            stream: BinaryIO = _storage(Blob).read(self.db, self.names, doc).data
        return stream

    def _reader(self, doc: Mapping[str, Any]) -> Reader:
        backend = self._backend(doc)
        if backend.payload is not Table:
            raise InvalidInput(
                f"{self.noun} {doc['name']!r} ({doc['kind']}) cannot be read lazily",
                hint="store it in the columnar format",
            )
        reader: Reader = _storage(Table).open(self.db, self.names, doc)
        return reader

    def _get_table(
        self,
        doc: Mapping[str, Any],
        asked: Asked,
        names: Sequence[Any] | None,
        as_: str | None,
        limit: int | None,
        q: Q | None,
        filters: Mapping[str, Any],
    ) -> Any:
        import numpy as np

        from omegaml.backends.columnar.codec import decode

        reader = self._reader(doc)
        schema = reader.schema
        width = len(schema.labels)
        expr = parse_where(q, filters, Labels(schema.find))  # a label may hold `__` itself
        if names is not None:
            chosen = [schema.find(c) if isinstance(c, str) else schema.labels.get_loc(c) for c in names]
            chosen = [i for i in chosen if i < width]  # the index comes along anyway
        else:
            excluded = {schema.find(c) for c in asked.excluded}
            chosen = [i for i in range(width) if i not in excluded]
        stored = [*chosen, *range(width, len(schema.types))]
        stop = limit if expr is None else None
        arrays: builtins.list[builtins.list[Any]] = [[] for _ in stored]
        places: builtins.list[Any] = []
        rows = 0
        for piece in reader.scan(stored, expr, stop=stop):
            for column, array in zip(arrays, piece.arrays, strict=True):
                column.append(array)
            if expr is not None:
                taken = piece.taken if piece.taken is not None else np.arange(piece.rows)
                places.append(taken + piece.start)
            rows += piece.rows
            if limit is not None and rows >= limit:
                break
        positions = np.concatenate(places) if places else np.empty(0, np.int64) if expr is not None else None
        if limit is not None and rows > limit:
            arrays, positions = (
                [_head(c, limit) for c in arrays],
                positions[:limit] if positions is not None else None,
            )
            rows = limit
        elif stop is not None and positions is None and rows < reader.rows:
            positions = np.arange(rows)
        if expr is None and positions is None and rows != reader.rows:
            raise Corrupt(
                f"{self.noun} {asked.name!r} has {rows} of {reader.rows} rows",
                hint="restore it from a backup",
            )
        view = schema if len(chosen) == width and chosen == list(range(width)) else schema.select(chosen)
        return decode(view, arrays, rows, positions, as_)

    def list(
        self, pattern: str | None = None, *, regexp: str | None = None, hidden: bool = False
    ) -> builtins.list[str]:
        """Return the names, sorted. `pattern` is as a shell's (`sales/*`), `regexp` a regular expression."""
        return [m.name for m in self.find(pattern, regexp=regexp, hidden=hidden)]

    def find(
        self, pattern: str | None = None, *, regexp: str | None = None, hidden: bool = False
    ) -> Sequence[Metadata]:
        """Like `list`, with the metadata but without manifests."""
        import fnmatch

        expression = fnmatch.translate(pattern) if pattern is not None else regexp
        try:
            compiled = re.compile(expression) if expression is not None else None
        except re.error as e:
            raise InvalidInput(f"{regexp!r} is no regular expression: {e}") from None
        with translated():
            docs = list(
                self._metadata.find({"bucket": self.bucket, "prefix": self.prefix}, _MANIFEST).sort("name", 1)
            )
        found = (Metadata.from_doc(d) for d in docs)
        return [
            m
            for m in found
            if (hidden or not is_hidden(m.name))
            and (compiled is None or (compiled.match(m.name) if pattern else compiled.search(m.name)))
        ]

    def metadata(self, name: str, version: int | str | None = None) -> Metadata:
        """Return what is known of an object. Raises NotFound."""
        return Metadata.from_doc(self._resolve(Asked.parse(name), version))

    def exists(self, name: str) -> bool:
        with translated():
            return self._metadata.find_one(self._key(Asked.parse(name).name), {"_id": 1}) is not None

    def count(self, name: str) -> int:
        """Return a dataset's number of rows, from its metadata where that has it."""
        meta = self.metadata(name)
        if meta.rows is not None:
            return meta.rows
        if meta.collection:
            with translated():
                return int(self.db[meta.collection].count_documents({}))
        raise InvalidInput(f"{self.noun} {name!r} ({meta.kind}) has no rows to count")

    # --- versions

    def versions(self, name: str) -> Sequence[Metadata]:
        """Return the kept versions, newest first."""
        self._resolve(Asked(name))
        with translated():
            docs = list(self._metadata.find(self._key_of_versions(name), _MANIFEST))
        return sorted(map(Metadata.from_doc, docs), key=lambda m: m.version or 0, reverse=True)

    def promote(self, name: str, version: int | str, tag: str = LATEST) -> Metadata:
        """Let `tag` mean `version`. The tag "latest" makes it what `get(name)` returns."""
        doc = self._resolve(Asked(name), version)
        number = doc.get("version")
        if tag == LATEST:
            return self._flip_back(name, doc)
        with translated():
            self._metadata.update_one(self._key(name), {"$set": {f"attributes.versions.tags.{tag}": number}})
        return self.metadata(name)

    def _flip_back(self, name: str, doc: Mapping[str, Any]) -> Metadata:
        """Make an older version the newest one again, sharing its data."""
        fields = {
            k: doc[k]
            for k in ("kind", "format", "kind_meta", "collection", "gridfile", "objid", "s3file", "uri")
            if k in doc
        }
        backend = self._backend(doc)

        class Shared:
            bytes = int((doc.get("kind_meta") or {}).get("bytes") or 0)

        Shared.fields = fields  # type: ignore[attr-defined]
        return self._flip(name, backend, _storage(backend.payload), Shared, None, None, None)

    # --- cleaning up

    def gc(self, older_than: float = 600.0) -> Any:
        """Remove what killed writers left, if nothing was added to it for `older_than` seconds.

        Returns: `Freed(objects, bytes)`.
        """
        from omegaml.store.garbage import collect

        return collect(self.db, self.names, datetime.now(UTC) - timedelta(seconds=older_than))

    # --- inside

    @property
    def _metadata(self) -> Any:
        if not self._indexed:
            with translated():
                self.db[COLLECTION].create_index([("name", 1), ("bucket", 1), ("prefix", 1)], unique=True)
            self._indexed = True
        return self.db[COLLECTION].with_options(write_concern=WriteConcern(w=1, j=True))

    def _key(self, name: str) -> dict[str, str]:
        return {"name": name, "bucket": self.bucket, "prefix": self.prefix}

    def _key_of_versions(self, name: str) -> dict[str, Any]:
        return {**self._key(""), "name": {"$regex": f"^{re.escape(VERSIONS + name)}/[0-9]+$"}}

    def _exact(self, name: str) -> dict[str, Any] | None:
        doc: dict[str, Any] | None = self._metadata.find_one(self._key(name))
        return doc

    def _find(self, name: str) -> dict[str, Any] | None:
        with translated():
            return self._exact(name)

    def _missing(self, name: str) -> NotFound:
        return NotFound(
            f"there is no {self.noun} {name!r} in bucket {self.bucket!r}",
            hint=f"see `omegacli {self.noun}s list`",
        )

    def _resolve(self, asked: Asked, version: int | str | None = None) -> dict[str, Any]:
        """Return the metadata document that a name and version mean."""
        doc = self._find(asked.name)
        if doc is None:
            raise self._missing(asked.name)
        wanted: Any = version if version is not None else asked.tag
        if wanted is None and not asked.back:
            return doc
        current = doc.get("version") or 0
        tags = ((doc.get("attributes") or {}).get("versions") or {}).get("tags") or {}
        if asked.back and wanted is None:
            number = current - asked.back
        elif wanted in tags:
            number = tags[wanted]
        else:
            number = int(wanted) if str(wanted).isdigit() else -1
        if number == current:
            return doc
        found = self._find(f"{VERSIONS}{asked.name}/{number}")
        if found is None:
            label = f"{asked.back} before the newest" if wanted is None else repr(wanted)
            raise NotFound(
                f"{self.noun} {asked.name!r} has no version {label}",
                hint=f"see `omegacli {self.noun}s show {asked.name}`",
            )
        return found

    def _backend(self, doc: Mapping[str, Any]) -> Any:
        backend = backends.by_kind(doc["kind"])
        if (doc.get("format") or 0) > backend.format:
            raise FormatTooNew(
                f"{self.noun} {doc['name']!r} is stored in format {doc['format']} of {doc['kind']}; "
                f"this version reads up to {backend.format}",
                hint="pip install --upgrade omegaml",
            )
        return backend

    def _insert_version(self, doc: Mapping[str, Any]) -> Any:
        """Keep a document as a version; None where that version exists."""
        _id = ObjectId()
        name = f"{VERSIONS}{doc['name']}/{doc.get('version') or 0}"
        try:
            self._metadata.insert_one({**doc, "_id": _id, "name": name})
        except DuplicateKeyError:
            return None
        return _id

    def _drop_version(self, _id: Any) -> None:
        if _id is not None:
            self._metadata.delete_one({"_id": _id})

    def _release(self, doc: Mapping[str, Any]) -> None:
        """Free what a document pointed at, unless another one (a version) points there too."""
        backend = backends.by_kind(doc["kind"])
        reference: dict[str, Any]
        if backend.payload is Table:
            reference = {"kind_meta.id": doc["kind_meta"]["id"]}
        elif doc.get("gridfile") is not None:
            reference = {"gridfile": doc["gridfile"]}
        elif doc.get("collection"):
            reference = {"collection": doc["collection"]}
        else:
            return
        with translated():
            if self._metadata.find_one(reference, {"_id": 1}) is None:
                _storage(backend.payload).free(self.db, self.names, doc)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _head(arrays: list[Any], limit: int) -> list[Any]:
    """Cut a column's chunks to the first `limit` values."""
    out, left = [], limit
    for a in arrays:
        if left <= 0:
            break
        out.append(a.slice(0, left))
        left -= len(out[-1])
    return out


def _with_index(payload: Any, index: Sequence[str]) -> Any:
    from dataclasses import replace

    if not isinstance(payload, Rows):
        raise InvalidInput("only the rows format has indexes", hint='put(..., format="rows", index=[...])')
    return replace(payload, meta={**payload.meta, "indexes": list(index)})
