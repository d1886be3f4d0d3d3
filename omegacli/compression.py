"""Compressed files: known by their first bytes when read, by their name when written."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from omegaml.errors import InvalidInput

SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_BZ2_BLOCK = b"1AY&SY"  # a text may begin with BZh, but hardly go on like this


def bare(path: str) -> str:
    """Return `path` without the suffix of a compression."""
    suffix = Path(path).suffix
    return path[: -len(suffix)] if suffix.lower() in SUFFIXES else path


@contextmanager
def unpacked(stream: io.BufferedReader, name: str) -> Iterator[io.BufferedReader]:
    """Read what a stream holds, unpacked if it is compressed. Raises InvalidInput for damaged data."""
    import lzma
    import zlib

    try:
        yield _unpacked(stream)
    except EOFError:
        raise InvalidInput(f"{name} ends too early", hint="is the file complete?") from None
    except (OSError, zlib.error, lzma.LZMAError) as e:
        raise InvalidInput(f"{name} cannot be read: {e}", hint="is the file complete?") from None


def _unpacked(stream: io.BufferedReader) -> io.BufferedReader:
    head = stream.peek(16)
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if kind == "gzip":
        import gzip

        raw: object = gzip.GzipFile(fileobj=stream)
    elif kind == "bz2" and head[4:].startswith(_BZ2_BLOCK):
        import bz2

        raw = bz2.BZ2File(stream)
    elif kind == "xz":
        import lzma

        raw = lzma.LZMAFile(stream)  # noqa: SIM115 (the reader below closes it)
    elif kind == "zstd":
        import pyarrow as pa

        raw = pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
    else:
        return stream
    return io.BufferedReader(cast(io.RawIOBase, raw), 1 << 18)


@contextmanager
def packed(stream: BinaryIO, path: str) -> Iterator[BinaryIO]:
    """Write to `stream`, compressed as the name of the file says."""
    kind = SUFFIXES.get(Path(path).suffix.lower())
    if kind == "gzip":
        import gzip

        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=6) as out:
            yield cast(BinaryIO, out)
    elif kind == "bz2":
        import bz2

        with bz2.BZ2File(stream, "wb") as out:
            yield cast(BinaryIO, out)
    elif kind == "xz":
        import lzma

        with lzma.LZMAFile(stream, "wb") as out:
            yield cast(BinaryIO, out)
    elif kind == "zstd":
        import pyarrow as pa

        with pa.CompressedOutputStream(pa.PythonFile(Unclosed(stream), "w"), "zstd") as out:
            yield out
    else:
        yield stream


class Unclosed(io.RawIOBase):
    """A writable stream for writers that close what they are given."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(data)
        return len(data)
