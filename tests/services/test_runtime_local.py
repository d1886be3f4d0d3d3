"""The local runtime in this process: what `om.runtime.model(...)` does, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, Ridge, SGDRegressor
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from omegaml.errors import InvalidInput, Mismatch, NotFound, TaskFailed, TimedOut
from omegaml.runtime import Task, connect
from omegaml.runtime.local import LocalRuntime
from tests.services.command_line import Cli
from tests.services.runtime_contract import RuntimeContract
from tests.services.runtime_models import Counter, Leaver, Sleeper, Spoiler
from tests.services.runtime_processes import ROOT, children_of, in_another_process, is_alive, stored, wait_for


class TestInProcess(RuntimeContract):
    @pytest.fixture
    def runtime(self, om: Any) -> LocalRuntime:
        return LocalRuntime(om)


# --- the facade, waiting


def test_a_stored_model_is_trained_and_asked_by_name(om: Any, diabetes: pd.DataFrame) -> None:
    om.models.put(LinearRegression(), "sugar")
    model = om.runtime.model("sugar")
    assert model.fit("diabetes[^target]", "diabetes[target]")["version"] == 2
    predicted = model.predict("diabetes[^target]")
    assert predicted.shape == (len(diabetes),)
    assert 0.5 < model.score("diabetes[^target]", "diabetes[target]") < 0.6


def test_a_model_put_here_is_trained_by_another_process_and_asked_here(
    om: Any, om_url: str, diabetes: pd.DataFrame
) -> None:
    om.models.put(LinearRegression(), "sugar")
    code = "import sys, omegaml as om; om.setup(mongo_url=sys.argv[1]);"
    code += "print(om.runtime.model('sugar').fit('diabetes[^target]', 'diabetes[target]')['version'])"
    assert in_another_process(code, om_url) == "2"
    x = diabetes.drop(columns="target")
    expected = LinearRegression().fit(x, diabetes["target"]).predict(x)
    np.testing.assert_allclose(om.runtime.model("sugar").predict(x), expected)


def test_values_are_taken_as_frames_arrays_and_lists(om: Any, fitted: Any, diabetes: pd.DataFrame) -> None:
    x = diabetes.drop(columns="target")
    model = om.runtime.model("sugar")
    expected = fitted.predict(x)
    for given in (x, x.to_numpy(), x.to_numpy().tolist(), pd.concat([x] * 60)):
        np.testing.assert_allclose(model.predict(given)[: len(x)], expected)


def test_predictions_leave_nothing_behind(om: Any, fitted: Any, diabetes: pd.DataFrame) -> None:
    x = diabetes.drop(columns="target")
    model = om.runtime.model("sugar")
    model.predict(x)
    before = stored(om)
    for _ in range(100):
        model.predict(x.head(1))
        model.predict("diabetes[^target]")
        with pytest.raises(Mismatch):
            model.predict(x[["age"]])
        with pytest.raises(NotFound):
            model.predict("nothing")
    assert stored(om) == before


def test_a_large_value_of_a_call_that_waits_never_is_in_the_store(
    om: Any, fitted: Any, diabetes: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = pd.concat([diabetes.drop(columns="target")] * 200, ignore_index=True)
    monkeypatch.setattr(type(om.datasets), "put", lambda *args, **how: pytest.fail("stored"))
    assert len(om.runtime.model("sugar").predict(large)) == len(large)


def test_a_model_cannot_change_the_data_of_its_caller(om: Any, diabetes: pd.DataFrame) -> None:
    om.models.put(Spoiler(), "spoiler")
    for x in (diabetes.head(2), pd.concat([diabetes] * 200, ignore_index=True)):
        before = x.copy()
        assert om.runtime.model("spoiler").predict(x)[0] == -1
        pd.testing.assert_frame_equal(x, before)


def test_asking_again_reads_the_model_once_and_its_version_each_time(
    om: Any, fitted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    get = type(om.models).get
    monkeypatch.setattr(type(om.models), "get", lambda store, name: [read.append(name), get(store, name)][1])
    row = [[0.0] * 10]
    for _ in range(3):
        om.runtime.model("sugar").predict(row)
        om["omegaml"].runtime.model("sugar").predict(row)
    assert read == ["sugar"]
    om.models.put(LinearRegression(positive=True).fit([row[0]] * 2, [7.0, 7.0]), "sugar")
    assert om.runtime.model("sugar").predict(row).tolist() == [7.0]
    om.models.drop("sugar")
    with pytest.raises(NotFound):
        om.runtime.model("sugar").predict(row)


def test_a_partial_fit_does_not_bury_a_model_put_meanwhile(om: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    om.models.put(Counter().fit([[1]]), "counter")
    newer, partial_fit = Counter().fit([[1]] * 100), Counter.partial_fit
    tries: list[int] = []

    def meddled(self: Counter, X: Any, y: Any = None) -> Counter:
        if not tries:
            om.models.put(newer, "counter")  # another user, just now
        tries.append(self.rows_)
        return partial_fit(self, X)

    monkeypatch.setattr(Counter, "partial_fit", meddled)
    done = om.runtime.model("counter").partial_fit([[1]] * 7)
    assert tries == [1, 100]
    assert om.models.get("counter").rows_ == 107
    assert done["version"] == 3


def test_a_put_in_the_very_moment_of_storing_counts_too(om: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    om.models.put(Counter().fit([[1]]), "counter")
    put = type(om.models).put

    def meddled(store: Any, obj: Any, name: str, **how: Any) -> Any:
        monkeypatch.undo()
        put(store, Counter().fit([[1]] * 100), name)
        return put(store, obj, name, **how)

    monkeypatch.setattr(type(om.models), "put", meddled)
    assert om.runtime.model("counter").partial_fit([[1]] * 7)["version"] == 3
    assert [om.models.get("counter", version=v).rows_ for v in (1, 2, 3)] == [1, 100, 107]


def test_a_model_dropped_while_it_is_trained_stays_dropped(om: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    om.models.put(Counter(), "counter")
    monkeypatch.setattr(Counter, "fit", lambda self, X, y=None: [om.models.drop("counter"), self][1])
    with pytest.raises(NotFound):
        om.runtime.model("counter").fit([[1]])
    assert om.models.list() == []


def test_a_parameter_may_have_any_name(om: Any, fitted: Any) -> None:
    for name in ("limit", "params", "waiting", "name", "x"):
        with pytest.raises(InvalidInput, match=f"'{name}'"):
            om.runtime.model("sugar").predict([[0.0] * 10], **{name: 1})


def test_a_large_value_leaves_nothing_behind_even_if_the_model_fails(
    om: Any, fitted: Any, diabetes: pd.DataFrame
) -> None:
    large = pd.concat([diabetes.drop(columns="target")] * 200, ignore_index=True)
    before = stored(om)
    assert len(om.runtime.model("sugar").predict(large)) == len(large)
    with pytest.raises(Mismatch, match="misses 's6'"):
        om.runtime.model("sugar").predict(large.drop(columns="s6"))
    with pytest.raises(NotFound, match="nobody"):
        om.runtime.model("nobody").predict(large)
    assert stored(om) == before


def test_partial_fit_goes_on_from_the_stored_model(om: Any, diabetes: pd.DataFrame) -> None:
    om.models.put(SGDRegressor(random_state=1), "sgd")
    expected = SGDRegressor(random_state=1)
    for version in (2, 3):
        assert (
            om.runtime.model("sgd").partial_fit("diabetes[^target]", "diabetes[target]")["version"] == version
        )
        expected.partial_fit(diabetes.drop(columns="target"), diabetes["target"])
    np.testing.assert_allclose(om.models.get("sgd").coef_, expected.coef_)


def test_transform_returns_what_the_model_returns(om: Any, diabetes: pd.DataFrame) -> None:
    x = diabetes.drop(columns="target")
    om.models.put(StandardScaler(), "scaler")
    om.runtime.model("scaler").fit("diabetes[^target]")
    np.testing.assert_allclose(om.runtime.model("scaler").transform(x), StandardScaler().fit_transform(x))
    om.models.put(OneHotEncoder().fit([["a"], ["b"]]), "onehot")
    assert om.runtime.model("onehot").transform([["b"]]).toarray().tolist() == [[0.0, 1.0]]


def test_gridsearch_stores_the_best_and_says_what_it_tried(om: Any, diabetes: pd.DataFrame) -> None:
    om.models.put(Ridge(), "ridge")
    found = om.runtime.model("ridge").gridsearch(
        "diabetes[^target]", "diabetes[target]", parameters={"alpha": [0.1, 1000.0]}, cv=3
    )
    assert found["best_params"] == {"alpha": 0.1}
    assert [t["params"] for t in found["tried"]] == [{"alpha": 0.1}, {"alpha": 1000.0}]
    assert found["version"] == 2
    assert om.models.get("ridge").alpha == 0.1


def test_an_older_version_answers_as_it_did(om: Any, fitted: Any, diabetes: pd.DataFrame) -> None:
    x = diabetes.drop(columns="target")
    om.runtime.model("sugar").fit(x, np.zeros(len(x)))
    np.testing.assert_allclose(om.runtime.model("sugar").predict(x), 0, atol=1e-9)
    np.testing.assert_allclose(om.runtime.model("sugar^").predict(x), fitted.predict(x))


def test_a_bucket_has_its_own_models_and_data(om: Any, fitted: Any) -> None:
    with pytest.raises(NotFound, match="other"):
        om["other"].runtime.model("sugar").predict([[0.0] * 10])


def test_what_a_model_cannot_do_names_what_it_can(om: Any, fitted: Any) -> None:
    with pytest.raises(Mismatch, match="no predict_proba") as caught:
        om.runtime.model("sugar").predict_proba([[0.0] * 10])
    assert "predict" in str(caught.value.hint)


def test_text_and_missing_values_name_their_column(om: Any, fitted: Any, diabetes: pd.DataFrame) -> None:
    x = diabetes.drop(columns="target")
    with pytest.raises(Mismatch, match="'bmi' holds text"):
        om.runtime.model("sugar").predict(x.assign(bmi="fat"))
    with pytest.raises(Mismatch, match="'bp' has missing"):
        om.runtime.model("sugar").predict(x.assign(bp=np.nan))
    with pytest.raises(Mismatch, match="442 rows and Y has 3"):
        om.runtime.model("sugar").fit(x, [1, 2, 3])


def test_a_model_that_exits_does_not_end_this_process(om: Any) -> None:
    om.models.put(Leaver(), "leaver")
    with pytest.raises(TaskFailed, match="SystemExit"):
        om.runtime.model("leaver").predict([[1]])


def test_a_runtime_that_is_not_there_is_named(om: Any) -> None:
    with pytest.raises(InvalidInput, match="'telepathy'"):
        connect(om, "telepathy")


# --- calls with a limit, and those that are interrupted


def test_a_waiting_call_with_a_limit_is_ended_by_it_and_the_next_goes_on(om: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    patient, limited = (om.runtime.model("sleeper", limit=seconds) for seconds in (120, 3))
    assert patient.predict([[0.0]]).tolist() == [0.0]  # it loads what it needs, too
    began = time.monotonic()
    with pytest.raises(TimedOut, match="limit"):
        limited.fit([[60.0]])
    assert 3 <= time.monotonic() - began < 50
    assert om.models.metadata("sleeper").version == 1
    assert patient.predict([[0.0]]).tolist() == [0.0]
    assert om.runtime.run(Task("ping", limit=60)).get()["pid"] != os.getpid()
    assert om.runtime.run(Task("ping")).get()["pid"] == os.getpid()


def test_a_limit_changes_no_result_and_leaves_nothing_behind(
    om: Any, fitted: Any, diabetes: pd.DataFrame
) -> None:
    large = pd.concat([diabetes.drop(columns="target")] * 200, ignore_index=True)
    before = stored(om)
    model = om.runtime.model("sugar", limit=60)
    np.testing.assert_allclose(model.predict(large), fitted.predict(large))
    with pytest.raises(Mismatch, match="misses 's6'"):
        model.predict(large.drop(columns="s6"))
    with pytest.raises(NotFound, match="nobody"):
        om.runtime.model("nobody", limit=60).predict(large)
    assert stored(om) == before


WAITING = """
import sys
import pandas as pd
from omegaml.omega import Omega
om = Omega(mongo_url=sys.argv[1])
print("ready", flush=True)
om.runtime.model("sleeper", limit=eval(sys.argv[2])).predict(pd.DataFrame({"s": [300.0] * 200_000}))
"""


@pytest.mark.parametrize("limit", [None, 600])
def test_an_interrupted_call_leaves_nothing_behind(om: Any, om_url: str, limit: int | None) -> None:
    om.models.put(Sleeper(), "sleeper")
    before = stored(om)
    program = subprocess.Popen(
        [sys.executable, "-c", WAITING, om_url, str(limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert program.stdout is not None
        said = b""
        while b"going to sleep" not in said:  # the model itself says so
            said = (program.stdout if limit is None else program.stderr).readline()
            assert said
        children = children_of(program.pid)
        assert len(children) == (limit is not None)
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=30)
        assert program.returncode != 0 and b"KeyboardInterrupt" in said
        wait_for(lambda: not any(map(is_alive, children)))
        assert stored(om) == before
    finally:
        program.kill()


def test_the_shell_waits_no_longer_than_its_timeout(om: Any, cli: Cli) -> None:
    om.models.put(Sleeper(), "sleeper")
    om.datasets.put(pd.DataFrame({"seconds": [60.0]}), "long")
    began = time.monotonic()
    code, text = cli.error("models", "predict", "sleeper", "long", "--timeout", "1")
    assert code == 8 and "--timeout" in text
    assert time.monotonic() - began < 20
    program = subprocess.Popen(
        [sys.executable, "-m", "omegacli", "models", "predict", "sleeper", "long", "--timeout", "600"],
        stderr=subprocess.PIPE,
        env=cli.env,
    )
    try:
        children = wait_for(lambda: children_of(program.pid))
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=30)
        assert program.returncode == 130
        wait_for(lambda: not any(map(is_alive, children)))
    finally:
        program.kill()
