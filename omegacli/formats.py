"""What files hold: CSV, Parquet, JSON, Excel and numpy read to objects and written from them.

pandas is imported by what needs it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from omegacli import compression, console
from omegaml import tabular
from omegaml.errors import InvalidInput, NotStorable

if TYPE_CHECKING:
    import pandas as pd


def read(stream: io.BufferedReader, path: str, format: str, options: Mapping[str, Any]) -> Any:
    if format == "csv":
        from omegacli import csvfile

        return csvfile.read(stream, called(path), options, _separator(path))
    if options:
        raise InvalidInput("--csv is for CSV files", hint="leave --csv out, or add --format csv")
    # the other formats need to seek, which a pipe cannot
    with compression.unpacked(stream, called(path)) as unpacked:
        data = unpacked.read()
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


def read_parts(
    stream: io.BufferedReader, path: str, options: Mapping[str, Any], rows: int
) -> Iterator[pd.DataFrame]:
    """Yield a CSV as DataFrames of at most `rows` rows. Raises InvalidInput as `read`."""
    from omegacli import csvfile

    yield from csvfile.read_parts(stream, called(path), options, _separator(path), rows)


def _separator(path: str) -> str:
    return "\t" if compression.bare(path).lower().endswith(".tsv") else ","


def _is_lines(path: str) -> bool:
    """Tell whether a JSON file holds one value a line."""
    return compression.bare(path).lower().endswith((".jsonl", ".ndjson"))


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
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InvalidInput(
            f"{name} is not UTF-8: byte {e.start} cannot be read", hint="JSON is always UTF-8"
        ) from None
    # str.splitlines would also split at characters that JSON allows in texts
    texts = text.split("\n") if _is_lines(path) else [text]
    values = []
    for number, part in enumerate(texts):
        if part.strip() or len(texts) == 1:
            try:
                values.append(json.loads(part))
            except json.JSONDecodeError as e:
                line = number + e.lineno
                raise InvalidInput(f"{name} is no JSON: {e.msg} in line {line}, column {e.colno}") from None
            except RecursionError:
                raise InvalidInput(f"{name} is nested too deeply", hint="--format binary stores it") from None
    value = values if _is_lines(path) else values[0]
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return tabular.from_rows(value)
    return value


def _excel(data: bytes, path: str) -> Any:
    import zipfile

    import pandas as pd

    try:
        with pd.ExcelFile(io.BytesIO(data)) as file:
            first, *others = file.sheet_names
            frame = pd.read_excel(file, sheet_name=first)
    except ImportError as e:
        raise InvalidInput(
            "Excel files need another package", hint=f"pip install {e.name or 'openpyxl'}"
        ) from None
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as e:
        raise InvalidInput(f"{called(path)} is no Excel file: {e}", hint="check --format") from None
    if others:
        console.warn(f"{called(path)} has {len(others) + 1} sheets; only the first, {first!r}, is stored")
    return frame


def _npy(data: bytes, path: str) -> Any:
    import numpy as np

    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as e:
        raise InvalidInput(f"{called(path)} is no numpy file: {e}", hint="check --format") from None


def write(obj: Any, stream: BinaryIO, path: str, format: str) -> None:
    if format == "binary":
        if not isinstance(obj, (bytes, bytearray, memoryview)):
            raise NotStorable(
                f"{type(obj).__name__} is no file of bytes", hint=f"use --format {natural_format(obj)}"
            )
        stream.write(obj)
        return
    with compression.packed(stream, path) as out:
        if format == "json":
            out.write(_to_json(obj, _is_lines(path)).encode() + b"\n")
        elif format == "npy":
            _write_npy(obj, out)
        elif format == "csv":
            _write_csv(*_frame(obj, format), out, path)
        elif format == "parquet":
            _write_parquet(_frame(obj, format)[0], out)
        else:
            _write_excel(*_frame(obj, format), out)


def _write_npy(obj: Any, stream: BinaryIO) -> None:
    import numpy as np

    array = np.asarray(obj)
    if array.dtype == object:
        raise NotStorable("an array of Python objects cannot be written as npy", hint="use --format json")
    np.save(stream, array, allow_pickle=False)


def _write_csv(frame: pd.DataFrame, has_index: bool, stream: BinaryIO, path: str) -> None:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    with console.progress(f"writing {path}", len(frame), "rows") as bar:
        for start in range(0, max(len(frame), 1), 50_000):  # in pieces, so that progress is seen
            part = tabular.as_text(frame.iloc[start : start + 50_000])
            part.to_csv(text, index=has_index, header=start == 0, sep=_separator(path), lineterminator="\n")
            bar.advance(len(part))
    text.flush()
    text.detach()


def _write_parquet(frame: pd.DataFrame, stream: BinaryIO) -> None:
    import pyarrow as pa

    try:
        frame.to_parquet(compression.Unclosed(stream))
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError) as e:
        raise NotStorable(
            f"Parquet cannot hold this dataset: {' '.join(str(e).split())}",
            hint="use --format csv or json",
        ) from None


def _write_excel(frame: pd.DataFrame, has_index: bool, stream: BinaryIO) -> None:
    buffer = io.BytesIO()
    try:
        frame.to_excel(buffer, index=has_index)
    except ImportError as e:
        raise InvalidInput(
            "Excel files need another package", hint=f"pip install {e.name or 'openpyxl'}"
        ) from None
    except (ValueError, TypeError, NotImplementedError) as e:
        raise NotStorable(
            f"Excel cannot hold this dataset: {e}", hint="use --format csv or parquet"
        ) from None
    stream.write(buffer.getvalue())


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
    return obj, tabular.has_telling_index(obj)


def _to_json(obj: Any, as_lines: bool) -> str:
    import pandas as pd

    if hasattr(obj, "to_pandas"):
        obj = obj.to_pandas()
    if isinstance(obj, pd.Series):
        obj = obj.to_frame(name="value" if obj.name is None else obj.name)
    if isinstance(obj, pd.DataFrame):
        obj = tabular.records(obj)
        if not as_lines:
            return console.dumps(obj)
    if as_lines:
        return "\n".join(console.dumps(item) for item in (obj if isinstance(obj, list) else [obj]))
    return console.dumps(obj, indent=1)


def called(path: str) -> str:
    return "standard input" if path == "-" else path
