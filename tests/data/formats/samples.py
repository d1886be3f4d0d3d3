"""What the samples of stored formats hold: one object for each file `<kind>/<format>/<sample>.bson`.

An entry stays as it is for ever, since the files were made from it. A new format of a kind gets new entries.
"""

from __future__ import annotations

import datetime as dt
import decimal
import io
import uuid
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """One stored object: what was put, by which arguments, and what was appended to it."""

    kind: str
    format: int
    name: str
    make: Callable[[], Any]
    prefix: str = "datasets"
    options: dict[str, Any] = field(default_factory=dict)
    append: Callable[[], Any] | None = None

    @property
    def path(self) -> Path:
        return HERE / self.kind / str(self.format) / f"{self.name}.bson"


def plain() -> pd.DataFrame:
    """Types that both table formats keep; text and zones are of those that every version of pandas has."""
    days = pd.date_range("2020-10-25", periods=6, freq="h", tz=zoneinfo.ZoneInfo("Europe/Zurich"))
    return pd.DataFrame(
        {
            "i": np.arange(6),
            "u.1": np.array([0, 255, 1, 2, 3, 4], "uint8"),
            "$f": np.array([1.5, np.nan, -0.0, np.inf, 2, 3], "float32"),
            "b": [True, False] * 3,
            "n": pd.array([1, None, 3, 4, None, 6], dtype="Int64"),
            "s": pd.array(["a", None, "ü", "", "b", "b"], dtype="string[python]"),
            "o": pd.Series(["x", None, "y", "", "z", "z"], dtype=object),
            "t": days.tz_convert(None).as_unit("ms"),
            "z": days.as_unit("ns"),
            "d": pd.to_timedelta([1, 2, None, 4, 5, 6], unit="s").as_unit("s"),
            "p": pd.period_range("2020-01", periods=6, freq="M"),
            "c": pd.Categorical([3, 1, None, 3, 1, 2], categories=[3, 1, 2], ordered=True),
        },
        index=pd.MultiIndex.from_product([[1, 2], [10, 20, 30]], names=["outer", None]),
    )


def rich() -> pd.DataFrame:
    """The frame of `plain` with what only the columnar format keeps."""
    frame = plain()
    cells = [{"a": (1, {2})}, [decimal.Decimal("1.10")], uuid.UUID(int=5), 2**70, dt.date(2020, 1, 1), b"x"]
    frame["cells"] = pd.Series(cells, index=frame.index, dtype=object)
    frame["iv"] = pd.arrays.IntervalArray.from_breaks(np.arange(7.0), closed="left")
    frame["sp"] = pd.arrays.SparseArray([0, 0, 1, 0, 2, 0], fill_value=0)
    frame["ar"] = pd.array([[1], None, [2, 3], [], [4], [5]], dtype=pd.ArrowDtype(pa.list_(pa.int8())))
    frame["cx"] = np.arange(6) * 1j
    frame.attrs = {"unit": "m", 1: (2, 3)}
    return frame


def long() -> pd.DataFrame:
    """So much that it is stored in fewer bytes than it has in memory."""
    at = np.arange(9000)
    return pd.DataFrame(
        {
            "step": at * 7 + 10**12,
            "near": at % 251 + 2**40,
            "words": pd.array(
                [None if i % 5 == 0 else f"word {i % 2300}" for i in at], dtype="string[python]"
            ),
            "o": pd.Series([None if i % 7 == 0 else f"{i % 2300:x}" for i in at], dtype=object),
            "bytes": pd.Series([b"%x" % (i % 2300) for i in at], dtype=object),
            "ar": pd.array([f"ü{i % 2300}" for i in at], dtype=pd.ArrowDtype(pa.string())),
        }
    )


def series() -> pd.Series:
    return pd.Series([1.5, None, -2.0], name=("a", 1), index=pd.Index([3, 1, 2], name="k"), dtype="Float64")


def grown() -> pd.DataFrame:
    """The parts of `rich`, put one after the other."""
    return rich().iloc[:4]


def rest() -> pd.DataFrame:
    return rich().iloc[4:]


def table() -> pa.Table:
    fields = [pa.field("a", pa.int8(), nullable=False), pa.field("b", pa.string(), metadata={"k": "v"})]
    return pa.table({"a": [1, 2], "b": ["x", None]}, schema=pa.schema(fields, metadata={"m": "n"}))


def polars() -> Any:
    import polars as pl

    return pl.DataFrame({"a": [1, None], "b": ["x", "y"], "c": [[1], []]})


def values() -> dict[Any, Any]:
    return {"a": [1, None, 2.5], (1, 2): {3}, "big": 2**70, "t": dt.datetime(2020, 1, 1, 1, 2, 3, 4), 1: b"x"}


def weights() -> dict[str, Any]:
    return {"weights": np.arange(3.0), "name": "a model of plain parts"}


def notebook() -> Any:
    """A notebook with text, code and what it printed."""
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

    shown = [
        new_output("stream", text="1\n"),
        new_output("execute_result", {"text/plain": "2"}, execution_count=1),
    ]
    cells = [
        new_markdown_cell("# Täglich", id="title"),
        new_code_cell(
            "day = 1", id="day", metadata={"tags": ["parameters"]}, execution_count=1, outputs=shown
        ),
    ]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "omega": {"a": 1}})


DFROWS: dict[str, Any] = {"format": "rows"}
SAMPLES = [
    Sample("pandas.dfcolumnar", 1, "inline", rich),
    Sample("pandas.dfcolumnar", 1, "chunks", grown, append=rest),
    Sample("pandas.dfcolumnar", 1, "empty", lambda: rich().iloc[:0]),
    Sample("pandas.secolumnar", 1, "series", series),
    Sample("arrow.table", 1, "table", table),
    Sample("polars.frame", 1, "frame", polars),
    Sample("pandas.dfcolumnar", 2, "inline", rich),
    Sample("pandas.dfcolumnar", 2, "chunks", grown, append=rest),
    Sample("pandas.dfcolumnar", 2, "long", long),
    Sample("pandas.secolumnar", 2, "series", series),
    Sample("arrow.table", 2, "table", table),
    Sample("polars.frame", 2, "frame", polars),
    Sample("pandas.dfrows", 1, "frame", plain, options=DFROWS),
    Sample("pandas.serows", 1, "series", series, options=DFROWS),
    Sample("ndarray.bin", 1, "array", lambda: np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3))),
    Sample("python.data", 1, "dict", values),
    Sample("python.data", 1, "list", lambda: [1, "a", None, {"b": [2.5]}]),
    Sample("python.file", 1, "bytes", lambda: b"some bytes\0\xff"),
    Sample("python.file", 1, "stream", lambda: io.BytesIO(b"what was in a file")),
    Sample("model.joblib", 1, "parts", weights, prefix="models"),
    Sample("sklearn.joblib", 1, "parts", weights, prefix="models", options={"format": "joblib"}),
    Sample("sklearn.skops", 1, "parts", weights, prefix="models", options={"format": "skops"}),
    Sample("script.ipynb", 1, "notebook", notebook, prefix="jobs"),
]
