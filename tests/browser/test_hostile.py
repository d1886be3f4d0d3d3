"""Names, labels, cells and texts that are markup: shown as they are on every page, and run on none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pandas as pd
import pytest
import requests
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from playwright.sync_api import Browser, Page
from sklearn.linear_model import LinearRegression

from tests.browser.stored import CELL, HOSTILE, left, platform
from tests.browser.visits import Visit, visit
from tests.services.web_platform import PASSWORD, Person, WebPlatform
from tests.services.web_runner import WebRunner

LABEL = "\"'><svg onload=\"alert('label')\">"
TOP = "</textarea></script><script>alert('value')</script>"
NAME = quote(HOSTILE)


@pytest.fixture(scope="module")
def mallory(web: WebPlatform) -> Person:
    """Somebody who has markup wherever there is room for a text."""
    person = web.person("mallory")
    frame = pd.DataFrame({LABEL: [CELL, TOP, CELL], "x": [1, 2, 3], HOSTILE: [1.5, 2.5, 4.0]})
    with platform(person) as om:
        om.datasets.put(frame, HOSTILE, keep_versions=True)
        om.datasets.put(frame, f"{HOSTILE}/gone")
        om.datasets.put({LABEL: CELL}, LABEL)
        om.models.put(LinearRegression().fit(frame[["x", HOSTILE]], frame["x"]), HOSTILE)
        om.models.put(LinearRegression().fit(frame[["x", HOSTILE]].to_numpy(), frame["x"]), LABEL)
        for name in (HOSTILE, LABEL):
            om.jobs.create(TOP, name)
            shown = new_output(
                "display_data", {"text/html": CELL + TOP, "application/javascript": "alert('js')"}
            )
            left(
                om, name, [new_markdown_cell(CELL + TOP), new_code_cell(TOP, outputs=[shown])], "failed", CELL
            )
    person.submit("/account/", display_name=HOSTILE, email="mallory@example.org")
    person.call("POST", "user/mallory/key/", json={"name": LABEL})
    person.submit(f"/delete/dataset/{NAME}/gone/", typed=f"{HOSTILE}/gone")
    wrong = {"username": HOSTILE, "password": "x"}
    web.submit(requests.Session(), "/account/login/", **wrong)
    requests.get(f"{web.url}/api/v1/config/", headers={"Authorization": f"{HOSTILE}:x"}, timeout=30)
    return person


def looked(seen: Visit, path: str) -> Page:
    """Open a page; nothing of what is stored may have become an element, or run."""
    answer = seen.page.goto(seen.url + path)
    seen.settle()
    assert answer is not None and "default-src 'self'" in answer.headers["content-security-policy"], path
    _clean(seen, path)
    return seen.page


def _clean(seen: Visit, path: str) -> None:
    planted = "img[src=x], svg[onload], script:not([src]), [onerror], [onload]"
    assert seen.page.locator(planted).count() == 0, f"{path}: markup of somebody became part of the page"
    # dialogs, and what the content policy refused: it must not even come to that
    assert seen.complaints == [], path


@contextmanager
def window(browser: Browser, person: Person) -> Iterator[Visit]:
    with visit(browser, person.web.url, person) as seen:
        yield seen


def test_what_is_stored_is_shown_as_it_is(browser: Browser, mallory: Person) -> None:
    shown = {
        "/datasets/": HOSTILE,
        f"/dataset/{NAME}/": CELL,
        f"/columns/{NAME}/": LABEL,
        f"/dataset/?name={quote(LABEL)}": LABEL,
        f"/delete/dataset/{NAME}/": HOSTILE,
        "/models/": HOSTILE,
        f"/model/{NAME}/": HOSTILE,
        f"/model/?name={quote(LABEL)}": LABEL,
        f"/delete/model/{NAME}/": HOSTILE,
        "/account/": LABEL,
        "/jobs/": HOSTILE,
        f"/job/{NAME}/": CELL,
        f"/job/?name={quote(LABEL)}": LABEL,
        f"/delete/job/{NAME}/": HOSTILE,
        f"/upload/job/?name={NAME}": "Upload a notebook",
        "/": HOSTILE,
        "/runtime/": "Runtime",
        "/api/docs/": "omega|ml",
    }
    with window(browser, mallory) as seen:
        for path, text in shown.items():
            page = looked(seen, path)
            page.get_by_text(text).first.wait_for(state="attached")


def test_what_is_asked_is_shown_as_it_is(browser: Browser, mallory: Person) -> None:
    where = f"col={quote(LABEL)}&op=eq&value={quote(TOP)}"
    with window(browser, mallory) as seen:
        for path in (
            f"/datasets/?q={NAME}&sort={NAME}&bucket=other",
            f"/datasets/?bucket={NAME}",
            f"/models/?q={quote(LABEL)}",
            f"/dataset/{NAME}/?{where}",
            f"/dataset/{NAME}/?col=x&op={NAME}&value={quote(CELL)}",
            f"/dataset/{NAME}/?col={quote(CELL)}&op=eq&value=1",
            f"/dataset/{quote(CELL)}/",
            f"/model/{quote(CELL)}/",
            f"/upload/?name={NAME}",
            f"/jobs/?q={quote(LABEL)}",
            f"/job/{quote(CELL)}/",
            f"/job/{NAME}/?run={quote(CELL)}",
            f"/upload/?name={quote(LABEL)}&bucket={quote(LABEL)}",
            f"/{NAME}/",
            f"/steps/?have={NAME}",
            f"/account/password/reset/{NAME}/x/",
        ):
            if path.startswith("/steps"):
                seen.page.request.get(seen.url + path)
                continue
            looked(seen, path)


def test_what_scripts_show_later_is_shown_as_it_is(
    browser: Browser, mallory: Person, runner: WebRunner
) -> None:
    with window(browser, mallory) as seen:
        page = looked(seen, f"/dataset/{NAME}/")
        page.locator("#plot-y").select_option([HOSTILE])
        page.get_by_role("button", name="Draw").click()
        seen.settle()
        page.get_by_role("button", name="Copy").first.click()
        _clean(seen, "plot")
        page = looked(seen, f"/model/{NAME}/")
        for field in page.locator("[data-feature]").all():
            field.fill(CELL)
        page.get_by_role("button", name="Predict").click()
        page.locator(".answer .bad").wait_for()
        _clean(seen, "try it")
        page = looked(seen, f"/model/?name={quote(LABEL)}")
        page.locator("#body").fill(CELL)
        page.get_by_role("button", name="Predict").click()
        page.locator(".answer .bad").wait_for()
        _clean(seen, "try it with JSON")


def test_what_a_run_has_left_is_shown_and_does_nothing(browser: Browser, mallory: Person) -> None:
    with window(browser, mallory) as seen:
        page = looked(seen, f"/job/{NAME}/")
        page.locator("iframe.report").scroll_into_view_if_needed()
        frame = page.frame_locator("iframe.report")
        frame.locator("img[src=x]").first.wait_for(state="attached")
        page.wait_for_timeout(500)
        # nobody's origin: neither the page around it nor the API can be reached from in there
        assert page.evaluate("document.querySelector('iframe.report').contentDocument") is None
        alone = seen.page.goto(seen.url + page.locator("iframe.report").get_attribute("src"))
        assert alone is not None and alone.headers["content-security-policy"].startswith("sandbox; ")
        page.wait_for_timeout(500)
        for asked in (f"run={quote(CELL)}", f"fmt={quote(CELL)}"):
            page.goto(f"{seen.url}/report/{NAME}/?{asked}")
            assert page.locator("img").count() == 0
        assert [said for said in seen.complaints if said.startswith(("dialog", "error"))] == []


def test_administrators_see_it_as_it_is(
    web: WebPlatform, browser: Browser, mallory: Person, runner: WebRunner
) -> None:
    boss = web.person("chief_x", role="admin")
    with window(browser, boss) as seen:
        for path, text in {
            "/admin/accounts/user/": HOSTILE,
            "/admin/accounts/user/?q=mallory": HOSTILE,
            "/admin/accounts/apikey/": LABEL,
            "/admin/audit/entry/": f"{HOSTILE}/gone",
            "/admin/audit/entry/?q=script": HOSTILE,
            "/admin/axes/accessattempt/": HOSTILE,
            f"/admin/{NAME}/": "Not here",
            "/admin/constance/config/": "SIGNUP",
            "/settings/external/": "MONGO_HOST",
        }.items():
            page = seen.page
            answer = page.goto(seen.url + path)
            assert answer is not None and "default-src" in answer.headers["content-security-policy"]
            assert seen.page.locator("img[src=x], svg[onload]").count() == 0 and seen.complaints == [], path
            page.get_by_text(text).first.wait_for(state="attached")


@pytest.mark.parametrize("next", ["javascript:alert(1)", "//evil.example/", "https://evil.example/"])
def test_signing_in_leads_nowhere_else(
    web: WebPlatform, browser: Browser, mallory: Person, next: str
) -> None:
    with visit(browser, web.url) as seen:
        page = seen.go(f"/account/login/?next={quote(next)}")
        page.get_by_label("Userid").fill("mallory")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="mallory").wait_for()
        assert page.url == f"{web.url}/" and seen.complaints == []
