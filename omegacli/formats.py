"""What files hold: CSV, Parquet, JSON, Excel and numpy read to objects and written from them.

pandas is imported by what needs it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from omegacli import console
from omegaml.errors import InvalidInput, NotStorable

if TYPE_CHECKING:
    import pandas as pd

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
# first bytes of files that are taken for a CSV by mistake
_MAGIC = {
    b"PAR1": "a Parquet file (--format parquet)",
    b"PK\x03\x04": "an Excel or zip file (--format excel or binary)",
    b"\x1f\x8b": "a gzip file (name it .csv.gz)",
    b"\x93NUMPY": "a numpy file (--format npy)",
    b"%PDF": "a PDF file (--format binary)",
    b"ARROW1": "an Arrow file (--format binary)",
    b"\xd0\xcf\x11\xe0": "an old Excel file (--format excel)",
}


def read(stream: BinaryIO, path: str, format: str, options: dict[str, Any]) -> Any:
    if format == "csv":
        return next(iter(read_csv(stream, path, options)))
    if options:
        raise InvalidInput("--csv is for CSV files", hint="leave --csv out, or add --format csv")
    # the other formats need to seek, which a pipe cannot
    data = stream.read()
    if not data:
        raise InvalidInput(f"{called(path)} is empty", hint="check the file, or the program that writes it")
    readers: dict[str, Callable[[bytes, str], Any]] = {
        "parquet": _parquet,
        "json": _json,
        "excel": _excel,
        "npy": _npy,
    }
    if format not in readers:
        raise InvalidInput(
            f"{called(path)} is no file of data", hint=f"--format {', '.join(['csv', *readers])}"
        )
    return readers[format](data, path)


def read_csv(stream: BinaryIO, path: str, options: dict[str, Any]) -> Iterator[Any]:
    """Yield the file as one DataFrame, or as several where `options` has a chunk size."""
    import warnings

    import pandas as pd

    name = called(path)
    head = stream.peek(1 << 16) if isinstance(stream, io.BufferedReader) else b""
    suffix = Path(path).suffix.lower()
    if not head:
        raise InvalidInput(f"{name} is empty", hint="check the file, or the program that writes it")
    if suffix in COMPRESSED:
        options.setdefault("compression", COMPRESSED[suffix])
    elif "compression" not in options:
        _check_text(head, name, options)
    _check_options(options)
    options.setdefault("sep", "\t" if ".tsv" in path.lower() else ",")
    # without this, pandas takes surplus fields for an index; with it, it warns that it would drop them
    options.setdefault("index_col", False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            read = pd.read_csv(stream, **options)
            parts = iter([read] if isinstance(read, pd.DataFrame) else read)
            while (frame := next(parts, None)) is not None:
                if "chunksize" not in options and path != "-" and suffix not in COMPRESSED:
                    _check_short_rows(frame, path, options)
                # each part counts its rows from 0, as a file of its own would
                yield frame.reset_index(drop=True) if options["index_col"] is False else frame
    except pd.errors.ParserWarning:
        raise InvalidInput(
            f"{name} is not an even table: its rows have more fields than its header",
            hint="mend the file, or add --csv index_col=0 if the first column is an index",
        ) from None
    except pd.errors.EmptyDataError:
        raise InvalidInput(
            f"{name} has no columns", hint="check the file, or the program that writes it"
        ) from None
    except pd.errors.ParserError as e:
        text = " ".join(str(e).replace("Error tokenizing data. C error:", "").split())
        raise InvalidInput(
            f"{name} is not an even table: {text}", hint="mend that line, or set --csv sep=;"
        ) from None
    except UnicodeDecodeError as e:
        raise InvalidInput(
            f"{name} is not {e.encoding.upper()}: byte {e.object[e.start : e.start + 1].hex()} at {e.start}",
            hint="name its encoding, as --csv encoding=latin-1",
        ) from None
    except (LookupError, TypeError, ValueError) as e:
        raise InvalidInput(f"{name} cannot be read as CSV: {e}", hint="check the --csv options") from None
    except (EOFError, OSError) as e:
        raise InvalidInput(f"{name} cannot be read: {e}", hint="is the file complete?") from None


def _check_text(head: bytes, name: str, options: Mapping[str, Any]) -> None:
    """Raise InvalidInput if the first bytes are not text."""
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise InvalidInput(f"{name} is no CSV, it looks like {what}")
    utf16 = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    if utf16 and "encoding" not in options:
        raise InvalidInput(f"{name} is UTF-16", hint="add --csv encoding=utf-16")
    if b"\0" in head and not str(options.get("encoding", "")).lower().startswith(
        ("utf-16", "utf-32", "utf_")
    ):
        raise InvalidInput(
            f"{name} is no CSV, it holds binary data", hint="use --format binary to store it as it is"
        )


def _check_options(options: Mapping[str, Any]) -> None:
    import difflib
    import inspect

    import pandas as pd

    known = [p for p in inspect.signature(pd.read_csv).parameters if p != "filepath_or_buffer"]
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else "see the arguments of pandas.read_csv"
            raise InvalidInput(f"--csv {key}: there is no such option", hint=hint)


def _check_short_rows(frame: pd.DataFrame, path: str, options: Mapping[str, Any]) -> None:
    """Raise InvalidInput if a row has fewer fields than the header; pandas would fill them up silently.

    Only a file whose last column has a gap can hold one, so that most files are read once.
    """
    plain = set(options) <= {"sep", "encoding", "delimiter", "dtype", "parse_dates", "index_col"}
    separator = str(options.get("delimiter") or options["sep"])
    if not plain or len(separator) != 1 or not frame.shape[1] or not bool(frame.iloc[:, -1].isna().any()):
        return
    import csv

    with Path(path).expanduser().open(encoding=options.get("encoding", "utf-8-sig"), newline="") as file:
        reader = csv.reader(file, delimiter=separator)
        width = len(next(reader, []))
        for row in reader:
            if row and len(row) < width:
                raise InvalidInput(
                    f"{path} is not an even table: expected {width} fields in line {reader.line_num}, "
                    f"saw {len(row)}",
                    hint="mend that line",
                )


def _parquet(data: bytes, path: str) -> Any:
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(io.BytesIO(data))
    except (pa.ArrowException, OSError, ValueError) as e:
        text = str(e).splitlines()[0]
        raise InvalidInput(f"{called(path)} is no Parquet file: {text}", hint="check --format") from None


def _json(data: bytes, path: str) -> Any:
    import json

    name = called(path)
    if Path(path).suffix.lower() == ".gz":
        import gzip

        data = gzip.decompress(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InvalidInput(
            f"{name} is not UTF-8: byte {e.start} cannot be read", hint="JSON is always UTF-8"
        ) from None
    lines = ".jsonl" in path.lower() or ".ndjson" in path.lower()
    try:
        value = (
            [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
        )
    except json.JSONDecodeError as e:
        raise InvalidInput(f"{name} is no JSON: {e.msg} in line {e.lineno}, column {e.colno}") from None
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        import pandas as pd

        return pd.DataFrame(value)
    return value


def _excel(data: bytes, path: str) -> Any:
    import zipfile

    import pandas as pd

    try:
        return pd.read_excel(io.BytesIO(data))
    except ImportError as e:
        raise InvalidInput(
            "Excel files need another package", hint=f"pip install {e.name or 'openpyxl'}"
        ) from None
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as e:
        raise InvalidInput(f"{called(path)} is no Excel file: {e}", hint="check --format") from None


def _npy(data: bytes, path: str) -> Any:
    import numpy as np

    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as e:
        raise InvalidInput(f"{called(path)} is no numpy file: {e}", hint="check --format") from None


def write(obj: Any, stream: BinaryIO, path: str, format: str) -> None:
    if format == "json":
        stream.write(_to_json(obj).encode() + b"\n")
    elif format == "npy":
        import numpy as np

        array = np.asarray(obj)
        if array.dtype == object:
            raise NotStorable("an array of Python objects cannot be written as npy", hint="use --format json")
        np.save(stream, array, allow_pickle=False)
    elif format == "binary":
        if not isinstance(obj, (bytes, bytearray, memoryview)):
            raise NotStorable(
                f"{type(obj).__name__} is no file of bytes", hint=f"use --format {natural_format(obj)}"
            )
        stream.write(obj)
    else:
        frame, has_index = _frame(obj, format)
        _write_frame(frame, has_index, stream, path, format)


def _write_frame(frame: pd.DataFrame, has_index: bool, stream: BinaryIO, path: str, format: str) -> None:
    import pyarrow as pa

    if format == "csv":
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        with console.progress(f"writing {path}", len(frame), "rows") as bar:
            for start in range(0, max(len(frame), 1), 50_000):  # in pieces, so that progress is seen
                part = frame.iloc[start : start + 50_000]
                part.to_csv(
                    text,
                    index=has_index,
                    header=start == 0,
                    sep="\t" if path.endswith(".tsv") else ",",
                    lineterminator="\n",
                )
                bar.advance(len(part))
        text.flush()
        text.detach()
    elif format == "parquet":
        try:
            frame.to_parquet(_Unclosed(stream))
        except (pa.ArrowException, ValueError, TypeError, NotImplementedError) as e:
            raise NotStorable(
                f"Parquet cannot hold this dataset: {' '.join(str(e).split())}",
                hint="use --format csv or json",
            ) from None
    else:
        try:
            buffer = io.BytesIO()
            frame.to_excel(buffer, index=has_index)
        except ImportError as e:
            raise InvalidInput(
                "Excel files need another package", hint=f"pip install {e.name or 'openpyxl'}"
            ) from None
        except (ValueError, TypeError) as e:
            raise NotStorable(
                f"Excel cannot hold this dataset: {e}", hint="use --format csv or parquet"
            ) from None
        stream.write(buffer.getvalue())


class _Unclosed(io.RawIOBase):
    """A writable stream for writers that close what they are given."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(data)
        return len(data)


