"""config, context and init, with a small recorded answer of the config route where a server is asked."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from omegaml import rest
from omegaml.config import ConfigFile, cache_path, load
from omegaml.errors import AuthFailed, Corrupt, InvalidInput, NotFound, TimedOut, Unavailable
from omegaml.omega import Omega

ROOT = Path(__file__).resolve().parents[2]
KEY = "s3ntinelKey"
ANSWER = {
    "meta": {"limit": 20, "next": None, "offset": 0, "previous": None, "total_count": 1},
    "objects": [
        {
            "data": {
                "OMEGA_MONGO_URL": "mongodb://ada:pw@127.0.0.1:27017/omega_ada",
                "OMEGA_USERID": "ada",
                "OMEGA_BROKER": "amqp://ada:pw@127.0.0.1:5672//",
                "OMEGA_APIKEY": KEY,
            },
            "resource_uri": "/api/v1/config/ada/",
        }
    ],
}


class Recorded(BaseHTTPRequestHandler):
    """Answers the config route as omegaweb does; `asked` counts how often."""

    asked = 0
    body = json.dumps(ANSWER).encode()
    wait = 0.0

    def do_GET(self) -> None:
        type(self).asked += 1
        time.sleep(self.wait)
        known = self.headers["Authorization"] == f"ada:{KEY}"
        found = self.path == "/api/v1/config/"
        self.send_response(404 if not found else 200 if known else 401)
        self.end_headers()
        if known and found:
            self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Recorded.asked, Recorded.body, Recorded.wait = 0, json.dumps(ANSWER).encode(), 0.0
    httpd = HTTPServer(("127.0.0.1", 0), Recorded)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OMEGA")}
    return {**kept, "HOME": str(tmp_path), "OMEGA_HOME": str(tmp_path / "omega"), "PYTHONPATH": str(ROOT)}


def run(env: dict[str, str], *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "omegacli", *words],
        env=env,
        input=stdin,
        text=True,
        capture_output=True,
        timeout=60,
    )


def config_of(env: dict[str, str]) -> Path:
    return Path(env["OMEGA_HOME"]) / "config.yml"


def test_a_set_value_is_read_back_and_the_file_is_private(env: dict[str, str]) -> None:
    assert run(env, "config", "set", "OMEGA_BUCKET=mine").returncode == 0
    assert run(env, "config", "get", "OMEGA_BUCKET").stdout == "mine\n"
    assert stat.S_IMODE(config_of(env).stat().st_mode) == 0o600
    assert run(env, "config", "unset", "OMEGA_BUCKET").returncode == 0
    assert run(env, "config", "get", "OMEGA_BUCKET").stdout == "omegaml\n"
    assert run(env, "config", "unset", "OMEGA_BUCKET").returncode == 4


def test_flags_win_over_environment_over_context_over_file(env: dict[str, str]) -> None:
    def bucket(*words: str, **more: str) -> tuple[str, str]:
        data = json.loads(run({**env, **more}, "config", "get", "OMEGA_BUCKET", "--json", *words).stdout)[
            "data"
        ]
        return data["value"], data["origin"]

    assert bucket() == ("omegaml", "default")
    run(env, "config", "set", "OMEGA_BUCKET=infile")
    assert bucket() == ("infile", str(config_of(env)))
    ConfigFile(config_of(env)).set_context("dev", {"OMEGA_BUCKET": "incontext"}, select=True)
    assert bucket() == ("incontext", f"context dev in {config_of(env)}")
    assert bucket(OMEGA_BUCKET="inenv") == ("inenv", "environment OMEGA_BUCKET")
    assert bucket("--bucket", "flag", OMEGA_BUCKET="inenv")[0] == "flag"


def test_secrets_are_shown_only_when_asked_for(env: dict[str, str]) -> None:
    run(env, "config", "set", f"OMEGA_APIKEY={KEY}")
    assert KEY not in run(env, "config", "list", "--show-origin").stdout
    assert KEY not in run(env, "config", "list", "--json").stdout
    assert KEY in run(env, "config", "list", "--reveal").stdout


def test_an_unknown_setting_is_refused_with_a_suggestion(env: dict[str, str]) -> None:
    done = run(env, "config", "set", "OMEGA_BUKCET=x")
    assert done.returncode == 2 and "OMEGA_BUCKET" in done.stderr and not config_of(env).exists()
    assert run(env, "config", "set", "OMEGA_BUCKET").returncode == 2


def test_a_bad_file_is_named_with_its_line(env: dict[str, str]) -> None:
    config_of(env).parent.mkdir()
    config_of(env).write_text("OMEGA_BUCKET: a\nOMEGA_USERID: [b\n")
    done = run(env, "config", "list")
    assert done.returncode == 1 and f"{config_of(env)}, line " in done.stderr
    assert run(env, "config", "validate", "--json").returncode == 1
    assert run(env, "config", "path").stdout.strip() == str(config_of(env))


def test_a_dry_run_writes_nothing(env: dict[str, str]) -> None:
    assert run(env, "config", "set", "OMEGA_BUCKET=x", "--dry-run").returncode == 0
    assert not config_of(env).exists()


def test_contexts_are_listed_chosen_and_removed(env: dict[str, str]) -> None:
    for name in ("one", "two"):
        done = run(
            env, "init", "--no-verify", "--userid", "ada", "--apikey", KEY, "--url", "http://h:1", "-c", name
        )
        assert done.returncode == 0, done.stderr
    rows = json.loads(run(env, "context", "list", "--json").stdout)["data"]
    assert [(row["name"], row["current"]) for row in rows] == [("one", False), ("two", True)]
    assert run(env, "context", "use", "one").returncode == 0
    shown = run(env, "context", "show")
    assert "one" in shown.stdout and KEY not in shown.stdout
    assert KEY in run(env, "context", "show", "--reveal").stdout
    assert run(env, "context", "use", "three").returncode == 4
    assert run(env, "context", "remove", "two").returncode == 3
    assert run(env, "context", "remove", "two", "--yes").returncode == 0
    assert run(env, "context", "remove", "two", "--yes").returncode == 4


def test_init_writes_what_the_server_has_accepted(env: dict[str, str], server: str) -> None:
    done = run(env, "init", "--userid", "ada", "--apikey-stdin", "--url", server, stdin=f"{KEY}\n")
    assert done.returncode == 0, done.stderr
    assert Recorded.asked == 1 and KEY not in done.stdout + done.stderr
    assert run(env, "config", "get", "OMEGA_APIKEY").stdout == f"{KEY}\n"
    assert stat.S_IMODE(config_of(env).stat().st_mode) == 0o600


def test_init_with_a_wrong_key_is_6_and_writes_nothing(env: dict[str, str], server: str) -> None:
    done = run(env, "init", "--userid", "ada", "--apikey", "wrong", "--url", server, "--json")
    assert done.returncode == 6 and json.loads(done.stdout)["error"]["code"] == "AUTH_FAILED"
    assert not config_of(env).exists() and "wrong" not in done.stdout + done.stderr


def test_init_without_a_server_is_7(env: dict[str, str]) -> None:
    done = run(env, "init", "--userid", "ada", "--apikey", KEY, "--url", "http://127.0.0.1:1")
    assert done.returncode == 7 and "127.0.0.1:1" in done.stderr and not config_of(env).exists()


def test_init_keeps_another_account_unless_forced(env: dict[str, str]) -> None:
    first = ["init", "--no-verify", "--apikey", KEY, "--url", "http://h:1"]
    assert run(env, *first, "--userid", "ada").returncode == 0
    assert run(env, *first, "--userid", "ada").returncode == 0
    assert run(env, *first, "--userid", "bob").returncode == 5
    assert run(env, *first, "--userid", "bob", "--force").returncode == 0
    assert run(env, "config", "get", "OMEGA_USERID").stdout == "bob\n"


@pytest.mark.parametrize("words", [["--userid", "Ada"], ["--apikey", ""], ["--apikey", "a:b"]])
def test_init_refuses_what_no_account_has(env: dict[str, str], words: list[str]) -> None:
    given = {"--userid": "ada", "--apikey": KEY, "--url": "http://h:1", words[0]: words[1]}
    done = run(env, "init", "--no-verify", *(w for pair in given.items() for w in pair))
    assert done.returncode == 2 and not config_of(env).exists()


def test_what_the_platform_says_is_shown_with_its_origin(env: dict[str, str], server: str) -> None:
    assert run(env, "init", "--userid", "ada", "--apikey", KEY, "--url", server).returncode == 0
    shown = run(env, "config", "get", "OMEGA_BROKER", "--show-origin").stdout
    assert shown == f"amqp://ada:pw@127.0.0.1:5672/%2F\taccount ada at {server}\n"
    assert Recorded.asked == 1  # by init
    cache = next((Path(env["OMEGA_HOME"]) / "cache").iterdir())
    cache.unlink()
    done = run({**env, "OMEGA_RESTAPI_URL": "http://127.0.0.1:1"}, "config", "list", "--show-origin")
    assert done.returncode == 0 and "account ada at" not in done.stdout
    assert "warning: what is the account's is not known: nothing answers at" in done.stderr


def test_a_broker_that_cannot_be_is_the_platforms_fault(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMEGA_HOME", str(tmp_path))
    Recorded.body = json.dumps({"objects": [{"data": {"OMEGA_BROKER": "http://ada:s3ntinel@h"}}]}).encode()
    with pytest.raises(Corrupt, match="OMEGA_BROKER of account ada at") as caught:
        rest.completed(load(OMEGA_RESTAPI_URL=server, OMEGA_USERID="ada", OMEGA_APIKEY=KEY))
    assert "s3ntinel" not in str(caught.value)


def test_init_asks_nobody_where_nobody_is(env: dict[str, str]) -> None:
    assert run(env, "init", "--no-verify", "--userid", "ada", "--url", "http://h:1").returncode == 3


def test_the_answer_is_kept_for_ten_minutes_in_a_private_file(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMEGA_HOME", str(tmp_path))
    config = load(OMEGA_RESTAPI_URL=server, OMEGA_USERID="ada", OMEGA_APIKEY=KEY)
    for _ in range(2):
        assert rest.client_config(config)["OMEGA_BROKER"] == "amqp://ada:pw@127.0.0.1:5672//"
    path = cache_path(None)
    assert Recorded.asked == 1 and stat.S_IMODE(path.stat().st_mode) == 0o600
    rest.client_config(config, refetch=True)
    assert Recorded.asked == 2
    old = json.loads(path.read_text())
    path.write_text(json.dumps({**old, "fetched": old["fetched"] - 601}))
    rest.client_config(config)
    assert Recorded.asked == 3
    path.write_text("torn {")
    rest.client_config(config)
    assert Recorded.asked == 4


def test_what_is_no_config_answer_is_named(server: str) -> None:
    for body in (b"<html>", b"{}", b'{"objects": []}', b'{"objects": [{"data": 5}]}', b""):
        Recorded.body = body
        with pytest.raises(Corrupt, match="/api/v1/config/"):
            rest.fetch_config(server, "ada", KEY)


def test_each_failure_of_the_server_has_its_error(server: str) -> None:
    with pytest.raises(AuthFailed):
        rest.fetch_config(server, "eve", KEY)
    with pytest.raises(NotFound):
        rest.fetch_config(f"{server}/elsewhere", "ada", KEY)
    with pytest.raises(InvalidInput):
        rest.fetch_config("localhost:5000", "ada", KEY)
    with pytest.raises(Unavailable):
        rest.fetch_config("http://127.0.0.1:1", "ada", KEY)
    Recorded.wait = 1.0
    with pytest.raises(TimedOut):
        rest.fetch_config(server, "ada", KEY, timeout=0.2)


def test_a_context_of_one_account_takes_nothing_that_opens_another(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ConfigFile(config_of(env))
    urls = {
        "OMEGA_RESTAPI_URL": "http://h:1",
        "OMEGA_MONGO_URL": "mongodb://h/ada",
        "OMEGA_BROKER": "amqp://h",
    }
    file.set_values({"OMEGA_USERID": "ada", "OMEGA_APIKEY": KEY, "OMEGA_BUCKET": "mine", **urls})
    file.set_context("bob", {"OMEGA_USERID": "bob"})
    file.set_context("nobody", {"OMEGA_TIMEOUT": 5})
    bob = load(file.path, "bob")
    assert bob.get("OMEGA_USERID") == "bob" and bob.get("OMEGA_BUCKET") == "mine"
    assert {bob.get(name) for name in ("OMEGA_APIKEY", *urls)} == {None}
    assert load(file.path, "nobody").get("OMEGA_APIKEY") == KEY
    assert load(file.path, "bob", OMEGA_APIKEY="given").get("OMEGA_APIKEY") == "given"
    monkeypatch.setenv("OMEGA_MONGO_URL", "mongodb://e/bob")
    assert load(file.path, "bob").get("OMEGA_MONGO_URL") == "mongodb://e/bob"


def test_two_writers_at_once_lose_nothing(env: dict[str, str]) -> None:
    file = ConfigFile(config_of(env))

    def write(number: int) -> None:
        for i in range(10):
            ConfigFile(config_of(env)).set_context(f"c{number}-{i}", {"OMEGA_BUCKET": str(i)})

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert len(file.contexts()) == 40
    assert stat.S_IMODE(config_of(env).stat().st_mode) == 0o600


def test_unknown_keys_and_a_link_to_the_file_are_kept(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "dotfiles.yml").write_text("MINE: 1\nOMEGA_BUCKET: a\n")
    config_of(env).parent.mkdir()
    config_of(env).symlink_to(tmp_path / "dotfiles.yml")
    assert run(env, "config", "set", "OMEGA_BUCKET=b").returncode == 0
    assert config_of(env).is_symlink()
    assert (tmp_path / "dotfiles.yml").read_text() == "MINE: 1\nOMEGA_BUCKET: b\n"
    assert run(env, "config", "validate").returncode == 2  # and names what nobody reads


@pytest.mark.parametrize(
    "pair", ["OMEGA_TIMEOUT=soon", "OMEGA_TIMEOUT=-1", "OMEGA_TIMEOUT=nan", "=x", "OMEGA_RESTAPI_URL=h"]
)
def test_a_value_that_cannot_be_is_refused(env: dict[str, str], pair: str) -> None:
    done = run(env, "config", "set", pair)
    assert done.returncode == 2 and not config_of(env).exists()


def test_a_value_that_has_no_effect_is_warned_of(env: dict[str, str]) -> None:
    done = run({**env, "OMEGA_BUCKET": "other"}, "config", "set", "OMEGA_BUCKET=mine")
    assert done.returncode == 0 and "warning" in done.stderr and "environment OMEGA_BUCKET" in done.stderr


@pytest.mark.parametrize(
    "url", ["h", "ftp://h", "http:///x", "http://[::1", "http://u:s3ntinel@h:1", "http://h/?q=1", ""]
)
def test_init_refuses_what_is_no_address(env: dict[str, str], url: str) -> None:
    done = run(env, "init", "--no-verify", "--userid", "ada", "--apikey", KEY, "--url", url)
    assert done.returncode == 2 and "s3ntinel" not in done.stderr and not config_of(env).exists()


def test_an_account_takes_the_place_of_the_context_in_use(env: dict[str, str]) -> None:
    ConfigFile(config_of(env)).set_context(
        "local", {"OMEGA_USERID": "admin", "OMEGA_MONGO_URL": "mongodb://h/x"}
    )
    done = run(env, "init", "--no-verify", "--userid", "ada", "--apikey", KEY, "--url", "http://h:1")
    assert done.returncode == 0 and "omegacli context use local" in done.stderr
    assert run(env, "config", "get", "OMEGA_USERID").stdout == "ada\n"
    assert run(env, "config", "get", "OMEGA_MONGO_URL").returncode == 4


def test_a_typo_of_a_context_gets_a_suggestion(env: dict[str, str]) -> None:
    ConfigFile(config_of(env)).set_context("production", {})
    for words in (["config", "list", "-c", "prodution"], ["context", "use", "prodution"]):
        done = run(env, *words)
        assert done.returncode == 4 and "did you mean production?" in done.stderr


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "a b"])
def test_a_context_has_a_plain_name(env: dict[str, str], name: str) -> None:
    with pytest.raises(InvalidInput):
        ConfigFile(config_of(env)).set_context(name, {})
    assert not config_of(env).exists() and cache_path(name).parent == cache_path(None).parent


@pytest.mark.parametrize(
    ("text", "line"),
    [(b"a: 1\nb: \xff\n", 2), (b"a: 1\nb: \x00\n", 2), (b"a: 1\n\tb: 2\n", 2), (b"- x\n", 1)],
)
def test_the_bad_line_of_a_file_is_named(env: dict[str, str], text: bytes, line: int) -> None:
    config_of(env).parent.mkdir()
    config_of(env).write_bytes(text)
    done = run(env, "config", "list")
    assert done.returncode == 1 and f"{config_of(env)}, line {line}" in done.stderr


def test_a_folder_that_cannot_be_written_is_named(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(env, "config", "set", "OMEGA_BUCKET=x", "--config", str(tmp_path / "file" / "config.yml"))
    assert done.returncode == 1 and "cannot be written" in done.stderr and "Traceback" not in done.stderr


def test_a_server_that_accepts_nobody_is_7_in_time(env: dict[str, str]) -> None:
    with socket.socket() as deaf, socket.socket() as one, socket.socket() as two:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for other in (one, two):  # its queue is full: who comes now gets no answer at all
            other.setblocking(False)
            other.connect_ex(deaf.getsockname())
        url, started = f"http://127.0.0.1:{deaf.getsockname()[1]}", time.monotonic()
        done = run(env, "init", "--userid", "ada", "--apikey", KEY, "--url", url)
    assert done.returncode == 7 and url in done.stderr
    assert time.monotonic() - started < 8  # 3 s to look for it, and a slow machine's start-up


def test_a_refused_password_is_asked_for_again_once(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept URL has an old password; the one that the server tells now is used, and kept."""
    from pymongo.errors import OperationFailure

    from omegaml import mongo
    from omegaml.omega import Omega

    class Client:
        def __init__(self, url: str, *_: Any) -> None:
            self.url = url
            self.admin = self

        def command(self, name: str) -> None:
            if "old" in self.url:
                raise OperationFailure("Authentication failed.", 18)

        def __getitem__(self, name: str) -> str:
            return f"{self.url} {name}"

    monkeypatch.setenv("OMEGA_HOME", str(tmp_path))
    monkeypatch.setattr(mongo, "connect", Client)
    config = load(OMEGA_RESTAPI_URL=server, OMEGA_USERID="ada", OMEGA_APIKEY=KEY)
    old = {"OMEGA_MONGO_URL": "mongodb://ada:old@127.0.0.1:27017/omega_ada"}
    rest.client_config(config)
    kept = json.loads(cache_path(None).read_text())
    cache_path(None).write_text(json.dumps({**kept, "data": old}))
    assert "ada:pw@" in Omega(config).db and Recorded.asked == 2
    assert "ada:pw@" in cache_path(None).read_text()
    Recorded.body = json.dumps(ANSWER).replace("ada:pw@", "ada:old@").encode()
    rest.client_config(config, refetch=True)
    assert "ada:old@" in Omega(config).db and Recorded.asked == 4  # once; then the store says what is refused


