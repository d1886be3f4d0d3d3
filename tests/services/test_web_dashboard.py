"""Pages of the dashboard, as far as that takes no browser: lists, errors, and what must not be loaded."""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import requests

from omegaml.omega import Omega
from tests.services.web_platform import Person, WebPlatform, running

pytestmark = pytest.mark.once


class Bomb:
    """An object whose unpickling leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self.file,)


@pytest.fixture
def om(ann: Person) -> Iterator[Omega]:
    """What ann has stored, by her own login."""
    platform = Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"])
    yield platform
    platform.close()


def names(page: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="[^"]+">([^<]+)</a>', page)


def test_a_list_is_searched_sorted_and_paged(ann: Person, om: Omega) -> None:
    for rows in range(3):
        om.datasets.put(pd.DataFrame({"a": range(rows)}), f"Sales/{rows}")
    om.datasets.put([1], "other"), om.datasets.put([1], ".hidden"), om["aside"].datasets.put([1], "else")
    assert names(ann.page("/datasets/").text) == ["Sales/0", "Sales/1", "Sales/2", "other"]
    assert names(ann.page("/datasets/?q=sALES&sort=-rows").text) == ["Sales/2", "Sales/1", "Sales/0"]
    assert names(ann.page("/datasets/?bucket=aside").text) == ["else"]
    assert ann.page("/datasets/?bucket=no%24where").status_code == 400
    for odd in ("?page=99", "?page=0", "?page=x", "?page=-1", "?sort=kind_meta.segs", "?page=" + "9" * 400):
        assert ann.page(f"/datasets/{odd}").status_code == 200


def test_the_list_of_ten_thousand_is_as_small_as_that_of_fifty(ann: Person, om: Omega) -> None:
    om.datasets.put(pd.DataFrame({"a": [1]}), "number/00000")
    one = om.db["metadata"].find_one({"name": "number/00000"})
    del one["_id"]
    om.db["metadata"].insert_many({**one, "name": f"number/{n:05}"} for n in range(1, 10_000))
    page = ann.page("/datasets/?page=200&sort=name")
    assert names(page.text)[-1] == "number/09999"
    assert len(page.content) <= 150_000 and "10000 datasets" in page.text


def test_an_object_with_any_name_has_a_page(ann: Person, om: Omega) -> None:
    for name in ("a/b c", "50%", "up", "ä#;&=+", "a\\b", "'\"<>", "upload", "x/delete"):
        om.datasets.put(pd.DataFrame({"a": [1]}), name)
    om.db["metadata"].update_one({"name": "up"}, {"$set": {"name": "a/../b"}})  # of an earlier version
    page = ann.page("/datasets/").text
    links = re.findall(r'<th scope="row"><a href="([^"]+)">', page)
    assert len(links) == 8
    for link in links:
        answer = ann.page(html.unescape(link))
        assert answer.status_code == 200, link
        delete = re.search(r'class="button danger" href="([^"]+)"', answer.text)
        assert delete and ann.page(html.unescape(delete[1])).status_code == 200


def test_a_page_never_unpickles_what_somebody_stored(ann: Person, om: Omega, tmp_path: Path) -> None:
    file = tmp_path / "exploded"
    om.models.put(Bomb(file), "bomb")
    for kind in ("model.joblib", "sklearn.joblib"):
        om.db["metadata"].update_one({"name": "bomb"}, {"$set": {"prefix": "data/", "kind": kind}})
        assert "This is no table" in ann.page("/dataset/bomb/").text
        assert ann.page("/columns/bomb/").status_code == 400
        assert ann.page("/points/bomb/?y=a").status_code == 400
    om.db["metadata"].update_one({"name": "bomb"}, {"$set": {"prefix": "models/"}})
    assert ann.page("/model/bomb/").status_code == 200
    assert not file.exists()


def test_an_object_of_somebody_else_is_not_to_be_found(ann: Person, bob: Person, om: Omega) -> None:
    om.datasets.put(pd.DataFrame({"a": [1]}), "mine")
    assert ann.page("/dataset/mine/").status_code == 200
    for path in ("/dataset/mine/", "/columns/mine/", "/points/mine/?y=a", "/delete/dataset/mine/"):
        assert bob.page(path).status_code == 404


def test_what_is_missing_or_wrong_is_said_in_a_sentence_with_the_status_of_the_error(
    ann: Person, om: Omega
) -> None:
    om.datasets.put(pd.DataFrame({"a": [1]}), "small")
    for path, status, says in (
        ("/dataset/nowhere/", 404, "no dataset &#x27;nowhere&#x27;"),
        ("/model/nowhere/", 404, "no model &#x27;nowhere&#x27;"),
        ("/dataset/", 400, "cannot be read as a name"),
        ("/dataset/small/?col=b&op=eq&value=1", 404, "no column &#x27;b&#x27;"),
        ("/dataset/small/?col=a&op=eq&value=x", 400, "cannot be compared"),
        ("/dataset/small/?col=a&op=%24where&value=1", 400, "is no operator"),
        ("/dataset/small/?col=a&op=eq&value=1&col=a&op=eq&value=2", 400, "asked for twice"),
        ("/points/small/?y=b", 404, "no column"),
        ("/points/small/", 400, "no column to draw"),
    ):
        answer = ann.page(path)
        assert answer.status_code == status, path
        assert says in answer.text, answer.text


def test_a_form_that_is_too_old_is_refused_in_a_page_of_ours(ann: Person) -> None:
    answer = ann.browser.post(f"{ann.web.url}/upload/", data={"name": "x"}, timeout=60)
    assert answer.status_code == 403 and "Nothing was changed" in answer.text


def test_an_upload_larger_than_memory_should_hold_is_stored_in_parts(ann: Person, om: Omega) -> None:
    rows = 300_000
    lines = "".join(f"{n},{n / 7:.3f},text {n % 1000}\n" for n in range(rows))
    token = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', ann.page("/upload/").text)
    assert token
    answer = ann.browser.post(
        f"{ann.web.url}/upload/",
        data={"csrfmiddlewaretoken": token[1], "name": "large"},
        files={"file": ("large.CSV", f"n,x,word\n{lines}")},
        headers={"Referer": ann.web.url},
        timeout=120,
    )
    assert answer.status_code == 200 and "300,000 rows are stored" in answer.text
    assert om.datasets.get("large", n__gte=rows - 2)["word"].tolist() == ["text 998", "text 999"]


def test_pages_say_that_the_database_is_away_and_go_on_when_it_is_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running(tmp_path_factory.mktemp("away")) as web:
        ann = web.person()
        assert ann.page("/datasets/").status_code == 200
        web.mongod.kill()
        web.mongod.wait()
        answer = ann.page("/datasets/")
        assert answer.status_code == 503 and answer.headers["Retry-After"]
        assert "Not there at the moment" in answer.text and "Traceback" not in answer.text
        part = ann.browser.get(f"{web.url}/runtime/", headers={"HX-Request": "true"}, timeout=60)
        assert part.status_code == 503 and "<html" not in part.text and "Next:" in part.text
        home = ann.page("/")
        assert home.status_code == 200 and "does not answer at the moment" in home.text
        web.mongod = subprocess.Popen(web.mongod.args, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while ann.page("/datasets/").status_code != 200:
            assert time.monotonic() < deadline, "the pages do not come back"
            time.sleep(0.5)


def test_pages_say_that_the_database_of_accounts_is_away(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("lost")
    with running(folder) as web:
        ann = web.person()
        for file in folder.glob("web.sqlite3*"):
            file.rename(folder / f"away-{file.name}")
        (folder / "web.sqlite3").mkdir()
        before = psutil.Process(web.gunicorn.pid).children()
        web.gunicorn.send_signal(signal.SIGHUP)  # the workers so far still have the file open
        _, left = psutil.wait_procs(before, 60)
        assert not left, "the old workers stay"
        for path in ("/", "/datasets/", "/account/"):
            answer = ann.page(path)
            assert answer.status_code == 503, answer.text
            assert "database of accounts does not answer" in answer.text


def test_the_library_of_the_home_page_is_the_platforms_own_and_can_be_installed(
    web: WebPlatform, ann: Person, tmp_path: Path
) -> None:
    home = ann.page("/").text
    found = re.search(r'href="(/library/([^"]+\.whl))" download', home)
    assert found and f"pip install &#x27;./{found[2]}[sklearn]&#x27;" in home
    file = tmp_path / found[2]
    file.write_bytes(ann.page(found[1]).content)
    into = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(into), str(file)]
    subprocess.run(pip, check=True, capture_output=True)
    said = subprocess.check_output(
        [into / "bin" / "omegacli", "--version"],
        env={"PYTHONPATH": str(into), "PATH": os.environ["PATH"]},
        cwd=tmp_path,
        text=True,
    )
    assert said.split()[-1] == found[2].split("-")[1]
    assert (into / "omegacli/templates/omega.yml").is_file()
    assert not list(into.rglob("omegaweb/static"))
    assert ann.page("/library/omegaml-9.9-py3-none-any.whl").status_code == 404
    assert requests.get(web.url + found[1]).url.startswith(f"{web.url}/account/login/")


def test_the_library_takes_nothing_that_was_left_beside_it(web: WebPlatform, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    folder.mkdir()
    for name in ("a.py", "page.html", "LICENSE", ".env", "web.sqlite3", "key.pem", "a.py~", "dump"):
        (folder / name).write_text("x")
    (folder / "link.py").symlink_to("/etc/passwd")
    code = "from pathlib import Path; from omegaweb.dashboard.library import _below; "
    code += f"print(*[name for name, data in _below(Path({str(folder)!r}), 'p')])"
    assert web.manage("shell", "-v", "0", "-c", code).stdout.split() == ["p/LICENSE", "p/a.py", "p/page.html"]
