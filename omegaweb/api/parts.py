"""CSV, Arrow and Parquet files as tables of one type, a part at a time.

Each file is gone through twice: first to find out what its columns are, then to yield it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from omegaml.backends.columnar.unpacking import unpacked
from omegaml.errors import InvalidInput

ROWS = 1 << 16
BLOCK = 4 << 20
BATCH_BYTES = 256 << 20
BOMB = 200  # how many times its size a row group may have unpacked, if it is larger than that
_EXACT = 1 << 53  # from here on a float does not tell integers apart
_TRUE, _FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]
_NULLS = ["", "#N/A", "N/A", "NA", "n/a", "<NA>", "NULL", "null", "NaN", "nan", "-NaN", "-nan", "None"]
_TEXT = pa.large_string()
_TEXTS = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
_NULLABLE = {
    **{getattr(pa, f"{u}int{n}")(): f"{u.upper()}Int{n}" for u in ("", "u") for n in (8, 16, 32, 64)},
    pa.bool_(): "boolean",
}


def of_csv(file: BinaryIO) -> Iterator[pa.Table]:
    """Yield the rows of a CSV in UTF-8 with a header; numbers and true and false are recognised."""
    with _translated("CSV"):
        types = _csv_types(file)
        is_empty = True
        for table in _csv_blocks(file, types):
            is_empty = False
            yield table
        if is_empty:
            yield pa.schema(list(types.items())).empty_table()


def of_arrow(file: BinaryIO) -> Iterator[pa.Table]:
    """Yield the rows of an Arrow stream or file."""
    with _translated("Arrow"):
        data = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        is_file = data.slice(0, 6).to_pybytes() == b"ARROW1"
        for message in pa.ipc.MessageReader.open_stream(data.slice(8) if is_file else data):
            if unpacked(message) > BATCH_BYTES and unpacked(message) > message.body.size:
                raise InvalidInput(
                    f"a batch of the body has {unpacked(message):,} bytes when it is unpacked",
                    hint=f"send batches of at most {BATCH_BYTES:,} bytes, or without compression",
                )
        source = pa.ipc.open_file(data) if is_file else pa.ipc.open_stream(data)

        def batches() -> Iterator[pa.RecordBatch]:
            if is_file:
                yield from (source.get_batch(i) for i in range(source.num_record_batches))
            else:
                yield from pa.ipc.open_stream(data)

        for batch in batches():
            batch.validate(full=True)  # its offsets could point anywhere
        yield source.schema.empty_table()
        for batch in batches():
            for start in range(0, batch.num_rows, ROWS):
                yield pa.Table.from_batches([batch.slice(start, ROWS)])


def of_parquet(file: BinaryIO) -> Iterator[pa.Table]:
    """Yield the rows of a Parquet file."""
    with _translated("Parquet"):
        file.seek(0)
        source = pq.ParquetFile(file)
        about, schema = source.metadata, source.schema_arrow
        _check_groups(about)
        yield schema.empty_table()
        texts = {field.name for field in schema if field.type in _TEXTS}
        wide = sum(field.type.byte_width for field in schema if pa.types.is_fixed_size_binary(field.type))
        rows = max(1, min(ROWS, BATCH_BYTES // max(1, wide)))
        # each text once, as in the file: written out for every row, one of them could fill all memory
        source = pq.ParquetFile(file, metadata=about, read_dictionary=sorted(texts))
        for batch in source.iter_batches(batch_size=rows):
            batch.validate(full=True)
            _check_texts(batch, texts)
            yield pa.Table.from_batches([batch]).cast(schema)


def _check_groups(about: pq.FileMetaData) -> None:
    """Raises InvalidInput for a few bytes that stand for so many that no table would have them."""
    for group in map(about.row_group, range(about.num_row_groups)):
        columns = [group.column(i) for i in range(group.num_columns)]
        whole = sum(column.total_uncompressed_size for column in columns)
        if whole > max(BATCH_BYTES, BOMB * sum(column.total_compressed_size for column in columns)):
            raise InvalidInput(
                f"a row group of the body has {whole:,} bytes when it is unpacked: {BOMB} fold and more",
                hint=f"send row groups of at most {BATCH_BYTES:,} bytes",
            )


def _check_texts(batch: pa.RecordBatch, names: set[str]) -> None:
    """Raises InvalidInput for texts that are so large and so many times the same that it can be no table."""
    whole = 0
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in names:
            lengths = pc.binary_length(column.dictionary).take(column.indices)
            whole += pc.sum(lengths, min_count=0).as_py()
    if whole > max(BATCH_BYTES, BOMB * batch.nbytes):
        raise InvalidInput(
            f"{len(batch):,} rows of the body have {whole:,} bytes when they are unpacked",
            hint="send it as Arrow, in smaller batches",
        )


READERS: Mapping[str, Callable[[BinaryIO], Iterator[pa.Table]]] = {
    "csv": of_csv,
    "arrow": of_arrow,
    "parquet": of_parquet,
}


def with_nulls(tables: Iterator[pa.Table]) -> set[str]:
    """The columns of whole numbers, or of true and false, that have missing values."""
    found: set[str] = set()
    for table in tables:
        for field, column in zip(table.schema, table.columns, strict=True):
            if field.type in _NULLABLE and column.null_count:
                found.add(field.name)
    return found


def as_frame(table: pa.Table, nullable: set[str]) -> pd.DataFrame:
    """A part as pandas has it, in the same dtypes whatever its values."""
    with _translated("table"):
        frame = table.to_pandas()
        for name in nullable & {label for label in frame.columns if isinstance(label, str)}:
            column = table.column(name)
            frame[name] = pd.array(column.to_pylist(), dtype=_NULLABLE[column.type])
    return frame


@contextmanager
def _translated(format: str) -> Iterator[None]:
    try:
        yield
    except InvalidInput:
        raise
    except (
        pa.ArrowException,
        struct.error,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        text = " ".join(str(error).split())
        raise InvalidInput(f"the body cannot be read as {format}: {text[:300]}") from None


# --- CSV


def _csv_blocks(file: BinaryIO, types: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    file.seek(0)
    reader = pcsv.open_csv(
        pa.PythonFile(_Unclosed(file), "r"),
        read_options=pcsv.ReadOptions(block_size=BLOCK),
        parse_options=pcsv.ParseOptions(newlines_in_values=True),
        convert_options=pcsv.ConvertOptions(
            column_types=dict(types),
            null_values=_NULLS,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=_TRUE,
            false_values=_FALSE,
        ),
    )
    for batch in reader:
        yield pa.Table.from_batches([batch])


def _csv_types(file: BinaryIO) -> dict[str, pa.DataType]:
    """What the columns are: the first of whole numbers, numbers, true and false that fits all cells."""
    names = _csv_header(file)
    columns = [_Guess() for _ in names]
    for table in _csv_blocks(file, dict.fromkeys(names, _TEXT)):
        for guess, column in zip(columns, table.columns, strict=True):
            guess.see(column)
    return {name: guess.type for name, guess in zip(names, columns, strict=True)}


def _csv_header(file: BinaryIO) -> list[str]:
    file.seek(0)
    if not file.read(1):
        raise InvalidInput("the body is empty", hint="send a header and rows")
    file.seek(0)
    options = pcsv.ReadOptions(block_size=BLOCK)
    names = pcsv.open_csv(
        pa.PythonFile(_Unclosed(file), "r"),
        read_options=options,
        parse_options=pcsv.ParseOptions(newlines_in_values=True),
    ).schema.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(f"two columns of the CSV are called {twice!r}", hint="rename one of them")
    return list(names)


class _Guess:
    """What a column of texts may be, after those that were seen."""

    def __init__(self) -> None:
        self._open: list[pa.DataType] = [pa.int64(), pa.float64(), pa.bool_()]
        self._rows = self._nulls = 0
        self._is_large = False

    def see(self, cells: pa.ChunkedArray) -> None:
        self._rows += len(cells)
        self._nulls += cells.null_count
        self._open = [type_ for type_ in self._open if self._fits(cells, type_)]

    def _fits(self, cells: pa.ChunkedArray, type_: pa.DataType) -> bool:
        if pa.types.is_boolean(type_):
            known = pa.array([*_TRUE, *_FALSE], _TEXT)
            return bool(pc.all(pc.is_in(cells.drop_null(), known)).as_py() is not False)
        try:
            found = cells.cast(type_)
        except pa.ArrowInvalid:
            return False
        if pa.types.is_integer(type_) and len(found) > found.null_count:
            bounds = pc.min_max(found).as_py()
            self._is_large = self._is_large or max(-bounds["min"], bounds["max"]) > _EXACT
        return True

    @property
    def type(self) -> pa.DataType:
        if not self._rows or not self._open:
            return _TEXT
        if self._nulls == self._rows:
            return pa.float64()
        # with missing values pandas' own reader has floats, which is what people expect of a CSV
        is_float = pa.types.is_integer(self._open[0]) and self._nulls and not self._is_large
        return pa.float64() if is_float else self._open[0]


class _Unclosed:
    """A file that others may close without closing it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self.closed = True
