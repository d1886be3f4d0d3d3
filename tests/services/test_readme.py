"""What README and docs say is typed as it stands, on a platform started with an empty HOME."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# what the pages on data and models take for granted
SALES = """
import pandas as pd
days, visitors = pd.date_range("2026-01-01", periods=60), pd.Series(range(60, 120))
df = pd.DataFrame({"day": days, "shop": ["north", "south"] * 30, "price": [9.0, 9.5, 10.0] * 20,
                   "visitors": visitors, "amount": visitors * 1.5, "comment": "fine"})
more = df.assign(day=df.day + pd.Timedelta(days=60))
df.to_csv("sales.csv", index=False)
more.to_csv("more.csv", index=False)
"""
STORED = """
import omegaml
omegaml.datasets.put(df, "sales")
omegaml.datasets.put(df[["price", "visitors"]].tail(3), "tomorrow")
"""


def blocks(page: str) -> list[tuple[str, str]]:
    return re.findall(r"(?ms)^```(bash|python)\n(.*?)^```", (ROOT / page).read_text())


class Session:
    """A new person, on a machine where another platform may have the usual ports."""

    def __init__(self, home: Path) -> None:
        find = [sys.executable, ROOT / "scripts/free_port.py", "0"]
        free, web = (subprocess.check_output(find, text=True).strip() for _ in range(2))
        root = home / ".omegaml" / "clusters" / "default"
        root.mkdir(parents=True)
        (root / "omega.yml").write_text(f"target: local\nports:\n  mongodb: {free}\n  web: {web}\n")
        self.home = home
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMEGA_", "PYTHON"))}
        self.environment["HOME"] = str(home)
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        if mongod := os.environ.get("OMEGA_MONGOD"):
            self.environment["OMEGA_MONGOD"] = mongod

    def type(self, language: str, text: str) -> str:
        argv = ["bash", "-euo", "pipefail"] if language == "bash" else [sys.executable, "-"]
        done = subprocess.run(
            argv, input=text, env=self.environment, cwd=self.home, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    session = Session(tmp_path_factory.mktemp("home"))
    try:
        yield session
    finally:
        session.type("bash", "omegacli cluster destroy --volumes --yes")


def test_the_tour_of_the_readme_works_as_typed(session: Session) -> None:
    tour = blocks("README.md")
    assert [language for language, _ in tour] == ["bash", "python", "bash"]
    answers = [session.type(*block) for block in tour][-1]
    assert answers.split().count("2") > 40  # of the 48 wines of the third grower


PAGES = ["datasets", "models", "schedules", "users", "rest-datasets", "rest-models", "rest-jobs", "sharing"]


@pytest.mark.parametrize("page", [f"docs/{name}.md" for name in PAGES])
def test_a_page_of_the_docs_works_as_typed(session: Session, page: str) -> None:
    session.type("bash", "omegacli cluster up --target local")  # changes nothing where the tour came first
    python = [text for language, text in blocks(page) if language == "python"]
    shell = [text for language, text in blocks(page) if language == "bash"]
    assert python and shell
    stored = "" if page in ("docs/datasets.md", "docs/users.md") else STORED
    session.type("python", SALES + stored + "".join(python))
    session.type("bash", "\n".join(shell))
