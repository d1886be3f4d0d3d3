"""Real services for the tests, started on free ports and stopped in the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.services.web_platform import Person, WebPlatform

# a shell has its background jobs ignore Ctrl-C, and what they start inherits that
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["OMEGA_HOME"] = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"omega-tests-{os.getpid()}")
for _name in [
    n
    for n in os.environ
    if n.startswith("OMEGA_") and n not in ("OMEGA_HOME", "OMEGA_MONGOD", "OMEGA_STOCK_PYTHON")
]:
    del os.environ[_name]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=("sqlite", "mariadb"),
        default="sqlite",
        help="where the tests' omegaweb keeps its accounts",
    )


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def mongod_binary() -> str:
    wheel = Path(
        sys.prefix,
        "lib",
        f"python3.{sys.version_info.minor}",
        "site-packages",
        "fiftyone",
        "db",
        "bin",
        "mongod",
    )
    found = (
        os.environ.get("OMEGA_MONGOD") or shutil.which("mongod") or (str(wheel) if wheel.exists() else None)
    )
    assert found, "no mongod: install the extra [local]"
    return found


@pytest.fixture(scope="session")
def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A mongod of its own, one-member replica set, no users; the URL names no database."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    path, port = tmp_path_factory.mktemp("mongod"), free_port()
    command = [mongod_binary(), "--dbpath", str(path), "--port", str(port), "--bind_ip", "127.0.0.1"]
    command += ["--replSet", "rs0", "--noscripting", "--wiredTigerCacheSizeGB", "1", "--quiet"]
    os.chmod(command[0], 0o755)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    client: MongoClient = MongoClient(url, serverSelectionTimeoutMS=60_000)
    try:
        client.admin.command(
            "replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{port}"}]}
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if client.admin.command("hello")["isWritablePrimary"]:
                    break
            except PyMongoError:
                pass
            time.sleep(0.05)
        yield url
    finally:
        client.close()
        process.terminate()
        process.wait(30)


@contextmanager
def database(mongo_url: str) -> Iterator[str]:
    """The URL of a fresh database, dropped afterwards."""
    from pymongo import MongoClient

    name = f"test_{uuid.uuid4().hex[:12]}"
    yield mongo_url.replace("/?", f"/{name}?")
    client: MongoClient = MongoClient(mongo_url)
    client.drop_database(name)
    client.close()


@pytest.fixture
def om_url(mongo_url: str) -> Iterator[str]:
    """The URL of a fresh database, dropped afterwards."""
    with database(mongo_url) as url:
        yield url


@pytest.fixture
def om(om_url: str) -> Iterator[object]:
    """An Omega on a fresh database."""
    from omegaml.omega import Omega

    platform = Omega(mongo_url=om_url)
    yield platform
    platform.close()


@pytest.fixture(scope="session")
def web(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebPlatform]:
    """omegaweb on the database that --database names, beside a secured MongoDB; everybody may sign up."""
    from tests.services.servers import MariaDB
    from tests.services.web_platform import running

    with ExitStack() as until:
        url = ""
        if request.config.getoption("--database") == "mariadb":
            url = until.enter_context(MariaDB(tmp_path_factory.mktemp("mariadb"))).url
        yield until.enter_context(running(tmp_path_factory.mktemp("web"), url))


@pytest.fixture
def ann(web: WebPlatform) -> Person:
    """An editor whom nobody else knows."""
    return web.person()


@pytest.fixture
def bob(web: WebPlatform) -> Person:
    """Another editor."""
    return web.person()


@pytest.fixture(scope="session")
def boss(web: WebPlatform) -> Person:
    """An administrator."""
    return web.person(role="admin")
