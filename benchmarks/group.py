"""Group one dataset or Parquet file and say what it took: `python -m benchmarks.group URL NAME`.

A process of its own, so that its peak memory is that of this work alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def of_product(url: str, name: str) -> Callable[[], dict[str, float]]:
    from omegaml import frame  # noqa: F401  (imports are not what is measured)
    from omegaml.omega import Omega

    om = Omega(mongo_url=url)
    om.datasets.exists(name)
    return lambda: om.datasets.getl(name).groupby("s")["x"].mean().to_dict()


def of_parquet(path: str) -> Callable[[], dict[str, float]]:
    from pyarrow import dataset

    def run() -> dict[str, float]:
        table = dataset.dataset(path).to_table(columns=["s", "x"])
        found = table.group_by("s").aggregate([("x", "mean")])
        return dict(zip(found["s"].to_pylist(), found["x_mean"].to_pylist(), strict=True))

    return run


def main() -> None:
    run = of_parquet(sys.argv[2]) if sys.argv[1] == "--parquet" else of_product(*sys.argv[1:3])
    used, began = time.process_time(), time.perf_counter()
    means = run()
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    print(json.dumps({"wall": wall, "cpu": cpu, "peak_mb": _peak(), "means": means}))


def _peak() -> float:
    """Return the peak memory in MB; getrusage() would count that of the process this one was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


if __name__ == "__main__":
    main()
