"""Frames and series as row documents, in the layout that stock omegaml 0.18 reads and writes.

A document has the index levels as `_idx#<level>_<name or level>`, one field per column, and `_om#rowid`,
the row's number. `kind_meta` is stock's (`columns`, `dtypes`, `idx_meta`); beside it `rows` and `omega`,
which stock passes over, keep what the former three lose: exact dtypes, labels, the kind of index, and
`parts`, the ranges of row numbers that belong to the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bson
import numpy as np
import pandas as pd
import pyarrow as pa

from omegaml.backends import rowbson, rowread
from omegaml.backends.base import Rows, check_type
from omegaml.backends.cells import INLINE_LEVELS, decode, encode, tag, untag
from omegaml.backends.columnar.types import ColumnType
from omegaml.backends.columnar.values import freqs_of, index_doc, index_from_doc, levels_of, row_index
from omegaml.backends.rowread import Column
from omegaml.backends.rowtypes import (
    COLUMNAR,
    column_type,
    from_stock_dtype,
    from_text,
    restore,
    stock_dtype,
    stock_type,
    store,
    to_text,
)
from omegaml.errors import FormatTooNew, NotFound, NotStorable

ROWID = "_om#rowid"
INDEX = "_idx#"
BATCH_ROWS = 20_000
DOCUMENT_BYTES = 16 << 20
META_BYTES = 8 << 20
INT64 = range(-(2**63), 2**63)
FORMAT = 1

Meta = Mapping[str, Any]


class RowsBackend:
    """Stores a pandas DataFrame as `Rows`."""

    kind = "pandas.dfrows"
    format = FORMAT
    payload = Rows
    name = "rows"

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, pd.DataFrame)

    def encode(self, obj: pd.DataFrame) -> Rows:
        """Return the rows of `obj`.

        Raises: NotStorable, naming the column, for a dtype or value that would not come back equal.
        """
        check_type(obj, pd.DataFrame)
        return _encode(obj, None)

    def decode(self, payload: Rows, format: int) -> pd.DataFrame:
        """Return the frame, its rows in the order of their numbers."""
        _check_format(format, self.kind)
        return _decode(payload)


class SeriesRowsBackend:
    """Stores a pandas Series as `Rows` with one column."""

    kind = "pandas.serows"
    format = FORMAT
    payload = Rows
    name = "rows"

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, pd.Series)

    def encode(self, obj: pd.Series) -> Rows:
        """Return the rows of `obj`. Raises NotStorable for what would not come back equal."""
        check_type(obj, pd.Series)
        name = _kept("the series' name", tag, obj.name, INLINE_LEVELS)
        frame = obj.to_frame(name="values")
        frame.columns = pd.Index([str(obj.name)], dtype=object)
        frame.attrs, frame.flags.allows_duplicate_labels = obj.attrs, obj.flags.allows_duplicate_labels
        return _encode(frame, [name])

    def decode(self, payload: Rows, format: int) -> pd.Series:
        """Return the series, its rows in the order of their numbers."""
        _check_format(format, self.kind)
        frame = _decode(payload)
        series = frame.iloc[:, 0]
        series.attrs = frame.attrs
        exact = payload.meta.get("omega") or {}
        if "series" in exact:
            series.name = untag(from_text(exact["series"][0]))
        elif series.name == "None":
            series.name = None
        return series


def index_fields(meta: Meta) -> list[str]:
    """The fields of the index levels, outermost first."""
    names = [stored for _, stored in meta["columns"] if str(stored).startswith(INDEX)]
    return sorted(names, key=lambda name: int(name[len(INDEX) :].partition("_")[0]))


def data_fields(meta: Meta) -> list[str]:
    """The fields of the columns, in order."""
    return [str(stored) for _, stored in meta["columns"] if not str(stored).startswith((INDEX, ROWID))]


def labels(meta: Meta) -> pd.Index:
    """The columns' labels, exactly."""
    exact = meta.get("omega") or {}
    if "columns" in exact:
        return index_from_doc(from_text(exact["columns"]))
    own = [label for label, stored in meta["columns"] if not str(stored).startswith((INDEX, ROWID))]
    return pd.Index(own, dtype=object) if not all(isinstance(label, str) for label in own) else pd.Index(own)


