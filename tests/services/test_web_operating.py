"""What the person who runs the platform sets and reads: mail, limits, figures for inside, what is removed."""

from __future__ import annotations

import ast
import itertools
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from email.message import Message
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from omegaml.errors import ConfigInvalid
from omegaweb import configuration
from tests.conftest import free_port
from tests.services.machine import eventually
from tests.services.web_platform import PASSWORD, WebPlatform, running

pytestmark = pytest.mark.once
USER, SECRET = "platform", "a word for mail"
NEW = "another horse 8 accumulator"


class MailServer:
    """A mail server that keeps what it is given; it takes mail from USER only."""

    def __init__(self) -> None:
        self.letters: list[Message] = []
        self.port = free_port()
        self.start()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.letters.append(message_from_bytes(envelope.content, policy=default))
        return "250 taken"

    def start(self) -> None:
        self._controller = Controller(
            self,
            "127.0.0.1",
            self.port,
            authenticator=self._knows,
            auth_required=True,
            auth_require_tls=False,
        )
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    def _knows(self, server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        wanted = LoginPassword(USER.encode(), SECRET.encode())
        return AuthResult(success=given == wanted)

    def to(self, address: str) -> list[Message]:
        return [letter for letter in self.letters if letter["To"] == address]


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    running = MailServer()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def operated(server: MailServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebPlatform]:
    """A platform that sends mail, behind one proxy, with a port for figures and a small audit log."""
    folder: Path = tmp_path_factory.mktemp("operated")
    word = folder / "mail_password"
    word.write_text(f"{SECRET}\n")
    word.chmod(0o600)
    options = {
        "mail_host": "127.0.0.1",
        "mail_port": server.port,
        "mail_user": USER,
        "mail_password_file": str(word),
        "mail_tls": "none",
        "mail_from": "omega|ml <platform@example.com>",
        "metrics_port": free_port(),
        "audit_refusals": 20,
        "audit_days": 30,
        "proxies": 1,
    }
    with running(folder, **options) as platform:
        yield platform


def lose(web: WebPlatform, email: str, browser: requests.Session | None = None, **headers: str) -> Any:
    """Ask for a new password."""
    browser = browser or requests.Session()
    browser.headers.update(headers)
    return web.submit(browser, "/account/password/reset/", email=email)


def test_the_link_in_the_mail_sets_a_new_password_once(operated: WebPlatform, server: MailServer) -> None:
    ann = operated.person()
    email = f"{ann.userid}@example.org"
    # the address that was asked is the sender's choice, and none of the link's
    answer = lose(operated, email.upper(), **{"X-Forwarded-Host": "evil.example"})
    assert answer.status_code == 200 and answer.url.endswith("/account/password/reset/sent/")
    eventually(lambda: bool(server.to(email)))
    (letter,) = server.to(email)
    assert letter["From"] == "omega|ml <platform@example.com>" and ann.userid in letter.get_content()
    (link,) = re.findall(r"https?://\S+", letter.get_content())
    assert link.startswith(f"{operated.url}/account/password/reset/")

    browser = requests.Session()
    opened = browser.get(link)  # leads to an address without the word
    path = opened.url.removeprefix(operated.url)
    answer = operated.submit(browser, path, new_password1=NEW, new_password2=NEW)
    assert answer.url == f"{operated.url}/account/login/" and "new password is set" in answer.text
    signed = operated.submit(requests.Session(), "/account/login/", username=ann.userid, password=NEW)
    assert signed.url == f"{operated.url}/"
    old = operated.submit(requests.Session(), "/account/login/", username=ann.userid, password=PASSWORD)
    assert "Sign in" in old.text and old.url.endswith("/account/login/")
    assert "was used, or is too old" in requests.get(link).text
    assert SECRET not in operated.log.read_text()


def test_nobody_learns_whether_an_address_has_an_account(operated: WebPlatform, server: MailServer) -> None:
    ann = operated.person()
    answers = [lose(operated, email) for email in (f"{ann.userid}@example.org", "nobody@example.org")]
    shown = {re.sub(r"\s+", " ", answer.text) for answer in answers}
    assert len(shown) == 1 and {answer.status_code for answer in answers} == {200}
    eventually(lambda: bool(server.to(f"{ann.userid}@example.org")))
    assert not server.to("nobody@example.org")


def test_one_address_gets_one_letter_a_minute(operated: WebPlatform, server: MailServer) -> None:
    ann, bob = operated.person(), operated.person()
    for _ in range(3):
        lose(operated, f"{ann.userid}@example.org")
    lose(operated, f"{bob.userid}@example.org")
    eventually(lambda: bool(server.to(f"{bob.userid}@example.org")))
    assert len(server.to(f"{ann.userid}@example.org")) <= 2  # a minute may have ended meanwhile


def test_a_mail_server_that_hangs_is_said_to_everybody_alike_and_holds_up_nobody(
    operated: WebPlatform, server: MailServer
) -> None:
    ann = operated.person()
    asked = [f"{ann.userid}@example.org", *(f"nobody{n}@example.org" for n in range(15))]

    numbers = itertools.count()

    def lose_one(email: str) -> Any:
        return lose(operated, email, **{"X-Forwarded-For": f"10.2.0.{next(numbers) % 250}"})

    server.stop()
    try:
        with socket.create_server(("127.0.0.1", server.port)):  # takes connections and says nothing
            eventually(lambda: lose_one(asked[0]).status_code == 503, 60)
            began = time.monotonic()
            with ThreadPoolExecutor(16) as pool:
                answers = list(pool.map(lose_one, asked))
            assert time.monotonic() - began < 4
        for answer in answers:
            assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
            assert "mail server does not answer" in answer.text and "Traceback" not in answer.text

        def said() -> list[str]:
            return [line for line in operated.log.read_text().splitlines() if "takes no mail" in line]

        eventually(lambda: bool(said()), 10)
        assert not any("traceback" in line for line in said())
    finally:
        server.start()
    eventually(lambda: lose_one("nobody@example.org").status_code == 200, 60)


def test_where_no_mail_is_sent_the_page_says_who_helps(web: WebPlatform) -> None:
    page = requests.get(f"{web.url}/account/password/reset/")
    assert page.status_code == 200 and "<form" not in page.text
    assert "administrator" in page.text and "omegacli users passwd" in page.text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mail_host": "mail.example.com"}, "no mail_from"),
        ({"mail_tls": "always"}, "mail_tls is 'always'"),
        ({"mail_password_file": "/nowhere/word"}, "the file of mail_password cannot be read"),
    ],
)
def test_mail_that_could_not_be_sent_is_refused_at_the_start(
    tmp_path: Path, given: dict[str, str], says: str
) -> None:
    needed = {name: "x" for name in ("secret_key", "database", "mongo_url", "mongo_server")}
    file = tmp_path / "web.yml"
    file.write_text(yaml.safe_dump({**needed, "encryption_keys": ["x"], **given}))
    with pytest.raises(ConfigInvalid, match=says):
        configuration.load(str(file))


