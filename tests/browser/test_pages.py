"""Every page on every screen: usable for everybody, not wider than the window, without a complaint."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Browser

from tests.browser.stored import HOSTILE
from tests.browser.visits import SCHEMES, SCREENS, visit
from tests.services.web_platform import Person, WebPlatform

ANYBODY = ["/", "/account/login/", "/account/signup/", "/account/password/reset/", "/nowhere/"]
ANYBODY += ["/account/password/reset/sent/", "/account/password/reset/x/y/"]
SIGNED_IN = [
    "/",
    "/account/",
    "/account/password/",
    "/datasets/",
    "/datasets/?q=nothing",
    "/datasets/?sort=-bytes&bucket=other",
    "/dataset/sales/",
    "/dataset/sales/?col=visitors&op=gte&value=110&col=shop&op=in&value=north,south",
    "/dataset/sales/?col=visitors&op=gte&value=many",
    "/dataset/sales/?col=visitors&op=gt&value=9999",
    "/dataset/by%20rows/sales/",
    "/dataset/empty/",
    "/dataset/settings/",
    "/dataset/wide/",
    f"/dataset/{quote(HOSTILE)}/",
    "/dataset/nowhere/",
    "/columns/sales/",
    "/upload/",
    "/upload/?name=sales",
    "/delete/dataset/sales/",
    f"/delete/dataset/{quote(HOSTILE)}/",
    "/models/",
    "/model/flowers/",
    f"/model/{quote(HOSTILE)}/",
    "/delete/model/flowers/",
    "/jobs/",
    "/jobs/?q=nothing",
    "/job/reports/weekly/",
    "/job/never%20run/",
    f"/job/{quote(HOSTILE)}/",
    "/job/nowhere/",
    "/upload/job/?name=never run",
    "/delete/job/reports/weekly/",
    "/runtime/",
]
EMPTY = [
    "/",
    "/datasets/",
    "/models/",
    "/jobs/",
    "/upload/",
    "/runtime/",
]  # for a viewer, some of them forbidden


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize(
    ("who", "paths"),
    [(None, ANYBODY), ("ann", SIGNED_IN), ("viewer", EMPTY)],
    ids=["anybody", "ann", "viewer"],
)
def test_every_page_is_usable_for_everybody_on_every_screen(
    web: WebPlatform,
    browser: Browser,
    ann: Person,
    viewer: Person,
    who: str | None,
    paths: list[str],
    screen: str,
    scheme: str,
) -> None:
    person = {"ann": ann, "viewer": viewer, None: None}[who]
    wrong = []
    with visit(browser, web.url, person, screen, scheme) as seen:
        for path in paths:
            page = seen.go(path)
            assert "{%" not in page.content()  # a tag of a template that is none
            wrong += [f"{path}: {violation}" for violation in seen.violations()]
            wrong += [f"{path}: {seen.surplus()} pixels too wide"] if seen.surplus() > 0 else []
        # complaints include refusals of the content policy, dialogs and errors of scripts
        assert wrong + seen.complaints == []


def test_a_form_that_is_wrong_says_so_at_its_field(web: WebPlatform, browser: Browser) -> None:
    with visit(browser, web.url) as seen:
        page = seen.go("/account/signup/")
        page.get_by_label("Userid").fill("ann_lee")
        page.get_by_label("E-mail").fill("other@example.org")
        page.get_by_label("Password", exact=True).fill("short")
        page.get_by_label("Password confirmation").fill("other")
        page.get_by_role("button", name="Open the account").click()
        field = page.get_by_label("Password confirmation")
        assert field.get_attribute("aria-invalid") == "true"
        told = [page.locator(f"#{i}").inner_text() for i in field.get_attribute("aria-describedby").split()]
        assert any("match" in text for text in told)
        assert seen.violations() == []
