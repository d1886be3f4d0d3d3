"""The wheel, the editable install and the checkout hold the same things, and clients stay light."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = [pytest.mark.once, pytest.mark.platform]
ROOT = Path(__file__).parents[2]
TEMPLATES = {p.relative_to(ROOT / "templates") for p in (ROOT / "templates").rglob("*") if p.is_file()}
FIND = "from omegacli.deploy.paths import template; print(template('omega.yml'))"


def run(*argv: object, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    # the checkout must not be importable by accident
    environment = environment or {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([str(a) for a in argv], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def venv(path: Path) -> Path:
    run(sys.executable, "-m", "venv", path)
    return path / "bin" / "python"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from a copy of the sources, so that no stale `build/` can help."""
    source = tmp_path_factory.mktemp("source")
    for name in ("omegaml", "omegacli", "omegaweb", "templates"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", out, source)
    (built,) = out.glob("*.whl")
    return built


def test_setup_cfg_lists_every_package_of_the_tree() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("omegaml", "omegacli", "omegaweb")
        for path in (ROOT / top).rglob("*.py")
    }
    assert sorted(listed) == sorted({*found, "omegacli.templates"})


def test_the_wheel_holds_every_module_and_every_template(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert TEMPLATES
    assert {f"omegacli/templates/{path.as_posix()}" for path in TEMPLATES} <= names
    tops = ("omegaml", "omegacli", "omegaweb")
    files = [path for top in tops for path in (ROOT / top).rglob("*") if path.is_file()]
    wanted = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    assert wanted <= names
    assert len([name for name in wanted if not name.endswith(".py")]) > 30  # pages, their style, the fixture
    assert "omegaml/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "templates/"))]


def test_the_checkout_finds_the_templates() -> None:
    found = Path(run(sys.executable, "-c", FIND, cwd=ROOT).strip())
    assert found.samefile(ROOT / "templates" / "omega.yml")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_base_install_has_at_most_36_packages_and_runs(wheel: Path, tmp_path: Path) -> None:
    python = venv(tmp_path / "env")
    run(python, "-m", "pip", "install", "-q", wheel)
    names = {p["name"].lower() for p in json.loads(run(python, "-m", "pip", "list", "--format", "json"))}
    assert len(names - {"pip", "setuptools", "omegaml"}) <= 36
    assert names.isdisjoint({"scikit-learn", "scipy", "torch", "tensorflow", "keras", "xgboost", "lightgbm"})
    found = Path(run(python, "-c", FIND, cwd=tmp_path).strip())
    assert tmp_path in found.parents and found.is_file()
    assert "omegacli" in run(tmp_path / "env" / "bin" / "omegacli", "--help", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_extras_install_together_into_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    python = venv(tmp_path / "env")
    run(python, "-m", "pip", "install", "-q", f"{wheel}[all]")
    assert "No broken requirements" in run(python, "-m", "pip", "check")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_demo_runs_twice_from_a_fresh_clone_with_an_empty_home(tmp_path: Path) -> None:
    clone, home = tmp_path / "omegaml", tmp_path / "home"
    home.mkdir()
    run("git", "clone", "-q", ROOT, clone)
    kept = {
        k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "OMEGA_MONGOD") or k.startswith("PIP_")
    }
    environment = {**kept, "HOME": str(home), "PYTHON": sys.executable}
    with socket.socket() as other:
        with suppress(OSError):  # the usual port is taken, by us or by somebody else
            other.bind(("127.0.0.1", 27017))
            other.listen()
        try:
            said = [run(clone / "scripts" / "demo", environment=environment) for _ in range(2)]
            beside = "import omegaml as om; print(om.datasets.list())"
            listed = run(
                clone / ".venv" / "bin" / "python", "-c", beside, cwd=tmp_path, environment=environment
            )
        finally:
            words = (clone / ".venv" / "bin" / "omegacli", "cluster", "destroy", "--volumes", "--no-backup")
            run(*words, "--yes", environment=environment)
    assert "wine" in listed
    assert all("accuracy: 1.0" in text and "Everything stays" in text for text in said)
    assert "port 27017 is taken" in said[0] and "\x1b" not in said[0] + said[1]
