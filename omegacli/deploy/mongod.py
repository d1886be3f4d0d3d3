"""The MongoDB server of the local target: where its program is, and what it is told."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from omegacli.deploy.spec import ClusterSpec
from omegaml.admin import REPLICA_SET
from omegaml.errors import PreflightFailed

# the wheel's binary is looked up as a file: importing its package would start servers of its own
_IN_WHEEL = Path("fiftyone/db/bin/mongod")


def find_mongod() -> Path:
    """Return the mongod to run: `OMEGA_MONGOD`, else the one on PATH, else the wheel's.

    Raises: PreflightFailed naming the three ways to get one.
    """
    asked = os.environ.get("OMEGA_MONGOD")
    if asked:
        if _executable(Path(asked)):
            return Path(asked).absolute()
        raise PreflightFailed(
            f"OMEGA_MONGOD is {asked}, which is no program", hint="set it to a mongod, or unset it"
        )
    on_path = shutil.which("mongod")
    if on_path:
        return Path(on_path).absolute()
    for candidate in (Path(entry or ".") / _IN_WHEEL for entry in sys.path):
        if candidate.is_file():
            if not _executable(candidate):  # some installers drop the right to execute
                with suppress(OSError):
                    candidate.chmod(0o755)
            if _executable(candidate):
                return candidate.absolute()
    raise PreflightFailed(
        "there is no mongod on this machine",
        hint="put one on PATH, or name it in OMEGA_MONGOD, or `pip install 'omegaml[local]'`",
    )


def version(program: Path) -> str:
    """Return the version that `program` reports. Raises: PreflightFailed if it does not run."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PreflightFailed(f"{program} does not run: {error}") from error
    found = re.search(r"db version v(\S+)", done.stdout)
    if done.returncode or not found:
        said = (done.stderr or done.stdout).strip()[-300:]
        raise PreflightFailed(f"{program} does not run on this system: {said}")
    return found[1]


def configuration(spec: ClusterSpec) -> str:
    """Return mongod.conf: this machine only, authenticated, no server-side JavaScript; it holds no secret."""
    net = {"bindIp": "127.0.0.1", "port": spec.ports.mongodb, "unixDomainSocket": {"enabled": False}}
    layout = spec.layout
    return settings(spec, net, str(layout.keyfile), str(layout.mongodb_data), spec.mongodb.cache_gb)


def settings(spec: ClusterSpec, net: dict[str, Any], keyfile: str, data: str, cache_gb: float) -> str:
    """Return mongod.conf for a server that listens at `net` and has its files there."""
    return yaml.safe_dump(
        {
            "net": net,
            "security": {
                "authorization": "enabled",
                "keyFile": keyfile,
                "javascriptEnabled": False,
            },
            "replication": {"replSetName": REPLICA_SET, "oplogSizeMB": spec.mongodb.oplog_mb},
            "storage": {
                "dbPath": data,
                "wiredTiger": {"engineConfig": {"cacheSizeGB": cache_gb}},
            },
            "systemLog": {"quiet": True},
            "setParameter": {
                "diagnosticDataCollectionEnabled": False,
                # a lone primary has nobody to hand over to; by default it waits 15 s for that
                "shutdownTimeoutMillisForSignaledShutdown": 100,
            },
        },
        sort_keys=False,
        allow_unicode=True,
        width=4096,  # one line each, however long a path is
    )


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
