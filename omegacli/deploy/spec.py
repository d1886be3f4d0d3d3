"""What a cluster shall be: omega.yml, which holds only what differs from the defaults."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from omegacli.deploy.base import Layout, write_file
from omegaml import config
from omegaml.errors import ConfigInvalid, InvalidInput

TARGETS = ("local",)


@dataclass(frozen=True)
class Ports:
    mongodb: int = 27017


@dataclass(frozen=True)
class Mongodb:
    cache_gb: float = 1.0
    oplog_mb: int = 1024


@dataclass(frozen=True)
class Runner:
    enabled: bool = True


@dataclass(frozen=True)
class ClusterSpec:
    """The whole description of one cluster; `root` is where it lives and is not part of omega.yml."""

    root: Path
    name: str = "default"
    target: str = "local"
    ports: Ports = field(default_factory=Ports)
    mongodb: Mongodb = field(default_factory=Mongodb)
    runner: Runner = field(default_factory=Runner)

    @property
    def layout(self) -> Layout:
        return Layout(self.root)


_LIMITS: dict[str, tuple[float, float]] = {
    "ports.mongodb": (1, 65535),
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
    """Where the cluster lies: `root`, OMEGACLI_ROOT, that of `name`, the context's, or `default`."""
    given = root or os.environ.get("OMEGACLI_ROOT")
    if given:
        return Path(given).expanduser().absolute()
    clusters = config.home() / "clusters"
    if name is None:
        current = context or config.ConfigFile(config_file).read().get(config.CURRENT)
        name = str(current) if current and Layout(clusters / str(current)).secrets.exists() else "default"
    if not name or Path(name).name != name or name.startswith("."):
        raise InvalidInput(f"{name!r} cannot name a cluster", hint="letters, digits, - and _")
    return clusters / name


def read(root: Path, name: str | None = None) -> ClusterSpec:
    """The cluster in `root`: its omega.yml over the defaults. Raises: ConfigInvalid naming file and line."""
    spec = ClusterSpec(root=root, name=name or "default")
    path = spec.layout.spec
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return spec
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigInvalid(f"{path} line {line}: {error.problem}", hint="it must be YAML") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path} cannot be read: {error}") from error
    if values is None:
        return spec
    if not isinstance(values, dict):
        raise ConfigInvalid(
            f"{path} must hold `key: value` lines", hint="for example `ports: {mongodb: 27018}`"
        )
    try:
        return with_values(spec, _dotted(values))
    except InvalidInput as error:
        raise ConfigInvalid(f"{path}: {error.message}", hint=error.hint) from error


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
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(known)
            raise InvalidInput(f"there is no setting {key!r}", hint=hint)
        checked = _convert(key, value, type(known[key]))
        section, _, part = key.rpartition(".")
        if section:
            spec = dataclasses.replace(
                spec, **{section: dataclasses.replace(getattr(spec, section), **{part: checked})}
            )
        else:
            spec = dataclasses.replace(spec, **{part: checked})
    return spec


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
    if key == "target" and converted not in TARGETS:
        raise InvalidInput(f"there is no target {converted!r}", hint="targets: " + ", ".join(TARGETS))
    return converted


def write(spec: ClusterSpec) -> bool:
    """Bring omega.yml in line with `spec`; one that says the same already is left alone."""
    path = spec.layout.spec
    if path.exists() and read(spec.root, spec.name) == spec:
        return False
    defaults = _flat(ClusterSpec(root=spec.root))
    nested: dict[str, Any] = {"target": spec.target}
    for key, value in _flat(spec).items():
        if value != defaults[key]:
            section, _, part = key.rpartition(".")
            (nested.setdefault(section, {}) if section else nested)[part] = value
    return write_file(path, yaml.safe_dump(nested, sort_keys=False), 0o644)
