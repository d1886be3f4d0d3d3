"""Models that somebody else made: as skops files in Python, the shell and by REST; nothing of them is run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from omegaml.backends.base import Blob
from omegaml.errors import Corrupt, NotStorable, Untrusted
from omegaml.omega import Omega
from tests.services.command_line import Cli
from tests.services.web_platform import Person
from tests.services.web_runner import WebRunner, runner

__all__ = ["runner"]
pytestmark = pytest.mark.once

SHOPS = pd.DataFrame({"size": range(60), "town": ["Bern", "Basel", "Zug"] * 20})
GOOD = (SHOPS["size"] % 7 > 3).astype(int)


class Bomb:
    """Makes a file in whatever process loads it."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that is not there, and must not be in the end."""
    canary = tmp_path / "canary"
    yield canary
    assert not canary.exists()


@pytest.fixture(scope="module")
def model() -> Pipeline:
    columns = ColumnTransformer([("size", StandardScaler(), ["size"]), ("town", OneHotEncoder(), ["town"])])
    return make_pipeline(columns, RandomForestClassifier(10, random_state=0)).fit(SHOPS, GOOD)


def hostile() -> bytes:
    return bytes(skops.io.dumps(make_pipeline(FunctionTransformer(os.system), LinearRegression())))


# --- Python


def test_a_skops_model_is_asked_and_trained_as_a_joblib_one(om: Omega, model: Pipeline) -> None:
    for format in ("skops", "joblib", "zstd"):
        om.models.put(model, format, format=format)
    om.datasets.put(SHOPS, "shops")
    answers = [om.runtime.model(name).predict_proba("shops") for name in ("skops", "joblib", "zstd")]
    np.testing.assert_array_equal(answers[0], model.predict_proba(SHOPS))
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])
    om.runtime.model("skops").fit("shops", GOOD)
    meta = om.models.metadata("skops")
    assert (meta.kind, meta.version) == ("sklearn.skops", 2)
    assert om.models.get("skops^").predict(SHOPS).tolist() == model.predict(SHOPS).tolist()
    assert meta.kind_meta["model"]["class"] == "Pipeline" and meta.kind_meta["model"]["versions"]["sklearn"]


def test_a_stored_model_is_as_it_was_after_a_refusal(om: Omega, model: Pipeline) -> None:
    om.models.put(model, "m", format="skops")
    with pytest.raises(NotStorable, match=r"posix\.system"):
        om.models.put(make_pipeline(FunctionTransformer(os.system)), "m", format="skops")
    assert [meta.version for meta in om.models.versions("m")] == [1]


def test_a_hostile_model_in_the_database_is_refused_by_name(om: Omega, canary: Path) -> None:
    om.models.put_encoded(Blob(hostile()), "evil", "sklearn.skops")
    with pytest.raises(Untrusted, match=r"posix\.system"):
        om.models.get("evil")
    with pytest.raises(Untrusted, match=r"posix\.system"):
        om.runtime.model("evil", limit=60).predict([[f"touch {canary}"]])
    om.models.put_encoded(Blob(pickle.dumps(Bomb(canary))), "pickle", "sklearn.skops")
    with pytest.raises(Corrupt, match="pickle"):
        om.models.get("pickle")


@pytest.mark.parametrize("name", ["@bob/line", "@bob/line@2"])
def test_a_shared_model_is_never_loaded_by_who_may_ask_it(om: Omega, name: str) -> None:
    with pytest.raises(Untrusted) as caught:
        om.models.get(name)
    assert "om.runtime.model" in str(caught.value.hint)


# --- the shell


def test_a_pickle_of_unknown_origin_is_not_loaded_by_the_shell(cli: Cli, canary: Path) -> None:
    joblib.dump(Bomb(canary), cli.folder / "bomb.joblib", compress=3)
    (cli.folder / "bomb.pkl").write_bytes(pickle.dumps(Bomb(canary), protocol=0))
    joblib.dump(Bomb(canary), cli.folder / "bomb.skops")
    for file in ("bomb.joblib", "bomb.pkl", "bomb.skops"):
        done = cli.run("models", "put", file, "m")
        assert done.returncode == 2 and b"--trust" in done.stderr and b"skops" in done.stderr
        assert cli.error("models", "put", file, "m", "--dry-run")[0] == 2
    assert cli.data("models", "list") == []


