"""A runner of many accounts is heard of all the time, and asks omegaweb for nothing that it knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from omegaml import rest
from omegaml.runtime import accounts
from omegaml.runtime.accounts import WebAccounts
from tests.services.web_platform import Person, WebPlatform

pytestmark = [pytest.mark.once, pytest.mark.mariadb]

FACTS = {"id": "many-accounts", "host": "here", "slots": 1, "running": 0, "labels": ["here"]}


class Heard:
    """All that is asked of omegaweb from now on, which answers as ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.routes: list[str] = []
        send = rest.send

        def listen(*login: Any, **how: Any) -> Any:
            self.routes.append(login[4])
            return send(*login, **how)

        monkeypatch.setattr(rest, "send", listen)

    def take(self) -> tuple[int, int]:
        """How often it was said that somebody is there, and for how many URLs was asked, since then."""
        told = sum(route.endswith("/worker/") for route in self.routes)
        asked = sum("/config/" in route for route in self.routes)
        self.routes.clear()
        return told, asked


@pytest.fixture
def served(web: WebPlatform, ann: Person, bob: Person, tmp_path: Path) -> WebAccounts:
    web.manage("createworker", "--key-file", str(tmp_path / "key"))
    return WebAccounts(web.url, "runner", (tmp_path / "key").read_text().strip())


def serve_all(served: WebAccounts) -> None:
    total = len(served._ask("GET", "worker/accounts/")["objects"])
    while len(served.all()) < total:
        served.refresh(FACTS)


def close(served: WebAccounts) -> None:
    for account in served.all():
        account.om.close()


def test_who_is_asked_for_does_not_keep_it_from_saying_that_it_is_there(
    served: WebAccounts, ann: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "ASKING", 0.0)
    heard = Heard(monkeypatch)
    for number in (1, 2):
        served.refresh(FACTS)
        assert heard.take() == (1, 1) and len(served.all()) == number
    monkeypatch.setattr(accounts, "ASKING", 60.0)
    serve_all(served)
    assert {ann.userid, bob.userid} <= {account.userid for account in served.all()}
    close(served)


def test_an_url_is_asked_for_again_only_where_it_may_have_changed(
    web: WebPlatform, served: WebAccounts, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_all(served)
    heard = Heard(monkeypatch)
    assert served.refresh(FACTS) == [] and heard.take() == (1, 0)
    before = served.find(ann.userid)
    rotate = "from omegaweb import provision; provision.rotate(User.objects.get(username={!r}))"
    web.python(rotate.format(ann.userid))
    assert served.refresh(FACTS) == [before] and heard.take() == (1, 1)
    assert set(served.find(ann.userid).tasks.counts().values()) == {0}
    served.find(ann.userid).is_refused(0.0)
    assert served.refresh(FACTS) == [] and heard.take() == (1, 1)
    assert served.refresh(FACTS) == [] and heard.take() == (1, 0)
    close(served)


def test_a_connection_of_many_takes_few_threads(served: WebAccounts) -> None:
    serve_all(served)
    few = served.all()[:10]
    before = len(os.listdir("/proc/self/task"))
    for account in few:
        account.tasks.counts()
    assert len(os.listdir("/proc/self/task")) - before <= 2 * len(few)
    close(served)