FORMS = ["login/", "signup/", "password/reset/", "password/reset/x/y/"]


@pytest.mark.parametrize("path", FORMS)
def test_tries_from_one_address_are_held_off_and_not_those_of_others_behind_the_proxy(
    operated: WebPlatform, path: str
) -> None:
    def tries(address: str, times: int) -> list[requests.Response]:
        browser = requests.Session()
        browser.headers.update({"X-Forwarded-For": address, "Referer": operated.url})
        page = browser.get(f"{operated.url}/account/login/").text
        (token,) = re.findall(r'csrfmiddlewaretoken" value="([^"]+)"', page)
        form = {"csrfmiddlewaretoken": token, "username": "nobody", "email": "x"}  # a password takes time
        return [browser.post(f"{operated.url}/account/{path}", data=form) for _ in range(times)]

    answers = tries("10.1.0.1", 130)  # which has filled the other pages already
    held = next(answer for answer in answers if answer.status_code == 429)
    assert "too many tries from your address" in held.text and 0 < int(held.headers["Retry-After"]) <= 60
    assert 429 not in {answer.status_code for answer in answers[:50]}
    assert tries("10.1.0.2", 1)[0].status_code != 429


def test_who_signs_in_rightly_is_not_held_off_with_all_behind_the_same_address(operated: WebPlatform) -> None:
    ann, browser = operated.person(), requests.Session()
    browser.headers["X-Forwarded-For"] = "10.1.30.1"
    words = {"username": ann.userid, "password": PASSWORD}
    for _ in range(57):
        operated.submit(browser, "/account/login/", username="", password="")
    for _ in range(6):
        browser.cookies.clear()
        assert operated.submit(browser, "/account/login/", **words).url == f"{operated.url}/"


