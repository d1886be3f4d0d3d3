"""A MongoDB that is killed and starts again in the middle of a write: what was acknowledged is there."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pymongo import MongoClient, monitoring

from omegaml import errors, mongo
from omegaml.config import load
from omegaml.omega import Omega
from omegaml.store import columns
from tests.conftest import free_port, mongod_binary

pytestmark = pytest.mark.once

SHORT, LONG = np.arange(200), np.arange(30_000)[::-1].copy()


def frame(values: Any) -> pd.DataFrame:
    return pd.DataFrame({"v": values, "x": np.random.default_rng(1).normal(size=len(values))})


class Server:
    """A mongod that can be killed and started again on the same data."""

    def __init__(self, path: Path) -> None:
        self.port = free_port()
        self.command = [mongod_binary(), "--dbpath", str(path), "--port", str(self.port), "--replSet", "rs0"]
        self.command += ["--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "0.5", "--quiet"]
        self.url = f"mongodb://127.0.0.1:{self.port}/t?directConnection=true"
        self.start()
        with MongoClient(self.url) as client:
            member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
        self.wait()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def restart(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.start()
        self.wait()

    def wait(self) -> None:
        with MongoClient(self.url) as client:
            while not client.admin.command("hello")["isWritablePrimary"]:
                time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("mongod"))
    yield server
    server.process.kill()
    server.process.wait()


class _RestartAt(monitoring.CommandListener):
    """Kills and starts the server again when write number `n` has been done."""

    def __init__(self, server: Server) -> None:
        self.server, self.left = server, -1

    def started(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...

    def succeeded(self, event: Any) -> None:
        if self.left >= 0 and event.command_name in ("insert", "findAndModify"):
            self.left -= 1
            if self.left < 0:
                self.server.restart()


CASES: dict[str, tuple[Any, Any, Any]] = {
    "replace": ({}, lambda om: om.datasets.put(frame(LONG), "d"), [*LONG]),
    "append": ({}, lambda om: om.datasets.put(frame(LONG), "d", append=True), [*SHORT, *LONG]),
    "rows": ({"format": "rows"}, lambda om: om.datasets.put(frame(LONG), "d", format="rows"), [*LONG]),
    "rows append": (
        {"format": "rows"},
        lambda om: om.datasets.put(frame(LONG), "d", append=True),
        [*SHORT, *LONG],
    ),
    "python": ({}, lambda om: om.datasets.put({"v": [1, 2]}, "d"), [1, 2]),
    "array": ({}, lambda om: om.datasets.put(np.zeros(300_000), "d"), None),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_acknowledged_is_there_and_else_nothing_changed(
    server: Server, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "CHUNK_ROWS", 20_000)
    listener = _RestartAt(server)
    monkeypatch.setattr(mongo, "MongoClient", partial(MongoClient, event_listeners=[listener]))
    om = Omega(load(OMEGA_MONGO_URL=server.url, OMEGA_TIMEOUT=30.0))
    before, act, after = CASES[case]
    outcomes = []
    for n in range(20):
        om.datasets.put(frame(SHORT), "d", **before)
        listener.left = n
        try:
            act(om)
            outcomes.append("stored")
        except errors.Unavailable:
            outcomes.append("refused")
        is_done, listener.left = listener.left >= 0, -1
        got = om.datasets.get("d")
        seen = [*(got["v"] if hasattr(got, "__getitem__") and not isinstance(got, np.ndarray) else [])]
        if outcomes[-1] == "stored":
            assert seen == (after if after is not None else []), f"restarted after write {n}"
        else:
            assert seen == [*SHORT], f"restarted after write {n}"
        if is_done:
            break
    assert "stored" in outcomes and len(outcomes) > 1
    om.close()
