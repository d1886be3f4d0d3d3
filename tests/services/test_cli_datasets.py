"""`omegacli datasets`, `models` and `runtime` against a real database."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.services.command_line import CSV, Cli
from tests.unit.test_cli_start import cpu

ROOT = Path(__file__).resolve().parents[2]


def test_a_csv_comes_back_as_it_was(cli: Cli) -> None:
    cli.ok("datasets", "put", "t.csv", "t")
    assert cli.ok("datasets", "get", "t") == 'a,b,c\n1,x,0.5\n2,"y, z",1.5\n3,ü,\n'
    assert cli.data("datasets", "get", "t")[2] == {"a": 3, "b": "ü", "c": None}


def test_an_existing_name_asks_for_replace_or_append(cli: Cli) -> None:
    cli.ok("datasets", "put", "t.csv", "t")
    code, text = cli.error("datasets", "put", "t.csv", "t")
    assert code == 5 and "--replace" in text
    cli.ok("datasets", "put", "t.csv", "t", "--append")
    assert cli.ok("datasets", "count", "t") == "6\n"
    cli.ok("datasets", "put", "t.csv", "t", "--replace")
    assert cli.ok("datasets", "count", "t") == "3\n"
    assert cli.error("datasets", "put", "t.csv", "t", "--replace", "--append")[0] == 2


@pytest.mark.parametrize("file", ["o.parquet", "o.csv", "o.json", "o.xlsx", "o.tsv"])
def test_each_format_of_a_table_goes_out_and_in(cli: Cli, file: str) -> None:
    cli.ok("datasets", "put", "t.csv", "t")
    cli.ok("datasets", "get", "t", file)
    cli.ok("datasets", "put", file, "u")
    assert cli.data("datasets", "get", "u") == cli.data("datasets", "get", "t")


def test_pipes_carry_data_both_ways(cli: Cli) -> None:
    cli.ok("datasets", "put", "-", "t", stdin=CSV.encode())
    out = cli.run("datasets", "get", "t", "-", "--format", "parquet").stdout
    cli.ok("datasets", "put", "-", "u", "--format", "parquet", stdin=out)
    assert cli.ok("datasets", "get", "u", "-") == cli.ok("datasets", "get", "t")


def test_filters_columns_and_limit_choose(cli: Cli) -> None:
    cli.ok("datasets", "put", "t.csv", "t")
    assert cli.data("datasets", "get", "t", "--filter", "a__gte=2", "--columns", "b") == [
        {"b": "y, z"},
        {"b": "ü"},
    ]
    assert cli.data("datasets", "query", "t", "c__isnull=true", "--columns", "a") == [{"a": 3}]
    assert len(cli.data("datasets", "head", "t", "-n", "2")) == 2
    assert cli.ok("datasets", "count", "t", "--filter", "a__in=1,3") == "2\n"
    code, text = cli.error("datasets", "get", "t", "--columns", "bb")
    assert code in (2, 4) and "bb" in text


def test_a_list_has_a_line_per_dataset_and_is_never_cut(cli: Cli) -> None:
    name = "n" * 120
    cli.ok("datasets", "put", "t.csv", name)
    cli.ok("datasets", "put", "t.csv", ".hidden")
    lines = cli.ok("datasets", "list").splitlines()
    assert len(lines) == 2 and lines[1].split("\t")[:3] == [name, "pandas.dfcolumnar", "3"]
    assert [row["name"] for row in cli.data("datasets", "list", "--hidden")] == [".hidden", name]
    assert cli.data("datasets", "list", "x*") == []


def test_show_and_metadata_describe_a_dataset(cli: Cli) -> None:
    cli.ok("datasets", "put", "t.csv", "t")
    assert [column["name"] for column in cli.data("datasets", "show", "t")["columns"]] == ["a", "b", "c"]
    assert cli.data("datasets", "metadata", "t")["rows"] == 3


def test_datasets_are_copied_renamed_and_dropped(cli: Cli) -> None:
    cli.ok("datasets", "put", "t.csv", "t")
    cli.ok("datasets", "copy", "t", "u")
    cli.ok("datasets", "rename", "u", "v")
    assert cli.run("datasets", "drop", "t").returncode == 3
    cli.ok("datasets", "drop", "t", "--yes")
    assert [row["name"] for row in cli.data("datasets", "list")] == ["v"]
    assert cli.ok("datasets", "get", "v").startswith("a,b,c\n")


@pytest.mark.parametrize("command", ["get", "show", "metadata", "head", "query", "count", "drop"])
def test_a_missing_dataset_is_4(cli: Cli, command: str) -> None:
    code, text = cli.error("datasets", command, "nope")
    assert code == 4 and "nope" in text and "omegacli datasets list" in text


def test_any_file_comes_back_byte_for_byte(cli: Cli) -> None:
    data = os.urandom(3_000_001)
    (cli.folder / "any.bin").write_bytes(data)
    cli.ok("datasets", "put", "any.bin", "f")
    cli.ok("datasets", "get", "f", "back.bin")
    assert (cli.folder / "back.bin").read_bytes() == data
    assert cli.run("datasets", "get", "f").stdout == data


def test_a_folder_comes_back_with_all_it_holds(cli: Cli) -> None:
    (cli.folder / "d" / "sub").mkdir(parents=True)
    (cli.folder / "d" / "sub" / "x").write_text("deep")
    (cli.folder / "d" / "empty").write_text("")
    cli.ok("datasets", "put", "d", "d")
    cli.ok("datasets", "get", "d", "back")
    found = sorted(p.relative_to(cli.folder / "back").as_posix() for p in (cli.folder / "back").rglob("*"))
    assert found == ["empty", "sub", "sub/x"] and (cli.folder / "back" / "sub" / "x").read_text() == "deep"
    assert cli.error("datasets", "get", "d", "back")[0] == 2


def test_a_csv_is_read_in_parts_and_appears_whole(cli: Cli) -> None:
    (cli.folder / "long.csv").write_text("n\n" + "\n".join(str(i) for i in range(1000)) + "\n")
    cli.ok("datasets", "put", "long.csv", "n", "--chunksize", "300")
    assert cli.ok("datasets", "count", "n") == "1000\n"
    (cli.folder / "bad.csv").write_text("n\n" + "1\n" * 600 + "1,2,3\n")
    assert cli.error("datasets", "put", "bad.csv", "m", "--chunksize", "300")[0] == 2
    assert [row["name"] for row in cli.data("datasets", "list", "--hidden")] == ["n"]


def test_exported_datasets_are_imported_as_they_were(cli: Cli) -> None:
    cli.ok("datasets", "put", "t.csv", "dir/t")
    (cli.folder / "o.json").write_text('{"k": [1, null]}')
    cli.ok("datasets", "put", "o.json", "o")
    (cli.folder / "x.bin").write_bytes(b"\x00\x01")
    cli.ok("datasets", "put", "x.bin", "x")
    cli.ok("datasets", "export", "out")
    before = {name: cli.ok("datasets", "get", name) for name in ("dir/t", "o", "x")}
    assert cli.error("datasets", "import", "out")[0] == 5
    cli.ok("datasets", "drop", *before, "--yes")
    cli.ok("datasets", "import", "out")
    assert {name: cli.ok("datasets", "get", name) for name in before} == before


BAD = {
    "missing.csv": (None, "there is no file"),
    "empty.csv": (b"", "is empty"),
    "long.csv": (b"a,b\n1,2\n3,4,5\n", "line 3"),
    "all_long.csv": (b"a,b\n1,2,3\n3,4,5\n", "index_col=0"),
    "short.csv": (b"a,b\n1,2\n3\n", "line 3"),
    "latin.csv": (b"a,b\n\xe9,1\n", "encoding=latin-1"),
    "binary.csv": (b"a,b\n\x00\x01\x02", "binary data"),
    "parquet.csv": (b"PAR1" + b"\x15" * 50, "Parquet"),
    "bad.parquet": (b"PAR1 not really", "no Parquet file"),
    "bad.json": (b'{"a": 1,\n "b": }', "line 2"),
    "bad.xlsx": (b"nothing", "no Excel file"),
    "bad.npy": (b"nothing", "no numpy file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_and_nothing_is_stored(cli: Cli, name: str) -> None:
    content, says = BAD[name]
    if content is not None:
        (cli.folder / name).write_bytes(content)
    code, text = cli.error("datasets", "put", name, "bad")
    assert code == 2 and name in text and says in text
    assert cli.data("datasets", "list", "--hidden") == []


def test_a_wrong_encoding_can_be_named(cli: Cli) -> None:
    (cli.folder / "latin.csv").write_bytes(b"a;b\n\xe9;1\n")
    cli.ok("datasets", "put", "latin.csv", "t", "--csv", "encoding=latin-1", "--csv", "sep=;")
    assert cli.data("datasets", "get", "t") == [{"a": "é", "b": 1}]
    assert cli.error("datasets", "put", "latin.csv", "u", "--csv", "speo=;")[0] == 2


def test_folders_and_unknown_formats_are_refused(cli: Cli) -> None:
    (cli.folder / "d").mkdir()
    cli.ok("datasets", "put", "t.csv", "t")
    assert cli.error("datasets", "put", "d", "u", "--format", "csv")[0] == 2
    assert cli.error("datasets", "get", "t", "d")[0] == 2
    assert cli.error("datasets", "get", "t", "no/such/folder.csv")[0] == 2
    code, text = cli.error("datasets", "put", "t.csv", "u", "--format", "cvs")
    assert code == 2 and "csv" in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(cli: Cli) -> None:
    (cli.folder / "t.csv").chmod(0)
    code, text = cli.error("datasets", "put", "t.csv", "t")
    assert code == 2 and "cannot be read" in text


def test_an_interrupted_get_leaves_no_file(cli: Cli) -> None:
    (cli.folder / "big.bin").write_bytes(os.urandom(200_000_000))
    cli.ok("datasets", "put", "big.bin", "big")
    before = set(os.listdir(cli.folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "omegacli", "datasets", "get", "big", "back.bin"],
        env=cli.env,
        cwd=cli.folder,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while set(os.listdir(cli.folder)) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert set(os.listdir(cli.folder)) == before


@pytest.mark.parametrize(
    "words", [["--format", "binary"], ["--format", "csv"], ["--format", "csv", "--chunksize", "100000"]]
)
def test_an_interrupted_put_leaves_nothing_visible(cli: Cli, words: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "omegacli", "datasets", "put", "-", "f", *words],
        env=cli.env,
        cwd=cli.folder,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin is not None
    process.stdin.write(b"a,b\n" + b"1,2\n" * 1_250_000)  # more than a pipe holds: it is being read by now
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    process.wait(60)
    process.stdin.close()
    assert process.returncode == 130
    assert cli.data("datasets", "list", "--hidden") == []


def test_a_closed_pipe_is_no_error(cli: Cli) -> None:
    pd.DataFrame({"n": range(200_000)}).to_csv(cli.folder / "long.csv", index=False)
    cli.ok("datasets", "put", "long.csv", "n")
    command = f"{sys.executable} -m omegacli datasets get n | head -1"
    done = subprocess.run(["bash", "-c", command], env=cli.env, capture_output=True, text=True, timeout=120)
    assert done.stdout == "n\n" and done.stderr == ""


def test_a_model_is_stored_trained_and_asked(cli: Cli) -> None:
    pytest.importorskip("sklearn")
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 3.0, 5.0, 7.0]})
    frame.to_csv(cli.folder / "xy.csv", index=False)
    cli.ok("datasets", "put", "xy.csv", "xy")
    cli.ok("models", "put", "sklearn.linear_model.LinearRegression", "m", "--param", "fit_intercept=true")
    assert cli.error("models", "put", "sklearn.linear_model.LinearRegression", "m")[0] == 5
    cli.ok("models", "fit", "m", "xy[x]", "xy[y]")
    assert [round(float(v), 6) for v in cli.ok("models", "predict", "m", "xy[x]").split()] == [1, 3, 5, 7]
    assert round(float(cli.ok("models", "score", "m", "xy[x]", "xy[y]", "--local")), 6) == 1
    assert len(cli.data("models", "versions", "m")) == 2
    cli.ok("models", "promote", "m", "2", "live")
    assert cli.data("models", "predict", "m@live", "xy[x]")
    cli.ok("models", "get", "m", "m.joblib")
    cli.ok("models", "put", "m.joblib", "n", "--trust")
    assert [row["name"] for row in cli.data("models", "list")] == ["m", "n"]
    assert cli.data("models", "show", "m")["version"] == 2
    cli.ok("models", "drop", "n", "-y")
    assert cli.error("models", "show", "n")[0] == 4


def test_data_that_does_not_fit_a_model_is_2(cli: Cli) -> None:
    pytest.importorskip("sklearn")
    cli.ok("datasets", "put", "t.csv", "t")
    cli.ok("models", "put", "sklearn.linear_model.LinearRegression", "m")
    assert cli.error("models", "predict", "m", "t[a]")[0] == 2
    assert cli.error("models", "fit", "m", "nope[a]", "t[a]")[0] == 4


def test_async_without_a_runner_is_7_and_names_the_command(cli: Cli) -> None:
    pytest.importorskip("sklearn")
    cli.ok("datasets", "put", "t.csv", "t")
    cli.ok("models", "put", "sklearn.linear_model.LinearRegression", "m")
    code, text = cli.error("models", "fit", "m", "t[a]", "t[a]", "--async")
    assert code == 7 and "omegacli cluster up" in text
    done = cli.run("runtime", "ping")
    assert done.returncode == 1 and "omegacli cluster up" in done.stderr.decode()
    assert cli.data("runtime", "status")["runners"] == []
    assert cli.error("runtime", "result", "0" * 32)[0] == 4


def test_listing_costs_450_milliseconds(cli: Cli) -> None:
    cli.ok("datasets", "put", "t.csv", "t")
    assert cpu({**cli.env, "HOME": str(cli.folder)}, "datasets", "list") <= 0.450


def test_a_terminal_shows_the_columns_of_a_dataset_as_a_table_and_a_pipe_in_one_line(cli: Cli) -> None:
    cli.ok("datasets", "put", "t.csv", "t")
    assert "columns\t[{" in cli.ok("datasets", "show", "t")
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "omegacli", "datasets", "show", "t"]
    done = subprocess.run(argv, env=cli.env, cwd=cli.folder, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        shown = terminal.read(65536).decode()
    assert done.returncode == 0, done.stderr
    assert "[{" not in shown
    rows = [line.split() for line in shown.splitlines()[-3:]]
    assert [row[0] for row in rows] == ["a", "b", "c"] and rows[0][1] == "int64"
