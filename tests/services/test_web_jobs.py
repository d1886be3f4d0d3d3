"""Jobs over REST: stored and described by omegaweb, run by a runner of all accounts, shown without rights."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import nbformat
import pytest
import requests
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from omegaml.omega import Omega
from tests.services.runtime_processes import wait_for
from tests.services.web_platform import Person, WebPlatform
from tests.services.web_runner import WebRunner, runner

__all__ = ["runner"]
pytestmark = pytest.mark.once

NOTEBOOK = "application/x-ipynb+json"


@pytest.fixture
def om(ann: Person) -> Iterator[Omega]:
    platform = Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"])
    yield platform
    platform.close()


def message(answer: requests.Response, status: int) -> str:
    """What an error says."""
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["message"])


def left(om: Omega, name: str, *cells: Any, status: str = "done") -> str:
    """Let a job have a run that has left a notebook of these cells; returns the run's id."""
    from omegaml.runtime.runs import Run, Runs

    runs = Runs(om.db)
    runs.prepare()
    om.jobs.create("1", name)
    om.jobs.put(new_notebook(cells=list(cells)), f"results/{name}")
    run = Run(f"{name}.ipynb", om.bucket)
    runs.add(run)
    runs.finish(run.id, status, f"results/{name}.ipynb")
    return run.id


# --- notebooks


def test_a_job_is_made_of_code_listed_described_and_deleted(ann: Person, om: Omega) -> None:
    made = ann.call("POST", "job/reports/daily/", json={"code": ["x = 1", "print(x)"]})
    assert made.status_code == 201, made.text
    assert made.json()["name"] == "reports/daily.ipynb" and made.json()["kernel"] == "python3"
    assert made.json()["resource_uri"] == "/api/v1/job/reports/daily.ipynb/"
    assert [cell.source for cell in om.jobs.get("reports/daily").cells] == ["x = 1", "print(x)"]
    om.jobs.create("1", "results/reports/daily_1"), om.jobs.create("1", ".hidden")
    found = ann.get("job/").json()
    assert [job["name"] for job in found["objects"]] == ["reports/daily.ipynb"]
    assert found["meta"]["total_count"] == 1 and found["objects"][0]["last_run"] is None
    assert len(ann.get("job/?results=1").json()["objects"]) == 2
    assert ann.get("job/?search=WEEKLY").json()["objects"] == []
    for route in ("job/reports/daily/", "job/reports/daily.ipynb/", "job/?name=reports/daily"):
        assert ann.get(route).json()["runs"] == []
    assert message(ann.call("POST", "job/reports/daily/", json={"code": "2"}), 409)
    assert ann.call("DELETE", "job/reports/daily/").status_code == 204
    assert ann.call("DELETE", "job/reports/daily/").status_code == 404
    assert "daily" in message(ann.get("job/reports/daily/"), 404)


def test_a_notebook_is_stored_and_comes_back_as_jupyter_has_it(ann: Person) -> None:
    notebook = new_notebook(cells=[new_markdown_cell("# Über"), new_code_cell("1")])
    for type_, status in ((NOTEBOOK, 201), ("application/json", 200)):
        sent = nbformat.writes(notebook).encode()
        answer = ann.call("PUT", "job/daily/", data=sent, headers={"Content-Type": type_})
        assert answer.status_code == status, answer.text
    for how in ({"headers": {"Accept": NOTEBOOK}}, {"params": {"fmt": "ipynb"}}):
        answer = ann.get("job/daily/", **how)
        assert answer.headers["Content-Type"] == NOTEBOOK
        assert "daily.ipynb" in answer.headers["Content-Disposition"]
        assert nbformat.reads(answer.content.decode(), 4).cells == notebook.cells
    answer = ann.call("PUT", "job/daily/", json={"code": "2"})
    assert answer.status_code == 200 and b'"2"' in ann.get("job/daily/?fmt=ipynb").content


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"code": 3}',
        b'{"code": [3]}',
        b'{"cells": 3}',
        b'{"cells": [{"cell_type": "odd"}], "nbformat": 4}',
        b'{"cells": [' + b"[" * 5000 + b"]" * 5000 + b"]}",
        b'{"cells": [{"metadata": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}]}",
        b'{"cells": [], "nbformat": 4, "metadata": {"language_info": {"name": "julia"}}}',
        b'{"cells": [{"cell_type": "code", "source": "1"}]}',  # of which version?
    ],
)
def test_what_is_no_notebook_is_refused(ann: Person, body: bytes) -> None:
    for method in ("PUT", "POST"):
        answer = ann.call(method, "job/bad/", data=body, headers={"Content-Type": "application/json"})
        assert message(answer, 400)
    assert ann.get("job/").json()["objects"] == []


