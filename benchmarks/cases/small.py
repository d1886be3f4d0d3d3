"""Many small datasets: a thousand rows each."""

from __future__ import annotations

import pandas as pd

from benchmarks import frames
from benchmarks.bench import Bench
from benchmarks.equal import same_frame
from benchmarks.lines import Line, against, alone
from benchmarks.rounds import Way

ROWS, DATASETS, ROUNDS = 1_000, 100, 10


def run(bench: Bench) -> list[Line]:
    om, count, rounds = bench.om.datasets, 10 if bench.quick else DATASETS, ROUNDS
    frame = frames.mixed(ROWS, seed=4)
    folder = bench.path()
    folder.mkdir()
    names = [bench.name() for _ in range(count)]
    paths = [folder / f"{name}.parquet" for name in names]

    def drop() -> None:
        for name in names:
            om.drop(name, missing_ok=True)
        for path in paths:
            path.unlink(missing_ok=True)

    put = bench.measure(
        "1,000 rows",
        "small put",
        rounds,
        [
            Way("omega|ml", lambda: [om.put(frame, name) for name in names], before=drop, count=count),
            Way("Parquet file", lambda: [frame.to_parquet(path) for path in paths], count=count),
        ],
    )
    drop()
    for name, path in zip(names, paths, strict=True):
        om.put(frame, name)
        frame.to_parquet(path)
    get = bench.measure(
        "1,000 rows",
        "small get",
        rounds,
        [
            Way("omega|ml", lambda: [om.get(name) for name in names], _all_same(frame), count=count),
            Way("Parquet file", lambda: [pd.read_parquet(path) for path in paths], count=count),
        ],
    )
    drop()
    lines = [alone("1,000 rows", "small put", put["omega|ml"])]
    lines += against("1,000 rows", "small put", put, "Parquet file")
    lines += [alone("1,000 rows", "small get", get["omega|ml"])]
    return lines + against("1,000 rows", "small get", get, "Parquet file")


def _all_same(frame: pd.DataFrame):  # type: ignore[no-untyped-def]
    def check(found: list[pd.DataFrame]) -> None:
        for each in found:
            same_frame(each, frame)

    return check
