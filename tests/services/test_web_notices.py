"""Letters about jobs: that runs fail from now on, and that they are well again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from omegaml import config
from omegaml.errors import InvalidInput, Unavailable
from omegaml.omega import Omega
from omegaml.runtime.schedule.plans import COLLECTION
from tests.services.machine import eventually
from tests.services.test_web_operating import MailServer, operated, server
from tests.services.web_platform import Person, WebPlatform
from tests.services.web_runner import WebRunner

__all__ = ["operated", "server"]
pytestmark = pytest.mark.once


def platform_of(person: Person) -> Omega:
    names = ("OMEGA_USERID", "OMEGA_RESTAPI_URL", "OMEGA_MONGO_URL")
    settings = {name: person.settings[name] for name in names}
    return Omega(config.load(path=Path("/nonexistent"), **settings, OMEGA_APIKEY=person.key))


def let_be_due(om: Any, name: str, minute: int) -> None:
    """Let the job be due now, as if it were so once a day at another minute each time."""
    due = datetime.now(UTC).replace(minute=minute, second=0, microsecond=0)
    change = {"text": f"{due.minute} {due.hour} * * *", "zone": "UTC", "due": due}
    om.db[COLLECTION].update_one({"_id": om.jobs.metadata(name).id}, {"$set": change})


def test_a_letter_comes_when_a_job_begins_to_fail_and_when_it_is_well_again(
    operated: WebPlatform, server: MailServer, tmp_path: Path
) -> None:
    ann = operated.person()
    email = f"{ann.userid}@example.org"
    om, name = platform_of(ann), "reports/daily.ipynb"
    om.jobs.create("1 / 0", name)
    om.jobs.schedule(name, "@daily", mail=True)
    now = datetime.now(UTC).minute
    let_be_due(om, name, max(0, now - 1))
    runner = WebRunner(operated, tmp_path)
    try:
        eventually(lambda: bool(server.to(email)))
        [letter] = server.to(email)
        assert letter["Subject"] == "[omega|ml] one of your jobs fails"
        text = letter.get_content()
        assert om.jobs.status(name)[0].id in text and name not in text and "Zero" not in text
        notebook = om.jobs.get(name)
        notebook.cells[0].source = "1"
        om.jobs.put(notebook, name)
        let_be_due(om, name, now)
        eventually(lambda: len(server.to(email)) == 2)
        assert "is well again" in server.to(email)[1]["Subject"]
    finally:
        runner.stop()


def test_a_schedule_with_mail_that_is_put_again_goes_on_as_it_was(operated: WebPlatform) -> None:
    ann = operated.person()
    om = platform_of(ann)
    om.jobs.create("1", "daily")
    body = {"schedule": "@daily", "zone": "UTC", "mail": True}
    assert ann.call("PUT", "job/daily/schedule/", json=body).json()["mail"] is True
    om.db[COLLECTION].update_one({}, {"$set": {"failing": True}})
    found = ann.call("PUT", "job/daily/schedule/", json=body).json()
    assert (found["mail"], found["failing"]) == (True, True)


def test_mail_that_cannot_be_sent_is_refused_when_it_is_asked_for(web: WebPlatform, om: Any) -> None:
    ann = web.person()
    hers = platform_of(ann)
    hers.jobs.create("1", "daily")
    with pytest.raises(InvalidInput, match="no mail can be sent"):
        hers.jobs.schedule("daily", "@daily", mail=True)
    answer = ann.call("PUT", "job/daily/schedule/", json={"schedule": "@daily", "mail": True})
    assert answer.status_code == 400 and "no mail" in answer.json()["error"]["message"]
    assert hers.jobs.scheduled() == []
    om.jobs.create("1", "daily")
    with pytest.raises(Unavailable, match="no account"):
        om.jobs.schedule("daily", "@daily", mail=True)


def test_only_workers_have_letters_sent(operated: WebPlatform) -> None:
    ann = operated.person()
    notice = {"userid": ann.userid, "event": "failed", "bucket": "omegaml", "run": "1" * 32}
    assert ann.call("POST", "worker/notice/", json=notice).status_code == 403
