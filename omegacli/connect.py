"""From the global flags to settings and an open connection; what commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegacli import console
from omegaml import config as settings

if TYPE_CHECKING:
    from omegaml.errors import OmegaError
    from omegaml.omega import Omega

_opened: tuple[console.Options, Omega] | None = None


def config() -> settings.Config:
    """Return the settings that this command line asks for. Raises ConfigInvalid, NotFound (the context)."""
    options = console.options
    return settings.load(_path(), options.context, OMEGA_BUCKET=options.bucket, OMEGA_TIMEOUT=options.timeout)


def in_force() -> settings.Config:
    """Return the settings with what the platform says of the account, as far as it answers."""
    found = config()
    if found.is_incomplete:
        from omegaml import rest
        from omegaml.errors import OmegaError

        try:
            return rest.completed(found)
        except OmegaError as error:
            console.warn(f"what is the account's is not known: {error.message}")
    return found


def config_file() -> settings.ConfigFile:
    """Return the configuration file that this command line writes to."""
    return settings.ConfigFile(_path())


def omega() -> Omega:
    """Return omega|ml as this command line asks for it; the connection is made on first use."""
    global _opened
    from omegaml.omega import Omega

    om = Omega(config())
    _opened = console.options, om
    return om


def explained(error: OmegaError) -> OmegaError:
    """Return the error with which a command ends, or the reason behind it where this machine knows it."""
    if _opened is None or _opened[0] is not console.options:  # the command had to do with no platform
        return error
    return _opened[1].explained(error)


def _path() -> Path | None:
    return Path(console.options.config).expanduser() if console.options.config else None
