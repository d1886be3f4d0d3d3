"""The platform in containers, brought up by one command from nothing but an engine and images."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from omegaml import config
from omegaml.omega import Omega
from tests.lab.container import docker
from tests.services.machine import REPOSITORY, free_port

pytestmark = pytest.mark.timeout(900)

#: The images that the tests run on, as a user would choose them; the official ones where none is named.
IMAGES = {
    service: os.environ[variable]
    for service, variable in (
        ("mongodb", "MONGO_IMAGE"),
        ("mysql", "MYSQL_IMAGE"),
        ("rabbitmq", "RABBITMQ_IMAGE"),
        ("nginx", "NGINX_IMAGE"),
    )
    if os.environ.get(variable)
}


class Team:
    """A home of its own, from which a cluster in containers is worked with."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.name = f"test-{uuid4().hex[:8]}"
        self.ports = {"web": free_port(), "mongodb": free_port(), "rabbitmq": free_port()}

    @property
    def root(self) -> Path:
        return self.home / ".omegaml" / "clusters" / self.name

    @property
    def settings(self) -> list[str]:
        values = {f"ports.{name}": str(port) for name, port in self.ports.items()}
        values |= {f"images.{service}": image for service, image in IMAGES.items()}
        return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]

    def type(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run `omegacli ...` as it is typed."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("OMEGA")}
        return subprocess.run(
            [sys.executable, "-m", "omegacli", *words],
            cwd=self.home,
            env={**kept, "HOME": str(self.home), "PYTHONPATH": str(REPOSITORY)},
            input=given,
            capture_output=True,
            text=True,
            timeout=800,
        )

    def cluster(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run `omegacli cluster ... --json`, check its exit code, return the envelope."""
        done = self.type("cluster", *words, "--name", self.name, "--json")
        assert done.returncode == code, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        envelope: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return envelope

    def up(self, *words: str, code: int = 0) -> dict[str, Any]:
        return self.cluster(
            "up", "--target", "compose", *self.settings, "--timeout", "300", *words, code=code
        )

    def om(self) -> Omega:
        return Omega(config=config.load(self.home / ".omegaml" / "config.yml", self.name))

    def containers(self) -> dict[str, str]:
        """The ids of the containers by service."""
        ids = docker(
            "ps", "--quiet", "--no-trunc", "--filter", f"label=com.docker.compose.project=omegaml-{self.name}"
        )
        about = json.loads(docker("inspect", *ids.split()))
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one["Id"] for one in about}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A cluster that is up; it is removed with its volumes."""
    team = Team(tmp_path_factory.mktemp("team"))
    try:
        team.up()
        yield team
    finally:
        team.type("cluster", "destroy", "--volumes", "--no-backup", "--yes", "--name", team.name)


def test_every_service_works_and_a_second_up_changes_nothing(team: Team) -> None:
    status = team.cluster("status")["data"]
    assert status["state"] == "ok" and status["target"] == "compose"
    assert {one["name"] for one in status["services"]} == {
        *("mongodb", "mysql", "rabbitmq", "omegaml", "worker", "nginx")
    }
    before = team.containers()
    files = {path: path.read_bytes() for path in (team.root / "build").rglob("*") if path.is_file()}
    team.up()
    assert team.containers() == before
    assert {path: path.read_bytes() for path in (team.root / "build").rglob("*") if path.is_file()} == files


def test_what_is_stored_is_read_and_worked_with_through_nginx(team: Team) -> None:
    from sklearn.linear_model import LinearRegression

    om = team.om()
    om.datasets.put({"x": [1.0, 2.0, 3.0]}, "points")
    assert om.datasets.get("points") == {"x": [1.0, 2.0, 3.0]}
    om.models.put(LinearRegression(), "line")
    assert om.runtime.model("line").fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])["version"] == 2
    assert om.runtime.model("line").predict([[3.0]]).tolist() == pytest.approx([3.0])
    om.close()
    said = team.type("api", "GET", "dataset/", "--context", team.name)
    assert said.returncode == 0 and "points" in said.stdout, said.stderr


def test_only_nginx_is_reached_from_this_machine(team: Team) -> None:
    published = {
        service: [
            port
            for ports in json.loads(docker("inspect", id))[0]["NetworkSettings"]["Ports"].values()
            for port in ports or ()
        ]
        for service, id in team.containers().items()
    }
    assert [service for service, ports in published.items() if ports] == ["nginx"]
    assert {int(port["HostPort"]) for port in published["nginx"]} == set(team.ports.values())
    for port in team.ports.values():
        socket.create_connection(("127.0.0.1", port), 5).close()


def test_no_secret_is_told_to_the_engine_or_in_a_log(team: Team) -> None:
    values = [value for value in yaml.safe_load((team.root / "secrets.yml").read_text()).values() if value]
    ids = list(team.containers().values())
    said = [docker("inspect", *ids), *(docker("logs", id) for id in ids)]
    said += [docker("top", id, "-eo", "pid,args") for id in ids]
    said += [path.read_text() for path in (team.root / "build").glob("*/*") if path.is_file()]
    said.append((team.root / "build" / "compose.yml").read_text())
    for text in said:
        assert not [value for value in values if value in text]


def test_a_second_mongoinit_is_unauthorized(team: Team) -> None:
    script = (REPOSITORY / "scripts" / "mongoinit.js").read_text()
    done = subprocess.run(
        ["docker", "exec", "-i", team.containers()["mongodb"], "mongosh", "--quiet", "--norc"],
        input=script,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert '"code":13' in done.stdout and "unauthorized" in done.stdout, done.stdout + done.stderr


def test_ours_is_small_and_runs_as_nobody_that_matters(team: Team) -> None:
    listed = {one["service"]: one for one in team.cluster("image", "list")["data"]}
    assert all(one["id"] for one in listed.values())
    # 700 MB with the official base, which has 130
    base = json.loads(docker("inspect", "python:3.11-slim"))[0]["Size"]
    assert listed["omegaml"]["size"] - base < 570e6
    about = json.loads(docker("inspect", listed["omegaml"]["image"]))[0]
    assert about["Config"]["User"] == "10001:10001"


def test_who_is_stopped_starts_again_with_all_it_had(team: Team) -> None:
    om = team.om()
    om.datasets.put([1, 2, 3], "kept")
    om.close()
    team.cluster("down")
    assert team.cluster("status", code=1)["data"]["state"] == "down"
    team.cluster("start", "--timeout", "300")
    om = team.om()
    assert om.datasets.get("kept") == [1, 2, 3]
    om.close()


def test_what_is_wrong_is_said_before_anything_is_changed(team: Team, tmp_path: Path) -> None:
    other = Team(tmp_path)
    other.ports = dict(team.ports)
    error = other.up(code=9)["error"]
    assert error["code"] == "PORT_IN_USE" and str(team.ports["web"]) in error["message"]
    assert not other.root.exists()
    other.ports = {name: free_port() for name in team.ports}
    wrong = ("--set", "images.mongodb=nobody/has-this:1", "--set", "images.nginx=nobody/has-that:2")
    error = other.up(*wrong, code=9)["error"]
    for image, key in (("nobody/has-this:1", "images.mongodb"), ("nobody/has-that:2", "images.nginx")):
        assert image in error["message"] and key in error["hint"]
    other.cluster("destroy", "--volumes", "--no-backup", "--yes")
    assert not other.root.exists()
