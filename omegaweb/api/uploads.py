"""Bodies that are stored as datasets: first written to a file as they come, then read in parts.

So a body that ends early or is too large changes nothing, and one that has to be tried again can be.
"""

from __future__ import annotations

import errno
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
from django.conf import settings
from django.http import UnreadablePostError
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.request import Request

from omegaml.errors import InvalidInput, Mismatch, StorageFull
from omegaweb.api import bodies, parts
from omegaweb.api.downloads import ARROW, CSV, PARQUET
from omegaweb.api.parsing import TooLarge

FORMATS = {
    "application/json": "json",
    CSV: "csv",
    ARROW: "arrow",
    "application/vnd.apache.arrow.file": "arrow",
    PARQUET: "parquet",
    "application/x-parquet": "parquet",
}
# a small body that stands for endless rows is refused: repeated values take next to nothing in Parquet
UNPACKED_BYTES, UNPACKED_TIMES = 1 << 30, 200
_IN_PARTS = "append it in parts"
_BLOCK = 1 << 20


class CsvParser(BaseParser):
    media_type = CSV


class ArrowParser(BaseParser):
    media_type = ARROW


class ParquetParser(BaseParser):
    media_type = PARQUET


PARSERS = (JSONParser, CsvParser, ArrowParser, ParquetParser)  # for the schema: bodies are read here


@dataclass(frozen=True)
class Upload:
    """A body in a file.

    Attributes:
        digest: the SHA-256 of it.
        size: its length in bytes.
    """

    file: BinaryIO
    format: str
    digest: str
    size: int

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body's own words; {} where it is no JSON."""
        if self.format != "json":
            return {}
        self.file.seek(0)
        return bodies.loaded(self.file)

    def parts(self, like: Any = None) -> Iterator[Any]:
        """Yield the rows in parts, as frames; may be called again.

        Args:
            like: the dataset that they are added to, without its rows: they get the order of its columns and,
                where nothing is lost by that, its dtypes.
        """
        if self.format == "json":
            yield fitted(bodies.decoded(self.json), like)
            return
        nullable = parts.with_nulls(self._tables())
        for table in self._tables():
            yield fitted(table if isinstance(like, pa.Table) else parts.as_frame(table, nullable), like)

    def _tables(self) -> Iterator[pa.Table]:
        most, found = max(UNPACKED_BYTES, UNPACKED_TIMES * self.size), 0
        self.file.seek(0)
        for table in parts.READERS[self.format](self.file):
            found += table.nbytes
            if found > most:
                raise TooLarge(f"the body has more than {most:,} bytes when it is unpacked", hint=_IN_PARTS)
            yield table


@contextmanager
def received(request: Request) -> Iterator[Upload]:
    """The body of a request, in a file that goes with the block.

    Raises: TooLarge, InvalidInput (it ended early), UnsupportedMediaType, StorageFull.
    """
    media_type = (request.content_type or "").partition(";")[0].strip().lower()
    format = FORMATS.get(media_type)
    if format is None:
        raise UnsupportedMediaType(media_type or "nothing")
    most = settings.OMEGA_JSON_BYTES if format == "json" else settings.OMEGA_BODY_BYTES
    announced = request.META.get("CONTENT_LENGTH") or None
    if announced is not None and int(announced) > most:
        raise _too_large(most, format)
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as file:
        for block in _blocks(request):
            size += len(block)
            if size > most:
                raise _too_large(most, format)
            digest.update(block)
            _write(file, block)
        file.flush()
        if announced is not None and size != int(announced):
            raise InvalidInput(
                f"the body ended after {size:,} of {int(announced):,} bytes", hint="send it again"
            )
        if not size:
            raise InvalidInput("the body is empty", hint="send rows as JSON, CSV, Arrow or Parquet")
        yield Upload(file, format, digest.hexdigest(), size)


def fitted(part: Any, like: Any) -> Any:
    """Return the rows in the order and, where that loses nothing, the dtypes of `like`'s columns.

    What does not fit stays as it is: the store refuses it, naming the column. Raises Mismatch for Arrow.
    """
    if isinstance(part, pa.Table):
        if like is None or part.schema.equals(like.schema):
            return part
        if set(part.column_names) != set(like.column_names):
            return part
        try:
            return part.select(like.column_names).cast(like.schema)
        except (pa.ArrowException, ValueError) as error:
            raise Mismatch(f"the rows do not fit the dataset: {error}") from None
    if not isinstance(like, pd.DataFrame) or not (like.columns.is_unique and part.columns.is_unique):
        return part
    if isinstance(like.columns, pd.MultiIndex) or isinstance(part.columns, pd.MultiIndex):
        return part
    texts = {str(label): label for label in like.columns}
    if len(texts) < len(like.columns) or set(texts) != {str(label) for label in part.columns}:
        return part
    part = part.rename(columns=lambda label: texts[str(label)])[list(like.columns)]
    for label in [c for c in like.columns if part[c].dtype != like[c].dtype]:
        part[label] = _fitted_column(part[label], like[label].dtype)
    return part


def _fitted_column(cells: pd.Series, dtype: Any) -> pd.Series:
    is_text = not pd.api.types.is_numeric_dtype(cells.dtype)
    known = cells[cells.notna()]
    if len(known) and is_text and (pd.api.types.is_numeric_dtype(dtype) or dtype.kind == "O"):
        return cells  # numbers in words are no numbers
    if len(known) and not is_text and not pd.api.types.is_numeric_dtype(dtype):
        return cells
    try:
        made = cells.astype(dtype)
        same = made[made.notna()]
        is_same = len(same) == len(known) and (is_text or bool((same.to_numpy() == known.to_numpy()).all()))
    except (ValueError, TypeError, OverflowError):
        return cells
    return made if is_same else cells


def _blocks(request: Request) -> Iterator[bytes]:
    """The body as it comes; Django itself takes no body whose length is not announced."""
    environ = request.META
    source: Any = request._request
    if environ.get("CONTENT_LENGTH") in (None, "") and environ.get("wsgi.input_terminated"):
        source = environ["wsgi.input"]
    try:
        while block := source.read(_BLOCK):
            yield block
    except (UnreadablePostError, OSError) as error:
        raise InvalidInput("the body ended early", hint="send it again") from error


def _write(file: Any, block: bytes) -> None:
    try:
        file.write(block)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the web application's disk is full", hint="tell the administrator") from None
        raise


def _too_large(most: int, format: str) -> TooLarge:
    other = "send CSV, Arrow or Parquet instead" if format == "json" else _IN_PARTS
    return TooLarge(f"the body is larger than {most:,} bytes", hint=other)
