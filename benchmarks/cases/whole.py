"""Whole frames: put, get, get as Arrow and polars, and two columns of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from benchmarks import arctic, documents
from benchmarks.bench import Bench, dropper
from benchmarks.equal import same_frame, same_rows
from benchmarks.frames import Data
from benchmarks.lines import Line, against
from benchmarks.rounds import Way

OURS = "omega|ml"
FEWER = 200_000


def run(bench: Bench) -> list[Line]:
    lines = []
    for data, rounds in ((bench.mixed, 7), (bench.second, 5)):
        lines += frame_lines(bench, data, rounds)
        lines += column_lines(bench, data, rounds)
    return lines + fewer_rows(bench)


def frame_lines(bench: Bench, data: Data, rounds: int) -> list[Line]:
    """Put and get of all columns; row documents of the whole frame are written and read once."""
    om, frame, rows = bench.om.datasets, data.frame, len(data.frame)
    name, parquet, collection = bench.name(), bench.path(".parquet"), bench.server.db[bench.name()]
    easy = documents.storable(frame)
    store = arctic.library(bench.path()) if arctic.installed() else None
    easier = arctic.storable(frame) if store is not None else frame
    made = bench.measure(
        data.name,
        "put",
        rounds,
        [
            Way(OURS, lambda: om.put(frame, name), before=dropper(bench, name)),
            Way("Parquet file", lambda: frame.to_parquet(parquet), before=lambda: _remove(parquet)),
            Way("ArcticDB", lambda: store.write("d", easier), before=lambda: _forget(store))
            if store is not None
            else None,
            Way("row documents", lambda: documents.put_as_upstream(collection, easy), times=1),
        ],
    )
    lines = against(data.name, "put", made, "Parquet file") + against(data.name, "put", made, "row documents")
    lines += against(data.name, "put", made, "ArcticDB")
    bench.measure(
        data.name, "replace", rounds, [Way(OURS, lambda: om.put(frame, name), _holds(bench, name, frame))]
    )
    got = bench.measure(
        data.name,
        "get",
        rounds,
        [
            Way(OURS, lambda: om.get(name), lambda found: same_frame(found, frame)),
            Way("Parquet file", lambda: pd.read_parquet(parquet), same_rows(rows)),
            Way("ArcticDB", lambda: store.read("d").data, same_rows(rows)) if store is not None else None,
            Way("row documents", lambda: documents.get_as_upstream(collection), same_rows(rows), times=1),
            _arrow_reader(collection, frame),
        ],
    )
    lines += against(data.name, "get", got, "Parquet file")
    lines += against(data.name, "get", got, "ArcticDB")
    lines += against(data.name, "get", got, "ArcticDB", "get / ArcticDB, CPU")
    lines += against(data.name, "get", got, "row documents") + against(data.name, "get", got, "pymongoarrow")
    collection.drop()
    om.drop(name)
    return lines


def column_lines(bench: Bench, data: Data, rounds: int) -> list[Line]:
    """The frame as Arrow and polars, and two of its columns."""
    om, frame, rows, pair = bench.om.datasets, data.frame, len(data.frame), list(data.pair)
    name, parquet, zstd = bench.name(), bench.path(".parquet"), bench.path(".zstd.parquet")
    om.put(frame, name)
    frame.to_parquet(parquet)
    frame.to_parquet(zstd, compression="zstd")
    store = arctic.library(bench.path()) if arctic.installed() else None
    if store is not None:
        store.write("d", arctic.storable(frame))
    expected = om.get(name, as_="arrow")
    same_values(expected, frame)
    lines = []
    for as_ in ("Arrow", "polars"):
        other = f"Parquet zstd file to {as_}"
        read: Callable[[Path], Any] = pq.read_table
        if as_ == "polars":
            import polars

            read = polars.read_parquet
        made = bench.measure(
            data.name,
            f"get as {as_}",
            rounds,
            [
                Way(
                    OURS,
                    lambda as_=as_: om.get(name, as_=as_.lower()),
                    same_rows(rows) if as_ == "polars" else lambda found: _equals(found, expected),
                ),
                Way("Parquet zstd file", lambda: pq.read_table(zstd), same_rows(rows)),
                Way(other, lambda read=read: read(zstd), same_rows(rows)) if as_ == "polars" else None,
            ],
        )
        lines += against(data.name, f"get as {as_}", made, "Parquet zstd file")
        lines += against(data.name, f"get as {as_}", made, other)
    two = frame[pair]
    made = bench.measure(
        data.name,
        "get 2 columns",
        rounds + 4,
        [
            Way(OURS, lambda: om.get(name, columns=pair), lambda found: same_frame(found, two)),
            Way("Parquet file", lambda: pd.read_parquet(parquet, columns=pair), same_rows(rows)),
            Way("ArcticDB", lambda: store.read("d", columns=pair).data, same_rows(rows))
            if store is not None
            else None,
        ],
    )
    lines += against(data.name, "get 2 columns", made, "Parquet file")
    lines += against(data.name, "get 2 columns", made, "ArcticDB")
    om.drop(name)
    return lines


def fewer_rows(bench: Bench) -> list[Line]:
    """Put and get of a fifth of the mixed frame, several times, for figures of row documents with spread."""
    rows = bench.rows(FEWER)
    frame = bench.mixed.frame.iloc[:rows].copy()
    easy, data = documents.storable(frame), f"mixed {rows:,}"
    om, name, collection = bench.om.datasets, bench.name(), bench.server.db[bench.name()]
    made = bench.measure(
        data,
        "put",
        3,
        [
            Way(OURS, lambda: om.put(frame, name), before=dropper(bench, name)),
            Way("row documents", lambda: documents.put_as_upstream(collection, easy), before=collection.drop),
        ],
        warm=bench.quick,
    )
    got = bench.measure(
        data,
        "get",
        3,
        [
            Way(OURS, lambda: om.get(name), lambda found: same_frame(found, frame)),
            Way("row documents", lambda: documents.get_as_upstream(collection), same_rows(rows)),
        ],
        warm=bench.quick,
    )
    collection.drop()
    om.drop(name)
    none = "information"
    return against(data, "put", made, "row documents", none) + against(
        data, "get", got, "row documents", none
    )


def same_values(table: Any, frame: pd.DataFrame) -> None:
    """Raise AssertionError unless the Arrow table has the frame's values, as pandas reads the table."""
    read = table.to_pandas()
    for i, label in enumerate(frame.columns):
        stored, found = frame.iloc[:, i], read[str(label)]
        assert (stored.isna().to_numpy() == found.isna().to_numpy()).all(), label
        kept = stored.notna().to_numpy()
        assert (stored[kept].to_numpy() == found[kept].to_numpy()).all(), label


def _arrow_reader(collection: Any, frame: pd.DataFrame) -> Way | None:
    if find_spec("pymongoarrow") is None:
        return None
    from pymongoarrow.api import find_pandas_all

    schema = documents.schema_of(frame)
    return Way(
        "pymongoarrow",
        lambda: find_pandas_all(collection, {}, schema=schema),
        same_rows(len(frame)),
        times=2,
    )


def _holds(bench: Bench, name: str, frame: pd.DataFrame) -> Callable[[Any], None]:
    return lambda _: same_frame(bench.om.datasets.get(name), frame)


def _equals(found: Any, expected: Any) -> None:
    # NaN is not equal to NaN, so that tables with it are compared as their bytes lie in memory
    assert found.schema == expected.schema and len(found) == len(expected)
    for a, b in zip(found.columns, expected.columns, strict=True):
        assert a.equals(b) or a.to_pandas().equals(b.to_pandas())


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _forget(store: Any) -> None:
    if store.has_symbol("d"):
        store.delete("d")