def test_a_network_of_ipv6_is_one_address(operated: WebPlatform) -> None:
    def codes(prefix: str, times: int = 260) -> set[int]:
        caller, url = requests.Session(), f"{operated.url}/api/v1/config/"
        where = [f"{prefix}{n:x}" for n in range(1, times)]
        caller.headers["Authorization"] = "nobody:om_wrong"
        return {caller.get(url, headers={"X-Forwarded-For": at}).status_code for at in where}

    assert codes("2001:db8:1:2::") == {401, 429}
    assert codes("2001:db8:1:3::", 3) == {401}


def test_invitations_cannot_be_guessed_endlessly(operated: WebPlatform) -> None:
    guesser = requests.Session()
    guesser.headers["X-Forwarded-For"] = "10.1.20.1"
    url = f"{operated.url}/account/signup/"
    codes = {guesser.get(url, params={"invitation": f"guess{n}"}).status_code for n in range(130)}
    assert 429 in codes


def test_figures_are_open_at_the_port_for_inside_and_nothing_else_is(operated: WebPlatform) -> None:
    inside = f"http://127.0.0.1:{operated.options['metrics_port']}"
    found = requests.get(f"{inside}/metrics", headers={"Host": "web:9100"})
    assert found.status_code == 200 and "omegaweb_requests_total" in found.text
    for path in ("/", "/healthz", "/admin/", "/api/v1/ping", "/account/login/", "/metrics/"):
        assert requests.get(inside + path).status_code == 404
    assert requests.post(f"{inside}/metrics").status_code == 404
    # no header makes the public port that one
    lies = {"Host": inside.removeprefix("http://"), "X-Forwarded-Port": inside.rpartition(":")[2]}
    for headers in ({}, lies, {"Host": f"localhost:{operated.options['metrics_port']}"}):
        assert requests.get(f"{operated.url}/metrics", headers=headers).status_code in (400, 401)


def test_a_port_for_figures_keeps_no_other_server_from_answering(operated: WebPlatform) -> None:
    code = "from django.test import Client; print(*[Client().get(path, headers={'host': 'localhost'})"
    code += ".status_code for path in ('/healthz', '/metrics')])"
    assert operated.manage("shell", "-v", "0", "-c", code).stdout.split() == ["200", "401"]


