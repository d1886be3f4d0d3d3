"""Blobs in GridFS: chunks of 1 MiB written by two threads, then the file document that makes them count.

Any GridFS reader can read the files. Beyond GridFS, the file document keeps a SHA-256 digest of the whole
and every chunk its CRC-32, so that reading in order and after a seek are both checked.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

from bson import ObjectId
from pymongo import WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import PyMongoError

from omegaml.backends.base import Backend, Blob
from omegaml.errors import Corrupt, InvalidInput, Stale
from omegaml.mongo import JOURNALED, ensure_index, translated, unbroken
from omegaml.store.base import Added, Selection, Written, stale
from omegaml.store.names import Names

CHUNK = 1 << 20
#: Two writers are fastest: one leaves the server idle, more only compete for its cores.
THREADS = 2
#: Chunks waiting to be written; bounds the memory of a put to a few MiB.
QUEUE = 8
#: Chunks fetched at once: of a longer answer most time goes into memory that is fresh each time.
FETCH = 2

_EXTENSIONS = {
    **{"sklearn.joblib": "omm", "model.joblib": "omm", "sklearn.skops": "omm"},
    **{"ndarray.bin": "np", "python.file": "file"},
}


class BlobStorage:
    """Stores `Blob`s: the metadata's `gridfile` is the file's id, `kind_meta` the blob's `meta`."""

    def __init__(self, db: Database[Any], names: Names) -> None:
        self.db = db
        self.names = names

    def write(self, payloads: Iterable[Blob], doc: Mapping[str, Any]) -> Written:
        """Store the blob as a new file. A writer that dies leaves chunks without a file document.

        Raises: InvalidInput (several blobs; a file opened as text), StorageFull, Unavailable.
        """
        payload, *more = payloads
        if more:
            raise InvalidInput(f"{doc['name']!r} cannot be put in parts: it is a {doc['kind']}")
        prefix = self.names.files
        chunks = self.db[prefix].chunks.with_options(write_concern=WriteConcern(w=1))
        files = self.db[prefix].files.with_options(write_concern=JOURNALED)
        file_id = ObjectId()
        try:
            with translated(), unbroken(self.db, repr(doc["name"])):
                ensure_index(self.db[prefix].chunks, [("files_id", 1), ("n", 1)], unique=True)
                ensure_index(self.db[prefix].files, [("filename", 1), ("uploadDate", 1)])
                length, digest = _write_chunks(chunks, file_id, payload.data)
                files.insert_one(
                    {
                        "_id": file_id,
                        "length": length,
                        "chunkSize": CHUNK,
                        "uploadDate": datetime.now(UTC),
                        "filename": self.names.collection(doc["name"], _EXTENSIONS.get(doc["kind"], "blob")),
                        "metadata": {"sha256": digest},
                    }
                )
        except BaseException:
            _try_delete(chunks, file_id)
            raise
        return Written({"gridfile": file_id, "kind_meta": dict(payload.meta)}, length)

    def append(self, payloads: Iterable[Blob], doc: Mapping[str, Any]) -> Added:
        """Raises: InvalidInput."""
        raise InvalidInput(f"nothing can be appended to {doc['name']!r}: it is a {doc['kind']}")

    def get(self, doc: Mapping[str, Any], backend: Backend, asked: Selection) -> Any:
        """Return what the backend makes of the file. Raises Stale, Corrupt."""
        asked.check_whole(doc)
        reader = self.open(doc)
        payload = Blob(cast(BinaryIO, reader), doc.get("kind_meta") or {}, reader.length)
        return backend.decode(payload, doc.get("format") or 0)

    def size(self, doc: Mapping[str, Any]) -> int:
        """The bytes that reading it takes. Raises Stale where it is gone."""
        return self.open(doc).length

    def open(self, doc: Mapping[str, Any]) -> BlobReader:
        """Return the file as a stream that checks what it reads. Raises Stale where it is gone."""
        return BlobReader(self.db, self.names.files, doc["gridfile"], doc["name"])

    def copy(self, doc: Mapping[str, Any], name: str) -> Written:
        """Store the file once more. Raises Stale where it is gone."""
        files = self.db[self.names.files].files.with_options(write_concern=JOURNALED)
        chunks = self.db[self.names.files].chunks
        file_id, old = ObjectId(), {"files_id": doc["gridfile"]}
        with translated(), unbroken(self.db, repr(name)):
            found = files.find_one({"_id": doc["gridfile"]})
            if found is None:
                raise stale(doc["name"])
            fresh: list[dict[str, Any]] = [
                {"$match": old},
                {"$set": {"files_id": file_id}},
                {"$unset": "_id"},
            ]
            chunks.aggregate([*fresh, {"$merge": chunks.name}])
            filename = self.names.collection(name, _EXTENSIONS.get(doc["kind"], "blob"))
            files.insert_one({**found, "_id": file_id, "filename": filename, "uploadDate": datetime.now(UTC)})
        return Written({"gridfile": file_id, "kind_meta": doc.get("kind_meta") or {}}, found["length"])

    def free(self, doc: Mapping[str, Any]) -> None:
        """Delete the file document, then its chunks; what is interrupted is left to `gc`."""
        file_id = doc.get("gridfile")
        if file_id is not None:
            with translated():
                self.db[self.names.files].files.delete_one({"_id": file_id})
                self.db[self.names.files].chunks.delete_many({"files_id": file_id})


