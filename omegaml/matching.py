"""Evaluate one condition of a filter over an Arrow array, or over the statistics of chunks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from operator import eq
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from omegaml.errors import InvalidInput
from omegaml.query import TEXT_OPERATORS, Cond, is_missing
from omegaml.spans import Span, domain, ordered_spans, refused, spans, told

if TYPE_CHECKING:
    from omegaml.backends.columnar.schema import ColumnType

INVERSE = {"ne": "eq", "nin": "in"}
_PLAIN_CELLS: dict[str, tuple[type, ...]] = {
    "int": (bool, int, float),
    "float": (bool, int, float),
    "text": (str,),
    "binary": (bytes,),
}


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
        return _of_codes(match_categories(cond, ctype), array)
    if pa.types.is_dictionary(array.type):
        return _of_codes(match(cond, array.dictionary, ctype), array.indices)
    if ctype.kind == "object":
        return _match_objects(cond, array, ctype)
    if ctype.kind in ("interval", "complex"):
        return _match_equal(cond, array, ctype)
    try:
        return _filled(_match_physical(cond, array, ctype))
    except pa.ArrowException as exc:  # lists and other types that Arrow does not compare
        raise refused(cond.column, told(ctype, array.type), cond.value) from exc


def outlook(
    cond: Cond, lows: list[Any], highs: list[Any], nulls: list[Any], ctype: ColumnType
) -> list[tuple[bool, bool]]:
    """Tell per chunk whether a row of it can meet `cond`, and whether one can fail to; True if unsure."""
    if cond.op in INVERSE:
        opposite = Cond(cond.column, INVERSE[cond.op], cond.value)
        return [(fail, can) for can, fail in outlook(opposite, lows, highs, nulls, ctype)]
    unsure = [(True, True)] * len(lows)
    kind = domain(ctype.arrow) if ctype.arrow is not None else "object"
    if ctype.kind in ("category", "interval", "complex") or kind == "other":
        return unsure
    if cond.op == "isnull":
        if kind in ("float", "object"):  # NaN is missing too, and not counted as a null
            return unsure
        return [(n != 0, True) if cond.value else (True, n != 0) for n in nulls]
    if cond.op in TEXT_OPERATORS:
        if kind not in ("text", "object") or cond.op != "startswith":
            return unsure
        size = len(cond.value)
        return [
            (not isinstance(lo, str) or hi is None or (hi >= cond.value and lo[:size] <= cond.value), True)
            for lo, hi in zip(lows, highs, strict=True)
        ]
    if cond.op == "in" and any(is_missing(v) for v in cond.value):
        return unsure
    if kind == "object":
        return _outlook_objects(cond, lows, highs)
    asked = spans(cond, ctype, ctype.arrow)
    found = []
    for lo, hi, empty in zip(lows, highs, nulls, strict=True):
        if not _comparable(lo, kind) or not _comparable(hi, kind):
            found.append((True, True))
            continue
        sure = empty == 0 and kind != "float" and any(span.holds(lo, hi) for span in asked)
        found.append((any(span.meets(lo, hi) for span in asked), not sure))
    return found


def match_categories(cond: Cond, ctype: ColumnType) -> pa.BooleanArray:
    """Return which categories match. Ordered ones compare by their order, the others by their values."""
    from omegaml.backends.columnar.types import type_of
    from omegaml.backends.columnar.values import index_from_doc, to_arrow

    categories = index_from_doc(ctype.params["categories"])
    inner = type_of(categories)
    values = to_arrow(categories, inner)
    if not ctype.params["ordered"] or cond.op not in ("gt", "gte", "lt", "lte", "between"):
        return match(cond, values, inner)
    places = []
    for wanted in cond.value if cond.op == "between" else [cond.value]:
        at = pc.index(match(Cond(cond.column, "eq", wanted), values, inner), True).as_py()
        if at < 0:
            raise InvalidInput(f"{wanted!r} is not a category of column {cond.column!r}")
        places.append(at)
    return _in_span(pa.array(np.arange(len(categories))), ordered_spans(cond.op, places)[0])


def _comparable(value: Any, kind: str) -> bool:
    fits: Any = {"int": int, "float": (int, float), "text": str, "binary": bytes}[kind]
    return isinstance(value, fits)


def _outlook_objects(cond: Cond, lows: list[Any], highs: list[Any]) -> list[tuple[bool, bool]]:
    """A chunk of objects has statistics if its cells are of one type; they count for values of that type."""
    values = cond.value if cond.op in ("in", "between") else [cond.value]
    found = []
    for lo, hi in zip(lows, highs, strict=True):
        can = True
        if isinstance(lo, str) and isinstance(hi, str) and all(isinstance(v, str) for v in values):
            can = any(s.meets(lo, hi) for s in ordered_spans(cond.op, values))
        found.append((can, True))
    return found


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
    if ctype.kind == "object" and isinstance(array.type, pa.ExtensionType):
        return pa.array([is_missing(cell) for cell in _cells(array)], pa.bool_())
    return pc.is_null(array, nan_is_null=pa.types.is_floating(array.type))


def _match_physical(cond: Cond, array: pa.Array, ctype: ColumnType) -> pa.BooleanArray:
    kind = domain(array.type)
    if cond.op in TEXT_OPERATORS:
        return _match_text(cond, array, told(ctype, array.type))
    asked = spans(cond, ctype, array.type)
    array = _physical(array, kind)
    if kind == "int":
        signed = pa.types.is_signed_integer(array.type)
        least = -(2 ** (array.type.bit_width - 1)) if signed else 0
        most = 2 ** (array.type.bit_width - signed) - 1
        asked = [kept for span in asked if (kept := span.clipped(least, most)) is not None]
    if cond.op == "in" and len(asked) > 1 and kind != "other":
        found = pc.is_in(array, pa.array([span.low for span in asked], array.type))
        # is_in tells 0.0 from -0.0
        zero = kind == "float" and any(span.low == 0 for span in asked)
        return pc.or_(found, pc.equal(array, 0.0)) if zero else found
    return reduce(pc.or_, [_in_span(array, span) for span in asked]) if asked else _constant(False, array)


def _physical(array: pa.Array, kind: str) -> pa.Array:
    """Return the array in the type in which Arrow compares it."""
    type_ = array.type
    if kind == "int" and not pa.types.is_integer(type_):
        return array.cast({1: pa.uint8(), 32: pa.int32(), 64: pa.int64()}[type_.bit_width])
    if type_ == pa.float16():
        return array.cast(pa.float32())
    return array.cast(pa.large_string()) if pa.types.is_string_view(type_) else array


def _in_span(array: pa.Array, span: Span) -> pa.BooleanArray:
    def scalar(value: Any) -> pa.Scalar:
        return value if isinstance(value, pa.Scalar) else pa.scalar(value, array.type)

    if span.low is not None and span.low == span.high:
        return pc.equal(array, scalar(span.low))
    tests = []
    if span.low is not None:
        above = pc.greater if span.low_open else pc.greater_equal
        tests.append(above(array, scalar(span.low)))
    if span.high is not None:
        below = pc.less if span.high_open else pc.less_equal
        tests.append(below(array, scalar(span.high)))
    if not tests:
        return pc.is_valid(array)
    return tests[0] if len(tests) == 1 else pc.and_(*tests)


def _match_text(cond: Cond, array: pa.Array, what: str) -> pa.BooleanArray:
    if domain(array.type) != "text":
        raise InvalidInput(f"{cond.column}__{cond.op} needs text, and column {cond.column!r} is {what}")
    array = _physical(array, "text")
    try:
        if cond.op == "regex":
            return pc.match_substring_regex(array, cond.value)
        compare = {"contains": pc.match_substring, "startswith": pc.starts_with, "endswith": pc.ends_with}
        return compare[cond.op](array, cond.value)
    except UnicodeEncodeError:
        return _constant(False, array)  # no text has a lone surrogate
    except pa.ArrowInvalid as exc:
        hint = "syntax: github.com/google/re2/wiki/Syntax"
        what = f"{cond.column}__{cond.op}: {cond.value!r} is not a regular expression"
        raise InvalidInput(what, hint=hint) from exc


def _cells(array: pa.Array) -> np.ndarray:
    from omegaml.backends.columnar.values import objects

    return objects(array)


def _match_objects(cond: Cond, array: pa.Array, ctype: ColumnType) -> pa.BooleanArray:
    """Match cells as Python does; cells of types that do not compare with the value do not match."""
    tagged = isinstance(array.type, pa.ExtensionType)
    if cond.op in TEXT_OPERATORS:
        if tagged:
            texts = [str(c) if isinstance(c, str) and _is_unicode(c) else None for c in _cells(array)]
            array = pa.array(texts, pa.large_string())
        if domain(array.type) != "text":
            return _constant(False, array)
        return _filled(_match_text(cond, array, "object"))
    values = cond.value if cond.op in ("in", "between") else [cond.value]
    if not tagged and all(_is_plain(v, domain(array.type)) for v in values):
        return _filled(_match_physical(cond, array, ctype))
    test = _python_test(cond)
    return pa.array([test(cell) for cell in _cells(array)], pa.bool_())


def _is_plain(value: Any, kind: str) -> bool:
    """Tell whether Arrow compares a value with cells of a plain type as Python does."""
    if type(value) not in _PLAIN_CELLS.get(kind, ()):
        return False
    if kind == "text":
        return _is_unicode(value)
    return kind != "float" or isinstance(value, float) or abs(value) <= 2**53


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _match_equal(cond: Cond, array: pa.Array, ctype: ColumnType) -> pa.BooleanArray:
    from omegaml.backends.columnar.values import from_arrow

    if cond.op not in ("eq", "in"):
        raise InvalidInput(f"column {cond.column!r} is {ctype.kind}: it has eq, ne, in, nin and isnull only")
    fits: Any = pd.Interval if ctype.kind == "interval" else (complex, float, int, np.number)
    for value in cond.value if cond.op == "in" else [cond.value]:
        if not isinstance(value, fits):
            raise refused(cond.column, ctype.kind, value)
    test = _python_test(cond)
    cells = pd.array(from_arrow([array], ctype, len(array)))
    return pa.array([test(cell) for cell in cells], pa.bool_())


def _python_test(cond: Cond) -> Callable[[Any], bool]:
    value = cond.value
    tests: dict[str, Callable[[Any], Any]] = {
        "eq": lambda c: c == value,
        "in": lambda c: any(_is_true(partial(eq, c, v)) for v in value),
        "gt": lambda c: c > value,
        "gte": lambda c: c >= value,
        "lt": lambda c: c < value,
        "lte": lambda c: c <= value,
        "between": lambda c: value[0] <= c <= value[1],
    }
    test = tests[cond.op]
    return lambda cell: not is_missing(cell) and _is_true(partial(test, cell))


def _is_true(comparison: Callable[[], Any]) -> bool:
    try:
        return bool(comparison())
    except (TypeError, ValueError, ArithmeticError):  # this cell does not compare with the value
        return False