AGED = """
from datetime import timedelta
from axes.models import AccessAttempt, AccessLog
from django.contrib.sessions.models import Session
from omegaweb.audit.models import Entry
now = timezone.now()
def aged(model, field, days, **values):
    made = model.objects.create(**values)
    model.objects.filter(pk=made.pk).update(**{field: now - timedelta(days=days)})
for days in (29, 31):
    Entry.objects.create(action="test.aged", time=now - timedelta(days=days), userid=str(days))
for n in range(50):
    Entry.objects.create(action="test.refused", outcome="refused", userid=f"r{n}")
for days in (-1, 1):
    Session.objects.create(session_key=f"aged{days}", session_data="", expire_date=now - timedelta(days=days))
    aged(AccessAttempt, "attempt_time", max(0, days), username=f"aged{days}", failures_since_start=1,
         user_agent="", http_accept="", path_info="", get_data="", post_data="")
for days in (1, 8):
    aged(Invitation, "used", days, digest=f"u{days}", expires=now + timedelta(days=1))
    Invitation.objects.create(digest=f"e{days}", expires=now - timedelta(days=days))
"""
LEFT = """
from axes.models import AccessAttempt
from django.contrib.sessions.models import Session
from omegaweb.audit.models import Entry
print(*Entry.objects.filter(action="test.aged").values_list("userid", flat=True))
refused = Entry.objects.filter(outcome="refused").order_by("pk").values_list("userid", flat=True)
print(len(refused), refused[len(refused) - 1])
print(*Session.objects.filter(session_key__startswith="aged").values_list("session_key", flat=True))
print(*AccessAttempt.objects.filter(username__startswith="aged").values_list("username", flat=True))
print(*Invitation.objects.order_by("digest").values_list("digest", flat=True))
"""


def test_what_is_over_is_trimmed_and_what_is_not_stays(operated: WebPlatform) -> None:
    operated.python(AGED)
    said = operated.manage("trim").stdout.splitlines()
    assert [line.partition(":")[0] for line in said] == [
        "audit entries",
        "sessions",
        "tries to sign in",
        "sign-ins",
        "invitations",
    ]
    shown = operated.manage("shell", "-v", "0", "-c", f"from omegaweb.accounts.models import *{LEFT}").stdout
    assert shown.splitlines() == ["29", "20 r49", "aged-1", "aged-1", "e1 u1"]
    assert all(line.endswith(": 0") for line in operated.manage("trim").stdout.splitlines())


def test_the_platform_trims_by_itself(operated: WebPlatform) -> None:
    operated.python(AGED.replace("aged", "again").replace('digest=f"', 'digest=f"z'))
    operated.gunicorn.send_signal(signal.SIGHUP)  # other processes serve from here on
    count = "from omegaweb.audit.models import Entry; "
    count += "print(Entry.objects.filter(action='test.again', userid='31').count())"
    deadline = time.monotonic() + 60
    while operated.manage("shell", "-v", "0", "-c", count).stdout.strip() != "0":
        assert time.monotonic() < deadline
    assert any('"trimmed: ' in line for line in operated.log.read_text().splitlines())


def test_a_million_wrong_keys_from_everywhere_do_not_fill_the_audit_log(operated: WebPlatform) -> None:
    count = "from omegaweb.audit.models import Entry; print(Entry.objects.filter(userid='flood').count())"
    for n in range(1500):  # each from another address, as far as the proxy tells
        wrong = {"Authorization": "flood:om_wrong", "X-Forwarded-For": f"10.9.{n // 250}.{n % 250}"}
        assert requests.get(f"{operated.url}/api/v1/config/", headers=wrong).status_code == 401
    ann = operated.person()
    assert ann.get("user/").status_code == 403
    written = int(operated.manage("shell", "-v", "0", "-c", count).stdout)
    assert 1 <= written <= 1200  # of two minutes, where one ends meanwhile
    own = f"from omegaweb.audit.models import Entry; print(Entry.objects.filter(userid={ann.userid!r}, "
    own += "action='refused').count())"
    assert operated.manage("shell", "-v", "0", "-c", own).stdout.strip() == "1"  # hidden by no flood
    told = "from omegaweb.audit.models import Entry; "
    told += "print(*[e.detail['accounts'] for e in Entry.objects.filter(action='refusals.left-out', "
    told += "object__endswith=' refusals left out') if 'flood' in e.detail['accounts']], sep=';')"
    deadline = time.monotonic() + 90
    while not (said := operated.manage("shell", "-v", "0", "-c", told).stdout.strip()):
        assert time.monotonic() < deadline
        time.sleep(2)
    left = [ast.literal_eval(line)["flood"] for line in said.split(";")]
    assert written + sum(left) <= 1500 and len(left) <= 2
