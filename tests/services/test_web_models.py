"""Models over REST: stored and described by omegaweb, trained and asked by a runner of all accounts."""

from __future__ import annotations

import http.client
import io
import os
import pickle
import shutil
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
import requests
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDRegressor

from omegaml.omega import Omega
from omegaml.runtime.child import may_give_up_rights
from tests.services.runtime_models import Sleeper
from tests.services.runtime_processes import ROOT, is_alive, wait_for
from tests.services.web_platform import Person, WebPlatform
from tests.services.web_runner import WebRunner, runner

__all__ = ["runner"]
pytestmark = pytest.mark.once


@pytest.fixture
def om(ann: Person) -> Iterator[Omega]:
    """ann's own platform, in which she has the dataset `points` and the models `line` and `fresh`."""
    with Platform(ann) as platform:
        frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "n": [1, 2, 1, 2], "y": [1.0, 3.0, 5.0, 7.0]})
        platform.datasets.put(frame, "points")
        platform.models.put(LinearRegression(), "fresh")
        platform.models.put(LinearRegression().fit(frame[["x", "n"]], frame["y"]), "line")
        yield platform


class Platform:
    def __init__(self, person: Person) -> None:
        self._om = Omega(mongo_url=person.settings["OMEGA_MONGO_URL"])

    def __enter__(self) -> Omega:
        return self._om

    def __exit__(self, *error: Any) -> None:
        self._om.close()


def message(answer: requests.Response, status: int) -> str:
    """What an error says."""
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["message"])


def ended(person: Person, answer: requests.Response) -> dict[str, Any]:
    """The task of an answer 202, once it has ended."""
    assert answer.status_code == 202, answer.text
    where = answer.headers["Location"].removeprefix("/api/v1/")

    return dict(person.get(f"{where}?wait=50").json())


# --- asking and training


@pytest.mark.mariadb
def test_a_model_is_fitted_on_datasets_and_asked_by_value(om: Omega, ann: Person, runner: WebRunner) -> None:
    answer = ann.call("PUT", "model/fresh/fit/?datax=points[x,n]&datay=points[y]")
    assert answer.status_code == 202, answer.text  # as the clients of the earlier systems expect
    assert answer.json()["result"]["version"] == 2
    answer = ann.call("PUT", "model/fresh/predict/", json={"columns": ["x", "n"], "data": [[10, 1]]})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "model": "fresh",
        "result": [pytest.approx(21.0)],
        "resource_uri": "/api/v1/model/fresh/predict/",
    }
    parts = [part.split(";dur=")[0] for part in answer.headers["Server-Timing"].split(", ")]
    assert parts == ["auth", "queue", "load", "predict"]


@pytest.mark.parametrize(
    "body",
    [
        {"columns": ["x", "n"], "data": [[10, 1], [20, 1]]},
        {"columns": ["n", "x"], "data": [[1, 10], [1, 20]]},
        {"columns": ["x", "n"], "data": {"x": [10, 20], "n": [1, 1]}},
        {"data": {"x": {"0": 10, "1": 20}, "n": {"0": 1, "1": 1}}},
        {"data": [{"x": 10, "n": 1}, {"x": 20, "n": 1}]},
        [[10, 1], [20, 1]],
    ],
)
def test_values_may_come_as_rows_columns_or_records(
    om: Omega, ann: Person, runner: WebRunner, body: Any
) -> None:
    answer = ann.call("POST", "model/line/predict/", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"] == pytest.approx([21.0, 41.0])


def test_a_model_is_asked_about_a_dataset(om: Omega, ann: Person, runner: WebRunner) -> None:
    answer = ann.get("model/line/predict/?datax=points[x,n]")
    assert answer.json()["result"] == pytest.approx([1.0, 3.0, 5.0, 7.0])
    answer = ann.get("model/line/score/?datax=points[x,n]&datay=points[y]")
    assert answer.json()["result"] == pytest.approx(1.0)
    assert message(ann.get("model/line/predict/?datax=nowhere"), 404) == (
        "there is no dataset 'nowhere' in bucket 'omegaml'"
    )


def test_labels_and_probabilities_come_as_lists(om: Omega, ann: Person, runner: WebRunner) -> None:
    model = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], ["no", "no", "yes", "yes"])
    om.models.put(model, "deep/answers")
    body = {"data": [[-9.0], [9.0]]}
    assert ann.call("POST", "model/deep/answers/predict/", json=body).json()["result"] == ["no", "yes"]
    found = ann.call("POST", "model/deep/answers/predict_proba/", json=body).json()["result"]
    assert found[0][0] > 0.9 and found[1][1] > 0.9
    found = ann.call("POST", "model/deep/answers/decision_function/", json=body).json()["result"]
    assert found[0] < 0 < found[1]


