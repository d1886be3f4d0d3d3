"""Tables in JSON: `orient=records`, `dict` and `list`, out and in.

`index` is `{"type": "RangeIndex", "values": [...]}`, `dtypes` a dtype per column. Missing values are null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import pandas as pd

from omegaml.errors import InvalidInput
from omegaml.jsonvalues import plain
from omegaml.tabular import distinct, from_rows

SPARSE_CELLS, SPARSE_TIMES = 4_000_000, 50
ORIENTS = ("records", "dict", "list")
_UNITS = r"\[(s|ms|us|ns)(, ?[\w/+:-]{1,40})?\]"
# dtypes that a body may ask for: numpy has others that make huge cells of small ones
_DTYPE = re.compile(
    r"u?int(8|16|32|64)|U?Int(8|16|32|64)|float(16|32|64)|Float(32|64)|complex(64|128)|bool|boolean|object"
    rf"|str|string(\[\w+\])?|category|datetime64{_UNITS}|timedelta64\[(s|ms|us|ns)\]"
)


def encoded(frame: pd.DataFrame, orient: str) -> dict[str, Any]:
    """Return `{data, dtypes, index, orient}`. Raises InvalidInput where `dict` would lose rows."""
    labels = distinct([str(label) for label in frame.columns])
    columns = [plain(frame.iloc[:, i].tolist()) for i in range(frame.shape[1])]
    index = plain([*frame.index])
    data: Any
    if orient == "dict":
        keys = [str(value) for value in index]
        if len(set(keys)) < len(keys):
            raise InvalidInput(
                "the index has values that are there twice, which orient=dict cannot show",
                hint="orient=records or list",
            )
        data = {
            label: dict(zip(keys, cells, strict=True)) for label, cells in zip(labels, columns, strict=True)
        }
    elif orient == "list":
        data = dict(zip(labels, columns, strict=True))
    else:
        data = {"rows": [dict(zip(labels, row, strict=True)) for row in zip(*columns, strict=True)]}
        if not columns:
            data = {"rows": [{} for _ in index]}
    dtypes = {label: str(dtype) for label, dtype in zip(labels, frame.dtypes, strict=True)}
    return {
        "data": data,
        "dtypes": dtypes,
        "index": {"type": type(frame.index).__name__, "values": index},
        "orient": orient,
    }


def orient_of(text: str) -> str:
    if text not in ORIENTS:
        raise InvalidInput(f"orient={text[:40]!r} is not known", hint=f"one of {', '.join(ORIENTS)}")
    return text


def loaded(file: BinaryIO) -> dict[str, Any]:
    """Return the JSON object in a body. Raises InvalidInput saying where it is none."""
    try:
        body = json.loads(file.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8: byte {error.start} cannot be read") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidInput(f"the body is no JSON: {error.msg} in {where}") from None
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None
    except ValueError as error:  # a number of too many digits
        raise InvalidInput(f"the body cannot be read: {error}") from None
    if not isinstance(body, dict) or "data" not in body:
        raise InvalidInput("the body has no `data`", hint='as {"data": [{"x": 1}, {"x": 2}]}')
    return body


def is_earlier(body: Mapping[str, Any]) -> bool:
    """Whether a body is in the form of the earlier clients, which append and expect no answer."""
    index = body.get("index")
    return "orient" in body or (isinstance(index, dict) and "type" in index)


def flag(name: str, value: Any) -> bool:
    """A yes or no, as JSON or as text. Raises InvalidInput."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    found = words.get(str(value).lower())
    if found is None:
        raise InvalidInput(f"{name}={str(value)[:40]!r} is neither true nor false")
    return found


