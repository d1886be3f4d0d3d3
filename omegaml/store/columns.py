"""Columnar storage: a table as chunks of rows, one binary per column, behind a manifest.

Layout. `<bucket>.frames` holds, for segment `s` of dataset `d`, column group `g` and chunk `n`,
`{_id: {d, s, g, n}, rows, d: {c<i>: Binary}, h: {c<i>: crc32}}` and one document `n: -1` with the chunks'
statistics. The manifest is `kind_meta` of the object's metadata document: `{id, schema, rows, bytes, segs}`;
what it lists is visible, everything else is garbage. A small table lies in it (`inline`). Many small
segments are compacted into one; what readers may still be reading stays listed as `retired` for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from bson import ObjectId

from omegaml.backends.base import Backend, Table
from omegaml.backends.columnar.chunks import pack, whole
from omegaml.backends.columnar.codec import adapt
from omegaml.backends.columnar.schema import Schema
from omegaml.backends.columnar.values import as_type, from_arrow, to_arrow
from omegaml.errors import OmegaError
from omegaml.mongo import JOURNALED, translated, unbroken
from omegaml.store.base import Added, Selection, Written
from omegaml.store.names import Names
from omegaml.store.reader import Reader, select
from omegaml.store.segments import Run, SegmentWriter, chunk_fields, column_groups, segment_range, workers

INLINE_BYTES = 64 << 10
CHUNK_BYTES = 4 << 20  # before compression; 1-2 MB stored (storage.md: what the server writes fastest)
CHUNK_ROWS = 1 << 16
SEGMENT_CHUNKS = 512
SAMPLE_ROWS = 1024
COMPACT_SEGMENTS = 64  # so many small segments at the end become one
RETIRED = timedelta(minutes=10)


class TableStorage:
    """Writes, reads and frees the chunks of tables."""

    def __init__(self, db: Any, names: Names) -> None:
        self._db = db
        self._frames = db[names.frames]

    def write(self, payloads: Iterable[Table], doc: Mapping[str, Any]) -> Written:
        """Store the tables, one after the other, under a fresh dataset id.

        Raises: Mismatch where a later table does not go on from the first.
        """
        manifest: dict[str, Any] = {}
        try:
            with unbroken(self._db, repr(doc["name"])):
                for table in payloads:
                    if manifest:
                        self._add(manifest, table)
                    else:
                        manifest = {"id": ObjectId(), "schema": {}, "rows": 0, "bytes": 0, "segs": []}
                        self._store(manifest, table, inline=True)
        except BaseException:
            self._undo(manifest)
            raise
        return Written({"kind_meta": manifest}, manifest["bytes"])

    def append(self, payloads: Iterable[Table], doc: Mapping[str, Any]) -> Added:
        """Store the tables as segments that follow those of `doc`."""
        old = doc["kind_meta"]
        manifest = {**old, "segs": [], "bytes": 0}
        try:
            with unbroken(self._db, repr(doc["name"])):
                for table in payloads:
                    self._add(manifest, table)
        except BaseException:
            self._undo(manifest)
            raise
        same = manifest["schema"] == old["schema"]
        change: dict[str, dict[str, Any]] = {
            "$push": {"kind_meta.segs": {"$each": manifest["segs"]}},
            "$inc": {"kind_meta.rows": manifest["rows"] - old["rows"], "kind_meta.bytes": manifest["bytes"]},
            "$set": {} if same else {"kind_meta.schema": manifest["schema"]},
        }
        match = {"kind_meta.id": old["id"], "kind_meta.schema": old["schema"]}
        return Added(match, change, lambda: self._undo(manifest))

    def get(self, doc: Mapping[str, Any], backend: Backend, asked: Selection) -> Any:
        """Return the selected columns and rows. Raises NotFound (column), InvalidInput, Stale, Corrupt."""
        return select(self.open(doc), asked)

    def open(self, doc: Mapping[str, Any]) -> Reader:
        """Return a reader of the table as `doc` lists it."""
        return Reader(self._frames, doc["kind_meta"], doc["name"])

    def copy(self, doc: Mapping[str, Any], name: str) -> Written:
        """Store the chunks once more, under a fresh dataset id."""
        manifest = {k: v for k, v in doc["kind_meta"].items() if k != "retired"}
        made = {**manifest, "id": ObjectId()}
        frames = self._frames.with_options(write_concern=JOURNALED)
        with translated(), unbroken(self._db, repr(name)):
            for seg in manifest["segs"]:
                source = {"$match": segment_range(manifest["id"], seg["id"])}
                frames.aggregate([source, {"$set": {"_id.d": made["id"]}}, {"$merge": frames.name}])
        return Written({"kind_meta": made}, made["bytes"])

    def free(self, doc: Mapping[str, Any]) -> None:
        """Delete all chunks of the dataset, with what killed and compacting writers left of it."""
        self._delete(doc["kind_meta"]["id"])

    def compact(self, doc: Mapping[str, Any], at: datetime, is_shared: bool) -> Added | None:
        """Store the many small segments at the end as one; None where there are not many.

        The old ones stay until a compaction that comes `RETIRED` later: readers may be at them.

        Args:
            is_shared: versions may list the old ones too; then only `gc` can tell when they may go.
        """
        manifest = doc["kind_meta"]
        segs = manifest["segs"]
        first = len(segs)
        while first and segs[first - 1]["rows"] * 4 < CHUNK_ROWS:
            first -= 1
        run = segs[first:]
        if len(run) < COMPACT_SEGMENTS:
            return None
        rows = sum(seg["rows"] for seg in run)
        reader = Reader(self._frames, {**manifest, "inline": None, "segs": run, "rows": rows}, doc["name"])
        made: dict[str, Any] = {"id": manifest["id"], "schema": {}, "rows": 0, "bytes": 0, "segs": []}
        try:
            with unbroken(self._db, repr(doc["name"])):
                self._store(made, _whole(reader))
        except BaseException:
            self._undo(made)
            raise
        retired = [{"id": seg["id"], "at": at} for seg in run]
        kept = [r for r in manifest.get("retired") or [] if r["at"] > at - RETIRED]
        expired = [r for r in manifest.get("retired") or [] if r["at"] <= at - RETIRED]
        match = {"kind_meta.id": manifest["id"], "kind_meta.segs": segs}
        change = {
            "$set": {"kind_meta.segs": [*segs[:first], *made["segs"]], "kind_meta.retired": [*kept, *retired]}
        }
        for seg in [] if is_shared else expired:
            self._delete(manifest["id"], seg["id"])
        return Added(match, change, lambda: self._undo(made))

    # --- writing

    def _add(self, manifest: dict[str, Any], table: Table) -> None:
        """Store `table` behind what the manifest lists, in its types."""
        schema = Schema.from_doc(manifest["schema"])
        if manifest["rows"] or schema.types:
            schema = schema.extend(table.schema, manifest["rows"])
            table = adapt(table, schema)
        else:
            schema = table.schema
        if table.rows:
            self._store(manifest, table)
        # what does not change stays as it is, byte for byte: writers compare it
        if schema.to_doc() != manifest["schema"]:
            manifest["schema"] = schema.to_doc()

    def _store(self, manifest: dict[str, Any], table: Table, inline: bool = False) -> None:
        """Store a table and enter it in the manifest."""
        types = table.schema.types
        manifest["schema"] = manifest["schema"] or table.schema.to_doc()
        # a sample tells how wide the rows are; all others are converted when they are written
        middle = max(0, table.rows - SAMPLE_ROWS) // 2
        sample = [table.column(i, middle, middle + SAMPLE_ROWS) for i in range(len(types))]
        widths = [column.nbytes / max(1, min(table.rows, SAMPLE_ROWS)) for column in sample]
        packed = None
        if inline and sum(widths) * table.rows <= 4 * INLINE_BYTES:
            columns = sample if table.rows <= SAMPLE_ROWS else map(table.column, range(len(types)))
            packed = [pack(whole(c), type_) for c, type_ in zip(columns, types, strict=True)]
        if packed is not None and sum(map(len, packed)) <= INLINE_BYTES:
            manifest["inline"] = {"rows": table.rows, **chunk_fields(enumerate(packed))}
            manifest["bytes"] += sum(map(len, packed))
        else:
            with workers(table.rows * len(types)) as run:
                self._write_segments(manifest, table, widths, run)
        manifest["rows"] += table.rows

    def _write_segments(
        self, manifest: dict[str, Any], table: Table, widths: Sequence[float], run: Run
    ) -> None:
        widest = max(sum(widths[i] for i in g) for g in column_groups(len(widths)))
        per = int(min(CHUNK_ROWS, max(1, CHUNK_BYTES // max(1, widest))))
        for first in range(0, max(1, table.rows), per * SEGMENT_CHUNKS):
            rows = min(per * SEGMENT_CHUNKS, table.rows - first)
            key = {"d": manifest["id"], "s": ObjectId()}
            writer = SegmentWriter(self._frames, key, table, first, rows, per)
            manifest["segs"].append({"id": key["s"], "rows": rows, "n": writer.chunks, "per": per})
            with translated():
                manifest["bytes"] += writer.write(run)

    def _undo(self, manifest: Mapping[str, Any]) -> None:
        """Delete what a write that failed left; the server may be the reason, then `gc` finds it later."""
        for seg in manifest.get("segs") or ():
            with suppress(OmegaError):
                self._delete(manifest["id"], seg["id"])

    def _delete(self, dataset: ObjectId, segment: ObjectId | None = None) -> None:
        """Delete the chunks of a segment, or of all segments of the dataset."""
        with translated():
            self._frames.delete_many(segment_range(dataset, segment))


def _whole(reader: Reader) -> Table:
    """Return what a reader reads as a table to write."""
    types = reader.schema.types
    parts: list[list[pa.Array]] = [[] for _ in types]
    for piece in reader.scan(range(len(types))):
        for found, array in zip(parts, piece.arrays, strict=True):
            found.append(array)
    # chunks of object columns are of types of their own, so they go through the cells
    columns = [
        from_arrow(found, type_, reader.rows) if type_.kind == "object" else as_type(found, type_.arrow)
        for found, type_ in zip(parts, types, strict=True)
    ]

    def column(i: int, start: int = 0, stop: int | None = None) -> pa.Array | pa.ChunkedArray:
        values = columns[i][start:stop]
        return to_arrow(values, types[i]) if types[i].kind == "object" else values

    return Table(reader.schema, reader.rows, column)
