"""The store: named objects in a bucket, each one metadata document that points at its data.

All writes follow one order: store the data under fresh ids, flip the metadata document, free what the old
document pointed at. A reader follows the document it read; where the data went away meanwhile it reads again.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace as changed
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from omegaml import backends
from omegaml.backends.base import Backend, Blob, Documents, Payload, Rows, Table
from omegaml.errors import Busy, Conflict, Corrupt, FormatTooNew, InvalidInput, Mismatch, OmegaError, Stale
from omegaml.metadata import LATEST, Metadata
from omegaml.store.base import Once, Selection, Storage, Written
from omegaml.store.catalog import Catalog, Doc, appending, now, with_version
from omegaml.store.names import Asked, Names, check_bucket, check_name, check_tag, is_hidden

if TYPE_CHECKING:
    from omegaml.frame import LazyFrame
    from omegaml.query import Q
    from omegaml.rowframe import LazyRows
    from omegaml.store.columns import TableStorage
    from omegaml.store.garbage import Freed
    from omegaml.store.rows import RowsStorage

_RETRIES = 20


class Store:
    """The objects of one prefix (datasets, models, jobs, scripts) in one bucket of one database."""

    def __init__(self, db: Any, bucket: str, prefix: str) -> None:
        self.db = db
        self.bucket = check_bucket(bucket)
        self.prefix = prefix
        self.names = Names(bucket, prefix)
        self.catalog = Catalog(db, bucket, prefix)

    def __repr__(self) -> str:
        return f"<{self.noun}s of bucket {self.bucket} in {self.db.name}>"

    @property
    def noun(self) -> str:
        return self.catalog.noun

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
        replaces: Metadata | None = None,
    ) -> Metadata:
        """Store `obj` as `name`, whole or not at all.

        Args:
            append: add rows to an existing dataset (made where there is none) instead of replacing it.
            replace: False refuses a name that exists.
            format: a backend's name, as "rows" or "columnar", where several can store the object.
            attributes: kept with the object, merged into those it has.
            index: columns and index levels to index, where the format has indexes (rows).
            tag: a name for this version (`get("name@tag")`).
            keep_versions: keep what is replaced as a version. Models always do, datasets once asked for.
            replaces: what `metadata(name)` said; if the object is another one or another version by now,
                Conflict is raised and nothing changed.
        Raises: NotStorable (a value that would not come back equal; names the column), Conflict, Mismatch.
        """
        how: dict[str, Any] = {"format": format, "attributes": attributes, "index": index}
        if append:
            return self._append([obj], name, is_stream=False, **how)
        how |= {"replace": replace, "tag": tag, "keep_versions": keep_versions, "replaces": replaces}
        return self._put([obj], name, **how)

    def put_parts(
        self,
        parts: Iterable[Any],
        name: str,
        *,
        append: bool = False,
        replace: bool = True,
        format: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        index: Sequence[str] | None = None,
        keep_versions: bool | None = None,
        once: Once | None = None,
        only: str | None = None,
    ) -> Metadata:
        """Store frames that come one after the other as one dataset, whole or not at all.

        No more than one part is held in memory. The arguments are those of `put`, and

            once: an append with it is made once, however often and by how many writers it is repeated.
            only: the `id` of an object; where another or none has the name by then, Conflict is raised.
        Raises: InvalidInput (no parts), Mismatch (a part does not go on from the first), and as `put`.
        """
        how: dict[str, Any] = {"format": format, "attributes": attributes, "index": index}
        if append:
            return self._append(parts, name, is_stream=True, once=once, only=only, **how)
        return self._put(parts, name, replace=replace, keep_versions=keep_versions, only=only, **how)

    def put_encoded(
        self,
        payload: Payload,
        name: str,
        kind: str,
        *,
        replace: bool = True,
        attributes: Mapping[str, Any] | None = None,
        tag: str | None = None,
    ) -> Metadata:
        """Store what is encoded as `kind` already, as a file from elsewhere: nothing is decoded to do so.

        Raises: Conflict (`replace` is False and the name taken), InvalidInput (the name, the kind).
        """
        check_name(name)
        old = self.catalog.find(name)
        self._check_place(name, old, replace, None)
        backend = backends.by_kind(kind)
        written = self._storage(backend).write([payload], self._new(name, backend))
        return self._flip(name, old, backend, written, replace, attributes, tag)

    def _put(
        self,
        parts: Iterable[Any],
        name: str,
        *,
        replace: bool,
        format: str | None,
        attributes: Mapping[str, Any] | None,
        index: Sequence[str] | None,
        tag: str | None = None,
        keep_versions: bool | None = None,
        replaces: Metadata | None = None,
        once: Once | None = None,
        only: str | None = None,
    ) -> Metadata:
        check_name(name)
        if tag is not None:
            check_tag(tag)
        old = self.catalog.find(name)
        self._check_place(name, old, replace, replaces, only)
        backend, payloads = self._encoded(parts, name, format, index)
        storage = self._storage(backend)
        written = storage.write(payloads, self._new(name, backend))
        return self._flip(
            name, old, backend, written, replace, attributes, tag, keep_versions, replaces, once, only
        )

    def _encoded(
        self, parts: Iterable[Any], name: str, format: str | None, index: Sequence[str] | None
    ) -> tuple[Backend, Iterator[Payload]]:
        """Return the backend of the first part, and the payloads of all, made as they are asked for."""
        queue = iter(parts)
        try:
            first = next(queue)
        except StopIteration:
            raise InvalidInput("there is nothing to store: no parts came") from None
        backend = backends.find(first, self.prefix, format)

        def payloads() -> Iterator[Payload]:
            yield _with_index(backend.encode(first), index)
            for part in queue:
                yield self._encode(backend, part, name)

        return backend, payloads()

    def _encode(self, backend: Backend, part: Any, name: str) -> Payload:
        if not backend.accepts(part):
            what = f"a {type(part).__name__} cannot be added to {self.noun} {name!r} ({backend.kind})"
            raise Mismatch(what, hint="put it under another name")
        return backend.encode(part)

    def _flip(
        self,
        name: str,
        old: Doc | None,
        backend: Backend,
        written: Written,
        replace: bool = True,
        attributes: Mapping[str, Any] | None = None,
        tag: str | None = None,
        keep_versions: bool | None = None,
        replaces: Metadata | None = None,
        once: Once | None = None,
        only: str | None = None,
    ) -> Metadata:
        """Make what was written visible, in one change of the metadata document."""
        fields = self._fields(name, backend, written)
        for attempt in range(_RETRIES):
            old = self.catalog.find(name) if attempt else old
            try:
                self._check_place(name, old, replace, replaces, only)
            except Conflict:
                self._storage(backend).free({**fields, "_id": None})
                raise
            kept: Doc = dict((old or {}).get("attributes") or {})
            new = {
                **fields,
                "attributes": {**kept, **(attributes or {})},
                "created": old["created"] if old else now(),
                "modified": now(),
                "version": ((old or {}).get("version") or 0) + 1,
            }
            appends = [vars(once)] if once is not None else (old or {}).get("appends")
            if appends:
                new["appends"] = appends
            is_kept = keep_versions or (keep_versions is None and self.catalog.keeps_versions(new))
            is_kept = is_kept or self.prefix == "models/"
            if is_kept:
                new["attributes"] = with_version(new["attributes"], new["version"], tag)
                if old is not None:
                    self.catalog.keep(old)
            if old is None:
                done = self.catalog.insert(new)
            else:
                done = self.catalog.replace(old, new)
                if done and not is_kept:
                    self._release(old)
            if done:
                return Metadata.from_doc(new if old is None else {"_id": old["_id"], **new})
        self._storage(backend).free({**fields, "_id": None})
        raise self._busy(name)

    def _check_place(
        self,
        name: str,
        old: Doc | None,
        replace: bool,
        replaces: Metadata | None,
        only: str | None = None,
    ) -> None:
        """Raise Conflict unless what has the name now may be replaced."""
        if old is not None and not replace:
            raise self._taken(name)
        self._check_identity(name, old, only)
        if replaces is None:
            return
        if old is None or (old["_id"], old.get("version")) != (replaces.id, replaces.version):
            raise Conflict(f"{self.noun} {name!r} was changed by somebody else meanwhile", hint="try again")

    def _check_identity(self, name: str, doc: Doc | None, only: str | None) -> None:
        """Raise Conflict where `only` is the identity of another object than the one of that name."""
        if only is not None and (doc is None or str(doc["_id"]) != only):
            raise Conflict(f"{self.noun} {name!r} was dropped or renamed meanwhile", hint="see what there is")

    def _append(
        self,
        parts: Iterable[Any],
        name: str,
        *,
        is_stream: bool,
        format: str | None,
        attributes: Mapping[str, Any] | None,
        index: Sequence[str] | None,
        once: Once | None = None,
        only: str | None = None,
    ) -> Metadata:
        check_name(name)
        for key in attributes or {}:
            if "." in key or key.startswith("$"):
                raise InvalidInput(
                    f"attribute {key!r} of an append has a . or begins with $", hint="rename it"
                )
        for _ in range(1 if is_stream else _RETRIES):
            old = self.catalog.find(name)
            self._check_identity(name, old, only)
            if old is None:
                with suppress(_Taken):  # somebody else was first: then append
                    return self._make(
                        parts, name, format=format, attributes=attributes, index=index, once=once
                    )
                continue
            if once is not None and self.catalog.appended(old, once):
                return Metadata.from_doc(old)
            backend = self._backend(old)
            storage = self._storage(backend)
            payloads = (_with_index(self._encode(backend, part, name), index) for part in parts)
            added = storage.append(payloads, old)
            sets = {**{f"attributes.{k}": v for k, v in (attributes or {}).items()}, "modified": now()}
            if old.get("format", backend.format) < backend.format:
                sets["format"] = backend.format  # an older version must see that it cannot read what is added
            change = {**added.change, "$set": {**added.change.get("$set", {}), **sets}}
            match = {"name": name, **added.match}  # it may have been renamed meanwhile
            if once is not None:
                is_new, known = appending(once)
                match = {**match, **is_new}
                change["$push"] = {**change.get("$push", {}), **known}
            new = self.catalog.update(old, match, {k: v for k, v in change.items() if v})
            if new is not None:
                return Metadata.from_doc(self._compacted(new, storage))
            added.undo()
        last = self.catalog.find(name)
        if once is not None and last is not None and self.catalog.appended(last, once):
            return Metadata.from_doc(last)  # who repeated it was faster
        raise self._busy(name)

    def _make(self, parts: Iterable[Any], name: str, **how: Any) -> Metadata:
        try:
            return self._put(parts, name, replace=False, **how)
        except Conflict:
            raise _Taken from None

    def _compacted(self, doc: Doc, storage: Storage) -> Doc:
        """Make one segment of many small ones, now and then, and return the document after that.

        That it fails is no failure of the append that went before.
        """
        from omegaml.store.columns import COMPACT_SEGMENTS, TableStorage

        if isinstance(storage, TableStorage) and len(doc["kind_meta"]["segs"]) >= COMPACT_SEGMENTS:
            with suppress(OmegaError):
                added = storage.compact(doc, now(), self.catalog.keeps_versions(doc))
                if added is not None:
                    new = self.catalog.update(doc, added.match, added.change)
                    if new is not None:
                        return new
                    added.undo()
        return doc

    def drop(self, name: str, *, missing_ok: bool = False) -> bool:
        """Remove an object, its versions and their data. Raises NotFound unless `missing_ok`."""
        if missing_ok and not self.exists(name):
            return False
        for doc in self.catalog.remove(name):
            self._storage(backends.by_kind(doc["kind"])).free(doc)
        return True

    def copy(self, name: str, new: str, *, replace: bool = False) -> Metadata:
        """Store what `name` holds as `new` too."""
        check_name(new)
        if self.exists(new) and not replace:
            raise self._taken(new)
        source = self.catalog.resolve(Asked.parse(name))
        backend = self._backend(source)
        attributes = {k: v for k, v in (source.get("attributes") or {}).items() if k != "versions"}
        written = self._storage(backend).copy(source, new)
        return self._flip(new, self.catalog.find(new), backend, written, replace, attributes)

    def rename(self, name: str, new: str) -> Metadata:
        """Give an object another name; its data stays where it is. Raises Conflict where `new` exists."""
        check_name(new)
        self.catalog.rename(name, new)
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
        chosen = list(columns) if columns is not None else asked.columns
        selection = Selection(chosen, asked.excluded, as_, limit, q, filters)
        last: Any = None
        for _ in range(_RETRIES):
            doc = self.catalog.resolve(asked, version)
            if last is not None and last == _pointer(doc):
                hint = "restore it from a backup"
                raise Corrupt(f"parts of {self.noun} {asked.name!r} are gone", hint=hint)
            last = _pointer(doc)
            backend = self._backend(doc)
            try:
                return self._storage(backend).get(doc, backend, selection)
            except Stale:
                continue
            except Corrupt as error:
                raise Corrupt(f"{self.noun} {asked.name!r}: {error.message}", hint=error.hint) from error
        raise Conflict(f"{self.noun} {asked.name!r} is being replaced all the time", hint="try again")

    def __getitem__(self, name: str) -> Any:
        """Return the object: `om.datasets["sales"]`."""
        return self.get(name)

    def getl(
        self, name: str, *, version: int | str | None = None, q: Q | None = None, **filters: Any
    ) -> LazyFrame | LazyRows:
        """Return a lazy frame: filters, sorts, groups and joins in bounded memory, reads on `get()`.

        It is the dataset as it is now. Reading raises Conflict once that has been replaced or dropped.
        """
        from omegaml.frame import LazyFrame
        from omegaml.rowframe import LazyRows

        asked = Asked.parse(name)
        doc = self.catalog.resolve(asked, version)
        backend = self._backend(doc)
        lazy: LazyFrame | LazyRows
        if backend.payload is Table:
            lazy = LazyFrame(cast("TableStorage", self._storage(backend)).open(doc))
        elif backend.payload is Rows:
            lazy = LazyRows(cast("RowsStorage", self._storage(backend)).open(doc, backend))
        else:
            raise InvalidInput(f"{self.noun} {doc['name']!r} ({doc['kind']}) has no rows to read lazily")
        lazy = lazy.filter(q, **filters)
        if asked.columns:
            return lazy.select(list(asked.columns))
        if asked.excluded:
            return lazy.select("^" + asked.excluded[0], *asked.excluded[1:])
        return lazy

    def size(self, name: str, *, version: int | str | None = None) -> int:
        """Count the bytes that reading Python data, an array or a file takes.

        Metadata has the same number as the writer's word, which is not good enough where others read.

        Raises: NotFound, InvalidInput (the object is of another kind).
        """
        doc = self.catalog.resolve(Asked.parse(name), version)
        storage = self._storage(self._backend(doc))
        if not hasattr(storage, "size"):
            raise InvalidInput(f"{self.noun} {name!r} ({doc['kind']}) is read in parts")
        return int(storage.size(doc))

    def open(self, name: str, *, version: int | str | None = None) -> BinaryIO:
        """Return a stored file or model as a seekable binary stream, read piece by piece.

        Raises: NotFound, InvalidInput (the object is no file), Corrupt while reading, Conflict where it was
            replaced meanwhile.
        """
        doc = self.catalog.resolve(Asked.parse(name), version)
        if self._backend(doc).payload is not Blob:
            raise InvalidInput(f"{self.noun} {name!r} ({doc['kind']}) is no file", hint="use get() instead")
        from omegaml.store.blobs import BlobStorage

        return cast(BinaryIO, BlobStorage(self.db, self.names).open(doc))

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

        try:
            like = re.compile(fnmatch.translate(pattern or "*"))
            contains = re.compile(regexp or "")
        except re.error as e:
            raise InvalidInput(f"{regexp!r} is no regular expression: {e}") from None
        return [
            m
            for m in self.catalog.list()
            if (hidden or not is_hidden(m.name)) and like.match(m.name) and contains.search(m.name)
        ]

    def page(
        self, start: int, count: int, contains: str = "", sort: str = "name", outside: str = ""
    ) -> tuple[Sequence[Metadata], int]:
        """Return `count` of the objects that are not hidden, from number `start` on, and how many there are.

        Args:
            contains: a text that the names have in them, whatever their case.
            sort: name, kind, rows, bytes, created or modified; with `-` before it, the greatest first.
            outside: how the names do not begin.
        """
        return self.catalog.page(start, count, contains, sort, outside)

    def metadata(self, name: str, version: int | str | None = None) -> Metadata:
        """Return what is known of an object. Raises NotFound."""
        asked = Asked.parse(name)
        return Metadata.from_doc({**self.catalog.resolve(asked, version), "name": asked.name})

    def exists(self, name: str) -> bool:
        return self.catalog.exists(Asked.parse(name).name)

    def count(self, name: str) -> int:
        """Return a dataset's number of rows, from its metadata where that has it."""
        doc = self.catalog.resolve(Asked.parse(name))
        if self._backend(doc).payload is Rows:
            from omegaml.store.rows import RowsStorage

            return RowsStorage(self.db, self.names).count(doc)
        rows = Metadata.from_doc(doc).rows
        if rows is None:
            raise InvalidInput(f"{self.noun} {name!r} ({doc['kind']}) has no rows to count")
        return rows

    # --- versions

    def versions(self, name: str, match: Mapping[str, Any] | None = None) -> Sequence[Metadata]:
        """Return the kept versions, newest first; with `match` the newest and the older ones that say so."""
        return self.catalog.versions(name, match)

    def promote(self, name: str, version: int | str, tag: str = LATEST) -> Metadata:
        """Let `tag` mean `version`. The tag "latest" makes it what `get(name)` returns, as a new version."""
        check_tag(tag)
        for _ in range(_RETRIES):
            doc = self.catalog.resolve(Asked(name), version)
            newest = self.catalog.require(name)
            if tag == LATEST:
                return self._flip_back(newest, doc)
            if self.catalog.tag(newest, tag, doc.get("version") or 0):
                return self.metadata(name)
        raise self._busy(name)

    def _flip_back(self, newest: Doc, doc: Doc) -> Metadata:
        """Make an older version the newest one again, sharing its data."""
        if doc.get("version") == newest.get("version"):
            return Metadata.from_doc(newest)
        fields = ("kind", "format", "kind_meta", "collection", "gridfile", "objid", "s3file", "uri")
        written = Written({k: doc[k] for k in fields if k in doc}, Metadata.from_doc(doc).bytes or 0)
        return self._flip(newest["name"], newest, self._backend(doc), written)

    # --- cleaning up

    def gc(self, older_than: float = 600.0) -> Freed:
        """Remove what killed writers left, if nothing was added to it for `older_than` seconds.

        Returns: how many things, and their bytes.
        """
        from omegaml.store.garbage import collect

        return collect(self.db, self.names, datetime.now(UTC) - timedelta(seconds=older_than))

    # --- inside

    def _storage(self, backend: Backend) -> Storage:
        """The storage that carries the backend's payloads."""
        if backend.payload is Table:
            from omegaml.store.columns import TableStorage

            return TableStorage(self.db, self.names)
        if backend.payload is Rows:
            from omegaml.store.rows import RowsStorage

            return RowsStorage(self.db, self.names)
        if backend.payload is Blob:
            from omegaml.store.blobs import BlobStorage

            return BlobStorage(self.db, self.names)
        assert backend.payload is Documents, backend.payload
        from omegaml.store.documents import DocumentsStorage

        return DocumentsStorage(self.db, self.names)

    def _backend(self, doc: Mapping[str, Any]) -> Backend:
        backend = backends.by_kind(doc["kind"])
        if (doc.get("format") or 0) > backend.format:
            raise FormatTooNew(
                f"{self.noun} {doc['name']!r} is stored in format {doc['format']} of {doc['kind']}; "
                f"this version reads up to {backend.format}",
                hint="pip install --upgrade omegaml",
            )
        return backend

    def _new(self, name: str, backend: Backend) -> Doc:
        return {"name": name, "bucket": self.bucket, "prefix": self.prefix, "kind": backend.kind}

    def _fields(self, name: str, backend: Backend, written: Written) -> Doc:
        empty: Doc = {"collection": None, "gridfile": None, "objid": None, "s3file": {}, "uri": None}
        fields = {**self._new(name, backend), "format": backend.format, **empty, **written.fields}
        return {**fields, "kind_meta": {"bytes": written.bytes, **fields["kind_meta"]}}

    def _release(self, doc: Doc) -> None:
        """Free what a replaced document pointed at, unless a version points there too."""
        storage = self._storage(backends.by_kind(doc["kind"]))
        if not self.catalog.is_shared(doc, _pointer(doc)):
            storage.free(doc)

    def _taken(self, name: str) -> Conflict:
        hint = "use replace=True or append=True, or another name"
        return Conflict(f"there is a {self.noun} {name!r} already", hint=hint)

    def _busy(self, name: str) -> Busy:
        return Busy(f"{self.noun} {name!r} is being changed by many writers at once", hint="try again")


class _Taken(Exception):
    """An append found no object, and when it wanted to make it there was one."""


def _pointer(doc: Mapping[str, Any]) -> dict[str, Any]:
    """Where an object's data is, as a filter for documents that point there."""
    manifest = doc.get("kind_meta") or {}
    if "segs" in manifest:
        return {"kind_meta.id": manifest["id"]}
    if doc.get("gridfile") is not None:
        return {"gridfile": doc["gridfile"]}
    return {"collection": doc.get("collection")}


def _with_index(payload: Payload, index: Sequence[str] | None) -> Payload:
    if not index:
        return payload
    if not isinstance(payload, Rows):
        raise InvalidInput("only the rows format has indexes", hint='put(..., format="rows", index=[...])')
    return changed(payload, meta={**payload.meta, "indexes": list(index)})
