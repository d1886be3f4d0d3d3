"""Evaluate one condition of a filter over an Arrow array, or over the statistics of chunks.

Values are compared in the column's physical form. Whole numbers, times and periods are integers there, and
a condition becomes an exact range of integers, so that neither a huge integer nor a nanosecond is rounded.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from omegaml.errors import InvalidInput
from omegaml.query import TEXT_OPERATORS, Cond, is_missing

if TYPE_CHECKING:
    from omegaml.backends.columnar.schema import ColumnType

NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
INVERSE = {"ne": "eq", "nin": "in"}


@dataclass(frozen=True)
class Span:
    """The values from `low` to `high`; None is no limit."""

    low: Any = None
    high: Any = None
    low_open: bool = False
    high_open: bool = False

    def meets(self, low: Any, high: Any) -> bool:
        """Tell whether a value between `low` and `high` may lie in the span."""
        below = self.low is not None and (high < self.low or (self.low_open and high == self.low))
        above = self.high is not None and (low > self.high or (self.high_open and low == self.high))
        return not below and not above

    def holds(self, low: Any, high: Any) -> bool:
        """Tell whether every value between `low` and `high` lies in the span."""
        after = self.low is None or low > self.low or (not self.low_open and low == self.low)
        before = self.high is None or high < self.high or (not self.high_open and high == self.high)
        return after and before


def match(cond: Cond, array: pa.Array, ctype: ColumnType) -> pa.BooleanArray:
    """Return which values of `array` meet `cond`, without nulls. Raises InvalidInput as `query.mask`."""
    if cond.op in INVERSE:
        return pc.invert(match(Cond(cond.column, INVERSE[cond.op], cond.value), array, ctype))
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if cond.op == "in" and any(is_missing(v) for v in cond.value):
        known = Cond(cond.column, "in", [v for v in cond.value if not is_missing(v)])
        return pc.or_(match(known, array, ctype), _missing(array, ctype))
    if cond.op == "isnull":
        missing = _missing(array, ctype)
        return missing if cond.value else pc.invert(missing)
    if ctype.kind == "category":
        return _of_codes(_match_categories(cond, ctype), array)
    if pa.types.is_dictionary(array.type):
        return _of_codes(match(cond, array.dictionary, ctype), array.indices)
    if ctype.kind == "object":
        return _match_objects(cond, array, ctype)
    if ctype.kind in ("interval", "complex"):
        return _match_equal(cond, array, ctype)
    return _filled(_match_physical(cond, array, ctype))


def outlook(
    cond: Cond, lows: list[Any], highs: list[Any], nulls: list[Any], ctype: ColumnType
) -> list[tuple[bool, bool]]:
    """Tell per chunk whether a row of it can meet `cond`, and whether one can fail to; True if unsure."""
    if cond.op in INVERSE:
        opposite = Cond(cond.column, INVERSE[cond.op], cond.value)
        return [(fail, can) for can, fail in outlook(opposite, lows, highs, nulls, ctype)]
    unsure = [(True, True)] * len(lows)
    domain = _domain(ctype.arrow) if ctype.arrow is not None else "object"
    if ctype.kind in ("category", "interval", "complex") or domain == "other":
        return unsure
    if cond.op == "isnull":
        if domain in ("float", "object"):  # NaN is missing too, and not counted as a null
            return unsure
        return [(n != 0, True) if cond.value else (True, n != 0) for n in nulls]
    if cond.op in TEXT_OPERATORS:
        if domain not in ("text", "object") or cond.op != "startswith":
            return unsure
        size = len(cond.value)
        return [
            (not isinstance(lo, str) or hi is None or (hi >= cond.value and lo[:size] <= cond.value), True)
            for lo, hi in zip(lows, highs, strict=True)
        ]
    if cond.op == "in" and any(is_missing(v) for v in cond.value):
        return unsure
    if domain == "object":
        return _outlook_objects(cond, lows, highs)
    spans = _spans(cond, ctype, ctype.arrow)
    found = []
    for lo, hi, empty in zip(lows, highs, nulls, strict=True):
        if not _comparable(lo, domain) or not _comparable(hi, domain):
            found.append((True, True))
            continue
        sure = empty == 0 and domain != "float" and any(span.holds(lo, hi) for span in spans)
        found.append((any(span.meets(lo, hi) for span in spans), not sure))
    return found


def _comparable(value: Any, domain: str) -> bool:
    fits: Any = {"int": int, "float": (int, float), "text": str, "binary": bytes}[domain]
    return isinstance(value, fits)


def _outlook_objects(cond: Cond, lows: list[Any], highs: list[Any]) -> list[tuple[bool, bool]]:
    """A chunk of objects has statistics if its cells are of one type; they count for values of that type."""
    values = cond.value if cond.op in ("in", "between") else [cond.value]
    found = []
    for lo, hi in zip(lows, highs, strict=True):
        can = True
        if isinstance(lo, str) and isinstance(hi, str) and all(isinstance(v, str) for v in values):
            can = any(s.meets(lo, hi) for s in _ordered_spans(cond.op, values))
        found.append((can, True))
    return found


def _domain(type_: pa.DataType) -> str:
    t = pa.types
    if t.is_integer(type_) or t.is_boolean(type_) or t.is_temporal(type_):
        return "other" if t.is_interval(type_) else "int"
    if t.is_floating(type_):
        return "float"
    if t.is_string(type_) or t.is_large_string(type_) or t.is_string_view(type_):
        return "text"
    return "binary" if t.is_binary(type_) or t.is_large_binary(type_) else "other"


def _filled(found: pa.BooleanArray) -> pa.BooleanArray:
    return found.fill_null(False) if found.null_count else found


def _of_codes(chosen: pa.BooleanArray, codes: pa.Array) -> pa.BooleanArray:
    if len(chosen) == 0:
        return _constant(False, codes)
    return _filled(chosen.take(codes))


def _constant(value: bool, array: pa.Array) -> pa.BooleanArray:
    return pa.array(np.full(len(array), value))


def _missing(array: pa.Array, ctype: ColumnType) -> pa.BooleanArray:
    if ctype.kind == "complex":
        from omegaml.backends.columnar.values import from_arrow

        return pa.array(np.isnan(from_arrow([array], ctype, len(array))))
    if ctype.kind == "object":
        cells = _tagged_cells(array, ctype)
        if cells is not None:
            return pa.array([is_missing(cell) for cell in cells], pa.bool_())
    return pc.is_null(array, nan_is_null=pa.types.is_floating(array.type))


def _match_physical(cond: Cond, array: pa.Array, ctype: ColumnType) -> pa.BooleanArray:
    domain = _domain(array.type)
    if cond.op in TEXT_OPERATORS:
        return _match_text(cond, array, domain)
    if domain == "int" and not pa.types.is_integer(array.type):
        physical = {1: pa.uint8(), 32: pa.int32(), 64: pa.int64()}[array.type.bit_width]
        ints = array.cast(physical)
    else:
        ints = array.cast(pa.float32()) if array.type == pa.float16() else array
    spans = _spans(cond, ctype, array.type)
    if domain == "int":
        spans = [clipped for span in spans if (clipped := _clip(span, ints.type)) is not None]
    if cond.op == "in" and len(spans) > 1:
        values = {span.low for span in spans}
        if domain == "float" and 0.0 in values:
            return pc.or_(pc.is_in(ints, pa.array(sorted(values), ints.type)), pc.equal(ints, 0.0))
        return pc.is_in(ints, pa.array(list(values), ints.type))
    found = _constant(False, array)
    for span in spans:
        found = _in_span(ints, span)
    return found


def _in_span(array: pa.Array, span: Span) -> pa.BooleanArray:
    if span.low is not None and span.low == span.high:
        return pc.equal(array, pa.scalar(span.low, array.type))
    tests = []
    if span.low is not None:
        above = pc.greater if span.low_open else pc.greater_equal
        tests.append(above(array, pa.scalar(span.low, array.type)))
    if span.high is not None:
        below = pc.less if span.high_open else pc.less_equal
        tests.append(below(array, pa.scalar(span.high, array.type)))
    if not tests:
        return pc.is_valid(array)
    return tests[0] if len(tests) == 1 else pc.and_(*tests)


def _clip(span: Span, type_: pa.DataType) -> Span | None:
    """Limit a range of integers to what the type holds; None if nothing is left."""
    signed = pa.types.is_signed_integer(type_)
    least = -(2 ** (type_.bit_width - 1)) if signed else 0
    most = 2 ** (type_.bit_width - signed) - 1
    low = None if span.low is None or span.low <= least else span.low
    high = None if span.high is None or span.high >= most else span.high
    if (span.low is not None and span.low > most) or (span.high is not None and span.high < least):
        return None
    return None if low is not None and high is not None and low > high else Span(low, high)


def _match_text(cond: Cond, array: pa.Array, domain: str) -> pa.BooleanArray:
    if domain != "text":
        raise InvalidInput(f"{cond.column}__{cond.op} needs text, and {cond.column!r} is {array.type}")
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    if cond.op == "regex":
        try:
            return pc.match_substring_regex(array, cond.value)
        except pa.ArrowInvalid as exc:
            hint = "syntax: github.com/google/re2/wiki/Syntax"
            raise InvalidInput(f"{cond.value!r} is not a regular expression", hint=hint) from exc
    compare = {"contains": pc.match_substring, "startswith": pc.starts_with, "endswith": pc.ends_with}
    return compare[cond.op](array, cond.value)


def _spans(cond: Cond, ctype: ColumnType, type_: pa.DataType) -> list[Span]:
    """Return the ranges of physical values that meet `cond`; several only for `in`."""
    convert = _converter(cond.column, ctype, type_)
    values = [convert(v) for v in (cond.value if cond.op in ("in", "between") else [cond.value])]
    if _domain(type_) != "int":
        return _ordered_spans(cond.op, values)
    first = values[0] if values else 0
    floor, ceil = _whole(first, math.floor), _whole(first, math.ceil)
    if cond.op in ("eq", "in"):
        return [Span(int(v), int(v)) for v in values if not _is_infinite(v) and v == math.floor(v)]
    if cond.op == "between":
        return [Span(ceil, _whole(values[1], math.floor))]
    limits = {"gt": (floor + 1, None), "gte": (ceil, None), "lt": (None, ceil - 1), "lte": (None, floor)}
    return [Span(*limits[cond.op])]


def _ordered_spans(op: str, values: list[Any]) -> list[Span]:
    if op in ("eq", "in"):
        return [Span(v, v) for v in values]
    if op == "between":
        return [Span(*values)]
    value = values[0]
    open_ = op in ("gt", "lt")
    return [Span(low=value, low_open=open_) if op[0] == "g" else Span(high=value, high_open=open_)]


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _whole(value: Any, round_: Callable[[Any], int]) -> Any:
    return value if _is_infinite(value) else round_(value)


def _converter(column: str, ctype: ColumnType, type_: pa.DataType) -> Callable[[Any], Any]:
    """Return what turns a value of the filter into the physical form of the column."""

    def convert(value: Any) -> Any:
        try:
            return _physical(value, ctype, type_)
        except InvalidInput:
            raise
        except (ValueError, TypeError, ArithmeticError, pa.ArrowException) as exc:
            what = f"compared with {type(value).__name__} {value!r}"
            raise InvalidInput(f"column {column!r} is {_told(ctype, type_)} and cannot be {what}") from exc

    return convert


def _told(ctype: ColumnType, type_: pa.DataType) -> str:
    return str(type_) if ctype.kind in ("number", "arrow", "object") else ctype.kind


def _physical(value: Any, ctype: ColumnType, type_: pa.DataType) -> Any:
    t = pa.types
    if ctype.kind == "period":
        period = pd.Period(value, freq=ctype.params["freq"])
        if isinstance(value, pd.Period) and value.freqstr != period.freqstr:
            raise ValueError("another frequency")
        return period.ordinal
    if t.is_timestamp(type_):
        return _instant(value, type_.unit, _zone(ctype, type_))
    if t.is_duration(type_):
        if isinstance(value, numbers.Number) and not isinstance(value, np.timedelta64):
            raise TypeError("a number without unit")
        return _scaled(pd.Timedelta(value), type_.unit)
    if t.is_temporal(type_):
        return pa.scalar(value, type_).cast(pa.int32() if type_.bit_width == 32 else pa.int64()).as_py()
    domain = _domain(type_)
    if domain == "int":
        return _number(value, boolean=t.is_boolean(type_))
    if domain == "float":
        width: Any = {16: np.float16, 32: np.float32, 64: np.float64}[type_.bit_width]
        with np.errstate(over="ignore"):
            return float(width(float(_number(value))))
    if domain == "text" and not isinstance(value, str):
        raise TypeError("not a text")
    if domain == "other" and t.is_decimal(type_) and not isinstance(value, Decimal):
        value = Decimal(str(value))
    return value if domain in ("text", "binary") else pa.scalar(value, type_).as_py()


def _number(value: Any, boolean: bool = False) -> Any:
    """Return the exact value of a number, or of a text that reads as one."""
    if isinstance(value, str):
        if boolean and value.lower() in ("true", "false"):
            return int(value.lower() == "true")
        value = float(value) if value.strip().lower().lstrip("+-")[:3] in ("inf", "nan") else Fraction(value)
    if isinstance(value, np.bool_ | bool | numbers.Integral):
        return int(value)
    if isinstance(value, np.timedelta64 | np.datetime64):
        raise TypeError("not a number")
    if isinstance(value, numbers.Real | Decimal | np.floating) and not isinstance(value, Fraction):
        if not math.isfinite(value):
            return float(value)
        value = Fraction(value if isinstance(value, Decimal) else float(value))
    if not isinstance(value, Fraction):
        raise TypeError("not a number")
    return int(value) if value.denominator == 1 else value


def _instant(value: Any, unit: str, tz: Any) -> int | Fraction:
    if isinstance(value, numbers.Number) and not isinstance(value, np.datetime64):
        raise TypeError("a number is not a time")
    stamp = pd.Timestamp(value)
    if tz is None and stamp.tz is not None:
        raise TypeError("the column has no time zone")
    if tz is not None and stamp.tz is None:
        stamp = stamp.tz_localize(tz)
    return _scaled(stamp, unit)


def _zone(ctype: ColumnType, type_: pa.DataType) -> Any:
    if ctype.kind != "datetime_tz":
        return type_.tz
    from omegaml.backends.cells import untag_tz

    return untag_tz(ctype.params["tz"])


def _scaled(moment: pd.Timestamp | pd.Timedelta, unit: str) -> int | Fraction:
    ticks = int(moment.asm8.view("i8"))
    exact = Fraction(ticks * NANOSECONDS[moment.unit], NANOSECONDS[unit])
    return int(exact) if exact.denominator == 1 else exact


def _match_categories(cond: Cond, ctype: ColumnType) -> pa.BooleanArray:
    """Return which categories match. Ordered ones compare by their order, the others by their values."""
    from omegaml.backends.columnar.types import type_of
    from omegaml.backends.columnar.values import index_from_doc, to_arrow

    categories = index_from_doc(ctype.params["categories"])
    if ctype.params["ordered"] and cond.op in ("gt", "gte", "lt", "lte", "between"):
        wanted = cond.value if cond.op == "between" else [cond.value]
        places = categories.get_indexer_for(wanted)
        if (places < 0).any():
            unknown = wanted[int(np.argmin(places))]
            raise InvalidInput(f"{unknown!r} is not a category of column {cond.column!r}")
        numbered = [int(p) for p in places]
        span = _ordered_spans(cond.op, numbered)[0]
        return _in_span(pa.array(np.arange(len(categories))), span)
    inner = type_of(categories)
    return match(cond, to_arrow(categories, inner), inner)


def _tagged_cells(array: pa.Array, ctype: ColumnType) -> np.ndarray | None:
    """Return the cells of a chunk of objects that are not all of one plain type, else None."""
    from omegaml.backends.columnar.values import objects

    return objects(array) if isinstance(array.type, pa.ExtensionType) else None


def _match_objects(cond: Cond, array: pa.Array, ctype: ColumnType) -> pa.BooleanArray:
    """Match cells as Python does; cells of types that do not compare with the value do not match."""
    cells = _tagged_cells(array, ctype)
    if cells is not None:
        test = _python_test(cond)
        return pa.array([test(cell) for cell in cells], pa.bool_())
    domain = _domain(array.type)
    if cond.op in TEXT_OPERATORS:
        return _filled(_match_text(cond, array, domain)) if domain == "text" else _constant(False, array)
    fits: Any = {"text": str, "binary": bytes}.get(domain, (numbers.Number, np.bool_))
    values = cond.value if cond.op in ("in", "between") else [cond.value]
    kept = [v for v in values if isinstance(v, fits) and not isinstance(v, np.datetime64 | np.timedelta64)]
    if not kept or (len(kept) < len(values) and cond.op != "in"):
        return _constant(False, array)
    value = kept if cond.op in ("in", "between") else kept[0]
    return _filled(_match_physical(Cond(cond.column, cond.op, value), array, ctype))


def _match_equal(cond: Cond, array: pa.Array, ctype: ColumnType) -> pa.BooleanArray:
    from omegaml.backends.columnar.values import from_arrow

    if cond.op not in ("eq", "in"):
        raise InvalidInput(f"column {cond.column!r} is {ctype.kind}: it has eq, ne, in, nin and isnull only")
    test = _python_test(cond)
    cells = pd.array(from_arrow([array], ctype, len(array)))
    return pa.array([test(cell) for cell in cells], pa.bool_())


def _python_test(cond: Cond) -> Callable[[Any], bool]:
    value = cond.value
    pattern = None
    if cond.op == "regex":
        try:
            pattern = re.compile(value)
        except re.error as exc:
            raise InvalidInput(f"{value!r} is not a regular expression: {exc}") from exc
    tests: dict[str, Callable[[Any], Any]] = {
        "eq": lambda c: c == value,
        "in": lambda c: any(bool(c == v) for v in value),
        "gt": lambda c: c > value,
        "gte": lambda c: c >= value,
        "lt": lambda c: c < value,
        "lte": lambda c: c <= value,
        "between": lambda c: value[0] <= c <= value[1],
        "contains": lambda c: isinstance(c, str) and value in c,
        "startswith": lambda c: isinstance(c, str) and c.startswith(value),
        "endswith": lambda c: isinstance(c, str) and c.endswith(value),
        "regex": lambda c: isinstance(c, str) and pattern is not None and pattern.search(c),
    }
    test = tests[cond.op]

    def safe(cell: Any) -> bool:
        try:
            return not is_missing(cell) and bool(test(cell))
        except (TypeError, ValueError):  # this cell does not compare with the value
            return False

    return safe
