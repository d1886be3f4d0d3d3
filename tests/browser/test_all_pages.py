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
            for picture, screen, scheme in product(pictures, SCREENS, SCHEMES):
                with platform.opened(browser, picture, screen, scheme) as seen:
                    said = [*seen.violations(), *seen.complaints]
                    said += [f"{seen.surplus()} pixels too wide"] if seen.surplus() > 0 else []
                    if (screen, scheme) == ("desktop", "light"):
                        said += seen.out_of_reach()
                wrong += [f"{picture.name} {screen} {scheme}: {what}" for what in said]
    assert not wrong, "\n".join(wrong)
