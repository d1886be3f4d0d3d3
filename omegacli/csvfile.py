"""CSV from any stream, compressed or not, with the values of `pandas.read_csv`; uneven rows are refused."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegacli import compression, evenrows
from omegaml.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

# first bytes of files that are taken for a CSV by mistake
_MAGIC = {
    b"PAR1": "a Parquet file (--format parquet)",
    b"PK\x03\x04": "an Excel or zip file (--format excel or binary)",
    b"\x93NUMPY": "a numpy file (--format npy)",
    b"%PDF": "a PDF file (--format binary)",
    b"ARROW1": "an Arrow file (--format binary)",
    b"\xd0\xcf\x11\xe0": "an old Excel file (--format excel)",
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# these are ours to say, or would leave a part of the file unread without a word
_OURS = ("filepath_or_buffer", "chunksize", "iterator", "compression", "memory_map", "storage_options")


def read(stream: io.BufferedReader, name: str, options: Mapping[str, Any], separator: str) -> pd.DataFrame:
    """Return the whole table.

    Args:
        name: what the file is called in errors.
        options: of `pandas.read_csv`, as the user gave them.
        separator: the one used where `options` names none.
    Raises: InvalidInput for what is no CSV, with the line where there is one.
    """
    with _parts(stream, name, options, separator, None) as parts:
        return next(parts)


def read_parts(
    stream: io.BufferedReader, name: str, options: Mapping[str, Any], separator: str, rows: int
) -> Iterator[pd.DataFrame]:
    """Yield the table as parts of at most `rows` rows, each counted from 0. Raises InvalidInput as `read`."""
    with _parts(stream, name, options, separator, rows) as parts:
        yield from parts


@contextmanager
def _parts(
    stream: io.BufferedReader, name: str, given: Mapping[str, Any], separator: str, rows: int | None
) -> Iterator[Iterator[pd.DataFrame]]:
    import warnings

    import pandas as pd

    options = _checked(given, separator)
    with (
        warnings.catch_warnings(),
        _translated(name),
        compression.unpacked(stream, name) as unpacked,
    ):
        warnings.simplefilter("error", pd.errors.ParserWarning)
        text = _Utf8(
            _checked_text(unpacked, name, options),
            name,
            str(options.pop("encoding", None) or "utf-8"),
            str(options.pop("encoding_errors", None) or "strict"),
        )
        if options["sep"] is None:
            options["sep"] = _sniffed(text.first_row(options), name)
        layout = evenrows.layout(options)
        source: io.RawIOBase = text
        if layout is not None:
            source = evenrows.EvenRows(text, name, layout)
        elif rows is not None:
            # for parts, the other engine of pandas cuts surplus fields where they begin one
            options.setdefault("engine", "python")
        buffered = io.BufferedReader(source, evenrows.BLOCK)
        if rows is None:
            yield iter([pd.read_csv(buffered, **options)])
        else:
            found = pd.read_csv(buffered, chunksize=rows, **options)
            is_numbered = options["index_col"] is False or options["index_col"] is None
            yield (part.reset_index(drop=True) if is_numbered else part for part in found)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turn the errors of pandas into ours."""
    import pandas as pd

    try:
        yield
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
            f"{name} is not an even table: {text}", hint="mend that line, or set --csv sep=';'"
        ) from None
    except (LookupError, TypeError, ValueError, re.error) as e:
        text = " ".join(str(e).split())
        raise InvalidInput(f"{name} cannot be read as CSV: {text}", hint="check the --csv options") from None


