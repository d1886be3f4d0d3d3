"""What killed writers leave behind: segments, files and collections that no metadata document points at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from omegaml.metadata import COLLECTION
from omegaml.mongo import translated
from omegaml.store.names import VERSIONS, Names
from omegaml.store.segments import segment_range


@dataclass(frozen=True)
class Freed:
    """How many segments, files, collections and versions were removed, and their bytes."""

    objects: int
    bytes: int


def collect(db: Any, names: Names, before: datetime) -> Freed:
    """Remove from a bucket what nothing points at and nothing was added to since `before` (aware UTC).

    Data is listed before the metadata is read: what becomes visible in between is then seen as pointed at.
    """
    with translated():
        freed = [
            *_versions(db, names, before),
            *_segments(db, names, before),
            *_files(db, names, before),
            *_collections(db, names, before),
        ]
    return Freed(len(freed), sum(freed))


def _versions(db: Any, names: Names, before: datetime) -> Iterator[int]:
    """Remove the versions of objects that are no more."""
    documents = db[COLLECTION]
    kept = f"^{VERSIONS}[0-9a-f]{{24}}/[0-9]+$"
    for doc in documents.find({"bucket": names.bucket, "name": {"$regex": kept}}, {"name": 1}):
        newest = ObjectId(doc["name"].removeprefix(VERSIONS).partition("/")[0])
        if doc["_id"].generation_time <= before and documents.find_one({"_id": newest}, {"_id": 1}) is None:
            documents.delete_one({"_id": doc["_id"]})
            yield 0  # what it pointed at is found next


def _segments(db: Any, names: Names, before: datetime) -> Iterator[int]:
    frames = db[names.frames]
    key = {"$group": {"_id": {"d": "$_id.d", "s": "$_id.s"}}}
    # from the index alone: what is there may be large, and most of it is no garbage
    found = frames.aggregate([{"$project": {"_id": 1}}, key], allowDiskUse=True, hint={"_id": 1})
    stored = [(s["_id"]["d"], s["_id"]["s"]) for s in found]
    orphans = set(stored) - set(_listed_segments(db, before))
    newest: dict[Any, datetime] = {}
    for d, s in orphans:  # a writer at work makes segments all the time, all under one dataset
        newest[d] = max(newest.get(d, s.generation_time), s.generation_time)
    for d, s in orphans:
        if newest[d] <= before:
            size = _size(frames, segment_range(d, s))
            frames.delete_many(segment_range(d, s))
            yield size


def _listed_segments(db: Any, before: datetime) -> Iterator[tuple[Any, Any]]:
    fields = {"kind_meta.id": 1, "kind_meta.segs.id": 1, "kind_meta.retired": 1}
    for doc in db[COLLECTION].find({"kind_meta.id": {"$exists": True}}, fields):
        manifest = doc["kind_meta"]
        for seg in [*(manifest.get("segs") or []), *(manifest.get("retired") or [])]:
            if "at" not in seg or seg["at"] > before.replace(tzinfo=None):
                yield manifest["id"], seg["id"]


def _files(db: Any, names: Names, before: datetime) -> Iterator[int]:
    files, chunks = db[names.files].files, db[names.files].chunks
    key = [{"$project": {"_id": 0, "files_id": 1}}, {"$group": {"_id": "$files_id"}}]
    is_indexed = "files_id_1_n_1" in chunks.index_information()
    hint = {"hint": "files_id_1_n_1"} if is_indexed else {}
    stored = {c["_id"] for c in chunks.aggregate(key, allowDiskUse=True, **hint)}
    stored |= {f["_id"] for f in files.find({}, {"_id": 1})}
    for file in stored - set(db[COLLECTION].distinct("gridfile")):
        own = {"files_id": file}
        last = chunks.find_one(own, ["_id"], sort=[("n", -1)]) or {"_id": file}
        if _is_older(file, before) and _is_older(last["_id"], before):
            size = _size(chunks, own)
            files.delete_one({"_id": file})
            chunks.delete_many(own)
            yield size


def _collections(db: Any, names: Names, before: datetime) -> Iterator[int]:
    pattern = re.compile(rf"{re.escape(names.files)}\.(rows|data)\.([0-9a-f]{{24}})")
    made = [(n, ObjectId(m[2])) for n in db.list_collection_names() if (m := pattern.fullmatch(n))]
    listed = set(db[COLLECTION].distinct("collection"))
    for name, since in made:
        last = db[name].find_one({}, ["_id"], sort=[("_id", -1)]) or {"_id": since}
        if name not in listed and _is_older(since, before) and _is_older(last["_id"], before):
            size = int(db.command("collStats", name)["size"])
            db.drop_collection(name)
            yield size


def _size(collection: Any, match: dict[str, Any]) -> int:
    total = {"$group": {"_id": None, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}}
    return sum(int(found["bytes"]) for found in collection.aggregate([{"$match": match}, total]))


def _is_older(id: Any, before: datetime) -> bool:
    return isinstance(id, ObjectId) and id.generation_time <= before