def test_partial_fit_goes_on_from_the_version_before(om: Omega, ann: Person, runner: WebRunner) -> None:
    om.models.put(SGDRegressor(random_state=1), "sgd")
    for version in (2, 3):
        answer = ann.call("POST", "model/sgd/partial_fit/?datax=points[x]&datay=points[y]")
        assert (answer.status_code, answer.json()["result"]["version"]) == (202, version)


def test_data_that_does_not_fit_is_refused_naming_the_column(
    om: Omega, ann: Person, runner: WebRunner
) -> None:
    def ask(**body: Any) -> str:
        return message(ann.call("POST", "model/line/predict/", json=body), 422)

    ann.call("PUT", "model/fresh/fit/?datax=points[x,n]&datay=points[y]")
    assert "'n'" in ask(columns=["x"], data=[[1]])
    assert "'n'" in ask(columns=["x", "n"], data=[{"x": 1}])
    assert "'z'" in ask(columns=["x", "n", "z"], data=[[1, 2, 3]])
    assert "'n'" in ask(columns=["x", "n"], data=[[1, "many"]])
    assert "'x'" in ask(columns=["x", "n"], data=[[None, 1]])
    assert "3" in ask(columns=["x", "n"], data=[[1, 2, 3]])
    # text that could be taken for a number: known to be wrong where the runner has fitted the model
    answer = ann.call("POST", "model/fresh/predict/", json={"columns": ["x", "n"], "data": [["1", 2]]})
    assert "'x'" in message(answer, 422)


def test_many_rows_come_as_values(om: Omega, ann: Person, runner: WebRunner) -> None:
    rows = [[1.25, 2]] * 400_000  # four megabytes
    answer = ann.call("POST", "model/line/predict/", json={"columns": ["x", "n"], "data": rows})
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"] == pytest.approx([3.5] * len(rows))


def test_what_cannot_be_asked_is_said(om: Omega, ann: Person, runner: WebRunner) -> None:
    body = {"columns": ["x", "n"], "data": [[1, 1]]}
    assert "'nothing'" in message(ann.call("POST", "model/nothing/predict/", json=body), 404)
    assert "not fitted" in message(ann.call("POST", "model/fresh/predict/", json=body), 400)
    assert "predict_proba" in message(ann.call("POST", "model/line/predict_proba/", json=body), 422)
    assert message(ann.call("POST", "model/line/predict/", json={"data": "points"}), 400)
    assert message(ann.call("POST", "model/line/predict/", json={"columns": "x", "data": []}), 400)
    assert message(ann.call("POST", "model/line/predict/?timeout=never", json=body), 400)
    assert ann.get("model/line/fit/?datax=points").status_code == 405
    for odd, status in (
        ({"data": [[10**400, 1]]}, 422),
        ({"data": [["\ud800", 1]]}, 400),
        ({"data": [[1, 1]], "y": [1]}, 400),
    ):
        assert message(ann.call("POST", "model/line/predict/", json=odd), status)
    assert message(ann.get("model/a%0Ab/predict/?datax=points"), 404)
    assert ann.get("model/?limit=0").status_code == 200
    evil = {"data": {"$value": "dataset", "name": "points"}}
    assert ann.call("POST", "model/line/predict/", json=evil).status_code == 422


def test_an_answer_that_takes_too_long_is_not_waited_for(om: Omega, ann: Person, runner: WebRunner) -> None:
    om.models.put(Sleeper(), "sleeper")
    began = time.monotonic()
    answer = ann.call("POST", "model/sleeper/predict/?timeout=3", json={"data": [[60.0]]})
    assert "sleeper" in message(answer, 504) and answer.json()["error"]["hint"] == "use ?async=1"
    assert time.monotonic() - began < 15


