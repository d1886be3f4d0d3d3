"""The cluster's secrets: made once, kept in secrets.yml (0600), never changed by a later run."""

from __future__ import annotations

import base64
import re
import secrets
import string
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from typing import Any
from urllib.parse import quote

import yaml

from omegacli.deploy.base import Layout, read_text, write_file
from omegaml.errors import ConfigInvalid, NotFound

_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Secrets:
    """What opens a cluster.

    Attributes:
        mongodb_root_password: of MongoDB's user that may everything.
        mongodb_provision_password: of the one that makes and removes the accounts' users.
        mongodb_keyfile: shared by the members of its replica set.
        admin_password: by which the account `admin` reaches its own database.
        web_admin_password: with which `admin` signs in on the pages.
        web_secret_key: signs omegaweb's sessions and links.
        web_encryption_key: by which omegaweb keeps the accounts' passwords to MongoDB.
        mysql_password, mysql_root_password: of the database of omegaweb's accounts in containers.
        broker_admin_password: of the user of RabbitMQ that makes the others.
        broker_web_password, broker_worker_password: by which omegaweb and workers reach RabbitMQ.
        worker_apikey: by which workers ask omegaweb whose tasks they carry out.
    Those with a default came later: a cluster that was made before has none until its next `up`.
    """

    mongodb_root_password: str = field(repr=False)
    admin_password: str = field(repr=False)
    mongodb_keyfile: str = field(repr=False)
    mongodb_provision_password: str = field(repr=False, default="")
    web_admin_password: str = field(repr=False, default="")
    web_secret_key: str = field(repr=False, default="")
    web_encryption_key: str = field(repr=False, default="")
    mysql_password: str = field(repr=False, default="")
    mysql_root_password: str = field(repr=False, default="")
    broker_admin_password: str = field(repr=False, default="")
    broker_web_password: str = field(repr=False, default="")
    broker_worker_password: str = field(repr=False, default="")
    worker_apikey: str = field(repr=False, default="")

    def mask(self, text: str) -> str:
        """`text` with every secret in it replaced, also where it stands in a URL."""
        values = [value for item in fields(self) if (value := str(getattr(self, item.name)))]
        for value in sorted({*values, *(quote(value, safe="") for value in values)}, key=len, reverse=True):
            text = text.replace(value, "********")
        return text


def generate() -> Secrets:
    return Secrets(
        mongodb_root_password=_password(),
        admin_password=_password(),
        # 6 to 1024 characters (mongodb.com/docs/manual/core/security-internal-authentication)
        mongodb_keyfile=base64.b64encode(secrets.token_bytes(512)).decode(),
        mongodb_provision_password=_password(),
        web_admin_password=_password(20),  # typed by people
        web_secret_key=_password(64),
        web_encryption_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        mysql_password=_password(),
        mysql_root_password=_password(),
        broker_admin_password=_password(),
        broker_web_password=_password(),
        broker_worker_password=_password(),
        worker_apikey=apikey(),
    )


def apikey() -> str:
    """A key by which a part of the platform calls omegaweb."""
    return f"om_{secrets.token_urlsafe(32)}"


def _password(length: int = 32) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def load(layout: Layout) -> Secrets:
    """Read secrets.yml. Raises: NotFound; ConfigInvalid naming what is missing in it."""
    values = _read(layout)
    wrong = [
        item.name
        for item in fields(Secrets)
        if item.name in values or item.default is MISSING
        if not isinstance(values.get(item.name), str) or not values[item.name]
    ]
    if wrong:
        raise ConfigInvalid(f"{layout.secrets} has no text for {', '.join(wrong)}", hint="restore the file")
    return Secrets(**{item.name: values[item.name] for item in fields(Secrets) if item.name in values})


def _read(layout: Layout) -> dict[str, Any]:
    try:
        values = yaml.safe_load(read_text(layout.secrets))
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no {layout.secrets}", hint="put back the one that belongs to the data"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        # a parser's message quotes the line, which here is a secret: not even --debug may show it
        raise ConfigInvalid(
            f"{layout.secrets} cannot be read: {type(error).__name__}", hint="restore the file"
        ) from None
    return values if isinstance(values, dict) else {}


def ensure(layout: Layout) -> bool:
    """Make secrets.yml if there is none, add what a later version needs, and close it to others.

    What stands in it stays as it is. Returns: whether something changed.
    """
    made = generate()
    if not layout.secrets.exists():
        return write_file(layout.secrets, _lines(made, [item.name for item in fields(made)]), 0o600)
    load(layout)
    there = _read(layout)
    missing = [item.name for item in fields(made) if item.name not in there]
    if missing:
        return write_file(layout.secrets, _with(read_text(layout.secrets), there, made, missing), 0o600)
    if layout.secrets.stat().st_mode & 0o077:
        layout.secrets.chmod(0o600)
        return True
    return False


def renew_admin_password(layout: Layout) -> None:
    """Give `admin` a new password for MongoDB; all else in secrets.yml stays."""
    there = _read(layout) | {"admin_password": _password()}
    text = re.sub(
        "(?m)^admin_password:.*$", f"admin_password: {there['admin_password']}", read_text(layout.secrets)
    )
    with suppress(yaml.YAMLError):
        if yaml.safe_load(text) == there:
            write_file(layout.secrets, text, 0o600)
            return
    write_file(layout.secrets, yaml.safe_dump(there, width=4096, allow_unicode=True), 0o600)


def _with(text: str, there: dict[str, Any], made: Secrets, missing: list[str]) -> str:
    """`text` with lines for what is missing; written anew where it holds its values in another shape."""
    added = {name: getattr(made, name) for name in missing}
    longer = text.rstrip("\n") + "\n" + _lines(made, missing)
    with suppress(yaml.YAMLError):
        if yaml.safe_load(longer) == {**there, **added}:
            return longer
    return yaml.safe_dump({**there, **added}, width=4096, allow_unicode=True)


def _lines(made: Secrets, names: list[str]) -> str:
    return yaml.safe_dump({name: getattr(made, name) for name in names}, width=4096)
