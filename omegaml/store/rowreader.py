"""Reading row documents a batch at a time: filtered, sorted and cut to a range by the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from pymongo.errors import OperationFailure

from omegaml.backends.base import Backend, Rows
from omegaml.backends.rows import (
    ROWID,
    Counted,
    Field,
    compared_field,
    data_fields,
    index_fields,
    labels,
    row_numbers,
)
from omegaml.mongo import translated
from omegaml.query import Labels
from omegaml.store.base import stale
from omegaml.store.rows import GONE, offsets_of, query_of

if TYPE_CHECKING:
    import pandas as pd
    from pymongo.collection import Collection

    from omegaml.query import Expr

BATCH_ROWS = 10_000  # a reply ends at 16 MB anyway
_MISSING = "_om#missing"


class RowsReader:
    """One dataset of row documents, as its metadata listed it when the reader was made."""

    def __init__(
        self, rows: Collection[Any], doc: Mapping[str, Any], meta: Mapping[str, Any], backend: Backend
    ) -> None:
        self._rows, self._doc, self._meta, self._backend = rows, doc, dict(meta), backend
        self.labels: pd.Index = labels(meta)
        self.names = Labels(partial(compared_field, meta))

    @property
    def id(self) -> str:
        """What stays while rows are only added, and no other data has."""
        return str(self._doc["collection"])

    @property
    def size(self) -> int:
        """How many times rows were added, as far as the metadata lists them."""
        return len(self._parts or ())

    def until(self, size: int) -> RowsReader:
        """The rows as they were when they had this size."""
        if self._parts is None or size >= len(self._parts):
            return self
        parts = self._parts[:size]
        meta = {**self._meta, "rows": sum(b - a for a, b in parts)}
        return RowsReader(
            self._rows, self._doc, {**meta, "omega": {**meta["omega"], "parts": parts}}, self._backend
        )

    @property
    def _parts(self) -> Sequence[Sequence[int]] | None:
        return (self._meta.get("omega") or {}).get("parts")

    def find(self, text: str) -> Field:
        """Return the field by which rows are compared by column or index level `text`. Raises NotFound."""
        return compared_field(self._meta, text)

    def count(self, where: Expr | None, after: int | None = None) -> int:
        if where is None and after is None and self._meta.get("rows") is not None:
            return int(self._meta["rows"])
        with translated():
            return self._rows.count_documents(self._query(where, after))

    def scan(
        self,
        columns: Sequence[int],
        where: Expr | None = None,
        order: Sequence[tuple[Field, bool]] = (),
        start: int = 0,
        stop: int | None = None,
        after: int | None = None,
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield the selected rows as objects of the kind that was put, some thousand rows at a time.

        Args:
            columns: positions of the columns.
            order: fields to sort by, and whether ascending; missing values come last, ties keep their order.
            after: only rows that are stored under a higher number.
        Returns: the numbers that rows are stored under, and the rows.
        Raises: Stale where the rows were replaced meanwhile, TimedOut.
        """
        if stop is not None and stop <= start:
            return
        seen = 0
        for batch in self._batches(self._steps(columns, where, order, start, stop, after)):
            if len(batch):
                seen += 1
                yield self._made(batch, columns)
        if not seen and where is None and after is None and start < (self._meta.get("rows") or 0):
            raise stale(self._doc["name"])

    def empty(self, columns: Sequence[int]) -> Any:
        """The object without rows."""
        return self._backend.decode(Rows(0, lambda start: (), self._with(columns)), self._format)

    def _batches(self, steps: list[dict[str, Any]]) -> Iterator[bytes]:
        with translated():
            try:
                yield from self._rows.aggregate_raw_batches(steps, allowDiskUse=True, batchSize=BATCH_ROWS)
            except OperationFailure as error:
                if error.code not in GONE:
                    raise
                raise stale(self._doc["name"]) from error

    def _steps(
        self,
        columns: Sequence[int],
        where: Expr | None,
        order: Sequence[tuple[Field, bool]],
        start: int,
        stop: int | None,
        after: int | None,
    ) -> list[dict[str, Any]]:
        query = self._query(where, after)
        parts = self._parts
        if where is None and not order and after is None and parts is not None:
            # by their numbers, where the server would count them one by one
            query, start, stop = query_of(_between(self._meta, parts, start, stop), None), 0, None
        steps: list[dict[str, Any]] = [{"$match": query}]
        for i, (field, _) in enumerate(order):
            own = {"$getField": {"$literal": str(field)}}
            steps.append({"$set": {f"{_MISSING}{i}": {"$in": [{"$ifNull": [own, None]}, [None, np.nan]]}}})
        keys: dict[str, int] = {}
        for i, (field, ascending) in enumerate(order):
            falls = field.counted is not None and field.counted.step < 0
            keys |= {f"{_MISSING}{i}": 1, str(field): 1 if ascending != falls else -1}
        keys.setdefault(ROWID, 1)
        steps.append({"$sort": keys})
        if start:
            steps.append({"$skip": start})
        if stop is not None:
            steps.append({"$limit": stop - start})
        fields = data_fields(self._meta)
        kept = [*index_fields(self._meta), *(fields[i] for i in columns), ROWID]
        return [*steps, {"$project": {"_id": 0, **dict.fromkeys(kept, 1)}}]

    def _query(self, where: Expr | None, after: int | None) -> dict[str, Any]:
        query = query_of(self._meta, where)
        return query if after is None else {"$and": [{ROWID: {"$gt": after}}, query]}

    def _made(self, batch: bytes, columns: Sequence[int]) -> tuple[np.ndarray, Any]:
        offsets = offsets_of(batch)
        meta = {**self._with(columns), "as_found": True}
        payload = Rows(len(offsets) - 1, lambda start: [(memoryview(batch), offsets)], meta)
        return row_numbers(batch, offsets), self._backend.decode(payload, self._format)

    def _with(self, columns: Sequence[int]) -> dict[str, Any]:
        return {**self._meta, "take": list(columns)}

    @property
    def _format(self) -> int:
        return self._doc.get("format") or 0


def _between(
    meta: Mapping[str, Any], parts: Sequence[Sequence[int]], start: int, stop: int | None
) -> dict[str, Any]:
    """The metadata with only the rows `start` to `stop`, counted in their order."""
    numbers = Counted(0, 1, parts).numbers(start, None if stop is None else stop - 1)
    kept = [[first, last + 1] for first, last in numbers]
    return {**meta, "omega": {**meta["omega"], "parts": kept}}
