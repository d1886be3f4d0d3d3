"""The filter builder: what its form asks for, as filters of the store, of the REST API and of Python."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from django.http import QueryDict

from omegaml.errors import InvalidInput

OPERATORS = {
    "eq": "is",
    "ne": "is not",
    "gt": "is more than",
    "gte": "is at least",
    "lt": "is less than",
    "lte": "is at most",
    "in": "is one of (a,b,c)",
    "nin": "is none of (a,b,c)",
    "between": "is between (a,b)",
    "contains": "contains",
    "startswith": "begins with",
    "endswith": "ends with",
    "isnull": "is missing (true, false)",
}
_LISTS = ("in", "nin", "between")
_TEXTS = ("contains", "startswith", "endswith")


@dataclass(frozen=True)
class Condition:
    """One line of the form."""

    column: str = ""
    op: str = "eq"
    value: str = ""

    @property
    def key(self) -> str:
        """The filter's name. The operator is always said: a column may be called like a filter."""
        return f"{self.column}__{self.op}"

    @property
    def text(self) -> str:
        """The value; "is missing" without one means that it is."""
        return self.value or ("true" if self.op == "isnull" else "")


def asked(query: QueryDict) -> list[Condition]:
    """The conditions of the form, `?col=&op=&value=` over and over; lines without a column are left out."""
    lines = zip(query.getlist("col"), query.getlist("op"), query.getlist("value"), strict=False)
    return [Condition(*line) for line in lines if line[0]]


def filters(conditions: Sequence[Condition]) -> dict[str, str]:
    """What the store and the REST API take. Raises InvalidInput for an operator unknown or given twice."""
    found: dict[str, str] = {}
    for condition in conditions:
        if condition.op not in OPERATORS:
            raise InvalidInput(f"{condition.op!r} is no operator", hint=f"one of {', '.join(OPERATORS)}")
        if condition.key in found:
            what = f"“{condition.column} {OPERATORS[condition.op]}” is asked for twice"
            raise InvalidInput(what, hint="leave one of them out")
        found[condition.key] = condition.text
    return found


def literals(conditions: Sequence[Condition], dtypes: Mapping[str, Any]) -> dict[str, str]:
    """The same with the values as Python writes them for a column of that dtype."""
    return {c.key: _literal(c, dtypes.get(c.column)) for c in conditions}


def _literal(condition: Condition, dtype: Any) -> str:
    if condition.op == "isnull":
        return str(condition.text.lower() in ("true", "1"))
    if condition.op in _TEXTS:
        return json.dumps(condition.text, ensure_ascii=False)
    if condition.op in _LISTS:
        return f"[{', '.join(_one(part, dtype) for part in condition.text.split(','))}]"
    return _one(condition.text, dtype)


def _one(text: str, dtype: Any) -> str:
    kind = getattr(dtype, "kind", "O")
    if isinstance(dtype, pd.CategoricalDtype):
        kind = dtype.categories.dtype.kind
    if kind == "b" and text.lower() in ("true", "false"):
        return text.capitalize()
    if kind in "iuf":
        for number in (int, float):
            try:
                return repr(number(text))
            except ValueError:
                continue
    return json.dumps(text, ensure_ascii=False)
