"""Sharing by the pages, with a keyboard, on every screen."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import stored
from tests.browser.visits import SCHEMES, SCREENS, visit
from tests.services.web_platform import Person, WebPlatform

OWNERS = ["/dataset/sales/", "/model/flowers/", "/datasets/", "/models/"]


def test_a_dataset_is_shared_and_taken_back_with_the_keyboard(
    web: WebPlatform, browser: Browser, ann: Person, bob: Person
) -> None:
    with visit(browser, web.url, ann) as owner, visit(browser, web.url, bob) as other:
        page = owner.go("/dataset/sales/")
        page.get_by_label("Userid").focus()
        page.keyboard.type(bob.userid)
        page.keyboard.press("Tab")
        page.keyboard.type("write")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").first).to_contain_text(f"{bob.userid} may write")
        expect(page.get_by_role("row", name=bob.userid)).to_contain_text("write")
        mine = other.go("/datasets/")
        expect(mine.get_by_role("region", name="Shared with you")).to_contain_text(f"@{ann.userid}/sales")
        page.get_by_role("button", name=f"Take back what {bob.userid} may").press("Enter")
        expect(page.get_by_role("status").first).to_contain_text("any more")
        expect(page.get_by_text("Nobody but you.")).to_be_visible()
        expect(other.go("/datasets/").get_by_text("Shared with you")).to_have_count(0)
        assert owner.complaints + other.complaints == []


def test_a_userid_that_is_none_is_said(web: WebPlatform, browser: Browser, ann: Person) -> None:
    with visit(browser, web.url, ann) as seen:
        page = seen.go("/model/flowers/")
        page.get_by_label("Userid").fill("nobody_of_that_name")
        page.get_by_role("button", name="Share", exact=True).click()
        expect(page.get_by_role("status").first).to_contain_text("Nothing is shared")
        assert seen.violations() == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", SCREENS)
def test_what_is_shared_is_shown_to_everybody_on_every_screen(
    web: WebPlatform, browser: Browser, ann: Person, bob: Person, screen: str, scheme: str
) -> None:
    stored.fill(bob)
    for giver, taker in ((ann, bob), (bob, ann)):
        for what in ("dataset/sales", "model/flowers", "bucket/omegaml"):
            answer = giver.call("PUT", f"{what}/grant/", json={"userid": taker.userid})
            assert answer.status_code in (200, 201), answer.text
    wrong = []
    with visit(browser, web.url, bob, screen, scheme) as seen:
        for path in OWNERS:
            seen.go(path)
            assert seen.page.locator("#shared, #held").count() == 1
            wrong += [f"{path}: {violation}" for violation in seen.violations()]
            wrong += [f"{path}: {seen.surplus()} pixels too wide"] if seen.surplus() > 0 else []
            wrong += [f"{path}: {element}" for element in seen.out_of_reach()]
        assert wrong + seen.complaints == []
    bob.call("DELETE", f"bucket/omegaml/grant/?userid={ann.userid}")
    for what in ("dataset/sales", "model/flowers"):
        ann.call("DELETE", f"{what}/grant/?userid={bob.userid}")
