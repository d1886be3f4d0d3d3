"""What a stored table is: its columns' labels and types, its index, and how to append to it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import bson
import pandas as pd

from omegaml.backends import cells
from omegaml.backends.columnar.types import ColumnType
from omegaml.backends.columnar.values import index_doc, index_from_doc, places
from omegaml.errors import Mismatch, NotFound, NotStorable

__all__ = ["ColumnType", "IndexSpec", "Schema"]

#: MongoDB's documents have 16 MB; beside the schema there are the manifest and what users attach.
LIMIT = 12 << 20


@dataclass(frozen=True)
class IndexSpec:
    """The row labels: a range (`range`: its start and step), or stored columns, one per level.

    `names` has one name per level, of any type; `freqs` are those of levels of dates; `multi` tells a
    MultiIndex of one level from a plain index. Without names there is no index at all (Arrow, polars).
    """

    names: tuple[Any, ...] = ()
    range: tuple[int, int] | None = None
    freqs: tuple[str | None, ...] = ()
    multi: bool = False

    @property
    def levels(self) -> int:
        """The number of stored columns that hold the index."""
        return 0 if self.range is not None else len(self.names)

    def to_doc(self) -> dict[str, Any]:
        """Return the index as a BSON-able document."""
        names = [cells.tag(name) for name in self.names]
        numbers = None if self.range is None else list(self.range)
        return {"names": names, "range": numbers, "freqs": list(self.freqs), "multi": self.multi}

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> IndexSpec:
        """Return the index that `to_doc` wrote."""
        names = tuple(cells.untag(name) for name in doc["names"])
        numbers = None if doc["range"] is None else (int(doc["range"][0]), int(doc["range"][1]))
        return cls(names, numbers, tuple(doc["freqs"]), doc["multi"])


@dataclass(frozen=True, eq=False)
class Schema:
    """A stored table without its values.

    Attributes:
        container: "frame", "series", "arrow" or "polars": what was put and comes back.
        labels: the labels of the data columns, in order; of any type, and not always distinct.
        types: one per stored column: the data columns, then the index levels.
        index: the row labels.
        attrs: pandas' `attrs`.
        flags: what else the container needs to come back equal.
    """

    container: str
    labels: pd.Index
    types: tuple[ColumnType, ...]
    index: IndexSpec = IndexSpec()
    attrs: dict[Any, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """The number of data columns."""
        return len(self.labels)

    def to_doc(self) -> dict[str, Any]:
        """Return the schema as a BSON-able document."""
        return {
            "container": self.container,
            "labels": index_doc(self.labels),
            "types": [type_.to_doc() for type_ in self.types],
            "index": self.index.to_doc(),
            "attrs": cells.encode(dict(self.attrs)),
            "flags": dict(self.flags),
        }

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> Schema:
        """Return the schema that `to_doc` wrote."""
        return cls(
            container=doc["container"],
            labels=index_from_doc(doc["labels"]),
            types=tuple(ColumnType.from_doc(type_) for type_ in doc["types"]),
            index=IndexSpec.from_doc(doc["index"]),
            attrs=cells.decode(doc["attrs"]),
            flags=dict(doc["flags"]),
        )

    def label(self, position: int) -> str:
        """Return what to call a stored column in a message."""
        if position < self.width:
            return str(self.labels[position])
        name = self.index.names[position - self.width]
        return "index" if name is None else str(name)

    def find(self, text: str) -> int:
        """Return the position of the stored column that `text` names.

        That is the data column with exactly this label, else the one whose label reads like it, else the
        index level of this name; "index" is an unnamed single index.

        Raises: NotFound, naming what is near; Mismatch where several columns fit.
        """
        found = [i for i, label in enumerate(self.labels) if type(label) is str and label == text]
        found = found or [i for i, label in enumerate(self.labels) if str(label) == text]
        if len(found) > 1:
            raise Mismatch(f"{len(found)} columns are called {text!r}", hint="rename them to tell them apart")
        if found:
            return found[0]
        for level in range(self.index.levels):
            name = self.index.names[level]
            if (name is not None and str(name) == text) or (name is None and text == "index"):
                return self.width + level
        known = [self.label(i) for i in range(len(self.types))]
        near = difflib.get_close_matches(text, known, n=3) or known[:5]
        raise NotFound(f"there is no column {text!r}", hint=f"columns like it: {', '.join(near) or 'none'}")

    def select(self, positions: Sequence[int]) -> Schema:
        """Return the schema of these data columns, in this order, with the index."""
        positions = list(positions)
        types = tuple(self.types[i] for i in positions) + self.types[self.width :]
        labels = self.labels.take(positions) if positions != list(range(self.width)) else self.labels
        return replace(self, labels=labels, types=types)

    def check_size(self) -> None:
        """Raise NotStorable where the table's description would not fit into one document."""
        heavy = [
            (len(t.params["categories"].get("data", b"")), i)
            for i, t in enumerate(self.types)
            if "categories" in t.params
        ]
        if sum(size for size, _ in heavy) + 200 * len(self.types) < LIMIT:
            return
        if len(bson.encode(self.to_doc())) < LIMIT:
            return
        size, at = max(heavy, default=(0, 0))
        if size < LIMIT // 4:
            raise NotStorable(
                f"a table of {self.width:,} columns does not fit one document",
                hint="store it in parts, or transposed",
            )
        raise NotStorable(
            f"column {self.label(at)!r} has {self.types[at].params['size']:,} categories: too many to store",
            hint="store it without categories, for example .astype(str)",
        )

    def extend(self, other: Schema, rows: int | None = None) -> Schema:
        """Return the schema after rows of `other` are appended to `rows` that are there.

        Unordered categories may grow; `adapt` (of `codec`) then brings the new rows to the result. A range
        index goes on where the new rows have a default one, one that starts alike, or, if `rows` is given,
        one that starts behind the last row.

        Raises Mismatch, naming the first column that differs.
        """
        if self.container != other.container:
            raise Mismatch(f"a {other.container} cannot be appended to a {self.container}")
        self._same_labels(other, rows)
        types = []
        for i, (mine, new) in enumerate(zip(self.types, other.types, strict=True)):
            merged = _merge(mine, new)
            if merged is None:
                what = "column" if i < self.width else "index"
                raise Mismatch(f"{what} {self.label(i)!r} is {mine} and cannot take rows of {new}")
            types.append(merged)
        extended = replace(self, types=tuple(types), index=replace(self.index, freqs=()))
        extended.check_size()
        return extended

    def _same_labels(self, other: Schema, rows: int | None) -> None:
        mine, new = list(self.labels), list(other.labels)
        for i, (a, b) in enumerate(zip(mine, new, strict=False)):
            if (type(a), str(a)) != (type(b), str(b)):
                raise Mismatch(f"column {i + 1} is {a!r} in the dataset and {b!r} in the new rows")
        if len(mine) != len(new):
            more = len(mine) > len(new)
            label = (mine if more else new)[min(len(mine), len(new))]
            raise Mismatch(f"the {'new rows lack' if more else 'dataset lacks'} column {label!r}")
        a, b = self.index, other.index
        if (a.levels, a.multi, a.range is None) != (b.levels, b.multi, b.range is None):
            raise Mismatch(f"the dataset has {_kind(a)} and the new rows have {_kind(b)}")
        follows = None if a.range is None or rows is None else (a.range[0] + rows * a.range[1], a.range[1])
        if a.range is not None and b.range not in (a.range, (0, 1), follows):
            raise Mismatch(f"the dataset's index is the range {a.range}, which {b.range} does not go on from")
        if list(map(repr, a.names)) != list(map(repr, b.names)):
            raise Mismatch(f"the index is called {a.names} in the dataset and {b.names} in the new rows")


def _kind(index: IndexSpec) -> str:
    if index.range is not None:
        return "a range index"
    if index.multi:
        return f"a MultiIndex of {index.levels} levels"
    return "an index column" if index.levels else "no index"


def _merge(mine: ColumnType, new: ColumnType) -> ColumnType | None:
    if mine == new:
        return mine
    if mine.kind == new.kind == "category" and mine.params["ordered"] == new.params["ordered"]:
        old, more = (index_from_doc(t.params["categories"]) for t in (mine, new))
        if mine.params["ordered"]:
            # another version may have stored the same ones in other bytes
            alike = old.identical(more) and [*map(type, old)] == [*map(type, more)]
            return mine if alike else None
        if not len(more):
            return mine
        if not len(old):
            return new
        if old.dtype == more.dtype:
            # the old ones stay in front, so that stored codes keep their meaning
            both = old.append(more[places(old, more) < 0])
            known = both[places(both, more)]
            # 1 and True are equal, and neither stands for the other
            if old.dtype != "object" or [*map(type, known)] == [*map(type, more)]:
                params = {**mine.params, "size": len(both), "categories": index_doc(both)}
                return ColumnType("category", params)
    return None
