"""A condition on a column of row documents as a MongoDB query that means what it means over Arrow arrays.

Where a column has one type, the query is made of the same ranges of values (`omegaml.spans`). Cells of object
columns compare as in Python, except that a regular expression is read by the server, and that 1 and True in
lists and dicts are different.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
import uuid
from decimal import Decimal
from typing import Any

import bson
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bson import Decimal128, Int64
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import create_decimal128_context

from omegaml.backends.columnar.types import ColumnType
from omegaml.backends.columnar.values import index_from_doc
from omegaml.backends.rowbson import CODEC
from omegaml.backends.rows import Field
from omegaml.backends.rowtypes import FIRST_MS, LAST_MS, check_cell, stored_cells
from omegaml.errors import InvalidInput, NotStorable
from omegaml.matching import INVERSE, match_categories
from omegaml.query import TEXT_OPERATORS, Cond, is_missing, text_pattern
from omegaml.spans import Span, ordered_spans, spans, told

_MISSING = [None, math.nan]
_INT64 = range(-(2**63), 2**63)
_TEXT = ColumnType("string", {"storage": "python", "na": "NA"})
_TIME = ColumnType("datetime", {"unit": "ms"})
_DECIMALS = create_decimal128_context()


def query(cond: Cond, field: str, ctype: ColumnType) -> dict[str, Any]:
    """Return the query for rows whose `field`, a column of type `ctype`, meets `cond`.

    Raises InvalidInput for a value that does not compare with the column, as `omegaml.query.mask`.
    """
    if cond.op in INVERSE:
        return {"$nor": [query(Cond(cond.column, INVERSE[cond.op], cond.value), field, ctype)]}
    missing = _cell({field: {"$in": _MISSING}}, ctype)
    if cond.op == "isnull":
        return missing if cond.value else {"$nor": [missing]}
    if cond.op == "in" and any(is_missing(v) for v in cond.value):
        known = Cond(cond.column, "in", [v for v in cond.value if not is_missing(v)])
        return {"$or": [query(known, field, ctype), missing]}
    if ctype.kind == "category":
        cells = stored_cells(index_from_doc(ctype.params["categories"]))
        chosen = match_categories(cond, ctype).to_pylist()
        return {field: {"$in": [cell for cell, is_chosen in zip(cells, chosen, strict=True) if is_chosen]}}
    if cond.op in TEXT_OPERATORS:
        return _text(cond, field, ctype)
    if ctype.kind == "object":
        return _any_of(_of_objects(cond, field, ctype), field)
    return _typed(cond, field, ctype)


def _cell(test: dict[str, Any], ctype: ColumnType) -> dict[str, Any]:
    """The test of a cell as a whole: the server's own goes for the items of a list too."""
    if ctype.kind != "object":
        return test
    return {"$and": [test, *({field: {"$not": {"$type": "array"}}} for field in test)]}


def _any_of(queries: list[dict[str, Any]], field: str) -> dict[str, Any]:
    if not queries:
        return {field: {"$in": []}}
    return queries[0] if len(queries) == 1 else {"$or": queries}


def _text(cond: Cond, field: str, ctype: ColumnType) -> dict[str, Any]:
    if ctype.kind not in ("string", "object"):
        what = told(ctype, ctype.arrow)
        raise InvalidInput(f"{cond.column}__{cond.op} needs text, and column {cond.column!r} is {what}")
    try:
        cond.value.encode()
        if cond.op == "regex":
            pc.match_substring_regex(pa.array([""]), cond.value)
    except UnicodeEncodeError:
        return {field: {"$in": []}}  # no text has a lone surrogate
    except pa.ArrowInvalid as exc:
        hint = "syntax: github.com/google/re2/wiki/Syntax"
        what = f"{cond.column}__{cond.op}: {cond.value!r} is not a regular expression"
        raise InvalidInput(what, hint=hint) from exc
    return _cell({field: {"$regex": text_pattern(cond.op, cond.value)}}, ctype)


