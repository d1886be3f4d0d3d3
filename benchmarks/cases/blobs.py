"""Fifty megabytes as a file and as a model, beside a file of the local disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from benchmarks.bench import Bench, dropper
from benchmarks.lines import Line, against
from benchmarks.rounds import Way

MEGABYTES = 50


def run(bench: Bench) -> list[Line]:
    return files(bench) + models(bench)


def files(bench: Bench) -> list[Line]:
    size = (1 if bench.quick else MEGABYTES) << 20
    content = np.random.default_rng(5).bytes(size)
    om, name, path, data = bench.om.datasets, bench.name(), bench.path(), f"{size >> 20} MiB"

    def same(found: bytes) -> None:
        assert found == content, "the file came back changed"

    def remove() -> None:
        path.unlink(missing_ok=True)

    put = bench.measure(
        data,
        "file put",
        7,
        [
            Way("omega|ml", lambda: om.put(content, name), before=dropper(bench, name)),
            Way("local file", lambda: path.write_bytes(content), before=remove),
            Way("synced file", lambda: synced(path, lambda file: file.write(content)), before=remove),
        ],
    )
    get = bench.measure(
        data,
        "file get",
        7,
        [
            Way("omega|ml", lambda: om.get(name), same),
            Way("local file", path.read_bytes, same),
        ],
    )
    om.drop(name)
    lines = against(data, "file put", put, "local file") + against(data, "file put", put, "synced file")
    return lines + against(data, "file get", get, "local file")


def models(bench: Bench) -> list[Line]:
    """A random forest, beside joblib without compression, which is the fastest file of it."""
    import joblib

    model, sample = forest(bench.quick)
    expected = model.predict(sample)
    om, name, path = bench.om.models, bench.name(), bench.path(".joblib")
    joblib.dump(model, path)
    data = f"forest of {max(1, path.stat().st_size >> 20)} MiB"

    def same(found: Any) -> None:
        assert (found.predict(sample) == expected).all(), "the model answers otherwise"

    def drop() -> None:
        om.drop(name, missing_ok=True)
        bench.settle()

    def remove() -> None:
        path.unlink(missing_ok=True)

    put = bench.measure(
        data,
        "model put",
        7,
        [
            Way("omega|ml", lambda: om.put(model, name), before=drop),
            Way("local file", lambda: joblib.dump(model, path), before=remove),
            Way("synced file", lambda: synced(path, lambda file: joblib.dump(model, file)), before=remove),
        ],
    )
    get = bench.measure(
        data,
        "model get",
        7,
        [
            Way("omega|ml", lambda: om.get(name), same),
            Way("local file", lambda: joblib.load(path), same),
        ],
    )
    drop()
    lines = against(data, "model put", put, "local file") + against(data, "model put", put, "synced file")
    return lines + against(data, "model get", get, "local file")


def synced(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file that is on the disk afterwards, as what the product stores is."""
    with path.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def forest(quick: bool) -> tuple[Any, np.ndarray]:
    """Return a fitted random forest of some 50 MiB (quick: 1 MiB), and values to ask it about."""
    from sklearn.ensemble import RandomForestRegressor

    rng = np.random.default_rng(6)
    x = rng.normal(size=(1_000 if quick else 20_000, 5))
    y = x.sum(axis=1) + rng.normal(size=len(x))
    model = RandomForestRegressor(10 if quick else 29, random_state=0, max_features=1).fit(x, y)
    return model, x[:100]
