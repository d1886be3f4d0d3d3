"""What a cluster shall be: omega.yml, which holds only what differs from the defaults."""

from __future__ import annotations

import dataclasses
import difflib
import errno
import itertools
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from omegacli.deploy.base import Layout, read_text, write_file
from omegaml import config
from omegaml.config import CLUSTER
from omegaml.errors import ConfigInvalid, Forbidden, InvalidInput, NotFound

TARGETS = ("local", "compose")
ACCOUNT = "admin"  # the first account of every cluster


@dataclass(frozen=True)
class Ports:
    mongodb: int = 27017
    web: int = 5000
    metrics: int = 0  # none
    rabbitmq: int = 5672
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class Mongodb:
    cache_gb: float = 1.0
    oplog_mb: int = 1024


@dataclass(frozen=True)
class Runner:
    enabled: bool = True


@dataclass(frozen=True)
class Web:
    enabled: bool = True
    audit_days: int = 365
    proxies: int = 0


@dataclass(frozen=True)
class Mail:
    """The server that takes the platform's mail; without a host none is sent."""

    host: str = ""
    port: int = 587
    user: str = ""
    password_file: str = ""
    tls: str = "starttls"
    sender: str = ""


@dataclass(frozen=True)
class Images:
    """The containers' images; ours where none is named is that of this version."""

    prefix: str = ""
    omegaml: str = ""
    mongodb: str = "mongo:8.0"
    mysql: str = "mysql:8.4"
    rabbitmq: str = "rabbitmq:4-management"
    nginx: str = "nginx:stable"


@dataclass(frozen=True)
class Worker:
    replicas: int = 1


#: Memory of each service in containers in MiB, by the size of the cluster.
_MEMORY = {
    "small": {"mongodb": 1024, "mysql": 768, "rabbitmq": 512, "nginx": 128, "omegaml": 768, "worker": 2048},
    "medium": {
        "mongodb": 4096,
        "mysql": 1024,
        "rabbitmq": 1024,
        "nginx": 256,
        "omegaml": 1536,
        "worker": 8192,
    },
    "large": {
        "mongodb": 16384,
        "mysql": 2048,
        "rabbitmq": 2048,
        "nginx": 512,
        "omegaml": 3072,
        "worker": 32768,
    },
}


@dataclass(frozen=True)
class Build:
    """How our image is built."""

    base: str = "python:3.11-slim"
    index: str = ""
    ca: str = ""
    frameworks: str = ""


@dataclass(frozen=True)
class ClusterSpec:
    """The whole description of one cluster; `root` is where it lives and is not part of omega.yml."""

    root: Path
    name: str = "default"
    target: str = "local"
    size: str = "small"
    host: str = "localhost"
    ports: Ports = field(default_factory=Ports)
    mongodb: Mongodb = field(default_factory=Mongodb)
    runner: Runner = field(default_factory=Runner)
    web: Web = field(default_factory=Web)
    mail: Mail = field(default_factory=Mail)
    worker: Worker = field(default_factory=Worker)
    images: Images = field(default_factory=Images)
    build: Build = field(default_factory=Build)

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    def memory(self, service: str) -> int:
        """The most memory that a service may take in a container, in MiB."""
        return _MEMORY[self.size][service]

    @property
    def mail_password_file(self) -> Path | None:
        """The file of the mail account's password, wherever one is that reads omega.yml."""
        name = self.mail.password_file
        return self.root / Path(name).expanduser() if name else None


_LIMITS: dict[str, tuple[float, float]] = {
    "ports.mongodb": (1, 65535),
    "ports.web": (1, 65535),
    "ports.metrics": (0, 65535),
    "ports.rabbitmq": (1, 65535),
    "worker.replicas": (0, 1000),
    "web.audit_days": (1, 36500),
    "web.proxies": (0, 10),
    "mail.port": (1, 65535),
    "mongodb.cache_gb": (0.25, 10000),  # mongod's own bounds
    "mongodb.oplog_mb": (990, 10**9),
}


def _flat(spec: ClusterSpec) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in dataclasses.fields(spec):
        value = getattr(spec, item.name)
        if dataclasses.is_dataclass(value):
            values |= {
                f"{item.name}.{part.name}": getattr(value, part.name) for part in dataclasses.fields(value)
            }
        elif item.name != "root":
            values[item.name] = value
    return values


def find_root(
    name: str | None = None,
    root: str | None = None,
    context: str | None = None,
    config_file: Path | None = None,
) -> Path:
    """Where the cluster lies: `root`, OMEGACLI_ROOT, that of `name`, the context's, or `default`.

    Raises: NotFound for a context that was asked for and has no cluster.
    """
    given = root or os.environ.get("OMEGACLI_ROOT")
    if given:
        return Path(given).expanduser().absolute()
    clusters = (config.home() / "clusters").absolute()
    file = config.ConfigFile(config_file)
    asked = context or os.environ.get("OMEGA_CONTEXT")
    current = _checked(name) if name is not None else asked or file.read().get(config.CURRENT)
    if current:
        root = (file.contexts().get(str(current)) or {}).get(CLUSTER)
        if root:
            return Path(root)
        if name is not None or Layout(clusters / str(current)).secrets.exists():
            return clusters / str(current)
    if asked and asked != "default":
        raise NotFound(f"the context {asked!r} is that of no cluster on this machine", hint="give --name")
    return clusters / "default"


