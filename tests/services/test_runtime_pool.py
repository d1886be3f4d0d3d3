"""Child processes for waiting calls and `map`: the contract, and that nothing of them stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from omegaml.errors import InvalidInput, TaskFailed, TimedOut
from omegaml.omega import Omega
from omegaml.runtime import Task
from omegaml.runtime.child import Child
from omegaml.runtime.pool import PoolRuntime
from tests.services.runtime_contract import RuntimeContract
from tests.services.runtime_models import Insider, Killer, Parent, Sleeper
from tests.services.runtime_processes import (
    ROOT,
    OneDatabase,
    children_of,
    in_another_process,
    is_alive,
    stored,
    wait_for,
)

pytestmark = pytest.mark.once


class TestInThePool(OneDatabase, RuntimeContract):
    @pytest.fixture(scope="class")
    @classmethod
    def pool(cls, om_url: str) -> Iterator[PoolRuntime]:
        made = PoolRuntime(Omega(mongo_url=om_url), processes=2)
        yield made
        made.close()

    @pytest.fixture
    def runtime(self, om: Any, pool: PoolRuntime) -> Iterator[PoolRuntime]:
        yield pool
        for name in om.db.list_collection_names():
            om.db[name].delete_many({})


def test_many_are_asked_in_parallel_in_order(om: Any, fitted: Any) -> None:
    x = om.datasets.get("diabetes[^target]")
    before = stored(om)
    large = pd.concat([x] * 100, ignore_index=True)
    results = om.runtime.model("sugar").map("predict", [x.head(1), "diabetes[^target]", large], processes=2)
    assert [len(r) for r in results] == [1, 442, 44200]
    np.testing.assert_allclose(results[1], fitted.predict(x))
    assert stored(om) == before


def test_a_child_that_is_killed_fails_its_task_only(om: Any, fitted: Any) -> None:
    om.models.put(Killer(), "killer")
    tasks = [Task("predict", "models", "killer", [[[1]]]), Task("predict", "models", "sugar", [[[0.0] * 10]])]
    bad, good = om.runtime.map(tasks, processes=1)
    with pytest.raises(TaskFailed, match="SIGKILL"):
        bad.get()
    assert good.get().shape == (1,)
    with pytest.raises(InvalidInput, match="parallel"):
        om.runtime.model("sugar").map("fit", [[[1]]])
    with pytest.raises(InvalidInput, match="one name"):
        om.runtime.model("sugar").map("predict", [[[1]]], result="all")


def test_the_setting_chooses_the_pool(
    om_url: str, om: Any, fitted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMEGA_RUNTIME", "pool")
    other = Omega(mongo_url=om_url)
    assert other.runtime.ping()["pid"] != os.getpid()
    assert len(other.runtime.model("sugar").predict("diabetes[^target]")) == 442
    large = pd.concat([om.datasets.get("diabetes[^target]")] * 200)
    before = stored(om)
    assert len(other.runtime.model("sugar").predict(large)) == len(large)
    assert stored(om) == before


def test_a_limit_ends_a_waiting_call_in_the_pool(om: Any) -> None:
    om.models.put(Sleeper(), "sleeper")
    with pytest.raises(TimedOut, match="limit"):
        om.runtime.model("sleeper", limit=3).map("predict", [[[60.0]]])


def test_a_child_killed_while_others_hold_its_pipe_is_noticed_and_they_end(
    om: Any, om_url: str, tmp_path: Path
) -> None:
    om.models.put(Parent(), "parent")
    child = Child(om_url)
    began = time.monotonic()
    answer = child.run(Task("predict", "models", "parent", [[[str(tmp_path / "pid")]]]))
    assert "SIGKILL" in answer["error"]["message"]
    assert time.monotonic() - began < 30
    wait_for(lambda: not is_alive(int((tmp_path / "pid").read_text())))


def test_a_child_holds_one_credential_and_means_the_same_platform(
    om: Any, om_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMEGA_APIKEY", "sentinel-key")
    om.models.put(Insider(), "insider")
    om.datasets.put({"a": 1}, "mine")
    child = Child(om_url)
    try:
        assert child.run(Task("predict", "models", "insider", [[[1]]]))["result"] == ["mine"]
        process = Path(f"/proc/{child.pid}")
        for secret in (b"sentinel-key", om.db.name.encode()):
            assert secret not in process.joinpath("environ").read_bytes()
            assert secret not in process.joinpath("cmdline").read_bytes()
    finally:
        child.close()


MAPPING = """
import sys
from omegaml.omega import Omega
om = Omega(mongo_url=sys.argv[1])
print("ready", flush=True)
om.runtime.model("sleeper").map("predict", [[[300.0]]] * 2, processes=2)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_child_processes_end_with_the_program(om: Any, om_url: str, number: signal.Signals) -> None:
    om.models.put(Sleeper(), "sleeper")
    before = stored(om)
    program = subprocess.Popen(
        [sys.executable, "-c", MAPPING, om_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        children = wait_for(lambda: len(found := children_of(program.pid)) == 2 and found)
        time.sleep(0.5)
        program.send_signal(number)
        _, said = program.communicate(timeout=30)
        assert program.returncode != 0
        if number == signal.SIGINT:
            assert b"KeyboardInterrupt" in said
        wait_for(lambda: not any(map(is_alive, children)))
        assert stored(om) == before
    finally:
        program.kill()


def test_a_pool_that_nobody_holds_any_more_ends_its_processes(om: Any) -> None:
    runtime = PoolRuntime(om, processes=1)
    pid = runtime.submit(Task("ping")).get()["pid"]
    assert is_alive(pid)
    del runtime
    wait_for(lambda: not is_alive(pid))


def test_a_program_that_ends_leaves_no_process(om: Any, om_url: str) -> None:
    code = (
        "import sys; from omegaml.omega import Omega; from omegaml.runtime.pool import PoolRuntime\n"
        "from omegaml.runtime import Task\n"
        "print(PoolRuntime(Omega(mongo_url=sys.argv[1])).submit(Task('ping')).get()['pid'])"
    )
    pid = int(in_another_process(code, om_url))
    wait_for(lambda: not is_alive(pid))


def test_a_killed_child_is_followed_by_another(om: Any) -> None:
    om.models.put(Killer(), "killer")
    runtime = PoolRuntime(om, processes=1)
    with pytest.raises(TaskFailed, match="SIGKILL"):
        runtime.submit(Task("predict", "models", "killer", [[[1]]])).get()
    assert runtime.submit(Task("ping")).get()["message"] == "pong"
    runtime.close()
    assert np.isfinite(runtime.submit(Task("ping")).get()["pid"])
    runtime.close()
