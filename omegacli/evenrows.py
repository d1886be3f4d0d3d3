"""A CSV whose rows are uneven is refused, wherever it comes from and however it is read.

pandas fills short rows up without a word, and cuts a long one that begins a part of a file read in parts.
So the bytes are checked on their way to pandas, which splits fields by the same rules as `csv` does (RFC
4180, and a quote inside an unquoted field is a character). Nearly all blocks are checked without looking at
single rows.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaml.errors import InvalidInput

BLOCK = 1 << 18


@dataclass(frozen=True)
class Layout:
    """How a CSV is split: its marks, and what comes before the rows.

    Attributes:
        reader: the arguments of `csv.reader`.
        pattern: a separator of several characters, by which pandas splits lines whatever quotes they hold.
        comment: what follows it is no part of a row; `cuts_cells` if it counts inside of quotes, too.
        line_end: the one byte that ends a row, where that is another than usual.
        is_text: separators must be found in the text, not in its bytes.
        is_plain: nothing but these marks and `""` tells fields apart.
        skipped: numbers of rows that are none, counted from the start.
        footer: how many rows at the end are none.
        drops_empty: rows may end in a separator, whose empty field is dropped.
    """

    separator: str
    quote: str | None
    reader: Mapping[str, Any]
    pattern: re.Pattern[str] | None = None
    comment: str | None = None
    cuts_cells: bool = False
    line_end: bytes | None = None
    is_text: bool = False
    is_plain: bool = True
    skipped_lines: int = 0
    skipped: frozenset[int] = frozenset()
    skipped_rows: int = 0
    header_rows: int = 1
    footer: int = 0
    rows: int | None = None
    has_index: bool = False
    drops_empty: bool = True


def layout(options: Mapping[str, Any]) -> Layout | None:
    """Return the layout that options of `pandas.read_csv` mean.

    None where uneven rows are asked for (`on_bad_lines`), and for values that pandas refuses.
    """
    given = {key: value for key, value in options.items() if value is not None}
    header, skipped = given.get("header", 0), given.get("skiprows", 0)
    header = [0 if header == "infer" else header] if not isinstance(header, list | tuple) else list(header)
    skipped_lines, skipped = (skipped, ()) if isinstance(skipped, int) else (0, skipped)
    numbers = [given.get(key, 0) for key in ("nrows", "quoting", "skipfooter")]
    separator, quote = options.get("sep", ","), given.get("quotechar", '"')
    escape, comment, line_end = (given.get(key) for key in ("escapechar", "comment", "lineterminator"))
    is_python = given.get("engine") in ("python", "python-fwf")
    if "on_bad_lines" in given or not (isinstance(skipped, list | tuple | set) and header):
        return None
    if not all(type(n) is int for n in (*header, skipped_lines, *skipped, *numbers)):
        return None
    if not all(_is_mark(mark) for mark in (quote, escape, comment) if mark is not None):
        return None
    if not isinstance(separator, str) or not separator or (line_end and not _is_byte(line_end)):
        return None
    has_quotes = given.get("quoting", 0) != csv.QUOTE_NONE
    is_doubled = bool(given.get("doublequote", True))
    is_split = len(separator) > 1
    return Layout(
        separator=separator,
        quote=quote if has_quotes else None,
        reader={
            "delimiter": separator[0],
            "quotechar": quote,
            "escapechar": escape,
            "quoting": csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE,
            "doublequote": is_doubled,
            "skipinitialspace": bool(given.get("skipinitialspace", False)),
        },
        pattern=re.compile(separator) if is_split else None,
        comment=comment,
        cuts_cells=is_python,
        line_end=line_end.encode() if line_end else None,
        is_text=is_split or not separator.isascii(),
        is_plain=is_doubled
        and escape is None
        and not is_split
        and separator.isascii()
        and not ("nrows" in given or given.get("skipfooter")),
        skipped_lines=skipped_lines,
        skipped=frozenset(skipped),
        skipped_rows=header[0],
        header_rows=header[-1] - header[0] + 1 if _has_header(options) else 0,
        footer=given.get("skipfooter", 0),
        rows=given.get("nrows"),
        has_index=given.get("index_col", False) is not False,
        drops_empty=options.get("index_col", False) is not None,
    )


def _has_header(options: Mapping[str, Any]) -> bool:
    if options.get("header") is not None:
        return True
    return not ("header" in options or "names" in options)


def _is_mark(mark: Any) -> bool:
    return _is_byte(mark) and mark not in "\r\n"


def _is_byte(mark: Any) -> bool:
    return isinstance(mark, str) and len(mark) == 1 and mark.isascii()


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
        self._lines = self._records = self._rows = 0  # behind us
        self._footer: deque[tuple[list[str], int]] = deque()
        self._width: int | None = None
        self._settled = self._ended = False
        self._skip = layout.skipped_lines
        self._others = bytes(set(range(256)) - {ord("\n"), *layout.separator[:1].encode()})
        end = layout.line_end
        self._ends = bytes.maketrans(b"\r\n" + end, b"xx\n") if end else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer)) or b""
        buffer[: len(data)] = data
        if not self._ended:
            self._check(data)
        return len(data)

    def _check(self, data: bytes) -> None:
        if self._ends:
            data = data.translate(self._ends)
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
        if not layout.is_plain or (layout.comment and layout.comment.encode() in block):
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
        lines = _Lines(block, final, self._layout)
        done, was_settled = 0, self._settled
        for row in lines.rows():
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
            self._take(row, line)
            if self._ended or self._settled != was_settled:
                break
        return done

    def _take(self, row: list[str], line: int) -> None:
        """Judge a row, unless it is one of those that are skipped at the start or at the end."""
        self._records += 1
        if self._records - 1 in self._layout.skipped:
            return
        self._footer.append((row, line))
        if len(self._footer) > self._layout.footer:
            row, line = self._footer.popleft()
            # pandas skips lines of nothing but blanks, too
            if row and not (len(row) == 1 and row[0].isspace()):
                self._judge(row, line)

    def _judge(self, row: list[str], line: int) -> None:
        self._rows += 1
        data_rows = self._rows - self._layout.skipped_rows - self._layout.header_rows
        if self._rows <= self._layout.skipped_rows:
            return
        if self._width is None:
            self._width = len(row)
        elif data_rows == 1 and len(row) == self._width + 1 and self._may_be_wider(row):
            # an index without a name, or rows that all end in a separator
            self._width += 1
        elif len(row) != self._width:
            raise self._uneven(len(row), line, data_rows)
        self._settled = data_rows >= 1 and self._records > max(self._layout.skipped, default=0)
        self._ended = self._layout.rows is not None and data_rows >= self._layout.rows

    def _may_be_wider(self, row: list[str]) -> bool:
        return self._layout.has_index or (self._layout.drops_empty and not row[-1])

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
    """The lines of a block and their rows; `ended` says that the last row wanted more than there is."""

    def __init__(self, block: bytes, final: bool, layout: Layout) -> None:
        if not final:  # a line is whole if its end is; the last \r may be half of one
            block = block[: max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1]
        # a byte a character, where that makes no difference
        self._encoding = "utf-8" if layout.is_text else "latin-1"
        self._lines = io.StringIO(block.decode(self._encoding, "surrogatepass"), newline="")
        self._layout = layout
        self._comments = _Comments(layout) if layout.comment and not layout.cuts_cells else None
        self.offset = self.taken = 0
        self.ended = False

    def rows(self) -> Iterator[list[str]]:
        layout = self._layout
        found: Iterator[list[str]]
        if layout.pattern:
            found = (layout.pattern.split(line.strip()) if line.strip() else [] for line in self)
        else:
            found = csv.reader(self, **layout.reader)
        return (self._cut(row) for row in found) if layout.comment and layout.cuts_cells else found

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._lines.readline()
        if not line:
            self.ended = True
            raise StopIteration
        self.offset += len(line if not self._layout.is_text else line.encode("utf-8", "surrogatepass"))
        self.taken += 1
        return self._comments.without(line) if self._comments else line

    def _cut(self, row: list[str]) -> list[str]:
        """A row up to the first cell with a comment, as the other engine of pandas takes it."""
        comment = self._layout.comment or ""
        for number, cell in enumerate(row):
            if comment in cell:
                rest = cell.partition(comment)[0]
                return [*row[:number], rest] if rest else row[:number]
        return row


class _Comments:
    """Takes comments off lines that come one after the other; a mark in a quotation begins none."""

    def __init__(self, layout: Layout) -> None:
        separator, comment = re.escape(layout.separator), re.escape(layout.comment or "")
        escaped = layout.reader["escapechar"]
        any_escaped = rf"|{re.escape(escaped)}." if escaped else ""
        no_escape = re.escape(escaped) if escaped else ""
        quote = re.escape(layout.quote or "")
        doubled = f"|{quote}{quote}" if layout.reader["doublequote"] else ""
        self._layout, self._is_open = layout, False
        self._quoted = re.compile(
            rf"(?:[^{quote}{no_escape}]{doubled}{any_escaped})*+" if quote else "", re.S
        )
        self._plain = re.compile(rf"(?:[^{separator}{comment}\r\n{no_escape}]{any_escaped})*+", re.S)

    def without(self, line: str) -> str:
        """The line without its comment; one that has nothing else is a blank line."""
        layout, at = self._layout, 0
        while True:
            if not self._is_open and layout.reader["skipinitialspace"]:
                at += len(line[at:]) - len(line[at:].lstrip(" "))
            if self._is_open or (layout.quote and line.startswith(layout.quote, at)):
                found = self._quoted.match(line, at if self._is_open else at + 1)
                at = found.end() if found else at
                self._is_open = at == len(line)
                if self._is_open:
                    return line
                at += 1
                if line.startswith(layout.comment or "", at):
                    at += 1  # pandas takes the first mark after a quotation for text
            found = self._plain.match(line, at)
            at = found.end() if found else at
            if line[at : at + 1] == layout.comment:
                end = line[len(line.rstrip("\r\n")) :]
                return ("x" if line[:at].isspace() else line[:at]) + end  # pandas takes that for a cell
            if line[at : at + 1] != layout.separator:
                return line
            at += 1
