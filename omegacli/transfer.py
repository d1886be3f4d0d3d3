"""Files and folders in and out, as streams.

An output file appears whole or not at all. pandas is imported by what needs it.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from omegacli import compression, console, formats
from omegaml.errors import InvalidInput, StorageFull
from omegaml.files import replacing

if TYPE_CHECKING:
    import tarfile

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
    return _SUFFIXES.get(Path(compression.bare(path)).suffix.lower(), "binary")


@contextmanager
def source(path: str, format: str) -> Iterator[io.BufferedReader]:
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
    with _open(file, path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        with console.progress(f"reading {file.name}", size or None) as bar:
            yield io.BufferedReader(_Counted(stream, bar), 1 << 18)


def _open(file: Path, path: str, mode: str) -> BinaryIO:
    try:
        return cast(BinaryIO, file.open(mode))
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {path}", hint=_near(file)) from None
    except OSError as e:
        done = "read" if mode == "rb" else "written"
        raise InvalidInput(f"{path} cannot be {done}: {e.strerror}", hint=f"see `ls -l {path}`") from None


def read_file(path: str, format: str | None = None, options: Mapping[str, Any] | None = None) -> Any:
    """Return what a file of data holds: a DataFrame, an array, or for JSON also any other value.

    Args:
        path: the file, or "-" for standard input.
        options: arguments of the reader (`pandas.read_csv`) as given by the user.
    Raises: InvalidInput naming the file and what is wrong with it.
    """
    format = format_of(path, format)
    with source(path, format) as stream:
        return formats.read(stream, path, format, options or {})


def read_chunks(path: str, rows: int, options: Mapping[str, Any] | None = None) -> Iterator[pd.DataFrame]:
    """Yield a CSV file as DataFrames of at most `rows` rows. Raises InvalidInput as `read_file`."""
    with source(path, "csv") as stream:
        yield from formats.read_parts(stream, path, options or {}, rows)


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
    file = Path(os.path.realpath(Path(path).expanduser()))  # a link stays, and what it points to is replaced
    if file.is_dir():
        raise InvalidInput(
            f"{path} is a folder and a file is expected", hint=f"give a file name, as {file / 'data.csv'}"
        )
    if file.exists() and not file.is_file():
        with _open(file, path, "wb") as special:  # as /dev/null or a named pipe, which must never be replaced
            yield special
        return
    # a new file follows the umask, one that is replaced keeps its mode
    mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0o666 & ~umask()
    try:
        with ExitStack() as stack:
            try:
                stream = stack.enter_context(replacing(file, mode))
            except FileNotFoundError:
                raise InvalidInput(
                    f"there is no folder {file.parent}", hint=f"mkdir -p {file.parent}"
                ) from None
            except OSError as e:
                raise InvalidInput(
                    f"{path} cannot be written: {e.strerror}", hint="choose another place"
                ) from None
            yield stream
    except OSError as e:
        import errno

        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"no space left for {path}", hint="free some space; nothing was written"
            ) from None
        raise


def write_file(obj: Any, path: str, format: str) -> None:
    """Write an object to a file, whole or not at all.

    Raises: NotStorable where the format cannot hold the object, InvalidInput and StorageFull as `target`.
    """
    with target(path) as stream:
        formats.write(obj, stream, path, format)


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

    folder = Path(path).expanduser()
    if folder.exists():
        raise InvalidInput(f"{path} exists already", hint="give the name of a new folder")
    if not folder.parent.is_dir():
        raise InvalidInput(f"there is no folder {folder.parent}", hint=f"mkdir -p {folder.parent}")
    part = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}")
    try:
        part.mkdir(0o700)
        with (
            console.progress(f"writing {path}") as bar,
            tarfile.open(fileobj=_Counted(stream, bar), mode="r|") as tar,
        ):
            tar.extractall(part, filter="data")
        os.chmod(part, 0o777 & ~umask())
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
                    tar.add(item, arcname=item.name, filter=_portable)
        except BrokenPipeError:
            pass  # the other side has stopped and knows why
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=pack, daemon=True)
    thread.start()
    with os.fdopen(reader, "rb") as stream:
        yield cast(BinaryIO, _Checked(stream, thread, failed, folder))


def _portable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """`member` as it is. Raises FilterError for what unpacking would refuse, as links that lead out."""
    import tarfile

    tarfile.data_filter(member, "/folder")
    return member


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
                raise InvalidInput(
                    f"{self._folder} cannot be stored: {self._failed[0]}",
                    hint="a folder may hold files, folders, and links within it",
                )
        return data


def _folder_size(folder: Path) -> int:
    """The bytes of its files, for progress; what cannot be looked at is said when it is packed."""
    size = 0
    for item in folder.rglob("*"):
        with suppress(OSError):
            found = item.lstat()
            size += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return size or 1


def _near(file: Path) -> str | None:
    import difflib

    try:
        near = difflib.get_close_matches(file.name, os.listdir(file.parent), 1)
    except OSError:
        return f"there is no folder {file.parent}"
    return f"did you mean {file.parent / near[0]}?" if near else "see `ls`"


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
