"""Filters: what a user types as `sales__gte=100` or `Q(...) | ~Q(...)`, as a tree, and its three readings.

`where` parses filters to an `Expr`; `mask` evaluates one over Arrow arrays, `outlook` over the statistics
of chunks (to leave out those that cannot match), `to_mongo` writes it as a MongoDB query.

The logic has two values: a missing cell (null, NaN, NaT) matches `isnull=True`, `ne` and `nin` and nothing
else, and `~` turns every match round.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from omegaml.errors import InvalidInput, Mismatch, NotFound

if TYPE_CHECKING:
    import pyarrow as pa

    from omegaml.backends.columnar.schema import ColumnType

    Column = Callable[[str], tuple[pa.Array, ColumnType]]
    Stats = Callable[[str], tuple[list[Any], list[Any], list[Any], ColumnType] | None]

OPERATORS = (
    "eq", "ne", "gt", "gte", "lt", "lte", "in", "nin",
    "between", "contains", "startswith", "endswith", "isnull", "regex",
)  # fmt: skip
TEXT_OPERATORS = ("contains", "startswith", "endswith", "regex")


class Expr:
    """A condition on the rows of a table; combine with `&`, `|` and `~`."""

    def columns(self) -> set[str]:
        """Return the columns it looks at, as typed by the user."""
        return {cond.column for cond in self.conditions()}

    def conditions(self) -> Iterator[Cond]:
        """Yield every single comparison in it."""
        raise NotImplementedError

    def __and__(self, other: Expr) -> Expr:
        return And((self, other))

    def __or__(self, other: Expr) -> Expr:
        return Or((self, other))

    def __invert__(self) -> Expr:
        return Not(self)


@dataclass(frozen=True)
class Cond(Expr):
    """One comparison: `op` is one of OPERATORS, `value` a list for in and nin, a pair for between."""

    column: str
    op: str
    value: Any

    def conditions(self) -> Iterator[Cond]:
        yield self


@dataclass(frozen=True)
class _Parts(Expr):
    parts: tuple[Expr, ...]

    def conditions(self) -> Iterator[Cond]:
        for part in self.parts:
            yield from part.conditions()


class And(_Parts):
    """All of `parts` match; without parts every row does."""


class Or(_Parts):
    """At least one of `parts` matches."""


@dataclass(frozen=True)
class Not(Expr):
    """`part` does not match."""

    part: Expr

    def conditions(self) -> Iterator[Cond]:
        return self.part.conditions()


class Q:
    """Filters that can be combined: `Q(a=1) | ~Q(b__gt=2, c__isnull=True)`.

    Several filters in one Q must all match. The names are understood when the Q is used, since only then
    the labels of the dataset are known.
    """

    def __init__(self, **filters: Any) -> None:
        self._tree: tuple[str, Any] = ("filters", filters)

    def __and__(self, other: Q) -> Q:
        return self._join("and", other)

    def __or__(self, other: Q) -> Q:
        return self._join("or", other)

    def __invert__(self) -> Q:
        if self._is_empty:
            raise InvalidInput("an empty Q matches every row, so ~Q() would match none")
        return self._of("not", (self,))

    def _join(self, how: str, other: Q) -> Q:
        if not isinstance(other, Q):
            raise InvalidInput(f"a Q combines with another Q, not with {type(other).__name__}")
        if self._is_empty or other._is_empty:
            return other if self._is_empty else self
        return self._of(how, (self, other))

    @property
    def _is_empty(self) -> bool:
        return self._tree == ("filters", {})

    @classmethod
    def _of(cls, how: str, parts: tuple[Q, ...]) -> Q:
        made = cls()
        made._tree = (how, parts)
        return made

    def __repr__(self) -> str:
        how, content = self._tree
        if how == "filters":
            return f"Q({', '.join(f'{k}={v!r}' for k, v in content.items())})"
        if how == "not":
            return f"~{content[0]!r}"
        return "(" + (" & " if how == "and" else " | ").join(map(repr, content)) + ")"

    def expr(self, labels: Container[str] | None = None) -> Expr:
        """Return the tree of conditions; `labels` as in `where`."""
        how, content = self._tree
        if how == "filters":
            conds = tuple(parse(key, value, labels) for key, value in content.items())
            return conds[0] if len(conds) == 1 else And(conds)
        parts = tuple(part.expr(labels) for part in content)
        return Not(parts[0]) if how == "not" else And(parts) if how == "and" else Or(parts)


def where(
    q: Q | Expr | None, filters: Mapping[str, Any] | None = None, labels: Container[str] | None = None
) -> Expr | None:
    """Return the condition that `q` and all of `filters` match, or None if there is none.

    Args:
        labels: the column names as text, or `Labels`. With them `a__b=1` finds a column labelled
            `a__b`; without them such a column is written `a__b__eq=1`.
    Raises: InvalidInput for an unknown operator or a value that the operator cannot use.
    """
    parts: list[Expr] = []
    if isinstance(q, Q):
        parts.extend([] if q._is_empty else [q.expr(labels)])
    elif isinstance(q, Expr):
        parts.append(q)
    elif q is not None:
        raise InvalidInput(f"q must be a Q, not {type(q).__name__}", hint="for example q=om.Q(x__gt=5)")
    parts.extend(parse(key, value, labels) for key, value in (filters or {}).items())
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def parse(key: str, value: Any, labels: Container[str] | None = None) -> Cond:
    """Return the condition of one filter `column__operator=value`; without an operator it is `eq`."""
    column, separator, op = key.rpartition("__")
    if not separator or not column or (op not in OPERATORS and labels is not None and key in labels):
        return _cond(key, "eq", value)
    if op not in OPERATORS:
        near = difflib.get_close_matches(op.lower(), OPERATORS, 1)
        meant = f"did you mean {column}__{near[0]}? " if near else f"operators are {', '.join(OPERATORS)}; "
        raise InvalidInput(
            f"unknown operator {op!r} in filter {key!r}",
            hint=f"{meant}a column labelled {key!r} is asked for as {key}__eq",
        )
    if labels is not None and column not in labels and key in labels:
        return _cond(key, "eq", value)
    return _cond(column, op, value)


def _cond(column: str, op: str, value: Any) -> Cond:
    if op in ("in", "nin", "between"):
        value = _listed(value, column, op)
        if op == "between" and (len(value) != 2 or any(is_missing(v) for v in value)):
            raise InvalidInput(f"{column}__between takes two values, the lowest and the highest")
    elif op == "isnull":
        words = {"true": True, "1": True, "false": False, "0": False}
        value = words.get(str(value).lower())
        if value is None:
            raise InvalidInput(f"{column}__isnull takes true or false")
    elif op in TEXT_OPERATORS:
        if not isinstance(value, str):
            raise InvalidInput(f"{column}__{op} takes a text, not {type(value).__name__}")
    elif is_missing(value):
        if op not in ("eq", "ne"):
            raise InvalidInput(f"{column}__{op} needs a value to compare with, not {value!r}")
        return Cond(column, "isnull", op == "eq")
    return Cond(column, op, value)


def _listed(value: Any, column: str, op: str) -> list[Any]:
    if isinstance(value, str):
        return value.split(",")
    if isinstance(value, Mapping | bytes) or not hasattr(value, "__iter__"):
        raise InvalidInput(f"{column}__{op} takes a list of values, not {type(value).__name__}")
    return list(value)


def is_missing(value: Any) -> bool:
    """Tell whether a single value is None, NaN, NaT or NA."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, complex):
        return value != value
    return type(value).__name__ in ("NAType", "NaTType") or (
        getattr(getattr(value, "dtype", None), "kind", "") in "fcmM"
        and getattr(value, "shape", None) == ()
        and bool(value != value)
    )


