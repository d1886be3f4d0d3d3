"""What `omegacli datasets` and `models` write, export, import and only plan."""

from __future__ import annotations

import json
import os
import stat
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from omegaml.omega import Omega
from tests.services.command_line import Cli

TREE = "sklearn.tree.DecisionTreeClassifier"


@pytest.fixture
def store(cli: Cli) -> Any:
    return Omega(mongo_url=cli.env["OMEGA_MONGO_URL"]).datasets


def everything(cli: Cli) -> list[Any]:
    found = [cli.data(noun, "list", "--hidden") for noun in ("datasets", "models")]
    return [*found, sorted(os.listdir(cli.folder)), cli.data("context", "list"), cli.data("config", "list")]


PLANS = [
    "datasets put t.csv new",
    "datasets put t.csv t --replace",
    "datasets put t.csv t --append",
    "datasets copy t new",
    "datasets rename t new",
    "datasets drop t",
    "datasets export out",
    "datasets import exported --replace",
    f"models put {TREE} new",
    "models fit m t[a] t[b]",
    "models predict m t[a] --result new",
    "models promote m 1 live",
    "models drop m",
    "config set OMEGA_BUCKET=new",
    "config unset OMEGA_RUNTIME",
    "context use two",
    "context remove one",
    "init --no-verify --userid ada --apikey k3y --url http://h:1",
]


def test_a_dry_run_changes_nothing_and_says_what_would_be(cli: Cli) -> None:
    pytest.importorskip("sklearn")
    cli.ok("datasets", "put", "t.csv", "t")
    cli.ok("models", "put", TREE, "m")
    cli.ok("datasets", "export", "exported")
    cli.ok("config", "set", "OMEGA_RUNTIME=local")
    for name in ("one", "two"):
        cli.ok(*f"init --no-verify --userid ada --apikey k3y --url http://h:1 --context {name}".split())
    cli.ok("context", "use", "one")
    before = everything(cli)
    for plan in PLANS:
        done = cli.run(*plan.split(), "--dry-run")
        assert done.returncode == 0 and done.stdout == b"" and b"would " in done.stderr, (plan, done)
        answer = json.loads(cli.ok(*plan.split(), "--dry-run", "--json"))
        assert answer["schema"].endswith(".plan/1"), answer
        assert everything(cli) == before, plan
    for plan in (
        "datasets copy no new",
        "datasets rename t t",
        "models promote m 7 live",
        "models fit no t[a]",
    ):
        assert cli.run(*plan.split(), "--dry-run").returncode in (4, 5), plan


def test_special_files_links_and_modes_are_kept(cli: Cli) -> None:
    cli.ok("datasets", "put", "t.csv", "t")
    (cli.folder / "real.csv").write_text("old")
    (cli.folder / "real.csv").chmod(0o600)
    (cli.folder / "link.csv").symlink_to("real.csv")
    cli.ok("datasets", "get", "t", "link.csv")
    assert (cli.folder / "link.csv").is_symlink()
    assert (cli.folder / "real.csv").read_text().startswith("a,b,c")
    assert stat.S_IMODE((cli.folder / "real.csv").stat().st_mode) == 0o600
    os.mkfifo(cli.folder / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((cli.folder / "pipe").read_text()), daemon=True)
    reader.start()
    cli.ok("datasets", "get", "t", "pipe", "--format", "csv")
    reader.join(30)
    assert read[0].startswith("a,b,c") and stat.S_ISFIFO((cli.folder / "pipe").stat().st_mode)


def test_a_folder_that_could_not_come_back_is_refused(cli: Cli) -> None:
    for number, target in enumerate(["/etc/passwd", "../../etc", "/proc/1/cwd"]):
        folder = cli.folder / f"d{number}"
        folder.mkdir()
        (folder / "inner").write_text("x")
        (folder / "good").symlink_to("inner")
        cli.ok("datasets", "put", folder.name, "f", "--replace")
        (folder / "bad").symlink_to(target)
        code, text = cli.error("datasets", "put", folder.name, "g")
        assert code == 2 and "bad" in text
    (folder / "bad").unlink()
    os.mkfifo(folder / "fifo")
    assert cli.error("datasets", "put", folder.name, "g")[0] == 2
    assert [row["name"] for row in cli.data("datasets", "list", "--hidden")] == ["f"]


