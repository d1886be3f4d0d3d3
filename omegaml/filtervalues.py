"""The values of filters as JSON that says of what type they are, for the way between two programs.

What JSON has no type for is an object of one key, as `{"bytes": "eA=="}`, of which nothing else is made.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from omegaml.errors import InvalidInput
from omegaml.query import is_missing

HEADER = "Filter-Values"
"""With the value `json` it says that the values of filters, and `columns`, are written so."""

#: Parameters of a dataset's route that are no filters; a column that is called so is asked for as limit__eq.
RESERVED = frozenset(
    ("name", "columns", "sort", "limit", "offset", "cursor", "orient", "format", "count", "append", "version")
)

_FORMS: tuple[tuple[type, Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    (bytes, lambda value: base64.b64encode(value).decode(), lambda text: base64.b64decode(text)),
    (Decimal, str, Decimal),
    (complex, lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    (dt.datetime, dt.datetime.isoformat, dt.datetime.fromisoformat),  # which is a date too
    (dt.date, dt.date.isoformat, dt.date.fromisoformat),
    (dt.time, dt.time.isoformat, dt.time.fromisoformat),
    (dt.timedelta, lambda v: [v.days, v.seconds, v.microseconds], lambda parts: dt.timedelta(*parts)),
)


def dumps(key: str, value: Any) -> str:
    """Return the value of the filter `key` as text. Raises InvalidInput where its type does not travel."""
    is_listed = hasattr(value, "__iter__") and not isinstance(value, str | bytes | Mapping)
    if is_listed and (key == "columns" or key.rpartition("__")[2] in ("in", "nin", "between")):
        value = list(value)
    return json.dumps(_plain(key, value), separators=(",", ":"))


def loads(key: str, text: str) -> Any:
    """Return what `dumps` was given, with a list for whatever was listed. Raises InvalidInput."""
    try:
        return json.loads(text, object_hook=_made)
    except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError):
        raise InvalidInput(f"filter {key}: {text[:60]!r} is no value", hint="send JSON") from None


def _plain(key: str, value: Any) -> Any:
    import numpy as np
    import pandas as pd

    if isinstance(value, np.generic):
        is_time = isinstance(value, np.datetime64 | np.timedelta64) and not is_missing(value)
        value = _of_numpy(value) if is_time else value.item()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float):
        return value
    if is_missing(value):
        return None
    if isinstance(value, pd.Timestamp | pd.Timedelta):  # to the nanosecond
        return {type(value).__name__: value.isoformat()}
    if isinstance(value, pd.Period):
        return {"Period": [str(value), value.freqstr]}
    for type_, form, _ in _FORMS:
        if isinstance(value, type_):
            return {type_.__name__: form(value)}
    if isinstance(value, list):
        return [_plain(key, item) for item in value]
    raise InvalidInput(f"filter {key}: a {type(value).__name__} does not travel", hint="give plain values")


def _of_numpy(value: Any) -> Any:
    import numpy as np
    import pandas as pd

    return pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value)


def _made(tagged: dict[str, Any]) -> Any:
    import pandas as pd

    ((tag, form),) = tagged.items()
    if tag in ("Timestamp", "Timedelta"):
        return getattr(pd, tag)(str(form))
    if tag == "Period":
        return pd.Period(form[0], freq=form[1])
    (made,) = (made for type_, _, made in _FORMS if type_.__name__ == tag)
    return made(form)
