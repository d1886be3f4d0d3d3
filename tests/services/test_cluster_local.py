"""A local cluster as its operator meets it: the command line, a real mongod, a real runner, kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
import yaml

from omegacli.deploy import checks
from omegacli.deploy.base import write_file
from omegacli.deploy.mongod import find_mongod
from omegaml import admin, config, diskfull
from omegaml.errors import AuthFailed, Unavailable
from tests.services.machine import NO_WEB, REPOSITORY, Machine, alive, eventually, free_port

pytestmark = [pytest.mark.once, pytest.mark.platform]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A home in which a cluster is up."""
    place = Machine(tmp_path_factory.mktemp("home"), free_port())
    try:
        place.up()
        yield place
    finally:
        if (place.root / "secrets.yml").exists():
            place.destroy()


@pytest.fixture
def running(machine: Machine) -> Machine:
    """The cluster, brought up again if a test before left it down."""
    if any(service["state"] != "running" for service in machine.services().values()):
        machine.up()
    return machine


def test_after_up_everything_runs_and_status_says_ok(running: Machine) -> None:
    answer = running.cluster("status")
    assert answer["data"]["state"] == "ok"
    assert [s["name"] for s in answer["data"]["services"]] == ["supervisor", "mongodb", "runner"]
    assert all(alive(s["pid"]) for s in answer["data"]["services"])


def test_up_made_a_context_so_that_python_works_at_once(running: Machine) -> None:
    running.python("om.datasets.put({'a': [1, 2]}, 'first')")
    assert running.python("print(om.datasets.get('first'))") == "{'a': [1, 2]}"
    settings = yaml.safe_load((running.home / ".omegaml" / "config.yml").read_text())
    assert settings["current-context"] == "default"
    assert settings["contexts"]["default"]["OMEGA_USERID"] == "admin"
    assert settings["contexts"]["default"]["OMEGA_MONGO_URL"].endswith(
        f"@127.0.0.1:{running.port}/omega_admin?directConnection=true&authSource=omega_admin"
    )


def test_a_second_up_restarts_nothing_and_changes_no_file(running: Machine) -> None:
    before, pids = running.files(), running.pids()
    running.up()
    running.cluster("up")
    assert running.files() == before
    assert running.pids() == pids


def test_no_secret_can_be_read_by_others_or_seen_in_a_process_list_or_log(running: Machine) -> None:
    secrets = [value for value in running.secrets().values()]
    modes = {name: mode for name, (_, mode) in running.files().items()}
    for name, mode in modes.items():
        content = (running.home / name).read_text(errors="replace")
        if any(secret in content for secret in secrets):
            assert mode & 0o077 == 0, name
    assert modes[".omegaml/clusters/default/build/secrets/mongodb/keyfile"] == 0o400
    shown = [path.read_text(errors="replace") for path in (running.root / "logs").iterdir()]
    for pid in running.pids().values():
        shown += [Path(f"/proc/{pid}/{part}").read_text(errors="replace") for part in ("cmdline", "environ")]
    assert not [secret for secret in secrets if any(secret in text for text in shown)]


def test_mongodb_listens_on_this_machine_only(running: Machine) -> None:
    own = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]
    assert [address for address in listening if int(address.split(":")[1], 16) == running.port] == [
        f"0100007F:{running.port:04X}"
    ]
    for address in own:
        if ":" not in address:
            with socket.socket() as client:
                client.settimeout(2)
                assert client.connect_ex((address, running.port)) != 0


def test_without_a_password_or_with_a_wrong_one_nothing_can_be_read_or_made(running: Machine) -> None:
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure

    plain = f"mongodb://127.0.0.1:{running.port}/?directConnection=true"
    with MongoClient(plain) as client:
        for ask in (
            lambda: client.omega_admin.list_collection_names(),
            lambda: client.omega_admin.x.insert_one({}),
            lambda: client.admin.command("createUser", "eve", pwd="x", roles=["root"]),
        ):
            with pytest.raises(OperationFailure) as caught:
                ask()
            assert caught.value.code == 13
    with MongoClient(plain, username="admin", password="wrong", authSource="omega_admin") as client:
        with pytest.raises(OperationFailure) as caught:
            client.omega_admin.list_collection_names()
        assert caught.value.code == 18


