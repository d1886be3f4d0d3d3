"""The values of a filter in the physical form of a column, and the ranges of them that meet a condition.

Whole numbers, times and periods are integers there, and a condition becomes an exact range of integers, so
that neither a huge integer nor a nanosecond is rounded. Values for columns of floats are rounded as the
column's are, as pandas does: `x=0.1` finds a float32 of 0.1.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from omegaml.errors import InvalidInput
from omegaml.query import Cond

if TYPE_CHECKING:
    from omegaml.backends.columnar.schema import ColumnType

_NANOSECONDS = {"D": 86_400 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DIGITS = 400  # more than any float or 64-bit integer has before or behind the point


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

    def mapped(self, form: Callable[[Any], Any]) -> Span:
        """Return the span with its limits, None included, in another form."""
        return Span(form(self.low), form(self.high), self.low_open, self.high_open)

    def clipped(self, least: int, most: int) -> Span | None:
        """Return the integers of the span from `least` to `most`; None if there are none."""
        if (self.low is not None and self.low > most) or (self.high is not None and self.high < least):
            return None
        low = None if self.low is None or self.low < least else self.low
        high = None if self.high is None or self.high > most else self.high
        return None if low is not None and high is not None and low > high else Span(low, high)


def spans(cond: Cond, ctype: ColumnType, type_: pa.DataType) -> list[Span]:
    """Return the ranges of physical values that meet `cond`; several only for `in`.

    `cond` compares: eq, in, between, gt, gte, lt or lte.
    Raises InvalidInput for a value that does not compare with the column.
    """
    convert = _converter(cond.column, ctype, type_)
    values = [convert(v) for v in (cond.value if cond.op in ("in", "between") else [cond.value])]
    if domain(type_) != "int":
        return ordered_spans(cond.op, values)
    if cond.op in ("eq", "in"):
        return [Span(int(v), int(v)) for v in values if not _is_infinite(v) and v == math.floor(v)]
    floor, ceil = _whole(values[0], math.floor), _whole(values[0], math.ceil)
    if cond.op == "between":
        return [Span(ceil, _whole(values[1], math.floor))]
    limits = {"gt": (floor + 1, None), "gte": (ceil, None), "lt": (None, ceil - 1), "lte": (None, floor)}
    return [Span(*limits[cond.op])]


def ordered_spans(op: str, values: list[Any]) -> list[Span]:
    """Return the ranges that meet `op`, of values that are only known to have an order."""
    if op in ("eq", "in"):
        return [Span(v, v) for v in values]
    if op == "between":
        return [Span(*values)]
    value = values[0]
    open_ = op in ("gt", "lt")
    return [Span(low=value, low_open=open_) if op[0] == "g" else Span(high=value, high_open=open_)]


def domain(type_: pa.DataType) -> str:
    """Return how values of an Arrow type compare: "int", "float", "text", "binary" or "other"."""
    t = pa.types
    if t.is_integer(type_) or t.is_boolean(type_) or t.is_temporal(type_):
        return "other" if t.is_interval(type_) else "int"
    if t.is_floating(type_):
        return "float"
    if t.is_string(type_) or t.is_large_string(type_) or t.is_string_view(type_):
        return "text"
    return "binary" if t.is_binary(type_) or t.is_large_binary(type_) else "other"


def refused(column: str, told: Any, value: Any) -> InvalidInput:
    """Return the error for a value that does not compare with a column that is `told`."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return InvalidInput(
        f"column {column!r} is {told} and cannot be compared with {type(value).__name__} {shown}"
    )


def told(ctype: ColumnType, type_: pa.DataType) -> str:
    """Return what to call the type of a column in a message."""
    return str(type_) if ctype.kind in ("number", "arrow", "object") else ctype.kind


def _converter(column: str, ctype: ColumnType, type_: pa.DataType) -> Callable[[Any], Any]:
    """Return what turns a value of the filter into the physical form of the column."""

    def convert(value: Any) -> Any:
        try:
            return _physical(value, ctype, type_)
        except Exception as exc:  # libraries of dates and zones have errors of their own
            raise refused(column, told(ctype, type_), value) from exc

    return convert


