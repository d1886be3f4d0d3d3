"""What can be told of the file of a model without loading it, which could run what is in it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickletools
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from omegaml.backends import skops
from omegaml.errors import Corrupt, InvalidInput

HEAD = 64 * 1024
"""Bytes from the beginning of a file that `inspect` wants."""

# what a file begins with that joblib.dump has compressed; as in joblib.numpy_pickle_utils
_COMPRESSED: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x78", zlib.decompressobj),
    (b"\x1f\x8b", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)),
    (b"BZ", bz2.BZ2Decompressor),
    (b"\xfd\x37\x7a\x58\x5a", lzma.LZMADecompressor),
    (b"\x5d\x00", lzma.LZMADecompressor),
)
_PICKLE = b"\x80"
_NEWEST = 5
# the name of the first file in an archive that skops.io.dump has written, after 30 bytes of other things
_SKOPS = re.compile(rb"(?s)PK\x03\x04.{26}(schema\.json|[0-9a-f-]+\.(npy|npz|bin))")


def kind_of(head: bytes) -> str:
    """Return the kind of model that a file holds, by its first bytes: skops' or that of joblib and pickle."""
    return "sklearn.skops" if _SKOPS.match(head) else "sklearn.joblib"


def inspect(head: bytes) -> dict[str, Any]:
    """Return `{module, class}` of the model in a file of skops, joblib or pickle, as far as that is clear.

    Args:
        head: the first bytes of the file.
    Raises: InvalidInput if it is no such file.
    """
    if kind_of(head) == "sklearn.skops":
        with suppress(Corrupt):  # unless it is small, only the head is here
            return skops.about(head)
        return {}
    data = head
    for magic, decompressor in _COMPRESSED:
        if head.startswith(magic):
            with suppress(zlib.error, OSError, lzma.LZMAError, EOFError, gzip.BadGzipFile):
                data = decompressor().decompress(head)
            break
    if len(data) < 4 or not data.startswith(_PICKLE) or not 2 <= data[1] <= _NEWEST:
        raise InvalidInput("this is no file of a model", hint="send what skops.io.dump or joblib.dump writes")
    return _class_in(data)


def _class_in(data: bytes) -> dict[str, Any]:
    """The first class that the pickle names, which is that of the object in it."""
    texts: list[str] = []
    with suppress(ValueError, IndexError, UnicodeDecodeError):  # only the head is here
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                return {"module": module, "class": name}
            if opcode.name == "STACK_GLOBAL" and len(texts) > 1:
                return {"module": texts[-2], "class": texts[-1]}
            if isinstance(argument, str):
                texts.append(argument)
    return {}