def test_a_pickle_that_works_is_loaded_once_it_is_trusted(cli: Cli, tmp_path: Path) -> None:
    """What the test before says is refused would have run."""
    joblib.dump(Bomb(tmp_path / "made"), cli.folder / "bomb.joblib")
    assert cli.error("models", "put", "bomb.joblib", "m", "--trust")[0] == 2  # what it gives is no model
    assert (tmp_path / "made").exists()


def test_files_go_in_and_out_of_the_shell_with_equal_answers(cli: Cli, model: Pipeline) -> None:
    SHOPS.to_csv(cli.folder / "shops.csv", index=False)
    joblib.dump(model, cli.folder / "own.joblib")
    skops.io.dump(model, cli.folder / "sent.skops")
    cli.ok("models", "put", "own.joblib", "own", "--trust")
    cli.ok("models", "put", "sent.skops", "sent", "--tag", "first")
    kinds = {row["name"]: row["kind"] for row in cli.data("models", "list")}
    assert kinds == {"own": "model.joblib", "sent": "sklearn.skops"}
    assert cli.data("models", "show", "sent@first")["version"] == 1
    answers = [cli.data("models", "predict", name, "shops.csv") for name in ("own", "sent")]
    assert answers[0] == answers[1] == model.predict(SHOPS).tolist()
    cli.ok("models", "get", "own", "again.skops")
    cli.ok("models", "get", "sent", "again.joblib")
    cli.ok("models", "put", "again.skops", "sent", "--replace")
    assert joblib.load(cli.folder / "again.joblib").predict(SHOPS).tolist() == answers[0]
    assert cli.data("models", "predict", "sent", "shops.csv") == answers[0]


def test_a_skops_file_that_is_refused_is_not_stored(cli: Cli) -> None:
    (cli.folder / "evil.skops").write_bytes(hostile())
    (cli.folder / "half.skops").write_bytes(hostile()[:-100])
    code, text = cli.error("models", "put", "evil.skops", "m", "--trust")
    assert code == 2 and "posix.system" in text
    assert cli.error("models", "put", "half.skops", "m")[0] == 1
    assert cli.data("models", "list") == []


# --- REST


def test_a_file_of_skops_is_stored_by_rest_and_asked(ann: Person, runner: WebRunner, model: Pipeline) -> None:
    joblib.dump(model, own := runner.folder / "own.joblib")
    answers = []
    for name, data in (("own", own.read_bytes()), ("sent", skops.io.dumps(model))):
        answer = ann.call("PUT", f"model/{name}/", data=data)
        assert answer.status_code == 201, answer.text
        body = {"columns": list(SHOPS), "data": SHOPS.to_numpy().tolist()}
        answers.append(ann.call("POST", f"model/{name}/predict_proba/", json=body).json()["result"])
    assert answers[0] == answers[1]
    np.testing.assert_array_equal(answers[1], model.predict_proba(SHOPS))
    assert ann.get("model/sent/").json()["kind"] == "sklearn.skops"
    assert ann.get("model/own/").json()["kind"] == "sklearn.joblib"
    small = skops.io.dumps(LinearRegression().fit([[1], [2]], [2, 4]))
    assert ann.call("PUT", "model/small/", data=small).json()["class"] == "LinearRegression"
    assert ann.page("/model/sent/").status_code == 200


def test_a_hostile_file_by_rest_is_stored_and_never_run(ann: Person, runner: WebRunner, canary: Path) -> None:
    assert ann.call("PUT", "model/evil/", data=hostile()).status_code == 201
    answer = ann.call("POST", "model/evil/predict/", json={"data": [[f"touch {canary}"]]})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "UNTRUSTED"
    assert "posix.system" in answer.json()["error"]["message"]
    for path in ("/model/evil/", "/models/"):
        assert ann.page(path).status_code in (200, 404)
    assert ann.call("DELETE", "model/evil/").status_code == 204