def _checked(given: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """The options for pandas. Raises InvalidInput for one that there is not."""
    import difflib
    import inspect

    import pandas as pd

    known = [p for p in inspect.signature(pd.read_csv).parameters if p not in _OURS]
    for key in given:
        if key == "compression":
            raise InvalidInput(
                "--csv compression is not needed", hint="leave it out: files tell it themselves"
            )
        if key == "dialect":
            raise InvalidInput(
                "--csv dialect is not taken", hint="name its parts: sep, quotechar, escapechar, doublequote"
            )
        if key == "chunksize":
            raise InvalidInput("--csv chunksize is a flag of its own", hint=f"--chunksize {given[key]}")
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else "see the arguments of pandas.read_csv"
            raise InvalidInput(f"--csv {key}: there is no such option", hint=hint)
    options = dict(given)
    if "delimiter" in options:
        options["sep"] = options.pop("delimiter")
    options = {"sep": separator, **options}
    if options.pop("delim_whitespace", False):
        options["sep"] = r"\s+"
    sep = options["sep"]
    # what pandas leaves to its other engine, which it would warn of
    if sep is None or len(str(sep)) > 1 or not str(sep).isascii() or options.get("skipfooter"):
        if options.get("engine", "python") != "python":
            raise InvalidInput(
                f"--csv engine={options['engine']} cannot split by {sep!r} or skip a footer",
                hint="leave engine out",
            )
        options["engine"] = "python"
    # without index_col, pandas takes surplus fields for an index; with it, it warns that it would drop them
    is_index_free = isinstance(options.get("header"), list | tuple)  # with several there can be no False
    return {"index_col": None if is_index_free else False, **options}


def _sniffed(row: str, name: str) -> str:
    """The separator that a row looks to have. Raises InvalidInput."""
    import csv

    try:
        return csv.Sniffer().sniff(row).delimiter
    except csv.Error:
        raise InvalidInput(f"{name} does not show its separator", hint="name it, as --csv sep=';'") from None


def _checked_text(stream: io.BufferedReader, name: str, options: dict[str, Any]) -> io.BufferedReader:
    """`stream`, if its first bytes are text. Raises InvalidInput."""
    head = stream.peek(1 << 16)
    if not head:
        raise InvalidInput(f"{name} is empty", hint="check the file, or the program that writes it")
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise InvalidInput(f"{name} is no CSV, it looks like {what}")
    if head.startswith(_UTF16):
        options.setdefault("encoding", "utf-16")
    elif b"\0" in head and not str(options.get("encoding", "")).lower().startswith(("utf-", "utf_")):
        raise InvalidInput(
            f"{name} is no CSV, it holds binary data", hint="use --format binary to store it as it is"
        )
    return stream


class _Utf8(io.RawIOBase):
    """A text of any encoding as UTF-8. Raises InvalidInput naming the line that is of another one."""

    def __init__(self, stream: io.BufferedReader, name: str, encoding: str, errors: str) -> None:
        import codecs

        self._stream, self._name, self._encoding = stream, name, encoding
        self._is_utf8 = codecs.lookup(encoding).name in ("utf-8", "ascii") and errors == "strict"
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._lines = 0
        self._left = b""

    def readable(self) -> bool:
        return True

    def first_row(self, options: Mapping[str, Any]) -> str:
        """The first line that is neither skipped nor blank nor a comment; it can still be read."""
        skipped, comment = options.get("skiprows") or 0, options.get("comment") or "\n"
        skipped = range(skipped) if isinstance(skipped, int) else skipped
        ended = False
        while True:
            lines = re.split(rb"\r\n|[\r\n]", self._left.removeprefix(b"\xef\xbb\xbf"))
            for number, line in enumerate(lines if ended else lines[:-1]):
                text = line.decode(errors="replace").partition(comment)[0]
                if number not in skipped and text.strip():
                    return text
            if ended:
                return ""
            piece = self._stream.read(evenrows.BLOCK)
            self._left += self._recoded(piece)
            ended = not piece

    def readinto(self, buffer: Any) -> int:
        data = self._left
        while not data:
            piece = self._stream.read(len(buffer))
            data = self._recoded(piece)
            if not piece:
                break
        self._left = data[len(buffer) :]
        n = min(len(data), len(buffer))
        buffer[:n] = data[:n]
        return n

    def _recoded(self, piece: bytes) -> bytes:
        try:
            text = self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as e:
            before = e.object[: e.start]
            line = self._lines + before.count(b"\n") + 1
            bad = e.object[e.start : e.start + 1].hex()
            raise InvalidInput(
                f"{self._name} is not {self._encoding.upper()}: byte {bad} in line {line}",
                hint="name its encoding, as --csv encoding=latin-1",
                line=line,
            ) from None
        self._lines += text.count("\n")
        return piece if self._is_utf8 else text.encode("utf-8", "surrogatepass")
