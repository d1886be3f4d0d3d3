"""Migrations, sign-up, provisioning, keys and what clients are told, with omegaweb on MySQL's own image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import container
from tests.lab.mysql import MySQL
from tests.services.test_web_accounts import *  # noqa: F403
from tests.services.web_platform import Person, WebPlatform, running

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def mysql(request: pytest.FixtureRequest) -> Iterator[MySQL]:
    """A server of its own."""
    with container.running(MySQL(), request) as server:
        yield server


@pytest.fixture(scope="module")
def web(mysql: MySQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebPlatform]:
    """omegaweb on MySQL beside a secured MongoDB."""
    with running(tmp_path_factory.mktemp("web"), mysql.url) as platform:
        yield platform


@pytest.fixture(scope="module")
def boss(web: WebPlatform) -> Person:
    """An administrator."""
    return web.person(role="admin")


def test_the_password_is_sent_as_mysql_wants_it_by_itself(mysql: MySQL) -> None:
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@authentication_policy, @@version, VERSION()")
        policy, version, _ = cursor.fetchone() or ("", "", "")
        assert "mariadb" not in version.lower() and policy.split(",")[0] in ("*", "caching_sha2_password")
        cursor.execute("SHOW CREATE USER CURRENT_USER()")
        (made,) = cursor.fetchone() or ("",)
        assert "caching_sha2_password" in made


def test_all_migrations_are_made_and_none_is_missing(web: WebPlatform) -> None:
    assert "[ ]" not in web.manage("showmigrations").stdout
    web.manage("makemigrations", "--check", "--dry-run")
