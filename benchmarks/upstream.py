"""A worker and a client of stock omegaml, in a virtual environment of its own: it wants older libraries."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PYTHON = Path(__file__).parents[1] / ".venv-stock/bin/python"

# put what is asked, then ask as often as there are lines; each answer is the milliseconds that it took
_CLIENT = """
import sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, pandas as pd
import omegaml as om
from sklearn.linear_model import LinearRegression
x = pd.DataFrame(np.random.default_rng(1).normal(size=(10_000, 4)), columns=list("abcd"))
model = LinearRegression().fit(x, x.sum(axis=1))
om.models.put(model, "m")
om.datasets.put(x, "x", append=False)
asked = {
    "ping": lambda: om.runtime.ping(),
    "predict": lambda: om.runtime.model("m").predict("x").get(timeout=60),
}
for line in sys.stdin:
    began = time.perf_counter()
    answer = asked[line.strip()]()
    took = time.perf_counter() - began
    assert line.strip() == "ping" or np.allclose(np.ravel(answer), model.predict(x))
    print(took, flush=True)
"""


def installed() -> bool:
    return PYTHON.exists()


class Client:
    """A program of stock omegaml that calls its runtime."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def seconds(self, what: str) -> float:
        """Return how long one call took there: `ping`, or `predict` of 10,000 rows by name."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


@contextmanager
def client(mongo_url: str, broker: str, folder: Path, concurrency: int) -> Iterator[Client]:
    """A worker and a client, in a database of theirs."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMEGA", "PYTHON"))}
    environment |= {"HOME": str(folder), "OMEGA_MONGO_URL": mongo_url, "OMEGA_BROKER": broker}
    environment["C_FORCE_ROOT"] = "1"  # it takes pickles, and Celery would not let it do so as root
    worker = [str(PYTHON), "-m", "celery", "-A", "omegaml.celeryapp", "worker", "-c", str(concurrency)]
    with (folder / "upstream.log").open("wb") as log:
        serving = subprocess.Popen(
            [*worker, "--loglevel", "INFO"], env=environment, cwd=folder, stdout=log, stderr=log
        )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    asking = None
    try:
        deadline = time.monotonic() + 120
        while b"ready." not in (folder / "upstream.log").read_bytes():
            assert serving.poll() is None and time.monotonic() < deadline, (
                "stock omegaml's worker does not start"
            )
            time.sleep(0.2)
        asking = subprocess.Popen(
            [str(PYTHON), "-c", _CLIENT], env=environment, cwd=folder, text=True, **pipes
        )
        yield Client(asking)
    finally:
        for process in (asking, serving):
            if process is not None:
                process.terminate()
                process.wait(60)
