"""The data: a mixed frame, a frame of numbers, and one whose shape and dtypes are drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo")
SECOND = 1_000_000_007  # nanoseconds between two rows, so that they need all digits
SHARES = {"rare": 0.001, "some": 0.01, "many": 0.1}


@dataclass(frozen=True)
class Filters:
    """Which columns are filtered, and what selects about 0.1, 1 and 10 % of the rows of each."""

    sorted_int: str
    unsorted_int: str
    text: str
    bounds: dict[tuple[str, str], int]  # (column, share) -> greatest value selected


@dataclass(frozen=True)
class Data:
    """A frame, the two columns that a projection asks for, and its filters."""

    name: str
    frame: pd.DataFrame
    pair: tuple[str, str]
    filters: Filters


def mixed(rows: int, seed: int = 1, start: int = 0) -> pd.DataFrame:
    """Return the mixed frame: 10 columns, 8 dtypes, `id` and `ts` go on from row `start`."""
    rng = np.random.default_rng(seed)
    ts = np.datetime64("2020-01-01", "ns") + np.arange(start, start + rows) * np.timedelta64(SECOND, "ns")
    x = rng.normal(size=rows)
    x[rng.random(rows) < 0.05] = np.nan
    whole = pd.array(rng.integers(-(10**9), 10**9, rows), dtype="Int64")
    whole[rng.random(rows) < 0.1] = pd.NA
    return pd.DataFrame(
        {
            "id": np.arange(start, start + rows, dtype="int64"),
            "k": rng.integers(0, 1_000_000, rows),
            "x": x,
            "s": grouped_text(rng, rows),
            "ts": ts,
            "tz": pd.to_datetime(rng.permutation(ts)).tz_localize("UTC").tz_convert("Europe/Zurich"),
            "b": rng.random(rows) < 0.5,
            "text": sentences(rng, rows),
            "ni": whole,
            "c": pd.Categorical.from_codes(rng.integers(0, 8, rows), list("abcdefgh")),
        }
    )


def in_milliseconds(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its times cut to milliseconds, which is what BSON has."""
    times = [c for c in frame.columns if pd.api.types.is_datetime64_any_dtype(frame[c].dtype)]
    return frame.assign(**{label: frame[label].dt.floor("ms") for label in times})


def numeric(rows: int, columns: int = 50, seed: int = 2) -> pd.DataFrame:
    """Return random floats, which do not compress."""
    values = np.random.default_rng(seed).normal(size=(rows, columns))
    return pd.DataFrame(values, columns=[f"f{i}" for i in range(columns)])


def grouped_text(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Return 53 different texts; `rare`, `some` and `many` have the shares that filters ask for."""
    text = np.char.add("grp", rng.integers(10, 60, rows).astype(str)).astype(object)
    draw = rng.random(rows)
    below = sum(SHARES.values())
    for word in ("many", "some", "rare"):
        text[draw < below] = word
        below -= SHARES[word]
    return text


def sentences(rng: np.random.Generator, rows: int, words: int = 6) -> np.ndarray:
    """Return texts that are nearly all different."""
    picked = np.array(WORDS)[rng.integers(0, len(WORDS), (rows, words))]
    return np.array([" ".join(sentence) for sentence in picked.tolist()], dtype=object)


def mixed_data(rows: int) -> Data:
    frame = mixed(rows)
    return Data("mixed", frame, ("k", "x"), filters_of(frame, "id", "k", "s"))


def second_data(rows: int, seed: int) -> Data:
    """Return a frame whose number of rows and columns, dtypes, labels and index are drawn from `seed`.

    Args:
        rows: it has between half and one and a half times as many.
    """
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(rows // 2, rows * 3 // 2))
    columns: dict[str, Any] = {
        "sorted": np.arange(rows).astype(rng.choice(["int32", "uint32", "int64"])) * 3,
        "drawn": rng.integers(0, 2_000_000, rows).astype(rng.choice(["int32", "uint32", "int64"])),
        "group": pd.array(grouped_text(rng, rows), dtype=str(rng.choice(["object", "string"]))),
    }
    kinds = list(KINDS)
    for n in range(int(rng.integers(9, 22))):
        kind = kinds[int(rng.integers(len(kinds)))]
        columns[f"{n} {kind}"] = KINDS[kind](rng, rows)
    frame = pd.DataFrame(columns)
    frame = frame[rng.permutation(frame.columns)]
    if rng.random() < 0.5:
        frame.index = pd.Index(rng.permutation(rows) * 7, name="number")
    name = f"seed {seed}"
    return Data(name, frame, ("drawn", "group"), filters_of(frame, "sorted", "drawn", "group"))


def filters_of(frame: pd.DataFrame, sorted_int: str, unsorted_int: str, text: str) -> Filters:
    bounds = {
        (column, share): int(np.quantile(frame[column].to_numpy(), part))
        for column in (sorted_int, unsorted_int)
        for share, part in SHARES.items()
    }
    return Filters(sorted_int, unsorted_int, text, bounds)


def _with_gaps(values: np.ndarray, dtype: str, rng: np.random.Generator) -> Any:
    array = pd.array(values, dtype=dtype)
    array[rng.random(len(values)) < 0.1] = pd.NA
    return array


def _maybe_none(rng: np.random.Generator, rows: int) -> np.ndarray:
    text = sentences(rng, rows, 4)
    text[rng.random(rows) < 0.03] = None
    return text


def _moments(unit: str) -> Callable[[np.random.Generator, int], Any]:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]

    def make(rng: np.random.Generator, rows: int) -> Any:
        return (rng.integers(10**8, 2 * 10**9, rows) * per_second).astype(f"M8[{unit}]")

    return make


KINDS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "int8": lambda rng, n: rng.integers(-100, 100, n).astype("int8"),
    "int16": lambda rng, n: rng.integers(-30_000, 30_000, n).astype("int16"),
    "uint8": lambda rng, n: rng.integers(0, 250, n).astype("uint8"),
    "uint64": lambda rng, n: rng.integers(0, 2**62, n).astype("uint64"),
    "float32": lambda rng, n: rng.normal(size=n).astype("float32"),
    "float64": lambda rng, n: np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
    "cents": lambda rng, n: rng.integers(0, 10_000, n) / 100,
    "bool": lambda rng, n: rng.random(n) < 0.2,
    "boolean": lambda rng, n: _with_gaps(rng.random(n) < 0.7, "boolean", rng),
    "Int32": lambda rng, n: _with_gaps(rng.integers(0, 10**6, n), "Int32", rng),
    "Float64": lambda rng, n: _with_gaps(rng.normal(size=n), "Float64", rng),
    "ms": _moments("ms"),
    "us": _moments("us"),
    "ns": _moments("ns"),
    "zone": lambda rng, n: pd.DatetimeIndex(_moments("ns")(rng, n), tz="UTC").tz_convert("America/New_York"),
    "timedelta": lambda rng, n: rng.integers(0, 10**15, n).astype("m8[ns]"),
    "category": lambda rng, n: pd.Categorical.from_codes(
        rng.integers(0, len(WORDS), n), list(WORDS), ordered=True
    ),
    "text": _maybe_none,
    "string": lambda rng, n: pd.array(sentences(rng, n, 3), dtype="string"),
}