def mask(expr: Expr, column: Column) -> pa.BooleanArray:
    """Return which rows match, without nulls.

    Args:
        column: gives the Arrow array of a column, by the name the user typed, and its type.
    Raises: InvalidInput for a value that cannot be compared with the column.
    """
    import pyarrow.compute as pc

    if isinstance(expr, Cond):
        from omegaml.matching import match

        return match(expr, *column(expr.column))
    if isinstance(expr, Not):
        return pc.invert(mask(expr.part, column))
    if not isinstance(expr, And | Or) or not expr.parts:
        raise InvalidInput("an empty Q matches every row: leave it out")
    combine = pc.and_ if isinstance(expr, And) else pc.or_
    result = mask(expr.parts[0], column)
    for part in expr.parts[1:]:
        result = combine(result, mask(part, column))
    return result


def outlook(expr: Expr, stats: Stats, n: int) -> list[tuple[bool, bool]]:
    """Tell for each of `n` chunks whether rows of it can match, and whether rows can fail to.

    Both are True where that is not known.

    Args:
        stats: gives the lowest and highest values and the numbers of nulls of a column, one per chunk, and
            its type; None if there are none.
    """
    if isinstance(expr, Cond):
        from omegaml.matching import outlook as of_one

        found = stats(expr.column)
        return [(True, True)] * n if found is None else of_one(expr, *found)
    if isinstance(expr, Not):
        return [(fail, can) for can, fail in outlook(expr.part, stats, n)]
    parts = [outlook(part, stats, n) for part in getattr(expr, "parts", ())]
    both = []
    for i in range(n):
        cans, fails = [p[i][0] for p in parts], [p[i][1] for p in parts]
        both.append((all(cans), any(fails)) if isinstance(expr, And) else (any(cans), all(fails)))
    return both


