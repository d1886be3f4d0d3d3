"""A local cluster with its pages: accounts, what was stored before them, kills, a second `up`."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
import yaml

from omegacli.deploy import secrets
from omegaml import admin, config, rest
from omegaml.errors import AuthFailed
from omegaml.omega import Omega
from tests.services.machine import Machine, alive, eventually, free_port
from tests.services.web_platform import WebPlatform

pytestmark = [pytest.mark.once, pytest.mark.platform, pytest.mark.timeout(600)]
BEFORE = "stored before there were pages"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A cluster that was brought up without pages, in which something was stored, and then with them."""
    place = Machine(tmp_path_factory.mktemp("home"), free_port())
    try:
        place.up()
        place.om().datasets.put(BEFORE, "before")
        # as an earlier version left it
        old = {name: value for name, value in place.secrets().items() if name in OLD}
        (place.root / "secrets.yml").write_text(yaml.safe_dump(old, width=4096))
        place.web_port = free_port()
        place.up("--set", "web.enabled=true")
        yield place
    finally:
        if (place.root / "secrets.yml").exists():
            place.destroy()


OLD = ("admin_password", "mongodb_root_password", "mongodb_keyfile")


@pytest.fixture
def running(machine: Machine) -> Machine:
    """The cluster, brought up again if a test before left it down."""
    if any(service["state"] != "running" for service in machine.services().values()):
        machine.up()
    return machine


@pytest.fixture
def pages(running: Machine) -> WebPlatform:
    """The pages of the cluster, as visitors use them."""
    return WebPlatform(running.root, "", port=running.web_port)


def settings(machine: Machine) -> dict[str, str]:
    """The context `default` as `up` wrote it."""
    found: dict[str, str] = config.ConfigFile(machine.config).context("default")
    return found


def sign_in(pages: WebPlatform, userid: str, password: str) -> requests.Session:
    browser = requests.Session()
    answer = pages.submit(browser, "/account/login/", username=userid, password=password)
    assert answer.status_code == 200 and answer.url == f"{pages.url}/", answer.text
    return browser


def test_after_up_the_pages_are_open_and_status_shows_them(running: Machine) -> None:
    answer = running.cluster("status")["data"]
    assert [s["name"] for s in answer["services"]] == ["supervisor", "mongodb", "web", "runner"]
    web = answer["services"][2]
    assert (web["state"], web["port"]) == ("running", running.web_port)
    assert requests.get(f"http://localhost:{running.web_port}/healthz").status_code == 200
    landing = requests.get(f"http://localhost:{running.web_port}/")
    assert landing.status_code == 200 and "in one place" in landing.text


def test_what_was_stored_before_belongs_to_the_account_admin_on_the_pages_and_by_rest(
    running: Machine, pages: WebPlatform
) -> None:
    made = running.secrets()
    assert all(made[name] for name in OLD) and made["web_admin_password"]
    context = settings(running)
    assert running.om().datasets.get("before") == BEFORE  # by the URL that the context had
    told = rest.fetch_config(context["OMEGA_RESTAPI_URL"], "admin", context["OMEGA_APIKEY"])
    assert told["OMEGA_MONGO_URL"] == context["OMEGA_MONGO_URL"]
    assert Omega(mongo_url=told["OMEGA_MONGO_URL"]).datasets.get("before") == BEFORE
    browser = sign_in(pages, "admin", made["web_admin_password"])
    assert browser.get(f"{pages.url}/admin/constance/config/").status_code == 200
    mine = browser.get(f"{pages.url}/api/v1/config/").json()["objects"][0]["data"]
    assert mine["OMEGA_MONGO_URL"] == told["OMEGA_MONGO_URL"]


def test_a_second_up_restarts_nothing_and_changes_no_file(running: Machine) -> None:
    before, pids = running.files(), running.pids()
    running.up()
    answer = running.type("cluster", "up")
    assert answer.returncode == 0 and f"pages: http://localhost:{running.web_port}" in answer.stderr
    assert "password:" not in answer.stderr + answer.stdout
    assert running.files() == before
    assert running.pids() == pids


