"""The rows format: one document per row, as other programs of MongoDB expect it."""

from __future__ import annotations

from benchmarks import documents
from benchmarks.bench import Bench, dropper
from benchmarks.equal import same_frame, same_rows
from benchmarks.frames import in_milliseconds
from benchmarks.lines import Line, against
from benchmarks.rounds import Way

ROWS = 200_000


def run(bench: Bench) -> list[Line]:
    frame = in_milliseconds(bench.mixed.frame.iloc[: bench.rows(ROWS)])
    easy, data = documents.storable(frame), f"mixed {len(frame):,}"
    om, name, collection = bench.om.datasets, bench.name(), bench.server.db[bench.name()]
    put = bench.measure(
        data,
        "rows put",
        3,
        [
            Way("omega|ml", lambda: om.put(frame, name, format="rows"), before=dropper(bench, name)),
            Way("insert_many", lambda: documents.insert(collection, easy), before=collection.drop),
        ],
        warm=bench.quick,
    )
    get = bench.measure(
        data,
        "rows get",
        2,
        [
            Way("omega|ml", lambda: om.get(name), lambda found: same_frame(found, frame)),
            Way("find", lambda: list(collection.find()), same_rows(len(frame))),
        ],
        warm=False,
    )
    om.drop(name)
    collection.drop()
    return against(data, "rows put", put, "insert_many") + against(data, "rows get", get, "find")
