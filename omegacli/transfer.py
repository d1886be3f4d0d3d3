"""Files in and out: CSV, Parquet, JSON, Excel, arrays, any other file, folders.

An output file appears whole or not at all. pandas is imported by what needs it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from omegacli import console
from omegaml.errors import InvalidInput, NotStorable, StorageFull

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "parquet", "json", "excel", "npy", "binary", "dir")
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".xlsx": "excel",
    ".xls": "excel",
    ".npy": "npy",
}
_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
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


def format_of(path: str, format: str | None) -> str:
    """Return which format a file is in: the one asked for, or what its name says, else "binary".

    Raises: InvalidInput for a format that does not exist.
    """
    if format is not None:
        if format not in FORMATS:
            import difflib

            near = difflib.get_close_matches(format, FORMATS, 1, 0.4)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(FORMATS)}"
            raise InvalidInput(f"there is no format {format!r}", hint=hint)
        return format
    if path != "-" and Path(path).is_dir():
        return "dir"
    name = path.lower()
    for suffix in _COMPRESSED:
        if name.endswith(f".csv{suffix}") or name.endswith(f".json{suffix}"):
            name = name.removesuffix(suffix)
    return _SUFFIXES.get(Path(name).suffix, "binary")


@contextmanager
def source(path: str, format: str) -> Iterator[BinaryIO]:
    """Open a file, a folder (as a tar stream) or `-` for reading, with progress.

    Raises: InvalidInput naming the file: it is missing, unreadable, empty or of the wrong sort.
    """
    if path == "-":
        if format == "dir":
            raise InvalidInput(
                "a folder cannot be read from standard input", hint="pipe a tar file and use --format binary"
            )
        with console.progress("reading standard input") as bar:
            yield io.BufferedReader(_Counted(console.stdin(), bar))
        return
    file = Path(path).expanduser()
    if format == "dir":
        if not file.is_dir():
            raise InvalidInput(f"{path} is no folder", hint="leave --format dir out")
        with _tar_of(file) as stream, console.progress(f"reading {file.name}", _folder_size(file)) as bar:
            yield io.BufferedReader(_Counted(stream, bar))
        return
    if file.is_dir():
        raise InvalidInput(
            f"{path} is a folder and a file is expected", hint="use --format dir for the whole folder"
        )
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {path}", hint=_near(file)) from None
    except OSError as e:
        raise InvalidInput(f"{path} cannot be read: {e.strerror}", hint=f"see `ls -l {path}`") from None
    with stream:
        size = os.fstat(stream.fileno()).st_size
        with console.progress(f"reading {file.name}", size or None) as bar:
            yield io.BufferedReader(_Counted(stream, bar), 1 << 18)


def read_file(path: str, format: str | None = None, options: Mapping[str, Any] | None = None) -> Any:
    """Return what a file of data holds: a DataFrame, an array, or for JSON also any other value.

    Args:
        path: the file, or "-" for standard input.
        options: arguments of the reader (`pandas.read_csv`) as given by the user.
    Raises: InvalidInput naming the file and what is wrong with it.
    """
    format = format_of(path, format)
    with source(path, format) as stream:
        return _read(stream, path, format, dict(options or {}))


def read_chunks(path: str, rows: int, options: Mapping[str, Any] | None = None) -> Iterator[pd.DataFrame]:
    """Yield a CSV file as DataFrames of at most `rows` rows. Raises InvalidInput as `read_file`."""
    with source(path, "csv") as stream:
        yield from _csv(stream, path, {**(options or {}), "chunksize": rows})


@contextmanager
def target(path: str) -> Iterator[BinaryIO]:
    """Open `path` for writing; the file appears when the block ends well, and never else. `-` is stdout.

    Raises: InvalidInput (a folder, no such folder, not writable), StorageFull.
    """
    if path == "-":
        out = console.stdout()
        yield out
        out.flush()
        return
    import tempfile

    file = Path(path).expanduser()
    if file.is_dir():
        raise InvalidInput(
            f"{path} is a folder and a file is expected", hint=f"give a file name, as {file / 'data.csv'}"
        )
    try:
        fd, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except FileNotFoundError:
        raise InvalidInput(f"there is no folder {file.parent}", hint=f"mkdir -p {file.parent}") from None
    except OSError as e:
        raise InvalidInput(f"{path} cannot be written: {e.strerror}", hint="choose another place") from None
    try:
        with os.fdopen(fd, "wb") as stream:
            yield stream
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes it private; a new file follows the umask
        os.replace(name, file)
    except OSError as e:
        import errno

        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"no space left for {path}", hint="free some space; nothing was written"
            ) from None
        raise
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def write_file(obj: Any, path: str, format: str) -> None:
    """Write an object to a file, whole or not at all.

    Raises: NotStorable where the format cannot hold the object, InvalidInput and StorageFull as `target`.
    """
    with target(path) as stream:
        _write(obj, stream, path, format)


def copy_stream(stream: BinaryIO, path: str, total: int | None) -> int:
    """Write a stream of bytes to a file, whole or not at all; return its length."""
    done = 0
    with target(path) as out, console.progress(f"writing {path}", total) as bar:
        while piece := stream.read(1 << 20):
            out.write(piece)
            done += len(piece)
            bar.advance(len(piece))
    return done


def extract_folder(stream: BinaryIO, path: str) -> None:
    """Unpack a tar stream to the folder `path`, which appears whole or not at all.

    Raises: InvalidInput if `path` exists, or a member would leave the folder.
    """
    import shutil
    import tarfile
    import tempfile

    folder = Path(path).expanduser()
    if folder.exists():
        raise InvalidInput(f"{path} exists already", hint="give the name of a new folder")
    if not folder.parent.is_dir():
        raise InvalidInput(f"there is no folder {folder.parent}", hint=f"mkdir -p {folder.parent}")
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with (
            console.progress(f"writing {path}") as bar,
            tarfile.open(fileobj=_Counted(stream, bar), mode="r|") as tar,
        ):
            tar.extractall(part, filter="data")
        os.chmod(part, 0o777 & ~_umask())
        os.replace(part, folder)
    except tarfile.TarError as e:
        raise InvalidInput(f"the stored folder cannot be unpacked: {e}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


class _Counted(io.RawIOBase):
    """A readable stream that reports what is read of it."""

    def __init__(self, stream: BinaryIO, bar: console.Progress) -> None:
        self._stream, self._bar = stream, bar

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._bar.advance(len(data))
        return len(data)


def _read(stream: BinaryIO, path: str, format: str, options: dict[str, Any]) -> Any:
    if format == "csv":
        return next(iter(_csv(stream, path, options)))
    if options:
        raise InvalidInput("--csv is for CSV files", hint="leave --csv out, or add --format csv")
    # the other formats need to seek, which a pipe cannot
    data = stream.read()
    if not data:
        raise InvalidInput(f"{_called(path)} is empty", hint="check the file, or the program that writes it")
    readers: dict[str, Callable[[bytes, str], Any]] = {
        "parquet": _parquet,
        "json": _json,
        "excel": _excel,
        "npy": _npy,
    }
    return readers[format](data, path)


def _csv(stream: BinaryIO, path: str, options: dict[str, Any]) -> Iterator[Any]:
    """Yield the file as one DataFrame, or as several where `options` has a chunk size."""
    import warnings

    import pandas as pd

    name = _called(path)
    head = stream.peek(1 << 16) if isinstance(stream, io.BufferedReader) else b""
    suffix = Path(path).suffix.lower()
    if not head:
        raise InvalidInput(f"{name} is empty", hint="check the file, or the program that writes it")
    if suffix in _COMPRESSED:
        options.setdefault("compression", _COMPRESSED[suffix])
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
                if "chunksize" not in options and path != "-" and suffix not in _COMPRESSED:
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
        raise InvalidInput(f"{_called(path)} is no Parquet file: {text}", hint="check --format") from None


def _json(data: bytes, path: str) -> Any:
    import json

    name = _called(path)
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
        raise InvalidInput(f"{_called(path)} is no Excel file: {e}", hint="check --format") from None


def _npy(data: bytes, path: str) -> Any:
    import numpy as np

    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as e:
        raise InvalidInput(f"{_called(path)} is no numpy file: {e}", hint="check --format") from None


def _write(obj: Any, stream: BinaryIO, path: str, format: str) -> None:
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


def _to_json(obj: Any) -> str:
    import pandas as pd

    if hasattr(obj, "to_pandas"):
        obj = obj.to_pandas()
    if isinstance(obj, pd.Series):
        obj = obj.to_frame(name="value" if obj.name is None else obj.name)
    if isinstance(obj, pd.DataFrame):
        return console.dumps(records(obj))
    return console.dumps(obj, indent=1)


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


@contextmanager
def _tar_of(folder: Path) -> Iterator[BinaryIO]:
    """A folder as a tar stream, made while it is read, so that it is never held as a whole."""
    import tarfile
    import threading

    reader, writer = os.pipe()
    failed: list[BaseException] = []

    def pack() -> None:
        try:
            with os.fdopen(writer, "wb") as out, tarfile.open(fileobj=out, mode="w|") as tar:
                for item in sorted(folder.iterdir()):
                    tar.add(item, arcname=item.name)
        except BrokenPipeError:
            pass  # the other side has stopped and knows why
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=pack, daemon=True)
    thread.start()
    with os.fdopen(reader, "rb") as stream:
        yield cast(BinaryIO, _Checked(stream, thread, failed, folder))


class _Checked(io.RawIOBase):
    """The reading end of a tar stream; its end is an error if packing failed."""

    def __init__(self, stream: BinaryIO, thread: Any, failed: list[BaseException], folder: Path) -> None:
        self._stream, self._thread, self._failed, self._folder = stream, thread, failed, folder

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        data = self._stream.read(size if size is not None else -1)
        if not data:
            self._thread.join()
            if self._failed:
                raise InvalidInput(f"{self._folder} cannot be read: {self._failed[0]}")
        return data


def _folder_size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink()) or 1


def _called(path: str) -> str:
    return "standard input" if path == "-" else path


def _near(file: Path) -> str | None:
    import difflib

    try:
        near = difflib.get_close_matches(file.name, os.listdir(file.parent), 1)
    except OSError:
        return f"there is no folder {file.parent}"
    return f"did you mean {file.parent / near[0]}?" if near else "see `ls`"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
