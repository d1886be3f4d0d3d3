"""Hypothesis strategies for filters, and what Python says of each cell."""

from __future__ import annotations

import decimal
import operator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import reject
from hypothesis import strategies as st

from omegaml.errors import InvalidInput, NotStorable
from omegaml.query import Expr, is_missing, mask
from tests.unit import drawn
from tests.unit.drawn_cells import CELLS, DOUBLES, INT64, TEXT
from tests.unit.stored_chunks import ChunkReader

COMPARISONS = {
    "eq": operator.eq,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
OPERATORS = [*COMPARISONS, "ne", "in", "nin", "between", "isnull", "contains", "startswith", "endswith"]
ODD = st.one_of(
    CELLS, DOUBLES, INT64, TEXT, st.decimals(), st.just(decimal.Decimal("1e999999")), st.binary(max_size=2),
    st.sampled_from([None, np.nan, pd.NA, pd.NaT, "nan", "NaT", "", "now", "1e999999999", 10**400, 1j]),
    st.sampled_from(["2020-10-25 02:30", "2020-03-29 02:30", "5", "-1", "true", "\ud800", (), [], {}]),
)  # fmt: skip


def _cells(column: pd.Series) -> list[Any]:
    cells = column.astype(object).tolist()
    if column.dtype == "boolean" or getattr(column.dtype, "kind", "") in "iub":
        return [cell if is_missing(cell) else int(cell) for cell in cells]  # which Python compares exactly
    return cells


@st.composite
def typed(draw: Any, kinds: Any = None) -> tuple[pd.Series, str, Any]:
    """A column, an operator, and a value of the column's type, often one that is in it."""
    kinds = kinds or {
        k: v for k, v in drawn.KINDS.items() if k not in ("arrow", "objects", "sparse", "category", "complex")
    }
    kind = draw(st.sampled_from(list(kinds)))
    n = draw(st.integers(1, 12))
    column = pd.Series(kinds[kind](draw, n))
    more = _cells(column)
    if kind not in ("period", "zone", "datetime", "timedelta", "interval", "string"):
        other = pd.Series(kinds[kind](draw, 2))
        more = more + _cells(other if other.dtype == column.dtype else column)
    known = [cell for cell in more if not is_missing(cell)]
    if not known:
        reject()
    op = draw(st.sampled_from(["eq", "ne", "in", "nin", "isnull"] if kind == "interval" else OPERATORS[:10]))
    one = st.sampled_from(known)
    value = {
        "in": st.lists(one | st.none(), max_size=3),
        "nin": st.lists(one | st.none(), max_size=3),
        "between": st.tuples(one, one).map(list),
        "isnull": st.booleans(),
    }.get(op, one)
    return column, op, draw(value)


def expected(column: pd.Series, op: str, value: Any) -> list[bool]:
    """What Python says of each cell."""
    if op in ("ne", "nin"):
        return [not found for found in expected(column, {"ne": "eq", "nin": "in"}[op], value)]
    found = []
    for cell in _cells(column):
        missing = is_missing(cell)
        if op == "isnull":
            found.append(missing == value)
        elif op == "in":
            found.append(
                any(is_missing(v) for v in value)
                if missing
                else any(not is_missing(v) and cell == v for v in value)
            )
        elif op == "between":
            found.append(not missing and bool(value[0] <= cell <= value[1]))
        else:
            found.append(not missing and bool(COMPARISONS[op](cell, value)))
    return found


def matched(column: pd.Series, expr: Expr, size: int) -> list[bool] | str:
    """The rows that match, chunk by chunk; a chunk that its statistics leave out must have none."""
    try:
        reader = ChunkReader(pd.DataFrame({"x": column}), size)
    except NotStorable:
        reject()
    try:
        may = reader.may_match(expr)
        found: list[bool] = []
        for n, possible in enumerate(may):
            part = mask(expr, lambda text, n=n: reader.column(text, n)).to_pylist()
            assert possible or not any(part), (reader.stats, expr)
            found += part
        return found
    except InvalidInput as refused:
        assert "'x'" in refused.message or refused.hint
        return "refused"


@st.composite
def odd(draw: Any, kinds: Any = drawn.KINDS) -> tuple[pd.Series, str, Any]:
    """A column, an operator, and any value."""
    try:
        column = draw(drawn.columns(draw(st.integers(1, 8)), kinds))
        cells = column.astype(object).tolist()
    except (TypeError, ValueError, ArithmeticError, AttributeError, NotImplementedError, pa.ArrowException):
        reject()  # pandas itself does not make such a column
    op = draw(st.sampled_from(OPERATORS))
    own = [cell for cell in cells if draw(st.booleans())] or [None]
    one = ODD | st.sampled_from(own)
    return (
        column,
        op,
        draw({"in": st.lists(one), "nin": st.lists(one), "between": st.tuples(one, one)}.get(op, one)),
    )
