"""What keeps the platform running reads, and the pages of the API."""

from __future__ import annotations

import html
import json
import re

import pytest
import requests

from tests.services.web_platform import Person, WebPlatform

pytestmark = [pytest.mark.once, pytest.mark.mariadb]


def test_figures_count_requests_by_route_and_are_for_administrators(
    web: WebPlatform, ann: Person, boss: Person
) -> None:
    assert ann.settings and ann.get("dataset/no_such_dataset/").status_code == 404
    answer = requests.get(f"{web.url}/metrics", headers=boss.login)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/plain")
    counted = [line for line in answer.text.splitlines() if line.startswith("omegaweb_requests_total")]
    assert any('route="api/v1/config/"' in line and 'status="200"' in line for line in counted)
    assert "no_such_dataset" not in answer.text and ann.userid not in answer.text
    accounts = next(line for line in answer.text.splitlines() if line.startswith("omegaweb_accounts "))
    assert float(accounts.split()[1]) >= 2
    refused = requests.get(f"{web.url}/metrics", headers=ann.login)
    assert refused.status_code == 403
    assert requests.get(f"{web.url}/metrics").status_code == 401


def test_the_log_is_json_lines_that_name_the_request_and_no_secret(web: WebPlatform, ann: Person) -> None:
    answer = ann.get("config/", headers={"X-Request-ID": "my-own-1"})
    assert answer.headers["X-Request-ID"] == "my-own-1"
    lines = [json.loads(line) for line in web.log.read_text().splitlines() if line.startswith("{")]
    mine = next(line for line in lines if line.get("request_id") == "my-own-1")
    assert (mine["path"], mine["status"], mine["userid"]) == ("/api/v1/config/", 200, ann.userid)
    assert ann.get("config/", headers={"X-Request-ID": "a\tb" * 50}).headers["X-Request-ID"].isalnum()
    assert ann.key not in web.log.read_text()


def test_the_schema_describes_every_route_without_a_doubt(web: WebPlatform) -> None:
    done = web.manage("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json")
    paths = json.loads(done.stdout)["paths"]
    assert {"/api/v1/ping/", "/api/v1/config/", "/api/v1/dataset/"} <= set(paths)


def test_the_pages_of_the_api_load_nothing_from_elsewhere(web: WebPlatform, ann: Person) -> None:
    page = ann.page("/api/docs/")
    assert page.status_code == 200 and "/api/v1/dataset/{name}/statistics/" in page.text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) > 20 and all(re.match("#|/(?!/)", address) for address in loaded)
    assert all(ann.page(address).ok for address in loaded if address.startswith("/static/"))


def test_the_page_of_the_api_has_every_route_of_its_schema(web: WebPlatform, ann: Person) -> None:
    page = html.unescape(ann.page("/api/docs/").text)
    schema = ann.browser.get(f"{web.url}/api/schema/?format=json", timeout=60).json()
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            assert f'id="{about["operationId"]}"' in page, f"{method} {path}"
            for given in about.get("parameters", ()):
                assert given["name"] == "Qualifier" or f"<code>{given['name']}</code>" in page


def test_ping_and_health_are_open_and_say_little(web: WebPlatform) -> None:
    assert set(requests.get(f"{web.url}/api/v1/ping").json()) == {"version", "time"}
    assert requests.get(f"{web.url}/healthz").json() == {"status": "up"}