def natural_format(obj: Any) -> str:
    """Return the format an object goes to where none is asked for."""
    kind = type(obj).__name__
    if kind in ("DataFrame", "Series", "Table"):
        return "csv"
    if kind == "ndarray":
        return "csv" if obj.ndim in (1, 2) and obj.dtype.names is None else "npy"
    return "binary" if isinstance(obj, (bytes, bytearray, memoryview)) else "json"


def _frame(obj: Any, format: str) -> tuple[pd.DataFrame, bool]:
    """Return `obj` as a DataFrame and whether its index says more than row numbers."""
    import pandas as pd

    if hasattr(obj, "to_pandas"):
        obj = obj.to_pandas()
    if isinstance(obj, pd.Series):
        obj = obj.to_frame(name="value" if obj.name is None else obj.name)
    elif not isinstance(obj, pd.DataFrame):
        try:
            obj = pd.DataFrame(obj)
        except (ValueError, TypeError):
            raise NotStorable(
                f"{type(obj).__name__} is no table", hint=f"use --format {natural_format(obj)}"
            ) from None
        return obj.rename(columns=str), False
    return obj, has_telling_index(obj)


def has_telling_index(frame: pd.DataFrame) -> bool:
    """Tell whether the index says more than row numbers: unnamed integers are taken for those."""
    return frame.index.nlevels > 1 or frame.index.name is not None or frame.index.inferred_type != "integer"


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a DataFrame as one mapping per row, missing values as None; a telling index comes first."""
    import pandas as pd

    if has_telling_index(frame):
        names = [
            n if n is not None else ("index" if frame.index.nlevels == 1 else f"level_{i}")
            for i, n in enumerate(frame.index.names)
        ]
        levels = [frame.index.get_level_values(i).tolist() for i in range(frame.index.nlevels)]
    else:
        names, levels = [], []
    labels = [str(label) for label in [*names, *frame.columns]]
    columns = [*levels, *(frame.iloc[:, i].tolist() for i in range(frame.shape[1]))]
    return [
        {
            label: None if value is pd.NA or value is pd.NaT else value
            for label, value in zip(labels, row, strict=True)
        }
        for row in zip(*columns, strict=True)
    ]


def _to_json(obj: Any) -> str:
    import pandas as pd

    if hasattr(obj, "to_pandas"):
        obj = obj.to_pandas()
    if isinstance(obj, pd.Series):
        obj = obj.to_frame(name="value" if obj.name is None else obj.name)
    if isinstance(obj, pd.DataFrame):
        return console.dumps(records(obj))
    return console.dumps(obj, indent=1)


def called(path: str) -> str:
    return "standard input" if path == "-" else path
