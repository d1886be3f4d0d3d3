"""Filters that select 0.1, 1 and 10 % of the rows, of sorted and unsorted numbers and texts."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pandas as pd

from benchmarks import arctic, documents
from benchmarks.bench import Bench
from benchmarks.equal import same_frame, same_rows
from benchmarks.frames import SHARES, Data, in_milliseconds
from benchmarks.lines import Line, against
from benchmarks.rounds import Way

OURS = "omega|ml"


def run(bench: Bench) -> list[Line]:
    return lines_of(bench, bench.mixed, 5, indexed=True) + lines_of(bench, bench.second, 3)


def lines_of(bench: Bench, data: Data, rounds: int, indexed: bool = False) -> list[Line]:
    """Filter `data`, and the same rows sorted by the text column.

    Args:
        indexed: compare unsorted columns with indexed row documents too.
    """
    chosen = data.filters
    unsorted = Stored(bench, data.frame)
    # a range index again, as a user gets it who sorts before storing
    by_text = data.frame.sort_values([chosen.text, chosen.unsorted_int], kind="stable", ignore_index=True)
    sorted_ = Stored(bench, by_text)
    rows = None
    if indexed and find_spec("pymongoarrow") is not None:
        rows = bench.name()
        keys = [chosen.sorted_int, chosen.unsorted_int, chosen.text]
        bench.om.datasets.put(in_milliseconds(data.frame), rows, format="rows", index=keys)
    lines = []
    for share, part in SHARES.items():
        for stored, column, order in (
            (unsorted, chosen.sorted_int, "sorted"),
            (unsorted, chosen.unsorted_int, "unsorted"),
            (sorted_, chosen.text, "sorted"),
            (unsorted, chosen.text, "unsorted"),
        ):
            low: Any = share if column == chosen.text else 0
            high: Any = share if column == chosen.text else chosen.bounds[column, share]
            kind = "text" if column == chosen.text else "int"
            what = f"filter {order} {kind} {part * 100:g} %"
            lines += stored.lines(data.name, what, order, column, low, high, rounds, rows)
    for each in (unsorted.name, sorted_.name, rows):
        if each is not None:
            bench.om.datasets.drop(each)
    return lines


class Stored:
    """A frame stored by the product, as a Parquet file and by ArcticDB."""

    def __init__(self, bench: Bench, frame: pd.DataFrame) -> None:
        self.bench, self.frame, self.name = bench, frame, bench.name()
        self.parquet = bench.path(".parquet")
        bench.om.datasets.put(frame, self.name)
        frame.to_parquet(self.parquet)
        self.arctic = arctic.library(bench.path()) if arctic.installed() else None
        if self.arctic is not None:
            self.arctic.write("d", arctic.storable(frame))

    def lines(
        self,
        data: str,
        what: str,
        order: str,
        column: str,
        low: Any,
        high: Any,
        rounds: int,
        rows: str | None,
    ) -> list[Line]:
        """Select the rows where `low <= column <= high`, all columns of them."""
        bench, values = self.bench, self.frame[column]
        same = low == high
        expected = self.frame[(values == low) if same else (values >= low) & (values <= high)]
        asked = {f"{column}__eq": low} if same else {f"{column}__between": [low, high]}
        parquet = [(column, "==", low)] if same else [(column, ">=", low), (column, "<=", high)]
        query = arctic.selected(column, low, high) if self.arctic is not None else None
        made = bench.measure(
            data,
            what,
            rounds,
            [
                Way(
                    OURS,
                    lambda: bench.om.datasets.get(self.name, **asked),
                    lambda found: same_frame(found, expected),
                ),
                Way(
                    "Parquet file",
                    lambda: pd.read_parquet(self.parquet, filters=parquet),
                    same_rows(len(expected)),
                ),
                Way(
                    "ArcticDB",
                    lambda: self.arctic.read("d", query_builder=query).data,
                    same_rows(len(expected)),
                )
                if self.arctic is not None
                else None,
                self._indexed(rows, {column: low if same else {"$gte": low, "$lte": high}}, len(expected))
                if rows is not None and order == "unsorted"
                else None,
            ],
        )
        lines = against(data, what, made, "Parquet file", f"filter {order} / Parquet file")
        if what.endswith(" 10 %"):
            lines += against(data, what, made, "indexed rows", "filter unsorted 10 % / indexed rows")
        else:
            lines += against(data, what, made, "indexed rows")
        return lines + against(data, what, made, "ArcticDB")

    def _indexed(self, rows: str, query: dict[str, Any], count: int) -> Way:
        from pymongoarrow.api import find_pandas_all

        collection = self.bench.server.db[self.bench.om.datasets.metadata(rows).collection]
        schema = documents.schema_of(self.frame)
        return Way(
            "indexed rows", lambda: find_pandas_all(collection, query, schema=schema), same_rows(count)
        )
