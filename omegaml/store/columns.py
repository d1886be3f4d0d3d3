"""Columnar storage: a table as chunks of rows, one binary per column, behind a manifest.

Layout. `<bucket>.frames` holds, for segment `s` of dataset `d`, column group `g` and chunk `n`,
`{_id: {d, s, g, n}, rows, d: {c<i>: Binary}, h: {c<i>: crc32}}` and one document `n: -1` with the chunks'
statistics. The manifest is `kind_meta` of the object's metadata document: `{id, schema, rows, bytes, segs}`;
what it lists is visible, everything else is garbage. A small table lies in it (`inline`).
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from bson import Binary, MaxKey, ObjectId

from omegaml.backends.base import Table
from omegaml.backends.columnar.chunks import pack, stats, unpack
from omegaml.backends.columnar.schema import Schema
from omegaml.errors import Corrupt
from omegaml.mongo import translated
from omegaml.query import mask, may_match
from omegaml.store.base import Written
from omegaml.store.names import Names

if TYPE_CHECKING:
    from omegaml.query import Expr

INLINE_BYTES = 64 << 10
CHUNK_BYTES = 4 << 20  # before compression; 1-2 MB stored (storage.md: what the server writes fastest)
CHUNK_ROWS = 1 << 16
DOCUMENT_BYTES = 15 << 20
GROUP_COLUMNS = 64
SEGMENT_CHUNKS = 512
THREADS = 2
BATCH = 4


class Stale(Exception):
    """The chunks that a manifest lists are gone: the object was replaced meanwhile."""


@dataclass(frozen=True)
class Piece:
    """Rows of one chunk: `arrays` are the asked columns, `taken` the selected rows' places in the chunk."""

    start: int
    rows: int
    arrays: list[pa.Array]
    taken: np.ndarray | None = None


@dataclass(frozen=True)
class _Chunk:
    segment: ObjectId | None  # None: inline in the manifest
    n: int
    start: int
    rows: int