def test_the_account_reaches_its_own_database_only_and_runs_no_javascript(running: Machine) -> None:
    from pymongo import MongoClient
    from pymongo.errors import OperationFailure

    url = yaml.safe_load((running.home / ".omegaml" / "config.yml").read_text())["contexts"]["default"][
        "OMEGA_MONGO_URL"
    ]
    with MongoClient(url) as client:
        assert client.list_database_names() == ["omega_admin"]
        for ask in (
            lambda: client.other.x.find_one(),
            lambda: client.admin.command("usersInfo", "root"),
            lambda: client.omega_admin.command("createUser", "eve", pwd="x", roles=[]),
        ):
            with pytest.raises(OperationFailure) as caught:
                ask()
            assert caught.value.code == 13
        client.omega_admin.x.insert_one({})
        with pytest.raises(OperationFailure, match=r"(?i)javascript|script"):
            client.omega_admin.x.find_one({"$where": "true"})
        client.omega_admin.x.drop()


def test_a_killed_mongod_is_started_again_and_no_data_is_lost(running: Machine) -> None:
    running.om().datasets.put({"kept": True}, "through-kill")
    before = running.pids()
    os.kill(before["mongodb"], signal.SIGKILL)
    eventually(
        lambda: (
            running.services()["mongodb"]["state"] == "running"
            and running.pids()["mongodb"] != before["mongodb"]
        )
    )
    assert running.cluster("wait")["data"]["state"] == "ok"
    assert running.services()["mongodb"]["restarts"] >= 1
    assert running.om().datasets.get("through-kill") == {"kept": True}
    assert running.pids()["supervisor"] == before["supervisor"]


def test_a_killed_runner_is_started_again(running: Machine) -> None:
    before = running.pids()
    os.kill(before["runner"], signal.SIGKILL)
    eventually(lambda: running.pids()["runner"] not in (None, before["runner"]))
    running.wait()
    assert running.pids()["mongodb"] == before["mongodb"]


def test_after_a_killed_supervisor_status_says_degraded_and_up_adopts_what_runs(running: Machine) -> None:
    before = running.pids()
    os.kill(before["supervisor"], signal.SIGKILL)
    eventually(lambda: not alive(before["supervisor"]))
    answer = running.cluster("status", code=1)
    assert answer["data"]["state"] == "degraded"
    assert answer["data"]["services"][0]["state"] == "failed"
    running.om().datasets.put(1, "meanwhile")
    running.up()
    after = running.pids()
    assert after["supervisor"] not in (None, before["supervisor"])
    assert (after["mongodb"], after["runner"]) == (before["mongodb"], before["runner"])
    os.kill(after["mongodb"], signal.SIGKILL)  # the adopted one is watched as well
    eventually(lambda: running.pids()["mongodb"] not in (None, after["mongodb"]))
    running.wait()


def test_down_stops_what_a_killed_supervisor_left_running(running: Machine) -> None:
    before = running.pids()
    os.kill(before["supervisor"], signal.SIGKILL)
    running.cluster("down")
    assert not [name for name, pid in before.items() if alive(pid)]
    assert running.cluster("status", code=1)["data"]["state"] == "down"


def test_data_and_secrets_survive_down_and_up(running: Machine) -> None:
    running.om().datasets.put([1, 2, 3], "through-down")
    secrets, pids = running.secrets(), running.pids()
    running.cluster("down")
    assert not [name for name, pid in pids.items() if alive(pid)]
    assert not (running.root / "build").exists()
    running.cluster("up")
    assert running.secrets() == secrets
    assert running.om().datasets.get("through-down") == [1, 2, 3]