class BlobReader(io.BufferedIOBase):
    """A stored file, open for reading: fetched a chunk at a time, checked, seekable.

    Every chunk is checked against its CRC-32 and length; once all have been read in order, the whole
    against its SHA-256. What does not agree raises Corrupt; a file that was replaced meanwhile, Stale.
    """

    def __init__(self, db: Database[Any], prefix: str, file_id: ObjectId, name: str) -> None:
        self._files: Collection[Any] = db[prefix].files
        self._object = name
        with translated():
            found = self._files.find_one({"_id": file_id})
        if found is None:
            raise stale(name)
        self.length: int = found["length"]
        self.sha256: str | None = (found.get("metadata") or {}).get("sha256")
        self.name = str(file_id)
        self._chunks: Collection[Any] = db[prefix].chunks
        self._id = file_id
        self._size: int = found["chunkSize"]
        self._count = -(-self.length // self._size)
        self._at = 0
        self._current: tuple[int, bytes] = (-1, b"")
        self._ahead: Iterator[tuple[int, bytes]] = iter(())
        self._ahead_n = -1
        self._digest = hashlib.sha256()
        self._digested = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.length}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        self._check_open()
        left = max(0, self.length - self._at)
        if size is None or size < 0 or size >= left:
            if self._at == 0 and self._count > THREADS:
                return self._read_all()
            size = left
        parts = []
        while size > 0:
            part = self.read1(size)
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read1(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, of one chunk."""
        self._check_open()
        if self._at >= self.length or size == 0:
            return b""
        n, start = divmod(self._at, self._size)
        data = self._chunk(n)
        part = data[start:] if size < 0 else data[start : start + size]
        self._at += len(part)
        return part

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _missing(self, n: int) -> Corrupt | Stale:
        with translated():
            if self._files.find_one({"_id": self._id}, {"_id": 1}) is None:
                return stale(self._object)
        return Corrupt(f"chunk {n} of the stored file {self._id} is missing", file=self.name)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the stored file was closed")

    def _chunk(self, n: int) -> bytes:
        if self._current[0] != n:
            if self._ahead_n != n:
                self._ahead = self._fetch(n, self._count)
            found = next(self._ahead, None)
            if found is None or found[0] != n:
                raise self._missing(n)
            self._ahead_n = n + 1
            self._current = found
            self._follow(n, found[1])
        return self._current[1]

    def _fetch(self, start: int, stop: int, is_checked: bool = True) -> Iterator[tuple[int, bytes]]:
        query = {"files_id": self._id, "n": {"$gte": start, "$lt": stop}}
        with translated(), self._chunks.find(query, {"_id": 0, "files_id": 0}).sort("n", 1) as cursor:
            for doc in cursor:
                data = bytes(doc["data"])
                expected = min(self._size, self.length - doc["n"] * self._size)
                is_equal = not is_checked or "crc32" not in doc or doc["crc32"] == zlib.crc32(data)
                if len(data) != expected or not is_equal:
                    what = f"chunk {doc['n']} of the stored file {self._id} is damaged"
                    raise Corrupt(what, file=self.name)
                yield doc["n"], data

    def _follow(self, n: int, data: bytes) -> None:
        """Go on with the digest if chunk `n` is the next one, and compare it after the last."""
        if n != self._digested or self.sha256 is None:
            return
        self._digest.update(data)
        self._digested += 1
        if self._digested == self._count and self._digest.hexdigest() != self.sha256:
            raise Corrupt(f"the stored file {self._id} does not match its digest", file=self.name)

    def _read_all(self) -> bytes:
        """Read the whole file, fetched by threads in runs of chunks while the digest is computed here."""
        runs = range(0, self._count, FETCH)
        self._digest, self._digested = hashlib.sha256(), 0
        is_checked = self.sha256 is None  # else the digest of the whole says it
        whole, count = io.BytesIO(), 0
        with ThreadPoolExecutor(THREADS) as pool:
            for run in pool.map(
                lambda n: list(self._fetch(n, min(n + FETCH, self._count), is_checked)), runs
            ):
                for n, data in run:
                    if n != count:
                        break
                    self._follow(n, data)
                    whole.write(data)
                    count += 1
        if count != self._count:
            raise self._missing(count)
        self._at = self.length
        return whole.getvalue()


def _write_chunks(chunks: Collection[Any], file_id: ObjectId, data: Any) -> tuple[int, str]:
    digest = hashlib.sha256()
    length = 0

    def insert(n: int, chunk: bytes) -> None:
        chunks.insert_one({"files_id": file_id, "n": n, "data": chunk, "crc32": zlib.crc32(chunk)})

    pool: ThreadPoolExecutor | None = None
    waiting: deque[Future[None]] = deque()
    try:
        for n, chunk in enumerate(_split(data)):
            if len(chunk) < CHUNK and n == 0:
                insert(n, chunk)
            else:
                pool = pool or ThreadPoolExecutor(THREADS)
                waiting.append(pool.submit(insert, n, chunk))
            digest.update(chunk)
            length += len(chunk)
            while len(waiting) >= QUEUE:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return length, digest.hexdigest()


def _split(data: Any) -> Iterator[bytes]:
    """Yield pieces of exactly CHUNK bytes, the last one shorter; a file object may return fewer at a time."""
    if isinstance(data, bytes | bytearray | memoryview):
        view = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
        for start in range(0, len(view), CHUNK):
            yield bytes(view[start : start + CHUNK])
        return
    rest = bytearray()
    while piece := data.read(CHUNK):
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InvalidInput("the file was opened as text", hint='open it with mode "rb"')
        rest += piece
        while len(rest) >= CHUNK:
            yield bytes(rest[:CHUNK])
            del rest[:CHUNK]
    if rest:
        yield bytes(rest)


def _try_delete(chunks: Collection[Any], file_id: ObjectId) -> None:
    """Remove what a failed write left; the server may be the reason, then `gc` finds it later."""
    with suppress(PyMongoError):
        chunks.delete_many({"files_id": file_id})
