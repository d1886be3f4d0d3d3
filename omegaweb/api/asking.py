"""X and Y of a request to a model, its limits, and its answer as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request

from omegaml.errors import InvalidInput, Mismatch
from omegaml.jsonvalues import plain
from omegaml.runtime.model import Runtime
from omegaweb.api.bodies import check_filled

WAIT, LONGEST_WAIT = 60.0, 600.0
"""Seconds that an answer is waited for, where `?timeout=` does not say, and at most."""


def inputs(request: Request, model: str) -> tuple[Any, Any]:
    """Return X and Y: names of datasets (`?datax=`, `?datay=`), or the values in the body.

    The body is `{"columns": [...], "data": ..., "y": [...]}`, where data is rows (lists, or objects by
    column), columns by name, or one row or column alone. Columns come out as `{column: [values]}`.

    Raises: InvalidInput (it is nothing of this), Mismatch (a column that is missing, rows of other length).
    """
    datax, datay = (request.query_params.get(name) or None for name in ("datax", "datay"))
    if request.method == "GET":
        return datax, datay
    body = request.data
    if isinstance(body, list):
        body = {"data": body}
    if not isinstance(body, Mapping):
        raise InvalidInput("the body is no JSON object", hint='as {"columns": ["x"], "data": [[1]]}')
    x = datax if datax is not None else table(body.get("data"), body.get("columns"), model)
    y = datay if datay is not None else body.get("y")
    if datay is None and y is not None and not isinstance(y, list):
        raise InvalidInput("`y` is no list of values", hint="or name a dataset: ?datay=")
    return x, y


def table(data: Any, columns: Any, model: str) -> Any:
    """Return the data of a body as `{column: [values]}` or, where it names no columns, as it came."""
    if columns is not None and not (
        isinstance(columns, list) and columns and all(isinstance(label, str) for label in columns)
    ):
        raise InvalidInput("`columns` is no list of names", hint='as ["x", "y"]')
    if data is None:
        return None
    if isinstance(data, Mapping):
        return _of_columns(data, columns, model)
    if not isinstance(data, list):
        raise InvalidInput(f"`data` is a {type(data).__name__}", hint="rows, or columns by name")
    if data and all(isinstance(row, Mapping) for row in data):
        labels = columns or list(data[0])
        for label in labels:
            if any(label not in row for row in data):
                raise _missing(model, label)
        check_filled(data)
        strange = {label for row in data for label in row} - set(labels)
        labels += sorted(strange) if columns is None else []
        return {label: [row.get(label) for row in data] for label in labels}
    if columns is None:
        return data
    if data and not any(isinstance(row, list) for row in data):
        data = [[cell] for cell in data] if len(columns) == 1 else [data]
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            has = f"{len(row)} values" if isinstance(row, list) else f"a {type(row).__name__}"
            raise Mismatch(f"row {number} of the data for model {model!r} has {has}, not {len(columns)}")
    return {label: [row[i] for row in data] for i, label in enumerate(columns)}


def _of_columns(data: Mapping[str, Any], columns: list[str] | None, model: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for label in columns or data:
        if label not in data:
            raise _missing(model, label)
        cells = data[label]
        if isinstance(cells, Mapping):  # by index, as the earlier clients send them
            cells = list(cells.values())
        found[label] = cells if isinstance(cells, list) else [cells]
    return found


def _missing(model: str, label: str) -> Mismatch:
    return Mismatch(f"the data for model {model!r} misses column {label!r}", missing=[label])


def wait(request: Request, parameter: str = "timeout", default: float = WAIT) -> float:
    """Seconds that an answer is waited for. Raises InvalidInput."""
    text = request.query_params.get(parameter)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= LONGEST_WAIT:
        raise InvalidInput(
            f"{parameter}={text[:40]!r} is no number of seconds", hint=f"up to {LONGEST_WAIT:g}; or ?async=1"
        )
    return seconds


def is_async(request: Request) -> bool:
    """Whether the caller goes on meanwhile: `?async=1`, or `Prefer: respond-async` (RFC 7240)."""
    preferred = [part.strip().lower() for part in request.headers.get("Prefer", "").split(",")]
    return request.query_params.get("async", "").lower() in ("1", "true", "yes") or (
        "respond-async" in preferred
    )


def required(request: Request, runtime: Runtime) -> Runtime:
    """The runtime for workers of the label in `?require=`, where there is one. Raises InvalidInput."""
    label = request.query_params.get("require")
    return runtime.require(label) if label else runtime


def answered(result: Any) -> Any:
    """Return a result as JSON: arrays as lists, tables as `{columns, data}`, what is not finite as null."""
    if hasattr(result, "toarray"):
        result = result.toarray()
    if hasattr(result, "to_pandas"):
        result = result.to_pandas()
    if hasattr(result, "columns") and hasattr(result, "to_numpy"):
        cells = [plain(result.iloc[:, i].tolist()) for i in range(result.shape[1])]
        return {
            "columns": [str(label) for label in result.columns],
            "data": [list(row) for row in zip(*cells, strict=True)],
        }
    return plain(result)
