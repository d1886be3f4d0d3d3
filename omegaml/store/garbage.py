"""What killed writers leave behind: chunks and files that no metadata document points at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from omegaml.metadata import COLLECTION
from omegaml.mongo import translated
from omegaml.store.columns import segment_range
from omegaml.store.names import Names


@dataclass(frozen=True)
class Freed:
    """How many orphaned segments and files were removed, and their bytes."""

    objects: int
    bytes: int


def collect(db: Any, names: Names, before: datetime) -> Freed:
    """Remove from a bucket what nothing points at and nothing was added to since `before` (aware UTC)."""
    with translated():
        segments = _segments(db, names, before)
        files = _files(db, names, before)
    return Freed(segments.objects + files.objects, segments.bytes + files.bytes)


def _segments(db: Any, names: Names, before: datetime) -> Freed:
    frames = db[names.frames]
    # what is there is listed before what is pointed at: a segment flipped in between is then seen as listed
    stored = list(
        frames.aggregate(
            [{"$group": {"_id": {"d": "$_id.d", "s": "$_id.s"}, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}}],
            allowDiskUse=True,
        )
    )
    listed = {
        (doc["kind_meta"].get("id"), seg["id"])
        for doc in db[COLLECTION].find(
            {"kind_meta.segs.0": {"$exists": True}}, {"kind_meta.id": 1, "kind_meta.segs": 1}
        )
        for seg in doc["kind_meta"]["segs"]
    }
    orphans = [s for s in stored if (s["_id"]["d"], s["_id"]["s"]) not in listed]
    newest: dict[Any, datetime] = {}
    for s in orphans:  # a writer at work makes segments all the time, all under one dataset
        d = s["_id"]["d"]
        newest[d] = max(newest.get(d, s["_id"]["s"].generation_time), s["_id"]["s"].generation_time)
    dead = [s for s in orphans if newest[s["_id"]["d"]] <= before]
    for s in dead:
        frames.delete_many(segment_range(s["_id"]["d"], s["_id"]["s"]))
    return Freed(len(dead), sum(s["bytes"] for s in dead))


def _files(db: Any, names: Names, before: datetime) -> Freed:
    files, chunks = db[f"{names.files}.files"], db[f"{names.files}.chunks"]
    stored = list(
        chunks.aggregate(
            [{"$group": {"_id": "$files_id", "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}}], allowDiskUse=True
        )
    )
    stored_ids = {s["_id"] for s in stored} | {f["_id"] for f in files.find({}, {"_id": 1})}
    listed = set(db[COLLECTION].distinct("gridfile"))
    sizes = {s["_id"]: s["bytes"] for s in stored}
    dead = [f for f in stored_ids - listed if isinstance(f, ObjectId) and f.generation_time <= before]
    for f in dead:
        files.delete_one({"_id": f})
        chunks.delete_many({"files_id": f})
    return Freed(len(dead), sum(sizes.get(f, 0) for f in dead))