def test_an_answer_without_a_database_is_named(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMEGA_HOME", str(tmp_path))
    Recorded.body = json.dumps({"objects": [{"data": {"OMEGA_USERID": "ada"}}]}).encode()
    with pytest.raises(Corrupt, match="names no database for 'ada'"):
        rest.mongo_url(load(OMEGA_RESTAPI_URL=server, OMEGA_USERID="ada", OMEGA_APIKEY=KEY))


def test_doctor_says_what_is_missing(env: dict[str, str], tmp_path: Path) -> None:
    done = run(env, "doctor", "--json", "--bundle", str(tmp_path / "b.tgz"))
    found = {row["id"]: row for row in json.loads(done.stdout)["data"]}
    assert done.returncode == 1 and (tmp_path / "b.tgz").exists()
    assert found["python"]["status"] == "ok" and found["settings"]["status"] == "fail"
    assert "omegacli cluster up" in found["settings"]["hint"]
    assert run(env, "doctor", "--only", "python").returncode == 0
    assert run(env, "doctor", "--only", "nonsense").returncode == 4


def test_a_database_that_does_not_answer_is_one_sentence_and_one_next_step(env: dict[str, str]) -> None:
    env["OMEGA_MONGO_URL"] = "mongodb://127.0.0.1:1/nothing"
    env["OMEGA_TIMEOUT"] = "0.1"
    error = "no MongoDB server answers at 127.0.0.1:1"
    hint = "start one with `omegacli cluster up`"
    state = Omega(mongo_url=env["OMEGA_MONGO_URL"], config=load(OMEGA_TIMEOUT=0.1)).status()
    assert state["mongodb"] == {"ok": False, "error": error, "hint": hint, "code": "UNAVAILABLE"}
    (row,) = json.loads(run(env, "doctor", "--only", "database", "--json").stdout)["data"]
    assert (row["status"], row["message"], row["hint"]) == ("fail", error, hint)


def test_the_settings_of_a_cluster_are_those_of_the_one_that_is_meant(
    env: dict[str, str], tmp_path: Path
) -> None:
    def ports(*words: str) -> str:
        done = run(env, "config", "get", "ports.mongodb", "--cluster", "--show-origin", *words)
        return done.stdout.strip() or done.stderr

    for name, text in (("default", "target: local\n"), ("second", "ports: {mongodb: 27020}\n")):
        folder = tmp_path / "omega" / "clusters" / name
        folder.mkdir(parents=True)
        (folder / "omega.yml").write_text(text)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "omega.yml").write_text("name: third\nports: {mongodb: 27030}\n")
    contexts = f"contexts: {{third: {{cluster: {elsewhere}}}, ada: {{OMEGA_USERID: ada}}}}"
    config_of(env).write_text(contexts)
    assert ports() == "27017\tdefault"
    assert ports("--name", "second") == "27020\tomega.yml"
    assert ports("--context", "third") == ports("--name", "third") == "27030\tomega.yml"
    assert ports("--root", str(elsewhere)) == "27030\tomega.yml"
    assert "is called 'third'" in ports("--root", str(elsewhere), "--name", "second")
    assert "that of no cluster" in ports("--context", "ada")
    path = run(env, "config", "path", "--cluster", "--name", "second").stdout.strip()
    assert path == str(tmp_path / "omega" / "clusters" / "second" / "omega.yml")
    listed = run(env, "config", "list", "--cluster", "--context", "third", "--json")
    values = {row["name"]: row["value"] for row in json.loads(listed.stdout)["data"]}
    assert (values["name"], values["ports.mongodb"], values["runner.enabled"]) == ("third", 27030, True)
    (elsewhere / "omega.yml").write_text("prots: {mongodb: 1}")
    assert run(env, "config", "validate", "--cluster", "--context", "third").returncode == 1
    assert run(env, "config", "list", "--name", "second").returncode == 2
    assert run(env, "config", "list", "--cluster", "--name", "fourth").returncode == 4