def to_mongo(expr: Expr, field: Callable[[str], str]) -> dict[str, Any]:
    """Return `expr` as a MongoDB filter document.

    Args:
        field: gives the name of the field that holds a column. Where that is a `rows.Field`, the condition is
            fitted to the column's type, and a value that does not compare with it refused.
    Source: operators as in https://www.mongodb.com/docs/manual/reference/operator/query/
    """
    if isinstance(expr, Not):
        return {"$nor": [to_mongo(expr.part, field)]}
    if isinstance(expr, And | Or):
        if not expr.parts:
            return {}
        word = "$and" if isinstance(expr, And) else "$or"
        return {word: [to_mongo(part, field) for part in expr.parts]}
    if not isinstance(expr, Cond):
        raise InvalidInput(f"{type(expr).__name__} is not a filter")
    name = field(expr.column)
    ctype = getattr(name, "type", None)
    if ctype is not None:
        from omegaml.rowquery import query

        return query(expr, name, ctype)
    return {name: _mongo_test(expr.op, expr.value)}


def _mongo_test(op: str, value: Any) -> dict[str, Any]:
    if op == "isnull":
        # $in with None also matches a field that is not there
        return {"$in" if value else "$nin": [None, math.nan]}
    if op == "between":
        return {"$gte": _bson(value[0]), "$lte": _bson(value[1])}
    if op in ("in", "nin"):
        values = [_bson(v) for v in value if not is_missing(v)]
        return {f"${op}": [*values, None, math.nan] if len(values) < len(value) else values}
    if op in TEXT_OPERATORS:
        return {"$regex": text_pattern(op, value)}
    return {f"${op}": _bson(value)}


def text_pattern(op: str, value: str) -> str:
    """Return one of TEXT_OPERATORS as a regular expression for the server, which takes no NUL in it."""
    pattern = (value if op == "regex" else re.escape(value)).replace("\0", r"\x00")
    return ("^" if op == "startswith" else "") + pattern + (r"\z" if op == "endswith" else "")


def _bson(value: Any) -> Any:
    """Return what BSON has for a value of numpy or pandas."""
    if hasattr(value, "to_pydatetime"):
        # in UTC: the driver would be an hour out where the clock is put back
        return (value if value.tz is None else value.tz_convert("UTC")).to_pydatetime(warn=False)
    if getattr(getattr(value, "dtype", None), "kind", "") == "M":
        import pandas as pd

        return pd.Timestamp(value).to_pydatetime(warn=False)
    if isinstance(value, date) and not hasattr(value, "hour"):
        from datetime import datetime

        return datetime(value.year, value.month, value.day)
    return value.item() if hasattr(value, "item") else value


class Labels:
    """The names by which a dataset's columns can be asked for, as `labels` of `where`.

    Args:
        find: returns where the column of a name is; raises NotFound where there is none.
    """

    def __init__(self, find: Callable[[str], Any]) -> None:
        self._find = find

    def __contains__(self, text: object) -> bool:
        try:
            self._find(str(text))
        except NotFound:
            return False
        except Mismatch:  # more than one column has this name
            return True
        return True
