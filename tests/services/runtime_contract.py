"""What every runtime keeps to.

A test class for one runtime gives the fixture `runtime`, bound to `om`. `RuntimeContract` is for calls that
wait (`submit`); `QueueContract` for tasks that are found again by their id (`enqueue`), two tasks at a time.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression

from omegaml.errors import (
    Conflict,
    InvalidInput,
    Mismatch,
    NotFound,
    NotStorable,
    OmegaError,
    TaskFailed,
    TimedOut,
)
from omegaml.runtime import Promise, Runtime, Task
from tests.services.runtime_models import (
    Counter,
    Forker,
    Giver,
    Killer,
    Leaver,
    Raiser,
    Recorder,
    Sleeper,
    Talker,
)
from tests.services.runtime_processes import in_another_process, stored, wait_for


class RuntimeContract:
    @pytest.fixture
    def iris(self, om: Any) -> Any:
        frame = load_iris(as_frame=True).frame
        om.datasets.put(frame, "iris")
        return frame

    @pytest.fixture
    def fitted(self, om: Any, iris: Any) -> LogisticRegression:
        model = LogisticRegression(max_iter=500).fit(iris.drop(columns="target"), iris["target"])
        om.models.put(model, "flowers")
        return model

    def test_it_is_a_runtime_and_its_promises_are_promises(self, runtime: Any) -> None:
        assert isinstance(runtime, Runtime)
        assert isinstance(runtime.submit(Task("ping")), Promise)

    def test_a_result_comes_back(self, runtime: Any, om: Any) -> None:
        om.models.put(LinearRegression().fit([[1.0], [2.0], [3.0]], [2.0, 4.0, 6.0]), "double")
        promise = runtime.submit(Task("predict", "models", "double", [[[1.0], [5.0]]]))
        np.testing.assert_allclose(promise.get(timeout=60), [2.0, 10.0])
        assert promise.done()
        assert promise.status == "done"

    def test_a_promise_carries_the_id_of_its_task(self, runtime: Any) -> None:
        task = Task("ping")
        assert runtime.submit(task).id == task.id

    def test_data_goes_by_name_with_projections(self, runtime: Any, om: Any, fitted: Any, iris: Any) -> None:
        task = Task("predict", "models", "flowers", ["iris[^target]"])
        np.testing.assert_array_equal(
            runtime.submit(task).get(60), fitted.predict(iris.drop(columns="target"))
        )

    def test_fit_stores_the_next_version(self, runtime: Any, om: Any, iris: Any) -> None:
        om.models.put(LogisticRegression(max_iter=500), "m")
        done = runtime.submit(Task("fit", "models", "m", ["iris[^target]", "iris[target]"])).get(60)
        assert done == {"model": "m", "version": 2, "kind": om.models.metadata("m").kind}
        assert om.models.get("m").score(iris.drop(columns="target"), iris["target"]) > 0.9
        assert not hasattr(om.models.get("m^"), "coef_")

    @pytest.mark.parametrize("format", ["joblib", "skops"])
    def test_a_trained_model_keeps_its_format(self, runtime: Any, om: Any, iris: Any, format: str) -> None:
        om.models.put(LogisticRegression(max_iter=500), "m", format=format)
        runtime.submit(Task("fit", "models", "m", ["iris[^target]", "iris[target]"])).get(60)
        assert om.models.metadata("m").kind == f"sklearn.{format}"
        answer = runtime.submit(Task("predict", "models", "m", ["iris[^target]"])).get(60)
        np.testing.assert_array_equal(answer, om.models.get("m").predict(iris.drop(columns="target")))

    def test_a_result_can_be_stored(self, runtime: Any, om: Any, fitted: Any, iris: Any) -> None:
        task = Task("predict", "models", "flowers", ["iris[^target]"], result="answers")
        assert runtime.submit(task).get(60) == {"dataset": "answers"}
        np.testing.assert_array_equal(om.datasets.get("answers"), fitted.predict(iris.drop(columns="target")))

    def test_an_action_nobody_knows_is_refused_with_the_known_ones(self, runtime: Any) -> None:
        with pytest.raises(InvalidInput, match="predict_proba"):
            runtime.submit(Task("guess", "models", "m", [[[1]]])).get(60)

    def test_a_missing_model_or_dataset_is_not_found(self, runtime: Any, fitted: Any) -> None:
        with pytest.raises(NotFound, match="nobody"):
            runtime.submit(Task("predict", "models", "nobody", [[[1]]])).get(60)
        with pytest.raises(NotFound, match="nothing"):
            runtime.submit(Task("predict", "models", "flowers", ["nothing"])).get(60)

    def test_data_that_does_not_fit_names_the_column(self, runtime: Any, fitted: Any) -> None:
        with pytest.raises(Mismatch, match="'target'") as caught:
            runtime.submit(Task("predict", "models", "flowers", ["iris"])).get(60)
        assert caught.value.exit_code == 2
        with pytest.raises(Mismatch, match="petal width"):
            runtime.submit(Task("predict", "models", "flowers", ["iris[^target,petal width (cm)]"])).get(60)
        with pytest.raises(Mismatch, match="2 columns, fitted on 4"):
            runtime.submit(Task("predict", "models", "flowers", [[[1.0, 2.0]]])).get(60)

    def test_a_model_that_is_not_fitted_says_so(self, runtime: Any, om: Any, iris: Any) -> None:
        om.models.put(LogisticRegression(), "raw")
        with pytest.raises(Mismatch, match="not fitted") as caught:
            runtime.submit(Task("predict", "models", "raw", ["iris[^target]"])).get(60)
        assert "fit" in str(caught.value.hint)

    @pytest.mark.fault
    def test_an_error_in_the_model_has_its_traceback(self, runtime: Any, om: Any) -> None:
        om.models.put(LogisticRegression(), "m")
        promise = runtime.submit(Task("fit", "models", "m", [[[1.0], [2.0]], [0, 0]]))
        with pytest.raises(TaskFailed, match="ValueError") as caught:
            promise.get(60)
        assert "Traceback" in caught.value.details["traceback"]
        assert promise.status == "failed"

    def test_an_error_leaves_the_stored_model_as_it_was(self, runtime: Any, om: Any) -> None:
        om.models.put(LogisticRegression(), "m")
        with pytest.raises(TaskFailed):
            runtime.submit(Task("fit", "models", "m", [[[1.0], [2.0]], [0, 0]])).get(60)
        assert om.models.metadata("m").version == 1

    @pytest.mark.fault
    def test_whatever_is_raised_becomes_one_of_our_errors(self, runtime: Any, om: Any) -> None:
        om.models.put(Raiser(), "raiser")
        with pytest.raises(TaskFailed, match="Local: öch") as caught:
            runtime.submit(Task("predict", "models", "raiser", [[[1]]])).get(60)
        assert "in predict" in caught.value.details["traceback"]
        om.models.put(Leaver(), "leaver")
        with pytest.raises(TaskFailed, match="SystemExit"):
            runtime.submit(Task("predict", "models", "leaver", [[[1]]])).get(60)

    def test_a_value_that_is_damaged_is_refused(self, runtime: Any, fitted: Any) -> None:
        damaged = {"$value": "array", "dtype": "<f8", "shape": [9], "data": "AAAA"}
        with pytest.raises(InvalidInput, match="'array' cannot be read"):
            runtime.submit(Task("predict", "models", "flowers", [damaged])).get(60)
        with pytest.raises(InvalidInput, match="X and Y"):
            runtime.submit(Task("predict", "models", "flowers", [[], [], []])).get(60)

    def test_a_parameter_the_model_has_not_is_refused(self, runtime: Any, fitted: Any) -> None:
        with pytest.raises(InvalidInput, match="'zork'"):
            runtime.submit(Task("predict", "models", "flowers", ["iris[^target]"], {"zork": 1})).get(60)

    def test_a_model_whose_module_is_missing_names_it(
        self, runtime: Any, om: Any, om_url: str, tmp_path: Path
    ) -> None:
        (tmp_path / "their_models.py").write_text("class Model:\n    def predict(self, X): return X\n")
        code = (
            "import sys; sys.path.insert(0, sys.argv[2]); from their_models import Model;"
            "from omegaml.omega import Omega; Omega(mongo_url=sys.argv[1]).models.put(Model(), 'theirs')"
        )
        in_another_process(code, om_url, str(tmp_path))
        assert "their_models" not in sys.modules
        with pytest.raises(OmegaError, match="'their_models', which is not installed") as caught:
            runtime.submit(Task("predict", "models", "theirs", [[[1]]])).get(60)
        assert type(caught.value) is OmegaError
        assert caught.value.details["package"] == "their_models"

    def test_a_model_that_was_defined_in_a_script_says_so(self, runtime: Any, om: Any, om_url: str) -> None:
        code = (
            "import sys; from omegaml.omega import Omega\n"
            "class Model:\n    def predict(self, X): return X\n"
            "Omega(mongo_url=sys.argv[1]).models.put(Model(), 'theirs')"
        )
        in_another_process(code, om_url)
        with pytest.raises(OmegaError, match="defined in a notebook or script") as caught:
            runtime.submit(Task("predict", "models", "theirs", [[[1]]])).get(60)
        assert "module" in str(caught.value.hint)

    @pytest.mark.fault
    @pytest.mark.parametrize("what", ["object", "generator", "masked"])
    def test_a_result_that_cannot_travel_is_refused_by_its_type(
        self, runtime: Any, om: Any, what: str
    ) -> None:
        om.models.put(Giver(), "giver")
        with pytest.raises(NotStorable, match=f"{what}|Masked"):
            runtime.submit(Task("predict", "models", "giver", [[[1]]], {"what": what})).get(60)

    def test_results_come_back_whatever_is_in_them(self, runtime: Any, om: Any) -> None:
        om.models.put(Giver(), "giver")

        def given(what: str) -> Any:
            return runtime.submit(Task("predict", "models", "giver", [[[1]]], {"what": what})).get(120)

        assert given("unicode") == ["ü€\U0001f600", "\x00", "\ud800"]
        nan, inf, none, number = given("unfinished")
        assert (np.isnan(nan), inf, none, type(number)) == (True, float("inf"), None, np.float32)
        assert given("nothing") is None
        assert len(given("text")) == 20_000_000
        assert given("labels").tolist() == ["label"] * 300_000

    def test_labels_of_text_are_stored_as_a_series(self, runtime: Any, om: Any, iris: Any) -> None:
        names = iris.assign(name=iris["target"].map({0: "setosa", 1: "versicolor", 2: "virginica"}))
        om.datasets.put(names, "names")
        om.models.put(LogisticRegression(max_iter=500), "m")
        x = "names[^target,name]"
        runtime.submit(Task("fit", "models", "m", [x, "names[name]"])).get(60)
        answered = runtime.submit(Task("predict", "models", "m", [x])).get(60)
        assert (answered == names["name"]).mean() > 0.9
        runtime.submit(Task("predict", "models", "m", [x], result="labels")).get(60)
        assert om.datasets.get("labels").tolist() == answered.tolist()

    def test_a_result_is_not_stored_under_a_bad_name(self, runtime: Any, fitted: Any) -> None:
        with pytest.raises(InvalidInput, match=r"'a\[b\]'"):
            runtime.submit(Task("predict", "models", "flowers", ["iris[^target]"], result="a[b]")).get(60)

    def test_what_fit_returns_is_stored_only_if_it_is_a_model(self, runtime: Any, om: Any) -> None:
        om.models.put(Recorder(), "recorder")
        runtime.submit(Task("fit", "models", "recorder", [[[1.0]]])).get(60)
        assert om.models.get("recorder").fitted_

    def test_gridsearch_keeps_the_best_with_what_it_found(self, runtime: Any, om: Any, iris: Any) -> None:
        om.models.put(LogisticRegression(max_iter=500), "m")
        data = ["iris[^target]", "iris[target]"]
        kwargs = {
            "parameters": {"C": [1e-4, 1.0]},
            "cv": 3,
            "scoring": ["accuracy", "f1_macro"],
            "refit": "accuracy",
        }
        found = runtime.submit(Task("gridsearch", "models", "m", data, kwargs)).get(60)
        assert (found["version"], found["best_params"]) == (2, {"C": 1.0})
        assert found["tried"][1]["scores"]["accuracy"] == found["best_score"] == found["tried"][1]["mean"]
        assert om.models.get("m").C == 1.0
        kept = om.models.metadata("m").attributes["trained"]
        assert (kept["version"], kept["action"], kept["best_params"]) == (2, "gridsearch", {"C": 1.0})
        assert [t["params"] for t in kept["tried"]] == [{"C": 1.0}, {"C": 1e-4}]
        with pytest.raises(InvalidInput, match="refit"):
            runtime.submit(Task("gridsearch", "models", "m", data, {**kwargs, "refit": False})).get(60)
        with pytest.raises(InvalidInput, match="parameters"):
            runtime.submit(Task("gridsearch", "models", "m", data)).get(60)

    def test_values_of_a_task_are_dropped_with_it(
        self, runtime: Any, om: Any, fitted: Any, iris: Any
    ) -> None:
        x = iris.drop(columns="target")
        runtime.submit(Task("predict", "models", "flowers", ["iris[^target]"])).get(60)
        before = stored(om)
        for name, model in ((".temp/a", "flowers"), (".temp/b", "nobody")):
            om.datasets.put(x, name)
            value = {"$value": "dataset", "name": name}
            promise = runtime.submit(Task("predict", "models", model, [value], temporary=[name]))
            if model == "flowers":
                assert len(promise.get(60)) == len(x)
            else:
                with pytest.raises(NotFound):
                    promise.get(60)
        wait_for(lambda: stored(om) == before)

    @pytest.mark.fault
    def test_what_a_model_prints_and_reads_is_not_taken_for_messages(self, runtime: Any, om: Any) -> None:
        om.models.put(Talker(), "talker")
        assert runtime.submit(Task("predict", "models", "talker", [[["write"]]])).get(60) == [b"", [1]]
        assert runtime.submit(Task("ping")).get(60)["message"] == "pong"

    def test_a_task_is_json_and_nothing_else(self, runtime: Any) -> None:
        task = Task("predict", "models", "m", [[[1, 2]]], {"a": {"b": None}}, temporary=["x"], limit=1.5)
        assert Task.from_json(task.to_json()) == task
        assert json.loads(task.to_json())["name"] == "m"
        with pytest.raises(InvalidInput, match="JSON"):
            Task("predict", "models", "m", [object()]).to_json()
        for text in ("[]", "{}", "no", '{"action": "ping", "new": 1}'):
            if "new" in text:
                assert Task.from_json(text).action == "ping"
            else:
                with pytest.raises(InvalidInput, match="no task"):
                    Task.from_json(text)

    def test_every_partial_fit_of_many_at_once_counts(self, runtime: Any, om: Any) -> None:
        om.models.put(Counter().fit([]), "counter")

        def train(number: int) -> Any:
            return runtime.submit(Task("partial_fit", "models", "counter", [[[1]] * number])).get(120)

        with ThreadPoolExecutor(4) as threads:
            done = list(threads.map(train, [1, 10, 100, 1000] * 2))
        assert om.models.get("counter").rows_ == 2222
        assert sorted(one["version"] for one in done) == list(range(2, 10))

    def test_two_fits_at_once_make_a_version_each(self, runtime: Any, om: Any) -> None:
        om.models.put(Counter(), "counter")
        tasks = [Task("fit", "models", "counter", [[[1]] * n]) for n in (1, 2, 3)]
        with ThreadPoolExecutor(3) as threads:
            done = list(threads.map(lambda task: runtime.submit(task).get(120), tasks))
        assert sorted(one["version"] for one in done) == [2, 3, 4]
        for one, n in zip(done, (1, 2, 3), strict=True):
            assert om.models.get("counter", version=one["version"]).rows_ == n


class QueueContract:
    def test_a_result_is_read_by_its_id_in_another_process(self, runtime: Any, om: Any, om_url: str) -> None:
        om.models.put(Giver(), "giver")
        promise = runtime.enqueue(Task("predict", "models", "giver", [[[1]]], {"what": "labels"}))
        code = "import sys; from omegaml.omega import Omega; om = Omega(mongo_url=sys.argv[1]);"
        code += "print(len(om.runtime.result(sys.argv[2], 60)), om.runtime.promise(sys.argv[2]).status)"
        assert in_another_process(code, om_url, promise.id) == "300000 done"
        assert len(runtime.promise(promise.id).get(60)) == 300_000

    def test_an_error_is_the_same_in_every_process(self, runtime: Any, om: Any, om_url: str) -> None:
        om.models.put(LinearRegression().fit([[1.0]], [1.0]), "m")
        task = Task("predict", "models", "m", [[[1.0, 2.0]]])
        promise = runtime.enqueue(task)
        with pytest.raises(Mismatch) as caught:
            promise.get(60)
        with pytest.raises(Mismatch) as waiting:
            om.runtime.run(Task("predict", "models", "m", [[[1.0, 2.0]]])).get()
        assert str(waiting.value) == str(caught.value)
        assert waiting.value.details == caught.value.details
        code = (
            "import sys; from omegaml.omega import Omega; from omegaml.errors import OmegaError\n"
            "try: Omega(mongo_url=sys.argv[1]).runtime.result(sys.argv[2], 60)\n"
            "except OmegaError as error: print(error.code, error.exit_code, error)"
        )
        assert in_another_process(code, om_url, promise.id) == f"MISMATCH 2 {caught.value}"

    def test_an_id_nobody_gave_is_not_found(self, runtime: Any) -> None:
        with pytest.raises(NotFound, match="abc"):
            runtime.promise("abc")

    def test_an_id_is_used_once(self, runtime: Any) -> None:
        task = Task("ping")
        assert runtime.enqueue(task).get(60)["message"] == "pong"
        with pytest.raises(Conflict, match=task.id):
            runtime.enqueue(task)

    def test_waiting_too_long_says_how_to_get_the_result_later(self, runtime: Any, om: Any) -> None:
        om.models.put(Sleeper(), "sleeper")
        promise = runtime.enqueue(Task("predict", "models", "sleeper", [[[1.0]]]))
        with pytest.raises(TimedOut, match=promise.id):
            promise.get(0.1)
        assert promise.get(60).tolist() == [1.0]

    @pytest.mark.fault
    def test_a_task_in_hand_is_cancelled(self, runtime: Any, om: Any) -> None:
        om.models.put(Sleeper(), "sleeper")
        promise = runtime.enqueue(Task("fit", "models", "sleeper", [[[60.0]]]))
        wait_for(lambda: promise.status == "running")
        assert promise.cancel()
        with pytest.raises(TaskFailed, match="cancelled"):
            promise.get(20)
        assert promise.status == "cancelled"
        assert promise.done()
        assert om.models.metadata("sleeper").version == 1
        assert not promise.cancel()
        assert runtime.enqueue(Task("ping")).get(60)["message"] == "pong"

    @pytest.mark.fault
    def test_a_task_that_waits_is_cancelled_and_never_runs(self, runtime: Any, om: Any) -> None:
        om.models.put(Sleeper(), "sleeper")
        busy = [runtime.enqueue(Task("predict", "models", "sleeper", [[[60.0]]])) for _ in range(2)]
        wait_for(lambda: [p.status for p in busy] == ["running"] * 2)
        waiting = runtime.enqueue(Task("fit", "models", "sleeper", [[[0.0]]]))
        assert waiting.cancel()
        assert waiting.status == "cancelled"
        for promise in busy:
            promise.cancel()
        assert runtime.enqueue(Task("ping")).get(60)["message"] == "pong"
        assert om.models.metadata("sleeper").version == 1

    @pytest.mark.fault
    def test_a_task_ends_at_its_limit(self, runtime: Any, om: Any) -> None:
        om.models.put(Sleeper(), "sleeper")
        promise = runtime.enqueue(Task("predict", "models", "sleeper", [[[60.0]]], limit=0.5))
        with pytest.raises(TimedOut, match="limit"):
            promise.get(30)
        assert promise.status == "failed"

    @pytest.mark.fault
    def test_a_task_that_kills_its_process_fails_and_the_next_is_done(self, runtime: Any, om: Any) -> None:
        om.models.put(Killer(), "killer")
        with pytest.raises(TaskFailed, match="SIGKILL") as caught:
            runtime.enqueue(Task("predict", "models", "killer", [[[1]]])).get(60)
        assert "memory" in str(caught.value.hint)
        assert runtime.enqueue(Task("ping")).get(60)["message"] == "pong"

    @pytest.mark.fault
    def test_a_model_that_forks_answers_once(self, runtime: Any, om: Any) -> None:
        om.models.put(Forker(), "forker")
        assert runtime.enqueue(Task("predict", "models", "forker", [[[1]]])).get(60) == ["original"]
        assert runtime.enqueue(Task("ping")).get(60)["message"] == "pong"

    def test_many_tasks_of_many_threads_are_each_done(self, runtime: Any, om: Any) -> None:
        om.models.put(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), "same")
        answers: dict[int, Any] = {}

        def ask(number: int) -> None:
            task = Task("predict", "models", "same", [[[float(number)]]])
            answers[number] = runtime.enqueue(task).get(120)[0]

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {n: round(a) for n, a in answers.items()} == {n: n for n in range(12)}

    def test_the_status_says_who_is_there(self, runtime: Any) -> None:
        runtime.require_runner()
        runtime.enqueue(Task("ping")).get(60)
        status = runtime.status()
        assert {"id", "host", "pid", "slots", "running", "age"} <= set(status["runners"][0])
        assert status["tasks"]["done"] >= 1

    def test_the_queues_say_who_is_there_for_which_label(self, runtime: Any, om: Any) -> None:
        runtime.enqueue(Task("ping")).get(60)
        assert om.runtime.labels() == {"default": 1}
        assert [worker["labels"] for worker in om.runtime.workers()] == [["default"]]
        [queue] = om.runtime.queues()
        assert (queue["label"], queue["waiting"], queue["workers"]) == ("default", 0, 1)

    def test_values_of_a_queued_task_are_dropped_with_it(self, runtime: Any, om: Any) -> None:
        om.models.put(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), "same")
        before = stored(om)
        name = runtime.keep(pd.DataFrame({"a": [1.0]}), None, waiting=False)
        value = {"$value": "dataset", "name": name}
        task = Task("predict", "models", "same", [value], temporary=[name])
        assert runtime.enqueue(task).get(60).tolist() == [pytest.approx(1.0)]
        wait_for(lambda: stored(om) == before)