def test_stop_and_start_keep_everything(running: Machine) -> None:
    before = running.files()
    running.cluster("stop")
    running.cluster("stop")
    assert running.cluster("status", code=1)["data"]["state"] == "down"
    running.cluster("start")
    changed = {name for name, content in running.files().items() if before.get(name) != content}
    assert all(Path(name).parent.name == "state" for name in changed)
    assert running.cluster("status")["data"]["state"] == "ok"


def test_the_port_can_be_changed_on_a_cluster_with_data(running: Machine) -> None:
    running.om().datasets.put("here", "moved")
    running.port = free_port()
    running.up()
    assert running.services()["mongodb"]["port"] == running.port
    assert running.om().datasets.get("moved") == "here"


def test_dry_run_tells_the_steps_and_does_none(running: Machine) -> None:
    before, pids = running.files(), running.pids()
    steps = running.cluster("up", "--set", "mongodb.cache_gb=0.5", "--dry-run")["data"]
    assert [step["id"] for step in steps][:3] == ["lock", "preflight", "secrets"]
    running.cluster("down", "--dry-run")
    assert (running.files(), running.pids()) == (before, pids)


def test_up_can_begin_at_a_step(running: Machine) -> None:
    assert running.cluster("up", "--from", "smoke")["ok"] is True
    answer = running.cluster("up", "--from", "smke", code=2)
    assert "smoke" in answer["error"]["hint"]


def test_logs_show_what_a_service_wrote_and_know_the_services(running: Machine) -> None:
    lines = running.cluster("logs", "supervisor", "--lines", "5")["data"]
    assert 0 < len(lines) <= 5 and {line["service"] for line in lines} == {"supervisor"}
    assert {line["service"] for line in running.cluster("logs")["data"]} == {
        "supervisor",
        "mongodb",
        "runner",
    }
    assert "mongodb" in running.cluster("logs", "mongo", code=4)["error"]["hint"]


