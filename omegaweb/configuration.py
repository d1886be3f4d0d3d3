"""What omegaweb needs to know before it starts: one YAML file, named by OMEGAWEB_CONFIG, closed to others.

Secrets may lie in files of their own, as containers get them: `secret_key_file: /run/secrets/secret_key`
stands for `secret_key`. Settings that an administrator changes while it runs are constance's
(`omegaweb.settings.CONSTANCE_CONFIG`).
"""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from omegaml.config import check_broker
from omegaml.errors import ConfigInvalid, InvalidInput

VARIABLE = "OMEGAWEB_CONFIG"


@dataclass(frozen=True)
class Configuration:
    """The content of the file.

    Attributes:
        secret_key: signs sessions and links.
        encryption_keys: Fernet keys by which users' service passwords are kept; the first encrypts.
        database: `sqlite:////path/to/file` or `mysql://user:password@host:port/name`, quoted as URLs are.
        mongo_url: MongoDB as the user that makes and removes users, used for nothing else.
        mongo_server: `host:port` by which omegaweb itself reaches MongoDB.
        broker_admin_url: RabbitMQ's management API, as `http://user:password@host:15672/vhost`, as the user
            that makes and removes users; empty where there is no broker.
        broker_server: RabbitMQ as the services themselves reach it: `amqp://host:port/vhost`; the setting
            BROKER_URL where not given.
        web_broker_url: RabbitMQ as the service user `omega-web`, by which tasks go to workers
            (`manage.py createbroker` makes it); empty: they go to a runner.
        url: where people reach omegaweb.
        hosts: host names that it answers to, besides that of `url`.
        mongo_host, broker_url: first values of the settings of these names.
        signup: open, invite or closed; open on a platform that only this machine reaches, else invite.
        proxies: how many reverse proxies stand in front, whose X-Forwarded-For is believed.
        metrics_folder: where several gunicorn workers put their figures; empty it before they start.
        own_account: the userid by which the cluster itself works; it can be neither removed nor disabled.
        max_model_bytes: the largest file of a model that is taken.
        mail_host, mail_port, mail_user, mail_password: the server that takes mail; no host: none is sent.
        mail_tls: how it is spoken to: `starttls`, `tls` from the first byte, or `none`.
        mail_from: the sender of what is sent.
        metrics_port: where /metrics asks for no key and nothing else is answered: a port that the server
            binds as well and that is reached from the internal network only. 0: nowhere.
        audit_days: how long the audit log is kept.
        audit_refusals: how many refusals it keeps at the most, the newest.
    """

    secret_key: str = field(repr=False)
    encryption_keys: list[str] = field(repr=False)
    database: str = field(repr=False)
    mongo_url: str = field(repr=False)
    mongo_server: str
    broker_admin_url: str = field(default="", repr=False)
    broker_server: str = ""
    web_broker_url: str = field(default="", repr=False)
    url: str = "http://localhost:5000"
    hosts: list[str] = field(default_factory=list)
    mongo_host: str = "localhost:27017"
    broker_url: str = ""
    signup: str = ""
    proxies: int = 0
    metrics_folder: str = ""
    own_account: str = ""
    max_model_bytes: int = 1 << 30
    mail_host: str = ""
    mail_port: int = 587
    mail_user: str = ""
    mail_password: str = field(default="", repr=False)
    mail_tls: str = "starttls"
    mail_from: str = ""
    metrics_port: int = 0
    audit_days: int = 365
    audit_refusals: int = 200_000

    def __post_init__(self) -> None:
        """Raises ConfigInvalid for mail that could not be sent, or a broker that cannot be reached."""
        if self.mail_tls not in ("starttls", "tls", "none"):
            raise ConfigInvalid(f"mail_tls is {self.mail_tls!r}", hint="starttls, tls or none")
        if self.mail_host and not self.mail_from:
            raise ConfigInvalid(
                "there is a mail_host and no mail_from", hint="as in mail_from: platform@example.com"
            )
        for name in ("broker_server", "broker_url", "web_broker_url"):
            try:
                if getattr(self, name):
                    check_broker(getattr(self, name))
            except InvalidInput as error:
                raise ConfigInvalid(f"{name}: {error.message}", hint=error.hint) from None

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it, as far as its own address tells."""
        return urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")

    @property
    def signup_policy(self) -> str:
        return self.signup or ("open" if self.is_local else "invite")

    def databases(self) -> dict[str, dict[str, Any]]:
        """Django's DATABASES. Raises ConfigInvalid for another kind of server."""
        parts = urlsplit(self.database)
        if parts.scheme == "sqlite":
            # WAL: readers go on while one writes; IMMEDIATE: two writers wait instead of failing
            options = {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL",
            }
            return {
                "default": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": unquote(parts.path[1:]) or ":memory:",
                    "CONN_MAX_AGE": None,  # opening the file takes longer than most of what is asked of it
                    "OPTIONS": options,
                }
            }
        if parts.scheme == "mysql":
            return {
                "default": {
                    "ENGINE": "django.db.backends.mysql",
                    "HOST": parts.hostname,
                    "PORT": parts.port or 3306,
                    "NAME": parts.path.strip("/"),
                    "USER": unquote(parts.username or ""),
                    "PASSWORD": unquote(parts.password or ""),
                    "CONN_MAX_AGE": 60,
                    "CONN_HEALTH_CHECKS": True,
                    "OPTIONS": {
                        "charset": "utf8mb4",
                        "isolation_level": "read committed",
                        # seconds: a server that hangs must not hold all threads for ever
                        "connect_timeout": 5,
                        "read_timeout": 15,
                        "write_timeout": 15,
                    },
                }
            }
        raise ConfigInvalid(
            f"database is of kind {parts.scheme!r}", hint="sqlite:////path or mysql://user:...@host:3306/name"
        )


def load(path: str | None = None) -> Configuration:
    """Read the file. Raises ConfigInvalid naming the file and what is wrong in it, never a value."""
    name = path or os.environ.get(VARIABLE)
    if not name:
        raise ConfigInvalid(f"{VARIABLE} names no file", hint="`omegacli cluster up` writes one")
    file = Path(name)
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        # a parser's message quotes the line, which may hold a secret
        raise ConfigInvalid(f"{file} cannot be read: {type(error).__name__}") from None
    if not isinstance(content, dict):
        raise ConfigInvalid(f"{file} holds no `name: value` lines")
    values: dict[str, Any] = {}
    for key, value in content.items():
        plain = str(key).removesuffix("_file")
        values[plain] = _secret(file, plain, value) if plain != key else value
    known = {f.name: f for f in fields(Configuration)}
    strangers = sorted(set(values) - set(known))
    missing = sorted(
        n
        for n, f in known.items()
        if f.default is MISSING and f.default_factory is MISSING and not values.get(n)
    )
    if strangers or missing:
        problem = f"does not know {', '.join(strangers)}" if strangers else f"lacks {', '.join(missing)}"
        raise ConfigInvalid(f"{file} {problem}")
    return Configuration(**values)


def _secret(file: Path, name: str, place: str) -> Any:
    try:
        text = Path(place).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{file}: the file of {name} cannot be read: {type(error).__name__}") from None
    return text.split() if name == "encryption_keys" else text