def position(meta: Meta, text: str) -> int:
    """The column that `text` means: an exact label, else a label or field written so. Raises NotFound."""
    own = list(labels(meta))
    for candidates in (own, [str(label) for label in own], data_fields(meta)):
        if text in candidates:
            return candidates.index(text)
    raise NotFound(f"no column {text!r}", hint="columns: " + ", ".join(str(label) for label in own[:20]))


class Field(str):
    """The name of a field, and the type of the column that it holds where that is known.

    `counted` says which labels the numbers in it stand for, where it is not the values themselves.
    """

    type: ColumnType | None = None
    counted: Counted | None = None


@dataclass(frozen=True)
class Counted:
    """The labels `start`, `start + step`... of rows whose numbers, those of `parts`, may have gaps."""

    start: int
    step: int
    parts: Sequence[Sequence[int]]

    def numbers(self, low: int | None, high: int | None) -> list[tuple[int, int]]:
        """Return the ranges of row numbers, ends included, whose labels lie from `low` to `high`."""
        first, last = (low, high) if self.step > 0 else (high, low)
        begin = None if first is None else -((self.start - first) // self.step)
        end = None if last is None else (last - self.start) // self.step
        found = []
        before = 0
        for a, b in joined(self.parts):
            one = a if begin is None else max(a, a + begin - before)
            other = b - 1 if end is None else min(b - 1, a + end - before)
            if one <= other:
                found.append((one, other))
            before += b - a
        return found


def field_of(meta: Meta, text: str) -> Field:
    """The field that holds column or index level `text`. Raises NotFound."""
    exact = meta.get("omega") or {}
    names = list((meta.get("idx_meta") or {}).get("names") or [None])
    try:
        at = position(meta, text)
        stored, types = data_fields(meta), exact.get("types")
    except NotFound:
        if text not in names and (text != "index" or len(names) > 1):
            raise
        at = names.index(text) if text in names else 0
        stored, types = index_fields(meta), (exact.get("index") or {}).get("levels")
    field = Field(stored[at])
    field.type = column_type(types[at]) if types else stock_type(meta["dtypes"].get(field, "object"))
    return field


def compared_field(meta: Meta, text: str) -> Field:
    """The field by which rows are found and sorted by column or index level `text`. Raises NotFound.

    An index that counts the rows goes by their numbers: what is stored of it does not follow those left out.
    """
    field, exact = field_of(meta, text), meta.get("omega") or {}
    index = exact.get("index") or {}
    if "range" not in index or field not in index_fields(meta):
        return field
    start, step = index["range"]
    number = Field(ROWID)
    number.type, number.counted = field.type, Counted(start, step, exact["parts"])
    return number


def _encode(frame: pd.DataFrame, series: list[Any] | None) -> Rows:
    index, levels = frame.index, levels_of(frame.index)
    index_names = [f"{INDEX}{i}_{_clean(str(name or i))}" for i, name in enumerate(index.names)]
    names = _field_names(frame.columns)
    fields, types = [], []
    labelled = [
        (f"{stored} of the index", stored, level) for stored, level in zip(index_names, levels, strict=True)
    ]
    labelled += [(repr(frame.columns[i]), stored, frame.iloc[:, i]) for i, stored in enumerate(names)]
    for label, stored, values in labelled:
        field, spec = store(label, values)
        fields.append(field.renamed(stored))
        types.append(spec)
    exact: dict[str, Any] = {
        "columns": _kept("columns", index_doc, frame.columns),
        "types": types[len(levels) :],
        "index": _describe(index, types[: len(levels)]),
        "attrs": _kept("attrs", encode, dict(frame.attrs)),
        "parts": [[0, len(frame)]] if len(frame) else [],
    }
    if series is not None:
        exact["series"] = series
    if not frame.flags.allows_duplicate_labels:
        exact["unique"] = True
    meta = {**_stock_meta(frame, index_names, names), "rows": len(frame), "omega": exact}
    if len(bson.encode(meta, codec_options=rowbson.CODEC)) > META_BYTES:
        raise NotStorable(
            "the frame has more columns or categories than the rows format holds", hint=COLUMNAR
        )
    continues = isinstance(index, pd.RangeIndex) and (index.start, index.step) == (0, 1)
    return Rows(len(frame), _batches(fields, len(frame), continues), meta)


def _describe(index: pd.Index, types: list[Any]) -> dict[str, Any]:
    names = [_kept("index name", tag, name, INLINE_LEVELS) for name in index.names]
    if isinstance(index, pd.RangeIndex):
        return {"names": names, "range": [index.start, index.step]}
    doc = {"names": names, "levels": types, "multi": isinstance(index, pd.MultiIndex)}
    freqs = list(_kept("index", freqs_of, index))
    return {**doc, "freq": freqs} if any(freqs) else doc


def _stock_meta(frame: pd.DataFrame, index_names: list[str], names: list[str]) -> dict[str, Any]:
    """What stock omegaml keeps of a frame, as it writes it."""
    columns = [[s, s] for s in index_names]
    columns += [
        [label if _is_stock_label(label) and "$" not in str(label) else s, s]
        for label, s in zip(frame.columns.tolist(), names, strict=True)
    ]
    columns.append([ROWID, ROWID])
    levels = zip(index_names, levels_of(frame.index), strict=True)
    dtypes = {s: stock_dtype(level.dtype) for s, level in levels}
    dtypes |= {s: stock_dtype(dtype) for s, dtype in zip(names, frame.dtypes, strict=True)}
    idx_meta: dict[str, Any] = {
        "names": [n if n is None or _is_stock_label(n) else _valid(str(n)) for n in frame.index.names]
    }
    freq = getattr(frame.index, "freq", None)
    if isinstance(frame.index, pd.DatetimeIndex) and freq is not None and freq.n > 0:
        idx_meta["freq"] = freq.freqstr
    return {"columns": columns, "dtypes": {**dtypes, ROWID: "int64"}, "idx_meta": idx_meta}


def _kept(what: str, describe: Callable[..., Any], *args: Any) -> Any:
    try:
        return to_text(describe(*args))
    except NotStorable as error:
        raise NotStorable(f"{what}: {error.message}", hint=error.hint) from None


def _batches(
    fields: Sequence[rowbson.Field], rows: int, continues: bool
) -> Callable[[int], Iterable[tuple[memoryview, Sequence[int]]]]:
    def batches(start: int) -> Iterable[tuple[memoryview, Sequence[int]]]:
        for first in range(0, rows, BATCH_ROWS):
            last = min(first + BATCH_ROWS, rows)
            row_ids = np.arange(start + first, start + last, dtype=np.int64)
            cut = [field.slice(first, last) for field in fields]
            if continues:
                cut[0] = rowbson.integers(fields[0].name, row_ids)
            buffer, offsets = rowbson.encode_rows([*cut, rowbson.integers(ROWID, row_ids)], last - first)
            sizes = np.diff(offsets)
            if len(sizes) and int(sizes.max()) > DOCUMENT_BYTES - 64:
                row = first + int(sizes.argmax())
                raise NotStorable(
                    f"row {row} has {int(sizes.max()):,} bytes, more than a document holds", hint=COLUMNAR
                )
            yield memoryview(buffer.data), offsets.tolist()

    return batches


def _decode(payload: Rows) -> pd.DataFrame:
    meta = payload.meta
    blocks = [block for buffer, offsets in payload.batches(0) for block in rowread.columns(buffer, offsets)]
    exact = meta.get("omega") or {}
    own, names, types = labels(meta), data_fields(meta), exact.get("types")
    take = meta.get("take")
    positions = list(range(len(names))) if take is None else list(take)
    row_ids = _row_ids(blocks)
    order = None if meta.get("as_found") else np.argsort(row_ids, kind="stable")
    if order is not None and np.array_equal(order, np.arange(len(order))):
        order = None

    def column(field: str, spec: Any) -> Any:
        parts = _parts(blocks, field)
        found = restore(parts, spec) if types else from_stock_dtype(spec, parts)
        return found if order is None else found.take(order)

    arrays = [column(names[i], types[i] if types else meta["dtypes"][names[i]]) for i in positions]
    index = _row_index(meta, blocks, row_ids if order is None else row_ids[order], order)
    series = {
        k: pd.Series(array, index=index, dtype=array.dtype, copy=False) for k, array in enumerate(arrays)
    }
    frame = pd.DataFrame(series, index=index, copy=False)
    frame.columns = own if take is None else own.take(positions)
    if "attrs" in exact:
        frame.attrs = decode(from_text(exact["attrs"]))
    if exact.get("unique"):
        frame.flags.allows_duplicate_labels = False
    return frame


def _parts(blocks: Sequence[tuple[int, Mapping[str, Column]]], field: str) -> list[Column]:
    return [found[field] if field in found else pa.nulls(rows) for rows, found in blocks]


def _row_ids(blocks: Sequence[tuple[int, Mapping[str, Column]]]) -> np.ndarray:
    rows = sum(count for count, _ in blocks)
    if not blocks or ROWID not in blocks[0][1]:
        return np.arange(rows, dtype=np.int64)
    return np.asarray(from_stock_dtype("int64", _parts(blocks, ROWID)), np.int64)


def _row_index(
    meta: Meta,
    blocks: Sequence[tuple[int, Mapping[str, Column]]],
    row_ids: np.ndarray,
    order: np.ndarray | None,
) -> pd.Index:
    exact = (meta.get("omega") or {}).get("index")
    fields = index_fields(meta)
    if exact is not None and "range" in exact:
        start, step = exact["range"]
        at = _positions(meta["omega"]["parts"], row_ids)
        name = untag(from_text(exact["names"][0]))
        if (np.diff(at) != 1).any():
            return pd.Index(start + step * at, name=name)
        first = start + step * int(at[0]) if len(at) else start
        return pd.RangeIndex(first, first + step * len(at), step, name=name)
    if exact is None and not fields:
        return pd.RangeIndex(len(row_ids))
    parts = [_parts(blocks, field) for field in fields]
    if exact is None:
        dtypes = [meta["dtypes"].get(field, "object") for field in fields]
        arrays = [from_stock_dtype(dtype, part) for dtype, part in zip(dtypes, parts, strict=True)]
        names = list((meta.get("idx_meta") or {}).get("names") or [None] * len(fields))
        freqs, is_multi = (), len(fields) > 1
    else:
        arrays = [restore(part, spec) for part, spec in zip(parts, exact["levels"], strict=True)]
        names, is_multi = [untag(from_text(name)) for name in exact["names"]], exact["multi"]
        is_whole = len(row_ids) == meta["rows"] and not (np.diff(row_ids) < 0).any()
        freqs = (exact.get("freq") if is_whole else None) or ()
    return row_index(arrays if order is None else [a.take(order) for a in arrays], names, freqs, is_multi)


def row_numbers(buffer: Any, offsets: Sequence[int]) -> np.ndarray:
    """The numbers of rows that were read, in the order in which they lie there."""
    return _row_ids([*rowread.columns(buffer, offsets, only=(ROWID,))])


def _positions(parts: Sequence[Sequence[int]], row_ids: np.ndarray) -> np.ndarray:
    """The place of each row in the dataset, whose row numbers may have gaps."""
    parts = sorted(map(list, parts))
    starts = np.array([a for a, _ in parts], np.int64)
    before = np.concatenate(([0], np.cumsum([b - a for a, b in parts])))[: len(parts)].astype(np.int64)
    if not len(starts):
        return row_ids
    part = np.searchsorted(starts, row_ids, side="right") - 1
    return row_ids - starts[part] + before[part]


def joined(parts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the ranges of numbers in order, those that follow each other as one."""
    whole: list[list[int]] = []
    for a, b in sorted(map(list, parts)):
        if whole and whole[-1][1] == a:
            whole[-1][1] = b
        else:
            whole.append([a, b])
    return whole


def _field_names(columns: pd.Index) -> list[str]:
    """A field name for every label: as stock makes them, and unique, and ones that MongoDB accepts."""
    taken: dict[str, None] = {}
    for label in columns:
        name = _clean("_".join(map(str, label)) if isinstance(columns, pd.MultiIndex) else str(label))
        name = f"_{name}" if name.startswith(("$", INDEX, ROWID)) or not name else name
        while name in taken or name == "_id":
            name += "_"
        taken[name] = None
    return list(taken)


def _clean(name: str) -> str:
    return _valid(name).replace(".", "_").replace("\0", "_")


def _valid(text: str) -> str:
    """Text without the lone surrogates that UTF-8 does not have."""
    return text.encode("utf-8", "replace").decode()


def _is_stock_label(label: Any) -> bool:
    return label in INT64 if type(label) is int else type(label) is str and _valid(label) == label


def _check_format(format: int, kind: str) -> None:
    if format > FORMAT:
        raise FormatTooNew(f"{kind} was stored in format {format}; this version reads up to {FORMAT}")
