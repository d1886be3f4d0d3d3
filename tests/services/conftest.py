"""A fresh database: the command line on it, a dataset and a fitted model in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