def _physical(value: Any, ctype: ColumnType, type_: pa.DataType) -> Any:
    t = pa.types
    if ctype.kind == "period":
        if isinstance(value, numbers.Number):
            raise TypeError("a number is not a period")
        period = pd.Period(value, freq=ctype.params["freq"])
        if isinstance(value, pd.Period) and value.freqstr != period.freqstr:
            raise ValueError("another frequency")
        return period.ordinal
    if t.is_timestamp(type_):
        return _instant(value, type_.unit, _zone(ctype, type_))
    if t.is_date(type_):
        return _instant(value, "D" if t.is_date32(type_) else "ms", None)
    if t.is_duration(type_):
        return _duration(value, type_.unit)
    if t.is_time(type_):
        value = dt.time.fromisoformat(value) if isinstance(value, str) else value
        return pa.scalar(value, type_).cast(pa.int32() if type_.bit_width == 32 else pa.int64()).as_py()
    match domain(type_):
        case "int":
            return _number(value, boolean=t.is_boolean(type_))
        case "float":
            return _rounded(_number(value), type_.bit_width)
        case "text":
            value.encode()  # a lone surrogate is in no text
            return str(value)
        case "binary":
            return bytes(memoryview(value))
    return _scalar(value, type_)


def _scalar(value: Any, type_: pa.DataType) -> Any:
    if pa.types.is_decimal(type_):
        # with a scale of its own: brought to the column's it might be rounded
        return pa.scalar(value if isinstance(value, Decimal) else Decimal(str(value)))
    return pa.scalar(value, type_)


def _number(value: Any, boolean: bool = False) -> Any:
    """Return the exact value of a number, or of a text that reads as one."""
    if isinstance(value, str):
        if boolean and value.lower() in ("true", "false"):
            return int(value.lower() == "true")
        value = Decimal(value)
    if isinstance(value, np.bool_ | bool | numbers.Integral):
        return int(value)
    if isinstance(value, np.timedelta64 | np.datetime64):
        raise TypeError("not a number")
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, numbers.Real | np.floating) and not isinstance(value, Fraction):
        if not math.isfinite(value):
            return _not_nan(float(value))
        value = Fraction(float(value))
    if not isinstance(value, Fraction):
        raise TypeError("not a number")
    return int(value) if value.denominator == 1 else value


def _decimal(value: Decimal) -> Any:
    if not value.is_finite() or value.adjusted() > _DIGITS:
        return _not_nan(math.copysign(math.inf, value) if not value.is_nan() else math.nan)
    if value and value.adjusted() < -_DIGITS:
        return Fraction(int(math.copysign(1, value)), 10**_DIGITS)
    exact = Fraction(value)
    return int(exact) if exact.denominator == 1 else exact


def _not_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("NaN does not compare")
    return value


def _rounded(value: Any, bits: int) -> float:
    width: Any = {16: np.float16, 32: np.float32, 64: np.float64}[bits]
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    with np.errstate(over="ignore"):
        return float(width(near))


def _instant(value: Any, unit: str, tz: Any) -> int | Fraction:
    if isinstance(value, numbers.Number) and not isinstance(value, np.datetime64):
        raise TypeError("a number is not a time")
    stamp = pd.Timestamp(value)
    if stamp is pd.NaT:
        raise ValueError("not a time")
    if tz is None and stamp.tz is not None:
        raise TypeError("the column has no time zone")
    if tz is not None and stamp.tz is None:
        stamp = stamp.tz_localize(tz)
    return _scaled(stamp, unit)


def _duration(value: Any, unit: str) -> int | Fraction:
    if isinstance(value, numbers.Number) and not isinstance(value, np.timedelta64):
        raise TypeError("a number without unit")
    if isinstance(value, str) and not any(c.isalpha() or c == ":" for c in value):
        raise ValueError("a number without unit")
    delta = pd.Timedelta(value)
    if delta is pd.NaT:
        raise ValueError("not a time")
    return _scaled(delta, unit)


def _zone(ctype: ColumnType, type_: pa.DataType) -> Any:
    if ctype.kind != "datetime_tz":
        return type_.tz
    from omegaml.backends.cells import untag_tz

    return untag_tz(ctype.params["tz"])


def _scaled(moment: pd.Timestamp | pd.Timedelta, unit: str) -> int | Fraction:
    ticks = int(moment.asm8.view("i8"))
    exact = Fraction(ticks * _NANOSECONDS[moment.unit], _NANOSECONDS[unit])
    return int(exact) if exact.denominator == 1 else exact


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _whole(value: Any, round_: Callable[[Any], int]) -> Any:
    return value if _is_infinite(value) else round_(value)
