"""Two accounts on one broker and one worker, which must not reach each other."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pika
import pytest
import yaml
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from sklearn.linear_model import LinearRegression

import omegaml
from omegaml import config
from omegaml.config import ConfigFile
from omegaml.errors import TaskFailed, Unavailable
from omegaml.omega import Omega
from omegaml.runtime import Task
from omegaml.runtime.caller import caller
from omegaml.runtime.child import may_give_up_rights
from omegaml.runtime.logs import Logs
from omegaml.runtime.messages import ASK, REPLIES, TASKS, WEB
from omegaweb.provision import rabbitmq
from tests.services.broker_platform import WorkerProcess, on_celery
from tests.services.command_line import Cli
from tests.services.runtime_processes import wait_for
from tests.services.runtime_speakers import Speaker
from tests.services.servers import RabbitMQ
from tests.services.web_platform import Person, WebPlatform, running

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, broker: RabbitMQ) -> Iterator[WebPlatform]:
    """omegaweb that makes its accounts on the broker, too, and has workers carry out its tasks."""
    rabbitmq.ensure_topology(broker.admin_url)
    rabbitmq.ensure_service(broker.admin_url, WEB, "pw")
    addresses = {"broker_url": f"amqp://127.0.0.1:{broker.port}", "broker_admin_url": broker.admin_url}
    addresses["broker_server"] = f"amqp://localhost:{broker.port}"
    addresses["web_broker_url"] = f"amqp://{WEB}:pw@127.0.0.1:{broker.port}"
    with running(tmp_path_factory.mktemp("web"), **addresses) as platform:
        yield platform


@pytest.fixture(scope="module")
def worker(web: WebPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """A worker of all accounts, as the broker's user omega-worker."""
    folder = tmp_path_factory.mktemp("worker")
    web.manage("createworker", "--key-file", str(folder / "key"))
    web.manage("createbroker", "--worker-file", str(folder / "broker"))
    settings = {"OMEGA_RESTAPI_URL": web.url, "OMEGA_USERID": "runner"}
    settings["OMEGA_APIKEY"] = (folder / "key").read_text().strip()
    settings["OMEGA_BROKER"] = (folder / "broker").read_text().strip()
    process = WorkerProcess(settings, folder, "--concurrency", "2", OMEGA_SECRET="not for children")
    wait_for(process.takes_tasks)
    yield process
    process.stop()


def platform(person: Person, worker: WorkerProcess) -> Omega:
    om = on_celery(person.settings["OMEGA_MONGO_URL"], person.settings["OMEGA_BROKER"])
    wait_for(lambda: has_worker(om))
    return om


def has_worker(om: Omega) -> bool:
    try:
        om.runtime.require_runner()
        return True
    except Unavailable:
        return False


@pytest.fixture
def anns(ann: Person, worker: WorkerProcess) -> Omega:
    return platform(ann, worker)


@pytest.fixture
def bobs(bob: Person, worker: WorkerProcess) -> Omega:
    return platform(bob, worker)


class Spy:
    """Is, once it is loaded, what the process that loads it can see."""

    def __reduce__(self) -> Any:
        what = "dict(uid=__import__('os').getuid(), env=dict(__import__('os').environ), "
        what += "argv=open('/proc/self/cmdline').read(), "
        what += "config=__import__('omegaml').config.load().get('OMEGA_APIKEY'))"
        return eval, (f"type('Seen', (), dict(predict=lambda self, X: {what}))()",)


class Reader:
    """Returns what is in a file."""

    def predict(self, X: Any) -> Any:
        return [Path(name).read_bytes().decode("latin-1") for name in X]


class Visitor:
    """Returns what another's database shows."""

    def predict(self, X: Any) -> Any:
        import omegaml as om

        return sorted(om.db.client[X[0]].list_collection_names())


def test_each_gets_the_answers_of_the_own_models(anns: Omega, bobs: Omega, ann: Person, worker: Any) -> None:
    for om, factor in ((anns, 2.0), (bobs, 3.0)):
        om.models.put(LinearRegression().fit([[1.0], [2.0]], [factor, 2 * factor]), "m")
    for _ in range(3):
        assert anns.runtime.model("m").predict([[5.0]])[0] == pytest.approx(10.0)
        assert bobs.runtime.model("m").predict([[5.0]])[0] == pytest.approx(15.0)
    done = anns.runtime.model("m").fit([[1.0], [2.0]], [7.0, 14.0])
    assert (done["version"], bobs.models.metadata("m").version) == (2, 1)
    assert anns.runtime.model("m").predict([[1.0]], async_=True).get(60)[0] == pytest.approx(7.0)
    answer = ann.call("GET", "runtime/").json()
    assert [one["labels"] for one in answer["workers"]] == [["default"]]