def test_one_account_cannot_have_all_threads_wait_for_it(
    om: Omega, ann: Person, bob: Person, runner: WebRunner
) -> None:
    om.models.put(Sleeper(), "sleeper")
    task = ann.call("POST", "model/sleeper/fit/?async=1", json={"data": [[5.0]]})
    where = task.headers["Location"].removeprefix("/api/v1/")
    ask = [lambda: ann.call("POST", "model/sleeper/predict/?timeout=4", json={"data": [[60.0]]})] * 4
    ask += [lambda: ann.get(f"{where}?wait=4")] * 4
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(one) for one in ask]
        time.sleep(1)
        began = time.monotonic()
        assert bob.get("model/").status_code == 200 and time.monotonic() - began < 2
        answers = [one.result() for one in asked]
    held = [answer for answer in answers if answer.status_code == 429]
    assert len(held) == 5 and {int(answer.headers["Retry-After"]) for answer in held} == {1}
    assert "waits for 3 answers" in message(held[0], 429)
    wait_for(lambda: ann.get(where).json()["status"] != "running")
    body = {"columns": ["x", "n"], "data": [[10, 1]]}
    for at_once in (3, 6):  # once a process has it, quick ones go one after the other
        with ThreadPoolExecutor(at_once) as pool:
            quick = list(pool.map(lambda _: ann.call("POST", "model/line/predict/", json=body), range(12)))
        assert {answer.status_code for answer in quick} == {200}


# --- tasks


@pytest.mark.parametrize(
    ("query", "headers"), [("?async=1", {}), ("", {"Prefer": "wait=1, respond-async"})], ids=str
)
def test_a_task_that_goes_on_is_read_by_its_address(
    om: Omega, ann: Person, runner: WebRunner, query: str, headers: dict[str, str]
) -> None:
    body = {"columns": ["x", "n"], "data": [[10, 1]]}
    answer = ann.call("POST", f"model/line/predict/{query}", json=body, headers=headers)
    task = ended(ann, answer)
    assert (task["status"], task["result"], task["error"]) == ("done", pytest.approx([21.0]), None)
    assert (task["model"], task["action"]) == ("line", "predict")


def test_a_task_that_fails_says_why(om: Omega, ann: Person, runner: WebRunner) -> None:
    task = ended(ann, ann.call("POST", "model/line/predict/?async=1", json={"data": {"x": [1]}}))
    assert task["status"] == "failed" and task["error"]["code"] == "MISMATCH"
    assert "'n'" in task["error"]["message"]


def test_a_task_is_cancelled(om: Omega, ann: Person, runner: WebRunner) -> None:
    om.models.put(Sleeper(), "sleeper")
    answer = ann.call("POST", "model/sleeper/fit/?async=1", json={"data": [[300.0]]})
    where = answer.headers["Location"].removeprefix("/api/v1/")
    wait_for(lambda: ann.get(where).json()["status"] == "running")
    assert [task["resource_uri"] for task in ann.get("runtime/").json()["tasks"]] == [f"/api/v1/{where}"]
    assert ann.call("DELETE", where).status_code == 200
    wait_for(lambda: ann.get(where).json()["status"] == "cancelled")
    assert "cancelled" in ann.get(where).json()["error"]["message"]
    assert ann.get("runtime/").json()["tasks"] == []


def test_models_and_tasks_of_another_are_not_there(
    om: Omega, ann: Person, bob: Person, runner: WebRunner
) -> None:
    answer = ann.call("POST", "model/line/predict/?async=1", json={"data": {"x": [1], "n": [1]}})
    where = answer.headers["Location"].removeprefix("/api/v1/")
    assert ended(ann, answer)["status"] == "done"
    assert message(bob.get(where), 404) and message(bob.call("DELETE", where), 404)
    for method, route in (
        ("GET", "model/line/"),
        ("GET", "model/line/versions/"),
        ("GET", "model/line/openapi.json"),
        ("POST", "model/line/predict/"),
        ("DELETE", "model/line/"),
    ):
        body = {"data": {"x": [1], "n": [1]}} if method == "POST" else None
        assert bob.call(method, route, json=body).status_code == 404, route
    assert bob.get("model/").json()["objects"] == []
    assert ann.get("model/line/").status_code == 200


