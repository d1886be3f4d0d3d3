"""From the first visit to a model that answers: what a new person does, by what the pages say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.visits import visit
from tests.services.web_platform import PASSWORD, WebPlatform
from tests.services.web_runner import WebRunner

SOON = 20_000  # milliseconds


def typed(home: Path, text: str, language: str = "bash") -> str:
    """Type a snippet into a shell, or into Python, on a machine that knows nothing of the platform."""
    argv = ["bash", "-euo", "pipefail"] if language == "bash" else [sys.executable, "-"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMEGA", "PYTHON"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**kept, "HOME": str(home), "PATH": path}
    done = subprocess.run(argv, input=text, env=environment, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_new_person_follows_the_first_steps_and_they_tick_themselves(
    web: WebPlatform, runner: WebRunner, browser: Browser, tmp_path: Path
) -> None:
    with visit(browser, web.url) as seen, visit(browser, web.url) as beside:
        page = seen.go("/")
        page.get_by_role("link", name="Open an account").click()
        page.get_by_label("Userid").fill("newcomer")
        page.get_by_label("E-mail").fill("newcomer@example.org")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Password confirmation").fill(PASSWORD)
        page.get_by_role("button", name="Open the account").click()

        home = beside.page
        beside.sign_in("newcomer")
        expect(home.get_by_role("status")).to_contain_text("0 of 6")

        page.get_by_label("What is it for?").fill("laptop")
        page.get_by_role("button", name="Make a key").click()
        key = page.locator("#apikey").inner_text()
        page.get_by_role("button", name="Copy the key").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == key
        expect(home.locator("#tick-key")).to_have_attribute("data-done", "true", timeout=SOON)

        init = page.locator("#init").inner_text()
        assert "--userid newcomer" in init and web.url in init
        typed(tmp_path, init)
        expect(home.locator("#tick-connected")).to_have_attribute("data-done", "true", timeout=SOON)

        typed(tmp_path, home.locator("#s-put").inner_text())
        expect(home.locator("#tick-dataset")).to_have_attribute("data-done", "true", timeout=SOON)

        typed(tmp_path, home.locator("#s-train").inner_text(), "python")
        expect(home.locator("#tick-model")).to_have_attribute("data-done", "true", timeout=SOON)
        expect(home.get_by_role("status")).to_contain_text("5 of 6")
        assert home.locator("#s-init").inner_text() == f"omegacli init --userid newcomer --url {web.url}"

        answer = typed(tmp_path, home.locator("#s-ask").inner_text().replace("YOUR_KEY", key))
        (points,) = json.loads(answer)["result"]
        assert 75 < points < 85  # it went up from 52 by 5.7 an hour
        expect(home.locator("#tick-asked")).to_have_attribute("data-done", "true", timeout=SOON)
        expect(home.get_by_role("status")).to_contain_text("All done")
        assert seen.complaints == beside.complaints == []


def test_ticks_do_not_take_the_focus_from_who_goes_by_keyboard(
    web: WebPlatform, browser: Browser, tmp_path: Path
) -> None:
    person = web.person()
    with visit(browser, web.url, person) as seen:
        page = seen.go("/")
        page.locator("#s-put + button").focus()
        person.get("config/")
        expect(page.locator("#tick-connected")).to_have_attribute("data-done", "true", timeout=SOON)
        assert page.evaluate("document.activeElement.dataset.copy") == "#s-put"
