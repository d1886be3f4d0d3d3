"""A CSV whose rows are uneven is refused, wherever it comes from and however it is read.

pandas fills short rows up without a word, and cuts a long one that begins a part of a file read in parts.
So the bytes are checked on their way to pandas, which splits fields by the same rules as `csv` does (RFC
4180, and a quote inside an unquoted field is a character). Nearly all blocks are checked without looking at
single rows.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaml.errors import InvalidInput

BLOCK = 1 << 18
# options of pandas.read_csv after which rows may be uneven, or fields are split by other rules than ours
_OTHER_RULES = ("on_bad_lines", "comment", "skipfooter", "lineterminator", "dialect", "delim_whitespace")


@dataclass(frozen=True)
class Layout:
    """How a CSV is split: its marks, and what comes before the rows."""

    separator: str
    quote: str | None
    reader: Mapping[str, Any]  # the arguments of `csv.reader`
    is_plain: bool = True  # nothing but these marks and `""` tells fields apart
    skipped_lines: int = 0
    skipped_rows: int = 0
    rows: int | None = None
    has_header: bool = True
    has_index: bool = False


def layout(options: Mapping[str, Any]) -> Layout | None:
    """Return the layout that options of `pandas.read_csv` mean, None where only pandas can tell."""
    given = {key: value for key, value in options.items() if value is not None}
    header = given.get("header", 0)
    numbers = {key: given.get(key, 0) for key in ("skiprows", "nrows", "quoting")}
    numbers["header"] = 0 if header == "infer" else header
    marks = {"sep": options.get("sep", ","), "quotechar": given.get("quotechar", '"')}
    escape = given.get("escapechar")
    if any(key in given for key in _OTHER_RULES) or not all(type(n) is int for n in numbers.values()):
        return None
    if not all(_is_mark(mark) for mark in (*marks.values(), *([] if escape is None else [escape]))):
        return None
    has_quotes = numbers["quoting"] != csv.QUOTE_NONE
    is_doubled = bool(given.get("doublequote", True))
    return Layout(
        separator=marks["sep"],
        quote=marks["quotechar"] if has_quotes else None,
        reader={
            "delimiter": marks["sep"],
            "quotechar": marks["quotechar"],
            "escapechar": escape,
            "quoting": csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE,
            "doublequote": is_doubled,
            "skipinitialspace": bool(given.get("skipinitialspace", False)),
        },
        is_plain=is_doubled and escape is None and "nrows" not in given,
        skipped_lines=numbers["skiprows"],
        skipped_rows=numbers["header"],
        rows=given.get("nrows"),
        has_header="header" in given or not ("header" in options or "names" in given),
        has_index=given.get("index_col", False) is not False,
    )


def _is_mark(mark: Any) -> bool:
    return isinstance(mark, str) and len(mark) == 1 and mark.isascii() and mark not in "\r\n"


class EvenRows(io.RawIOBase):
    """The bytes of a CSV as they are. Raises InvalidInput naming the first line of another width.

    Args:
        stream: the text, uncompressed, in an encoding that has ASCII's separators.
        name: what the file is called in the error.
    """

    def __init__(self, stream: io.RawIOBase, name: str, layout: Layout) -> None:
        csv.field_size_limit(sys.maxsize)
        self._stream, self._name, self._layout = stream, name, layout
        self._held = b""  # what may go on in the next block
        self._enough = 0  # bytes to hold before another look is worth it
        self._lines = self._rows = 0  # behind us
        self._width: int | None = None
        self._settled = self._ended = False
        self._skip = layout.skipped_lines
        self._others = bytes(set(range(256)) - {ord(layout.separator), ord("\n")})

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer)) or b""
        buffer[: len(data)] = data
        if not self._ended:
            self._check(data)
        return len(data)

    def _check(self, data: bytes) -> None:
        if not self._lines and not self._held:
            data = data.removeprefix(b"\xef\xbb\xbf")
        held, final = self._held + data, not data
        if not final and len(held) < self._enough:
            self._held = held
            return
        done = 0
        while self._skip and (end := held.find(b"\n", done) + 1):
            self._skip, self._lines, done = self._skip - 1, self._lines + 1, end
        while not self._skip and done < len(held) and not self._ended:
            step = self._even_bytes(held[done:]) if self._settled else 0
            step = step or self._read_rows(held[done:], final)
            if not step:
                break
            done += step
        self._held = held[done:]
        self._enough = 0 if done else 2 * len(held)  # a long quotation must not be read again for each block

    def _even_bytes(self, block: bytes) -> int:
        """How many bytes at the start are rows of the right width; 0 where only a closer look can tell."""
        layout = self._layout
        if not layout.is_plain:
            return 0
        if layout.quote is None or layout.quote.encode() not in block:
            end = block.rfind(b"\n") + 1
            marks = block[:end].translate(None, self._others)
        else:
            marks, end = self._unquoted_marks(block)
        part = block[:end]
        count = marks.count(b"\n")
        if b"\r" in part and part.count(b"\r") != part.count(b"\r\n"):
            return 0
        assert self._width is not None
        if marks != (layout.separator.encode() * (self._width - 1) + b"\n") * count:
            return 0
        self._lines += part.count(b"\n")
        return end

    def _unquoted_marks(self, block: bytes) -> tuple[bytes, int]:
        """Separators and line ends outside of quotes, and where the last row ends; nothing for odd quotes."""
        import numpy as np

        separator, quote = ord(self._layout.separator), ord(self._layout.quote or '"')
        data = np.frombuffer(block, np.uint8)
        at = np.flatnonzero((data == separator) | (data == 10) | (data == quote))
        marks = data[at]
        is_quote = marks == quote
        is_inside = np.cumsum(is_quote, dtype=np.uint8) & 1 == 1
        outside = ~is_quote & ~is_inside
        ends = at[outside & (marks == 10)]
        if not len(ends):
            return b"", 0
        last = int(ends[-1])
        opening, closing = at[is_quote & is_inside & (at < last)], at[is_quote & ~is_inside & (at < last)]
        # true quotations begin and end where a field does; `""` in them closes and opens again
        before, after = data[opening[opening > 0] - 1], data[closing + 1]
        begun = (before == separator) | (before == 10) | (before == quote)
        ended = (after == separator) | (after == 10) | (after == quote) | (after == 13)
        if not (begun.all() and ended.all()):
            return b"", 0
        return marks[outside & (at <= last)].tobytes(), last + 1

    def _read_rows(self, block: bytes, final: bool) -> int:
        """Look at each row; return how many bytes they were."""
        lines = _Lines(block, final)
        done, was_settled = 0, self._settled
        for row in csv.reader(lines, **self._layout.reader):
            if lines.ended and not final:
                break  # its quotation goes on in the next block
            line = self._lines + 1
            if lines.ended:
                raise InvalidInput(
                    f"{self._name} cannot be read as CSV: the quotation in line {line} has no end",
                    hint="mend that line, or add --csv quoting=3 if quotes mean nothing",
                )
            self._lines += lines.taken
            lines.taken = 0
            done = lines.offset
            # pandas skips lines of nothing but blanks, too
            if row and not (len(row) == 1 and row[0].isspace()):
                self._judge(row, line)
            if self._ended or self._settled != was_settled:
                break
        return done

    def _judge(self, row: list[str], line: int) -> None:
        self._rows += 1
        data_rows = self._rows - self._layout.skipped_rows - self._layout.has_header
        if self._rows <= self._layout.skipped_rows:
            return
        if self._width is None:
            self._width = len(row)
        elif data_rows == 1 and len(row) == self._width + 1 and (self._layout.has_index or not row[-1]):
            # an index without a name, or rows that all end in a separator
            self._width += 1
        elif len(row) != self._width:
            raise self._uneven(len(row), line, data_rows)
        self._settled = data_rows >= 1
        self._ended = self._layout.rows is not None and data_rows >= self._layout.rows

    def _uneven(self, found: int, line: int, data_rows: int) -> InvalidInput:
        hint = "mend that line"
        if self._width == 1:
            hint += ", or name the separator, as --csv sep=';'"
        elif data_rows == 1 and found == (self._width or 0) + 1:
            hint = "mend the file, or add --csv index_col=0 if the first column is an index"
        return InvalidInput(
            f"{self._name} is not an even table: expected {self._width} fields in line {line}, saw {found}",
            hint=hint,
            line=line,
            expected=self._width,
            found=found,
        )


class _Lines:
    """The lines of a block for `csv.reader`, which says by `ended` that a row wanted more than there is."""

    def __init__(self, block: bytes, final: bool) -> None:
        if not final:  # a line is whole if its end is; the last \r may be half of one
            block = block[: max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1]
        self._lines = io.StringIO(block.decode("latin-1"), newline="")  # a byte a character
        self.offset = self.taken = 0
        self.ended = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._lines.readline()
        if not line:
            self.ended = True
            raise StopIteration
        self.offset += len(line)
        self.taken += 1
        return line