def test_a_task_of_the_library_is_carried_out_too(om: Omega, runner: WebRunner) -> None:
    wait_for(lambda: om.runtime.status()["runners"])  # it looks for new accounts every 2 s
    promise = om.runtime.model("line").predict("points[x,n]", async_=True)
    assert promise.get(60) == pytest.approx([1.0, 3.0, 5.0, 7.0])


# --- the models themselves


@pytest.mark.mariadb
def test_models_are_listed_and_described(om: Omega, ann: Person, runner: WebRunner) -> None:
    listed = ann.get("model/?limit=1").json()
    assert [one["name"] for one in listed["objects"]] == ["fresh"]
    assert listed["meta"]["total_count"] == 2 and listed["meta"]["next"]
    ann.call("PUT", "model/fresh/fit/?datax=points[x,n]&datay=points[y]")
    about = ann.get("model/fresh/").json()
    assert (about["class"], about["version"], about["kind"]) == ("LinearRegression", 2, "model.joblib")
    features = [{"name": "x", "dtype": "float64"}, {"name": "n", "dtype": "int64"}]
    assert about["signature"]["features"] == features
    versions = ann.get("model/fresh/versions/").json()["objects"]
    assert [one["version"] for one in versions] == [2, 1] and versions[0]["tags"] == ["latest"]
    answer = ann.call("POST", "model/fresh@1/predict/", json={"data": [[1, 1]]})
    assert "not fitted" in message(answer, 400)


def test_a_model_has_a_schema_of_its_own(om: Omega, ann: Person, runner: WebRunner) -> None:
    ann.call("PUT", "model/fresh/fit/?datax=points[x,n]&datay=points[y]")
    schema = ann.get("model/fresh/openapi.json").json()
    sent = schema["paths"]["/api/v1/model/fresh/predict/"]["post"]["requestBody"]["content"]
    shape = sent["application/json"]["schema"]
    assert shape["properties"]["data"]["items"]["prefixItems"] == [{"type": "number"}, {"type": "integer"}]
    assert ann.call("POST", "model/fresh/predict/", json=shape["example"]).status_code == 200


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3)], ids=str)
def test_a_file_of_a_model_is_stored_and_then_asked(ann: Person, runner: WebRunner, compress: Any) -> None:
    file = io.BytesIO()
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0]), file, compress=compress)
    answer = ann.call("PUT", "model/own/", data=file.getvalue())
    assert (answer.status_code, answer.json()["class"]) == (201, "LinearRegression")
    assert ann.call("PUT", "model/own/", data=file.getvalue()).status_code == 200
    answer = ann.call("POST", "model/own/predict/", json={"data": [[2.0]]})
    assert answer.json()["result"] == pytest.approx([5.0])
    assert ann.call("DELETE", "model/own/").status_code == 204
    assert ann.call("DELETE", "model/own/").status_code == 404


def test_what_is_no_file_of_a_model_is_refused(web: WebPlatform, ann: Person) -> None:
    for body in (b"", b"hello", b"PK\x03\x04zip", b"\x78\x9cbroken", b"\x80\x09...."):
        assert message(ann.call("PUT", "model/bad/", data=body), 400)
    assert ann.call("PUT", "model/bad/", json={"a": 1}).status_code == 415
    assert message(ann.call("PUT", "model/a/predict", data=b"\x80\x04N."), 404)
    connection = http.client.HTTPConnection("localhost", web.port, timeout=30)
    connection.putrequest("PUT", "/api/v1/model/huge/")
    connection.putheader("Authorization", f"{ann.userid}:{ann.key}")
    connection.putheader("Content-Length", str(1 << 34))
    connection.endheaders()
    assert connection.getresponse().status == 413
    assert ann.get("model/").json()["objects"] == []


