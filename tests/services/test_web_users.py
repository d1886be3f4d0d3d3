"""Accounts by REST and by `omegacli users`: who may do what to whom, and what comes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from omegaml import admin, rest
from omegaml.config import ConfigFile, load
from omegaml.errors import AuthFailed, Conflict, Forbidden, InvalidInput, NotFound, Unavailable
from omegaml.omega import Omega
from tests.services.machine import REPOSITORY
from tests.services.web_platform import PASSWORD, Person, WebPlatform

pytestmark = [pytest.mark.once, pytest.mark.mariadb]
ANOTHER = "another horse 8 accumulator"


def new_userid() -> str:
    return f"u{uuid.uuid4().hex[:12]}"


def made(boss: Person, **more: Any) -> dict[str, Any]:
    answer = boss.call("POST", "user/", json={"userid": new_userid(), **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def audited(web: WebPlatform, action: str, words: str) -> bool:
    found = f"Entry.objects.filter(action={action!r}, object__contains={words!r}).exists()"
    code = f"from omegaweb.audit.models import Entry; print({found})"
    return web.manage("shell", "-v", "0", "-c", code).stdout.split()[-1] == "True"


def test_an_administrator_makes_an_account_that_works_at_once(web: WebPlatform, boss: Person) -> None:
    account = made(boss, email="new@example.net", role="viewer", name="N. N.", password=PASSWORD)
    userid = account["userid"]
    assert (account["role"], account["enabled"], account["email"]) == ("viewer", True, "new@example.net")
    assert "password" not in account
    browser = requests.Session()
    answer = web.submit(browser, "/account/login/", username=userid, password=PASSWORD)
    assert answer.status_code == 200 and answer.url == f"{web.url}/"
    key = boss.call("POST", f"user/{userid}/key/", json={"name": "laptop"}).json()["key"]
    settings = Person(web, userid, key, browser).settings
    Omega(mongo_url=settings["OMEGA_MONGO_URL"]).datasets.put([1], "x")
    assert audited(web, "account.made", userid) and audited(web, "key.made", userid)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"userid": "No"}, 400),
        ({"userid": "root"}, 400),
        ({"userid": "omegaml"}, 400),
        ({"userid": "some_one", "role": "god"}, 400),
        ({"userid": "some_one", "role": "worker"}, 400),
        ({"userid": "some_one", "email": "nowhere"}, 400),
        ({"userid": "some_one", "password": "12345"}, 400),
        ({"userid": "some_one", "is_superuser": True}, 400),
        ({"userid": {"$ne": 1}}, 400),
        ({"userid": "a\x00b"}, 400),
        ([], 400),
        ("x", 400),
    ],
)
def test_what_can_be_no_account_is_refused(boss: Person, body: Any, status: int) -> None:
    answer = boss.call("POST", "user/", json=body)
    assert answer.status_code == status and answer.json()["error"]["message"]
    assert boss.get("user/some_one/").status_code == 404


def test_a_userid_or_address_is_given_once(boss: Person, ann: Person) -> None:
    answer = boss.call("POST", "user/", json={"userid": ann.userid})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "CONFLICT")
    mail = f"{ann.userid}@example.org"
    assert boss.call("POST", "user/", json={"userid": new_userid(), "email": mail}).status_code == 400


def test_all_accounts_are_listed_by_the_page_and_no_service_account_is_among_them(
    web: WebPlatform, boss: Person, ann: Person
) -> None:
    web.manage("createworker", "--key-file", str(web.folder / "runner.key"))
    first = boss.get("user/?limit=1").json()
    assert len(first["objects"]) == 1 and first["meta"]["next"] == "/api/v1/user/?limit=1&offset=1"
    total = first["meta"]["total_count"]
    userids = [user["userid"] for user in boss.get("user/?limit=1000").json()["objects"]]
    assert len(userids) == total and {ann.userid, boss.userid} <= set(userids) and "runner" not in userids
    assert boss.get("user/runner/").status_code == 404
    for wrong in ("limit=0", "limit=x", "limit=1001", "offset=-1", "offset=99999999999999999999"):
        assert boss.get(f"user/?{wrong}").status_code == 400, wrong


def test_others_see_and_change_themselves_only(boss: Person, ann: Person, bob: Person) -> None:
    assert ann.get(f"user/{ann.userid}/").json()["userid"] == ann.userid
    answer = ann.call("PATCH", f"user/{ann.userid}/", json={"name": "Ann"})
    assert answer.json()["name"] == "Ann"
    key = bob.get(f"user/{bob.userid}/key/").json()["objects"][0]["id"]
    for method, route, body in (
        ("GET", "user/", None),
        ("POST", "user/", {"userid": new_userid()}),
        ("GET", f"user/{bob.userid}/", None),
        ("GET", "user/nobody_there/", None),  # not even whether it is there
        ("PATCH", f"user/{bob.userid}/", {"name": "x"}),
        ("DELETE", f"user/{bob.userid}/", None),
        ("DELETE", f"user/{ann.userid}/", None),
        ("GET", f"user/{bob.userid}/key/", None),
        ("POST", f"user/{bob.userid}/key/", {"name": "x"}),
        ("DELETE", f"user/{bob.userid}/key/{key}/", None),
        ("PUT", f"user/{bob.userid}/password/", {"password": ANOTHER, "current": PASSWORD}),
        ("PATCH", f"user/{ann.userid}/", {"role": "admin"}),
        ("PATCH", f"user/{ann.userid}/", {"enabled": True}),
    ):
        answer = ann.call(method, route, **({"json": body} if body else {}))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN"), (method, route)
    assert ann.call("DELETE", f"user/{ann.userid}/key/{key}/").status_code == 404
    assert boss.get(f"user/{ann.userid}/").json()["role"] == "editor"
    assert bob.get("config/").status_code == 200


def test_a_key_is_shown_once_and_opens_nothing_after_it_was_revoked(web: WebPlatform, ann: Person) -> None:
    answer = ann.call("POST", f"user/{ann.userid}/key/", json={"name": "second"})
    assert answer.status_code == 201 and answer.headers["Cache-Control"] == "no-store"
    second = answer.json()
    listed = ann.get(f"user/{ann.userid}/key/")
    assert second["key"] not in listed.text
    assert {key["name"] for key in listed.json()["objects"]} == {"test", "second"}
    other = Person(web, ann.userid, second["key"], ann.browser)
    assert other.get("config/").status_code == 200
    route = f"user/{ann.userid}/key/{second['id']}/"
    assert ann.call("DELETE", route).status_code == 204
    assert other.get("config/").status_code == 401
    assert ann.call("DELETE", route).status_code == 404
    assert audited(web, "key.revoked", ann.userid)
    for body in ({}, {"name": ""}, {"name": "x", "expires": "2020-01-01T00:00:00Z"}, {"nmae": "x"}):
        assert ann.call("POST", f"user/{ann.userid}/key/", json=body).status_code == 400


def test_the_own_password_takes_the_current_one_and_guessing_locks(web: WebPlatform, ann: Person) -> None:
    route = f"user/{ann.userid}/password/"
    assert ann.call("PUT", route, json={"password": ANOTHER}).status_code == 400
    assert ann.call("PUT", route, json={"password": ANOTHER, "current": "wrong"}).status_code == 400
    assert ann.call("PUT", route, json={"password": "123", "current": PASSWORD}).status_code == 400
    assert ann.call("PUT", route, json={"password": ANOTHER, "current": PASSWORD}).status_code == 204
    assert ann.page("/account/").url.startswith(f"{web.url}/account/login/")  # other sessions end
    browser = requests.Session()
    answer = web.submit(browser, "/account/login/", username=ann.userid, password=ANOTHER)
    assert answer.url == f"{web.url}/"
    for _ in range(6):
        ann.call("PUT", route, json={"password": PASSWORD, "current": "wrong"})
    answer = ann.call("PUT", route, json={"password": PASSWORD, "current": ANOTHER})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "THROTTLED")
    assert int(answer.headers["Retry-After"]) > 600
    assert audited(web, "password.changed", ann.userid) and audited(web, "password.refused", ann.userid)


def test_an_administrator_sets_the_password_of_another(web: WebPlatform, boss: Person, ann: Person) -> None:
    assert boss.call("PUT", f"user/{ann.userid}/password/", json={"password": ANOTHER}).status_code == 204
    answer = web.submit(requests.Session(), "/account/login/", username=ann.userid, password=ANOTHER)
    assert answer.url == f"{web.url}/"


def test_a_disabled_account_opens_nothing_until_it_is_enabled(
    web: WebPlatform, boss: Person, ann: Person
) -> None:
    client: MongoClient = MongoClient(ann.settings["OMEGA_MONGO_URL"])
    client.get_default_database()["x"].insert_one({"a": 1})
    assert boss.call("PATCH", f"user/{ann.userid}/", json={"enabled": False}).json()["enabled"] is False
    assert ann.get("config/").status_code == 401
    assert ann.page("/account/").url.startswith(f"{web.url}/account/login/")
    with pytest.raises(OperationFailure):
        client.get_default_database()["x"].find_one()
    assert boss.call("POST", f"user/{ann.userid}/key/", json={"name": "x"}).status_code == 409
    assert boss.call("PATCH", f"user/{ann.userid}/", json={"enabled": True}).status_code == 200
    again: MongoClient = MongoClient(ann.settings["OMEGA_MONGO_URL"])
    assert again.get_default_database()["x"].count_documents({}) == 1


def test_an_account_that_could_not_be_closed_everywhere_is_told_and_closed_by_the_next_try(
    web: WebPlatform, boss: Person, ann: Person
) -> None:
    url = ann.settings["OMEGA_MONGO_URL"]
    web.mongod.send_signal(signal.SIGSTOP)
    try:
        answer = boss.call("PATCH", f"user/{ann.userid}/", json={"enabled": False})
        assert answer.status_code in (503, 504) and "Retry-After" in answer.headers
        assert ann.get("config/").status_code == 401
    finally:
        web.mongod.send_signal(signal.SIGCONT)
    assert boss.call("PATCH", f"user/{ann.userid}/", json={"enabled": False}).status_code == 200
    with pytest.raises(AuthFailed):
        admin.ping(url)


def test_an_account_is_not_removed_in_the_admin_pages_while_its_logins_stay(
    web: WebPlatform, boss: Person, ann: Person
) -> None:
    url = ann.settings["OMEGA_MONGO_URL"]
    web.python(f"User.objects.filter(username={boss.userid!r}).update(is_superuser=True)")
    pk = web.manage("shell", "-v", "0", "-c", USER_PK % ann.userid).stdout.split()[-1]
    page = f"/admin/accounts/user/{pk}/delete/"
    assert boss.page(page).status_code == 200
    web.mongod.send_signal(signal.SIGSTOP)
    try:
        assert boss.submit(page, post="yes").status_code in (503, 504)
    finally:
        web.mongod.send_signal(signal.SIGCONT)
    assert boss.get(f"user/{ann.userid}/").status_code == 200
    assert boss.submit(page, post="yes").status_code == 200
    assert boss.get(f"user/{ann.userid}/").status_code == 404
    with pytest.raises(AuthFailed):
        admin.ping(url)


def test_removing_an_account_removes_its_logins_and_its_data_only_if_asked(
    web: WebPlatform, boss: Person, ann: Person, bob: Person
) -> None:
    root: MongoClient = MongoClient(web.root_url)
    for person in (ann, bob):
        Omega(mongo_url=person.settings["OMEGA_MONGO_URL"]).datasets.put([1], "x")
    assert boss.call("DELETE", f"user/{ann.userid}/").status_code == 204
    assert boss.call("DELETE", f"user/{bob.userid}/?data=1").status_code == 204
    for person in (ann, bob):
        assert person.get("config/").status_code == 401
        assert boss.get(f"user/{person.userid}/").status_code == 404
        assert not root[f"omega_{person.userid}"].command("usersInfo", person.userid)["users"]
        assert boss.call("POST", "user/", json={"userid": person.userid}).status_code == 400  # never again
        assert audited(web, "account.removed", person.userid)
    names = root.list_database_names()
    assert f"omega_{ann.userid}" in names and f"omega_{bob.userid}" not in names


def test_the_last_administrator_stays_by_rest_and_on_the_admin_pages(web: WebPlatform, boss: Person) -> None:
    second = made(boss, role="admin")["userid"]
    others = f"User.objects.filter(role='admin').exclude(username={boss.userid!r})"
    web.python(f"{others}.update(is_active=False)")  # of whatever other tests have made as well
    try:
        web.python(f"User.objects.filter(username={boss.userid!r}).update(is_superuser=True)")
        mine = f"user/{boss.userid}/"
        for method, body in (("PATCH", {"enabled": False}), ("PATCH", {"role": "editor"}), ("DELETE", None)):
            answer = boss.call(method, mine, **({"json": body} if body else {}))
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "CONFLICT"), (method, body)
        pk = web.manage("shell", "-v", "0", "-c", USER_PK % boss.userid).stdout.split()[-1]
        page = f"/admin/accounts/user/{pk}/"
        refused = boss.submit(f"{page}change/", username=boss.userid, role="editor", is_superuser="on")
        assert "is the last administrator" in refused.text
        assert (
            'type="submit"'
            not in boss.page(f"{page}delete/").text.partition("</nav>")[2].partition("post")[2]
        )
        boss.browser.post(
            f"{web.url}{page}delete/",
            data={"post": "yes", "csrfmiddlewaretoken": boss.browser.cookies["csrftoken"]},
            headers={"Referer": web.url},
        )
        assert boss.get(mine).json()["role"] == "admin"
        assert boss.call("PATCH", f"user/{second}/", json={"enabled": True}).status_code == 200
        assert boss.call("PATCH", mine, json={"name": "B"}).status_code == 200
    finally:
        web.python(f"{others}.update(is_active=True)")
        web.python(f"User.objects.filter(username={second!r}).delete()")


USER_PK = "from omegaweb.accounts.models import User; print(User.objects.get(username=%r).pk)"


class Shell:
    """`omegacli` of one person, in a home of its own."""

    def __init__(self, person: Person, home: Path) -> None:
        self.person, self.home = person, home
        kept = {k: v for k, v in os.environ.items() if not k.startswith("OMEGA")}
        self.environment = {**kept, "HOME": str(home), "PYTHONPATH": str(REPOSITORY)}
        self.config = home / ".omegaml" / "config.yml"

    def type(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "omegacli", *words],
            env=self.environment,
            cwd=self.home,
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def ok(self, *words: str, given: str = "") -> str:
        done = self.type(*words, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def data(self, *words: str, given: str = "") -> Any:
        return json.loads(self.ok(*words, "--json", given=given))["data"]

    def error(self, *words: str, given: str = "") -> tuple[int, str, str]:
        done = self.type(*words, "--json", given=given)
        error = json.loads(done.stdout)["error"]
        assert error["exit"] == done.returncode
        return error["exit"], error["code"], f"{error['message']} {error['hint']}"

    def init(self) -> Shell:
        person = self.person
        words = ("--userid", person.userid, "--apikey", person.key, "--url", person.web.url)
        self.ok("init", *words)
        return self


def test_init_completes_and_data_goes_in_and_out_by_the_fetched_url(ann: Person, tmp_path: Path) -> None:
    shell = Shell(ann, tmp_path).init()
    assert "OMEGA_MONGO_URL" not in ConfigFile(shell.config).read()
    assert "OMEGA_RUNTIME" not in ann.settings  # there are no workers
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,y\n")
    shell.ok("datasets", "put", "t.csv", "sales")
    assert [row["name"] for row in shell.data("datasets", "list")] == ["sales"]
    source = "import omegaml as om; print(om.datasets.list(), om.datasets.get('sales').a.sum())"
    done = subprocess.run(
        [sys.executable, "-c", source], env=shell.environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "['sales'] 3\n", done.stderr
    assert shell.data("doctor", "--only", "rest,database")[0]["status"] == "ok"


def test_init_with_a_wrong_key_says_where_one_is_made(ann: Person, tmp_path: Path) -> None:
    shell = Shell(ann, tmp_path)
    words = ("init", "--userid", ann.userid, "--apikey", "om_wrong", "--url", ann.web.url)
    code, name, text = shell.error(*words)
    assert (code, name) == (6, "AUTH_FAILED") and f"{ann.web.url}/account/" in text
    assert not shell.config.exists()


def test_users_are_managed_from_the_shell(web: WebPlatform, boss: Person, tmp_path: Path) -> None:
    shell, userid = Shell(boss, tmp_path).init(), new_userid()
    shell.ok("users", "add", userid, "--role", "viewer", "--password-stdin", given=f"{PASSWORD}\n")
    assert userid in shell.ok("users", "list")
    shown = shell.data("users", "show", userid)
    assert (shown["role"], shown["keys"]) == ("viewer", [])
    key = shell.ok("users", "apikey", userid, "--name", "job", "--days", "3").strip()
    person = Person(web, userid, key, requests.Session())
    assert person.get("config/").status_code == 200
    (listed,) = shell.data("users", "apikey", userid, "--list")
    assert listed["name"] == "job" and listed["expires"] and "key" not in listed
    shell.ok("users", "passwd", userid, "--password-stdin", given=f"{ANOTHER}\n")
    answer = web.submit(person.browser, "/account/login/", username=userid, password=ANOTHER)
    assert answer.url == f"{web.url}/"
    shell.ok("users", "disable", userid)
    assert person.get("config/").status_code == 401
    shell.ok("users", "disable", userid, "--enable")
    shell.ok("users", "apikey", userid, "--revoke", str(listed["id"]))
    assert person.get("config/").status_code == 401
    assert shell.error("users", "remove", userid)[:2] == (3, "CONFIRMATION_NEEDED")
    shell.ok("users", "remove", userid, "--data", "--yes")
    assert shell.error("users", "show", userid)[:2] == (4, "NOT_FOUND")


def test_everybody_manages_the_own_account_from_the_shell(ann: Person, bob: Person, tmp_path: Path) -> None:
    shell = Shell(ann, tmp_path).init()
    assert shell.data("users", "show")["userid"] == ann.userid
    assert shell.ok("users", "apikey", "--name", "other").startswith("om_")
    shell.ok("users", "passwd", "--password-stdin", given=f"{PASSWORD}\n{ANOTHER}\n")
    assert shell.error("users", "passwd", "--password-stdin", given=f"{ANOTHER}\n")[0] == 2
    assert shell.error("users", "list")[:2] == (6, "FORBIDDEN")
    assert shell.error("users", "show", bob.userid)[:2] == (6, "FORBIDDEN")
    assert shell.error("users", "remove", ann.userid, "--yes")[0] == 6
    before = ann.get(f"user/{ann.userid}/key/").json()
    for words in (
        ["passwd"],
        ["apikey"],
        ["remove", bob.userid],
        ["disable", bob.userid],
        ["add", "new_one"],
    ):
        shell.ok("users", *words, "--dry-run")
    assert ann.get(f"user/{ann.userid}/key/").json()["objects"] == before["objects"]


def test_any_route_is_called_from_the_shell(ann: Person, tmp_path: Path) -> None:
    shell = Shell(ann, tmp_path).init()
    assert json.loads(shell.ok("api", "GET", "ping"))["version"]
    assert shell.data("api", "get", "/api/v1/config/")["objects"][0]["data"]["OMEGA_USERID"] == ann.userid
    route = f"user/{ann.userid}/"
    assert shell.data("api", "PATCH", route, "--data", '{"name": "A"}')["name"] == "A"
    assert shell.data("api", "PATCH", route, "--data", "-", given='{"name": "B"}')["name"] == "B"
    (tmp_path / "c.json").write_text('{"name": "C"}')
    assert shell.data("api", "PATCH", route, "--data", "@c.json")["name"] == "C"
    shell.ok("api", "PATCH", route, "--data", '{"name": "D"}', "--dry-run")
    assert shell.data("api", "GET", route)["name"] == "C"
    assert shell.error("api", "PATCH", route, "--data", "{")[:2] == (2, "INVALID_INPUT")
    assert shell.error("api", "GET", "nothing/")[:2] == (4, "NOT_FOUND")
    assert shell.error("api", "FETCH", "ping")[0] == 2
    for elsewhere in ("//evil.example/x", "http://evil.example/", "../../account/", "/account/"):
        assert shell.error("api", "GET", elsewhere)[0] == 2, elsewhere
    assert shell.error("api", "PUT", route, "--data", "@missing")[0] == 2


def test_each_answer_of_the_server_is_the_error_it_names(ann: Person, boss: Person, tmp_path: Path) -> None:
    def call(person: Person, method: str, route: str, data: Any = None, url: str = "") -> Any:
        given = {"OMEGA_USERID": person.userid, "OMEGA_APIKEY": person.key}
        return rest.call(
            load(tmp_path / "none.yml", OMEGA_RESTAPI_URL=url or person.web.url, **given), method, route, data
        )

    for kind, words in (
        (Forbidden, (ann, "GET", "user/")),
        (NotFound, (boss, "GET", "user/nobody_there/")),
        (InvalidInput, (boss, "POST", "user/", {"userid": "X"})),
        (InvalidInput, (boss, "DELETE", "user/")),
        (Conflict, (boss, "POST", "user/", {"userid": ann.userid})),
        (AuthFailed, (Person(ann.web, ann.userid, "om_no", ann.browser), "GET", "config/")),
        (Unavailable, (ann, "GET", "config/", None, "http://127.0.0.1:1")),
    ):
        with pytest.raises(kind) as caught:
            call(*words)
        assert type(caught.value) is kind and ann.key not in str(caught.value)
