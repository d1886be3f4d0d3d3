"""Writers killed at any point: nothing half-done is seen, the next put works, `gc` frees the rest."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pymongo import monitoring
from sklearn.linear_model import LinearRegression

from omegaml import mongo
from omegaml.omega import Omega
from omegaml.store import columns

pytestmark = pytest.mark.once
OLD, NEW = np.arange(4_000), np.arange(9_000)[::-1].copy()


def frame(values: Any) -> pd.DataFrame:
    random = np.random.default_rng(len(values))
    return pd.DataFrame({"v": values, "x": random.normal(size=len(values)), "s": "text"})


def model(slope: float) -> LinearRegression:
    return LinearRegression().fit([[0.0], [1.0]], [0.0, slope])


class _KillAt(monitoring.CommandListener):
    """Ends this process without a word, just before or just after its command number `n`."""

    def __init__(self, n: int, after: bool) -> None:
        self.left, self.after = n, after

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def started(self, event: Any) -> None:
        if not self.after:
            self._count()

    def succeeded(self, event: Any) -> None:
        if self.after:
            self._count()

    def failed(self, event: Any) -> None:
        self.succeeded(event)


def killed(url: str, n: int, after: bool, act: Callable[[Any], None]) -> bool:
    """Do `act` in a process that is killed at its command `n`; False if it needed fewer commands."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    try:
        mongo.forget_clients()  # a client is made after the fork
        om = Omega(mongo_url=url)
        om.datasets.exists("connected")
        monitoring.register(_KillAt(n, after))
        mongo.forget_clients()
        act(Omega(mongo_url=url))
        os._exit(0)
    except BaseException:
        os._exit(1)


def rows_of(om: Any, name: str) -> tuple[Any, ...]:
    return tuple(om.datasets.get(name).v) if om.datasets.exists(name) else ()


def slope_of(om: Any) -> Any:
    return round(float(om.models.get("m").coef_[0])) if om.models.exists("m") else None


ROWS = {"format": "rows"}
# name -> (what is there before, what the killed process does, what a reader sees, what it may see)
CASES: dict[str, tuple[Any, Any, Any, list[Any]]] = {
    "first put": (
        lambda om: None,
        lambda om: om.datasets.put(frame(NEW), "d"),
        lambda om: rows_of(om, "d"),
        [(), tuple(NEW)],
    ),
    "replace": (
        lambda om: om.datasets.put(frame(OLD), "d"),
        lambda om: om.datasets.put(frame(NEW), "d"),
        lambda om: rows_of(om, "d"),
        [tuple(OLD), tuple(NEW)],
    ),
    "append": (
        lambda om: om.datasets.put(frame(OLD), "d"),
        lambda om: om.datasets.put(frame(NEW), "d", append=True),
        lambda om: rows_of(om, "d"),
        [tuple(OLD), (*OLD, *NEW)],
    ),
    "parts": (
        lambda om: om.datasets.put(frame(OLD), "d"),
        lambda om: om.datasets.put_parts([frame(NEW), frame(OLD)], "d"),
        lambda om: rows_of(om, "d"),
        [tuple(OLD), (*NEW, *OLD)],
    ),
    "rows replace": (
        lambda om: om.datasets.put(frame(OLD), "d", **ROWS),
        lambda om: om.datasets.put(frame(NEW), "d", **ROWS),
        lambda om: rows_of(om, "d"),
        [tuple(OLD), tuple(NEW)],
    ),
    "rows append": (
        lambda om: om.datasets.put(frame(OLD), "d", **ROWS),
        lambda om: om.datasets.put(frame(NEW), "d", append=True),
        lambda om: rows_of(om, "d"),
        [tuple(OLD), (*OLD, *NEW)],
    ),
    "python append": (
        lambda om: om.datasets.put([1], "d"),
        lambda om: om.datasets.put([2, 3], "d", append=True),
        lambda om: om.datasets.get("d"),
        [[1], [1, 2, 3]],
    ),
    "model": (
        lambda om: om.models.put(model(1), "m"),
        lambda om: om.models.put(model(2), "m"),
        slope_of,
        [1, 2],
    ),
    "file": (
        lambda om: om.datasets.put(b"a" * 3_000_000, "d"),
        lambda om: om.datasets.put(b"b" * 2_500_000, "d"),
        lambda om: om.datasets.get("d")[:1] * (len(om.datasets.get("d")) // 500_000),
        [b"a" * 6, b"b" * 5],
    ),
    "drop": (
        lambda om: [om.models.put(model(i), "m") for i in (1, 2)],
        lambda om: om.models.drop("m"),
        slope_of,
        [2, None],
    ),
    "rename": (
        lambda om: [om.models.put(model(i), "m") for i in (1, 2)],
        lambda om: om.models.rename("m", "n"),
        lambda om: [(m.name, [v.version for v in om.models.versions(m.name)]) for m in om.models.find()],
        [[("m", [2, 1])], [("n", [2, 1])]],
    ),
    "copy": (
        lambda om: om.datasets.put(frame(OLD), "d"),
        lambda om: om.datasets.copy("d", "e"),
        lambda om: (rows_of(om, "d"), rows_of(om, "e")),
        [(tuple(OLD), ()), (tuple(OLD), tuple(OLD))],
    ),
    "promote": (
        lambda om: [om.models.put(model(i), "m") for i in (1, 2)],
        lambda om: om.models.promote("m", 1),
        slope_of,
        [2, 1],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_writer_killed_at_any_point_leaves_nothing_half_done(
    om: Any, om_url: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "CHUNK_ROWS", 3000)
    before, act, look, allowed = CASES[case]
    before(om)
    seen = [look(om)]
    assert seen[0] == allowed[0]
    empty = set(om.db.list_collection_names())
    runs = 0
    for after in (False, True):
        n = 0
        while killed(om_url, n, after, act):
            seen.append(look(om))
            assert seen[-1] in allowed, f"killed {'after' if after else 'before'} command {n}"
            if seen[-1] != allowed[0]:
                reset(om, before)
            n, runs = n + 1, runs + 1
        assert look(om) == allowed[1], "without a kill"
        reset(om, before)
    assert runs > 3 and allowed[1] in seen
    act(om)  # nothing that the killed ones left is in the way
    assert look(om) == allowed[1]
    om.datasets.gc(older_than=-1)
    om.models.gc(older_than=-1)
    stored = everything(om)
    reset(om, before)
    act(om)
    assert everything(om) == stored, "garbage was left"
    assert empty


def reset(om: Any, before: Callable[[Any], Any]) -> None:
    for store in (om.datasets, om.models):
        for name in store.list():
            store.drop(name)
    before(om)


def everything(om: Any) -> dict[str, int]:
    """How many documents there are, per kind of collection."""
    counts: dict[str, int] = {}
    for name in om.db.list_collection_names():
        kind = ".".join(part for part in name.split(".") if len(part) != 24)
        counts[kind] = counts.get(kind, 0) + om.db[name].count_documents({})
    return {k: v for k, v in counts.items() if v}
