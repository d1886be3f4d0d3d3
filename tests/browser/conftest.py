"""omegaweb as deployed, a real browser, and people with and without data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser import stored, visits
from tests.services.web_platform import Person, WebPlatform
from tests.services.web_runner import WebRunner


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    if not Path(visits.CHROMIUM).exists():
        missing = f"there is no browser {visits.CHROMIUM}: apt-get install chromium, or set CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        found = visits.launch(playwright)
        yield found
        found.close()


@pytest.fixture(scope="session")
def runner(web: WebPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebRunner]:
    """A runner that serves everybody."""
    running = WebRunner(web, tmp_path_factory.mktemp("runner"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def ann(web: WebPlatform) -> Person:
    """An editor who has stored some of everything."""
    person = web.person("ann_lee")
    stored.fill(person)
    return person


@pytest.fixture
def bob(web: WebPlatform) -> Person:
    """An editor who has nothing yet."""
    return web.person()


@pytest.fixture(scope="session")
def viewer(web: WebPlatform) -> Person:
    """Somebody who may look, and has nothing."""
    return web.person("viv_view", role="viewer")
