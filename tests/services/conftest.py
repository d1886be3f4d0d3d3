"""The command line on a fresh database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.command_line import CSV, Cli


@pytest.fixture
def cli(om_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    (tmp_path / "t.csv").write_text(CSV, encoding="utf-8")
    cli = Cli(om_url, tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("OMEGA_HOME", "OMEGA_MONGO_URL"):
        monkeypatch.setenv(name, cli.env[name])
    return cli
