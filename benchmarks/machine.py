"""The machine and the versions that figures were made with, as the machine itself tells them."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import mlflow
from benchmarks.server import CACHE_GB, Server

PACKAGES = ("pandas", "numpy", "pyarrow", "pymongo", "polars", "arcticdb", "pymongoarrow", "scikit-learn")


def facts(server: Server, folder: Path) -> list[tuple[str, str]]:
    """Return what there is to know of the machine, without names and paths."""
    return [
        ("processor", f"{_processor()}, {len(os.sched_getaffinity(0))} cores"),
        ("memory", f"{_memory():.0f} GiB"),
        ("file system", _file_system(folder)),
        ("system", f"{platform.system()} {platform.release()}, {platform.libc_ver()[0]}"),
        ("Python", platform.python_version()),
        ("packages", ", ".join(_packages())),
        ("MLflow", mlflow.version() or "not installed"),
        ("MongoDB", f"{server.version}, one-member replica set, journal on, cache {CACHE_GB} GB, loopback"),
        ("load before the run", f"{os.getloadavg()[0]:.2f}"),
        ("day", f"{datetime.now(UTC):%Y-%m-%d}"),
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _file_system(folder: Path) -> str:
    """Return the type of the file system that holds `folder`: the one mounted deepest on its way."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    way = [str(folder.resolve()), *map(str, folder.resolve().parents)]
    found = [(len(point), kind) for point, kind in mounts if point in way]
    return max(found)[1] if found else "unknown"


def _packages() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
