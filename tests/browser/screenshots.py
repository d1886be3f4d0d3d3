"""`python -m tests.browser.screenshots [FOLDER [SCHEME]]`: the pictures of docs/web.md, of every page.

Each page on a desktop (light) and on a phone (dark), or both in the scheme that is named.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import yaml
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import stored
from tests.browser.visits import SCREENS, Visit, launch, visit
from tests.services.web_platform import ROOT, Person, WebPlatform, running
from tests.services.web_runner import WebRunner

LIMIT = 2_500_000  # bytes of all of them
COLOURS = 48  # of one: enough for text and lines, and a third of the bytes
FILTER = "?col=visitors&op=gte&value=150&col=shop&op=eq&value=north"
FLOWER = ("5.1", "3.5", "1.4", "0.2")


@dataclass(frozen=True)
class Picture:
    """One page.

    Attributes:
        who: a userid, "" for who is not signed in.
        place: what to scroll to.
        act: what to do in the page first.
    """

    name: str
    path: str
    who: str = "ann_lee"
    place: str = ""
    act: Callable[[Page], None] = lambda page: None


def _wrong_passwords(page: Page) -> None:
    while page.get_by_label("Userid").count():
        page.get_by_label("Userid").fill("somebody")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_load_state()


def _wrong_sign_in(page: Page) -> None:
    page.get_by_label("Userid").fill("ann_lee")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    page.locator("[role=alert]").wait_for()


def _wrong_sign_up(page: Page) -> None:
    for label, text in (("Userid", "ann_lee"), ("E-mail", "ann@example.org")):
        page.get_by_label(label).fill(text)
    page.get_by_label("Password", exact=True).fill("short")
    page.get_by_label("Password confirmation").fill("other")
    page.get_by_role("button", name="Open the account").click()
    page.locator(".errorlist").first.wait_for()


def _key(page: Page) -> None:
    page.get_by_label("What is it for?").fill("notebook")
    page.get_by_role("button", name="Make a key").click()
    page.locator("#apikey").scroll_into_view_if_needed()


def _asked(*values: str) -> Callable[[Page], None]:
    def ask(page: Page) -> None:
        for field, value in zip(page.locator("[data-feature]").all(), values, strict=True):
            field.fill(value)
        page.get_by_role("button", name="Predict").click()
        page.locator(".answer pre, .answer .bad").wait_for()

    return ask


def _taken(page: Page) -> None:
    page.locator("#taken .notice").wait_for()


def _framed(page: Page) -> None:
    page.locator("iframe.report").scroll_into_view_if_needed()
    page.frame_locator("iframe.report").get_by_role("heading").first.wait_for()


def _route(page: Page) -> None:
    page.locator("#dataset_read > summary").click()


OPEN = [
    Picture("landing", "/", ""),
    Picture("signup", "/account/signup/", ""),
    Picture("signup-wrong", "/account/signup/", "", act=_wrong_sign_up),
    Picture("signin", "/account/login/", ""),
    Picture("signin-wrong", "/account/login/", "", act=_wrong_sign_in),
    Picture("locked", "/account/login/", "", act=_wrong_passwords),
    Picture("reset", "/account/password/reset/", ""),
    Picture("reset-sent", "/account/password/reset/sent/", ""),
    Picture("reset-over", "/account/password/reset/x/y/", ""),
    Picture("password", "/account/password/"),
    Picture("account", "/account/"),
    Picture("account-key", "/account/", "bob_ray", act=_key),
    Picture("home-first", "/", "eve_new"),
    Picture("home", "/"),
    Picture("datasets-empty", "/datasets/", "eve_new"),
    Picture("datasets", "/datasets/"),
    Picture("dataset", f"/dataset/sales/{FILTER}"),
    Picture("dataset-columns", "/dataset/sales/", place="#columns"),
    Picture("dataset-plot", "/dataset/sales/", place="#plot"),
    Picture("dataset-use", f"/dataset/sales/{FILTER}", place="#use"),
    Picture("dataset-versions", "/dataset/sales/", place="#versions"),
    Picture("dataset-shared", "/dataset/sales/", place="#shared"),
    Picture("datasets-held", "/datasets/", "bob_ray"),
    Picture("upload", "/upload/?name=sales", act=_taken),
    Picture("delete", "/delete/dataset/sales/"),
    Picture("models-empty", "/models/", "eve_new"),
    Picture("models", "/models/"),
    Picture("model", "/model/flowers/", act=_asked(*FLOWER)),
    Picture("model-wrong", "/model/flowers/", act=_asked("5.1", "tall", "1.4", "0.2")),
    Picture("model-about", "/model/flowers/", place="#use"),
    Picture("jobs-empty", "/jobs/", "eve_new"),
    Picture("jobs", "/jobs/"),
    Picture("job", "/job/reports/weekly/"),
    Picture("job-runs", "/job/reports/weekly/", place="#runs"),
    Picture("job-report", "/job/reports/weekly/", place="#report", act=_framed),
    Picture("job-schedule", "/job/reports/weekly/", place="#schedule"),
    Picture("job-use", "/job/reports/weekly/", place="#use"),
    Picture("job-upload", "/upload/job/?name=reports/weekly", act=_taken),
    Picture("runtime", "/runtime/"),
    Picture("absent", "/dataset/nowhere/"),
    Picture("forbidden", "/settings/external/"),
    Picture("api", "/api/docs/"),
    Picture("api-route", "/api/docs/", place="#dataset_read", act=_route),
    Picture("admin", "/admin/", "boss"),
    Picture("admin-accounts", "/admin/accounts/user/", "boss"),
    Picture("admin-settings", "/admin/constance/config/", "boss"),
    Picture("admin-audit", "/admin/audit/entry/", "boss"),
    Picture("external", "/settings/external/", "boss"),
]
NO_RUNNER = [Picture("runtime-none", "/runtime/")]
INVITED = [Picture("signup-invite", "/account/signup/", "")]
CLOSED = [Picture("signup-closed", "/account/signup/", "")]
NO_MAIL = [Picture("reset-admin", "/account/password/reset/", "")]


@dataclass
class Stage:
    """A platform with everything in it, which goes through all the states that pages have."""

    web: WebPlatform
    people: dict[str, Person]

    def scenes(self) -> Iterator[list[Picture]]:
        """Yield the pictures of each state while it lasts."""
        yield NO_RUNNER
        runner = WebRunner(self.web, self.web.folder)
        try:
            self._ask()
            yield [*OPEN, Picture("reset-new", self._reset_link("bob_ray"), "")]
        finally:
            runner.stop()
        for policy, pictures in (("invite", INVITED), ("closed", CLOSED)):
            self.web.manage("constance", "set", "SIGNUP", policy)
            yield pictures
        self._without_mail()
        yield NO_MAIL

    @contextmanager
    def opened(self, browser: Browser, picture: Picture, screen: str, scheme: str) -> Iterator[Visit]:
        """A window with the page of a picture in it."""
        with visit(browser, self.web.url, self.people.get(picture.who), screen, scheme) as seen:
            page = seen.go(picture.path)
            picture.act(page)
            if picture.place:
                page.evaluate(f"document.querySelector('{picture.place}').scrollIntoView()")
            yield seen

    def _ask(self) -> None:
        """Have a task that is done, one that failed and one under way."""
        for values in (FLOWER, ("a", "b", "c", "d")):
            body = {"data": [[float(v) if v[0].isdigit() else v for v in values]]}
            answer = self.people["ann_lee"].call("POST", "model/flowers/predict/?async=1", json=body)
            self.people["ann_lee"].get(f"task/{answer.json()['id']}/?wait=30")
        self.people["ann_lee"].call("POST", "model/flowers/predict/", json={"data": [[5.1, 3.5, 1.4, 0.2]]})
        self.people["ann_lee"].call("POST", "job/training/", json={"code": "import time; time.sleep(3600)"})
        self.people["ann_lee"].call("POST", "job/training/run/?async=1")

    def _reset_link(self, userid: str) -> str:
        """The path that a mail about a lost password leads to."""
        code = (
            "from django.contrib.auth.tokens import default_token_generator as made; "
            "from django.utils.http import urlsafe_base64_encode as quoted; "
            f"from omegaweb.accounts.models import User; user = User.objects.get(username={userid!r}); "
            "print(quoted(str(user.pk).encode()), made.make_token(user))"
        )
        uid, token = self.web.manage("shell", "-v", "0", "-c", code).stdout.split()[-2:]
        return f"/account/password/reset/{uid}/{token}/"

    def _without_mail(self) -> None:
        """Serve the same with no mail server."""
        values = yaml.safe_load(self.web.config.read_text("utf-8"))
        kept = {key: value for key, value in values.items() if not key.startswith("mail_")}
        self.web.config.write_text(yaml.safe_dump(kept, width=4096), "utf-8")
        self.web.gunicorn.terminate()
        self.web.gunicorn.wait(60)
        self.web.start_web()


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Start a platform with Ann who has some of everything, Bob, Eve who begins, and an administrator."""
    with running(folder, mail_host="mail.example.com", mail_from="platform@example.com") as web:
        people = {userid: web.person(userid) for userid in ("ann_lee", "bob_ray", "eve_new")}
        people["boss"] = web.person("boss", role="admin")
        stored.fill(people["ann_lee"])
        with stored.platform(people["ann_lee"]) as om:
            for hostile in (om.datasets, om.models, om.jobs):
                hostile.drop(stored.HOSTILE)
        people["ann_lee"].call("POST", "user/ann_lee/key/", json={"name": "nightly build"})
        for noun, name in (("dataset", "sales"), ("model", "flowers")):
            given = {"userid": "bob_ray", "right": "read"}
            assert people["ann_lee"].call("PUT", f"{noun}/{name}/grant/", json=given).ok
        people["eve_new"].revoke_keys()
        yield Stage(web, people)


def main(folder: Path, scheme: str = "") -> None:
    """Take all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory() as name, stage(Path(name)) as set_up, sync_playwright() as playwright:
        browser = launch(playwright)
        for pictures in set_up.scenes():
            for picture, screen in product(pictures, SCREENS):
                lit = scheme or ("light" if screen == "desktop" else "dark")
                file = f"{picture.name}{'' if screen == 'desktop' else '-phone'}.png"
                with set_up.opened(browser, picture, screen, lit) as seen:
                    _save(seen.page.screenshot(), folder / file)
        browser.close()
    size = sum(file.stat().st_size for file in folder.glob("*.png"))
    assert size <= LIMIT, f"the pictures are {size:,} bytes"


def _save(png: bytes, file: Path) -> None:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/images/web", *sys.argv[2:3])