def test_followed_logs_bring_new_lines_until_interrupted(running: Machine) -> None:
    follower = subprocess.Popen(
        [sys.executable, "-m", "omegacli", "cluster", "logs", "supervisor", "-f", "-n", "1"],
        cwd=running.home,
        env=running.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert follower.stdout is not None
        assert follower.stdout.readline()  # it is there
        os.kill(running.pids()["runner"], signal.SIGKILL)
        assert "runner ended with -9" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        assert follower.wait(20) == 130
    finally:
        follower.kill()
        follower.wait()
    running.wait()


def test_followed_logs_in_json_are_lines_with_the_envelope_last(running: Machine) -> None:
    words = [sys.executable, "-m", "omegacli", "cluster", "logs", "supervisor", "-f", "--json"]
    follower = subprocess.Popen(
        words, cwd=running.home, env=running.environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert follower.stdout is not None
        first = json.loads(follower.stdout.readline())
        assert first["service"] == "supervisor" and "watches mongodb, runner" in first["line"]
        follower.send_signal(signal.SIGINT)
        last = [json.loads(line) for line in follower.stdout][-1]
        assert follower.wait(20) == 130
        assert (last["ok"], last["error"]["exit"]) == (False, 130)
    finally:
        follower.kill()
        follower.wait()


def test_two_ups_at_once_do_not_get_in_each_others_way(running: Machine) -> None:
    running.cluster("down")
    words = [sys.executable, "-m", "omegacli", "cluster", "up", "--json"]
    both = [
        subprocess.Popen(words, cwd=running.home, env=running.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 5])
    assert all("is locked by process" in a["error"]["message"] for a in answers if not a["ok"])
    running.wait()


STEPS = ("lock", "preflight", "secrets", "render", "data.start", "data.wait", "mongoinit", "settings")
QUICK = ("secrets", "data.start")


@pytest.mark.parametrize(
    "step", [step if step in QUICK else pytest.param(step, marks=pytest.mark.slow) for step in STEPS]
)
def test_an_up_that_was_killed_is_finished_by_the_next(tmp_path: Path, step: str) -> None:
    place = Machine(tmp_path, free_port())
    words = ["cluster", "up", "--set", f"ports.mongodb={place.port}", *NO_WEB, "--json"]
    first = subprocess.Popen(
        [sys.executable, "-m", "omegacli", *words],
        cwd=tmp_path,
        env=place.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    try:
        for line in first.stdout:
            if json.loads(line).get("event") == step:
                break
        first.kill()
        first.wait()
        answer = place.up()
        assert answer["data"]["state"] == "ok"
        assert any("took over the lock" in warning for warning in answer["warnings"])
        place.om().datasets.put(1, "x")
        assert place.om().datasets.get("x") == 1
    finally:
        place.destroy()


def test_a_mongod_that_cannot_run_gives_its_last_words_and_leaves_nothing_running(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    program = tmp_path / "mongod"
    program.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo db version v6.0.5 && exit 0\necho no such luck >&2\nexit 14\n"
    )
    program.chmod(0o755)
    words = ("up", "--set", f"ports.mongodb={place.port}", *NO_WEB, "--timeout", "20")
    try:
        error = place.cluster(*words, code=7, OMEGA_MONGOD=str(program))["error"]
        assert "no such luck" in error["details"]["logs"]["mongodb"]
        assert "cluster logs mongodb" in error["hint"]
    finally:
        place.destroy()


def test_a_taken_port_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    with socket.socket() as other:
        other.bind(("127.0.0.1", place.port))
        other.listen()
        error = place.cluster("up", "--set", f"ports.mongodb={place.port}", *NO_WEB, code=9)["error"]
    assert error["code"] == "PORT_IN_USE" and str(place.port) in error["message"]
    assert "--set ports.mongodb=" in error["hint"]
    assert place.files() == {}


def test_without_a_mongod_up_names_the_three_ways_to_get_one(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    # -S with only the repository and what the command needs: the wheel's folder is not on this path
    packages = Path(yaml.__file__).parents[1]
    shelf = tmp_path / "packages"
    shelf.mkdir()
    for entry in packages.iterdir():
        if entry.name != "fiftyone":
            (shelf / entry.name).symlink_to(entry)
    environment = {
        **place.environment,
        "PATH": str(tmp_path),
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{shelf}",
    }
    environment.pop("OMEGA_MONGOD", None)
    words = ["-S", "-m", "omegacli", "cluster", "up", "--set", f"ports.mongodb={place.port}", *NO_WEB]
    done = subprocess.run(
        [sys.executable, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 9, done.stderr
    assert all(way in done.stderr for way in ("PATH", "OMEGA_MONGOD", "pip install 'omegaml[local]'"))
    assert not place.root.exists()


def test_lost_secrets_are_found_out_before_anything_is_changed(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    try:
        place.up("--set", "runner.enabled=false")
        kept = place.root / "secrets.yml"
        text = kept.read_text()
        kept.unlink()
        assert "secrets.yml" in place.cluster("status", code=4)["error"]["message"]
        place.cluster("down")  # needs none
        assert "secrets.yml" in place.cluster("up", code=9)["error"]["message"]
        kept.write_text(text)
        kept.chmod(0o600)
        values = yaml.safe_load(text) | {"mongodb_root_password": "another"}
        kept.write_text(yaml.safe_dump(values))
        assert "root password" in place.cluster("up", code=6)["error"]["message"]
        kept.write_text(text)
        assert place.up()["data"]["state"] == "ok"
    finally:
        place.destroy()
    assert not place.root.exists()


def test_destroy_asks_for_the_name_keeps_data_without_volumes_and_a_backup_with_them(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    try:
        place.up("--set", "runner.enabled=false")
        place.om().datasets.put("still here", "x")
        pids = place.pids()
        assert place.cluster("destroy", code=3)["error"]["code"] == "CONFIRMATION_NEEDED"
        assert place.typed("cluster", "destroy", "--volumes", answer="defualt") == 3
        assert place.pids() == pids
        place.cluster("destroy", "--yes")
        assert not [pid for pid in pids.values() if alive(pid)]
        assert "default" not in place.config.read_text()
        place.up()
        assert place.om().datasets.get("x") == "still here"
        assert place.typed("cluster", "destroy", "--volumes", answer="default") == 0
        assert not place.root.exists()
        assert place.cluster("status", code=4)["error"]["code"] == "NOT_FOUND"
        # the backup is a cluster's root, for its owner only
        (kept,) = (place.home / ".omegaml" / "backups").iterdir()
        assert kept.stat().st_mode & 0o777 == 0o600 and kept.parent.stat().st_mode & 0o777 == 0o700
        place.root.mkdir(parents=True)
        with tarfile.open(kept) as tar:
            tar.extractall(place.root, filter="data")
        assert place.cluster("up")["data"]["state"] == "ok"
        assert place.om().datasets.get("x") == "still here"
    finally:
        place.destroy()
    assert not place.root.exists()


def test_no_secret_is_ever_said_whatever_goes_wrong(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    own = "p@ss:w/rd %41?#&=+[]\"'$\\x äé"  # an operator's own may hold any printable character
    place.root.mkdir(parents=True)
    made = {"admin_password": own, "mongodb_root_password": own[::-1], "mongodb_keyfile": "abcdefgh" * 8}
    write_file(place.root / "secrets.yml", yaml.safe_dump(made))
    said = []

    def type(*words: str, code: int) -> None:
        done = place.type(*words)
        assert done.returncode == code, done.stdout + done.stderr
        said.extend([done.stdout, done.stderr])

    port = ("--set", f"ports.mongodb={place.port}", "--set", "runner.enabled=false", *NO_WEB)
    try:
        type("cluster", "up", *port, "--verbose", code=0)
        assert place.python("om.datasets.put(1, 'x'); print(om.datasets.get('x'))") == "1"
        assert made.items() <= place.secrets().items()  # what omegaweb needs was added
        bundle = str(tmp_path / "bundle.tgz")
        type("doctor", "--target", "local", "--bundle", bundle, code=0)
        type("cluster", "logs", "--json", code=0)
        type("cluster", "status", "--json", code=0)
        wrong = {**made, "mongodb_root_password": own[::-1] + "!"}
        write_file(place.root / "secrets.yml", yaml.safe_dump(wrong))
        type("cluster", "up", "--debug", code=6)
        type("cluster", "up", "--json", "--debug", code=6)
        write_file(place.root / "secrets.yml", f"admin_password: [{own}")
        type("cluster", "up", "--debug", code=1)
        type("doctor", "--target", "local", code=1)
        write_file(place.root / "secrets.yml", yaml.safe_dump(made))
        shown = [path.read_text(errors="replace") for path in (place.root / "logs").iterdir()]
        shown += [path.read_text() for path in (place.root / "build").iterdir() if path.is_file()]
        for pid in filter(None, place.pids().values()):
            files = (Path(f"/proc/{pid}/{part}") for part in ("cmdline", "environ"))
            shown += [path.read_text(errors="replace") for path in files]
        with tarfile.open(bundle) as tar:
            shown += [tar.extractfile(name).read().decode() for name in tar.getnames()]  # type: ignore[union-attr]
    finally:
        place.destroy()
    for secret in made.values():
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
            assert not [text for text in said + shown if form in text]


def test_a_server_that_says_nothing_is_given_up_in_time(running: Machine) -> None:
    mongod = running.pids()["mongodb"]
    os.kill(mongod, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert running.cluster("wait", "--timeout", "2", code=8)["error"]["code"] == "TIMED_OUT"
        assert running.cluster("wait", "--timeout", "0", code=8)["error"]["retry"] is True
        answer = running.cluster("status", code=1)["data"]
        assert time.monotonic() - began < 40
        assert answer["state"] == "degraded"
        assert [s["state"] for s in answer["services"]] == ["running", "starting", "starting"]
    finally:
        os.kill(mongod, signal.SIGCONT)
    running.wait()


def test_acknowledged_writes_survive_kills_of_mongod_and_others_fail_with_one_clear_error(
    running: Machine,
) -> None:
    source = """
import sys, time
from omegaml.errors import OmegaError
end, n = time.monotonic() + 60, 0
while time.monotonic() < end:
    n += 1
    try:
        om.datasets.put({"n": n, "more": "x" * 20000}, f"kept/{n}")
        print("ok", n, flush=True)
    except OmegaError as error:
        print("error", error.code, flush=True)
    except Exception as error:
        print("crash", repr(error), flush=True)
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", "import omegaml as om\n" + source],
        cwd=running.home,
        env=running.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(writer.stdout or []))
    reader.start()
    try:
        for _ in range(3):
            done = len(said)
            eventually(lambda done=done: sum(line.startswith("ok") for line in said[done:]) > 5, 60)
            os.kill(running.pids()["mongodb"], signal.SIGKILL)
        done = len(said)
        eventually(lambda: sum(line.startswith("ok") for line in said[done:]) > 5, 60)
    finally:
        writer.kill()
        writer.wait()
        reader.join()
    words = [line.split() for line in said]
    assert {word for kind, word, *_ in words if kind != "ok"} <= {"UNAVAILABLE", "TIMED_OUT"}
    om = running.om()
    acknowledged = [int(number) for kind, number, *_ in words if kind == "ok"]
    assert [n for n in acknowledged if om.datasets.get(f"kept/{n}")["n"] != n] == []
    for name in om.datasets.list("kept/*"):  # what was not acknowledged is all there or not at all
        assert len(om.datasets.get(name)["more"]) == 20000
        om.datasets.drop(name)


def test_after_a_power_cut_up_starts_all_again(running: Machine) -> None:
    running.om().datasets.put("lit", "before")
    before = running.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in before.values()))
    # meanwhile the numbers were given to others
    record = running.root / "state" / "mongodb.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": os.getpid()}))
    (running.root / "data" / "mongodb" / "mongod.lock").write_text(f"{os.getpid()}\n")
    assert running.cluster("status", code=1)["data"]["state"] == "down"
    running.cluster("up")
    assert set(running.pids().values()).isdisjoint(before.values())
    assert running.om().datasets.get("before") == "lit"


def test_removed_state_is_made_again_and_nothing_is_watched_twice(running: Machine) -> None:
    before = running.pids()
    shutil.rmtree(running.root / "state")
    eventually(lambda: not any(alive(pid) for pid in before.values()), 100)
    assert running.cluster("up")["data"]["state"] == "ok"


def test_an_interrupted_up_says_so_and_gives_the_lock_back(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    words = ["cluster", "up", "--set", f"ports.mongodb={place.port}", *NO_WEB, "--json"]
    first = subprocess.Popen(
        [sys.executable, "-m", "omegacli", *words],
        cwd=tmp_path,
        env=place.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stdout is not None
        for line in first.stdout:
            if json.loads(line).get("event") == "render":
                first.send_signal(signal.SIGINT)
                break
        last = json.loads(first.stdout.readlines()[-1])
        assert first.wait(60) == 130 and last["error"]["exit"] == 130
        answer = place.up()
        assert answer["data"]["state"] == "ok" and answer["warnings"] == []
    finally:
        first.kill()
        first.wait()
        place.destroy()


def test_a_dry_run_on_a_bare_machine_makes_not_even_a_folder(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    done = place.type("cluster", "up", "--set", f"ports.mongodb={place.port}", *NO_WEB, "--dry-run")
    assert done.returncode == 0 and "mongoinit" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_first_up_without_a_target_says_which_it_took_and_later_ones_do_not(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    words = (
        "cluster",
        "up",
        "--set",
        f"ports.mongodb={place.port}",
        "--set",
        "runner.enabled=false",
        *NO_WEB,
    )
    try:
        first = place.type(*words)
        assert first.returncode == 0 and "local: processes of this machine, the only target" in first.stderr
        assert (place.root / "omega.yml").read_text().startswith("target: local\n")
        assert "only target" not in place.type("cluster", "up").stderr
    finally:
        place.destroy()


def test_clusters_of_different_names_live_side_by_side(running: Machine) -> None:
    second = free_port()
    words = ("--set", f"ports.mongodb={second}", "--set", "runner.enabled=false", *NO_WEB)
    root = running.home / "a folder: with # spaces and ünï" / ("long " * 15).strip()
    root.parent.mkdir()
    before = running.files()
    try:
        # a root of its own, given relative to where one is
        place = str(root.relative_to(running.home))
        refused = running.cluster("up", "--root", place, *words, code=9)["error"]
        assert "context 'default'" in refused["message"] and "--name" in refused["hint"]
        assert not root.exists() and running.files() == before
        answer = running.cluster("up", "--root", place, "--name", "second", *words)
        assert (answer["data"]["name"], answer["data"]["root"]) == ("second", str(root))
        running.om("second").datasets.put(2, "which")
        running.om().datasets.put(1, "which")
        assert running.om("second").datasets.get("which") == 2
        assert running.cluster("status")["data"]["name"] == "default"
        # once it is there, its context and its name are enough
        for chosen in (("--name", "second"), ("--context", "second")):
            assert running.cluster("status", *chosen)["data"]["root"] == str(root)
        assert running.cluster("status", OMEGA_CONTEXT="second")["data"]["name"] == "second"
        assert running.cluster("status", "--context", "secnod", code=4)["error"]["code"] == "NOT_FOUND"
    finally:
        running.cluster("destroy", "--name", "second", "--volumes", "--no-backup", "--yes")
    assert not root.exists()
    assert running.cluster("status")["data"]["state"] == "ok"
    assert list(config.ConfigFile(running.config).contexts()) == ["default"]


def test_doctor_checks_what_the_local_target_needs_and_how_its_cluster_is(running: Machine) -> None:
    done = running.type("doctor", "--target", "local", "--json")
    found = {row["id"]: row["status"] for row in json.loads(done.stdout)["data"]}
    assert done.returncode == 0
    assert set(checks.IDS) <= set(found) and {found[id] for id in checks.IDS} <= {"ok", "warn", "skip"}
    assert {id for id in checks.IDS if found[id] == "skip"} == {"local.web", "local.pages"}
    (running.root / "secrets.yml").chmod(0o644)
    try:
        done = running.type("doctor", "--only", "local.secrets,python", "--json")
        rows = json.loads(done.stdout)["data"]
        assert done.returncode == 1
        assert [(row["id"], row["status"]) for row in rows] == [("python", "ok"), ("local.secrets", "fail")]
        assert "chmod 600" in rows[1]["hint"]
    finally:
        (running.root / "secrets.yml").chmod(0o600)


def test_a_full_disk_is_named_nothing_half_written_is_seen_and_work_goes_on_when_it_is_not(
    tmp_path: Path,
) -> None:
    place = Machine(tmp_path, free_port())
    disk = place.home / ".omegaml"
    disk.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=1200m", "tmpfs", str(disk)]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        place.up("--set", "runner.enabled=false")
        supervisor = place.pids()["supervisor"]
        om = place.om()
        om.datasets.put("safe", "small")
        filler = disk / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - 60 * 2**20)
        frame = pd.DataFrame(np.random.default_rng(0).random((3_000_000, 8)))
        with pytest.raises(Unavailable):  # StorageFull where the server could still say it
            om.datasets.put(frame, "big")
        # it may still run, or have ended already; now it finds no room to start
        with filler.open("ab") as file, suppress(OSError):  # MongoDB may have taken all there was
            os.posix_fallocate(file.fileno(), filler.stat().st_size, shutil.disk_usage(disk).free)
        if pid := place.pids()["mongodb"]:
            os.kill(pid, signal.SIGKILL)
        eventually(diskfull.mark(place.root).exists)
        os.kill(supervisor, signal.SIGSTOP)  # else it would come up for a moment, again and again
        if pid := place.pids()["mongodb"]:
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: not alive(pid))
        full = f"the disk of {place.root / 'data'} is full"
        answer = place.cluster("status", code=1)["data"]["services"][1]
        assert full in answer["message"] and answer["code"] == "STORAGE_FULL"
        for words in (("datasets", "list"), ("models", "predict", "m", "x"), ("runtime", "status")):
            done = place.type(*words, "--json")
            error = json.loads(done.stdout)["error"]
            assert (done.returncode, error["code"]) == (7, "STORAGE_FULL")
            assert full in error["message"] and "free some space" in error["hint"]
        checked = ("database", "local.server", "local.disk")
        done = place.type("doctor", "--only", ",".join(checked), "--json")
        rows = json.loads(done.stdout)["data"]
        assert done.returncode == 1 and sorted(row["id"] for row in rows) == sorted(checked)
        for row in rows:
            assert row["status"] == "fail" and "is full" in row["message"] and "free" in row["hint"]
        assert om.status()["mongodb"]["code"] == "STORAGE_FULL"
        script = [sys.executable, "-c", "import omegaml as om; om.datasets.list()"]
        done = subprocess.run(script, env=place.environment, cwd=place.home, capture_output=True, text=True)
        assert "StorageFull" in done.stderr and full in done.stderr
        os.kill(supervisor, signal.SIGCONT)
        assert "full" in place.cluster("up", code=9)["error"]["message"]
        filler.unlink()
        place.wait()
        om = place.om()
        assert om.datasets.list() == ["small"] and om.datasets.get("small") == "safe"
        om.datasets.put(frame.head(1000), "big")
        assert len(om.datasets.get("big")) == 1000
    finally:
        if (place.root / "secrets.yml").exists():
            if pid := place.pids()["supervisor"]:
                os.kill(pid, signal.SIGCONT)
            place.destroy()
        subprocess.run(["umount", str(disk)], check=True)


def test_a_set_up_that_was_interrupted_before_its_first_user_is_finished(tmp_path: Path) -> None:
    from pymongo import MongoClient

    port, key = free_port(), tmp_path / "key"
    write_file(key, "abcdefgh" * 8, 0o400)
    words = [str(find_mongod()), "--port", str(port), "--dbpath", str(tmp_path), "--bind_ip", "127.0.0.1"]
    words += ["--replSet", "rs0", "--keyFile", str(key), "--wiredTigerCacheSizeGB", "0.25"]

    def serve() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        eventually(lambda: admin.answers(port))
        return process

    server = serve()
    try:
        with MongoClient(f"mongodb://127.0.0.1:{port}/?directConnection=true") as client:
            member = {"_id": 0, "host": f"127.0.0.1:{port}"}
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
        server.kill()
        server.wait()
        server = serve()  # and at once, before it is primary:
        assert admin.secure(port, "root", {"ada": "word"}) is True
        assert admin.secure(port, "root", {"ada": "word"}) is False
        with pytest.raises(AuthFailed):
            admin.secure(port, "other", {"ada": "word"})
        assert admin.ping(admin.account_url(f"127.0.0.1:{port}", "ada", "word"))
    finally:
        server.kill()
        server.wait()