def test_names_that_no_job_can_have_are_refused(ann: Person, bob: Person) -> None:
    for name in ("a%00b", "x/logs", "a%5Bb", "_versions/x/1"):
        assert ann.call("POST", f"job/{name}/", json={"code": "1"}).status_code in (400, 404, 405), name
    assert "not shared" in ann.get(f"job/@{bob.userid}/x/").json()["error"]["hint"]
    assert ann.call("POST", "job/a/", data=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    assert ann.get("job/", headers={"Accept": "text/csv"}).status_code == 406


def test_what_is_too_large_is_refused_with_the_way_to_do_it(ann: Person) -> None:
    large = b'{"code": "' + b"#" * (17 << 20) + b'"}'
    answer = ann.call("PUT", "job/large/", data=large, headers={"Content-Type": "application/json"})
    assert "16,777,216" in message(answer, 413)
    assert answer.json()["error"]["hint"] == "omegacli jobs put FILE NAME"


# --- runs


def test_a_job_runs_with_parameters_and_leaves_a_notebook(ann: Person, om: Omega, runner: WebRunner) -> None:
    ann.call("POST", "job/daily/", json={"code": "import omegaml as om\nom.datasets.put([self, b], 'made')"})
    answer = ann.call("POST", "job/daily/run/", json={"self": 1, "b": "x'y"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert sorted(found) == ["created", "job", "job_results", "job_runs", "resource_uri"]
    assert om.datasets.get("made") == [1, "x'y"] and om.jobs.exists(found["job_results"][0])
    [run] = ann.get("job/daily/run/").json()["objects"]
    assert run == found["job_runs"][0] and run["status"] == "done" and run["trigger"] == "manual"
    assert ann.get("job/daily/").json()["runs"] == [run] == [ann.get("job/").json()["objects"][0]["last_run"]]
    report = ann.get(run["report"].removeprefix("/api/v1/"))
    assert report.headers["Run-Status"] == "done" and b"made" in report.content


def test_a_failing_cell_is_a_failure_in_status_and_body(ann: Person, om: Omega, runner: WebRunner) -> None:
    ann.call("POST", "job/bad/", json={"code": ["print('before')", "def f(): return 1 / 0\nf()"]})
    answer = ann.call("POST", "job/bad/run/")
    assert "cell 2: ZeroDivisionError: division by zero" in message(answer, 500)
    error = answer.json()["error"]
    assert error["code"] == "TASK_FAILED" and "return 1 / 0" in error["traceback"]
    assert om.jobs.get(error["results"]).cells[0].outputs[0].text == "before\n"
    [run] = ann.get("job/bad/").json()["runs"]
    assert (run["id"], run["status"], run["error"]) == (error["run"], "failed", error["message"])
    report = ann.get(error["report"].removeprefix("/api/v1/"))
    assert report.status_code == 200 and b"ZeroDivisionError" in report.content
    assert (report.headers["Run-Status"], report.headers["Run-Id"]) == ("failed", run["id"])


def test_a_run_goes_on_for_who_does_not_wait(ann: Person, runner: WebRunner) -> None:
    ann.call("POST", "job/bad/", json={"code": "1 / 0"})
    for how in ({"params": {"async": "1"}}, {"headers": {"Prefer": "respond-async"}}):
        answer = ann.call("POST", "job/bad/run/", json={}, **how)
        assert answer.status_code == 202 and answer.json()["job"] == "bad"
        where = answer.headers["Location"].removeprefix("/api/v1/")
        task = ann.get(f"{where}?wait=50").json()
        assert (task["status"], task["job"], task["error"]["code"]) == ("failed", "bad.ipynb", "TASK_FAILED")
        assert task["error"]["results"].startswith("results/bad_")
        assert ann.get("job/bad/run/?limit=1").json()["objects"][0]["id"] == task["id"]


def test_a_run_that_takes_too_long_is_ended(ann: Person, runner: WebRunner) -> None:
    ann.call("POST", "job/slow/", json={"code": "import time; time.sleep(60)"})
    answer = ann.call("POST", "job/slow/run/?timeout=4")
    assert "slow" in message(answer, 504) and answer.json()["error"]["hint"] == "use ?async=1"
    assert ann.get("job/slow/").json()["runs"][0]["status"] == "failed"
    answer = ann.call("POST", "job/slow/run/", json={"cell_timeout": 1})
    assert "cell 1" in message(answer, 504) and answer.json()["error"]["results"]


def test_a_queued_run_is_cancelled_by_its_task(ann: Person, runner: WebRunner) -> None:
    ann.call("POST", "job/slow/", json={"code": "import time; time.sleep(60)"})
    task = ann.call("POST", "job/slow/run/?async=1").headers["Location"].removeprefix("/api/v1/")
    wait_for(lambda: ann.get(task).json()["status"] == "running")
    shown = ann.get("runtime/").json()
    assert shown["tasks"][0]["store"] == "jobs" and shown["queues"]["default"]["running"] == 1
    ann.call("DELETE", task)
    wait_for(lambda: ann.get("job/slow/").json()["runs"][0]["status"] == "cancelled")


def test_what_cannot_be_run_is_said(ann: Person, runner: WebRunner) -> None:
    ann.call("POST", "job/daily/", json={"code": "1"})
    assert "'nothing.ipynb'" in message(ann.call("POST", "job/nothing/run/"), 404)
    assert message(ann.call("POST", "job/daily/run/", json=[1]), 400)
    assert "'a b'" in message(ann.call("POST", "job/daily/run/", json={"a b": 1}), 400)
    assert message(ann.call("POST", "job/daily/run/?timeout=never"), 400)
    assert message(ann.call("POST", "job/daily/run/?require=No%20Label"), 400)
    assert message(ann.get("job/daily/report/"), 404).endswith("has left no results")


def test_a_label_that_nobody_has_is_refused_naming_those_there_are(
    ann: Person, om: Omega, runner: WebRunner
) -> None:
    from sklearn.linear_model import LinearRegression

    ann.call("POST", "job/daily/", json={"code": "1"})
    om.models.put(LinearRegression().fit([[1.0], [2.0]], [2.0, 4.0]), "line")
    wait_for(lambda: bool(om.runtime.status()["runners"]))
    asked: list[Any] = [("job/daily/run/?async=1", {})]
    asked += [
        ("model/line/predict/", {"data": [[1.0]]}),
        ("model/line/fit/?async=1", {"data": [[1]], "y": [1]}),
    ]
    for route, body in asked:
        answer = ann.call("POST", route, params={"require": "gpu"}, json=body)
        assert "'gpu'" in message(answer, 503)
        assert answer.json()["error"]["hint"] == "labels there are: default"
        answer = ann.call("POST", route, params={"require": "default"}, json=body)
        assert answer.status_code in (200, 202), answer.text
    for task in ann.get("runtime/").json()["tasks"]:
        ann.get(f"task/{task['id']}/?wait=50")


# --- reports: somebody's code made what is in them


def test_a_report_has_no_rights(ann: Person, om: Omega) -> None:
    evil = "<script>fetch('/api/v1/config/')</script><img src=x onerror=alert(1)>"
    output = new_output("display_data", {"text/html": evil})
    left(om, "evil", new_markdown_cell(evil), new_code_cell("1", outputs=[output]))
    for answer in (
        ann.get("job/evil/report/?fmt=html"),
        ann.get("job/evil/report/", headers={"Accept": "text/html"}),
    ):
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        rules = answer.headers["Content-Security-Policy"].split("; ")
        assert rules[:2] == ["sandbox", "default-src 'none'"] and "frame-ancestors 'self'" in rules
        assert not any(rule.startswith(("script-src", "connect-src")) for rule in rules)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    slides = ann.get("job/evil/report/?fmt=slides")
    assert slides.headers["Content-Disposition"].startswith("attachment; ") and b"reveal" in slides.content
    assert slides.headers["Content-Security-Policy"].startswith("sandbox; ")
    file = ann.get("job/evil/report/?fmt=ipynb")
    assert file.headers["Content-Type"] == NOTEBOOK and json.loads(file.content)["cells"]
    assert message(ann.get("job/evil/report/?fmt=pdf"), 400)


def test_a_report_is_made_once_for_who_has_it(ann: Person, om: Omega) -> None:
    left(om, "daily", new_code_cell("1"))
    first = ann.get("job/daily/report/")
    again = ann.get("job/daily/report/", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304 and not again.content
    om.jobs.create("2", "results/daily", replace=True)
    again = ann.get("job/daily/report/", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 200


def test_a_report_of_a_run_that_is_another_job_s_is_not_to_be_found(
    ann: Person, bob: Person, om: Omega
) -> None:
    run, other = left(om, "one", new_code_cell("1")), left(om, "two", new_code_cell("2"))
    assert ann.get(f"job/one/report/?run={run}").status_code == 200
    assert message(ann.get(f"job/one/report/?run={other}"), 404)
    assert message(ann.get("job/one/report/?run=nothing"), 404)
    for route in ("job/one/", "job/one/run/", "job/one/report/", f"job/one/report/?run={run}"):
        assert message(bob.get(route), 404)
    bob.call("POST", "job/one/", json={"code": "1"})
    assert message(bob.get(f"job/one/report/?run={run}"), 404)


def test_a_notebook_that_takes_too_much_is_refused_and_others_are_served(
    ann: Person, om: Omega, web: WebPlatform
) -> None:
    """Seven megabytes of coloured text would take minutes to become a page, and gigabytes."""
    text = new_output("stream", name="stdout", text="x\x1b[31my\n" * 500_000)
    left(om, "coloured", new_code_cell("1", outputs=[text]))
    large = new_output("stream", name="stdout", text="a line of text\n" * 1_200_000)
    left(om, "large", new_code_cell("1", outputs=[large]))
    answer = ann.get("job/large/report/")
    assert "larger than the 16,777,216 bytes" in message(answer, 413)
    assert answer.json()["error"]["hint"] == "omegacli jobs get results/large.ipynb FILE --format html"
    assert len(ann.get("job/large/report/?fmt=ipynb").content) > 17 << 20
    began = time.monotonic()
    assert "too much time or memory" in message(ann.get("job/coloured/report/"), 413)
    assert time.monotonic() - began < 55
    assert requests.get(f"{web.url}/healthz", timeout=5).status_code == 200


@pytest.mark.parametrize(
    "name", ["<script>alert('name')</script>", "a/b c", "50%", "ä#;&=+", "'\"<>", "$(id)"]
)
def test_a_job_with_any_name_has_a_route_and_a_report(ann: Person, om: Omega, name: str) -> None:
    left(om, name, new_code_cell("1"))
    [job] = ann.get("job/").json()["objects"]
    assert job["name"] == f"{name}.ipynb"
    assert ann.get(job["resource_uri"].removeprefix("/api/v1/")).status_code == 200
    answer = ann.get(job["last_run"]["report"].removeprefix("/api/v1/"))
    assert answer.status_code == 200
    attached = ann.get(f"job/{quote(name)}/?fmt=ipynb").headers["Content-Disposition"]
    assert quote(name.rpartition("/")[2], safe="") in attached


def test_deletions_are_written_down(ann: Person, web: WebPlatform) -> None:
    ann.call("POST", "job/daily/", json={"code": "1"})
    ann.call("DELETE", "job/daily/")
    code = "from omegaweb.audit.models import *; "
    code += f"print(*Entry.objects.filter(userid={ann.userid!r}, action='job.deleted').values_list('object'))"
    assert "('job daily',)" in web.manage("shell", "-v", "0", "-c", code).stdout


# --- by itself


def test_a_job_gets_a_schedule_and_runs_by_it(ann: Person, bob: Person, runner: WebRunner) -> None:
    ann.call("POST", "job/daily/", json={"code": "print('by itself')"})
    assert ann.get("job/daily/schedule/").json() == {"job": "daily.ipynb", "schedule": None, "next": []}
    body = {"schedule": "Fridays, at 06:00", "zone": "Europe/Berlin", "retries": 2, "parameters": {"a": 1}}
    answer = ann.call("PUT", "job/daily/schedule/", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found == ann.get("job/daily/schedule/").json() and found["cron"] == "0 6 * * 5"
    assert len(found["next"]) == 5 and found["next"][0] == found["due"]
    assert all(time[10:16] == "T06:00" for time in found["next"])
    assert (found["zone"], found["retries"], found["parameters"]) == ("Europe/Berlin", 2, {"a": 1})
    assert message(bob.get("job/daily/schedule/"), 404)
    ann.call("PUT", "job/daily/schedule/?require=gpu", json={**body, "limit": 60})
    form = {"schedule": "@daily", "zone": "UTC", "retries": "1", "catch_up": "skip"}
    ann.submit("/job/daily.ipynb/", "/schedule/daily.ipynb/", **form)
    found = ann.get("job/daily/schedule/").json()  # what the page does not ask for stays
    assert (found["schedule"], found["retries"], found["catch_up"]) == ("@daily", 1, "skip")
    assert (found["label"], found["limit"], found["parameters"]) == ("gpu", 60, {"a": 1})
    assert ann.call("DELETE", "job/daily/schedule/").status_code == 204
    assert ann.call("DELETE", "job/daily/schedule/").status_code == 404


def test_a_schedule_that_is_put_again_stays_as_it_was_with_its_mail(ann: Person, om: Omega) -> None:
    ann.call("POST", "job/daily/", json={"code": "1"})
    job = om.runtime.job("daily")
    job.schedule("@daily", zone="UTC", mail=True, may_mail=lambda om: None)
    om.db["omegaml.schedules"].update_one({}, {"$set": {"failing": True}})
    form = {"schedule": "@daily", "zone": "UTC", "retries": "0", "catch_up": "once"}
    ann.submit("/job/daily.ipynb/", "/schedule/daily.ipynb/", **form)
    found = ann.get("job/daily/schedule/").json()
    assert found["mail"] is True and found["failing"] is True, "the plan is the same"
    ann.submit("/job/daily.ipynb/", "/schedule/daily.ipynb/", **{**form, "retries": "1"})
    found = ann.get("job/daily/schedule/").json()
    assert (found["mail"], found["retries"], found["failing"]) == (True, 1, False)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"schedule": "now and then"},
        {"schedule": "at 6"},
        {"schedule": "@daily", "zone": "Nowhere/Land"},
        {"schedule": "@daily", "catch_up": "twice"},
        {"schedule": "@daily", "retries": -1},
        {"schedule": "@daily", "parameters": [1]},
        {"schedule": "@daily", "webhook": "ftp://x"},
        [],
    ],
)
def test_what_is_no_schedule_is_refused(ann: Person, body: Any) -> None:
    ann.call("POST", "job/daily/", json={"code": "1"})
    assert message(ann.call("PUT", "job/daily/schedule/", json=body), 400)
    assert ann.get("job/daily/schedule/").json()["schedule"] is None


def test_the_log_of_a_run_is_its_account_s_own(ann: Person, bob: Person, runner: WebRunner) -> None:
    code = "import omegaml as om\nprint('printed')\nom.logger.warning('logged')"
    ann.call("POST", "job/loud/", json={"code": code})
    assert ann.get("job/loud/logs/").json() == {"job": "loud.ipynb", "run": None, "lines": []}
    run = ann.call("POST", "job/loud/run/").json()["job_runs"][0]["id"]

    def said(query: str = "") -> list[str]:
        answer = ann.get(f"job/loud/logs/?{query}")
        assert answer.status_code == 200, answer.text
        return [line["text"] for line in answer.json()["lines"]]

    wait_for(lambda: "logged" in said())
    assert said("level=warning") == ["logged"] and len(said("tail=1")) == 1
    assert said(f"run={run}") == said() and said("since=2100-01-01T00:00:00Z") == []
    for query in ("level=loud", "tail=many", "since=yesterday", "since=2026-01-01"):
        assert message(ann.get(f"job/loud/logs/?{query}"), 400)
    assert message(ann.get("job/loud/logs/?run=nothing"), 404)
    bob.call("POST", "job/loud/", json={"code": "1"})
    assert message(bob.get(f"job/loud/logs/?run={run}"), 404)


# --- the same on pages


def test_pages_show_reports_in_frames_without_rights(
    ann: Person, bob: Person, om: Omega, web: WebPlatform
) -> None:
    run = left(om, "daily", new_code_cell("1"))
    page = ann.page("/job/daily/").text
    assert f'sandbox="" src="/report/daily.ipynb/?run={run}"' in page
    for path, status in ((f"/report/daily/?run={run}", 200), ("/report/daily/?run=nothing", 404)):
        answer = ann.page(path)
        assert answer.status_code == status
        assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    for path in (
        "/job/daily/",
        "/runs/daily/",
        f"/report/daily/?run={run}",
        "/notebook/daily/",
        "/delete/job/daily/",
    ):
        assert bob.page(path).status_code == 404, path
    assert ann.page("/notebook/daily/").headers["Content-Type"] == NOTEBOOK
    viewer = web.person(role="viewer")
    assert "Run now" not in viewer.page("/jobs/").text and viewer.page("/upload/job/").status_code == 403
