"""Settings: where they come from, and the one reader and writer of `~/.omegaml/config.yml`.

A value comes from the first of: an argument, the environment, the chosen context, the top level of the
file, what the account's platform says (`omegaml.rest.completed`), the default. `Config.origin` says which.
A context that names an account takes what opens one from nowhere else in the file. The names derived from a
userid are made here and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaml.errors import ConfigInvalid, InvalidInput, NotFound, StorageFull
from omegaml.files import replacing

CURRENT = "current-context"
CONTEXTS = "contexts"
CLUSTER = "cluster"  # in a context: the root of the cluster on this machine that it belongs to


@dataclass(frozen=True)
class Setting:
    """One setting: its name in the file and, unless said otherwise, in the environment."""

    name: str
    type: type
    default: Any
    help: str
    secret: bool = False
    check: Callable[[Any], Any] | None = None  # returns the value as it is kept, or raises InvalidInput

    @property
    def env(self) -> str:
        return self.name

    def parse(self, value: Any) -> Any:
        """Return `value` as the setting's type. Raises InvalidInput, without the value if it is secret."""
        if value is None:
            return None
        try:
            value = self.type(value)
        except (TypeError, ValueError):
            shown = "set to something" if self.secret else repr(value)
            wanted = {float: "number", str: "text"}[self.type]
            raise InvalidInput(f"{self.name} is {shown}, which is no {wanted}") from None
        return self.check(value) if self.check is not None else value


