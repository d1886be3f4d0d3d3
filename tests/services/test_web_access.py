"""Who may use which route: every one has a rule, and the rule holds for whoever is not meant."""

from __future__ import annotations

import re

import pytest
import requests

from tests.services.web_platform import Person, WebPlatform

pytestmark = [pytest.mark.once, pytest.mark.mariadb]

# contracts: anonymous is landing, sign-in and -up, password reset, static files, ping, healthz, and no other
ANONYMOUS = [
    "/",
    "/account/login/",
    "/account/logout/",
    "/account/signup/",
    "/account/password/reset/",
    "/account/password/reset/sent/",
    "/account/password/reset/<uidb64>/<token>/",
    "/api/v1/ping",
    "/api/v1/ping/",
    "/api/[\\s\\S]*",  # says that there is no such route
    "/healthz",
]
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


@pytest.fixture(scope="module")
def routes(web: WebPlatform) -> dict[str, str]:
    """Every route and its rule."""
    lines = web.manage("routes").stdout.splitlines()
    return dict(line.split("\t") for line in lines)


def filled(route: str, name: str = "sales") -> str:
    """A path that the route matches."""
    path = re.sub(r"<(int:\w+|[\w_]*id)>", "1", route)
    path = re.sub(r"\(\?P<\w+>([a-z_]+)(\|[^)]*)?\)", r"\1", path)
    path = re.sub(r"\(\?P<\w+>[^)]*\)|<[\w:]+>", name, path)
    return path.replace(r"[\s\S]*", "nothing").replace("\\", "")


def test_every_route_has_a_rule(routes: dict[str, str]) -> None:
    assert len(routes) > 40
    assert [route for route, rule in routes.items() if rule in ("nobody", "rest: Nobody", "rest: ")] == []


def test_anybody_may_use_what_the_contract_lists_and_nothing_else(routes: dict[str, str]) -> None:
    open_to_all = [route for route, rule in routes.items() if rule in ("anybody", "rest: Anybody")]
    assert sorted(open_to_all) == sorted(ANONYMOUS)


def test_every_other_route_asks_who_is_there(web: WebPlatform, routes: dict[str, str]) -> None:
    asked, browser = 0, requests.Session()
    for route in routes:
        if route in ANONYMOUS:
            continue
        for method in _METHODS:
            answer = browser.request(method, web.url + filled(route), allow_redirects=False, timeout=30)
            if routes[route].startswith("rest: "):
                assert answer.status_code == 401, f"{method} {route}: {answer.status_code}"
            else:  # the sign-in page, or what has no token of a form
                signs_in = answer.status_code == 302 and "/login/" in answer.headers["Location"]
                assert signs_in or answer.status_code == 403, f"{method} {route}: {answer.status_code}"
            asked += 1
    assert asked > 400


def test_an_editor_is_refused_what_is_for_administrators(routes: dict[str, str], ann: Person) -> None:
    for route, rule in routes.items():
        if rule == "admin":
            assert ann.page(filled(route)).status_code in (403, 404), route
        if rule in ("rest: Admin", "rest: Worker"):
            answer = requests.get(ann.web.url + filled(route), headers=ann.login, timeout=30)
            assert answer.status_code == 403 and answer.json()["error"]["code"] == "FORBIDDEN", route


def test_a_viewer_writes_nothing(web: WebPlatform, routes: dict[str, str]) -> None:
    viewer = web.person(role="viewer")
    for route, rule in routes.items():
        if rule == "rest: EditorWrites":
            for method in ("PUT", "POST", "PATCH", "DELETE"):
                answer = viewer.call(method, filled(route).removeprefix("/api/v1/"), json={})
                assert answer.status_code == 403, f"{method} {route}: {answer.status_code}"
        if rule == "editor":
            assert viewer.page(filled(route)).status_code == 403, route


def test_a_form_without_its_token_changes_nothing(routes: dict[str, str], ann: Person) -> None:
    for route, rule in routes.items():
        if not route.startswith("/api/") and rule in ("viewer", "editor"):
            answer = ann.browser.post(ann.web.url + filled(route), data={"name": "x"}, timeout=30)
            assert answer.status_code in (403, 405), f"{route}: {answer.status_code}"
    # a page elsewhere that has the browser of somebody who is signed in call the API
    answer = ann.browser.put(f"{ann.web.url}/api/v1/dataset/planted/", json={"data": {"a": [1]}}, timeout=30)
    assert answer.status_code == 403


def test_pages_may_load_nothing_from_elsewhere_and_be_framed_nowhere(ann: Person) -> None:
    for path in ("/", "/account/", "/datasets/"):
        headers = ann.page(path).headers
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "'unsafe-eval'" not in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
