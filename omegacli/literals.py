"""Values typed on the command line: `5` is a number, `'5'` a text, `x__gt=5` a filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaml.errors import InvalidInput
from omegaml.literals import scalar

_LISTS = ("in", "nin", "between")


def value(text: str) -> Any:
    """Return what `text` means.

    Numbers, true, false, null and dates (2026-01-31, 2026-01-31T10:00Z) are what they look like; a Python
    list, dict, tuple or quoted text is that; everything else is the text itself.
    """
    if text[:1] in "'\"[{(" and text:
        import ast

        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text
    return scalar(text)


def pairs(texts: Sequence[str] | None, flag: str) -> dict[str, Any]:
    """Return `K=V` arguments of a repeatable flag. Raises InvalidInput naming the flag and what is wrong."""
    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, typed = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{flag} {text!r} is not of the form NAME=VALUE")
        if name in found:
            raise InvalidInput(f"{flag} {name} is given twice")
        # a separator is the character that was typed, or its usual escape
        found[name] = "\t" if typed == r"\t" else value(typed)
    return found


def filters(texts: Sequence[str] | None) -> dict[str, Any]:
    """Return filters as `get` takes them: `x__gt=5`, `city__in=Bern,Basel`, `x__between=1,5`.

    Raises: InvalidInput for what is no filter, or a filter given twice.
    """
    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, typed = text.partition("=")
        if not equals or not name:
            raise InvalidInput(
                f"--filter {text!r} is not of the form COLUMN__OPERATOR=VALUE", hint="as --filter 'x__gt=5'"
            )
        if name in found:
            raise InvalidInput(f"--filter {name} is given twice")
        operator = name.rpartition("__")[2]
        if "__" in name and operator in _LISTS and not typed.startswith(("[", "(")):
            found[name] = [value(part.strip()) for part in typed.split(",")]
        elif "__" in name and operator in ("contains", "startswith", "endswith", "regex"):
            found[name] = typed
        else:
            found[name] = value(typed)
    return found


def names(text: str | None) -> list[str] | None:
    """Return a comma-separated list of names, None where nothing was given."""
    if text is None:
        return None
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise InvalidInput("--columns names no column", hint="as --columns a,b")
    return found