@pytest.mark.mariadb
def test_an_estimator_is_made_by_name_and_no_other_class_is(ann: Person, runner: WebRunner) -> None:
    pipeline = [["StandardScaler", {}], ["Ridge", {"alpha": 0.5}]]
    answer = ann.call("POST", "model/", json={"name": "made", "pipeline": pipeline})
    assert (answer.status_code, answer.json()["class"]) == (201, "Pipeline"), answer.text
    answer = ann.call("POST", "model/made/fit/", json={"data": {"x": [0.0, 1.0]}, "y": [1.0, 3.0]})
    assert answer.status_code == 202, answer.text
    again = ann.call("POST", "model/", json={"name": "made", "pipeline": pipeline})
    assert message(again, 409)
    for step in ("os.system", "subprocess.Popen", "FunctionTransformer", ["Ridge", {"no": 1}], 7):
        answer = ann.call("POST", "model/", json={"name": "bad", "pipeline": [step]})
        assert message(answer, 400)


@pytest.mark.mariadb
def test_a_viewer_may_ask_and_neither_train_nor_store(web: WebPlatform, runner: WebRunner) -> None:
    viewer = web.person()
    with Platform(viewer) as om:
        om.models.put(LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0]), "line")
    web.python(f"User.objects.filter(username={viewer.userid!r}).update(role='viewer')")
    body = {"data": [[2.0]]}
    assert viewer.call("POST", "model/line/predict/", json=body).json()["result"] == pytest.approx([5.0])
    assert viewer.get("model/line/").status_code == 200
    assert viewer.call("POST", "model/line/fit/", json=body).status_code == 403
    assert viewer.call("PUT", "model/line/partial_fit/", json=body).status_code == 403
    assert viewer.call("PUT", "model/other/", data=b"\x80\x04N.").status_code == 403
    assert viewer.call("POST", "model/", json={"name": "m", "pipeline": ["Ridge"]}).status_code == 403
    assert viewer.call("DELETE", "model/line/").status_code == 403


# --- the runner


class Poison:
    """Ends the process that loads it."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


class Spy:
    """Is, once it is loaded, what the process that loads it can see."""

    def __reduce__(self) -> Any:
        what = "dict(uid=__import__('os').getuid(), pid=__import__('os').getpid(), "
        what += "env=dict(__import__('os').environ), "
        what += "argv=open('/proc/self/cmdline').read(), "
        what += "config=__import__('omegaml').config.load().get('OMEGA_APIKEY'))"
        return eval, (f"type('Seen', (), dict(predict=lambda self, X: {what}))()",)


def test_a_model_that_kills_its_process_is_an_error_and_the_runner_goes_on(
    om: Omega, ann: Person, runner: WebRunner
) -> None:
    assert ann.call("PUT", "model/poison/", data=pickle.dumps(Poison())).status_code == 201
    assert ann.get("model/poison/").status_code == 200
    answer = ann.call("POST", "model/poison/predict/", json={"data": [[1]]})
    assert "exit code 3" in message(answer, 500)
    task = ended(ann, ann.call("POST", "model/poison/predict/?async=1", json={"data": [[1]]}))
    assert (task["status"], task["error"]["code"]) == ("failed", "TASK_FAILED")
    answer = ann.call("POST", "model/line/predict/", json={"data": {"x": [1], "n": [1]}})
    assert answer.status_code == 200
    assert runner.process.poll() is None


def test_a_child_sees_no_secret_of_the_runner_or_of_another(
    ann: Person, bob: Person, runner: WebRunner
) -> None:
    seen = {}
    for person in (ann, bob):
        assert person.call("PUT", "model/spy/", data=pickle.dumps(Spy())).status_code == 201
        answer = person.call("POST", "model/spy/predict/", json={"data": [[1]]})
        assert answer.status_code == 200, answer.text
        seen[person.userid] = answer.json()["result"]
    for person in (ann, bob):
        text = str(seen[person.userid])
        other = bob if person is ann else ann
        for secret in (runner.key, other.settings["OMEGA_MONGO_URL"], runner.web.root_password):
            assert secret not in text
        assert "not for children" not in text and seen[person.userid]["config"] is None
    if may_give_up_rights():
        assert 0 not in {one["uid"] for one in seen.values()}
        assert len({one["uid"] for one in seen.values()}) == 2


def run_as(userid: str, code: str, before: str = "") -> list[str]:
    """What `code` prints in a process that has given up the rights of root for those of an account."""
    url = f"mongodb://{userid}:x@localhost/omega_{userid}"
    argv = [
        "import os, tempfile; from omegaml.runtime import child; from omegaml import mongo",
        f"uid = child.uid_of({url!r}); usual = f'{{tempfile.gettempdir()}}/omega-{{uid}}'",
        before,
        "child._give_up_rights(uid); home = os.environ['HOME']",
        code,
    ]
    argv = [sys.executable, "-c", "\n".join(argv)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(os.getuid() != 0, reason="gives up the rights of root")
def test_a_child_without_rights_has_a_home_and_files_that_are_its_own() -> None:
    look = "s = os.stat(home); print(s.st_uid == uid, oct(s.st_mode & 0o777), home)"
    *found, home = run_as("ann", look)
    assert found == ["True", "0o700"]
    os.rmdir(home)
    mine = Path(tempfile.mkdtemp())
    mine.chmod(0o777)
    file = mine / "spool"
    assert run_as("ann", f"open({str(file)!r}, 'w').close()") == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shutil.rmtree(mine)


@pytest.mark.skipif(os.getuid() != 0, reason="gives up the rights of root")
def test_a_child_takes_no_home_that_somebody_else_has_made() -> None:
    plant = "os.mkdir(usual); os.chmod(usual, 0o777)"
    usual, home, mode = run_as("ann", "print(usual, home, oct(os.stat(home).st_mode & 0o777))", plant)
    assert home != usual and mode == "0o700"
    os.rmdir(usual)
    os.rmdir(home)


def test_nobody_can_choose_a_userid_that_has_the_user_id_of_another() -> None:
    uid = f"uid_of('mongodb://x:y@localhost/omega_{'{}'}')"
    code = "from omegaml.runtime.child import uid_of; "
    code += (
        f"print({uid.format('a1402')}, {uid.format('a2724')})"  # of the same CRC-32, but for its thousands
    )
    first, second = (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.split()
        for _ in range(2)
    )
    assert len({*first, *second}) == 4 and all(10**9 <= int(one) < 2 * 10**9 for one in (*first, *second))


def test_a_slot_is_not_lost_where_no_process_is_to_be_had() -> None:
    code = """
