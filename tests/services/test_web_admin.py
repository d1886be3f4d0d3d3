"""What administrators do on their pages: invite people, and set the addresses that clients are given."""

from __future__ import annotations

import html
import re

import pytest
import requests

from tests.services.web_platform import PASSWORD, Person, WebPlatform

pytestmark = [pytest.mark.once, pytest.mark.mariadb]


def sign_up(web: WebPlatform, path: str, userid: str) -> requests.Response:
    values = {"username": userid, "email": f"{userid}@example.org", "password1": PASSWORD}
    return web.submit(requests.Session(), path, password2=PASSWORD, **values)


def test_an_invitation_opens_one_account_with_its_role(web: WebPlatform, boss: Person) -> None:
    page = boss.submit("/admin/accounts/invitation/add/", email="guest@example.org", role="viewer")
    link = re.search(r"http://\S+/account/signup/\?invitation=[\w-]+", html.unescape(page.text))
    assert link, page.text
    path = link[0].removeprefix(web.url)
    assert "guest@example.org" in requests.get(link[0], timeout=30).text
    page = sign_up(web, path, "invited_one")
    assert page.url.endswith("/account/") and "<dd>viewer</dd>" in page.text
    again = requests.get(link[0], timeout=30)
    assert again.status_code == 403 or "viewer" not in again.text  # sign-up is open here all the same
    assert link[0].split("=")[1] not in boss.page("/admin/accounts/invitation/").text


def test_the_addresses_of_clients_are_tried_at_once(web: WebPlatform, boss: Person, ann: Person) -> None:
    assert "Test the addresses" in boss.page("/admin/constance/config/").text
    settings = {"SIGNUP": "open", "MONGO_HOST": f"localhost:{web.mongo_port}"}
    boss.submit("/admin/constance/config/", BROKER_URL="", **settings)
    page = boss.page("/settings/external/").text
    assert f"localhost:{web.mongo_port}" in page and "took your login" in page and "no broker" in page
    try:
        wrong = {**settings, "MONGO_HOST": "localhost:1", "BROKER_URL": f"amqp://localhost:{web.port}/"}
        boss.submit("/admin/constance/config/", **wrong)
        page = boss.page("/settings/external/").text
        assert "no MongoDB server answers at localhost:1" in page
        assert f"what answers at localhost:{web.port} is no broker" in page
    finally:
        boss.submit("/admin/constance/config/", BROKER_URL="", **settings)
    assert "took your login" in boss.page("/settings/external/").text
    assert ann.page("/settings/external/").status_code == 403


@pytest.mark.parametrize("host", ["", "a b", "mongodb://x", "x:99999", "user@x", "x/y", "x:"])
def test_what_is_no_address_is_refused(web: WebPlatform, boss: Person, host: str) -> None:
    page = boss.submit("/admin/constance/config/", MONGO_HOST=host, SIGNUP="open", BROKER_URL="")
    assert "errorlist" in page.text
    assert f'value="localhost:{web.mongo_port}"' in boss.page("/admin/constance/config/").text


@pytest.mark.parametrize("url", ["http://x", "amqp://", "amqp://u:p@x", "amqp://x:0", "x", "amqp://x?y"])
def test_what_is_no_broker_is_refused(web: WebPlatform, boss: Person, url: str) -> None:
    values = {"MONGO_HOST": f"localhost:{web.mongo_port}", "SIGNUP": "open"}
    assert "errorlist" in boss.submit("/admin/constance/config/", BROKER_URL=url, **values).text
