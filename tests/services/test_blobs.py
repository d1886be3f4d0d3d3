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

from omegaml.backends.base import Blob
from omegaml.errors import Corrupt, InvalidInput, Mismatch, Stale
from omegaml.store.blobs import CHUNK, BlobStorage
from omegaml.store.names import Names

pytestmark = pytest.mark.once

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
    return {**DOC, **BlobStorage(db, NAMES).write([Blob(data, meta)], DOC).fields}


def reader(db: Database[Any], doc: dict[str, Any]) -> Any:
    return BlobStorage(db, NAMES).open(doc)


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
        assert doc["kind_meta"] == {"colour": "red"}
        with reader(db, doc) as f:
            assert (f.length, f.read()) == (size, data)
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
    assert reader(db, doc).read() == data


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
@pytest.mark.parametrize("damage", ["flipped bit", "swapped content", "missing chunk", "short chunk"])
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
    else:
        chunks.update_one({"n": last}, {"$set": {"data": b"x"}})
    with pytest.raises(Corrupt):
        reader(db, doc).read()
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


def test_a_file_that_was_replaced_while_it_was_read_is_no_damage(db: Database[Any]) -> None:
    doc = put(db, os.urandom(40 * CHUNK))
    f = reader(db, doc)
    f.read(10)
    BlobStorage(db, NAMES).free(doc)
    with pytest.raises(Stale, match="some/file"):
        f.read()
    with pytest.raises(Stale, match="some/file"):
        reader(db, doc)


def test_free_removes_everything_and_may_be_repeated(db: Database[Any]) -> None:
    keep, doc = put(db, b"keep"), put(db, os.urandom(2 * CHUNK))
    for _ in range(2):
        BlobStorage(db, NAMES).free(doc)
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
        "BlobStorage(db, Names('omegaml', 'data/')).write([Blob(Endless())], doc)\n"
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
        BlobStorage(db, NAMES).append([Blob(b"x")], put(db, b"a"))


@pytest.mark.parametrize(
    "value", [None, 5, {"a": 2**40, "$x.y": [1]}, [], [1, (2, 3)], ["x" * 10**6] * 30], ids=type
)
def test_python_data_comes_back_from_the_database(om: Any, value: Any) -> None:
    om.datasets.put(value, "d")
    assert om.datasets.get("d") == value


def test_a_list_appended_to_a_list_extends_it(om: Any) -> None:
    om.datasets.put([1, 2], "d", keep_versions=True)
    om.datasets.put([(3, 4), None], "d", append=True)
    assert om.datasets.get("d") == [1, 2, (3, 4), None]
    om.datasets.put(["x" * 10**6] * 20, "d", append=True)  # of several documents, and seen at once
    assert len(om.datasets.get("d")) == 24
    om.datasets.put([5], "d")
    assert len(om.datasets.get("d^")) == 24
    assert om.datasets.get("d") == [5]


def test_what_would_change_its_shape_is_not_appended(om: Any) -> None:
    for base, more in [({"a": 1}, {"b": 2}), ([1], 2), (1, [2])]:
        om.datasets.put(base, "d")
        with pytest.raises(Mismatch, match="'d'"):
            om.datasets.put(more, "d", append=True)
        assert om.datasets.get("d") == base


def test_a_document_that_no_metadata_lists_is_not_read(om: Any) -> None:
    meta = om.datasets.put([1], "d")
    om.db[meta.collection].insert_one({"data": [2]})  # what a killed append leaves
    assert om.datasets.get("d") == [1]


def test_every_put_has_a_collection_of_its_own_and_the_old_one_goes(om: Any) -> None:
    old, new = om.datasets.put([1], "d"), om.datasets.put([2], "d")
    assert old.collection != new.collection
    assert set(om.db.list_collection_names()) == {"metadata", new.collection}