import os, resource
from omegaml.omega import Omega
from omegaml.runtime.accounts import Account
from omegaml.runtime.slots import Slots

url = "mongodb://ann:x@127.0.0.1:1/omega_ann?connect=false"
account, slots = Account(Omega(mongo_url=url), url, "ann"), Slots(1, shared=True)
assert slots.reserve()
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
child = slots.child(account)
slots.give(child)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
print(slots.reserve())
slots.close()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["True"], done.stderr


def test_a_child_serves_one_account_only(web: WebPlatform, runner: WebRunner) -> None:
    def served_by(person: Person) -> int:
        answer = person.call("POST", "model/spy/predict/", json={"data": [[1]]})
        return int(answer.json()["result"]["pid"])

    people = [web.person() for _ in range(runner.slots + 1)]  # one takes the place of another
    seen = []
    for person in people:
        person.call("PUT", "model/spy/", data=pickle.dumps(Spy()))
        seen.append(served_by(person))
        assert served_by(person) == seen[-1]  # it is kept for its own account
    assert len(set(seen)) == len(people)
    assert served_by(people[0]) not in seen
    assert len(runner.children()) <= runner.slots + 1  # and one that is nobody's yet


@pytest.mark.mariadb
def test_a_disabled_account_is_no_longer_served(web: WebPlatform, ann: Person, runner: WebRunner) -> None:
    with Platform(ann) as om:
        om.models.put(Sleeper(), "sleeper")
        wait_for(lambda: om.runtime.status()["runners"])  # it looks for new accounts every 2 s
        waiting = om.runtime.model("sleeper").predict([[300.0]], async_=True)
        wait_for(lambda: waiting.status == "running")
        children = runner.children()
    assert ann.userid in str(runner.get("worker/accounts/"))
    web.python(f"u = User.objects.get(username={ann.userid!r}); u.is_active = False; u.save()")
    assert ann.call("POST", "model/sleeper/predict/", json={"data": [[0.0]]}).status_code == 401
    assert ann.userid not in str(runner.get("worker/accounts/"))
    wait_for(lambda: f"account {ann.userid} is no longer served" in runner.log.read_text())
    wait_for(lambda: not all(is_alive(child) for child in children))
    assert "error" in runner.get(f"config/?user={ann.userid}")


