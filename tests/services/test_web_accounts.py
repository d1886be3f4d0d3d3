"""Accounts and keys: what opens with them, and what does not."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import signal
from urllib.parse import quote

import pytest
import requests
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tests.services.web_platform import PASSWORD, From, Person, WebPlatform

pytestmark = pytest.mark.once


def test_a_new_account_gets_its_own_settings_by_its_key(web: WebPlatform, ann: Person) -> None:
    settings = ann.settings
    assert settings["OMEGA_USERID"] == ann.userid
    assert settings["OMEGA_RESTAPI_URL"] == web.url
    assert f"@localhost:{web.mongo_port}/omega_{ann.userid}?" in settings["OMEGA_MONGO_URL"]


@pytest.mark.parametrize("form", ["{0}:{1}", "ApiKey {0}:{1}", "apikey {0}:{1}", "Basic"])
def test_a_key_may_be_sent_in_each_form(web: WebPlatform, ann: Person, form: str) -> None:
    header = form.format(ann.userid, ann.key)
    if form == "Basic":
        header = "Basic " + base64.b64encode(f"{ann.userid}:{ann.key}".encode()).decode()
    answer = requests.get(f"{web.url}/api/v1/config/", headers={"Authorization": header})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        ":",
        "ann",
        "Basic !",
        "Basic Og==",
        "Bearer x",
        "{userid}:",
        "{userid}:om_no",
        "{userid}é:x",
        "other:{key}",
    ],
)
def test_a_missing_or_wrong_key_is_refused_in_the_shape_of_every_error(
    web: WebPlatform, ann: Person, header: str | None
) -> None:
    headers = (
        {} if header is None else {"Authorization": header.format(userid=ann.userid, key=ann.key).encode()}
    )
    answer = requests.get(f"{web.url}/api/v1/config/", headers=headers)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["code"] == "AUTH_FAILED" and error["message"] and error["hint"]
    assert error["request_id"] == answer.headers["X-Request-ID"]


def test_a_revoked_key_opens_nothing_and_ends_open_connections(web: WebPlatform, ann: Person) -> None:
    client: MongoClient = MongoClient(ann.settings["OMEGA_MONGO_URL"])
    client.get_default_database()["x"].insert_one({"a": 1})
    ann.revoke_keys()
    assert ann.get("config/").status_code == 401
    with pytest.raises(OperationFailure):
        client.get_default_database()["x"].find_one()
    ann.key = web.new_key(ann.browser)
    again: MongoClient = MongoClient(ann.settings["OMEGA_MONGO_URL"])
    assert again.get_default_database()["x"].count_documents({}) == 1


def test_a_key_that_could_not_be_revoked_everywhere_can_be_revoked_again(
    web: WebPlatform, ann: Person
) -> None:
    client: MongoClient = MongoClient(ann.settings["OMEGA_MONGO_URL"])
    client.get_default_database()["x"].insert_one({"a": 1})
    (key,) = ann.get(f"user/{ann.userid}/key/").json()["objects"]
    route = f"user/{ann.userid}/key/{key['id']}/"
    web.mongod.send_signal(signal.SIGSTOP)
    try:
        assert ann.call("DELETE", route).status_code in (503, 504)
    finally:
        web.mongod.send_signal(signal.SIGCONT)
    assert client.get_default_database()["x"].find_one()  # nothing is closed yet, and nothing broken
    assert ann.call("DELETE", route).status_code == 204
    assert ann.get("config/").status_code == 401
    with pytest.raises(OperationFailure):
        client.get_default_database()["x"].find_one()


def test_a_key_that_is_over_opens_nothing(web: WebPlatform, ann: Person) -> None:
    over = "ApiKey.objects.filter(user__username=%r).update(expires=timezone.now())"
    web.python(over % ann.userid)
    assert ann.get("config/").status_code == 401


def test_only_the_digest_of_a_key_is_kept_and_it_is_shown_once(web: WebPlatform, ann: Person) -> None:
    assert ann.key not in ann.page("/account/").text
    kept = web.manage("dumpdata").stdout
    assert hashlib.sha256(ann.key.encode()).hexdigest() in kept and ann.key not in kept
    assert ann.key not in web.log.read_text()


@pytest.mark.parametrize("userid", ["Ann", "1ann", "an", "a" * 32, "ann-b", "root", "ann\n", "annä", "$ne"])
def test_a_userid_that_could_name_no_user_elsewhere_is_refused(web: WebPlatform, userid: str) -> None:
    browser = requests.Session()
    answer = web.submit(
        browser,
        "/account/signup/",
        username=userid,
        email="x@example.org",
        password1=PASSWORD,
        password2=PASSWORD,
    )
    assert answer.status_code == 400 or (userid == "ann\n" and answer.status_code == 200)


def test_a_userid_is_never_given_twice(web: WebPlatform, ann: Person, boss: Person) -> None:
    web.python(f"User.objects.get(username={ann.userid!r}).delete()")
    browser = requests.Session()
    answer = web.submit(
        browser,
        "/account/signup/",
        username=ann.userid,
        email="new@example.org",
        password1=PASSWORD,
        password2=PASSWORD,
    )
    assert answer.status_code == 400 and "not to be had" in answer.text


def test_a_userid_in_other_letters_is_nobody(web: WebPlatform, ann: Person, boss: Person) -> None:
    for other in (ann.userid.upper(), f"{ann.userid} ", ann.userid.replace("u", "\u00fc", 1)):
        assert boss.get(f"user/{quote(other)}/").status_code == 404
        assert boss.get("config/", params={"user": other}).status_code == 404
        login = base64.b64encode(f"{other}:{ann.key}".encode()).decode()
        answer = requests.get(f"{web.url}/api/v1/config/", headers={"Authorization": f"Basic {login}"})
        assert answer.status_code == 401
    page = web.submit(requests.Session(), "/account/login/", username=ann.userid.upper(), password=PASSWORD)
    assert page.url.endswith("/account/login/")


def test_a_lost_password_is_found_by_the_address_in_any_letters(web: WebPlatform, ann: Person) -> None:
    code = "from omegaweb.accounts.forms import LostPassword; "
    code += f"form = LostPassword({{'email': '{ann.userid.upper()}@Example.org'}}); form.is_valid(); "
    code += "print(*form.get_users(form.cleaned_data['email']))"
    assert web.manage("shell", "-v", "0", "-c", code).stdout.split() == [ann.userid]


def test_settings_of_another_are_for_administrators(ann: Person, bob: Person, boss: Person) -> None:
    assert ann.get(f"config/?user={bob.userid}").status_code == 403
    assert ann.get("config/?view=1").status_code == 403
    answer = boss.get(f"config/?user={bob.userid}")
    assert answer.json()["objects"][0]["data"]["OMEGA_USERID"] == bob.userid
    assert boss.get("config/?user=nobody_here").status_code == 404


def test_a_user_reaches_the_own_database_and_no_other(ann: Person, bob: Person) -> None:
    MongoClient(bob.settings["OMEGA_MONGO_URL"]).get_default_database()["secret"].insert_one({"a": 1})
    client: MongoClient = MongoClient(ann.settings["OMEGA_MONGO_URL"])
    mine, theirs = client[f"omega_{ann.userid}"], client[f"omega_{bob.userid}"]
    mine["x"].insert_one({"a": 1})
    for attempt in (
        lambda: theirs["secret"].find_one(),
        lambda: theirs["secret"].insert_one({}),
        lambda: theirs.list_collection_names(),
        lambda: mine["x"].aggregate([{"$out": {"db": theirs.name, "coll": "x"}}]),
        lambda: mine["x"].aggregate(
            [{"$lookup": {"from": {"db": theirs.name, "coll": "secret"}, "pipeline": [], "as": "s"}}]
        ),
        lambda: list(mine["x"].find({"$where": "1"})),
        lambda: mine.command("createUser", "eve", pwd="x", roles=[]),
        lambda: mine.command("updateUser", ann.userid, roles=["root"]),
        lambda: client.admin.command("getParameter", "*"),
        lambda: client.drop_database(theirs.name),
    ):
        with pytest.raises(OperationFailure):
            attempt()
    assert client.list_database_names() == [mine.name]


def test_five_wrong_passwords_close_one_account_at_one_address_only(
    web: WebPlatform, ann: Person, bob: Person
) -> None:
    browser = requests.Session()
    for _ in range(5):
        answer = web.submit(browser, "/account/login/", username=ann.userid, password="wrong")
    answer = web.submit(browser, "/account/login/", username=ann.userid, password=PASSWORD)
    assert answer.status_code == 429 and "quarter of an hour" in answer.text
    answer = web.submit(browser, "/account/login/", username=bob.userid, password=PASSWORD)
    assert answer.status_code == 200 and answer.url == f"{web.url}/"


def test_who_signed_in_or_tried_to_and_from_where_a_key_was_used_is_written_down(
    web: WebPlatform, ann: Person
) -> None:
    for password in (PASSWORD, "wrong"):
        web.submit(requests.Session(), "/account/login/", username=ann.userid, password=password)
    elsewhere = requests.Session()
    for _ in range(2):
        assert ann.get("config/").status_code == 200
        route = f"http://127.0.0.1:{web.port}/api/v1/config/"
        elsewhere.mount("http://", From("127.0.0.78"))
        assert elsewhere.get(route, headers=ann.login).status_code == 200
    code = "from omegaweb.audit.models import Entry; import json; "
    code += f"print(json.dumps(list(Entry.objects.filter(userid={ann.userid!r})"
    code += ".order_by('pk').values_list('action', 'outcome', 'address'))))"
    found = json.loads(web.manage("shell", "-v", "0", "-c", code).stdout.splitlines()[-1])
    first, here, there = found[0][2], "127.0.0.1", "127.0.0.78"
    assert first.startswith("127.") and first not in (here, there)  # each person of the tests has one
    assert found == [
        ["account.opened", "ok", first],
        ["sign-in", "ok", first],
        ["key.made", "ok", first],
        ["sign-in", "ok", here],
        ["sign-in.refused", "refused", here],
        ["key.used", "ok", here],
        ["key.used", "ok", there],
    ]


def test_createsuperuser_by_file_and_environment_may_be_repeated(web: WebPlatform) -> None:
    file = web.folder / "password"
    file.write_text(PASSWORD)
    first = [
        "createsuperuser",
        "--noinput",
        "--username",
        "chief",
        "--email",
        "c@example.org",
        "--password-file",
        str(file),
    ]
    assert "Superuser created" in web.manage(*first).stdout
    assert web.manage(*first, ok=False).returncode == 1
    assert "already" in web.manage(*first, "--if-absent").stdout
    by_environment = {
        f"DJANGO_SUPERUSER_{k}": v
        for k, v in {"USERNAME": "chief2", "EMAIL": "c2@example.org", "PASSWORD": PASSWORD}.items()
    }
    assert "Superuser created" in web.manage("createsuperuser", "--noinput", **by_environment).stdout
    browser = requests.Session()
    assert web.submit(browser, "/account/login/", username="chief", password=PASSWORD).status_code == 200
    assert browser.get(f"{web.url}/admin/constance/config").status_code == 200
    page = browser.get(f"{web.url}/admin/constance/config/").text
    shown = re.search(r'name="BROKER_URL" value="amqp://([^"]+)"', page)
    address = shown[1] if shown else "localhost//"
    values = {
        "BROKER_URL": f"ampq://{address}",
        "MONGO_HOST": f"localhost:{web.mongo_port}",
        "SIGNUP": "open",
    }
    answer = web.submit(browser, "/admin/constance/config/", **values)
    assert f'value="amqp://{address}"' in answer.text
