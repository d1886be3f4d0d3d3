"""People in front of a browser: signed in, on a screen, and what the browser complained about meanwhile."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Playwright, expect

from tests.services.web_platform import PASSWORD, Person

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SCREENS = {"desktop": (1280, 800), "phone": (320, 640)}
SCHEMES = ("light", "dark")
AXE = Path(__file__).parent / "vendor/axe/axe.min.js"
_VIOLATIONS = """axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.map(
    v => `${v.id}: ${v.help}: ${v.nodes.map(n => n.html.slice(0, 200)).join("  ")}`))"""

_TABBED = """() => {
    const clickable = "a[href], button, input, select, textarea, summary, [tabindex='0']";
    const usable = e => !e.disabled && e.type !== "hidden" && e.tabIndex >= 0
        && e.checkVisibility({visibilityProperty: true});
    const all = new Set([...document.querySelectorAll(clickable)].filter(usable));
    const reached = new Map();  // what had the focus, and whether that was seen
    document.addEventListener("focusin", ({target: e}) => reached.set(e, getComputedStyle(e).outlineStyle));
    if (document.activeElement !== document.body) document.activeElement.blur();
    // what has been renewed meanwhile is not there any more
    const unseen = e => e.isConnected && (reached.get(e) || "none") === "none";
    window.tabbed = {all: [...all], left: () => [...all].filter(unseen).map(
        e => `not reached by keyboard: ${e.outerHTML.slice(0, 150)}`)};
}"""


@dataclass
class Visit:
    """One window. `complaints` has what went wrong in it: script errors, refused content, dialogs."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        """Open a page and wait for what it loads later."""
        self.page.goto(self.url + path)
        self.settle()
        return self.page

    def settle(self) -> None:
        expect(self.page.locator(".loading:visible")).to_have_count(0)
        if self.page.locator("#plot-note").count():
            expect(self.page.locator("#plot-note")).not_to_have_text(re.compile("^(Drawing…)?$"))

    def violations(self) -> list[str]:
        """What axe finds against the rules of accessibility."""
        self.page.evaluate(AXE.read_text())
        return list(self.page.evaluate(_VIOLATIONS))

    def surplus(self) -> int:
        """By how many pixels the page is wider than the window."""
        root = "document.documentElement"
        return int(self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))

    def out_of_reach(self) -> list[str]:
        """What can be clicked and not be reached by the key Tab, or not be seen to have the focus then."""
        self.page.evaluate(_TABBED)
        left = list(self.page.evaluate("window.tabbed.left()"))
        for _ in range(2 * len(left) // 20 + 1):  # a date has several stops
            if not left:
                break
            for _ in range(20):
                self.page.keyboard.press("Tab")
            left = list(self.page.evaluate("window.tabbed.left()"))
        return left

    def sign_in(self, userid: str) -> None:
        self.go("/account/login/")
        self.page.get_by_label("Userid").fill(userid)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("link", name=userid).wait_for()


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@contextmanager
def visit(
    browser: Browser,
    url: str,
    person: Person | None = None,
    screen: str = "desktop",
    scheme: str = "light",
    **how: Any,
) -> Iterator[Visit]:
    """A window of one's own, signed in as `person`."""
    width, height = SCREENS[screen]
    size: Mapping[str, Any] = {"width": width, "height": height}
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce", **how)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    if person is not None:
        context.add_cookies([{"name": c.name, "value": c.value, "url": url} for c in person.browser.cookies])
    page = context.new_page()
    found = Visit(page, url)
    page.on("pageerror", lambda error: found.complaints.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (found.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("console", lambda said: found.complaints.append(said.text) if _is_bad(said) else None)
    try:
        yield found
    finally:
        context.close()


def _is_bad(said: Any) -> bool:
    """Whether the browser has found something that should not be there."""
    if said.type not in ("error", "warning"):
        return False
    # what a report would run and load, and its frame does not let it
    is_of_report = "/report/" in said.text + said.location.get("url", "")
    # answers that are errors, which pages have on purpose; and that axe cannot look into the frame
    meant = ("Failed to load resource", "Failed to execute 'postMessage' on 'DOMWindow': The target origin")
    return not is_of_report and not said.text.startswith(meant)