def test_rest_asks_and_trains_by_the_same_worker(anns: Omega, ann: Person) -> None:
    anns.models.put(LinearRegression().fit([[1.0], [2.0]], [2.0, 4.0]), "rest")
    answer = ann.call("POST", "model/rest/predict/", json={"data": [[5.0]]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"] == pytest.approx([10.0])
    assert "predict;dur=" in answer.headers["Server-Timing"]
    body = {"data": [[1.0], [2.0]], "y": [3.0, 6.0]}
    fitted = ann.call("POST", "model/rest/fit/", json=body)
    assert fitted.status_code == 202, fitted.text
    assert fitted.json()["result"]["version"] == 2
    later = ann.call("POST", "model/rest/predict/?async=1", json={"data": [[5.0]]})
    assert later.status_code == 202
    task = ann.call("GET", later.headers["Location"].partition("/api/v1/")[2] + "?wait=30").json()
    assert task["status"] == "done" and task["result"] == pytest.approx([15.0])
    assert ann.call("POST", "model/nobody/predict/", json={"data": [[5.0]]}).status_code == 404


@pytest.fixture
def cli(ann: Person, worker: WorkerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The shell after `init`, and nothing else."""
    monkeypatch.setenv("OMEGA_HOME", str(tmp_path))
    cli = Cli("", tmp_path)
    cli.ok("init", "--userid", ann.userid, "--apikey", ann.key, "--url", ann.web.url)
    return cli


def test_after_init_tasks_go_to_the_workers_with_nothing_else_set(
    cli: Cli, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"OMEGA_MONGO_URL", "OMEGA_BROKER", "OMEGA_RUNTIME"}
    assert not given & set(ConfigFile(cli.folder / "config.yml").read())
    shown = {row["name"]: row for row in cli.data("config", "list", "--show-origin")}
    assert {shown[name]["origin"] for name in given} == {f"account {ann.userid} at {ann.web.url}"}
    assert (shown["OMEGA_RUNTIME"]["value"], shown["OMEGA_BROKER"]["value"]) == ("celery", "***")
    monkeypatch.setattr(omegaml, "_default", None)
    om = omegaml.setup()
    wait_for(lambda: has_worker(om))
    om.models.put(LinearRegression().fit([[1.0], [2.0]], [2.0, 4.0]), "m")
    om.datasets.put(pd.DataFrame({"x": [5.0]}), "x")
    assert om.runtime.model("m").predict("x")[0] == pytest.approx(10.0)
    assert om.runtime.ping()["pid"] != os.getpid()
    assert cli.data("models", "predict", "m", "x") == pytest.approx([10.0])
    assert {row["status"] for row in cli.data("doctor", "--only", "broker,workers")} == {"ok"}


def test_the_environment_and_arguments_come_before_what_the_platform_says(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Omega(config.load(OMEGA_RUNTIME="local")).runtime.ping()["pid"] == os.getpid()
    monkeypatch.setenv("OMEGA_RUNTIME", "local")
    assert cli.ok("config", "get", "OMEGA_RUNTIME", "--show-origin") == "local\tenvironment OMEGA_RUNTIME\n"
    assert Omega().runtime.ping()["pid"] == os.getpid()


def test_a_client_with_yesterdays_password_of_the_broker_asks_for_todays(
    cli: Cli, ann: Person, web: WebPlatform
) -> None:
    om = Omega()
    wait_for(lambda: has_worker(om))
    before = om.in_force.get("OMEGA_BROKER")
    web.python(f"from omegaweb import provision; provision.rotate(User.objects.get(username='{ann.userid}'))")
    wait_for(lambda: caller(before).away())
    om.runtime.require_runner()
    assert om.in_force.get("OMEGA_BROKER") == ann.settings["OMEGA_BROKER"] != before


def test_settings_for_inside_the_cluster_name_its_own_broker(ann: Person, web: WebPlatform) -> None:
    boss = web.person(role="admin")
    for view, host in (("0", "127.0.0.1"), ("1", "localhost")):
        answer = boss.get(f"config/?user={ann.userid}&view={view}").json()["objects"][0]["data"]
        assert (urlsplit(answer["OMEGA_BROKER"]).hostname, answer["OMEGA_RUNTIME"]) == (host, "celery")


def test_jobs_run_by_rest_on_the_same_worker(anns: Omega, ann: Person, bob: Person) -> None:
    code = "import omegaml as om\nom.datasets.put([om.bucket, n], 'made')"
    for name, text in (("daily", code), ("bad", "1 / 0"), ("slow", "import time; time.sleep(600)")):
        assert ann.call("POST", f"job/{name}/", json={"code": text}).status_code == 201
    answer = ann.call("POST", "job/daily/run/", json={"n": 7})
    assert answer.status_code == 200, answer.text
    assert anns.datasets.get("made") == ["omegaml", 7] and anns.jobs.exists(answer.json()["job_results"][0])
    failed = ann.call("POST", "job/bad/run/")
    assert failed.status_code == 500 and "ZeroDivisionError" in failed.json()["error"]["message"]
    assert ann.get("job/bad/report/").headers["Run-Status"] == "failed"
    ended = ann.call("POST", "job/slow/run/?timeout=4")
    assert ended.status_code == 504, ended.text
    assert ann.get("job/slow/").json()["runs"][0]["status"] == "failed"
    later = ann.call("POST", "job/daily/run/?async=1", json={"n": 8})
    task = ann.get(later.headers["Location"].partition("/api/v1/")[2] + "?wait=50").json()
    assert (task["status"], task["job"]) == ("done", "daily.ipynb")
    for route in ("job/daily/", "job/daily/report/", f"task/{task['id']}/"):
        assert bob.get(route).status_code == 404
    for route, body in (("job/daily/run/", {}), ("model/m/predict/", {"data": [[1]]})):
        refused = ann.call("POST", f"{route}?require=gpu", json=body)
        assert refused.status_code == 503 and "'gpu'" in refused.json()["error"]["message"]
        assert refused.json()["error"]["hint"] == "labels there are: default"


def test_a_hostile_model_finds_nothing_of_another_or_of_a_service(
    anns: Omega, bobs: Omega, web: WebPlatform, worker: WorkerProcess
) -> None:
    anns.models.put(Spy(), "spy")
    seen = str(anns.runtime.model("spy").predict([[1]]))
    settings = worker.config.read_text()
    secrets = [line.partition(": ")[2] for line in settings.splitlines() if "URL" not in line]
    for secret in (
        *(s for s in secrets if len(s) > 8),
        bobs.mongo_url,
        web.root_password,
        "not for children",
    ):
        assert secret not in seen
    anns.models.put(Visitor(), "visitor")
    with pytest.raises(TaskFailed, match="not authorized"):
        anns.runtime.model("visitor").predict([bobs.db.name])
    anns.models.put(Reader(), "reader")
    if may_give_up_rights():
        for name in (worker.config, f"/proc/{worker.process.pid}/environ"):
            with pytest.raises(TaskFailed, match="Permission denied"):
                anns.runtime.model("reader").predict([str(name)])
    with pytest.raises(PyMongoError):
        MongoClient(anns.mongo_url)[bobs.db.name].list_collection_names()


def test_what_is_said_is_in_the_log_of_who_asked_and_holds_no_secret(
    anns: Omega, bobs: Omega, ann: Person, bob: Person, worker: WorkerProcess
) -> None:
    for om in (anns, bobs):
        om.models.put(Speaker(), "speaker")
    for om, what in ((anns, "everything"), (bobs, "forges"), (anns, "reveals")):
        promise = om.runtime.model("speaker").predict([[what]], async_=True)
        promise.get(60)
        assert Logs(om, promise.id).read()
    mine, others = (" ".join(line.text for line in Logs(om).read()) for om in (anns, bobs))
    assert "printed ö" in mine and "forged" not in mine and "opened anew" in mine
    assert "forged" in others and "printed" not in others
    settings = yaml.safe_load(worker.config.read_text())
    for secret in (settings["OMEGA_APIKEY"], settings["OMEGA_BROKER"], "not for children", bobs.mongo_url):
        assert secret not in mine
    assert "PATH=" in mine  # it has shown all that it knows
    assert not any(said in worker.log.read_text() for said in ("printed ö", "forged", "PATH="))


@pytest.mark.fault
def test_a_task_for_another_is_refused_by_the_broker(anns: Omega, ann: Person, bob: Person) -> None:
    own = caller(ann.settings["OMEGA_BROKER"])
    text = Task("ping").to_json()
    for _ in range(5):
        call = own.send(ASK, "forged", "default", bob.userid, text, replies=True, limit=5.0)
        with pytest.raises(Exception, match="user_id property set to"):
            call.answer.result(20)
        assert anns.runtime.ping()["message"] == "pong"  # the connection is made anew


@pytest.mark.fault
def test_a_reply_goes_to_nobody_else(anns: Omega, ann: Person, bob: Person, worker: WorkerProcess) -> None:
    parameters = pika.URLParameters(ann.settings["OMEGA_BROKER"])
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        queue = f"omega.reply.{ann.userid}.mine"
        channel.queue_declare(queue, exclusive=True)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker):
            channel.queue_bind(queue, REPLIES, f"omega.reply.{bob.userid}.x")
        channel = connection.channel()
        properties = pika.BasicProperties(
            user_id=ann.userid,
            reply_to=f"omega.reply.{bob.userid}.x",
            correlation_id="1",
            content_type="application/json",
            content_encoding="utf-8",
            headers={"lang": "py", "task": ASK, "id": "1", "root_id": "1"},
        )
        body = json.dumps([[Task("ping").to_json()], {}, {}])
        channel.basic_publish(TASKS, "default", body.encode(), properties)
        wait_for(lambda: f"asks for an answer to omega.reply.{bob.userid}.x" in worker.log.read_text())


def test_the_files_of_services_are_closed_to_others(worker: WorkerProcess) -> None:
    for name in ("key", "broker"):
        assert stat.S_IMODE(os.stat(worker.config.parent / name).st_mode) == 0o600


def test_a_disabled_account_gets_no_more_answers(anns: Omega, ann: Person, web: WebPlatform) -> None:
    boss = web.person(role="admin")
    assert anns.runtime.ping()["message"] == "pong"
    assert boss.call("PATCH", f"user/{ann.userid}/", json={"enabled": False}).status_code < 300
    with pytest.raises(Exception, match=r"does not accept|does not answer|not authorized|Authentication"):
        for _ in range(20):
            anns.runtime.ping()
