"""Fifty columns of random floats: nothing in them compresses, so the bytes are what is measured."""

from __future__ import annotations

import pandas as pd

from benchmarks import arctic, frames
from benchmarks.bench import MILLION, Bench, dropper
from benchmarks.equal import same_frame, same_rows
from benchmarks.lines import Line, against
from benchmarks.rounds import Way


def run(bench: Bench) -> list[Line]:
    frame = frames.numeric(bench.rows(MILLION))
    om, name, parquet, rounds = bench.om.datasets, bench.name(), bench.path(".parquet"), 3
    store = arctic.library(bench.path()) if arctic.installed() else None

    def forget() -> None:
        if store is not None and store.has_symbol("d"):
            store.delete("d")

    put = bench.measure(
        "numeric",
        "numeric put",
        rounds,
        [
            Way("omega|ml", lambda: om.put(frame, name), before=dropper(bench, name)),
            Way(
                "Parquet file",
                lambda: frame.to_parquet(parquet),
                before=lambda: parquet.unlink(missing_ok=True),
            ),
            Way("ArcticDB", lambda: store.write("d", frame), before=forget) if store is not None else None,
        ],
    )
    get = bench.measure(
        "numeric",
        "numeric get",
        rounds,
        [
            Way("omega|ml", lambda: om.get(name), lambda found: same_frame(found, frame)),
            Way("Parquet file", lambda: pd.read_parquet(parquet), same_rows(len(frame))),
            Way("ArcticDB", lambda: store.read("d").data, same_rows(len(frame)))
            if store is not None
            else None,
        ],
    )
    om.drop(name)
    lines = against("numeric", "numeric put", put, "Parquet file") + against(
        "numeric", "numeric put", put, "ArcticDB"
    )
    lines += against("numeric", "numeric get", get, "Parquet file")
    return lines + against("numeric", "numeric get", get, "ArcticDB")
