"""`omegacli datasets grant` and its like, against omegaweb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LinearRegression

from omegaml.omega import Omega
from tests.services.web_platform import ROOT, Person, WebPlatform
from tests.services.web_runner import WebRunner

pytestmark = pytest.mark.once


class Shell:
    """A person's shell, set up as by `omegacli init`."""

    def __init__(self, person: Person, folder: Path) -> None:
        folder.mkdir()
        settings = {
            "OMEGA_USERID": person.userid,
            "OMEGA_APIKEY": person.key,
            "OMEGA_RESTAPI_URL": person.web.url,
        }
        (folder / "config.yml").write_text(yaml.safe_dump(settings))
        (folder / "config.yml").chmod(0o600)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OMEGA_")}
        self.env = {**clean, "OMEGA_HOME": str(folder), "PYTHONPATH": str(ROOT)}
        self.folder = folder

    def run(self, *words: str, exit: int = 0) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "omegacli", "--no-input", *words]
        done = subprocess.run(argv, env=self.env, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == exit, done.stdout + done.stderr
        return done


def test_datasets_are_shared_from_shell_to_shell(ann: Person, bob: Person, tmp_path: Path) -> None:
    anns, bobs = Shell(ann, tmp_path / "ann"), Shell(bob, tmp_path / "bob")
    name = f"@{bob.userid}/sales"
    (bobs.folder / "sales.csv").write_text("x,y\n1,a\n2,b\n3,c\n")
    bobs.run("datasets", "put", "sales.csv", "sales")
    assert "is shared with you" in anns.run("datasets", "get", name, exit=4).stderr
    bobs.run("datasets", "grant", "sales", "--to", ann.userid, "--dry-run")
    assert anns.run("datasets", "list", "--shared").stdout.count(name) == 0
    said = json.loads(bobs.run("datasets", "grant", "sales", "--to", ann.userid, "--json").stdout)
    assert said["ok"] and said["data"]["right"] == "read" and said["schema"] == "omegacli.datasets.grant/1"
    assert ann.userid in bobs.run("datasets", "grants", "sales").stdout
    assert name in anns.run("datasets", "list", "--shared").stdout
    assert anns.run("datasets", "get", name, "--filter", "x__gte=2").stdout.splitlines() == [
        "x,y",
        "2,b",
        "3,c",
    ]
    assert anns.run("datasets", "get", name, "--columns", "y", "--limit", "1").stdout.split() == ["y", "a"]
    assert len(json.loads(anns.run("datasets", "head", name, "--json").stdout)["data"]) == 3
    assert json.loads(anns.run("datasets", "show", name, "--json").stdout)["data"]["rows"] == 3
    (anns.folder / "more.csv").write_text("x,y\n4,d\n")
    assert "to be read" in anns.run("datasets", "put", "more.csv", name, "--append", exit=6).stderr
    bobs.run("datasets", "grant", "sales", "--to", ann.userid, "--right", "write")
    anns.run("datasets", "put", "more.csv", name, "--append")
    assert bobs.run("datasets", "count", "sales").stdout.strip() == "4"
    anns.run("datasets", "put", "more.csv", name, exit=5)
    anns.run("datasets", "put", "more.csv", name, "--replace")
    assert bobs.run("datasets", "count", "sales").stdout.strip() == "1"
    anns.run("datasets", "drop", name, "--yes", exit=6)
    bobs.run("datasets", "revoke", "sales", "--to", ann.userid)
    bobs.run("datasets", "revoke", "sales", "--to", ann.userid, exit=4)
    anns.run("datasets", "get", name, exit=4)


def test_a_new_dataset_is_put_into_a_shared_bucket(ann: Person, bob: Person, tmp_path: Path) -> None:
    anns, bobs = Shell(ann, tmp_path / "ann"), Shell(bob, tmp_path / "bob")
    for shell in (anns, bobs):
        (shell.folder / "sales.csv").write_text("x\n1\n2\n")
    bobs.run("datasets", "put", "sales.csv", "sales")
    share = {"userid": ann.userid, "right": "write"}
    assert bob.call("PUT", "bucket/omegaml/grant/", json=share).status_code == 201
    name = f"@{bob.userid}/new"
    anns.run("datasets", "put", "sales.csv", name)
    assert bobs.run("datasets", "count", "new").stdout.strip() == "2"
    assert "--replace" in anns.run("datasets", "put", "sales.csv", name, exit=5).stderr


@pytest.mark.parametrize(
    ("words", "exit", "said"),
    [
        (("datasets", "grant", "absent", "--to", "somebody"), 4, "absent"),
        (("datasets", "grant", "sales", "--to", "no_such_account"), 2, "no_such_account"),
        (("datasets", "grant", "sales", "--to", "{me}"), 2, "yourself"),
        (("datasets", "grant", "sales", "--to", "somebody", "--right", "own"), 2, "read or write"),
        (("datasets", "grant", "sales"), 2, "--to"),
        (("datasets", "revoke", "sales", "--to", "somebody"), 4, "somebody"),
        (("models", "grants", "absent"), 4, "absent"),
    ],
)
def test_what_cannot_be_shared_is_said_with_the_right_code(
    bob: Person, tmp_path: Path, words: tuple[str, ...], exit: int, said: str
) -> None:
    shell = Shell(bob, tmp_path / "bob")
    (shell.folder / "sales.csv").write_text("x\n1\n")
    shell.run("datasets", "put", "sales.csv", "sales")
    done = shell.run(*(word.format(me=bob.userid) for word in words), exit=exit)
    assert said in done.stderr and "Traceback" not in done.stderr


def test_without_an_account_sharing_names_the_next_step(bob: Person, tmp_path: Path) -> None:
    shell = Shell(bob, tmp_path / "bob")
    shell.env |= {"OMEGA_MONGO_URL": bob.settings["OMEGA_MONGO_URL"], "OMEGA_HOME": str(tmp_path / "other")}
    for words in (("datasets", "get", "@bob/x"), ("datasets", "list", "--shared")):
        assert "omegacli init" in shell.run(*words, exit=7).stderr


def test_a_shared_model_is_asked_from_a_shell(
    web: WebPlatform, ann: Person, bob: Person, tmp_path: Path
) -> None:
    runner = WebRunner(web, tmp_path)
    om = Omega(mongo_url=bob.settings["OMEGA_MONGO_URL"])
    try:
        om.models.put(LinearRegression().fit(pd.DataFrame({"x": [0.0, 1.0]}), [1.0, 3.0]), "line")
        anns, bobs = Shell(ann, tmp_path / "ann"), Shell(bob, tmp_path / "bob")
        bobs.run("models", "grant", "line", "--to", ann.userid)
        (anns.folder / "x.csv").write_text("x\n2\n3\n")
        name = f"@{bob.userid}/line"
        assert name in anns.run("models", "list", "--shared").stdout
        answer = anns.run("models", "predict", name, "x.csv", "--json").stdout
        assert json.loads(answer)["data"] == pytest.approx([5.0, 7.0])
        anns.run("datasets", "put", "x.csv", "mine")
        answer = anns.run("models", "predict", name, "mine", "--json").stdout
        assert json.loads(answer)["data"] == pytest.approx([5.0, 7.0])
        anns.run("models", "get", name, "x.joblib", exit=2)
        bobs.run("models", "revoke", "line", "--to", ann.userid)
        anns.run("models", "predict", name, "x.csv", exit=4)
    finally:
        om.close()
        runner.stop()
