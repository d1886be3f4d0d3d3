"""Which rows and columns a request asks for: `?x__gte=5&columns=x,y&sort=-x`.

Values come as text and are compared as what the column holds. Nothing of a request becomes part of a query as
it is: a filter is parsed, its column looked up, its operator one of `omegaml.query.OPERATORS`.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from django.http import QueryDict
from rest_framework.request import Request

from omegaml import filtervalues
from omegaml.errors import InvalidInput, NotFound
from omegaml.frame import LazyFrame
from omegaml.literals import scalar
from omegaml.query import TEXT_OPERATORS, And, Cond, Expr, Or, parse
from omegaml.rowframe import LazyRows

Lazy = LazyFrame | LazyRows

_LISTS = ("in", "nin", "between")


def selected(lazy: Lazy, request: Request) -> Lazy:
    """The rows and columns that are asked for. Raises InvalidInput naming the parameter."""
    asked, is_typed = request.query_params, request.headers.get(filtervalues.HEADER) == "json"
    for key in asked:
        if is_filter(key):
            values = asked.getlist(key)
            condition = _typed(key, values, lazy) if is_typed else _condition(key, values, lazy)
            lazy = lazy.filter(condition)
    lazy = _sorted(lazy, _labels(asked.getlist("sort"), lazy.names))
    columns = (_typed_labels if is_typed else _labels)(asked.getlist("columns"), lazy.names)
    if columns is None:
        return lazy
    for label in columns:
        _check_column("columns", label, lazy)
    return lazy.select(columns)


def is_filter(key: str) -> bool:
    return key not in filtervalues.RESERVED


def is_sorted(asked: QueryDict) -> bool:
    return bool(asked.get("sort"))


def is_filtered(asked: QueryDict) -> bool:
    return any(is_filter(key) for key in asked)


def _sorted(lazy: Lazy, keys: Sequence[str] | None) -> Lazy:
    if not keys:
        return lazy
    down = [key.startswith("-") and key not in lazy.names for key in keys]
    labels = [key[1:] if is_down else key for key, is_down in zip(keys, down, strict=True)]
    for label in labels:
        _check_column("sort", label, lazy)
    return lazy.sort(labels, [not is_down for is_down in down])


def _condition(key: str, values: Sequence[str], lazy: Lazy) -> Expr:
    operator = key.rpartition("__")[2]
    if len(values) > 1 and operator not in _LISTS:
        raise InvalidInput(f"filter {key} is given {len(values)} times", hint="give it once")
    # values with commas in them are given one by one: x__in=a&x__in=b
    condition = parse(key, list(values) if len(values) > 1 else values[0], lazy.names)
    _check_column(f"filter {key}", condition.column, lazy)
    if lazy.type_of(condition.column).kind != "object":
        return condition
    return _of_objects(condition)


def _typed(key: str, values: Sequence[str], lazy: Lazy) -> Expr:
    """A condition whose value says of what type it is: it means what it means in Python."""
    if len(values) > 1:
        raise InvalidInput(f"filter {key} is given {len(values)} times", hint="give it once")
    condition = parse(key, filtervalues.loads(key, values[0]), lazy.names)
    _check_column(f"filter {key}", condition.column, lazy)
    return condition


def _typed_labels(given: Sequence[str], names: Container[str]) -> list[str] | None:
    if not given:
        return None
    found = filtervalues.loads("columns", given[0])
    if len(given) > 1 or not isinstance(found, list) or not all(isinstance(c, str) for c in found):
        raise InvalidInput("columns is no list of names", hint='columns=["a", "b"]')
    return found


def _of_objects(condition: Cond) -> Expr:
    """A condition on a column of no one type: `5` means the number as well as the text."""
    column, op, value = condition.column, condition.op, condition.value
    if op in TEXT_OPERATORS or op == "isnull":
        return condition
    texts = value if op in _LISTS else [value]
    values = [scalar(text) for text in texts]
    if all(isinstance(v, str) or v is None for v in values):
        return condition
    if op in ("in", "nin"):
        return Cond(column, op, [*texts, *(v for v in values if not isinstance(v, str) and v is not None)])
    other = Cond(column, op, values if op == "between" else values[0])
    return And((condition, other)) if op == "ne" else Or((condition, other))


def _labels(given: Sequence[str], names: Container[str]) -> list[str] | None:
    """Names separated by commas, or each in a parameter of its own; None where none is given."""
    if not given:
        return None
    if len(given) > 1 or given[0] in names:
        return list(given)
    return [name.strip() for name in given[0].split(",") if name.strip()] or None


def _check_column(what: str, label: str, lazy: Lazy) -> None:
    try:
        lazy.type_of(label)
    except NotFound as error:
        raise InvalidInput(f"{what}: {error.message}", hint=error.hint) from None
