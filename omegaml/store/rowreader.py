"""Reading row documents a batch at a time: filtered, sorted and cut to a range by the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from pymongo.errors import OperationFailure

from omegaml.backends import rowbson
from omegaml.backends.base import Backend, Rows
from omegaml.backends.rows import ROWID, Field, compared_field, data_fields, index_fields, labels
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

    def find(self, text: str) -> Field:
        """Return the field by which rows are compared by column or index level `text`. Raises NotFound."""
        return compared_field(self._meta, text)

    def count(self, where: Expr | None) -> int:
        if where is None and self._meta.get("rows") is not None:
            return int(self._meta["rows"])
        with translated():
            return self._rows.count_documents(query_of(self._meta, where))

    def scan(
        self,
        columns: Sequence[int],
        where: Expr | None = None,
        order: Sequence[tuple[Field, bool]] = (),
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[Any]:
        """Yield the selected rows as objects of the kind that was put, some thousand rows at a time.

        Args:
            columns: positions of the columns.
            order: fields to sort by, and whether ascending; missing values come last, ties keep their order.
        Raises: Stale where the rows were replaced meanwhile, TimedOut.
        """
        if stop is not None and stop <= start:
            return
        seen = 0
        for batch in self._batches(self._steps(columns, where, order, start, stop)):
            if len(batch):
                seen += 1
                yield self._made(batch, columns)
        if not seen and where is None and start < (self._meta.get("rows") or 0):
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
    ) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = [{"$match": query_of(self._meta, where)}]
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

    def _made(self, batch: bytes, columns: Sequence[int]) -> Any:
        offsets = offsets_of(batch)
        payload = Rows(len(offsets) - 1, lambda start: [(memoryview(batch), offsets)], self._with(columns))
        made = self._backend.decode(payload, self._format)
        # decoding puts rows into the order of their numbers
        numbers = np.array([document.get(ROWID, i) for i, document in enumerate(rowbson.documents(batch))])
        if (np.diff(numbers) > 0).all():
            return made
        return made.iloc[np.argsort(np.argsort(numbers, kind="stable"), kind="stable")]

    def _with(self, columns: Sequence[int]) -> dict[str, Any]:
        return {**self._meta, "take": list(columns)}

    @property
    def _format(self) -> int:
        return self._doc.get("format") or 0
