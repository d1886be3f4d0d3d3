"""The cluster's secrets: made once, kept in secrets.yml (0600), never changed by a later run."""

from __future__ import annotations

import base64
import secrets
import string
from dataclasses import dataclass, field, fields
from urllib.parse import quote

import yaml

from omegacli.deploy.base import Layout, read_text, write_file
from omegaml.errors import ConfigInvalid, NotFound

_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Secrets:
    """Passwords of MongoDB's root user and of the account `admin`, and the members' shared key."""

    mongodb_root_password: str = field(repr=False)
    admin_password: str = field(repr=False)
    mongodb_keyfile: str = field(repr=False)

    def mask(self, text: str) -> str:
        """`text` with every secret in it replaced, also where it stands in a URL."""
        values = [str(getattr(self, item.name)) for item in fields(self)]
        for value in sorted({*values, *(quote(value, safe="") for value in values)}, key=len, reverse=True):
            text = text.replace(value, "********")
        return text


def generate() -> Secrets:
    return Secrets(
        mongodb_root_password=_password(),
        admin_password=_password(),
        # 6 to 1024 characters (mongodb.com/docs/manual/core/security-internal-authentication)
        mongodb_keyfile=base64.b64encode(secrets.token_bytes(512)).decode(),
    )


def _password() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(32))


def load(layout: Layout) -> Secrets:
    """Read secrets.yml. Raises: NotFound; ConfigInvalid naming what is missing in it."""
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
    names = [item.name for item in fields(Secrets)]
    values = values if isinstance(values, dict) else {}
    missing = [name for name in names if not isinstance(values.get(name), str) or not values[name]]
    if missing:
        raise ConfigInvalid(f"{layout.secrets} has no text for {', '.join(missing)}", hint="restore the file")
    return Secrets(**{name: values[name] for name in names})


def ensure(layout: Layout) -> bool:
    """Make secrets.yml if there is none, and close it to others; True if something changed."""
    if not layout.secrets.exists():
        made = generate()
        text = yaml.safe_dump({item.name: getattr(made, item.name) for item in fields(made)}, width=4096)
        return write_file(layout.secrets, text, 0o600)
    load(layout)
    if layout.secrets.stat().st_mode & 0o077:
        layout.secrets.chmod(0o600)
        return True
    return False