def _typed(cond: Cond, field: str, ctype: ColumnType) -> dict[str, Any]:
    type_ = ctype.arrow
    if pa.types.is_timestamp(type_):
        type_ = pa.timestamp("ms", type_.tz)
    asked = spans(cond, ctype, type_)
    if pa.types.is_boolean(type_):
        return {field: {"$in": [v for v in (False, True) if any(span.meets(v, v) for span in asked)]}}
    is_time = pa.types.is_timestamp(type_)
    if is_time or not (pa.types.is_floating(type_) or ctype.kind == "string"):
        least, most = (FIRST_MS, LAST_MS) if is_time else (_INT64[0], _INT64[-1])
        asked = [kept for span in asked if (kept := span.clipped(least, most)) is not None]
        if isinstance(field, Field) and field.counted is not None:
            numbers = [pair for span in asked for pair in field.counted.numbers(span.low, span.high)]
            if cond.op == "in":
                return {field: {"$in": [Int64(first) for first, _ in numbers]}}
            return _any_of([{field: _range(Span(*pair).mapped(Int64))} for pair in numbers], field)
        form: Any = DatetimeMS if is_time else Int64
        asked = [span.mapped(lambda v: None if v is None else form(v)) for span in asked]
    if cond.op == "in":
        return {field: {"$in": [span.low for span in asked]}}
    return _any_of([{field: _range(span)} for span in asked], field)


def _range(span: Span) -> dict[str, Any]:
    if span.low is None and span.high is None:
        return {"$nin": _MISSING}
    test = {} if span.low is None else {"$gt" if span.low_open else "$gte": span.low}
    return test if span.high is None else {**test, "$lt" if span.high_open else "$lte": span.high}


def _of_objects(cond: Cond, field: str, ctype: ColumnType) -> list[dict[str, Any]]:
    """Return the queries of which one must match."""
    if cond.op == "in":
        return [q for v in cond.value for q in _of_objects(Cond(cond.column, "eq", v), field, ctype)]
    values = cond.value if cond.op == "between" else [cond.value]
    families = {_family(value) for value in values}
    if len(families) > 1 or None in families:
        return []  # Python says of no cell that it is equal, or orders it with these values
    family = families.pop()
    if family in ("text", "time"):
        return [_cell(test, ctype) for test in [_typed(cond, field, _TEXT if family == "text" else _TIME)]]
    if cond.op != "eq" and family in ("bytes", "list", "dict"):
        raise InvalidInput(
            f"column {cond.column!r} in row documents compares {family} by eq, ne, in and nin only"
        )
    if family == "list":
        own = {"$getField": {"field": {"$literal": field}, "input": "$$ROOT"}}
        return [{"$expr": {"$eq": [own, {"$literal": _stored(cond.value)}]}}]
    if family != "number":
        span = ordered_spans(cond.op, values)[0].mapped(_stored)
        return [_cell({field: _range(span)}, ctype)]
    span = ordered_spans(cond.op, values)[0]
    bools = [v for v in (False, True) if span.meets(v, v)]
    return [
        _cell({field: test}, ctype)
        for test in [_range(span.mapped(_number)), *([{"$in": bools}] if bools else [])]
    ]


def _family(value: Any) -> str | None:
    """The cells that a value compares with; None if with none that lie in row documents."""
    match value:
        case str():
            return "text" if _is_kept(value) else None
        case bool() | np.bool_() | numbers.Real() | Decimal():
            return None if isinstance(value, np.timedelta64) else "number"
        case bytes():
            return "bytes"
        case uuid.UUID():
            return "uuid"
        case np.datetime64():
            return "time"
        case dt.datetime():
            return "time" if value.tzinfo is None else None
        case list() | dict():
            return type(value).__name__ if _is_kept(value) else None
    return None


def _is_kept(value: Any) -> bool:
    try:
        check_cell("", value)
        encoded = bson.encode({"v": value}, codec_options=CODEC)
    except (NotStorable, UnicodeEncodeError):
        return False
    return bool(bson.decode(encoded, CODEC)["v"] == value)  # what has a NaN in it equals nothing


def _stored(value: Any) -> Any:
    """A value as the driver takes it with any settings: UUIDs as binaries."""
    return bson.decode(bson.encode({"v": value}, codec_options=CODEC))["v"]


def _number(value: Any) -> Any:
    """A number as one of BSON's, exactly where that is possible."""
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, numbers.Integral | np.bool_) and int(value) in _INT64:
        return Int64(value)
    try:
        near = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    return near if near == value else Decimal128(_DECIMALS.create_decimal(str(value)))
