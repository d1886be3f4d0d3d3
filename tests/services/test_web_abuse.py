"""What somebody can do to all others by few or small requests: nothing."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.services.web_platform import PASSWORD, From, Person, WebPlatform, running

pytestmark = pytest.mark.once
JSON = {"Content-Type": "application/json"}


def told(web: WebPlatform, code: str) -> str:
    """What `code` prints inside omegaweb."""
    return web.manage("shell", "-v", "0", "-c", code).stdout.strip()


def entries(web: WebPlatform, action: str, userid: str) -> int:
    count = f"Entry.objects.filter(action={action!r}, userid={userid!r}).count()"
    return int(told(web, f"from omegaweb.audit.models import Entry; print({count})"))


@pytest.mark.mariadb
def test_endless_wrong_keys_are_held_off_and_do_not_fill_the_audit_log(web: WebPlatform, ann: Person) -> None:
    url, caller = f"http://127.0.0.1:{web.port}/api/v1/config/", requests.Session()
    caller.mount("http://", From("127.0.0.77"))
    wrong = {"Authorization": f"{ann.userid}:om_wrong"}
    answers = [caller.get(url, headers=wrong) for _ in range(300)]
    assert {answer.status_code for answer in answers} == {401, 429}
    held = next(answer for answer in answers if answer.status_code == 429)
    assert held.json()["error"]["code"] == "THROTTLED" and 0 < int(held.headers["Retry-After"]) <= 60
    assert entries(web, "key.refused", ann.userid) <= 240  # of two minutes, where one ends meanwhile
    # good keys are taken all the same: others may come by the same proxy
    assert caller.get(url, headers=ann.login).status_code == 200
    assert ann.get("config/").status_code == 200


@pytest.mark.mariadb
def test_endless_refusals_do_not_fill_the_audit_log(web: WebPlatform, ann: Person) -> None:
    answers = [ann.get("user/") for _ in range(300)]
    assert {answer.status_code for answer in answers} == {403, 429}
    assert 1 <= entries(web, "refused", ann.userid) <= 240


@pytest.mark.parametrize("route", ["user/{0}/key/", "user/{0}/password/", "model/", "model/m/predict/"])
def test_json_that_is_nested_too_deeply_is_a_wrong_body(ann: Person, route: str) -> None:
    method = "PUT" if "password" in route else "POST"
    answer = ann.call(method, route.format(ann.userid), data=b"[" * 200_000, headers=JSON)
    assert answer.status_code == 400 and "nested" in answer.json()["error"]["message"]


def test_a_body_larger_than_a_route_needs_is_not_read(ann: Person) -> None:
    body = b'{"name": "' + b"x" * (2 << 20) + b'"}'
    answer = ann.call("POST", f"user/{ann.userid}/key/", data=body, headers=JSON)
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "TOO_LARGE"


@pytest.mark.parametrize("page", ["/account/login/", "/account/signup/", "/account/password/reset/"])
def test_nobody_fills_the_disk_by_a_form_that_takes_no_file(web: WebPlatform, page: str) -> None:
    browser = requests.Session()
    shown = browser.get(f"{web.url}/account/login/")  # for a lost password there is a form with mail only
    token = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', shown.text)
    assert token
    sent = {"data": {"csrfmiddlewaretoken": token[1]}, "files": {"x": b"x" * (8 << 20)}}
    answer = browser.post(web.url + page, **sent, headers={"Referer": web.url})  # type: ignore[arg-type]
    assert answer.status_code == 413 and "larger" in answer.text


def test_who_is_not_signed_in_sends_no_file_to_the_upload_page(web: WebPlatform) -> None:
    answer = requests.post(f"{web.url}/upload/", files={"file": b"x" * (8 << 20)}, allow_redirects=False)
    assert answer.status_code == 302 and "/account/login/" in answer.headers["Location"]


@pytest.mark.mariadb
def test_of_many_that_ask_for_a_userid_at_once_one_gets_it_and_the_others_are_told(web: WebPlatform) -> None:
    userid = f"u{uuid.uuid4().hex[:12]}"

    def ask(number: int) -> int:
        given = {"username": userid, "email": f"{userid}.{number}@example.org"}
        browser = requests.Session()
        words = {"password1": PASSWORD, "password2": PASSWORD}
        return web.submit(browser, "/account/signup/", **given, **words).status_code

    with ThreadPoolExecutor(6) as pool:
        assert Counter(pool.map(ask, range(6))) == {200: 1, 400: 5}


@pytest.mark.mariadb
def test_an_invitation_opens_one_account_however_many_use_it_at_once(web: WebPlatform, boss: Person) -> None:
    word = uuid.uuid4().hex
    web.python(
        f"Invitation.objects.create(digest=digest({word!r}), role='viewer', "
        f"expires=timezone.now() + timedelta(days=1))"
    )
    first = f"u{uuid.uuid4().hex[:10]}"

    def ask(number: int) -> None:
        given = {"username": f"{first}{number}", "email": f"{first}.{number}@example.org"}
        path = f"/account/signup/?invitation={word}"
        web.submit(requests.Session(), path, **given, password1=PASSWORD, password2=PASSWORD)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(ask, range(5)))
    users = boss.get("user/?limit=1000").json()["objects"]
    assert [user["role"] for user in users if user["userid"].startswith(first)] == ["viewer"]


def test_the_api_says_in_its_own_shape_that_the_accounts_are_away(web: WebPlatform, ann: Person) -> None:
    rename = "from django.db import connection; connection.cursor().execute('ALTER TABLE {} RENAME TO {}')"
    web.python(rename.format("django_session", "elsewhere"))
    try:
        assert ann.browser.get(f"{web.url}/api/v1/ping").status_code == 200
        answer = ann.browser.get(f"{web.url}/api/v1/dataset/")
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "UNAVAILABLE"
    finally:
        web.python(rename.format("elsewhere", "django_session"))
    assert ann.page("/account/").status_code == 200


def test_a_search_for_what_no_name_has_is_a_wrong_request(ann: Person) -> None:
    assert ann.get("dataset/?search=%00").status_code == 400
    assert ann.get("model/?search=a%00").status_code == 400
    assert ann.page("/datasets/?q=%00").status_code == 400


def test_a_session_is_not_used_to_guess_the_password(web: WebPlatform, ann: Person) -> None:
    new = {"new_password1": "another horse 8 accumulator", "new_password2": "another horse 8 accumulator"}
    guesses = [ann.submit("/account/password/", old_password=f"guess {n}", **new) for n in range(4)]
    assert {answer.status_code for answer in guesses} == {200}  # the form again
    ann.submit("/account/password/", old_password="guess 5", **new)
    assert ann.submit("/account/password/", old_password=PASSWORD, **new).status_code == 429
    browser = requests.Session()
    assert web.submit(browser, "/account/login/", username=ann.userid, password=PASSWORD).status_code == 429


@pytest.mark.parametrize(("method", "route"), [("PUT", "dataset/wide/"), ("POST", "model/m/predict/")])
def test_a_small_body_that_makes_a_huge_table_is_refused(ann: Person, method: str, route: str) -> None:
    rows: list[dict[str, int]] = [{}, *({f"c{number}": 1} for number in range(4000))]
    answer = ann.call(method, route, json={"data": rows})
    assert answer.status_code == 400 and "missing" in answer.json()["error"]["message"]
    few = [{f"c{number}": 1} for number in range(300)]
    assert ann.call("PUT", "dataset/few/", json={"data": few}).status_code == 201


def test_the_address_written_down_is_the_one_that_the_last_proxy_has_seen(tmp_path: Path) -> None:
    with running(tmp_path, proxies=1) as web:
        for number, forwarded in enumerate(("6.6.6.6, 1.2.3.4", "x" * 100, "6.6.6.6, <b>", "")):
            wrong = {"Authorization": f"ghost{number}:x", "X-Forwarded-For": forwarded}
            assert requests.get(f"{web.url}/api/v1/config/", headers=wrong).status_code == 401
        code = "from omegaweb.audit.models import Entry; "
        code += "print(*Entry.objects.order_by('pk').values_list('address', flat=True))"
        assert told(web, code).split()[-4:] == ["1.2.3.4", "127.0.0.1", "127.0.0.1", "127.0.0.1"]


def test_counters_of_many_callers_are_kept_for_their_minute(web: WebPlatform) -> None:
    code = "from omegaweb.api.throttling import counted; from django.conf import settings; import time; "
    code += "time.sleep(max(0, time.time() % 60 - 50) and 11); "
    code += "settings.CALLS_PER_MINUTE['form'] = 1; counted('form', 'first'); "
    code += "[counted('form', n) for n in range(3000)]; print(counted('form', 'first'))"
    assert told(web, code) == "False"
