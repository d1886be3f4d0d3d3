"""Settings: where they come from, and the one reader and writer of `~/.omegaml/config.yml`.

A value comes from the first of: an argument, the environment, the chosen context, the top level of the
file, the default. `Config.origin` says which. The names derived from a userid are made here and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaml.errors import ConfigInvalid, InvalidInput, NotFound

CURRENT = "current-context"
CONTEXTS = "contexts"


@dataclass(frozen=True)
class Setting:
    """One setting: its name in the file and, unless said otherwise, in the environment."""

    name: str
    type: type
    default: Any
    help: str
    secret: bool = False

    @property
    def env(self) -> str:
        return self.name

    def parse(self, value: Any, origin: str) -> Any:
        """Return `value` as the setting's type. Raises ConfigInvalid naming where it came from."""
        if value is None or (isinstance(value, self.type) and not isinstance(value, bool)):
            return value
        try:
            return self.type(value)
        except (TypeError, ValueError):
            raise ConfigInvalid(
                f"{self.name} is {value!r} in {origin}, which is no {self.type.__name__}",
                hint=f"omegacli config set {self.name}=...",
            ) from None


SETTINGS: tuple[Setting, ...] = (
    Setting("OMEGA_USERID", str, None, "The account's userid."),
    Setting("OMEGA_APIKEY", str, None, "The account's API key.", secret=True),
    Setting("OMEGA_RESTAPI_URL", str, None, "Where omegaweb answers, as http://host:port."),
    Setting("OMEGA_MONGO_URL", str, None, "The user's own database, as mongodb://...", secret=True),
    Setting("OMEGA_BROKER", str, None, "The message broker, as amqp://...", secret=True),
    Setting("OMEGA_BUCKET", str, "omegaml", "The bucket used where none is named."),
    Setting("OMEGA_RUNTIME", str, "local", "Which runtime carries tasks."),
    Setting("OMEGA_TIMEOUT", float, 3.0, "Seconds to look for a server before giving up."),
)
_BY_NAME = {s.name: s for s in SETTINGS}


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
    return Path(os.environ.get("OMEGA_HOME") or Path.home() / ".omegaml")


def config_path() -> Path:
    return Path(os.environ.get("OMEGA_CONFIG") or home() / "config.yml")


def cache_path(context: str | None) -> Path:
    return home() / "cache" / f"{context or 'default'}.yml"


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
        raise NotFound(f"there is no context {chosen!r} in {file.path}", hint="see `omegacli context list`")
    sources: list[tuple[str, Mapping[str, Any]]] = [
        ("argument", {k: v for k, v in overrides.items() if v is not None}),
        ("environment", os.environ),
        (f"context {chosen} in {file.path}", contexts.get(chosen) or {}),
        (str(file.path), content),
    ]
    values = {}
    for s in SETTINGS:
        origin, value = next(
            ((o, src[s.name]) for o, src in sources if src.get(s.name) not in (None, "")),
            ("default", s.default),
        )
        values[s.name] = Value(
            s.parse(value, origin), f"{origin} {s.env}" if origin == "environment" else origin
        )
    for name in overrides:
        setting(name)
    return Config(file.path, chosen, values)


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
            content = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except yaml.MarkedYAMLError as e:
            line = e.problem_mark.line + 1 if e.problem_mark else 0
            raise ConfigInvalid(f"{self.path}, line {line}: {e.problem}", hint="mend that line") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
            raise ConfigInvalid(f"{self.path} cannot be read: {e}") from None
        if content is None:
            return {}
        contexts = content.get(CONTEXTS) if isinstance(content, dict) else None
        if not isinstance(content, dict) or not isinstance(contexts or {}, dict):
            raise ConfigInvalid(f"{self.path}, line 1: settings are expected as `NAME: value` lines")
        for name, values in (contexts or {}).items():
            if not isinstance(values, dict):
                raise ConfigInvalid(f"{self.path}: context {name!r} holds no `NAME: value` lines")
        return content

    def contexts(self) -> dict[str, dict[str, Any]]:
        return dict(self.read().get(CONTEXTS) or {})

    def set_values(self, values: Mapping[str, Any], context: str | None = None) -> None:
        """Set settings at the top level, or in `context`, which must exist."""
        content = self.read()
        target = self._target(content, context)
        target.update({k: setting(k).parse(v, "the command") for k, v in values.items()})
        self._write(content)

    def unset(self, name: str, context: str | None = None) -> bool:
        """Remove a setting; return whether it was there."""
        content = self.read()
        there = self._target(content, context).pop(setting(name).name, None) is not None
        if there:
            self._write(content)
        return there

    def set_context(self, name: str, values: Mapping[str, Any], select: bool | None = None) -> None:
        """Write a context. `select=None` makes it the current one only where there is none."""
        content = self.read()
        before = (content.get(CONTEXTS) or {}).get(name), content.get(CURRENT)
        content.setdefault(CONTEXTS, {})
        content[CONTEXTS] = {**(content[CONTEXTS] or {}), name: dict(values)}
        if select or (select is None and not content.get(CURRENT)):
            content[CURRENT] = name
        if before != (content[CONTEXTS][name], content.get(CURRENT)):
            self._write(content)

    def use_context(self, name: str) -> None:
        content = self.read()
        self._target(content, name)
        content[CURRENT] = name
        self._write(content)

    def remove_context(self, name: str) -> None:
        content = self.read()
        self._target(content, name)
        del content[CONTEXTS][name]
        if content.get(CURRENT) == name:
            del content[CURRENT]
        self._write(content)

    def _target(self, content: dict[str, Any], context: str | None) -> dict[str, Any]:
        if context is None:
            return content
        try:
            target: dict[str, Any] = content[CONTEXTS][context]
        except (KeyError, TypeError):
            raise NotFound(
                f"there is no context {context!r} in {self.path}", hint="see `omegacli context list`"
            ) from None
        return target

    def _write(self, content: Mapping[str, Any]) -> None:
        import yaml

        write_private(self.path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read (0600), whole or not at all."""
    import tempfile  # takes as long to import as this module, and few need it

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


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
