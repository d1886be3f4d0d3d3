"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of `path` when the block ends well, else is gone.

    Only its owner may read it (0600) until then, when it gets `mode`. Who must not lose it when the machine
    stops calls `os.fsync` in the block. Raises OSError.
    """
    # named before it is made, unlike by tempfile: an interrupt between the two leaves nothing behind
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
