"""`python -m tests.browser.screenshots [FOLDER]`: the pictures of docs/web.md, of pages with data in them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser import stored
from tests.browser.visits import launch, visit
from tests.services.web_platform import ROOT, WebPlatform
from tests.services.web_runner import WebRunner

LIMIT = 150_000  # bytes of a picture
FILTER = "?col=visitors&op=gte&value=150&col=shop&op=eq&value=north"
# name, path, screen, scheme, what to scroll to
PICTURES = [
    ("signup", "/account/signup/", "desktop", "light", ""),
    ("home", "/", "desktop", "light", ""),
    ("home-phone", "/", "phone", "dark", ""),
    ("account", "/account/", "desktop", "light", ""),
    ("datasets", "/datasets/", "desktop", "light", ""),
    ("datasets-phone", "/datasets/", "phone", "dark", ""),
    ("dataset", f"/dataset/sales/{FILTER}", "desktop", "light", ""),
    ("dataset-columns", "/dataset/sales/", "desktop", "dark", "#columns"),
    ("dataset-use", f"/dataset/sales/{FILTER}", "desktop", "light", "#use"),
    ("dataset-phone", "/dataset/sales/", "phone", "light", "#columns"),
    ("upload", "/upload/?name=sales", "phone", "light", ""),
    ("delete", "/delete/dataset/sales/", "phone", "dark", ""),
    ("model", "/model/flowers/", "desktop", "light", ""),
    ("model-phone", "/model/flowers/", "phone", "dark", "#try"),
    ("runtime", "/runtime/", "desktop", "dark", ""),
]


def main(folder: Path) -> None:
    """Start a platform, fill it, and take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        web = WebPlatform(Path(name), f"sqlite:///{name}/web.sqlite3")
        runner = None
        try:
            web.start()
            runner = WebRunner(web, Path(name))
            ann = web.person("ann_lee")
            stored.fill(ann)
            with stored.platform(ann) as om:
                for hostile in (om.datasets, om.models):
                    hostile.drop(stored.HOSTILE)
            with sync_playwright() as playwright:
                browser = launch(playwright)
                for name, path, screen, scheme, place in PICTURES:
                    person = None if name == "signup" else ann
                    with visit(browser, web.url, person, screen, scheme) as seen:
                        page = seen.go(path)
                        if name.startswith("model"):
                            for field, value in zip(
                                page.locator("[data-feature]").all(),
                                ("5.1", "3.5", "1.4", "0.2"),
                                strict=True,
                            ):
                                field.fill(value)
                            page.get_by_role("button", name="Predict").click()
                            page.locator(".answer pre").wait_for()
                        if name == "upload":
                            page.locator("#taken .notice").wait_for()
                        if place:
                            page.evaluate("place => document.querySelector(place).scrollIntoView()", place)
                        file = folder / f"{name}.png"
                        page.screenshot(path=file)
                        assert file.stat().st_size <= LIMIT, f"{file.name}: {file.stat().st_size} bytes"
                browser.close()
        finally:
            if runner is not None:
                runner.stop()
            web.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/images/web")
