"""Sharing datasets and models with other accounts; the commands of both nouns do it alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from omegacli import console
from omegaml.errors import InvalidInput

if TYPE_CHECKING:
    from omegaml.shared import Shared

RIGHTS = ("read", "write")
To = Annotated[str, typer.Option("--to", metavar="USER", help="The other account's userid.")]
Right = Annotated[str, typer.Option("--right", help="read, or write (which includes it).")]
SharedOnly = Annotated[bool, typer.Option("--shared", help="What others share with you instead.")]

_GIVEN = ["userid", "right", "granted"]
_HELD = ["name", "kind", "bucket", "right", "granted"]


def grant(store: Shared, name: str, to: str, right: str) -> None:
    """Let `to` use the object. Raises NotFound, InvalidInput, Unavailable."""
    if right not in RIGHTS:
        raise InvalidInput(f"there is no right {right!r}", hint="read or write")
    noun = store.noun
    if console.options.dry_run:
        console.plan(f"{noun}s.grant", f"let {to} {right} {noun} {name}", name=name, to=to, right=right)
        return
    made = store.grant(name, to, right)
    console.show(f"{noun}s.grant", made, text="")
    console.say(f"{to} may {right} {noun} {name}, as {made['name']}")


def revoke(store: Shared, name: str, to: str) -> None:
    """Take a grant back. Raises NotFound where there is none."""
    noun = store.noun
    if console.options.dry_run:
        console.plan(f"{noun}s.revoke", f"share {noun} {name} with {to} no more", name=name, to=to)
        return
    store.revoke(name, to)
    console.show(f"{noun}s.revoke", {"name": name, "userid": to}, text="")
    console.say(f"{noun} {name} is not shared with {to} any more")


def grants(store: Shared, name: str) -> None:
    """Show who may use the object."""
    console.show(f"{store.noun}s.grants", store.grants(name), columns=_GIVEN)


def held(store: Shared, pattern: str | None) -> None:
    """Show what others share with this account, whole buckets included."""
    import fnmatch

    found = [g for g in store.shared() if pattern is None or fnmatch.fnmatchcase(g["name"], pattern)]
    console.show(f"{store.noun}s.list.shared", found, columns=_HELD)
