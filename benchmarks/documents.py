"""Row documents, as they are written by `insert_many` and the way upstream omegaml 0.18 writes them.

Upstream's way is built here from its facts: columns become object columns, the frame becomes one list of
dicts with the index and a row number in each, two indexes are made, and one `insert_many` takes them all.
It is spared what it cannot store: missing values of nullable columns and durations are converted before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pymongo.collection import Collection

INDEX, ROW = "_idx#0_0", "_om#rowid"


def storable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame in dtypes that row documents have: no NA, durations as integers, a plain index."""
    columns = {}
    for label in frame.columns:
        column = frame[label]
        if pd.api.types.is_timedelta64_dtype(column.dtype):
            column = column.astype("int64")
        elif pd.api.types.is_extension_array_dtype(column.dtype) and column.isna().any():
            column = pd.Series(column.astype(object).where(column.notna(), None), dtype=object)
        columns[label] = column.array
    return pd.DataFrame(columns)


def put_as_upstream(collection: Collection[Any], frame: pd.DataFrame) -> None:
    """Write the frame the way upstream does. `frame` is `storable`."""
    rows = frame.assign(**{INDEX: np.arange(len(frame)), ROW: np.arange(len(frame))})
    documents = rows.astype(object).to_dict("records")
    collection.create_index([(INDEX, 1)])
    collection.create_index([(ROW, 1)])
    collection.insert_many(documents)


def get_as_upstream(collection: Collection[Any]) -> pd.DataFrame:
    """Read what `put_as_upstream` wrote: all documents, sorted by row, the index set."""
    frame = pd.DataFrame.from_records(list(collection.find({}, {"_id": 0})))
    return frame.sort_values(ROW).set_index(INDEX).drop(columns=ROW)


def insert(collection: Collection[Any], frame: pd.DataFrame) -> None:
    """Write the frame as most would: its dicts, with one `insert_many`. `frame` is `storable`."""
    collection.insert_many(frame.to_dict("records"))


def schema_of(frame: pd.DataFrame) -> Any:
    """Return the pymongoarrow schema that reads the columns of `frame` fastest."""
    import pyarrow as pa
    from pymongoarrow.api import Schema

    def arrow(dtype: Any) -> pa.DataType:
        if pd.api.types.is_bool_dtype(dtype):
            return pa.bool_()
        if pd.api.types.is_integer_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
            return pa.int64()
        if pd.api.types.is_float_dtype(dtype):
            return pa.float64()
        return pa.timestamp("ms") if pd.api.types.is_datetime64_any_dtype(dtype) else pa.string()

    return Schema({str(label): arrow(frame[label].dtype) for label in frame.columns})
