"""Every page in every state that the docs have a picture of, on every screen and by keyboard."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.screenshots import stage
from tests.browser.visits import SCHEMES, SCREENS

pytestmark = [pytest.mark.once, pytest.mark.timeout(1200)]


def test_every_page_in_every_state_is_usable_for_everybody(browser: Browser, tmp_path: Path) -> None:
    wrong = []
    with stage(tmp_path) as platform:
        for pictures in platform.scenes():
            # a picture of another place of a page shows nothing that the whole page did not have
            pages = {(one.path, one.who, one.act): one for one in reversed(pictures)}.values()
            for picture, screen in product(pages, SCREENS):
                with platform.opened(browser, picture, screen, SCHEMES[0]) as seen:
                    said = [f"{seen.surplus()} pixels too wide"] if seen.surplus() > 0 else []
                    for scheme in SCHEMES:
                        seen.page.emulate_media(color_scheme=scheme)
                        said += [f"{scheme}: {what}" for what in seen.violations()]
                    said += seen.complaints
                    said += seen.out_of_reach() if screen == "desktop" else []
                wrong += [f"{picture.name} {screen}: {what}" for what in said]
    assert not wrong, "\n".join(wrong)
