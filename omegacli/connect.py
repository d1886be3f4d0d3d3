"""From the global flags to settings and an open connection; what commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegacli import console
from omegaml import config as settings

if TYPE_CHECKING:
    from omegaml.omega import Omega


def config() -> settings.Config:
    """Return the settings that this command line asks for. Raises ConfigInvalid, NotFound (the context)."""
    options = console.options
    return settings.load(_path(), options.context, OMEGA_BUCKET=options.bucket, OMEGA_TIMEOUT=options.timeout)


def config_file() -> settings.ConfigFile:
    """Return the configuration file that this command line writes to."""
    return settings.ConfigFile(_path())


def omega() -> Omega:
    """Return omega|ml as this command line asks for it; the connection is made on first use."""
    from omegaml.omega import Omega

    return Omega(config())


def _path() -> Path | None:
    return Path(console.options.config).expanduser() if console.options.config else None