def _checked(name: str) -> str:
    """`name`, if it can name a cluster: in a folder, in a context, later in containers."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name):
        raise InvalidInput(
            f"{name!r} cannot name a cluster", hint="1 to 40 letters, digits, - and _, no - or _ in front"
        )
    return name


def read(root: Path, name: str | None = None) -> ClusterSpec:
    """The cluster in `root`: its omega.yml over the defaults.

    Raises: ConfigInvalid naming file and line; Forbidden if it is somebody else's.
    """
    if name is None and root.parent == (config.home() / "clusters").absolute():
        name = root.name
    spec = ClusterSpec(root=root, name=_checked(name or "default"))
    values = _content(spec.layout.spec)
    try:
        return with_values(spec, _dotted(values))
    except InvalidInput as error:
        raise ConfigInvalid(f"{spec.layout.spec}: {error.message}", hint=error.hint) from error


def listed(root: Path, name: str | None = None) -> list[tuple[str, Any, str]]:
    """Every setting of the cluster in `root` as (key, value, "omega.yml" or "default").

    Raises: as `read`.
    """
    values = _flat(read(root, name))
    given = _dotted(_content(Layout(root).spec))
    return [(key, value, "omega.yml" if key in given else "default") for key, value in values.items()]


def setting(key: str, settings: list[tuple[str, Any, str]]) -> tuple[Any, str]:
    """The value and origin of one of the settings that `listed` gives. Raises: InvalidInput."""
    found = {known: (value, origin) for known, value, origin in settings}
    if key not in found:
        raise _unknown(key, list(found))
    return found[key]


def default(key: str) -> Any:
    """The value of a setting that omega.yml does not name."""
    return _flat(ClusterSpec(root=Path()))[key]


def says_target(root: Path) -> bool:
    """Whether omega.yml names the target, so that it need not be chosen."""
    return "target" in _content(Layout(root).spec)


def choose_target() -> tuple[str, str]:
    """The target of a cluster for which none was named, and why it is that one."""
    return "local", "processes of this machine, the only target of this version"


def _content(path: Path) -> dict[str, Any]:
    """What stands in an omega.yml, {} where there is none."""
    try:
        return _parsed(read_text(path), path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError as error:
        raise Forbidden(
            f"{path} may not be read by this user", hint="be its owner, or choose another --root"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path} is no text in UTF-8", hint="it must be YAML") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # then there is none; the check of the root says the rest
            return {}
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigInvalid(f"{path} line {line}: {error.problem}", hint="it must be YAML") from error
    except yaml.YAMLError as error:
        raise ConfigInvalid(f"{path}: {error}", hint="it must be YAML") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigInvalid(
            f"{path} must hold `key: value` lines", hint="for example `ports: {mongodb: 27018}`"
        )
    return values


def _dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{part}": inner for part, inner in value.items()}
        else:
            flat[str(key)] = value
    return flat


def with_values(spec: ClusterSpec, values: Mapping[str, Any]) -> ClusterSpec:
    """`spec` with dotted keys changed; text is converted to the key's type. Raises: InvalidInput."""
    known = _flat(spec)
    for key, value in values.items():
        if key not in known:
            raise _unknown(key, list(known))
        checked = _convert(key, value, type(known[key]))
        section, _, part = key.rpartition(".")
        if section:
            spec = dataclasses.replace(
                spec, **{section: dataclasses.replace(getattr(spec, section), **{part: checked})}
            )
        else:
            spec = dataclasses.replace(spec, **{part: checked})
    return spec


def _unknown(key: str, known: list[str]) -> InvalidInput:
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(known)
    return InvalidInput(f"there is no setting {key!r}", hint=hint)


def _convert(key: str, value: Any, kind: type) -> Any:
    try:
        if kind is bool:
            converted: Any = {"true": True, "yes": True, "false": False, "no": False}[str(value).lower()]
        else:
            converted = kind(str(value))
    except (KeyError, ValueError) as error:
        words = {bool: "true or false", int: "a whole number", float: "a number"}
        raise InvalidInput(f"{key} must be {words.get(kind, 'text')}, not {value!r}") from error
    low, high = _LIMITS.get(key, (float("-inf"), float("inf")))
    if kind in (int, float) and not low <= converted <= high:
        raise InvalidInput(f"{key} must be between {low:g} and {high:g}, not {value!r}")
    if key == "name":
        _checked(converted)
    if key == "mail.tls" and converted not in ("starttls", "tls", "none"):
        raise InvalidInput(f"mail.tls must be starttls, tls or none, not {value!r}")
    if key == "size" and converted not in _MEMORY:
        raise InvalidInput(f"there is no size {converted!r}", hint="sizes: " + ", ".join(_MEMORY))
    if key == "target" and converted not in TARGETS:
        raise InvalidInput(f"there is no target {converted!r}", hint="targets: " + ", ".join(TARGETS))
    return converted


def write(spec: ClusterSpec) -> bool:
    """Bring omega.yml in line with `spec`; one that says the same already is left alone.

    Where only the target is missing it is added, and all else stays as it was written.
    """
    path = spec.layout.spec
    if path.exists() and read(spec.root, spec.name) == spec:
        values = _content(path)
        if "target" in values:
            return False
        text = f"target: {spec.target}\n{read_text(path)}"
        with suppress(ConfigInvalid):  # a file in another shape than lines is written anew
            if _parsed(text, path) == {"target": spec.target, **values}:
                return write_file(path, text, 0o644)
    defaults = _flat(ClusterSpec(root=spec.root))
    nested: dict[str, Any] = {"target": spec.target}
    for key, value in _flat(spec).items():
        if value != defaults[key]:
            section, _, part = key.rpartition(".")
            (nested.setdefault(section, {}) if section else nested)[part] = value
    return write_file(path, _head(path) + yaml.safe_dump(nested, sort_keys=False), 0o644)


def _head(path: Path) -> str:
    """The comment with which an omega.yml begins, kept when the rest is written anew."""
    if not path.exists():
        return ""
    lines = read_text(path).splitlines(keepends=True)
    return "".join(itertools.takewhile(lambda line: line.startswith("#") or not line.strip(), lines))
