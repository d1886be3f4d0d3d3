"""Writing a segment of a columnar table: its chunks, from several threads, then their statistics."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from bson import MaxKey, ObjectId

from omegaml.backends.base import Table
from omegaml.backends.columnar.chunks import Choice, dense, pack, stats, whole
from omegaml.mongo import JOURNALED
from omegaml.store.reader import GROUP_COLUMNS, THREADS

DOCUMENT_BYTES = 15 << 20
FEW_CELLS = 50_000  # starting threads takes longer than converting so few

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class SegmentWriter:
    """Writes rows `first` to `first + rows` of a table's columns as the chunks of one segment.

    Args:
        key: `{d, s}`, the first part of its documents' ids.
        per: how many rows a chunk has.
    """

    def __init__(
        self,
        frames: Any,
        key: Mapping[str, ObjectId],
        table: Table,
        first: int,
        rows: int,
        per: int,
    ) -> None:
        self.frames, self.key = frames, key
        self.table, self.types = table, table.schema.types
        self.first, self.rows, self.per = first, rows, per
        self.chunks = -(-rows // per)
        self.groups = column_groups(len(self.types))
        self._bounds: dict[int, list[Any]] = {i: [None] * self.chunks for i in range(len(self.types))}
        self._choices = [Choice() for _ in self.types]

    def write(self, run: Run) -> int:
        """Write all of it; `run` is a `map` that may work on several threads. Returns the bytes stored."""
        jobs = [(g, n) for n in range(self.chunks) for g in range(len(self.groups))]
        if len(jobs) == 1:
            document, size = self._chunk(jobs[0])
            last = [document, self._statistics(0)]
        else:
            size = sum(run(self._insert, jobs))
            last = [self._statistics(g) for g in range(len(self.groups))]
        self.frames.with_options(write_concern=JOURNALED).insert_many(last)
        return size

    def _insert(self, job: tuple[int, int]) -> int:
        document, size = self._chunk(job)
        self.frames.insert_one(document)
        return size

    def _chunk(self, job: tuple[int, int]) -> tuple[dict[str, Any], int]:
        """Return a chunk's document and size; what a document cannot hold is stored beside it."""
        g, n = job
        rows = min(self.per, self.rows - n * self.per)
        key = {**self.key, "g": g, "n": n}
        packed: dict[int, bytes] = {}
        for i in self.groups[g]:
            start = self.first + n * self.per
            array = dense(whole(self.table.column(i, start, start + rows)))
            self._bounds[i][n] = stats(array, self.types[i])
            packed[i] = pack(array, self.types[i], choice=self._choices[i])
        fields = chunk_fields(packed.items())
        size = sum(map(len, packed.values()))
        if size > DOCUMENT_BYTES:
            for i, data in packed.items():
                if len(data) > DOCUMENT_BYTES // (GROUP_COLUMNS * 2):
                    fields["d"][f"c{i}"] = self._insert_parts({**key, "c": i}, data)
        return {"_id": key, "rows": rows, **fields}, size

    def _insert_parts(self, key: Mapping[str, Any], data: bytes) -> int:
        starts = range(0, len(data), DOCUMENT_BYTES)
        for p, at in enumerate(starts):
            self.frames.insert_one({"_id": {**key, "p": p}, "b": data[at : at + DOCUMENT_BYTES]})
        return len(starts)

    def _statistics(self, g: int) -> dict[str, Any]:
        """The document with the lowest and highest values and numbers of nulls of all chunks of a group."""
        names = ("lo", "hi", "nul")
        bounds = {i: map(list, zip(*self._bounds[i], strict=True)) for i in self.groups[g]}
        found = {f"c{i}": dict(zip(names, columns, strict=True)) for i, columns in bounds.items()}
        return {"_id": {**self.key, "g": g, "n": -1}, "st": found}


@contextmanager
def workers(cells: int) -> Iterator[Run]:
    """Yield a `map` that works on several threads, where there is enough to do for them."""
    if cells <= FEW_CELLS:
        yield map
        return
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool.map


def column_groups(count: int) -> list[range]:
    """The columns that share a document."""
    starts = range(0, max(1, count), GROUP_COLUMNS)
    return [range(start, min(start + GROUP_COLUMNS, count)) for start in starts]


def chunk_fields(packed: Iterable[tuple[int, bytes]]) -> dict[str, Any]:
    """The fields of a chunk's document: every column's bytes and their checksum."""
    items = {f"c{i}": data for i, data in packed}
    return {"d": items, "h": {k: zlib.crc32(v) for k, v in items.items()}}


def segment_range(dataset: Any, segment: Any = None) -> dict[str, Any]:
    """The filter for all documents of a segment, or of all segments of a dataset."""
    if segment is None:
        return {"_id": {"$gte": {"d": dataset}, "$lt": {"d": dataset, "s": MaxKey()}}}
    return {"_id": {"$gte": {"d": dataset, "s": segment}, "$lt": {"d": dataset, "s": segment, "g": MaxKey()}}}
