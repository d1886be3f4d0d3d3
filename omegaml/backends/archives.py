"""Zip archives of unknown origin, looked through before anything in them is used."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from contextlib import suppress
from typing import Any

from omegaml.errors import Corrupt

MAGIC = b"PK\x03\x04"

MOST_MEMBERS = 100_000
FREE = 64 << 20
"""Bytes that an archive may unpack to, however small it is; more has to be in proportion to it."""
GROWTH = 100
PIECE = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def bound(data: bytes) -> int:
    """How many bytes may come of an archive."""
    return max(FREE, GROWTH * len(data))


def unpacked(data: bytes, most: int | None = None) -> dict[str, bytes]:
    """Return what is in an archive of files side by side, by name.

    Args:
        most: bytes that it may unpack to; by default so many as its length lets expect.
    Raises: Corrupt (no archive, damaged; folders or the same name twice; far larger inside than outside).
    """
    most = bound(data) if most is None else most
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS:
                raise Corrupt(f"there are {len(members):,} files in it")
            for member in members:
                name = member.filename
                if not _NAME.fullmatch(name) or name in found or member.flag_bits & 1:
                    raise Corrupt(f"there is a file in it that cannot be: {name[:60]!r}")
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise Corrupt(f"{name!r} in it is compressed in a way that is not read")
                if member.file_size > most:
                    raise Corrupt(f"it is {len(data):,} bytes long and would unpack to far more")
                with archive.open(member) as stream:
                    found[name] = _read(stream, most)
                most -= len(found[name])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as e:
        raise Corrupt(f"it is damaged: {e}") from e
    return found


def _read(stream: Any, most: int) -> bytes:
    """Read to the end in pieces: what the archive says of a size need not be true."""
    pieces: list[bytes] = []
    while piece := stream.read(PIECE):
        pieces.append(piece)
        most -= len(piece)
        if most < 0:
            raise Corrupt("it would unpack to far more than it is long")
    return b"".join(pieces)


def check_array(data: bytes) -> None:
    """Raise Corrupt unless `data` is one array as `numpy.save` writes it, and as long as it says."""
    import numpy as np

    stream = io.BytesIO(data)
    with suppress(ValueError, KeyError, EOFError, TypeError, SyntaxError):
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read[version](stream)
        size = math.prod(shape) * dtype.itemsize
        if not dtype.hasobject and min(shape, default=0) >= 0 and size == len(data) - stream.tell():
            return
    raise Corrupt("an array in it is damaged")
