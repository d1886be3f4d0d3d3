"""A mongod of the benchmark's own, and the CPU time it takes."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegacli.deploy.mongod import find_mongod

CACHE_GB = 2


class Server:
    """A one-member replica set on the loopback interface, without accounts, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        from pymongo import MongoClient

        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.url = f"mongodb://127.0.0.1:{port}/benchmark?directConnection=true"
        options = ["--bind_ip", "127.0.0.1", "--port", str(port), "--dbpath", str(folder), "--replSet", "rs0"]
        options += ["--wiredTigerCacheSizeGB", str(CACHE_GB), "--noscripting", "--quiet"]
        with open(folder / "log", "wb") as log:
            self._process = subprocess.Popen([str(find_mongod()), *options], stdout=log, stderr=log)
        # Linux: the id of the CPU clock of another process (man 3 clock_getcpuclockid)
        self._clock = (~self._process.pid << 3) | 2
        self.client: MongoClient[dict[str, Any]] = MongoClient(self.url, serverSelectionTimeoutMS=60_000)
        try:
            member = {"_id": 0, "host": f"127.0.0.1:{port}"}
            self.client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
            self._await_primary()
        except BaseException:
            self.stop()
            raise
        self.db = self.client["benchmark"]
        self.version = str(self.client.server_info()["version"])

    def _await_primary(self) -> None:
        from pymongo.errors import PyMongoError

        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(PyMongoError):
                if self.client.admin.command("hello")["isWritablePrimary"]:
                    return
            time.sleep(0.02)
        raise TimeoutError("the benchmark's mongod did not become primary within 60 s")

    def cpu(self) -> float:
        """Return the CPU seconds that the server has used since it started."""
        return time.clock_gettime(self._clock)

    def settle(self) -> None:
        """Write out what is pending, so that it does not run into the next measurement."""
        self.client.admin.command("fsync")

    def stop(self) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait(60)
