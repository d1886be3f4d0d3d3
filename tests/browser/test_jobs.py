"""Jobs and the runtime in a browser: upload, run, look, stop; by keyboard, and without scripts."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, expect

from tests.browser.visits import visit
from tests.services.web_platform import Person, WebPlatform
from tests.services.web_runner import WebRunner

pytestmark = pytest.mark.once

SOON = 40_000  # milliseconds


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "daily.ipynb"
    cells = [
        new_code_cell("factor = 1", metadata={"tags": ["parameters"]}),
        new_code_cell("print(6 * factor)"),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_a_notebook_is_uploaded_run_looked_at_replaced_and_deleted(
    web: WebPlatform, runner: WebRunner, browser: Browser, bob: Person, notebook: Path
) -> None:
    with visit(browser, web.url, bob) as seen:
        page = seen.go("/jobs/")
        page.get_by_role("link", name="Upload a notebook").first.click()
        page.get_by_label("Notebook").set_input_files(notebook)
        page.get_by_label("Name of the job").fill("daily")
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_role("heading", name="daily.ipynb")).to_be_visible()

        page.get_by_label("Parameters, as JSON").fill("{factor: 7}")
        page.get_by_role("button", name="Run now").click()
        expect(page.locator(".messages")).to_contain_text("no JSON object")
        page.get_by_label("Parameters, as JSON").fill('{"factor": 7}')
        page.get_by_role("button", name="Run now").press("Enter")
        expect(page.locator(".messages")).to_contain_text("is run")
        expect(page.locator("#runs-part")).to_contain_text("The last run is done", timeout=SOON)
        page.get_by_role("link", name="Report of").first.click()
        expect(page.frame_locator("iframe.report").get_by_text("42")).to_be_visible()
        expect(page.locator("table.log")).to_contain_text("42")

        page = seen.go("/upload/job/?name=daily")
        page.get_by_label("Notebook").set_input_files(notebook)
        page.get_by_label("Replace it by the file").check()
        page.get_by_role("button", name="Upload").click()
        page.get_by_role("link", name="Delete…").click()
        page.get_by_label("type its name").fill("daily.ipynb")
        page.get_by_role("button", name="Delete it").click()
        expect(page.locator(".messages")).to_contain_text("is deleted")
        assert seen.complaints == []


def test_a_job_gets_a_schedule_by_the_visitor_s_clock(
    web: WebPlatform, browser: Browser, bob: Person
) -> None:
    bob.call("POST", "job/daily/", json={"code": "1"})
    with visit(browser, web.url, bob, timezone_id="America/New_York") as seen:
        page = seen.go("/job/daily.ipynb/")
        assert page.get_by_label("By the clock of").input_value() == "America/New_York"
        page.get_by_label("Runs", exact=True).fill("now and then")
        page.get_by_role("button", name="Set it").click()
        expect(page.locator(".messages")).to_contain_text("Nothing was changed")
        page.get_by_label("Runs", exact=True).fill("Fridays, at 06:00")
        page.get_by_role("button", name="Set it").click()
        expect(page.locator(".times li")).to_have_count(5)
        assert "06:00 E" in page.locator(".times li").first.inner_text()
        assert bob.get("job/daily/schedule/").json()["zone"] == "America/New_York"
        assert seen.violations() == []
        page.get_by_role("button", name="End it").click()
        expect(page.locator("#schedule + p")).to_contain_text("when somebody asks")
        assert seen.complaints == []


def test_what_is_no_notebook_is_said_at_its_field(
    web: WebPlatform, browser: Browser, bob: Person, tmp_path: Path
) -> None:
    (tmp_path / "bad.ipynb").write_text('{"cells": 3, "nbformat": 4}')
    (tmp_path / "worse.ipynb").write_text("[" * 100_000)
    with visit(browser, web.url, bob) as seen:
        for name in ("bad", "worse"):
            page = seen.go("/upload/job/")
            page.get_by_label("Notebook").set_input_files(tmp_path / f"{name}.ipynb")
            page.get_by_label("Name of the job").fill("bad")
            page.get_by_role("button", name="Upload").click()
            expect(page.locator(".errorlist")).to_contain_text("notebook")
        assert seen.violations() == []


def test_the_runtime_renews_itself_without_taking_the_focus(
    web: WebPlatform, runner: WebRunner, browser: Browser, bob: Person
) -> None:
    with visit(browser, web.url, bob) as seen:
        page = seen.go("/runtime/")
        expect(page.locator("#state")).to_contain_text("Nothing of yours waits")
        bob.call("POST", "job/slow/", json={"code": "import time; time.sleep(3600)"})
        task = bob.call("POST", "job/slow/run/?async=1").json()["id"]
        button = page.get_by_role("button", name="Cancel run of job 'slow.ipynb'")
        expect(button).to_be_visible(timeout=SOON)
        button.focus()
        page.evaluate("document.activeElement.seen = true")
        with page.expect_response(lambda answer: answer.url.endswith("/runtime/"), timeout=SOON):
            pass
        page.wait_for_timeout(500)
        assert page.evaluate("document.activeElement.seen") is None  # it was renewed
        assert page.evaluate("document.activeElement.id") == f"cancel-{task}"
        bob.call("DELETE", f"task/{task}/")
        expect(button).to_have_count(0, timeout=SOON)
        expect(page.locator("#state")).to_be_focused()
        assert seen.complaints == []


def test_it_all_works_without_scripts(
    web: WebPlatform, runner: WebRunner, browser: Browser, bob: Person
) -> None:
    bob.call("POST", "job/slow/", json={"code": "import time; time.sleep(3600)"})
    with visit(browser, web.url, bob, java_script_enabled=False) as seen:
        page = seen.page
        page.goto(f"{web.url}/job/slow.ipynb/")
        page.get_by_role("button", name="Run now").click()
        page.get_by_role("link", name="Look again").click()
        page.get_by_role("button", name="Cancel the run of").click()
        expect(page.locator(".messages")).to_contain_text("is cancelled")
        page.get_by_role("button", name="Run now").click()
        page.goto(f"{web.url}/runtime/")
        page.get_by_role("button", name="Cancel run of job 'slow.ipynb'").click()
        expect(page.locator(".messages")).to_contain_text("is cancelled")


def test_a_task_of_somebody_else_is_not_to_be_cancelled(
    web: WebPlatform, runner: WebRunner, bob: Person, ann: Person
) -> None:
    bob.call("POST", "job/slow/", json={"code": "import time; time.sleep(3600)"})
    task = bob.call("POST", "job/slow/run/?async=1").json()["id"]
    page = ann.submit("/upload/", f"/runtime/cancel/{task}/")
    assert "there is no task" in page.text
    assert bob.get(f"task/{task}/").json()["status"] in ("queued", "running")
    bob.call("DELETE", f"task/{task}/")
