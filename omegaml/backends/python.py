"""Plain Python data as BSON documents `{"data": value}`, the form upstream omegaml reads and writes.

Values that BSON keeps exactly are written as they are. A value with anything else in it (a tuple, a set, an
aware datetime, a big integer, keys that are not strings, ...) is written as tagged cells
(`omegaml.backends.cells`) and its document marked, so that it comes back with its exact types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bson

from omegaml.backends.base import Documents
from omegaml.errors import Corrupt, NotStorable

#: MongoDB's limit for a document, less room for the id and the keys around the value.
LIMIT = 16 * 1024 * 1024 - 1024
#: MongoDB takes 100 levels; two are the document and the list around the value.
MAX_DEPTH = 97
_MARK = "_om#cells"
_INT64 = range(-(2**63), 2**63)


class PythonBackend:
    """Dicts, lists, numbers, strings, dates, None and what is made of them."""

    kind, format, payload, name = "python.data", 1, Documents, "python"

    def accepts(self, obj: object) -> bool:
        if obj is None or isinstance(
            obj, list | tuple | set | frozenset | dict | str | bool | int | float | complex
        ):
            return True
        if isinstance(obj, bytes | bytearray | memoryview):
            return False
        module = type(obj).__module__.partition(".")[0]
        return module in ("datetime", "decimal", "uuid", "zoneinfo") or _is_numpy_scalar(obj)

    def encode(self, obj: Any) -> Documents:
        """Raises NotStorable (a value of another type; nested too deeply; more than 16 MB in one value)."""
        if type(obj) is list:
            return Documents(_split(obj), {"container": "list"})
        plain = _plain(obj)
        data = obj if plain else _tag(obj)
        if _size(data) > LIMIT:
            raise NotStorable(
                f"a {type(obj).__name__} of more than 16 MB does not fit one document",
                hint="store it as a list of parts, as a frame, or as a file",
            )
        return Documents([{"data": data} if plain else {"data": data, _MARK: True}], {"container": "one"})

    def decode(self, payload: Documents, format: int) -> Any:
        """Return the value; of documents that upstream wrote, the list of their data, as it does."""
        container = payload.meta.get("container")
        try:
            values = [_value(doc) for doc in payload.docs]
        except KeyError as e:
            raise Corrupt(f"a stored document of Python data has no {e.args[0]!r}") from e
        if container == "list":
            return [item for part in values for item in part]
        if container == "one":
            if len(values) != 1:
                raise Corrupt(f"one document of Python data was expected, {len(values)} are there")
            return values[0]
        return values


def _plain(value: object) -> bool:
    try:
        return _is_plain(value)
    except RecursionError:
        return False  # cells refuses it


def _value(doc: Mapping[str, Any]) -> Any:
    return _untag(doc["data"]) if doc.get(_MARK) else _exact(doc["data"])


def _is_plain(value: object) -> bool:
    """Tell whether BSON gives `value` back equal and of the same type, save for `_exact`."""
    kind = type(value)
    if value is None or kind is bool or kind is float or kind is bytes:
        return True
    if kind is int:
        return value in _INT64
    if isinstance(value, str) and kind is str:
        return _is_text(value)
    if isinstance(value, list) and kind is list:
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict) and kind is dict:
        return all(
            # the driver makes an object of its own of {"$ref": ...}
            type(k) is str and "\0" not in k and k != "$ref" and _is_text(k) and _is_plain(v)
            for k, v in value.items()
        )
    return False


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # lone surrogates
        return False
    return True


def _exact(value: Any) -> Any:
    """Turn the driver's 64-bit integers back into plain ones."""
    if isinstance(value, list):
        return [_exact(item) for item in value]
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    return int(value) if isinstance(value, int) and type(value) is not bool else value


def _split(items: Sequence[Any]) -> list[dict[str, Any]]:
    """Put the items into as few documents as hold them: one, unless they exceed MongoDB's limit."""
    plain = _plain(items)
    mark = {} if plain else {_MARK: True}
    stored = items if plain else [_tag(item) for item in items]
    if _size(stored) <= LIMIT:
        return [{"data": stored, **mark}]
    docs: list[dict[str, Any]] = []
    part: list[Any] = []
    room = LIMIT
    for data in stored:
        size = _size(data)
        if size > LIMIT:
            raise NotStorable(
                "a list item of more than 16 MB does not fit one document", hint="store it as a file"
            )
        if size > room:
            docs.append({"data": part, **mark})
            part, room = [], LIMIT
        part.append(data)
        room -= size
    return [*docs, {"data": part, **mark}]


def _size(data: Any) -> int:
    """Return the bytes that `data` takes in a BSON array. Raises NotStorable beyond MongoDB's nesting."""
    if _is_deeper(data, MAX_DEPTH):
        raise NotStorable(f"a value nested more than {MAX_DEPTH} levels deep cannot be stored")
    return len(bson.encode({"": data})) + 8  # an array's keys are the items' numbers, of at most 8 digits


def _is_deeper(data: Any, levels: int) -> bool:
    if not isinstance(data, list | dict):
        return False
    inner = data.values() if isinstance(data, dict) else data
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)


def _is_numpy_scalar(obj: object) -> bool:
    return any(base.__module__ == "numpy" and base.__name__ == "generic" for base in type(obj).__mro__)


def _tag(value: object) -> Any:
    from omegaml.backends import cells  # pandas and numpy: only for values that are not plain

    return cells.tag(value)


def _untag(value: Any) -> Any:
    from omegaml.backends import cells

    return cells.untag(value)
