"""A fresh database: the command line on it, a dataset and a fitted model in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.command_line import CSV, Cli
from tests.services.web_platform import Person, WebPlatform


@pytest.fixture
def cli(om_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    (tmp_path / "t.csv").write_text(CSV, encoding="utf-8")
    cli = Cli(om_url, tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("OMEGA_HOME", "OMEGA_MONGO_URL"):
        monkeypatch.setenv(name, cli.env[name])
    return cli


@pytest.fixture
def diabetes(om: Any) -> Any:
    """The dataset `diabetes`, a frame: ten columns and `target`."""
    from sklearn.datasets import load_diabetes  # slow, and many tests need no model

    frame = load_diabetes(as_frame=True).frame
    om.datasets.put(frame, "diabetes")
    return frame


@pytest.fixture
def fitted(om: Any, diabetes: Any) -> Any:
    """The model `sugar`, a linear regression fitted on `diabetes`."""
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(diabetes.drop(columns="target"), diabetes["target"])
    om.models.put(model, "sugar")
    return model


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebPlatform]:
    """omegaweb on SQLite beside a secured MongoDB; everybody may sign up."""
    folder = tmp_path_factory.mktemp("web")
    platform = WebPlatform(folder, f"sqlite:///{folder / 'web.sqlite3'}")
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()


@pytest.fixture
def ann(web: WebPlatform) -> Person:
    """An editor whom nobody else knows."""
    return web.person()


@pytest.fixture
def bob(web: WebPlatform) -> Person:
    """Another editor."""
    return web.person()


@pytest.fixture(scope="session")
def boss(web: WebPlatform) -> Person:
    """An administrator."""
    return web.person(role="admin")