def test_settings_of_a_cluster_are_set_and_removed(env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "omega" / "clusters" / "default" / "omega.yml"
    assert run(env, "config", "set", "ports.mongodb=27018", "--cluster").returncode == 4
    assert not file.exists()
    file.parent.mkdir(parents=True)
    file.write_text("# ours\ntarget: local\n")
    done = run(env, "config", "set", "ports.mongodb=27018", "runner.enabled=no", "--cluster")
    assert done.returncode == 0 and "omegacli cluster up" in done.stderr
    assert file.read_text().startswith("# ours\n")
    kept = {"target": "local", "ports": {"mongodb": 27018}, "runner": {"enabled": False}}
    assert yaml.safe_load(file.read_text()) == kept
    for word, code, named in [
        ("ports.mongodb=many", 2, "ports.mongodb"),
        ("ports.mongdb=27018", 2, "did you mean ports.mongodb"),
        ("ports.mongodb", 2, "no value"),
    ]:
        done = run(env, "config", "set", "runner.enabled=yes", word, "--cluster")
        assert done.returncode == code and named in done.stderr
    assert yaml.safe_load(file.read_text()) == kept
    assert run(env, "config", "unset", "ports.mongodb", "--cluster", "--dry-run").returncode == 0
    assert yaml.safe_load(file.read_text()) == kept
    assert run(env, "config", "unset", "ports.mongodb", "--cluster").returncode == 0
    assert run(env, "config", "get", "ports.mongodb", "--cluster").stdout.strip() == "27017"
    assert run(env, "config", "unset", "ports.mongodb", "--cluster").returncode == 4
    assert run(env, "config", "unset", "ports.web", "--name", "default").returncode == 2
