"""Rows and columns of a dataset as a page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from omegaml import backends
from omegaml.backends.base import Rows, Table
from omegaml.errors import InvalidInput
from omegaml.metadata import Metadata
from omegaml.query import is_missing
from omegaml.store import Store

ROWS = 50
COLUMNS = 60
TEXT = 120  # characters of a cell
POINTS = 5_000


@dataclass(frozen=True)
class Cell:
    text: str
    is_number: bool = False
    is_missing: bool = False


@dataclass(frozen=True)
class Preview:
    """The first rows that match.

    Attributes:
        more: whether there are further rows.
        left_out: how many columns are not shown.
    """

    columns: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    more: bool
    left_out: int


def is_table(meta: Metadata) -> bool:
    """Whether an object has rows and columns.

    Everything else stays unread here: an object's kind is what its metadata says, which its owner can
    write, and some kinds are pickled.
    """
    return meta.prefix == "data/" and backends.by_kind(meta.kind).payload in (Table, Rows)


def header(store: Store, meta: Metadata) -> pd.DataFrame:
    """The dataset without its rows: labels and dtypes, of the index too where it has names."""
    return frame(store, meta, limit=0)


def frame(
    store: Store,
    meta: Metadata,
    filters: Mapping[str, str] | None = None,
    limit: int = ROWS,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read at most `limit` rows. Raises NotFound (column), InvalidInput (a value that does not compare)."""
    if not is_table(meta):
        raise InvalidInput(f"dataset {meta.name!r} ({meta.kind}) has no rows and columns")
    conditions: dict[str, Any] = dict(filters or {})
    found = store.get(meta.name, limit=limit, columns=columns, as_="pandas", **conditions)
    if isinstance(found, pd.Series):
        found = found.to_frame("value" if found.name is None else found.name)
    return found


def labels(head: pd.DataFrame) -> dict[str, Any]:
    """The columns that can be filtered by, as text, with their dtypes; one of each name."""
    return {str(label): head.dtypes.iloc[i] for i, label in enumerate(head.columns)}


def preview(store: Store, meta: Metadata, filters: Mapping[str, str]) -> Preview:
    """The first rows, as text."""
    found = frame(store, meta, filters, ROWS + 1)
    shown = found.head(ROWS)
    columns = [("" if name is None else str(name)) for name in shown.index.names]
    values: list[Any] = [shown.index.get_level_values(i) for i in range(len(columns))]
    columns += [str(label) for label in shown.columns[:COLUMNS]]
    values += [shown.iloc[:, i] for i in range(min(COLUMNS, shown.shape[1]))]
    cells = [[cell(value) for value in column] for column in values]
    rows = [list(row) for row in zip(*cells, strict=True)]
    heads = [
        Cell(label, any(c.is_number for c in column)) for label, column in zip(columns, cells, strict=True)
    ]
    return Preview(heads, rows, len(found) > ROWS, max(0, shown.shape[1] - COLUMNS))


def cell(value: Any) -> Cell:
    """A value as a person reads it."""
    if is_missing(value):
        return Cell("missing", is_missing=True)
    if isinstance(value, bool | np.bool_):
        return Cell(str(bool(value)).lower())
    if isinstance(value, int | np.integer):
        return Cell(str(value), is_number=True)
    if isinstance(value, float | np.floating):
        return Cell(f"{value:.6g}", is_number=True)
    if isinstance(value, pd.Timestamp | datetime):
        return Cell(value.isoformat(sep=" ").removesuffix(" 00:00:00"))
    text = str(value)
    return Cell(text if len(text) <= TEXT else f"{text[:TEXT]}…")


def points(
    store: Store, meta: Metadata, x: str, ys: Sequence[str], filters: Mapping[str, str]
) -> dict[str, Any]:
    """What a plot of `ys` over `x` draws, of at most POINTS rows in the order of x.

    Returns: `{x: {label, is_time}, ys: [label], data: [[x...], [y...], ...], rows}`; without `x` the rows are
        numbered. Raises: NotFound (column), InvalidInput (a column of neither numbers nor times).
    """
    wanted = list(dict.fromkeys([*([x] if x else []), *ys]))
    found = frame(store, meta, filters, POINTS, wanted)
    by_label = {str(label): found.iloc[:, i] for i, label in enumerate(found.columns)}
    across = by_label[x] if x else pd.Series(np.arange(1, len(found) + 1))
    is_time = across.dtype.kind == "M" or isinstance(across.dtype, pd.DatetimeTZDtype)
    along = numbers(x, across)
    order = np.argsort(along, kind="stable")
    order = order[~np.isnan(along[order])]
    lines = [along, *(numbers(y, by_label[y]) for y in ys)]
    data = [[None if np.isnan(v) else float(v) for v in line[order]] for line in lines]
    return {"x": {"label": x or "row", "is_time": is_time}, "ys": list(ys), "data": data, "rows": len(found)}


def numbers(label: str, values: pd.Series) -> np.ndarray:
    """A column as floats; times as seconds since 1970, infinities as missing."""
    dtype = values.dtype
    if dtype.kind == "M" or isinstance(dtype, pd.DatetimeTZDtype):
        utc = pd.to_datetime(values, utc=True).dt.tz_localize(None)
        seconds = utc.to_numpy("datetime64[ms]").astype("float64") / 1000
        return np.where(utc.isna().to_numpy(), np.nan, seconds)
    if not is_plottable(dtype):
        raise InvalidInput(
            f"column {label!r} is {dtype}, which cannot be drawn", hint="choose one of numbers"
        )
    found = values.astype("float64").to_numpy(dtype="float64", na_value=np.nan)
    return np.where(np.isfinite(found), found, np.nan)


def is_plottable(dtype: Any) -> bool:
    """Whether a column of this dtype holds numbers or times."""
    return getattr(dtype, "kind", "O") in "iufbM" and not isinstance(dtype, pd.SparseDtype)