def decoded(body: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table of a body. Raises InvalidInput naming the part or column that cannot be used."""
    data = body["data"]
    if isinstance(data, dict) and isinstance(data.get("rows"), list) and len(data) == 1:
        data = data["rows"]
    if isinstance(data, list):
        frame = _of_rows(data)
    elif isinstance(data, dict):
        frame = _of_columns(data)
    else:
        raise InvalidInput(f"`data` is a {type(data).__name__}", hint="send rows, or columns by name")
    dtypes = body.get("dtypes") or {}
    if not isinstance(dtypes, dict):
        raise InvalidInput("`dtypes` is no mapping of columns to dtypes", hint='as {"x": "float64"}')
    for label, dtype in dtypes.items():
        if label in frame.columns:
            frame[label] = _converted(frame[label], str(dtype))
        elif len(frame):
            raise InvalidInput(f"`dtypes` names column {label!r}, which `data` does not have")
        else:
            frame[label] = _converted(pd.Series([], dtype=object), str(dtype))
    return _indexed(frame, body.get("index"))


def _of_rows(rows: list[Any]) -> pd.DataFrame:
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidInput(
                f"row {number} of `data` is a {type(row).__name__}, not a mapping of columns to values"
            )
    check_filled(rows)
    return from_rows(rows) if rows else pd.DataFrame()


def check_filled(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidInput for rows that have next to no column in common: few bytes would make huge tables."""
    labels: set[str] = set()
    given = 0
    for row in rows:
        labels.update(row)
        given += len(row)
    if len(labels) * len(rows) > max(SPARSE_CELLS, SPARSE_TIMES * given):
        raise InvalidInput(
            f"{len(rows):,} rows of {len(labels):,} columns have {given:,} values: nearly all are missing",
            hint="send names and values as two columns",
        )


def _of_columns(data: dict[str, Any]) -> pd.DataFrame:
    keys: dict[str, None] | None = None
    columns: dict[str, list[Any]] = {}
    for label, cells in data.items():
        if not isinstance(cells, list | dict):
            raise InvalidInput(f"column {label!r} of `data` is a {type(cells).__name__}, not its values")
        if isinstance(cells, dict):
            keys = dict.fromkeys(cells) if keys is None else keys
            if set(keys) != set(cells):
                raise InvalidInput(f"column {label!r} of `data` has other rows than the first column")
            columns[label] = [cells[key] for key in keys]
        else:
            columns[label] = cells
    lengths = {len(cells) for cells in columns.values()}
    if len(lengths) > 1:
        raise InvalidInput(f"the columns of `data` have {' and '.join(map(str, sorted(lengths)))} values")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    frame = from_rows(rows) if rows else pd.DataFrame({label: [] for label in columns}, dtype=object)
    return frame if keys is None else frame.set_axis(_keys(list(keys)), axis=0)


def _keys(keys: list[str]) -> pd.Index:
    """The keys of JSON, which are texts, as what they were."""
    if not all(re.fullmatch(r"-?(0|[1-9]\d{0,17})", key) for key in keys):
        return pd.Index(keys)
    return row_numbers(pd.Index([int(key) for key in keys], dtype="int64"))


def row_numbers(index: pd.Index) -> pd.Index:
    """Whole numbers that go on by one as a range; any other index as it is."""
    start = int(index[0]) if len(index) and index.dtype.kind == "i" else 0
    numbers = pd.RangeIndex(start, start + len(index), name=index.name)
    return numbers if index.dtype.kind == "i" and index.equals(numbers) else index


def _indexed(frame: pd.DataFrame, index: Any) -> pd.DataFrame:
    """Put the index of the body to the frame: `{type, values}`, values alone, or the name of a column."""
    if index is None:
        return frame
    if isinstance(index, str):
        if index not in frame.columns:
            raise InvalidInput(f"`index` names column {index!r}, which `data` does not have")
        return frame.set_index(index)
    values = index.get("values") if isinstance(index, dict) else index
    if not isinstance(values, list):
        raise InvalidInput("`index` has no list of `values`", hint="or name a column")
    if len(values) != len(frame) and len(frame.columns):
        raise InvalidInput(f"`index` has {len(values)} values and `data` {len(frame)} rows")
    kind = str(index.get("type", "")) if isinstance(index, dict) else ""
    try:
        return frame.set_axis(_index(kind, values), axis=0)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"`index` cannot be made of these values: {_short(error)}") from None


def _index(kind: str, values: list[Any]) -> pd.Index:
    if kind == "MultiIndex":
        return pd.MultiIndex.from_tuples([tuple(value) for value in values])
    if kind == "DatetimeIndex":
        return pd.DatetimeIndex(pd.to_datetime(values, format="ISO8601"))
    return row_numbers(pd.Index(values))


def _converted(cells: pd.Series, dtype: str) -> pd.Series:
    if not _DTYPE.fullmatch(dtype):
        raise InvalidInput(
            f"column {cells.name!r}: {dtype[:60]!r} is no dtype that a body can have", hint="as float64, str"
        )
    try:
        if dtype.startswith("datetime64"):
            return pd.to_datetime(cells, format="ISO8601").astype(dtype)
        return cells.astype(dtype)
    except (ValueError, TypeError, OverflowError, LookupError) as error:
        raise InvalidInput(f"column {cells.name!r} cannot be {dtype}: {_short(error)}") from None


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}..."