def check_url(url: str) -> str:
    """Return the address of a server without a slash at its end. Raises InvalidInput."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        is_server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_server = False
    if is_server and "@" in parts.netloc:  # would be shown in messages
        raise InvalidInput(
            f"the URL of {parts.hostname} holds a user or password", hint="leave out all before the @"
        )
    if not is_server or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise InvalidInput(f"{url!r} is no URL of a server", hint="as in http://localhost:5000")
    return url.rstrip("/")


def check_broker(url: str) -> str:
    """Return the URL of a broker as all clients read it alike. Raises InvalidInput, without the password.

    `ampq` is taken for the `amqp` that was meant; no vhost, an empty one and `/` are all the vhost `/`, which
    is certain only as `%2F`. `?cacertfile=` names the file of the authority that an amqps broker is known by
    (https://www.rabbitmq.com/docs/uri-query-parameters).
    """
    from urllib.parse import parse_qsl, quote, unquote, urlsplit

    url = re.sub(r"^ampq(s?)://", r"amqp\1://", url.strip())
    try:
        parts = urlsplit(url)
        is_broker = parts.scheme in ("amqp", "amqps") and bool(parts.hostname) and parts.port != 0
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        is_broker = False
    if not is_broker or parts.fragment or not url.isprintable() or " " in url:
        raise InvalidInput(
            "this is no URL of a broker", hint="as in amqp://user:password@host:5672; amqps for TLS"
        )
    if set(options) - {"cacertfile"} or (options and parts.scheme == "amqp"):
        raise InvalidInput(
            f"the URL of the broker at {parts.hostname} has options that are not known here",
            hint="only amqps://...?cacertfile=/path/to/ca.pem",
        )
    if parts.username and parts.password is None:
        raise InvalidInput(
            f"the URL of the broker at {parts.hostname} names a user and no password",
            hint="as in amqp://user:password@host:5672",
        )
    vhost = quote(unquote(parts.path[1:]).strip("/") or "/", safe="")
    query = f"?cacertfile={quote(options['cacertfile'])}" if options else ""
    return f"{parts.scheme}://{parts.netloc}/{vhost}{query}"


def check_timeout(seconds: float) -> float:
    """Return a number of seconds. Raises InvalidInput for what no clock can wait."""
    if not 0 <= seconds < 1e9:
        raise InvalidInput(f"{seconds:g} is no number of seconds", hint="as in 3 or 0.5")
    return seconds


SETTINGS: tuple[Setting, ...] = (
    Setting("OMEGA_USERID", str, None, "The account's userid."),
    Setting("OMEGA_APIKEY", str, None, "The account's API key.", secret=True),
    Setting("OMEGA_RESTAPI_URL", str, None, "Where omegaweb answers, as http://host:port.", check=check_url),
    Setting("OMEGA_MONGO_URL", str, None, "The user's own database, as mongodb://...", secret=True),
    Setting("OMEGA_BROKER", str, None, "The message broker, as amqp://...", secret=True, check=check_broker),
    Setting("OMEGA_BUCKET", str, "omegaml", "The bucket used where none is named."),
    Setting("OMEGA_RUNTIME", str, "local", "Which runtime carries tasks."),
    Setting(
        "OMEGA_TIMEOUT", float, 3.0, "Seconds to look for a server before giving up.", check=check_timeout
    ),
)
_BY_NAME = {s.name: s for s in SETTINGS}
# what makes sense only together with the userid it was given for
OF_ACCOUNT = frozenset(("OMEGA_APIKEY", "OMEGA_RESTAPI_URL", "OMEGA_MONGO_URL", "OMEGA_BROKER"))
FROM_PLATFORM = ("OMEGA_MONGO_URL", "OMEGA_BROKER", "OMEGA_RUNTIME")
"""What the platform says of an account, where nobody has set it (`omegaml.rest.completed`)."""


@dataclass(frozen=True)
class Value:
    """A setting's value and where it came from."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Config:
    """All settings as read at one moment. `context` is the chosen context, if there is one."""

    path: Path
    context: str | None
    values: Mapping[str, Value] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        return self.values[setting(name).name].value

    def origin(self, name: str) -> str:
        return self.values[setting(name).name].origin

    @property
    def names_account(self) -> bool:
        """Whether there is all it takes to ask a platform for what is an account's."""
        return all(self.get(f"OMEGA_{name}") for name in ("RESTAPI_URL", "USERID", "APIKEY"))

    @property
    def is_incomplete(self) -> bool:
        """Whether the platform has to say which database is the account's, and which broker and runtime."""
        return self.names_account and not self.get("OMEGA_MONGO_URL")

    def items(self) -> Iterator[tuple[Setting, Value]]:
        return ((s, self.values[s.name]) for s in SETTINGS)


def setting(name: str) -> Setting:
    """Return the setting of that name. Raises InvalidInput with the nearest known one."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    import difflib

    near = difflib.get_close_matches(name.upper(), _BY_NAME, 1, 0.4)
    raise InvalidInput(
        f"there is no setting {name!r}",
        hint=f"did you mean {near[0]}?" if near else "see `omegacli config list`",
    )


def home() -> Path:
    """The folder of everything that omega|ml keeps for this person."""
    return Path(os.environ.get("OMEGA_HOME") or Path.home() / ".omegaml").expanduser()


def config_path() -> Path:
    return Path(os.environ.get("OMEGA_CONFIG") or home() / "config.yml").expanduser()


def cache_path(context: str | None) -> Path:
    from urllib.parse import quote

    return home() / "cache" / f"{quote(context or 'default', safe='')}.yml"


def load(path: Path | None = None, context: str | None = None, **overrides: Any) -> Config:
    """Read all settings.

    Args:
        path: the file; `OMEGA_CONFIG` or `~/.omegaml/config.yml` where not given. It need not exist.
        context: the context to use instead of `OMEGA_CONTEXT` or the file's current one.
        overrides: settings by name; None counts as not given.
    Raises: ConfigInvalid (the file or a value), NotFound (a context that is asked for by name).
    """
    file = ConfigFile(path or config_path())
    content = file.read()
    contexts = content.get(CONTEXTS) or {}
    asked = context or os.environ.get("OMEGA_CONTEXT")
    chosen = asked or content.get(CURRENT)
    if chosen is not None and chosen not in contexts:
        raise no_context(chosen, contexts, file.path)
    mine = contexts.get(chosen) or {}
    others = (
        OF_ACCOUNT if mine.get("OMEGA_USERID") else frozenset()
    )  # the top of the file is another account's
    sources: list[tuple[str, Mapping[str, Any]]] = [
        ("argument", {k: v for k, v in overrides.items() if v is not None}),
        ("environment", os.environ),
        (f"context {chosen} in {file.path}", mine),
        (str(file.path), {k: v for k, v in content.items() if k not in others}),
    ]
    values = {}
    for s in SETTINGS:
        origin, value = next(
            ((o, src[s.name]) for o, src in sources if src.get(s.name) not in (None, "")),
            ("default", s.default),
        )
        origin = f"{origin} {s.env}" if origin == "environment" else origin
        try:
            values[s.name] = Value(s.parse(value), origin)
        except InvalidInput as e:
            if origin == "argument":
                raise
            hint = f"unset {s.env}" if "environment" in origin else f"omegacli config set {s.name}=..."
            raise ConfigInvalid(f"{s.name} in {origin}: {e.message}", hint=hint) from None
    for name in overrides:
        setting(name)
    return Config(file.path, chosen, values)


def defaults() -> Config:
    """All settings at their defaults: for a program that acts for others, whatever its own user has set."""
    return Config(config_path(), None, {s.name: Value(s.default, "default") for s in SETTINGS})


def no_context(name: str, contexts: Mapping[str, Any], path: Path) -> NotFound:
    """The error for a context that is not in the file."""
    import difflib

    near = difflib.get_close_matches(name, [str(known) for known in contexts], 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return NotFound(f"there is no context {name!r} in {path}", hint=f"{hint}see `omegacli context list`")


class ConfigFile:
    """`config.yml`: settings at the top, named contexts below. Mode 0600; unknown keys are kept."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or config_path()

    def read(self) -> dict[str, Any]:
        """Return the content, {} where there is no file. Raises ConfigInvalid naming the line."""
        if not self.path.exists():
            return {}
        import yaml

        try:
            data = self.path.read_bytes()
            content = yaml.safe_load(data.decode("utf-8-sig"))
        except yaml.MarkedYAMLError as e:
            line = e.problem_mark.line + 1 if e.problem_mark else 1
            raise ConfigInvalid(f"{self.path}, line {line}: {e.problem}", hint="mend that line") from None
        except UnicodeDecodeError as e:
            line = data[: e.start].count(b"\n") + 1
            raise ConfigInvalid(f"{self.path}, line {line}: not UTF-8", hint="mend that line") from None
        except yaml.reader.ReaderError as e:
            line = data.decode("utf-8-sig")[: e.position].count("\n") + 1
            raise ConfigInvalid(f"{self.path}, line {line}: {e.reason}", hint="mend that line") from None
        except OSError as e:
            raise ConfigInvalid(f"{self.path} cannot be read: {e.strerror}") from None
        if content is None:
            return {}
        if not isinstance(content, dict) or not isinstance(content.get(CONTEXTS) or {}, dict):
            raise ConfigInvalid(f"{self.path}, line 1: settings are expected as `NAME: value` lines")
        for name, values in (content.get(CONTEXTS) or {}).items():
            if not isinstance(values, dict):
                raise ConfigInvalid(f"{self.path}: context {name!r} holds no `NAME: value` lines")
        if not isinstance(content.get(CURRENT), str | None):
            raise ConfigInvalid(f"{self.path}: {CURRENT} is no name of a context")
        return content

    def contexts(self) -> dict[str, dict[str, Any]]:
        return dict(self.read().get(CONTEXTS) or {})

    def context(self, name: str) -> dict[str, Any]:
        """Return the settings of a context. Raises NotFound."""
        return dict(self._part(self.read(), name))

    def set_values(self, values: Mapping[str, Any], context: str | None = None) -> None:
        """Set settings at the top level, or in `context`, which must exist."""
        checked = {name: setting(name).parse(value) for name, value in values.items()}
        with self._changed() as content:
            self._part(content, context).update(checked)

    def unset(self, name: str, context: str | None = None) -> bool:
        """Remove a setting; return whether it was there."""
        with self._changed() as content:
            return self._part(content, context).pop(setting(name).name, None) is not None

    def set_context(self, name: str, values: Mapping[str, Any], select: bool | None = None) -> None:
        """Write a context. `select=None` makes it the current one only where there is none."""
        if not _CONTEXT.fullmatch(name):
            raise InvalidInput(f"{name!r} cannot name a context", hint="letters, digits, and . _ - inside")
        with self._changed() as content:
            content[CONTEXTS] = {**(content.get(CONTEXTS) or {}), name: dict(values)}
            if select or (select is None and not content.get(CURRENT)):
                content[CURRENT] = name

    def use_context(self, name: str | None) -> None:
        """Make a context the current one; None leaves the settings at the top alone."""
        with self._changed() as content:
            self._part(content, name)
            content.pop(CURRENT, None)
            if name is not None:
                content[CURRENT] = name

    def remove_context(self, name: str) -> None:
        """Remove a context, and what its platform has answered. Raises: NotFound."""
        with self._changed() as content:
            self._part(content, name)
            del content[CONTEXTS][name]
            if content.get(CURRENT) == name:
                del content[CURRENT]
        cache_path(name).unlink(missing_ok=True)

    def _part(self, content: dict[str, Any], context: str | None) -> dict[str, Any]:
        if context is None:
            return content
        contexts = content.get(CONTEXTS) or {}
        if context not in contexts:
            raise no_context(context, contexts, self.path)
        part: dict[str, Any] = contexts[context]
        return part

    @contextmanager
    def _changed(self) -> Iterator[dict[str, Any]]:
        """The content to change in place; it is written where it differs. Another writer waits."""
        import copy
        import fcntl

        import yaml

        with private_folder(self.path):
            file = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            content = self.read()
            before = copy.deepcopy(content)
            yield content
            if content != before:
                text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
                write_private(self.path, text)
        finally:
            os.close(file)


@contextmanager
def private_folder(path: Path) -> Iterator[None]:
    """Make the folder of `path`; in the block, what cannot be written is StorageFull or ConfigInvalid."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield
    except OSError as e:
        import errno

        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"no space left for {path}", hint="free some space; nothing was written"
            ) from None
        raise ConfigInvalid(
            f"{path} cannot be written: {e.strerror}", hint="see `ls -ld` of its folder"
        ) from None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read (0600), whole or not at all; a link to a file stays one."""
    path = Path(os.path.realpath(path))
    with private_folder(path):
        replace_file(path, text)


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file in one move: it is the old one or the new one at any moment. Raises OSError."""
    with replacing(path, mode) as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


_CONTEXT = re.compile(r"[\w][\w.-]*")
_USERID = re.compile(r"[a-z][a-z0-9_]{2,30}")


def check_userid(userid: str) -> str:
    """Return `userid`. Raises InvalidInput unless it can name a user in every service."""
    if not _USERID.fullmatch(userid):
        raise InvalidInput(
            f"{userid!r} cannot be a userid",
            hint="3 to 31 of a-z, 0-9 and _, beginning with a letter",
        )
    return userid


def mongo_database(userid: str) -> str:
    """The name of the user's own database, which is also the MongoDB user's authSource."""
    return f"omega_{check_userid(userid)}"
