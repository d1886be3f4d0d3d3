"""ArcticDB over LMDB, given the easier dtypes that it stores."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd


def installed() -> bool:
    return find_spec("arcticdb") is not None


def library(folder: Path) -> Any:
    """Return a new library in `folder`."""
    from arcticdb import Arctic

    return Arctic(f"lmdb://{folder}?map_size=16GB").create_library("benchmark")


def storable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame in dtypes that ArcticDB has: no categories, nullable dtypes, durations or None."""
    columns = {}
    for label in frame.columns:
        column = frame[label]
        dtype = column.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            column = column.astype(object)
        elif pd.api.types.is_timedelta64_dtype(dtype):
            column = column.astype("int64")
        elif pd.api.types.is_datetime64_any_dtype(dtype) and getattr(dtype, "tz", None) is None:
            column = column.astype("M8[ns]")
        elif isinstance(dtype, pd.StringDtype):
            column = column.astype(object)
        elif pd.api.types.is_extension_array_dtype(dtype) and not isinstance(dtype, pd.DatetimeTZDtype):
            column = column.astype("float64")
        if column.dtype == object and column.isna().any():
            column = column.fillna("")
        columns[label] = column.array
    return pd.DataFrame(columns)


def selected(column: str, low: Any, high: Any) -> Any:
    """Return a query for `low <= column <= high`, or `column == low` if they are the same."""
    from arcticdb import QueryBuilder

    query = QueryBuilder()
    if low == high:
        return query[query[column] == low]
    return query[(query[column] >= low) & (query[column] <= high)]
