"""CSV in: the values of pandas, from any stream, and every uneven row refused with its line."""

from __future__ import annotations

import csv
import gzip
import io
import random
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from omegacli import evenrows, formats, transfer
from omegaml.errors import InvalidInput

CELLS = ["", "x", "12", "0.5", "a b", "ü", "a,b", 'say "no"', "two\nlines", '""', "\r\n", " ", "'"]


@pytest.fixture(params=[16, 1 << 18], ids=["small blocks", "large blocks"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(evenrows, "BLOCK", request.param)
    return int(request.param)


def read(data: bytes, path: str = "t.csv", rows: int | None = None, **options: Any) -> pd.DataFrame:
    """The frame that `omegacli datasets put` would store."""
    stream = io.BufferedReader(io.BytesIO(data))
    if rows is None:
        return formats.read(stream, path, "csv", options)
    return pd.concat(list(formats.read_parts(stream, path, options, rows)), ignore_index=True)


def refused(data: bytes, **how: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read(data, **how)
    return caught.value


def table(seed: int, **dialect: Any) -> list[str]:
    """A random even table as text, a row an item."""
    draw = random.Random(seed)
    width, texts = draw.randint(2, 5), []
    for number in range(draw.randint(2, 60)):
        cells = [f"c{i}" for i in range(width)] if not number else draw.choices(CELLS, k=width)
        if not any(cells[1:]) or cells[0].isspace():
            cells[1] = "y"  # no row may look like a blank line
        out = io.StringIO()
        csv.writer(out, lineterminator=draw.choice(["\n", "\r\n"]), **dialect).writerow(cells)
        texts.append(out.getvalue())
        if number and draw.random() < 0.05:
            texts[-1] += "\n"  # a blank line, which pandas skips
    return texts


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("seed", range(40))
def test_an_even_table_is_what_pandas_reads(seed: int, quoting: Any, block: int) -> None:
    data = "".join(table(seed, quoting=quoting)).encode()
    expected = pd.read_csv(io.BytesIO(data), index_col=False)
    assert_frame_equal(read(data), expected)
    assert_frame_equal(read(data.rstrip(b"\r\n")), pd.read_csv(io.BytesIO(data.rstrip(b"\r\n"))))


@pytest.mark.parametrize("rows", [None, 1, 7])
@pytest.mark.parametrize("change", ["long", "short"])
@pytest.mark.parametrize("seed", range(20))
def test_an_uneven_row_is_refused_wherever_it_is(
    seed: int, change: str, rows: int | None, block: int
) -> None:
    texts = table(seed)
    width, at = texts[0].count(",") + 1, random.Random(seed).randrange(1, len(texts))
    texts[at] = "1," * width + "1\n" if change == "long" else "1," * (width - 2) + "1\n"
    error = refused("".join(texts).encode(), rows=rows)
    line, saw = "".join(texts[:at]).count("\n") + 1, width + (1 if change == "long" else -1)
    assert error.details == {"line": line, "expected": width, "found": saw}
    assert f"expected {width} fields in line {line}, saw {saw}" in error.message and "t.csv" in error.message


@pytest.mark.parametrize(
    "data", [b'a,b\n1,5" pipe\n2,"x"y"z"\n3,q\n', b'a,b\n1,"x"y\n"2" ,3\n', b"a,b\r1,2\r3,4\r"]
)
def test_odd_quotes_and_old_line_ends_are_read_as_pandas_does(data: bytes, block: int) -> None:
    assert_frame_equal(read(data * 1), pd.read_csv(io.BytesIO(data)))
    line = data.replace(b"\r", b"\n").count(b"\n") + 1
    assert refused(data + b"1\n").details["line"] == line


def test_a_quotation_without_end_is_named(block: int) -> None:
    error = refused(b'a,b\n1,2\n3,"x\n' + b"4,5\n" * 50)
    assert "line 3" in error.message and "quot" in error.message


def test_rows_that_all_end_in_a_separator_lose_nothing(block: int) -> None:
    data = b"a,b\n" + b"1,2,\n" * 30
    assert_frame_equal(read(data), pd.DataFrame({"a": [1] * 30, "b": [2] * 30}))
    assert_frame_equal(read(data, rows=7), pd.DataFrame({"a": [1] * 30, "b": [2] * 30}))
    for rows in (None, 1, 7):
        assert "even table" in refused(data + b"1,2,3\n", rows=rows).message
    for options in ({"header": [0, 1]}, {"index_col": None}):  # where pandas would make an index of them
        assert "even table" in refused(data, **options).message


def test_an_index_without_a_name_is_read_when_asked_for(block: int) -> None:
    data = b"a,b\n" + b"7,1,2\n" * 30
    assert read(data, index_col=0).columns.tolist() == ["a", "b"]
    assert refused(data + b"7,1\n", index_col=0).details["line"] == 32


OPTIONS: list[tuple[bytes, dict[str, Any], int]] = [
    (b"x;y\n1;2\n3\n", {"sep": ";"}, 3),
    (b"x;y\n1;2\n3\n", {"delimiter": ";"}, 3),
    (b"made,by,some,program\n\nx,y\n1,2\n3\n", {"skiprows": 2}, 5),
    (b"made by\nx,y\n1,2\n3\n", {"header": 1}, 4),
    (b"1,2\n3,4\n5\n", {"header": None}, 3),
    (b"1,2\n3,4\n5\n", {"names": ["a", "b"]}, 3),
    (b"x,y\n'a,b',2\n3\n", {"quotechar": "'"}, 3),
    (b'x,y\n"a,2\n3\n', {"quoting": 3}, 3),
    (b"x,y\na\\,b,2\n3\n", {"escapechar": "\\"}, 3),
    (b'x,y\n1, "a,b"\n3\n', {"skipinitialspace": True}, 3),
    (b"x,y\n1,2\n3\n", {"usecols": ["x"]}, 3),
    (b"x,y\n1,2\n3\n", {"nrows": 5}, 3),
    (b"x,y\n1,2\n3\n", {"engine": "python"}, 3),
    ("é;y\n1;2\n3\n".encode("latin-1"), {"sep": ";", "encoding": "latin-1"}, 3),
    ("é,y\n1,2\n3\n".encode("utf-16"), {}, 3),
    ("é,y\n1,2\n3\n".encode("utf-8-sig"), {}, 3),
    (b"made by\nx,y\n1,2\n3,4\n5\n", {"skiprows": [0, 3]}, 5),
    (b"a,b\nx,y\n1,2\n3\n", {"header": [0, 1]}, 4),
    (b"x,y|1,2|3|", {"lineterminator": "|"}, 3),
    (b"x,y\r1,2\r3\r", {"lineterminator": "\r"}, 3),
    (b'# by 5" us\nx,y # width\n1,"#2" \n#\n3#,4\n', {"comment": "#"}, 5),
    (b"x::y\n1::2\n3\n", {"sep": "::"}, 3),
    ("x y\nà 2\n3\n".encode(), {"sep": r"\s+"}, 3),
    ("x§y\n1§2\n3\n".encode(), {"sep": "§"}, 3),
    (b"x;y\n1;2\n3\n", {"sep": None}, 3),
    (b"# by us\nx;y\n1;2\n3\n", {"sep": None, "comment": "#"}, 4),
]


@pytest.mark.parametrize(("data", "options", "line"), OPTIONS, ids=[str(o) for _, o, _ in OPTIONS])
def test_options_that_change_how_fields_are_split_are_followed(
    data: bytes, options: dict[str, Any], line: int, block: int
) -> None:
    assert refused(data, **options).details["line"] == line
    nl = "\n".encode("utf-16-le") if data[:2] == b"\xff\xfe" else b"\n"
    nl = options.get("lineterminator", "").encode() or nl
    even = nl.join(data.split(nl)[:-2]) + nl
    kept: dict[str, Any] = {"encoding": "utf-16"} if nl == b"\n\0" else {}
    if options.get("sep", ",") not in (",", ";"):
        kept["engine"] = "python"
    expected = pd.read_csv(io.BytesIO(even.lstrip(b"\n")), **kept, **options)
    assert_frame_equal(read(even, **options), expected)


@pytest.mark.parametrize("seed", range(40))
def test_comments_are_no_rows_and_marks_in_quotations_no_comments(seed: int, block: int) -> None:
    draw, texts = random.Random(seed), table(seed)
    if seed % 2:
        texts = [text.replace("'", "'#") for text in table(seed, quoting=csv.QUOTE_ALL)]
    width, at = texts[0].count(",") + 1, random.Random(seed).randrange(1, len(texts))
    for number, text in enumerate(texts):
        row = text.rstrip("\r\n")
        comment = draw.choice(["", "#", " # it's", '#"', "#,,", ' #"a,b'])
        if not (row.endswith('"') and comment.startswith("#")):  # that mark pandas takes for text
            texts[number] = row + comment + text[len(row) :]
        if number and draw.random() < 0.2:
            texts[number] += draw.choice(["#\n", "# 1,2,3\n", '#"q\n'])
    data = "".join(texts).encode()
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        expected = pd.read_csv(io.BytesIO(data), comment="#", index_col=False)
    assert_frame_equal(read(data, comment="#"), expected)
    short = "".join([*texts[:at], "1," * (width - 2) + "1 # short\n", *texts[at:]]).encode()
    for rows in (None, 3):
        error = refused(short, comment="#", rows=rows)
        assert (error.details["expected"], error.details["found"]) == (width, width - 1)


def test_a_footer_is_left_out_and_what_is_above_it_is_judged(block: int) -> None:
    data = b"x,y\n1,2\n3,4\nin all: 4\n"
    assert read(data, skipfooter=1).shape == (2, 2)
    assert refused(b"x,y\n1\n3,4\nin all: 4\n", skipfooter=1).details["line"] == 2
    assert refused(data).details["line"] == 4


@pytest.mark.parametrize("options", [{"sep": "::"}, {"sep": r"\s+"}, {"sep": None}, {"comment": "#"}])
def test_a_separator_that_only_pandas_knows_never_loses_fields(options: dict[str, Any], block: int) -> None:
    between = {"::": "::", r"\s+": "  "}.get(options.get("sep", ""), ",")
    rows = [between.join(("first", "second")), *[between.join("12")] * 8]
    text = "\n".join(rows) + "\n"
    assert read(text.encode(), **options).shape == (8, 2)
    assert read(text.encode(), rows=4, **options).shape == (8, 2)
    for parts in (None, 4, 8):
        assert (
            "even table"
            in refused((text + between.join("123") + "\n").encode(), rows=parts, **options).message
        )


def test_only_the_rows_asked_for_are_judged() -> None:
    assert len(read(b"a,b\n1,2\n3,4\n5\n", nrows=2)) == 2


def test_what_would_leave_rows_unread_is_no_option() -> None:
    for key in ("chunksize", "iterator", "compression", "dialect"):
        assert key in refused(b"a\n1\n2\n", **{key: 1}).message


@pytest.mark.parametrize(
    "options",
    [
        *({"sep": "::", "engine": "c"}, {"sep": "(("}, {"comment": "##"}, {"sep": ""}),
        *({"lineterminator": "\r\n"}, {"skiprows": "x"}, {"header": "x"}, {"sep": None}),
    ],
    ids=str,
)
def test_what_pandas_cannot_split_by_is_one_sentence(options: dict[str, Any]) -> None:
    assert "\n" not in refused(b"a\n1\n2\n", **options).message


def test_the_line_of_a_wrong_byte_is_named(block: int) -> None:
    error = refused(b"a,b\n" + b"1,2\n" * 500 + "é,3\n".encode("latin-1"))
    assert "byte e9 in line 502" in error.message and "encoding=latin-1" in str(error.hint)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed_tables_go_out_and_in(suffix: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": range(5000), "t": ["x"] * 5000})
    for name in ("o.csv", "o.tsv", "o.json", "o.jsonl"):
        path = tmp_path / f"{name}{suffix}"
        transfer.write_file(frame, str(path), transfer.format_of(str(path), None))
        assert path.stat().st_size < 25_000
        assert_frame_equal(transfer.read_file(str(path)), frame)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(InvalidInput, match=path.name):
            transfer.read_file(str(path))


def test_a_compressed_pipe_needs_no_name() -> None:
    data = gzip.compress(b"a,b\n1,2\n3\n")
    error = refused(data, path="-")
    assert error.details["line"] == 3 and "standard input" in error.message


def test_json_lines_are_one_value_a_line(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    transfer.write_file(pd.DataFrame({"a": [1, 2], "t": ["x\u2028y", "z"]}), str(path), "json")
    assert len(path.read_bytes().splitlines()) == 2
    assert transfer.read_file(str(path))["t"].tolist() == ["x\u2028y", "z"]
    path.write_text('{"a": 1}\n\n{"a": \n')
    with pytest.raises(InvalidInput, match="line 3"):
        transfer.read_file(str(path))


def test_large_integers_stay_what_they_are(tmp_path: Path) -> None:
    big = 2**70 + 1
    (tmp_path / "o.json").write_text(f'[{{"n": {big}}}, {{"n": 1}}]')
    assert transfer.read_file(str(tmp_path / "o.json"))["n"].tolist() == [big, 1]
    (tmp_path / "gap.json").write_text(f'[{{"n": {2**53 + 1}}}, {{"m": 1}}]')
    frame = transfer.read_file(str(tmp_path / "gap.json"))
    assert frame["n"].tolist() == [2**53 + 1, pd.NA] and frame["m"].dtype == float
    assert [int(n) for n in read(f"n\n{big}\n1\n".encode())["n"]] == [big, 1]
    assert read(b"n\n18446744073709551615\n")["n"].tolist() == [2**64 - 1]


def test_a_json_too_deep_to_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(InvalidInput, match=r"deep\.json is nested too deeply"):
        transfer.read_file(str(tmp_path / "deep.json"))


def test_sheets_that_are_left_out_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "two.xlsx") as writer:
        for name in ("north", "south"):
            pd.DataFrame({"x": [1]}).to_excel(writer, sheet_name=name, index=False)
    assert_frame_equal(transfer.read_file(str(tmp_path / "two.xlsx")), pd.DataFrame({"x": [1]}))
    assert "2 sheets; only the first, 'north'" in capsys.readouterr().err