def test_killed_pages_come_back_and_everybody_stays_signed_in(running: Machine, pages: WebPlatform) -> None:
    browser = sign_in(pages, "admin", running.secrets()["web_admin_password"])
    before = running.pids()
    os.kill(before["web"], signal.SIGKILL)
    eventually(lambda: running.pids()["web"] not in (None, before["web"]))
    running.wait()
    after = running.pids()
    assert {name: pid for name, pid in after.items() if name != "web"} == {
        name: pid for name, pid in before.items() if name != "web"
    }
    assert running.services()["web"]["restarts"] >= 1
    assert browser.get(f"{pages.url}/account/", allow_redirects=False).status_code == 200


def test_a_new_person_signs_up_and_the_runner_does_the_tasks_of_that_account(
    running: Machine, pages: WebPlatform
) -> None:
    ann = pages.person()
    words = ("--userid", ann.userid, "--apikey-stdin", "--url", pages.url, "--context", "ann")
    done = running.type("init", *words, given=f"{ann.key}\n")
    assert done.returncode == 0, done.stderr
    try:
        assert running.om("ann").datasets.list() == []
        running.om("ann").datasets.put([1], "mine")
        assert "mine" not in running.om("default").datasets.list()
        eventually(lambda: bool(running.om("ann").runtime.status()["runners"]))  # it looks every few seconds
        done = running.type("runtime", "ping", "--context", "ann", "--timeout", "60", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["data"]["ok"], done.stdout + done.stderr
    finally:
        running.type("context", "use", "default")
        running.type("context", "remove", "ann", "--yes")


def test_accounts_keys_and_an_edited_landing_page_survive_down_and_up(
    running: Machine, pages: WebPlatform
) -> None:
    ann = pages.person()
    pids = running.pids()
    running.cluster("down")
    assert not [name for name, pid in pids.items() if alive(pid)]
    with closing(sqlite3.connect(running.root / "data" / "web" / "omegaweb.sqlite3")) as database, database:
        database.execute("UPDATE dashboard_landingpage SET title = 'Ours'")
    key = settings(running)["OMEGA_APIKEY"]
    running.cluster("up")
    assert ann.get("config/").status_code == 200
    assert "Ours" in requests.get(pages.url).text
    assert settings(running)["OMEGA_APIKEY"] == key


def test_the_account_by_which_the_cluster_works_stays(running: Machine, pages: WebPlatform) -> None:
    mine, other = config.load(running.config), pages.person()
    rest.call(mine, "PATCH", f"user/{other.userid}/", {"role": "admin"})
    for method, data in (("DELETE", None), ("PATCH", {"enabled": False}), ("PATCH", {"role": "viewer"})):
        answer = other.call(method, "user/admin/", **({"json": data} if data else {}))
        assert answer.status_code == 409 and "the cluster itself" in answer.text
    rest.call(mine, "DELETE", f"user/{other.userid}/?data=1")
    assert running.cluster("up")["ok"]


def test_what_was_revoked_with_the_last_key_stays_so_and_the_next_up_makes_new_ones(
    running: Machine, pages: WebPlatform
) -> None:
    context, before = settings(running), running.secrets()
    listed = rest.call(config.load(running.config), "GET", "user/admin/key/").json()["objects"]
    assert len(listed) == 1 and context["OMEGA_APIKEY"].startswith(listed[0]["prefix"])
    rest.call(config.load(running.config), "DELETE", f"user/admin/key/{listed[0]['id']}/")
    with pytest.raises(AuthFailed):
        admin.ping(context["OMEGA_MONGO_URL"])
    assert any("was revoked" in warning for warning in running.cluster("up")["warnings"])
    after = settings(running)
    assert {name for name in context if context[name] != after[name]} == {"OMEGA_APIKEY", "OMEGA_MONGO_URL"}
    changed = {name for name, value in running.secrets().items() if before[name] != value}
    assert changed == {"admin_password"}
    with pytest.raises(AuthFailed):
        admin.ping(context["OMEGA_MONGO_URL"])
    told = rest.fetch_config(after["OMEGA_RESTAPI_URL"], "admin", after["OMEGA_APIKEY"])
    assert told["OMEGA_MONGO_URL"] == after["OMEGA_MONGO_URL"]
    assert running.om().datasets.get("before") == BEFORE
    running.wait()  # the runner, too, has the new one
    pids = running.pids()
    running.cluster("up")
    assert running.pids() == pids and settings(running) == after


def test_no_secret_of_the_pages_is_seen_in_a_log_or_process_list_or_open_file(running: Machine) -> None:
    kept = [path.read_text().strip() for path in (running.root / "data" / "web").glob("*.key")]
    hidden = [*running.secrets().values(), *kept]
    assert len(kept) == 2
    for name, (_, mode) in running.files().items():
        content = (running.home / name).read_text(errors="replace")
        assert mode & 0o077 == 0 or not [secret for secret in hidden if secret in content], name
    shown = [path.read_text(errors="replace") for path in (running.root / "logs").iterdir()]
    for pid in running.pids().values():
        shown += [Path(f"/proc/{pid}/{part}").read_text(errors="replace") for part in ("cmdline", "environ")]
    assert not [secret for secret in hidden if any(secret in text for text in shown)]
    for file in (running.root / "data" / "web").iterdir():
        assert file.stat().st_mode & 0o077 == 0 or file.parent.stat().st_mode & 0o077 == 0


def test_omegaweb_makes_users_by_a_login_that_reads_no_data(running: Machine) -> None:
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure

    made = secrets.load(secrets.Layout(running.root))
    web = yaml.safe_load((running.root / "build" / "secrets" / "web" / "web.yml").read_text())
    assert made.mongodb_root_password not in json.dumps(web)
    client: MongoClient = MongoClient(web["mongo_url"])
    for attempt in (
        lambda: client.omega_admin.list_collection_names(),
        lambda: client.omega_admin["omegaml_metadata"].find_one(),
        lambda: client.omega_admin.x.insert_one({}),
        lambda: client.admin.command("shutdown"),
        lambda: client.admin.command("replSetGetConfig"),
        lambda: client.admin.command("createRole", "more", privileges=[], roles=[]),
    ):
        with pytest.raises(OperationFailure) as caught:
            attempt()
        assert caught.value.code == 13
    assert admin.ensure_account(web["mongo_url"], "some_body", "word") is True
    assert admin.ensure_account(web["mongo_url"], "some_body", "another") is True
    assert admin.ping(admin.account_url(f"127.0.0.1:{running.port}", "some_body", "another"))
    assert admin.drop_account(web["mongo_url"], "some_body", data=True) is True


def test_doctor_and_logs_know_the_pages(running: Machine) -> None:
    done = running.type("doctor", "--target", "local", "--json")
    found = {row["id"]: row["status"] for row in json.loads(done.stdout)["data"]}
    assert done.returncode == 0, done.stdout
    assert {found[id] for id in ("local.web", "local.pages", "local.port", "rest")} == {"ok"}
    assert running.cluster("logs", "web")["data"]
    os.kill(running.pids()["web"], signal.SIGSTOP)  # it is there and says nothing
    stopped = [running.pids()["web"], *children(running.pids()["web"])]
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        done = running.type("doctor", "--only", "local.pages", "--json")
        (row,) = json.loads(done.stdout)["data"]
        assert row["status"] == "fail" and "cluster logs web" in row["hint"]
        assert running.cluster("status", code=1)["data"]["state"] == "degraded"
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    running.wait()


def test_mail_and_a_port_for_figures_are_set_and_unset_as_everything_is(
    running: Machine, pages: WebPlatform, tmp_path: Path
) -> None:
    reset, port = f"{pages.url}/account/password/reset/", free_port()
    assert "sends no mail" in requests.get(reset).text
    error = running.cluster("up", "--set", "mail.host=127.0.0.1", code=9)["error"]
    assert "no mail.sender" in error["message"] and "--set mail.sender" in error["hint"]
    word = tmp_path / "mail_password"
    word.write_text("a word for mail\n")
    word.chmod(0o600)
    values = {"mail.host": "127.0.0.1", "mail.port": "1", "mail.user": "platform", "mail.tls": "none"}
    values |= {"mail.sender": "platform@example.com", "mail.password_file": str(word)}
    given = [w for key, value in values.items() for w in ("--set", f"{key}={value}")]
    try:
        running.cluster("up", *given, "--set", f"ports.metrics={port}", "--set", "web.audit_days=30")
        running.wait()
        assert 'type="email"' in requests.get(reset).text
        answer = pages.submit(requests.Session(), "/account/password/reset/", email="x@example.org")
        assert answer.status_code == 503 and "mail server does not answer" in answer.text
        assert "omegaweb_requests_total" in requests.get(f"http://127.0.0.1:{port}/metrics").text
        assert requests.get(f"http://127.0.0.1:{port}/").status_code == 404
        assert requests.get(f"{pages.url}/metrics").status_code == 401
        pids = running.pids()
        running.cluster("up")  # which finds its own port in use, and restarts nothing
        assert running.pids() == pids
        word.write_text("another word for mail\n")
        running.cluster("up")
        assert running.pids()["web"] != pids["web"]
        kept = [path for path in running.root.rglob("*") if path.is_file() and "mongodb" not in path.parts]
        assert not [path for path in kept if b"a word for mail" in path.read_bytes()]
    finally:
        running.cluster("up", "--set", "mail.host=", "--set", "mail.sender=", "--set", "ports.metrics=0")
        running.wait()
    assert "sends no mail" in requests.get(reset).text


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_taken_port_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port(), free_port())
    with socket.socket() as other:
        other.bind(("127.0.0.1", place.web_port))
        other.listen()
        error = place.cluster("up", *place.settings, code=9)["error"]
    assert error["code"] == "PORT_IN_USE" and f"port {place.web_port}" in error["message"]
    assert "--set ports.web=" in error["hint"] and "ports.mongodb" not in error["hint"]
    assert place.files() == {}


