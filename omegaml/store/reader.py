"""Reading columnar tables: which chunks a selection needs, fetched a few at a time and checked."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from bson import ObjectId

from omegaml.backends.columnar.chunks import unpack
from omegaml.backends.columnar.codec import decode
from omegaml.backends.columnar.schema import Schema
from omegaml.errors import Corrupt
from omegaml.mongo import translated
from omegaml.query import Labels, mask, outlook, where
from omegaml.store.base import Selection, stale

if TYPE_CHECKING:
    from omegaml.query import Expr

GROUP_COLUMNS = 64
THREADS = 2
BATCH = 16

BATCH_BYTES = 12 << 20  # a reply holds 16 MB


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


class Reader:
    """One table as its manifest listed it when the reader was made."""

    def __init__(self, frames: Any, manifest: Mapping[str, Any], name: str) -> None:
        self._frames = frames
        self._manifest = manifest
        self._name = name
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

    @property
    def id(self) -> str:
        """What stays while rows are only added, and no other data has."""
        return str(self._manifest["id"])

    def until(self, rows: int) -> Reader:
        """The table as it was when it had so many rows."""
        earlier = copy(self)
        earlier.rows = min(rows, self.rows)
        return earlier

    def scan(
        self, columns: Sequence[int], where: Expr | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[Piece]:
        """Yield the selected rows of `columns`, chunk by chunk and in row order.

        Only chunks between rows `start` and `stop` whose statistics may match are fetched, a few at a time;
        without columns, those of which all rows match are not fetched either.
        Raises Stale when a chunk is gone, Corrupt when its bytes are not what was stored.
        """
        stop = self.rows if stop is None else min(stop, self.rows)
        chunks = [c for c in self.chunks if c.start < stop and c.start + c.rows > start]
        tested = sorted({self.schema.find(c) for c in where.columns()}) if where is not None else []
        kept, sure = self._prune(chunks, where, tested) if where is not None else (chunks, set())
        late = where is not None and len(kept) > len(chunks) // 2 and set(columns) - set(tested)

        def work(batch: list[_Chunk]) -> list[Piece]:
            if where is None:
                data = self._fetch(batch, columns)
                return [
                    _cut(Piece(c.start, c.rows, [data[c, i] for i in columns]), start, stop) for c in batch
                ]
            looked = [c for c in batch if columns or c not in sure]
            data = self._fetch(looked, tested if late else sorted({*columns, *tested}))
            hits: dict[_Chunk, np.ndarray] = {}
            for c in batch:
                if c not in looked:
                    hits[c] = np.arange(max(0, start - c.start), min(c.rows, stop - c.start))
                    continue

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

        size = self._batch(columns)
        batches = [kept[i : i + size] for i in range(0, len(kept), size)]
        yield from (p for pieces in _in_order(work, batches) for p in pieces)

    def _group(self, g: int) -> range:
        """The columns of one column group."""
        return range(g * GROUP_COLUMNS, min((g + 1) * GROUP_COLUMNS, len(self.schema.types)))

    def _batch(self, columns: Sequence[int]) -> int:
        """How many chunks to fetch at once: so many that the server answers with a few megabytes."""
        share = len(columns) / max(1, len(self.schema.types))
        size = self._manifest["bytes"] / max(1, len(self.chunks)) * share
        return int(min(BATCH, max(1, BATCH_BYTES // max(1, size))))

    def _prune(
        self, chunks: list[_Chunk], where: Expr, tested: Sequence[int]
    ) -> tuple[list[_Chunk], set[_Chunk]]:
        """Return the chunks that may match as far as statistics say, and those of which all rows do."""
        kept, sure = [c for c in chunks if c.segment is None], set[_Chunk]()
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
                raise stale(self._name)

            def column(text: str, st: Mapping[str, Any] = st) -> Any:
                i = self.schema.find(text)
                s = st.get(f"c{i}")
                return s and (s["lo"], s["hi"], s["nul"], self.schema.types[i])

            seg = next(s for s in self._manifest["segs"] if s["id"] == segment)
            matches = outlook(where, column, seg["n"])
            kept += [c for c in inside if matches[c.n][0]]
            sure |= {c for c in inside if not matches[c.n][1]}
        return sorted(kept, key=lambda c: c.start), sure

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
                # a projection of all columns makes the server rebuild what it could send as it lies
                is_whole = len(members) == len(self._group(g))
                fields = None if is_whole else {f"{k}.c{i}": 1 for i in members for k in "dh"}
                seen = 0
                for doc in self._frames.find({"_id": {"$in": keys}}, fields, batch_size=1000):
                    chunk = by_key[doc["_id"]["s"], doc["_id"]["n"]]
                    out.update({(chunk, i): self._decode(doc, i, chunk) for i in members})
                    seen += 1
                if seen != len(keys):
                    raise stale(self._name)
        return out

    def _decode(self, doc: Mapping[str, Any], i: int, chunk: _Chunk) -> pa.Array:
        data = doc["d"][f"c{i}"]
        if isinstance(data, int):
            keys = [{**doc["_id"], "c": i, "p": p} for p in range(data)]
            parts = {d["_id"]["p"]: d["b"] for d in self._frames.find({"_id": {"$in": keys}})}
            if len(parts) != data:
                raise stale(self._name)
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


def select(reader: Reader, asked: Selection) -> Any:
    """Return the selected columns and rows as the object that was put, or as what is asked for."""
    schema = reader.schema
    width = schema.width
    expr = where(asked.q, asked.filters, Labels(schema.find))
    if asked.columns is not None:
        chosen = [schema.find(c) if isinstance(c, str) else schema.labels.get_loc(c) for c in asked.columns]
        chosen = [i for i in chosen if i < width]  # the index comes along anyway
    else:
        excluded = {schema.find(c) for c in asked.excluded}
        chosen = [i for i in range(width) if i not in excluded]
    stored = [*chosen, *range(width, len(schema.types))]
    limit = asked.limit
    view = schema if chosen == list(range(width)) else schema.select(chosen)
    arrays: list[list[pa.Array]] = [[] for _ in stored]
    places: list[np.ndarray] = []
    rows = 0
    for piece in reader.scan(stored, expr, stop=limit if expr is None else None):
        for column, array in zip(arrays, piece.arrays, strict=True):
            column.append(array)
        if expr is not None:
            taken = piece.taken if piece.taken is not None else np.arange(piece.rows)
            places.append(taken + piece.start)
        rows += piece.rows
        if limit is not None and rows >= limit:
            break
    positions = None if expr is None else np.concatenate([np.empty(0, np.int64), *places])
    if limit is not None and rows > limit:
        arrays = [_head(column, limit) for column in arrays]
        positions = None if positions is None else positions[:limit]
        rows = limit
    if expr is None and rows != reader.rows:
        if limit is None:
            raise Corrupt(f"{rows} of {reader.rows} rows were found", hint="restore it from a backup")
        positions = np.arange(rows)
    return decode(view, arrays, rows, positions, asked.as_)


def _head(arrays: Sequence[pa.Array], limit: int) -> list[pa.Array]:
    """Cut a column's chunks to the first `limit` values."""
    out: list[pa.Array] = []
    left = limit
    for a in arrays:
        if left <= 0:
            break
        out.append(a.slice(0, left))
        left -= len(out[-1])
    return out
