"""Ten thousand rows more for a dataset that has a million."""

from __future__ import annotations

import pandas as pd

from benchmarks import arctic, documents, frames
from benchmarks.bench import MILLION, Bench
from benchmarks.equal import same_frame
from benchmarks.lines import Line, against
from benchmarks.rounds import Way

PART = 10_000


def run(bench: Bench) -> list[Line]:
    data, rounds = bench.mixed, 10
    rows, count = len(data.frame), bench.rows(PART)
    part = frames.mixed(count, seed=3, start=rows)
    om, name, collection = bench.om.datasets, bench.name(), bench.server.db[bench.name()]
    om.put(data.frame, name)
    easy = documents.storable(part)
    documents.insert(collection, documents.storable(data.frame.iloc[: bench.rows(MILLION // 10)]))
    store = arctic.library(bench.path()) if arctic.installed() else None
    easier = arctic.storable(part)
    # ArcticDB's range index goes on from where it ends
    if store is not None:
        store.write("d", arctic.storable(data.frame))
    made = bench.measure(
        data.name,
        f"append {count:,} rows",
        rounds,
        [
            Way(
                "omega|ml",
                lambda: om.put(part, name, append=True),
                lambda _: _ends_with(bench, name, part),
            ),
            Way("insert_many", lambda: documents.insert(collection, easy)),
            Way("ArcticDB", lambda: store.append("d", easier)) if store is not None else None,
        ],
    )
    made_rows = rows + (bench.rounds(rounds) + 1) * count
    assert om.count(name) == made_rows, f"{om.count(name)} rows instead of {made_rows}"
    collection.drop()
    om.drop(name)
    what = f"append {count:,} rows"
    return against(data.name, what, made, "insert_many", "append / insert_many") + against(
        data.name, what, made, "ArcticDB", "append / ArcticDB"
    )


def _ends_with(bench: Bench, name: str, part: pd.DataFrame) -> None:
    rows = bench.om.datasets.count(name)
    found = bench.om.datasets.getl(name)[rows - len(part) :].get()
    same_frame(found.reset_index(drop=True), part)