def test_the_password_is_said_once_to_a_terminal_and_a_backup_brings_accounts_back(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port(), free_port())
    words = ("cluster", "up", *place.settings, "--set", "runner.enabled=false")
    try:
        code, seen = place.on_terminal(*words)
        password = place.secrets()["web_admin_password"]
        assert code == 0 and seen.count(password) == 1 and f"http://localhost:{place.web_port}" in seen
        assert password not in place.on_terminal(*words)[1]
        pages = WebPlatform(place.root, "", port=place.web_port)
        ann = pages.person()
        Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"]).datasets.put("kept", "x")
        place.cluster("destroy", "--volumes", "--yes")
        assert not place.root.exists()
        (kept,) = (place.home / ".omegaml" / "backups").iterdir()
        place.root.mkdir(parents=True)
        with tarfile.open(kept) as tar:
            tar.extractall(place.root, filter="data")
        assert place.cluster("up")["data"]["state"] == "ok"
        assert Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"]).datasets.get("x") == "kept"
        sign_in(pages, "admin", password)
        place.cluster("up", "--set", "web.enabled=false")  # and without pages all else goes on
        assert "OMEGA_RESTAPI_URL" not in settings(place)
        assert list(place.pids()) == ["supervisor", "mongodb"]
    finally:
        if (place.root / "secrets.yml").exists():
            place.destroy()