class TableStorage:
    """Writes, reads and frees the chunks of tables."""

    def write(
        self, db: Any, names: Names, table: Table, doc: Mapping[str, Any] | None, append: bool
    ) -> Written:
        """Store `table` under a fresh segment; visible only once the caller has set `fields`."""
        manifest = doc["kind_meta"] if append and doc else None
        dataset = manifest["id"] if manifest else ObjectId()
        count = len(table.schema.types)
        with ThreadPoolExecutor(THREADS) as pool:
            columns = list(pool.map(table.column, range(count)))
            size = max(1, sum(c.nbytes for c in columns))
            if manifest is None and size <= 4 * INLINE_BYTES:
                packed = [self._packed(table.schema, i, c) for i, c in enumerate(columns)]
                stored = sum(len(p) for p in packed)
                if stored <= INLINE_BYTES:
                    inline = {"rows": table.rows, **_chunk_fields(enumerate(packed))}
                    return self._manifest(table, dataset, [], stored, inline)
            segs, stored = self._write_segments(db[names.frames], dataset, table, columns, pool)
        return self._manifest(table, dataset, segs, stored, None)

    def _manifest(
        self,
        table: Table,
        dataset: ObjectId,
        segs: list[dict[str, Any]],
        stored: int,
        inline: dict[str, Any] | None,
    ) -> Written:
        meta = {
            "id": dataset,
            "schema": table.schema.to_doc(),
            "rows": table.rows,
            "bytes": stored,
            "segs": segs,
        }
        if inline is not None:
            meta["inline"] = inline
        return Written({"kind_meta": meta}, stored)

    def _packed(self, schema: Schema, i: int, column: pa.Array | pa.ChunkedArray) -> bytes:
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
            if isinstance(column, pa.ChunkedArray):
                column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        return pack(column, schema.types[i])

    def _write_segments(
        self, frames: Any, dataset: ObjectId, table: Table, columns: Sequence[Any], pool: ThreadPoolExecutor
    ) -> tuple[list[dict[str, Any]], int]:
        groups = [
            range(g, min(g + GROUP_COLUMNS, len(columns)))
            for g in range(0, max(1, len(columns)), GROUP_COLUMNS)
        ]
        widest = max(sum(columns[i].nbytes for i in g) for g in groups) / max(1, table.rows)
        per = int(min(CHUNK_ROWS, max(1, CHUNK_BYTES // max(1, widest))))
        segs, stored = [], 0
        for first in range(0, max(1, table.rows), per * SEGMENT_CHUNKS):
            rows = min(per * SEGMENT_CHUNKS, table.rows - first)
            segment, chunks = ObjectId(), -(-rows // per)
            statistics: list[dict[str, Any]] = [{} for _ in groups]

            def write(
                job: tuple[int, int],
                first: int = first,
                rows: int = rows,
                segment: ObjectId = segment,
                statistics: list[dict[str, Any]] = statistics,
            ) -> int:
                g, n = job
                return self._write_chunk(
                    frames,
                    {"d": dataset, "s": segment, "g": g, "n": n},
                    table.schema,
                    {i: columns[i].slice(first + n * per, min(per, rows - n * per)) for i in groups[g]},
                    statistics[g],
                )

            with translated():
                stored += sum(pool.map(write, [(g, n) for n in range(chunks) for g in range(len(groups))]))
                frames.insert_many(
                    [
                        {"_id": {"d": dataset, "s": segment, "g": g, "n": -1}, "st": _by_column(st, chunks)}
                        for g, st in enumerate(statistics)
                    ]
                )
            segs.append({"id": segment, "rows": rows, "n": chunks, "per": per})
        return segs, stored

    def _write_chunk(
        self,
        frames: Any,
        key: dict[str, Any],
        schema: Schema,
        columns: Mapping[int, Any],
        statistics: dict[str, Any],
    ) -> int:
        packed: dict[int, bytes] = {}
        for i, column in columns.items():
            array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            if isinstance(array, pa.ChunkedArray):
                array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
            packed[i] = pack(array, schema.types[i])
            statistics[f"{key['n']}.c{i}"] = stats(array, schema.types[i])
        size = sum(len(p) for p in packed.values())
        fields = _chunk_fields(packed.items())
        if size > DOCUMENT_BYTES:
            for i, data in packed.items():
                if len(data) > DOCUMENT_BYTES // (GROUP_COLUMNS * 2):
                    parts = range(0, len(data), DOCUMENT_BYTES)
                    for p, at in enumerate(parts):
                        frames.insert_one(
                            {"_id": {**key, "c": i, "p": p}, "b": Binary(data[at : at + DOCUMENT_BYTES])}
                        )
                    fields["d"][f"c{i}"] = len(parts)
        frames.insert_one({"_id": key, "rows": len(next(iter(columns.values()))) if columns else 0, **fields})
        return size

    def open(self, db: Any, names: Names, doc: Mapping[str, Any]) -> Reader:
        return Reader(db[names.frames], doc["kind_meta"])

    def free(self, db: Any, names: Names, doc: Mapping[str, Any]) -> None:
        """Delete the chunks of all segments that `doc` lists."""
        manifest = doc["kind_meta"]
        with translated():
            for seg in manifest.get("segs") or []:
                db[names.frames].delete_many(segment_range(manifest["id"], seg["id"]))


def segment_range(dataset: Any, segment: Any) -> dict[str, Any]:
    return {"_id": {"$gte": {"d": dataset, "s": segment}, "$lt": {"d": dataset, "s": segment, "g": MaxKey()}}}


def _chunk_fields(packed: Any) -> dict[str, Any]:
    items = [(f"c{i}", data) for i, data in packed]
    return {"d": {k: Binary(v) for k, v in items}, "h": {k: zlib.crc32(v) for k, v in items}}


def _by_column(statistics: Mapping[str, Any], chunks: int) -> dict[str, Any]:
    columns = sorted({k.split(".", 1)[1] for k in statistics})
    return {
        c: dict(
            zip(
                ("lo", "hi", "nul"),
                map(list, zip(*(statistics[f"{n}.{c}"] for n in range(chunks)), strict=True)),
                strict=True,
            )
        )
        for c in columns
    }


class Reader:
    """One table as its manifest listed it when the reader was made."""

    def __init__(self, frames: Any, manifest: Mapping[str, Any]) -> None:
        self._frames = frames
        self._manifest = manifest
        self.schema = Schema.from_doc(manifest["schema"])
        self.rows: int = manifest["rows"]
        self.chunks = list(self._list_chunks())

    def _list_chunks(self) -> Iterator[_Chunk]:
        start = 0
        inline = self._manifest.get("inline")
        if inline is not None:
            yield _Chunk(None, 0, 0, inline["rows"])
            start = inline["rows"]
        for seg in self._manifest.get("segs") or []:
            for n in range(seg["n"]):
                rows = min(seg["per"], seg["rows"] - n * seg["per"])
                yield _Chunk(seg["id"], n, start, rows)
                start += rows

    def scan(
        self, columns: Sequence[int], where: Expr | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[Piece]:
        """Yield the selected rows of `columns`, chunk by chunk and in row order.

        Only chunks between rows `start` and `stop` whose statistics may match are fetched, a few at a time.
        Raises Stale when a chunk is gone, Corrupt when its bytes are not what was stored.
        """
        stop = self.rows if stop is None else min(stop, self.rows)
        chunks = [c for c in self.chunks if c.start < stop and c.start + c.rows > start]
        tested = sorted({self.schema.find(c) for c in where.columns()}) if where is not None else []
        kept = self._prune(chunks, where, tested) if where is not None else chunks
        late = where is not None and len(kept) > len(chunks) // 2 and set(columns) - set(tested)

        def work(batch: list[_Chunk]) -> list[Piece]:
            if where is None:
                data = self._fetch(batch, columns)
                return [
                    _cut(Piece(c.start, c.rows, [data[c, i] for i in columns]), start, stop) for c in batch
                ]
            data = self._fetch(batch, tested if late else sorted({*columns, *tested}))
            hits: dict[_Chunk, np.ndarray] = {}
            for c in batch:

                def column(text: str, c: _Chunk = c) -> tuple[pa.Array, Any]:
                    i = self.schema.find(text)
                    return data[c, i], self.schema.types[i]

                found = mask(where, column)
                taken = np.flatnonzero(found.to_numpy(zero_copy_only=False))
                taken = taken[(taken >= start - c.start) & (taken < stop - c.start)]
                if len(taken):
                    hits[c] = taken
            if late and hits:
                data.update(self._fetch(list(hits), [i for i in columns if i not in tested]))
            return [
                Piece(
                    c.start,
                    len(t),
                    [data[c, i] if len(t) == c.rows else data[c, i].take(pa.array(t)) for i in columns],
                    t,
                )
                for c, t in hits.items()
            ]

        batches = [kept[i : i + BATCH] for i in range(0, len(kept), BATCH)]
        yield from (p for pieces in _in_order(work, batches) for p in pieces)

    def _prune(self, chunks: list[_Chunk], where: Expr, tested: Sequence[int]) -> list[_Chunk]:
        """Leave out the chunks whose statistics say that nothing in them can match."""
        kept = [c for c in chunks if c.segment is None]
        dataset, segments = self._manifest["id"], {c.segment for c in chunks if c.segment is not None}
        groups = sorted({i // GROUP_COLUMNS for i in tested})
        keys = [{"d": dataset, "s": s, "g": g, "n": -1} for s in segments for g in groups]
        found: dict[Any, dict[str, Any]] = {}
        with translated():
            for doc in self._frames.find({"_id": {"$in": keys}}, {f"st.c{i}": 1 for i in tested} or None):
                found.setdefault(doc["_id"]["s"], {}).update(doc.get("st", {}))
        for segment in segments:
            inside = [c for c in chunks if c.segment == segment]
            st = found.get(segment)
            if st is None:
                raise Stale

            def column(text: str, st: Mapping[str, Any] = st) -> Any:
                i = self.schema.find(text)
                s = st.get(f"c{i}")
                return s and (s["lo"], s["hi"], s["nul"], self.schema.types[i])

            seg = next(s for s in self._manifest["segs"] if s["id"] == segment)
            matches = may_match(where, column, seg["n"])
            kept += [c for c in inside if matches[c.n]]
        return sorted(kept, key=lambda c: c.start)

    def _fetch(self, chunks: Sequence[_Chunk], columns: Sequence[int]) -> dict[tuple[_Chunk, int], pa.Array]:
        """Return the arrays of some columns of some chunks, digests checked."""
        out: dict[tuple[_Chunk, int], pa.Array] = {}
        by_key = {(c.segment, c.n): c for c in chunks}
        inline = by_key.get((None, 0))
        if inline is not None:
            stored = self._manifest["inline"]
            out.update({(inline, i): self._decode(stored, i, inline) for i in columns})
        wanted = [c for c in chunks if c.segment is not None]
        groups: dict[int, list[int]] = {}
        for i in columns:
            groups.setdefault(i // GROUP_COLUMNS, []).append(i)
        dataset = self._manifest["id"]
        with translated():
            for g, members in groups.items() if wanted else ():
                keys = [{"d": dataset, "s": c.segment, "g": g, "n": c.n} for c in wanted]
                fields = {f"{k}.c{i}": 1 for i in members for k in "dh"}
                seen = 0
                for doc in self._frames.find({"_id": {"$in": keys}}, fields, batch_size=1000):
                    chunk = by_key[doc["_id"]["s"], doc["_id"]["n"]]
                    out.update({(chunk, i): self._decode(doc, i, chunk) for i in members})
                    seen += 1
                if seen != len(keys):
                    raise Stale
        return out

    def _decode(self, doc: Mapping[str, Any], i: int, chunk: _Chunk) -> pa.Array:
        data = doc["d"][f"c{i}"]
        if isinstance(data, int):
            keys = [{**doc["_id"], "c": i, "p": p} for p in range(data)]
            parts = {d["_id"]["p"]: d["b"] for d in self._frames.find({"_id": {"$in": keys}})}
            if len(parts) != data:
                raise Stale
            data = b"".join(parts[p] for p in range(data))
        if zlib.crc32(data) != doc["h"][f"c{i}"]:
            raise Corrupt(
                f"column {i}, rows {chunk.start} and on, are not what was stored",
                hint="restore the dataset from a backup",
            )
        array = unpack(data, self.schema.types[i])
        if len(array) != chunk.rows:
            raise Corrupt(f"column {i} has {len(array)} of {chunk.rows} rows at row {chunk.start}")
        return array


def _cut(piece: Piece, start: int, stop: int) -> Piece:
    lo, hi = max(0, start - piece.start), min(piece.rows, stop - piece.start)
    if lo == 0 and hi == piece.rows:
        return piece
    return Piece(piece.start + lo, hi - lo, [a.slice(lo, hi - lo) for a in piece.arrays])


def _in_order(work: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
    """Run the jobs on a few threads, a bounded number ahead, and yield the results in order."""
    if len(jobs) <= 1:
        yield from map(work, jobs)
        return
    pool = ThreadPoolExecutor(THREADS)
    try:
        waiting: deque[Future[Any]] = deque()
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
