from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import pre_migrate


class Accounts(AppConfig):
    name = "omegaweb.accounts"

    def ready(self) -> None:
        from omegaweb.accounts import signals  # noqa: F401  connects them

        pre_migrate.connect(compare_exactly, sender=self)


def compare_exactly(using: str, **kwargs: Any) -> None:
    """Have MySQL compare texts as they are, in all tables.

    By itself it takes `Ann`, `ánn` and `ann ` for the userid `ann`.
    """
    connection = connections[using]
    if connection.vendor == "mysql":
        exact = "utf8mb4_nopad_bin" if connection.mysql_is_mariadb else "utf8mb4_0900_bin"
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE CHARACTER SET utf8mb4 COLLATE {exact}")  # of tables made later
            cursor.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() "
                "AND table_type = 'BASE TABLE' AND table_collation <> %s",
                [exact],
            )
            for (table,) in cursor.fetchall():
                name = connection.ops.quote_name(table)
                cursor.execute(f"ALTER TABLE {name} CONVERT TO CHARACTER SET utf8mb4 COLLATE {exact}")
