"""Files of any kind as the bytes they are: paths, bytes and file objects."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

from omegaml.backends.base import Blob
from omegaml.errors import InvalidInput


class FileBackend:
    """A file is streamed in, and comes back as a binary file object; bytes come back as bytes."""

    kind, format, payload, name = "python.file", 1, Blob, "file"

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, bytes | bytearray | memoryview | str | Path) or callable(
            getattr(obj, "read", None)
        )

    def encode(self, obj: Any) -> Blob:
        """`obj`: bytes-like, a path (str or Path) of a file, or a file object opened as binary.

        Raises: InvalidInput (no such file, a directory, no permission, a file opened as text).
        """
        if isinstance(obj, bytes | bytearray):
            return Blob(obj, {"python": type(obj).__name__}, len(obj))
        if isinstance(obj, memoryview):
            # readers slice it by bytes, whatever its items are
            data = obj.cast("B") if obj.c_contiguous and obj.nbytes else obj.tobytes()
            return Blob(data, {"python": "bytes"}, obj.nbytes)
        if isinstance(obj, str | Path):
            return _open(Path(obj))
        if isinstance(obj, io.TextIOBase):
            raise InvalidInput("the file was opened as text", hint='open it with mode "rb"')
        meta = {}
        name = getattr(obj, "name", None)
        if isinstance(name, str) and name:
            meta["filename"] = Path(name).name
        return Blob(obj, meta)

    def decode(self, payload: Blob, format: int) -> bytes | bytearray | BinaryIO:
        python = payload.meta.get("python")
        if python == "bytes":
            return bytes(payload.read())
        if python == "bytearray":
            return bytearray(payload.read())
        data = payload.data
        return io.BytesIO(data) if isinstance(data, bytes | bytearray | memoryview) else data


class _ClosesAtEnd(io.FileIO):
    """A file that is read once and closes itself, because what reads it does not know who opened it."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.closed:
            return b""
        data = super().read(-1 if size is None else size) or b""
        if not data or size is None or size < 0:
            self.close()
        return data


def _open(path: Path) -> Blob:
    try:
        if path.is_dir():
            raise InvalidInput(
                f"{str(path)!r} is a directory", hint="store its files one by one, or an archive of it"
            )
        return Blob(_ClosesAtEnd(path), {"filename": path.name}, path.stat().st_size)
    except (OSError, ValueError) as e:
        raise InvalidInput(f"{str(path)!r} cannot be read: {getattr(e, 'strerror', None) or e}") from e
