"""A platform for the tests of omegaweb: a secured MongoDB, and omegaweb under gunicorn as deployed."""

from __future__ import annotations

import base64
import os
import re
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml
from requests.adapters import HTTPAdapter

from omegaml import admin
from tests.conftest import free_port, mongod_binary

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse 9 battery"


class From(HTTPAdapter):
    """Calls from another address of this machine, so that what is counted there is no other test's."""

    def __init__(self, source: str) -> None:
        self._source = (source, 0)
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more, source_address=self._source)


@dataclass
class Person:
    """Somebody with an account, signed in by a browser's session and with one API key."""

    web: WebPlatform
    userid: str
    key: str
    browser: requests.Session

    @property
    def login(self) -> dict[str, str]:
        return {"Authorization": f"{self.userid}:{self.key}"}

    def call(self, method: str, route: str, **how: Any) -> requests.Response:
        """Call a REST route, given from below /api/v1/, with the key."""
        headers = {**self.login, **how.pop("headers", {})}
        return requests.request(method, f"{self.web.url}/api/v1/{route}", headers=headers, timeout=60, **how)

    def get(self, route: str, **how: Any) -> requests.Response:
        return self.call("GET", route, **how)

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.get("config/").json()["objects"][0]["data"])

    def page(self, path: str) -> requests.Response:
        return self.browser.get(self.web.url + path, timeout=60)

    def submit(self, path: str, action: str | None = None, **values: Any) -> requests.Response:
        """Fill in the form of the page `path` and send it to `action`."""
        return self.web.submit(self.browser, path, action, **values)

    def revoke_keys(self) -> None:
        """Revoke every key on the account's page."""
        for action in re.findall(r"/account/key/\d+/revoke/", self.page("/account/").text):
            assert self.submit("/account/", action).status_code == 200


@dataclass
class WebPlatform:
    """omegaweb and the services that it needs, on free ports; all it keeps lies in `folder`."""

    folder: Path
    database: str
    port: int = field(default_factory=free_port)
    mongo_port: int = field(default_factory=free_port)
    options: dict[str, Any] = field(default_factory=dict)
    root_password: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def root_url(self) -> str:
        """MongoDB as the user that may everything."""
        return f"mongodb://root:{self.root_password}@127.0.0.1:{self.mongo_port}/admin?directConnection=true"

    def start(self) -> None:
        self._start_mongod()
        self._configure()
        self.manage("migrate", "--verbosity", "0")
        self.manage("loaddata", "landingpage.json")
        self.start_web()

    def _start_mongod(self) -> None:
        data, keyfile = self.folder / "mongodb", self.folder / "keyfile"
        data.mkdir()
        keyfile.write_bytes(base64.b64encode(secrets.token_bytes(96)))
        keyfile.chmod(0o400)
        argv = [
            mongod_binary(),
            "--dbpath",
            str(data),
            "--port",
            str(self.mongo_port),
            "--bind_ip",
            "127.0.0.1",
        ]
        argv += ["--replSet", "rs0", "--auth", "--keyFile", str(keyfile), "--noscripting", "--quiet"]
        argv += ["--wiredTigerCacheSizeGB", "0.5"]
        self.mongod = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not admin.answers(self.mongo_port):
            assert time.monotonic() < deadline and self.mongod.poll() is None, "mongod does not start"
        admin.secure(self.mongo_port, self.root_password, {})

    def _configure(self) -> None:
        self.config = self.folder / "web.yml"
        values = {
            "secret_key": secrets.token_urlsafe(50),
            "encryption_keys": [base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()],
            "database": self.database,
            "mongo_url": self.root_url,
            "mongo_server": f"127.0.0.1:{self.mongo_port}",
            "mongo_host": f"localhost:{self.mongo_port}",
            "url": self.url,
            **self.options,
        }
        self.config.write_text(yaml.safe_dump(values, width=4096), "utf-8")
        self.config.chmod(0o600)

    def manage(self, *arguments: str, ok: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run manage.py; `more` goes into its environment."""
        done = subprocess.run(
            [sys.executable, "-m", "omegaweb.manage", *arguments],
            cwd=ROOT,
            env=self.environment | more,
            capture_output=True,
            text=True,
        )
        assert not ok or done.returncode == 0, done.stderr
        return done

    def python(self, code: str) -> None:
        """Run `code` inside omegaweb, where the models of accounts are imported."""
        self.manage("shell", "-v", "0", "-c", f"from omegaweb.accounts.models import *; {code}")

    def dismiss(self) -> None:
        """Disable those who have signed up so far: whoever serves all accounts need not serve them, too."""
        self.python("User.objects.filter(role__in=('viewer', 'editor')).update(is_active=False)")

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "OMEGAWEB_CONFIG": str(self.config)}

    def start_web(self) -> None:
        argv = [sys.executable, "-m", "gunicorn", "--workers", "1", "--threads", "8"]
        ports = [self.port, *filter(None, [self.options.get("metrics_port")])]
        argv += [word for port in ports for word in ("--bind", f"127.0.0.1:{port}")] + ["omegaweb.wsgi"]
        self.log = self.folder / "web.log"
        with self.log.open("ab") as log:
            self.gunicorn = subprocess.Popen(argv, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                if requests.get(f"{self.url}/healthz", timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                pass
            assert time.monotonic() < deadline and self.gunicorn.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def stop(self) -> None:
        for process in (getattr(self, "gunicorn", None), getattr(self, "mongod", None)):
            if process is not None:
                process.terminate()
                process.wait(60)

    def submit(
        self, browser: requests.Session, path: str, action: str | None = None, **values: Any
    ) -> requests.Response:
        """Fill in the form of the page `path` and send it to `action`, or back to the page."""
        page = browser.get(self.url + path, timeout=60)
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
        assert "csrfmiddlewaretoken" in hidden, f"{path} ({page.status_code}) has no form"
        values = hidden | values
        return browser.post(
            self.url + (action or path), data=values, headers={"Referer": self.url}, timeout=60
        )

    def person(self, userid: str | None = None, role: str | None = None) -> Person:
        """Sign somebody up by the pages, as a visitor does, and make a key; `role` if it is not editor."""
        userid = userid or f"u{uuid.uuid4().hex[:12]}"
        browser = requests.Session()
        # more sign up in a minute than may from one address
        a, b, c = uuid.uuid4().bytes[:3]
        browser.mount("http://", From(f"127.{a}.{b}.{c or 1}"))
        answer = self.submit(
            browser,
            "/account/signup/",
            username=userid,
            email=f"{userid}@example.org",
            password1=PASSWORD,
            password2=PASSWORD,
        )
        assert answer.status_code == 200 and answer.url.endswith("/account/"), answer.text
        if role:
            self.python(f"User.objects.filter(username={userid!r}).update(role={role!r})")
        key = self.new_key(browser)
        browser.mount("http://", HTTPAdapter())
        return Person(self, userid, key, browser)

    def new_key(self, browser: requests.Session, name: str = "test", **more: str) -> str:
        page = self.submit(browser, "/account/", "/account/key/", name=name, **more)
        shown = re.search(r'id="apikey">([^<]+)<', page.text)
        assert shown, page.text
        return shown[1]


@contextmanager
def running(folder: Path, database: str = "", **options: Any) -> Iterator[WebPlatform]:
    """A platform while the block lasts: on SQLite where no other database is named."""
    platform = WebPlatform(folder, database or f"sqlite:///{folder / 'web.sqlite3'}", options=options)
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()
