"""Files and Python data in a real MongoDB: what is written, checked, freed, and left by a killed writer."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import gridfs
import pymongo
import pytest
from pymongo.database import Database

from omegaml import backends
from omegaml.backends.base import Blob, Documents
from omegaml.errors import Corrupt, InvalidInput, Mismatch
from omegaml.store.blobs import CHUNK, BlobStorage
from omegaml.store.documents import DocumentsStorage
from omegaml.store.names import Names

NAMES = Names("omegaml", "data/")
DOC = {"name": "some/file", "kind": "python.file"}
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 20 * CHUNK + 7]


@pytest.fixture
def db(mongo_url: str) -> Iterator[Database[Any]]:
    with pymongo.MongoClient(mongo_url) as client:
        name = f"test_blobs_{os.getpid()}_{time.monotonic_ns()}"
        yield client[name]
        client.drop_database(name)


def put(db: Database[Any], data: Any, **meta: Any) -> dict[str, Any]:
    """Store a blob and return the metadata document that names it."""
    return {**DOC, **BlobStorage().write(db, NAMES, Blob(data, meta), DOC, append=False).fields}


def reader(db: Database[Any], doc: dict[str, Any]) -> Any:
    return BlobStorage().read(db, NAMES, doc).data


class Trickle(io.RawIOBase):
    """A pipe: fewer bytes than asked for, and no way back."""

    def __init__(self, data: bytes) -> None:
        self._left = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._left.read(min(size, 100_001))


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_whole_in_pieces_and_from_pipes(db: Database[Any], size: int) -> None:
    data = os.urandom(size)
    for source in (data, memoryview(data), io.BytesIO(data), Trickle(data)):
        doc = put(db, source, colour="red")
        blob = BlobStorage().read(db, NAMES, doc)
        assert blob.read() == data
        assert (blob.size, blob.meta) == (size, {"colour": "red"})
        with reader(db, doc) as f:
            assert b"".join(iter(lambda: f.read(300_000), b"")) == data


def test_gridfs_of_the_driver_reads_the_file(db: Database[Any]) -> None:
    data = os.urandom(2 * CHUNK + 5)
    doc = put(db, data)
    found = gridfs.GridFS(db, "omegaml").get(doc["gridfile"])
    assert found.read() == data
    assert found.filename == NAMES.collection("some/file", "file")
    assert found.metadata == {"sha256": hashlib.sha256(data).hexdigest()}


def test_a_file_that_the_driver_wrote_is_read(db: Database[Any]) -> None:
    data = os.urandom(700_000)
    doc = {**DOC, "gridfile": gridfs.GridFS(db, "omegaml").put(data, filename="x")}
    assert BlobStorage().read(db, NAMES, doc).read() == data


def test_a_reader_seeks(db: Database[Any]) -> None:
    data = os.urandom(5 * CHUNK + 11)
    with reader(db, put(db, data)) as f:
        assert f.seekable() and f.readable()
        for at, size in [
            (4 * CHUNK - 3, 6),
            (0, 10),
            (CHUNK, CHUNK),
            (2 * CHUNK + 1, 2 * CHUNK),
            (len(data), 5),
        ]:
            assert f.seek(at) == at
            assert f.read(size) == data[at : at + size]
        f.seek(-5, io.SEEK_END)
        assert f.read() == data[-5:]
        f.seek(7)
        f.seek(3, io.SEEK_CUR)
        assert (f.tell(), f.read(2)) == (10, data[10:12])
        f.seek(len(data) + 100)
        assert f.read() == b""
        with pytest.raises(ValueError, match="negative"):
            f.seek(-1)


def test_a_reader_reads_lines_and_fills_buffers(db: Database[Any]) -> None:
    with reader(db, put(db, b"one\ntwo\nthree")) as f:
        assert f.readline() == b"one\n"
        assert list(f) == [b"two\n", b"three"]
        f.seek(0)
        buffer = bytearray(5)
        assert (f.readinto(buffer), bytes(buffer)) == (5, b"one\nt")
    with pytest.raises(ValueError, match="closed"):
        f.read()


def flip(db: Database[Any], n: int) -> None:
    chunk = db["omegaml"].chunks.find_one({"n": n})
    assert chunk is not None
    data = bytes([chunk["data"][0] ^ 1]) + chunk["data"][1:]
    db["omegaml"].chunks.update_one({"_id": chunk["_id"]}, {"$set": {"data": data}})


@pytest.mark.parametrize("size", [100, 2 * CHUNK, 12 * CHUNK])
@pytest.mark.parametrize(
    "damage", ["flipped bit", "swapped content", "missing chunk", "short chunk", "no file"]
)
def test_damage_is_found(db: Database[Any], size: int, damage: str) -> None:
    doc = put(db, os.urandom(size))
    chunks, last = db["omegaml"].chunks, (size - 1) // CHUNK
    if damage == "flipped bit":
        flip(db, last)
    elif damage == "swapped content":  # right checksum for the chunk, wrong file
        flip(db, last)
        chunks.update_many({}, {"$unset": {"crc32": 1}})
    elif damage == "missing chunk":
        chunks.delete_one({"n": last})
    elif damage == "short chunk":
        chunks.update_one({"n": last}, {"$set": {"data": b"x"}})
    else:
        db["omegaml"].files.delete_many({})
    with pytest.raises(Corrupt):
        BlobStorage().read(db, NAMES, doc).read()
    with pytest.raises(Corrupt):
        f = reader(db, doc)
        while f.read(100_000):
            pass


def test_damage_is_found_after_a_seek(db: Database[Any]) -> None:
    doc = put(db, os.urandom(4 * CHUNK))
    flip(db, 3)
    f = reader(db, doc)
    f.seek(3 * CHUNK)
    with pytest.raises(Corrupt, match="chunk 3"):
        f.read(10)


def test_free_removes_everything_and_may_be_repeated(db: Database[Any]) -> None:
    keep, doc = put(db, b"keep"), put(db, os.urandom(2 * CHUNK))
    for _ in range(2):
        BlobStorage().free(db, NAMES, doc)
    assert [f["_id"] for f in db["omegaml"].files.find()] == [keep["gridfile"]]
    assert db["omegaml"].chunks.count_documents({}) == 1


def test_a_source_that_fails_leaves_nothing(db: Database[Any]) -> None:
    class Failing(io.RawIOBase):
        left = 5

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            if not self.left:
                raise OSError("the disk of the source broke")
            return bytes(CHUNK)

    with pytest.raises(OSError, match="broke"):
        put(db, Failing())
    with pytest.raises(InvalidInput, match="text"):
        put(db, io.StringIO("text"))
    assert db["omegaml"].files.count_documents({}) == db["omegaml"].chunks.count_documents({}) == 0


def test_a_killed_writer_leaves_only_chunks_without_a_file(db: Database[Any], mongo_url: str) -> None:
    code = (
        "import sys, pymongo\n"
        "from omegaml.backends.base import Blob\n"
        "from omegaml.store.blobs import BlobStorage\n"
        "from omegaml.store.names import Names\n"
        "class Endless:\n    def read(self, n): return bytes(n)\n"
        "db = pymongo.MongoClient(sys.argv[1])[sys.argv[2]]\n"
        "doc = {'name': 'a', 'kind': 'python.file'}\n"
        "BlobStorage().write(db, Names('omegaml', 'data/'), Blob(Endless()), doc, False)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, mongo_url, db.name])
    try:
        deadline = time.monotonic() + 30
        while db["omegaml"].chunks.estimated_document_count() < 3:
            assert writer.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert db["omegaml"].files.count_documents({}) == 0
    assert db["omegaml"].chunks.count_documents({}) >= 3


def test_a_blob_cannot_be_appended_to(db: Database[Any]) -> None:
    with pytest.raises(InvalidInput, match="some/file"):
        BlobStorage().write(db, NAMES, Blob(b"x"), put(db, b"a"), append=True)


def put_data(db: Database[Any], value: Any, doc: dict[str, Any] | None = None) -> dict[str, Any]:
    """Store Python data, appended to `doc` if given, and return the metadata document that names it."""
    payload = backends.by_kind("python.data").encode(value)
    base = doc or {"name": "d", "kind": "python.data"}
    return {**base, **DocumentsStorage().write(db, NAMES, payload, base, append=doc is not None).fields}


def get_data(db: Database[Any], doc: dict[str, Any]) -> Any:
    return backends.by_kind("python.data").decode(DocumentsStorage().read(db, NAMES, doc), 1)


@pytest.mark.parametrize(
    "value", [None, 5, {"a": 2**40, "$x.y": [1]}, [], [1, (2, 3)], ["x" * 10**6] * 30], ids=type
)
def test_python_data_comes_back_from_the_database(db: Database[Any], value: Any) -> None:
    assert get_data(db, put_data(db, value)) == value


def test_a_list_appended_to_a_list_extends_it(db: Database[Any]) -> None:
    first = put_data(db, [1, 2])
    doc = put_data(db, [(3, 4), None], first)
    assert get_data(db, doc) == [1, 2, (3, 4), None]
    assert doc["collection"] == first["collection"]


def test_what_would_change_its_shape_is_not_appended(db: Database[Any]) -> None:
    for base, more in [({"a": 1}, {"b": 2}), ([1], 2), (1, [2])]:
        doc = put_data(db, base)
        with pytest.raises(Mismatch):
            put_data(db, more, doc)
        assert get_data(db, doc) == base


def test_an_append_that_cannot_be_seen_at_once_is_refused(db: Database[Any]) -> None:
    doc = put_data(db, [])
    with pytest.raises(InvalidInput, match="16 MB"):
        put_data(db, ["x" * 10**6] * 20, doc)


def test_every_put_has_a_collection_of_its_own_and_free_drops_it(db: Database[Any]) -> None:
    old, new = put_data(db, [1]), put_data(db, [2])
    DocumentsStorage().free(db, NAMES, old)
    assert db.list_collection_names() == [new["collection"]]
    assert get_data(db, new) == [2]


def test_documents_are_a_payload_of_their_own(db: Database[Any]) -> None:
    doc = put_data(db, [1])
    assert isinstance(DocumentsStorage().read(db, NAMES, doc), Documents)
