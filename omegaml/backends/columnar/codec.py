"""Frames, series and Arrow tables as stored columns, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from bson.errors import BSONError

from omegaml.backends import cells
from omegaml.backends.base import Table, check_type
from omegaml.backends.columnar.chunks import MISSHAPEN, whole
from omegaml.backends.columnar.schema import IndexSpec, Schema
from omegaml.backends.columnar.types import ColumnType, arrow_type, type_of
from omegaml.backends.columnar.values import (
    as_type,
    freqs_of,
    from_arrow,
    index_doc,
    index_from_doc,
    levels_of,
    objects,
    places,
    plain,
    row_index,
    to_arrow,
)
from omegaml.errors import Corrupt, InvalidInput, NotStorable

Array: TypeAlias = pa.Array | pa.ChunkedArray
Columns: TypeAlias = Sequence[Sequence[pa.Array]]


def encode(obj: Any) -> Table:
    """Return a pandas frame or series, an Arrow table, or a polars frame or series as columns.

    Types are settled here; values are converted when the storage asks for them.

    Raises NotStorable, naming the column, for a dtype that would not come back equal; so does the table's
    `column` for a cell.
    """
    if isinstance(obj, pd.DataFrame | pd.Series):
        check_type(obj, pd.DataFrame, pd.Series)
    if isinstance(obj, pd.DataFrame):
        columns: list[Any] = [column.array for _, column in obj.items()]
        return _pandas(obj, "frame", obj.columns, columns)
    if isinstance(obj, pd.Series):
        return _pandas(obj, "series", pd.Index([obj.name], dtype=object, tupleize_cols=False), [obj.array])
    if isinstance(obj, pa.Table):
        return _arrow(obj, "arrow", {"schema": obj.schema.serialize().to_pybytes()})
    if type(obj).__module__.startswith("polars."):
        return _polars(obj)
    raise NotStorable(f"a {type(obj).__qualname__} is not a table")


def decode(
    schema: Schema,
    columns: Columns,
    rows: int,
    positions: np.ndarray | None = None,
    as_: str | None = None,
) -> Any:
    """Return the object that has these values.

    Args:
        schema: of exactly the given columns (`Schema.select`).
        columns: for each stored column its chunks, in order; `rows` values in all.
        positions: the row numbers that were selected, if not all.
        as_: "pandas", "arrow" or "polars" instead of what was put.
    Raises: InvalidInput (another `as_`), Corrupt (values that the types do not have).
    """
    home = {"frame": "pandas", "series": "pandas"}.get(schema.container, schema.container)
    if (as_ or home) == "pandas":
        if home == "pandas":
            with _of_their_types():
                return _to_pandas(schema, columns, rows, positions)
        return _to_arrow(schema, columns, rows).to_pandas()
    if as_ not in (None, "arrow", "polars"):
        raise InvalidInput(f"a table cannot be read as {as_!r}", hint="use pandas, arrow or polars")
    if (as_ or home) == "arrow":
        with _of_their_types():
            return _to_arrow(schema, columns, rows)
    return _to_polars(schema, columns, rows)


@contextmanager
def _of_their_types() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, BSONError, *MISSHAPEN) as error:
        raise Corrupt(f"the values are not those of the columns' types: {error}") from error


def adapt(table: Table, schema: Schema) -> Table:
    """Return `table` in the types of `schema`, which `Schema.extend` made: category codes are renumbered."""
    changed = [a != b for a, b in zip(table.schema.types, schema.types, strict=True)]
    if not any(changed):
        return table

    def column(i: int, start: int = 0, stop: int | None = None) -> Array:
        array = table.column(i, start, stop)
        return _renumber(array, table.schema.types[i], schema.types[i]) if changed[i] else array

    return Table(replace(table.schema, types=schema.types), table.rows, column)


def _pandas(obj: Any, container: str, labels: pd.Index, columns: list[Any]) -> Table:
    index = obj.index
    if isinstance(index, pd.RangeIndex):
        spec = IndexSpec(names=(index.name,), range=(int(index.start), int(index.step)))
    else:
        multi = isinstance(index, pd.MultiIndex)
        levels = levels_of(index)
        freqs = _named("index", freqs_of, index)
        spec = IndexSpec(names=tuple(index.names), freqs=freqs, multi=multi)
        columns = columns + levels
    flags = {} if obj.flags.allows_duplicate_labels else {"allows_duplicate_labels": False}
    names = [repr(label) for label in labels] + [f"index {name!r}" for name in spec.names]
    types = tuple(_named(name, type_of, values) for name, values in zip(names, columns, strict=False))
    schema = Schema(container, labels, types, spec, dict(obj.attrs), flags)
    for name in [*spec.names, *labels.names]:
        _named("index name", cells.tag, name, cells.INLINE_LEVELS)
    _named("attrs", cells.tag, schema.attrs)
    _named("columns", index_doc, labels)
    schema.check_size()

    def column(i: int, start: int = 0, stop: int | None = None) -> Array:
        values = columns[i] if start == 0 and stop is None else columns[i][start:stop]
        return _named(names[i], to_arrow, values, types[i])

    return Table(schema, len(obj), column)


def _named(name: str, function: Any, *args: Any) -> Any:
    try:
        return function(*args)
    except NotStorable as error:
        where = name if name in ("attrs", "columns", "index name") else f"column {name}"
        raise NotStorable(f"{where}: {error.message}", hint=error.hint) from None


def _arrow(table: pa.Table, container: str, flags: dict[str, Any]) -> Table:
    labels = pd.Index(table.column_names, dtype=object)
    types = tuple(arrow_type(field.type) for field in table.schema)

    def column(i: int, start: int = 0, stop: int | None = None) -> Array:
        return table.column(i)[start:stop]

    return Table(Schema(container, labels, types, flags=flags), table.num_rows, column)


def _polars(obj: Any) -> Table:
    import polars as pl

    series = isinstance(obj, pl.Series)
    if not isinstance(obj, (pl.DataFrame, pl.Series)):
        raise NotStorable(f"a polars {type(obj).__qualname__} is not a table", hint="collect() it first")
    frame: Any = obj.to_frame() if isinstance(obj, pl.Series) else obj
    for name, dtype in frame.schema.items():
        if dtype == pl.Object:
            raise NotStorable(f"column {name!r}: polars objects cannot be stored exactly")
        if "\0" in name:  # polars itself panics
            raise NotStorable(f"column {name!r}: a name with a NUL has no form in Arrow")
    table = frame.to_arrow()
    if pl.DataFrame(pl.from_arrow(table.slice(0, 0))).schema != frame.schema:
        hint = "cast it, or store frame.to_arrow()"
        raise NotStorable("a polars dtype of this frame does not survive Arrow", hint=hint)
    return _arrow(table, "polars", {"series": series})


def _to_pandas(schema: Schema, columns: Columns, rows: int, positions: np.ndarray | None) -> Any:
    values = [from_arrow(parts, type_, rows) for parts, type_ in zip(columns, schema.types, strict=True)]
    index = _index(schema, values[schema.width :], rows, positions)
    made = [_series(array, index) for array in values[: schema.width]]
    if schema.container == "series":
        result: Any = made[0]
        result.name = schema.labels[0]
    else:
        # without a copy every column stays the array it was read into
        result = pd.DataFrame(dict(enumerate(made)), index=index, copy=False)
        result.columns = schema.labels
    result.attrs.update(schema.attrs)
    if schema.flags.get("allows_duplicate_labels") is False:
        result.flags.allows_duplicate_labels = False
    return result


def _series(values: Any, index: pd.Index) -> pd.Series:
    # the dtype is given because pandas 3 would take an object array of text for its string dtype
    return pd.Series(values, index=index, dtype=values.dtype, copy=False)


def _index(schema: Schema, levels: list[Any], rows: int, positions: np.ndarray | None) -> pd.Index:
    spec = schema.index
    if spec.range is not None:
        start, step = spec.range
        if positions is None:
            return pd.RangeIndex(start, start + rows * step, step, name=spec.names[0])
        return pd.Index(np.asarray(positions, np.int64) * step + start, name=spec.names[0])
    if not spec.names:
        return pd.RangeIndex(rows)
    # a choice of the rows may follow another frequency, or none
    freqs = spec.freqs if spec.multi or positions is None else ()
    return row_index(levels, spec.names, freqs, spec.multi)


def _to_arrow(schema: Schema, columns: Columns, rows: int) -> pa.Table:
    if schema.container in ("arrow", "polars"):
        arrays = [as_type(parts, type_.arrow) for parts, type_ in zip(columns, schema.types, strict=True)]
        table = pa.Table.from_arrays(arrays, names=list(schema.labels))
        if "schema" not in schema.flags:
            return table
        full = pa.ipc.read_schema(pa.py_buffer(schema.flags["schema"]))
        fields = [
            full.field(name) if full.names.count(name) == 1 else table.field(i)
            for i, name in enumerate(table.column_names)
        ]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=full.metadata))
    names = [schema.label(i) for i in range(len(schema.types))]
    arrays = [_shown(parts, type_, rows) for parts, type_ in zip(columns, schema.types, strict=True)]
    return pa.Table.from_arrays(arrays, names=names)


def _shown(parts: Sequence[pa.Array], type_: ColumnType, rows: int) -> pa.ChunkedArray:
    """Return a pandas column as other tools know it: categories by value, text as text."""
    p = type_.params
    if type_.kind == "datetime_tz":
        zone = pa.timestamp(p["unit"], _zone_name(cells.untag_tz(p["tz"])))
        return pa.chunked_array([part.cast(zone) for part in parts], type=zone)
    if type_.kind == "category":
        categories = index_from_doc(p["categories"])
        words = pa.array(categories) if len(categories) else pa.nulls(0, pa.large_string())
        words = whole(words)
        made = [pa.DictionaryArray.from_arrays(part, words, ordered=p["ordered"]) for part in parts]
        return pa.chunked_array(made, type=pa.dictionary(type_.arrow, words.type, p["ordered"]))
    if type_.kind == "object":
        return _shown_objects(parts)
    if type_.kind in ("complex", "period"):
        return _as_text(list(from_arrow(parts, type_, rows)))
    return as_type(parts, type_.arrow)


def _shown_objects(parts: Sequence[pa.Array]) -> pa.ChunkedArray:
    arrays = [plain(part) for part in parts]
    kinds = [array.type for array in arrays]  # no set: an extension type has no hash
    if kinds and all(kind == kinds[0] for kind in kinds) and not isinstance(kinds[0], pa.ExtensionType):
        return pa.chunked_array(arrays)
    if all(kind in (pa.string(), pa.large_string()) for kind in kinds):
        return pa.chunked_array([array.cast(pa.large_string()) for array in arrays], type=pa.large_string())
    listed = [value for part in parts for value in objects(part)]
    try:
        return pa.chunked_array([pa.array(listed, from_pandas=True)])
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return _as_text(listed)


def _as_text(listed: list[Any]) -> pa.ChunkedArray:
    texts = [None if value is None or value is pd.NaT else str(value) for value in listed]
    return pa.chunked_array([pa.array(texts, pa.large_string())])


def _zone_name(zone: Any) -> str:
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    if name:
        return str(name)
    offset = zone.utcoffset(None)
    if offset is None:
        return cells.tag_tz(zone).get("name") or "UTC"
    minutes = int(offset.total_seconds()) // 60
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}" if minutes else "UTC"


def _to_polars(schema: Schema, columns: Columns, rows: int) -> Any:
    try:
        import polars as pl
    except ImportError:
        hint = "pip install polars, or read with as_='arrow'"
        raise InvalidInput("polars is not installed", hint=hint) from None
    frame = pl.DataFrame(pl.from_arrow(_to_arrow(schema, columns, rows)))
    return frame.to_series() if schema.flags.get("series") else frame


def _renumber(array: Array, old: ColumnType, new: ColumnType) -> pa.Array:
    was, now = (index_from_doc(t.params["categories"]) for t in (old, new))
    moved = np.append(places(now, was), -1)
    codes = moved[from_arrow([whole(array)], old, len(array)).codes]
    return pa.array(codes, type=new.arrow, mask=codes < 0)
