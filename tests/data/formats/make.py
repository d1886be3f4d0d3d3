"""Write the samples of stored formats that are not there yet: `python -m tests.data.formats.make MONGO_URL`.

A file holds the documents of a database with one object, as they lie in MongoDB: each as
`{"collection": its name, "document": itself}`, one after the other. A file that is there is never written
again: it is what an older version stored, and today's code has to read it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from omegaml import backends
from omegaml.omega import Omega
from tests.data.formats.samples import SAMPLES, Sample


def put(om: Any, sample: Sample) -> None:
    """Store the object; `chunks` in chunks of a few rows beside the manifest."""
    from omegaml.store import columns

    usual = columns.INLINE_BYTES, columns.CHUNK_ROWS
    if sample.name == "chunks":
        columns.INLINE_BYTES, columns.CHUNK_ROWS = 0, 3
    try:
        store = getattr(om, sample.prefix)
        store.put(sample.make(), "sample", **sample.options)
        if sample.append is not None:
            store.put(sample.append(), "sample", append=True)
    finally:
        columns.INLINE_BYTES, columns.CHUNK_ROWS = usual


def dump(db: Any) -> Iterator[bytes]:
    """Yield every document of the database."""
    for name in sorted(db.list_collection_names()):
        for document in db.get_collection(name, bson.CodecOptions(RawBSONDocument)).find().sort("_id", 1):
            yield bson.encode({"collection": name, "document": document})


def load(db: Any, data: bytes) -> None:
    """Insert the documents of a file."""
    for line in bson.decode_all(data, bson.CodecOptions(RawBSONDocument)):
        db[line["collection"]].insert_one(line["document"])


def main(url: str) -> int:
    om = Omega(mongo_url=url)
    for sample in SAMPLES:
        if sample.path.exists():
            print("kept   ", sample.path)
            continue
        if backends.by_kind(sample.kind).format != sample.format:
            print(f"{sample.kind} has another format now than {sample.format}: add a new sample")
            return 1
        om.db.client.drop_database(om.db.name)
        put(om, sample)
        sample.path.parent.mkdir(parents=True, exist_ok=True)
        with sample.path.open("xb") as file:
            file.writelines(dump(om.db))
        om.db.client.drop_database(om.db.name)
        print("written", sample.path, sample.path.stat().st_size)
    om.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
