"""Group by over more rows than fit into the memory allowed, each time in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.bench import MILLION, Bench
from benchmarks.frames import in_milliseconds
from benchmarks.lines import Line, against, alone
from benchmarks.rounds import Sample, Timing, Way

PARTS = 20
SECONDS = 1_000_000_007


def run(bench: Bench) -> list[Line]:
    return big(bench) + server_side(bench)


def big(bench: Bench) -> list[Line]:
    """The mean of `x` by `s`: 20 parts of the mixed frame, appended one by one, and in one Parquet file."""
    parts = 3 if bench.quick else PARTS
    data, name, parquet = f"mixed x {parts}", bench.name(), bench.path(".parquet")
    rows = parts * len(bench.mixed.frame)
    bench.say(f"{data}: load {rows:,} rows")
    _load(bench, name, parquet, parts)
    commands = {
        "omega|ml": [bench.server.url, name],
        "pyarrow": ["--parquet", str(parquet)],
    }
    timings = {way: Timing(way) for way in commands}
    memory: dict[str, list[float]] = {way: [] for way in commands}
    bench.server.settle()
    bench.say(f"{data}: group by")
    for n in range(bench.rounds(5)):
        answers = {}
        order = list(commands.items())
        for way, arguments in order if n % 2 else reversed(order):
            served = bench.server.cpu()
            answers[way] = answer = _child(arguments)
            sample = Sample(answer["wall"], answer["cpu"], bench.server.cpu() - served)
            timings[way].samples.append(sample)
            memory[way].append(answer["peak_mb"])
        _same_means(answers["omega|ml"]["means"], answers["pyarrow"]["means"])
    bench.timings += [(f"{data}: group by", timing) for timing in timings.values()]
    bench.om.datasets.drop(name)
    ours, theirs = (max(memory[way]) for way in commands)
    return [
        *against(data, "group by", timings, "pyarrow"),
        alone(data, "group by, memory", timings["omega|ml"], value=ours),
        alone(data, "group by, memory of pyarrow", timings["pyarrow"], value=theirs),
    ]


def server_side(bench: Bench) -> list[Line]:
    """The same of a million rows, by the server over row documents."""
    om, name, rows = bench.om.datasets, bench.name(), bench.name()
    frame = bench.mixed.frame.iloc[: bench.rows(MILLION)]
    om.put(frame, name)
    om.put(in_milliseconds(frame), rows, format="rows")
    collection = bench.server.db[om.metadata(rows).collection]
    expected = frame.groupby("s")["x"].mean()
    # NaN is a number to the server and would spread to the mean, so it is left out as pandas does
    pipeline: list[dict[str, Any]] = [
        {"$match": {"x": {"$ne": float("nan")}}},
        {"$group": {"_id": "$s", "mean": {"$avg": "$x"}}},
    ]
    made = bench.measure(
        "mixed",
        "group by",
        5,
        [
            Way(
                "omega|ml",
                lambda: om.getl(name).groupby("s")["x"].mean(),
                lambda found: _same_means(found.to_dict(), expected.to_dict()),
            ),
            Way(
                "$group",
                lambda: {d["_id"]: d["mean"] for d in collection.aggregate(pipeline)},
                lambda found: _same_means(found, expected.to_dict()),
                times=2,
            ),
        ],
    )
    om.drop(name)
    om.drop(rows)
    return against("mixed", "group by", made, "$group")


def _load(bench: Bench, name: str, parquet: Any, parts: int) -> None:
    frame = bench.mixed.frame.copy()
    count = len(frame)
    writer: pq.ParquetWriter | None = None
    for n in range(parts):
        if n:
            frame["id"] += count
            frame["ts"] += np.timedelta64(count * SECONDS, "ns")
        # another part of the groups and values each time, at no cost
        frame["x"] = np.roll(frame["x"].to_numpy(), 1)
        bench.om.datasets.put(frame, name, append=True)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(parquet, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _child(arguments: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.group", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _same_means(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys(), f"{len(found)} groups instead of {len(expected)}"
    a, b = pd.Series(found).sort_index(), pd.Series(expected).sort_index()
    assert np.allclose(a, b, rtol=1e-9, atol=1e-12), "the means of groups differ"
