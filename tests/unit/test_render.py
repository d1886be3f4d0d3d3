"""A cluster in containers as files: one description, no secret but where it belongs, the same each time."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import stat
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from omegacli.deploy import containers, images, render, secrets
from omegacli.deploy.secrets import Secrets
from omegacli.deploy.spec import ClusterSpec, with_values
from omegaml.errors import InvalidInput, NotFound, Unavailable

pytestmark = pytest.mark.once

#: An operator's own may hold any printable character.
AWKWARD = "a$b ${c} '\"\\:/@#%?&<>|*{{ d }}{% e %}\u00f6"


@pytest.fixture
def spec(tmp_path: Path) -> ClusterSpec:
    return ClusterSpec(root=tmp_path / "cluster", name="Team_1", target="compose")


def sentinels() -> Secrets:
    """Secrets of which each can be told from all others."""
    made = secrets.generate()
    values = {field.name: f"{AWKWARD}-{field.name}-{n}" for n, field in enumerate(dataclasses.fields(made))}
    return Secrets(**values)


def services(spec: ClusterSpec) -> dict[str, Any]:
    files = render.compose(spec, secrets.generate())
    return dict(yaml.safe_load(files["compose.yml"])["services"])


def test_it_is_the_same_each_time_and_what_is_not_of_it_goes(spec: ClusterSpec) -> None:
    made = secrets.generate()
    assert render.write(spec, render.compose(spec, made))
    assert not render.write(spec, render.compose(spec, made))
    stranger = spec.layout.build / "secrets" / "omegaml" / "old"
    stranger.write_text("x")
    assert render.write(spec, render.compose(spec, made)) and not stranger.exists()


def test_secrets_are_in_files_of_the_services_that_need_them_and_nowhere_else(spec: ClusterSpec) -> None:
    made = sentinels()
    files = render.compose(spec, made)
    words = [f"-{field.name}-" for field in dataclasses.fields(made)]
    for name, text in files.items():
        if not name.startswith("secrets/"):
            assert not [word for word in words if word in text], name
    who = {word: {name.split("/")[1] for name, text in files.items() if word in text} for word in words}
    assert who["-mongodb_root_password-"] == {"mongodb"} and who["-mysql_root_password-"] == {"mysql"}
    assert who["-worker_apikey-"] == {"worker", "omegaml"} and who["-web_secret_key-"] == {"omegaml"}
    assert who["-broker_admin_password-"] == {"omegaml"}  # the broker itself has a hash
    assert who["-admin_password-"] == who["-web_admin_password-"] == set()


def test_what_holds_secrets_is_closed_by_its_folder(spec: ClusterSpec) -> None:
    render.write(spec, render.compose(spec, secrets.generate()))
    folder = spec.layout.build / "secrets"
    for place in (folder, *folder.iterdir()):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for file in folder.glob("*/*"):
        # that of the worker is read by root alone, beside whom the accounts' code runs
        assert stat.S_IMODE(file.stat().st_mode) == (0o400 if file.parent.name == "worker" else 0o444)


def test_any_printable_character_of_a_secret_arrives(spec: ClusterSpec) -> None:
    made = sentinels()
    web = yaml.safe_load(render.compose(spec, made)["secrets/omegaml/web.yml"])
    for url, password in (
        (web["database"], made.mysql_password),
        (web["mongo_url"], made.mongodb_provision_password),
        (web["broker_admin_url"], made.broker_admin_password),
    ):
        assert unquote(urlsplit(url).password or "") == password
    worker = yaml.safe_load(render.compose(spec, made)["secrets/worker/worker.yml"])
    assert unquote(urlsplit(worker["OMEGA_BROKER"]).password or "") == made.broker_worker_password
    assert worker["OMEGA_APIKEY"] == made.worker_apikey


def test_compose_is_told_no_variables(spec: ClusterSpec) -> None:
    text = render.compose(spec, secrets.generate())["compose.yml"]
    assert "$" not in text.replace("$$", "")
    assert yaml.safe_load(text)["name"] == "omegaml-team_1"


def test_only_nginx_is_reached_from_outside(spec: ClusterSpec) -> None:
    shown = {name: service.get("ports") for name, service in services(spec).items()}
    assert [name for name, ports in shown.items() if ports] == ["nginx"]
    assert {port["host_ip"] for port in shown["nginx"]} == {"127.0.0.1"}
    assert {port["published"] for port in shown["nginx"]} == {"5000", "27017", "5672"}
    networks = yaml.safe_load(render.compose(spec, secrets.generate())["compose.yml"])["networks"]
    assert {name for name, about in networks.items() if not about["internal"]} == {"edge"}


def test_every_service_is_watched_bounded_and_without_rights_it_does_not_need(spec: ClusterSpec) -> None:
    for name, service in services(spec).items():
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert service["mem_limit"] and service["pids_limit"] and service["restart"] == "unless-stopped"
        assert service["cap_drop"] == ["ALL"] and service["read_only"] is True
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert {one.name for one in containers.describe(spec) if one.volumes} == {"mongodb", "mysql", "rabbitmq"}


def test_images_are_named_one_by_one_or_by_the_registry_of_all(spec: ClusterSpec) -> None:
    other = with_values(spec, {"images.prefix": "registry.example.com/mirror/", "images.mongodb": "mongo:6"})
    assert images.names(other)["mongodb"] == "registry.example.com/mirror/mongo:6"
    assert all(name.startswith("registry.example.com/mirror/") for name in images.names(other).values())
    with pytest.raises(InvalidInput, match="size"):
        with_values(spec, {"size": "huge"})


def test_the_password_of_rabbitmq_is_kept_salted() -> None:
    # the example of https://www.rabbitmq.com/docs/passwords, with its own salt

    made = sentinels()
    (user,) = json.loads(render._definitions(made))["users"]
    kept = base64.b64decode(user["password_hash"])
    assert kept[4:] == hashlib.sha256(kept[:4] + made.broker_admin_password.encode()).digest()


# --- what the image is built from


def context(spec: ClusterSpec) -> dict[str, bytes]:
    file = io.BytesIO()
    images.write_context(spec, file)
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive.getmembers()}  # type: ignore[union-attr]


def test_the_image_is_made_of_the_package_and_nothing_else(spec: ClusterSpec) -> None:
    found = context(spec)
    assert found == context(spec)
    assert {"Dockerfile", "requirements.txt", "package/omegaml/setup.cfg"} <= set(found)
    assert b"FROM ${BASE}" in found["Dockerfile"] and b"# syntax" not in found["Dockerfile"]
    tops = {name.split("/")[2] for name in found if name.startswith("package/omegaml/")}
    assert tops == set(images.SOURCE)
    assert not [name for name in found if "__pycache__" in name or name.endswith(".pyc") or "/." in name]


def test_certificates_for_the_build_are_taken_along(spec: ClusterSpec, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.crt"):
        context(with_values(spec, {"build.ca": "nowhere.crt"}))
    (tmp_path / "our.crt").write_text("certificate")
    assert (
        context(with_values(spec, {"build.ca": str(tmp_path / "our.crt")}))["ca/given.crt"] == b"certificate"
    )


def test_the_build_is_told_what_omega_yml_and_the_environment_say(
    spec: ClusterSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assert images.arguments(spec) == {"BASE": "python:3.11-slim"}
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    given = with_values(
        spec, {"build.index": "https://pypi.example.com/simple", "build.frameworks": "xgboost"}
    )
    assert images.arguments(given) == {
        "BASE": "python:3.11-slim",
        "PIP_INDEX_URL": "https://pypi.example.com/simple",
        "FRAMEWORKS": "xgboost",
        "HTTPS_PROXY": "http://proxy:3128",
    }


def test_it_is_seen_that_the_image_would_be_built_from_something_else(spec: ClusterSpec) -> None:
    now = images.source(spec)
    assert images.source(with_values(spec, {"images.mongodb": "mongo:6"})) == now
    assert images.source(with_values(spec, {"build.base": "python:3.13-slim"})) != now
    assert images.source(with_values(spec, {"build.frameworks": "xgboost"})) != now


def test_without_an_engine_one_is_told_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(Unavailable, match=r"/nowhere/docker\.sock") as caught, images.engine():
        pass
    assert "DOCKER_HOST" in (caught.value.hint or "")
