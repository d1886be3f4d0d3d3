"""The database of accounts goes away, in between and in the middle, and comes back without anybody's help."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pymysql
import pytest
import requests

from tests.services.machine import eventually
from tests.services.servers import MariaDB
from tests.services.web_platform import Person, WebPlatform, running

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="module")
def web(database: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebPlatform]:
    """omegaweb on a MariaDB that nobody else uses."""
    with running(tmp_path_factory.mktemp("web"), database.url) as platform:
        yield platform


def connect(database: MariaDB, **more: object) -> pymysql.Connection:
    """A connection besides omegaweb's."""
    login = {"user": "omegaweb", "password": database.password, "database": "omegaweb"}
    return pymysql.connect(host="127.0.0.1", port=database.port, **login, **more)  # type: ignore[arg-type]


def kill(database: MariaDB) -> None:
    database.process.kill()
    database.process.wait(60)


def is_healthy(web: WebPlatform) -> bool:
    return requests.get(f"{web.url}/healthz", timeout=60).status_code == 200


def unavailable(database: MariaDB, answer: requests.Response) -> None:
    assert answer.status_code == 503 and answer.headers["Retry-After"], answer.text
    assert database.password not in answer.text and "Traceback" not in answer.text


def test_its_end_is_said_and_its_return_needs_nobody(
    web: WebPlatform, database: MariaDB, ann: Person
) -> None:
    assert ann.call("PUT", "dataset/d/", json={"data": [{"a": 1}]}).status_code == 201
    kill(database)
    assert not is_healthy(web)
    for method, route in (
        *[("GET", route) for route in ("config/", "dataset/", "dataset/d/", "model/", "runtime/")],
        *[("PUT", "dataset/d/"), ("DELETE", "dataset/d/"), ("PATCH", f"user/{ann.userid}/")],
        ("POST", f"user/{ann.userid}/key/"),
    ):
        answer = ann.call(method, route, json={"data": [{"a": 2}]} if method != "GET" else None)
        unavailable(database, answer)
        assert answer.json()["error"]["code"] == "UNAVAILABLE"
    for path in ("/", "/account/", "/datasets/", "/account/signup/", "/admin/"):
        answer = ann.page(path)
        unavailable(database, answer)
        assert "database of accounts does not answer" in answer.text
    database.run()
    eventually(lambda: is_healthy(web))
    answer = ann.get("dataset/d/")
    assert answer.status_code == 200 and answer.json()["data"]["rows"] == [{"a": 1}], answer.text
    assert ann.page("/account/").status_code == 200 and web.person().get("config/").status_code == 200


def test_connections_that_the_server_has_ended_are_opened_anew(database: MariaDB, ann: Person) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            answers = list(pool.map(lambda _: ann.get("config/").status_code, range(24)))
            assert set(answers) == {200}
            with connect(database, autocommit=True) as own, own.cursor() as cursor:
                cursor.execute("SELECT ID FROM information_schema.PROCESSLIST WHERE ID != CONNECTION_ID()")
                ended = [number for (number,) in cursor.fetchall()]
                for number in ended:
                    cursor.execute(f"KILL {number}")
            assert ended  # omegaweb keeps its connections


def test_what_is_begun_when_it_ends_is_not_half_done(
    web: WebPlatform, database: MariaDB, ann: Person
) -> None:
    held = connect(database)
    with held.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute("SELECT id FROM accounts_user WHERE username = %s FOR UPDATE", [ann.userid])
        key = ann.get(f"user/{ann.userid}/key/").json()["objects"][0]["id"]
        revoking = pool.submit(ann.call, "DELETE", f"user/{ann.userid}/key/{key}/")
        watching = connect(database, autocommit=True)
        with watching, watching.cursor() as watch:
            others = "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID != CONNECTION_ID()"
            eventually(lambda: bool(watch.execute(f"{others} AND INFO LIKE '%FOR UPDATE'")))
            kill(database)
            unavailable(database, revoking.result(60))
    database.run()
    eventually(lambda: is_healthy(web))
    assert ann.get("config/").status_code == 200  # by the key that is not revoked, and by its MongoDB login
    assert ann.get("dataset/").status_code == 200


def test_a_server_that_hangs_holds_nobody_for_ever(web: WebPlatform, database: MariaDB, ann: Person) -> None:
    database.process.send_signal(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        unavailable(database, ann.get("config/"))
        assert time.monotonic() - begin < 50
    finally:
        os.kill(database.process.pid, signal.SIGCONT)
    eventually(lambda: is_healthy(web))
    assert ann.get("config/").status_code == 200


def test_tables_of_an_earlier_version_compare_exactly_after_migrate(
    web: WebPlatform, database: MariaDB, ann: Person
) -> None:
    collation = (
        "SELECT DISTINCT table_collation FROM information_schema.tables WHERE table_schema = DATABASE()"
    )
    with connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(collation)
        (exact,) = cursor.fetchall()
        for table in ("accounts_user", "accounts_apikey", "django_session"):
            cursor.execute(f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        web.manage("migrate", "--verbosity", "0")
        cursor.execute(collation)
        assert cursor.fetchall() == (exact,) and "bin" in exact[0]
    assert ann.get("config/").status_code == 200
