"""Hypothesis strategies for single values: cells of every type, labels, time zones."""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
import zoneinfo
from typing import Any

import dateutil.tz
import numpy as np
import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))


def bounded(examples: int) -> settings:
    """Settings of a test: the same few examples in every run, or FUZZ_EXAMPLES random ones."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


CLOSED = ("left", "right", "both", "neither")
UNITS = ("s", "ms", "us", "ns")
#: 02:30 comes twice on this day in Zurich: at these seconds of UTC and an hour later.
FOLD = int(dt.datetime(2020, 10, 25, 0, 30, tzinfo=dt.UTC).timestamp())
ZONES: list[Any] = [
    dt.UTC,
    zoneinfo.ZoneInfo("UTC"),
    zoneinfo.ZoneInfo("Europe/Zurich"),
    zoneinfo.ZoneInfo("America/St_Johns"),
    dt.timezone(dt.timedelta(hours=5, minutes=30)),
    dt.timezone(dt.timedelta(hours=-3), "BRT"),
    dateutil.tz.gettz("Europe/Zurich"),
    dateutil.tz.tzutc(),
]
if importlib.util.find_spec("pytz"):
    import pytz

    ZONES += [pytz.UTC, pytz.timezone("Europe/Zurich"), pytz.FixedOffset(-90)]
INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(
    [
        "",
        "a",
        "b",
        "ab",
        "\0",
        "日本",
        "a.b",
        "$x",
        "é" * 70,
        "a" * 64,
        "a" * 65,
        "\U0010ffff" * 70,
        "nan",
        "None",
    ]
)
#: NaN with and without payload, both zeros, infinities, and any bits
BITS = st.sampled_from(
    [0, 1 << 63, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, 0x7FF8000000000123]
) | st.integers(0, 2**64 - 1)
DOUBLES = BITS.map(lambda bits: float(np.uint64(bits).view(np.float64))) | st.floats(-10, 10)


def seconds() -> st.SearchStrategy[int]:
    return st.integers(-(2**31), 2**32) | st.integers(FOLD - 3600, FOLD + 7200) | st.just(FOLD)


def _datetimes() -> st.SearchStrategy[Any]:
    zones = st.sampled_from([z for z in ZONES if not type(z).__module__.startswith("pytz")])
    zoned = st.builds(lambda v, z, f: v.replace(tzinfo=z, fold=f), st.datetimes(), zones, st.integers(0, 1))
    return st.datetimes() | zoned


def _stamps() -> st.SearchStrategy[Any]:
    def make(second: int, unit: str, zone: Any) -> Any:
        stamp = pd.Timestamp(second, unit="s").as_unit(unit)
        return stamp if zone is None else stamp.tz_localize("UTC").tz_convert(zone)

    return st.builds(make, seconds(), st.sampled_from(UNITS), st.none() | st.sampled_from(ZONES))


NUMPY = st.builds(
    lambda d, v: np.array([v % 100]).astype(d)[0],
    st.sampled_from(["i1", "u8", "f2", "f4", "f8", "?", "c8", "S3", "U3", "M8[D]", "m8[h]", "M8[ns]", ">i4"]),
    st.integers(0, 10**6),
)
ARRAYS = st.builds(
    lambda d, shape, order: np.array(np.arange(int(np.prod(shape))).reshape(shape).astype(d), order=order),
    st.sampled_from(["i1", "f8", "?", "M8[s]", "U3", ">f4", "O"]),
    st.sampled_from([(), (0,), (3,), (2, 3), (0, 2)]),
    st.sampled_from("CF"),
)
HASHABLE: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), INT64, st.integers(2**63, 2**70), st.floats(allow_nan=False), TEXT,
    st.binary(max_size=3), st.dates(), st.times(), _datetimes(), st.timedeltas(), st.uuids(), _stamps(),
    st.decimals(allow_nan=False), st.tuples(TEXT, INT64), st.frozensets(st.integers(0, 3), max_size=2),
)  # fmt: skip
SURROGATES = st.sampled_from(["\ud800", "a\udcff"])
CELLS: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        HASHABLE, DOUBLES, SURROGATES, NUMPY, ARRAYS, st.decimals(), st.complex_numbers(),
        st.sampled_from([pd.NA, pd.NaT, None, np.nan]), st.just(pd.Period("2020-01", "M")),
        st.builds(lambda v: pd.Timedelta(v, "ns"), st.integers(-(2**60), 2**60)),
        st.builds(lambda a, c: pd.Interval(a, a + 1, c), INT64 | st.floats(-9, 9), st.sampled_from(CLOSED)),
        st.sets(HASHABLE, max_size=3),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(HASHABLE | st.sampled_from(["$ref", "$id", "_t", "a.b", ""]), inner, max_size=3),
    ),
    max_leaves=6,
)  # fmt: skip
#: Object columns of one type have forms of their own
ALIKE = st.sampled_from(
    [
        TEXT,
        INT64,
        DOUBLES,
        st.booleans(),
        st.binary(max_size=3),
        st.integers(-(2**70), 2**70),
        TEXT | SURROGATES,
    ]
)
#: What has a form in BSON
PLAIN = st.recursive(
    st.one_of(
        st.none(), st.booleans(), INT64, DOUBLES, TEXT, st.binary(max_size=3), st.uuids(),
        st.datetimes().map(lambda v: v.replace(microsecond=v.microsecond // 1000 * 1000)),
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text("ab._", max_size=2), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def as_objects(cells: list[Any]) -> np.ndarray:
    out = np.empty(len(cells), object)
    for i, cell in enumerate(cells):
        out[i] = cell
    return out


LABELS = (
    HASHABLE
    | SURROGATES
    | st.sampled_from(["a", "b", "a.b", "$x", "_id", "", 0, 1, "1", None, np.nan, (1, 2)])
)