def test_columns_of_the_same_label_are_all_shown(cli: Cli, store: Any) -> None:
    store.put(pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"]), "t")
    assert cli.data("datasets", "get", "t") == [{"a": 1, "a.1": 2, "b": 3}]
    assert cli.ok("datasets", "head", "t") == "a\ta.1\tb\n1\t2\t3\n"


def test_cells_that_no_text_stands_for_are_json_in_a_csv(cli: Cli, store: Any) -> None:
    store.put(pd.DataFrame({"o": [{"k": 1}, [1, None]], "b": [b"x", None]}), "t")
    frame = pd.read_csv(cli.folder / cli.out("datasets", "get", "t", "o.csv"))
    assert [json.loads(cell) for cell in frame["o"]] == [{"k": 1}, [1, None]]
    assert frame["b"].tolist()[0] == "eA=="


def test_bytes_are_never_json_and_rows_only_of_tables(cli: Cli, store: Any) -> None:
    store.put(b"\x00\x01", "bytes")
    store.put(np.zeros((2, 2, 2)), "array")
    assert cli.error("datasets", "get", "bytes")[0] == 2
    code, text = cli.error("datasets", "head", "array")
    assert code == 2 and "datasets get array" in text
    assert cli.data("datasets", "get", "array") == [[[0.0, 0.0], [0.0, 0.0]]] * 2


STORED: dict[str, Any] = {
    "a/b c/ü": pd.DataFrame({"x": [1, 2], "t": pd.to_datetime(["2020-01-01", None])}),
    "a/..b": pd.DataFrame({"x": pd.Categorical(["a", "b"])}, index=pd.Index(["p", "q"], name="k")),
    "levels": pd.DataFrame({"x": [1]}, index=pd.MultiIndex.from_tuples([("a", 1)], names=["k", "n"])),
    "series": pd.Series([1.5, None], name="s"),
    "unnamed": pd.Series([1, 2], index=["p", "q"]),
    "array": np.arange(6).reshape(2, 3),
    "data": {"k": [1, None, {"deep": "ü"}]},
    "list": [{"a": 1}, {"a": 2}],
}


def test_an_export_holds_everything_exactly(cli: Cli, store: Any) -> None:
    for name, obj in STORED.items():
        store.put(obj, name, attributes={"from": name})
    store.put(pd.DataFrame({"x": [1, 2]}), "rows", format="rows")
    cli.ok("datasets", "export", "out")
    kinds = {meta.name: meta.kind for meta in store.find()}
    cli.ok("datasets", "drop", *STORED, "rows", "--yes")
    cli.ok("datasets", "import", "out")
    assert {meta.name: meta.kind for meta in store.find()} == kinds
    for name, obj in STORED.items():
        found = store.get(name)
        if isinstance(obj, pd.DataFrame):
            assert_frame_equal(found, obj, check_freq=False)
        elif isinstance(obj, pd.Series):
            assert_series_equal(found, obj)
        else:
            np.testing.assert_equal(found, obj)
        assert store.metadata(name).attributes["from"] == name


def test_what_an_export_cannot_hold_exactly_is_10(cli: Cli, store: Any) -> None:
    store.put({"when": pd.Timestamp("2020-01-01").to_pydatetime()}, "dates")
    store.put({"x": 1}, "plain")
    done = cli.run("datasets", "export", "out", "--json")
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert done.returncode == error["exit"] == 10 and error["details"]["done"] == ["plain"]
    assert [row["name"] for row in json.loads((cli.folder / "out/index.json").read_text())["datasets"]] == [
        "plain"
    ]
    assert set(os.listdir(cli.folder)) == {"t.csv", "out"}  # nothing half-written beside it


INDEXES: dict[str, Any] = {
    "outside": [{"name": "x", "file": "../secret", "format": "binary"}],
    "absolute": [{"name": "x", "file": "/etc/passwd", "format": "binary"}],
    "link": [{"name": "x", "file": "link", "format": "binary"}],
    "missing": [{"name": "x", "file": "none", "format": "binary"}],
    "format": [{"name": "x", "file": "f", "format": "pickle"}],
    "name": [{"name": 5, "file": "f", "format": "binary"}],
    "twice": [{"name": "x", "file": "f", "format": "binary"}] * 2,
    "list": {"a": 1},
}


def test_an_import_of_what_no_export_wrote_says_what_is_missing(cli: Cli) -> None:
    (cli.folder / "empty").mkdir()
    assert "empty has no index.json" in cli.error("datasets", "import", "empty")[1]
    for name in ("t.csv", "nowhere"):
        assert f"{name} is no folder" in cli.error("datasets", "import", name)[1]


@pytest.mark.parametrize("case", INDEXES)
def test_an_index_that_reaches_out_of_its_folder_is_refused(cli: Cli, case: str) -> None:
    (cli.folder / "secret").write_text("s")
    (cli.folder / "in").mkdir()
    (cli.folder / "in" / "f").write_text("f")
    (cli.folder / "in" / "link").symlink_to(cli.folder / "secret")
    index = cli.folder / "in" / "index.json"
    index.write_text(json.dumps({"format": 1, "datasets": INDEXES[case]}))
    assert cli.error("datasets", "import", "in")[0] == 2
    index.write_text(json.dumps({"format": 2, "datasets": []}))
    assert cli.error("datasets", "import", "in")[0] == 1
    assert cli.data("datasets", "list", "--hidden") == []


def test_an_import_that_fails_in_between_says_what_is_done(cli: Cli, store: Any) -> None:
    store.put({"x": 1}, "a")
    store.put(pd.DataFrame({"x": [1]}), "b")
    cli.ok("datasets", "export", "out")
    (cli.folder / "out" / "00001.parquet").write_bytes(b"torn")
    done = cli.run("datasets", "import", "out", "--replace", "--json")
    details = json.loads(done.stdout.splitlines()[-1])["error"]["details"]
    assert done.returncode == 10 and details["done"] == ["a"] and list(details["failed"]) == ["b"]


def test_a_result_never_replaces_a_dataset_unasked(cli: Cli) -> None:
    pytest.importorskip("sklearn")
    cli.ok("datasets", "put", "t.csv", "t")
    cli.ok("models", "put", TREE, "m")
    cli.ok("models", "fit", "m", "t[a]", "t[a]")
    assert cli.error("models", "predict", "m", "t[a]", "--result", "t")[0] == 5
    cli.ok("models", "predict", "m", "t[a]", "--result", "r")
    cli.ok("models", "predict", "m", "t[a]", "--result", "r", "--replace")
    assert cli.ok("datasets", "count", "t") == "3\n"


def test_versions_of_a_model_are_listed_with_their_tags(cli: Cli) -> None:
    pytest.importorskip("sklearn")
    cli.ok("models", "put", TREE, "m", "--tag", "first")
    cli.ok("models", "put", TREE, "m", "--replace")
    cli.ok("models", "promote", "m", "first", "live")
    rows = cli.data("models", "versions", "m")
    assert [(row["name"], row["version"], row["tags"]) for row in rows] == [
        ("m", 2, ["latest"]),
        ("m", 1, ["first", "live"]),
    ]
    assert cli.data("models", "show", "m@live")["name"] == "m@live"
    assert cli.data("models", "show", "m@live")["version"] == 1


def test_what_is_no_model_is_refused(cli: Cli) -> None:
    joblib = pytest.importorskip("joblib")
    joblib.dump([1, 2], cli.folder / "list.joblib")
    for source in ("builtins.dict", "list.joblib", "os.system", "no.such.Class", "nowhere"):
        code, text = cli.error("models", "put", source, "m", "--trust")
        assert code == 2 and source.split(".")[0] in text, text
    assert cli.data("models", "list") == []


def test_the_server_has_its_version(cli: Cli) -> None:
    server = cli.data("version", "--server")["server"]
    assert server["mongodb"][0].isdigit() and "127.0.0.1:" in server["address"]


def test_the_best_of_a_grid_is_the_next_version(cli: Cli) -> None:
    pytest.importorskip("sklearn")
    frame = pd.DataFrame({"x": range(12), "y": [2 * n + 1 for n in range(12)]})
    frame.to_csv(cli.folder / "xy.csv", index=False)
    cli.ok("datasets", "put", "xy.csv", "xy")
    cli.ok("models", "put", "sklearn.linear_model.Ridge", "m")
    words = ("models", "gridsearch", "m", "xy[x]", "xy[y]", "--param", "cv=3", "--grid")
    found = cli.data(*words, '{"alpha": [0.001, 1000]}')
    assert found["version"] == 2 and found["best_params"] == {"alpha": 0.001}
    assert [tried["params"]["alpha"] for tried in found["tried"]] == [0.001, 1000]
    grids = '[{"alpha": [1000, 0.001]}, {"fit_intercept": [false]}]'
    (cli.folder / "grid.json").write_text(grids)
    assert len(cli.data(*words, "grid.json")["tried"]) == 3
    assert b"best_params\t" in cli.run(*words, "-", stdin=grids.encode()).stdout
    assert cli.data("models", "show", "m")["version"] == 4
    for grid in ("{", "[]", "{}", "[1]", '{"alpha": 1}', '{"alpha": []}', "nothing.json"):
        code, text = cli.error(*words, grid)
        assert code == 2 and ("alpha" in text or "nothing.json" in text), text
    assert cli.error("models", "gridsearch", "m", "-", "--grid", "-")[0] == 2
    code, text = cli.error(*words, '{"zork": [1]}')
    assert "zork" in text and cli.data("models", "show", "m")["version"] == 4


def test_a_decision_function_says_how_sure_a_model_is(cli: Cli) -> None:
    pytest.importorskip("sklearn")
    (cli.folder / "xy.csv").write_text("x,y\n0,0\n1,0\n2,1\n3,1\n")
    cli.ok("datasets", "put", "xy.csv", "xy")
    cli.ok("models", "put", "sklearn.linear_model.LogisticRegression", "m")
    cli.ok("models", "fit", "m", "xy[x]", "xy[y]")
    sure = [float(line) for line in cli.ok("models", "decision-function", "m", "xy[x]").split()]
    assert sure == sorted(sure) and sure[0] < 0 < sure[3]
    code, text = cli.error("models", "decision-function", "m", "xy[y]")
    assert code == 2 and "x" in text
