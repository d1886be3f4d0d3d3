"""A local cluster as its operator meets it: the command line, a real mongod, a real runner, kills."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass
class Machine:
    """A home of its own, and what a person there can do."""

    home: Path
    port: int

    @property
    def root(self) -> Path:
        return self.home / ".omegaml" / "clusters" / "default"

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("OMEGA") or k == "OMEGA_MONGOD"}
        return {**kept, "HOME": str(self.home), "PYTHONPATH": str(REPOSITORY)}

    def cluster(self, *words: str, code: int = 0, **environment: str) -> dict[str, Any]:
        """Run `omegacli cluster ... --json`, check its exit code, return the envelope."""
        done = subprocess.run(
            [sys.executable, "-m", "omegacli", "cluster", *words, "--json"],
            cwd=self.home,
            timeout=150,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, done.stdout + done.stderr
        envelope: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return envelope

    def up(self, *words: str) -> dict[str, Any]:
        return self.cluster("up", "--target", "local", "--set", f"ports.mongodb={self.port}", *words)

    def services(self) -> dict[str, dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "omegacli", "cluster", "status", "--json"],
            cwd=self.home,
            timeout=60,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        return {s["name"]: s for s in json.loads(done.stdout)["data"]["services"]}

    def pids(self) -> dict[str, int]:
        return {name: service["pid"] for name, service in self.services().items()}

    def python(self, source: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "import omegaml as om\n" + source],
            cwd=self.home,
            timeout=60,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def secrets(self) -> dict[str, str]:
        loaded: dict[str, str] = yaml.safe_load((self.root / "secrets.yml").read_text())
        return loaded

    def files(self) -> dict[str, tuple[str, int]]:
        """Digest and mode of every file but those that the running services write."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            place = path.relative_to(self.home)
            if path.is_file() and not {"data", "logs"} & set(place.parts):
                found[str(place)] = (
                    hashlib.sha256(path.read_bytes()).hexdigest(),
                    path.stat().st_mode & 0o777,
                )
        return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A home in which a cluster is up."""
    place = Machine(tmp_path_factory.mktemp("home"), free_port())
    try:
        place.up()
        yield place
    finally:
        if (place.root / "secrets.yml").exists():
            place.cluster("destroy", "--volumes", "--yes")


@pytest.fixture
def running(machine: Machine) -> Machine:
    """The cluster, brought up again if a test before left it down."""
    if any(service["state"] != "running" for service in machine.services().values()):
        machine.up()
    return machine


def eventually(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


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
    running.python("om.datasets.put({'kept': True}, 'through-kill')")
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
    assert running.python("print(om.datasets.get('through-kill'))") == "{'kept': True}"
    assert running.pids()["supervisor"] == before["supervisor"]


def test_a_killed_runner_is_started_again(running: Machine) -> None:
    before = running.pids()
    os.kill(before["runner"], signal.SIGKILL)
    eventually(lambda: running.pids()["runner"] not in (None, before["runner"]))
    assert running.cluster("wait")["data"]["state"] == "ok"
    assert running.pids()["mongodb"] == before["mongodb"]


def test_after_a_killed_supervisor_status_says_degraded_and_up_adopts_what_runs(running: Machine) -> None:
    before = running.pids()
    os.kill(before["supervisor"], signal.SIGKILL)
    eventually(lambda: not alive(before["supervisor"]))
    answer = running.cluster("status", code=1)
    assert answer["data"]["state"] == "degraded"
    assert answer["data"]["services"][0]["state"] == "failed"
    running.python("om.datasets.put(1, 'meanwhile')")
    running.up()
    after = running.pids()
    assert after["supervisor"] not in (None, before["supervisor"])
    assert (after["mongodb"], after["runner"]) == (before["mongodb"], before["runner"])
    os.kill(after["mongodb"], signal.SIGKILL)  # the adopted one is watched as well
    eventually(lambda: running.pids()["mongodb"] not in (None, after["mongodb"]))
    assert running.cluster("wait")["data"]["state"] == "ok"


def test_down_stops_what_a_killed_supervisor_left_running(running: Machine) -> None:
    before = running.pids()
    os.kill(before["supervisor"], signal.SIGKILL)
    running.cluster("down")
    assert not [name for name, pid in before.items() if alive(pid)]
    assert running.cluster("status", code=1)["data"]["state"] == "down"


def test_data_and_secrets_survive_down_and_up(running: Machine) -> None:
    running.python("om.datasets.put([1, 2, 3], 'through-down')")
    secrets, pids = running.secrets(), running.pids()
    running.cluster("down")
    assert not [name for name, pid in pids.items() if alive(pid)]
    assert not (running.root / "build").exists()
    running.cluster("up")
    assert running.secrets() == secrets
    assert running.python("print(om.datasets.get('through-down'))") == "[1, 2, 3]"


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
    running.python("om.datasets.put('here', 'moved')")
    running.port = free_port()
    running.up()
    assert running.services()["mongodb"]["port"] == running.port
    assert running.python("print(om.datasets.get('moved'))") == "here"


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
        [sys.executable, "-m", "omegacli", "cluster", "logs", "supervisor", "-f", "-n", "0"],
        cwd=running.home,
        env=running.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(1.5)
        os.kill(running.pids()["runner"], signal.SIGKILL)
        assert follower.stdout is not None
        assert "runner ended with -9" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        assert follower.wait(20) == 130
    finally:
        follower.kill()
        follower.wait()
    running.cluster("wait")


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
    assert running.cluster("wait")["data"]["state"] == "ok"


def test_an_up_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    words = [
        sys.executable,
        "-m",
        "omegacli",
        "cluster",
        "up",
        "--set",
        f"ports.mongodb={place.port}",
        "--json",
    ]
    first = subprocess.Popen(words, cwd=tmp_path, env=place.environment, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    try:
        for line in first.stdout:
            if json.loads(line).get("event") == "data.start":
                break
        first.kill()
        first.wait()
        answer = place.up()
        assert answer["data"]["state"] == "ok"
        assert any("took over the lock" in warning for warning in answer["warnings"])
        assert place.python("om.datasets.put(1, 'x'); print(om.datasets.get('x'))") == "1"
    finally:
        place.cluster("destroy", "--volumes", "--yes")


def test_a_mongod_that_cannot_run_gives_its_last_words_and_leaves_nothing_running(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    program = tmp_path / "mongod"
    program.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo db version v6.0.5 && exit 0\necho no such luck >&2\nexit 14\n"
    )
    program.chmod(0o755)
    words = ("up", "--set", f"ports.mongodb={place.port}", "--timeout", "20")
    try:
        error = place.cluster(*words, code=7, OMEGA_MONGOD=str(program))["error"]
        assert "no such luck" in error["details"]["logs"]["mongodb"]
        assert "cluster logs mongodb" in error["hint"]
    finally:
        place.cluster("destroy", "--volumes", "--yes")


def test_a_taken_port_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    with socket.socket() as other:
        other.bind(("127.0.0.1", place.port))
        other.listen()
        error = place.cluster("up", "--set", f"ports.mongodb={place.port}", code=9)["error"]
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
    words = ["-S", "-m", "omegacli", "cluster", "up", "--set", f"ports.mongodb={place.port}"]
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
        place.cluster("down")
        kept = place.root / "secrets.yml"
        text = kept.read_text()
        kept.unlink()
        assert "secrets.yml" in place.cluster("up", code=9)["error"]["message"]
        kept.write_text(text)
        kept.chmod(0o600)
        values = yaml.safe_load(text) | {"mongodb_root_password": "another"}
        kept.write_text(yaml.safe_dump(values))
        assert "root password" in place.cluster("up", code=6)["error"]["message"]
        kept.write_text(text)
        assert place.up()["data"]["state"] == "ok"
    finally:
        place.cluster("destroy", "--volumes", "--yes")
    assert not place.root.exists()


def test_destroy_asks_first_keeps_data_without_volumes_and_removes_all_with_them(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    try:
        place.up("--set", "runner.enabled=false")
        place.python("om.datasets.put('still here', 'x')")
        pids = place.pids()
        assert place.cluster("destroy", code=3)["error"]["code"] == "CONFIRMATION_NEEDED"
        assert place.pids() == pids
        place.cluster("destroy", "--yes")
        assert not [pid for pid in pids.values() if alive(pid)]
        assert "default" not in (place.home / ".omegaml" / "config.yml").read_text()
        place.up()
        assert place.python("print(om.datasets.get('x'))") == "still here"
    finally:
        place.cluster("destroy", "--yes", "--volumes")
    assert not place.root.exists()
    assert place.cluster("status", code=4)["error"]["code"] == "NOT_FOUND"


def test_an_operators_own_password_may_hold_any_printable_character(tmp_path: Path) -> None:
    place = Machine(tmp_path, free_port())
    own = "p@ss:w/rd %41?#&=+[]\"'$\\x äé"
    place.root.mkdir(parents=True)
    made = {"admin_password": own, "mongodb_root_password": own[::-1], "mongodb_keyfile": "abcdefgh" * 8}
    (place.root / "secrets.yml").write_text(yaml.safe_dump(made))
    (place.root / "secrets.yml").chmod(0o600)
    try:
        place.up("--set", "runner.enabled=false")
        assert place.python("om.datasets.put(1, 'x'); print(om.datasets.get('x'))") == "1"
        assert place.secrets() == made
    finally:
        place.cluster("destroy", "--yes", "--volumes")