def test_a_runner_goes_on_while_omegaweb_is_away(om: Omega, web: WebPlatform, runner: WebRunner) -> None:
    wait_for(lambda: om.runtime.status()["runners"])
    web.gunicorn.terminate()
    web.gunicorn.wait(60)
    try:
        wait_for(lambda: "going on with" in runner.log.read_text())
        promise = om.runtime.model("line").predict("points[x,n]", async_=True)
        assert len(promise.get(60)) == 4
    finally:
        web.start_web()
    wait_for(runner.has_joined)


def test_without_a_runner_a_caller_is_told_so(om: Omega, ann: Person, runner: WebRunner) -> None:
    body = {"data": {"x": [1], "n": [1]}}
    assert runner.stop() == 0
    try:
        time.sleep(2.5)  # as long as omegaweb believes in the runner it knew
        for query in ("", "?async=1"):
            answer = ann.call("POST", f"model/line/predict/{query}", json=body)
            assert "no runner" in message(answer, 503)
            assert answer.headers["Retry-After"]
        assert ann.get("runtime/").json()["workers"] == []
    finally:
        runner.start()
    wait_for(lambda: ann.call("POST", "model/line/predict/", json=body).status_code == 200)


# --- the runner's account


@pytest.mark.mariadb
def test_a_worker_reaches_nothing_but_what_it_works_with(ann: Person, runner: WebRunner) -> None:
    listed = runner.get("worker/accounts/")["objects"]
    assert {"userid": ann.userid} in [{"userid": one["userid"]} for one in listed]
    assert all(set(one) == {"userid", "version"} for one in listed)
    assert ann.userid in str(runner.get(f"config/?user={ann.userid}&view=1"))
    for route in ("config/", "config/?user=runner", "model/", "runtime/", "task/x/", "dataset/", "user/"):
        assert runner.get(route)["error"]["code"] == "FORBIDDEN", route
    assert ann.get("worker/accounts/").status_code == 403
    assert ann.call("POST", "worker/", json={}).status_code == 403
    assert ann.call("DELETE", "worker/x/").status_code == 403


@pytest.mark.mariadb
def test_the_account_of_workers_is_made_once_with_the_key_of_the_file(
    web: WebPlatform, runner: WebRunner, tmp_path: Path
) -> None:
    key = runner.key
    web.manage("createworker", "--key-file", str(runner.key_file))
    assert runner.key == key and "objects" in runner.get("worker/accounts/")
    assert stat.S_IMODE(runner.key_file.stat().st_mode) == 0o600
    # the text of a file that somebody else has made becomes the key, and the only one
    other = tmp_path / "key"
    other.write_text("a" * 40 + "\n")
    web.manage("createworker", "--key-file", str(other))
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
    assert runner.get("worker/accounts/")["error"]["code"] == "AUTH_FAILED"
    web.manage("createworker", "--key-file", str(runner.key_file))
    assert "objects" in runner.get("worker/accounts/")
    other.write_text("short")
    assert "holds no key" in web.manage("createworker", "--key-file", str(other), ok=False).stderr
    answer = web.submit(requests.Session(), "/account/signup/", username="runner", email="r@example.org")
    assert answer.status_code == 400


def test_one_row_is_predicted_in_a_few_milliseconds(om: Omega, ann: Person, runner: WebRunner) -> None:
    session = requests.Session()
    session.headers["Authorization"] = f"{ann.userid}:{ann.key}"
    took, model = [], []
    for _ in range(60):
        began = time.perf_counter()
        answer = session.post(
            f"{ann.web.url}/api/v1/model/line/predict/", json={"columns": ["x", "n"], "data": [[10, 1]]}
        )
        took.append(1000 * (time.perf_counter() - began))
        assert answer.status_code == 200
        timing = dict(part.split(";dur=") for part in answer.headers["Server-Timing"].split(", "))
        model.append(float(timing["predict"]))
    warm = statistics.median(total - own for total, own in zip(took[20:], model[20:], strict=True))
    assert warm < 500, "somebody sleeps where it should be woken; the benchmarks say how few it takes"
