"""Datasets by REST while MongoDB goes away, in between and in the middle, and comes back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import requests

from omegaml.omega import Omega
from tests.services.web_platform import Person, WebPlatform, running

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def eve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Somebody with a large dataset on a platform that nobody else uses."""
    with running(tmp_path_factory.mktemp("alone")) as platform:
        person = platform.person()
        om = Omega(mongo_url=person.settings["OMEGA_MONGO_URL"])
        frame = pd.DataFrame({f"f{i}": np.random.default_rng(i).normal(size=600_000) for i in range(30)})
        om.datasets.put(frame, "large")
        om.close()
        yield person


def kill(web: WebPlatform) -> None:
    web.mongod.kill()
    web.mongod.wait(60)


def start(web: WebPlatform) -> None:
    web.mongod = subprocess.Popen(web.mongod.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_the_end_of_mongodb_is_said_and_its_return_needs_nobody(eve: Person) -> None:
    kill(eve.web)
    for call in (
        lambda: eve.get("dataset/"),
        lambda: eve.get("dataset/large/"),
        lambda: eve.get("dataset/large/?format=arrow"),
        lambda: eve.call("PUT", "dataset/d/", json={"data": [{"a": 1}]}),
        lambda: eve.call("DELETE", "dataset/large/"),
    ):
        answer = call()
        assert answer.status_code == 503 and answer.headers["Retry-After"], answer.text
        told = answer.json()["error"]
        assert told["code"] == "UNAVAILABLE" and eve.web.root_password not in answer.text
    start(eve.web)
    deadline = time.monotonic() + 60
    while (answer := eve.get("dataset/large/?limit=1")).status_code != 200:
        assert answer.status_code == 503 and time.monotonic() < deadline, answer.text
        time.sleep(0.2)
    assert eve.call("PUT", "dataset/d/", json={"data": [{"a": 1}]}).status_code == 201


@pytest.mark.parametrize("format", ["arrow", "csv"])
def test_a_download_that_breaks_off_is_not_taken_for_the_whole(eve: Person, format: str) -> None:
    answer = eve.get(f"dataset/large/?format={format}", stream=True)
    pieces = answer.iter_content(1 << 20)
    next(pieces)
    kill(eve.web)
    try:
        with pytest.raises(requests.exceptions.RequestException):
            list(pieces)
    finally:
        start(eve.web)
    deadline = time.monotonic() + 60
    while eve.get("dataset/large/?limit=1").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_dataset_that_is_replaced_while_it_is_sent_breaks_off_too(eve: Person) -> None:
    answer = eve.get("dataset/large/?format=arrow", stream=True)
    pieces = answer.iter_content(1 << 20)
    next(pieces)
    assert eve.call("PUT", "dataset/large/", json={"data": [{"a": 1}]}).status_code == 200
    with pytest.raises(requests.exceptions.RequestException):
        list(pieces)
    assert eve.get("dataset/large/").json()["data"] == {"rows": [{"a": 1}]}
