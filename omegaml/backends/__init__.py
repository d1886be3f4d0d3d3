"""Which backend stores which object: a table of names, imported when one is used.

An installed package adds kinds with entry points of the group `omegaml.backends`: each names a backend
class, which may carry `prefixes` (default `("data/",)`). They are looked up only when nothing built in fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from omegaml.errors import InvalidInput, NotStorable

if TYPE_CHECKING:
    from omegaml.backends.base import Backend


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    Attributes:
        kind: the name in metadata documents.
        name: what `format=` says.
        target: "module:Class".
        roots: packages one of which the object's type must come from; empty if any type may fit.
    """

    kind: str
    name: str
    target: str
    roots: tuple[str, ...] = ()


_COLUMNAR = "omegaml.backends.columnar.backend"
_ROWS = "omegaml.backends.rows"
_FILE = Entry("python.file", "file", "omegaml.backends.files:FileBackend")

#: Per prefix, in the order they are tried: the first that accepts an object stores it.
TABLE: dict[str, tuple[Entry, ...]] = {
    "data/": (
        Entry("pandas.dfcolumnar", "columnar", f"{_COLUMNAR}:FrameBackend", ("pandas",)),
        Entry("pandas.secolumnar", "columnar", f"{_COLUMNAR}:SeriesBackend", ("pandas",)),
        Entry("arrow.table", "columnar", f"{_COLUMNAR}:ArrowBackend", ("pyarrow",)),
        Entry("polars.frame", "columnar", f"{_COLUMNAR}:PolarsBackend", ("polars",)),
        Entry("pandas.dfrows", "rows", f"{_ROWS}:RowsBackend", ("pandas",)),
        Entry("pandas.serows", "rows", f"{_ROWS}:SeriesRowsBackend", ("pandas",)),
        Entry("ndarray.bin", "numpy", "omegaml.backends.arrays:ArrayBackend", ("numpy",)),
        Entry("python.data", "python", "omegaml.backends.python:PythonBackend"),
        _FILE,
    ),
    "models/": (
        Entry("model.joblib", "zstd", "omegaml.backends.models:ModelBackend"),
        Entry("sklearn.joblib", "joblib", "omegaml.backends.models:SklearnJoblibBackend"),
        Entry("sklearn.skops", "skops", "omegaml.backends.skops:SkopsBackend"),
    ),
    "jobs/": (Entry("script.ipynb", "notebook", "omegaml.backends.notebooks:NotebookBackend"), _FILE),
    "scripts/": (_FILE,),
}


def find(obj: object, prefix: str, format: str | None = None) -> Backend:
    """Return the backend that stores `obj` under `prefix` ("data/", "models/", ...).

    Args:
        format: the `name` of the backend to use; by default the first that accepts the object.
    Raises: InvalidInput (no such format or prefix), NotStorable (nothing accepts the object).
    """
    entries = TABLE.get(prefix)
    if entries is None:
        raise InvalidInput(f"there is no store {prefix!r}", hint="one of " + ", ".join(TABLE))
    roots = {base.__module__.partition(".")[0] for base in type(obj).__mro__}
    for entry in entries:
        if (format is None or entry.name == format) and (not entry.roots or roots.intersection(entry.roots)):
            backend = _load(entry.target)
            if backend.accepts(obj):
                return backend
    for backend in _plugins(prefix):
        if (format is None or backend.name == format) and backend.accepts(obj):
            return backend
    known = names(prefix)
    if format is not None and format not in known:
        raise InvalidInput(f"there is no format {format!r} in {prefix}", hint=_nearest(format, known))
    what = f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")
    if format is not None:
        raise NotStorable(f"format {format!r} does not store objects of type {what}")
    raise NotStorable(
        f"no format in {prefix} stores objects of type {what}",
        hint="store it as a frame, an array, plain Python data, bytes or a file",
    )


def by_kind(kind: str) -> Backend:
    """Return the backend that reads objects of `kind`, as their metadata names it. Raises InvalidInput."""
    for entries in TABLE.values():
        for entry in entries:
            if entry.kind == kind:
                return _load(entry.target)
    for backend in _plugins():
        if backend.kind == kind:
            return backend
    raise InvalidInput(f"no backend reads objects of kind {kind!r}", hint=_nearest(kind, kinds()))


def names(prefix: str) -> list[str]:
    """Return what `format=` may say under `prefix`, plugins included."""
    return list(dict.fromkeys([e.name for e in TABLE[prefix]] + [b.name for b in _plugins(prefix)]))


def kinds() -> list[str]:
    """Return every kind that can be read, plugins included."""
    built_in = [entry.kind for entries in TABLE.values() for entry in entries]
    return list(dict.fromkeys(built_in + [backend.kind for backend in _plugins()]))


@cache
def _load(target: str) -> Backend:
    module, _, name = target.partition(":")
    return cast("Backend", getattr(import_module(module), name)())


def _plugins(prefix: str | None = None) -> Iterator[Backend]:
    from importlib.metadata import entry_points

    for point in entry_points(group="omegaml.backends"):
        backend = _load(point.value)
        if prefix is None or prefix in getattr(backend, "prefixes", ("data/",)):
            yield backend


def _nearest(word: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=3)
    return "did you mean " + " or ".join(map(repr, near)) + "?" if near else "one of " + ", ".join(known)
