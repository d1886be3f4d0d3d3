"""What files hold: CSV, Parquet, JSON, Excel and numpy read to objects and written from them.

pandas is imported by what needs it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from omegacli import compression, console
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
        return _table(value)
    return value


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a frame; integers too large for a float stay integers where a row lacks one."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    for label in [label for label, dtype in frame.dtypes.items() if dtype.kind == "f"]:
        cells = [row.get(label) for row in rows]
        if any(isinstance(cell, int) and abs(cell) > 1 << 53 for cell in cells):
            is_whole = all(cell is None or isinstance(cell, int) for cell in cells)
            frame[label] = pd.Series(cells, dtype="Int64" if is_whole else object)
    return frame


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
            part = _as_text(frame.iloc[start : start + 50_000])
            part.to_csv(text, index=has_index, header=start == 0, sep=_separator(path), lineterminator="\n")
            bar.advance(len(part))
    text.flush()
    text.detach()


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with JSON in place of cells that CSV has no text for: lists, mappings and bytes."""
    for i in [i for i, dtype in enumerate(frame.dtypes) if str(dtype) == "object"]:
        column = frame.iloc[:, i]
        if any(isinstance(cell, (list, dict, tuple, set, bytes)) for cell in column):
            cells = [_cell_text(cell) for cell in column]
            frame = frame.copy()
            frame.isetitem(i, type(column)(cells, index=frame.index, dtype=object))
    return frame


def _cell_text(cell: Any) -> Any:
    if isinstance(cell, bytes):
        return console.plain(cell)
    return console.dumps(cell) if isinstance(cell, (list, dict, tuple, set)) else cell


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
    labels = distinct([str(label) for label in [*names, *frame.columns]])
    columns = [*levels, *(frame.iloc[:, i].tolist() for i in range(frame.shape[1]))]
    return [
        {
            label: None if value is pd.NA or value is pd.NaT else value
            for label, value in zip(labels, row, strict=True)
        }
        for row in zip(*columns, strict=True)
    ]


def distinct(labels: list[str]) -> list[str]:
    """`labels`, with .1, .2 and so on where one is there already, as pandas names the columns of a CSV."""
    found: dict[str, None] = {}
    for label in labels:
        name, number = label, 0
        while name in found:
            number += 1
            name = f"{label}.{number}"
        found[name] = None
    return list(found)


def _to_json(obj: Any, as_lines: bool) -> str:
    import pandas as pd

    if hasattr(obj, "to_pandas"):
        obj = obj.to_pandas()
    if isinstance(obj, pd.Series):
        obj = obj.to_frame(name="value" if obj.name is None else obj.name)
    if isinstance(obj, pd.DataFrame):
        obj = records(obj)
        if not as_lines:
            return console.dumps(obj)
    if as_lines:
        return "\n".join(console.dumps(item) for item in (obj if isinstance(obj, list) else [obj]))
    return console.dumps(obj, indent=1)


def called(path: str) -> str:
    return "standard input" if path == "-" else path
