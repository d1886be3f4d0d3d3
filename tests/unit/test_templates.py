"""The shipped omega.yml documents the defaults, so it has to name all of them and tell the truth."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from omegacli.deploy import paths, spec
from omegaml.errors import NotFound


def test_the_shipped_omega_yml_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    shipped = paths.template("omega.yml").read_text()
    shown = yaml.safe_load(re.sub(r"(?m)^#(?! )|^#(?=  )", "", shipped))
    defaults = dataclasses.asdict(spec.ClusterSpec(root=tmp_path))
    assert shown == {key: value for key, value in defaults.items() if key not in ("root", "name")}


def test_the_shipped_omega_yml_is_a_cluster_of_defaults(tmp_path: Path) -> None:
    (tmp_path / "omega.yml").write_text(paths.template("omega.yml").read_text())
    assert spec.read(tmp_path) == spec.ClusterSpec(root=tmp_path)


def test_a_template_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match=r"nginx\.cnf"):
        paths.template("nginx.cnf")
