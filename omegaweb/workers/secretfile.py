"""Files that hold one secret each, by which services are told theirs."""

from __future__ import annotations

import os
from pathlib import Path

from omegaml.errors import ConfigInvalid


def read_secret(file: Path) -> str | None:
    """Return the one line of a file, which is closed to others from now on; None where there is no file.

    One that is mounted for reading alone, as containers get their secrets, is closed by where it lies.
    Raises: ConfigInvalid if it cannot be read.
    """
    try:
        if file.stat().st_mode & 0o077 and not os.statvfs(file).f_flag & os.ST_RDONLY:
            os.chmod(file, 0o600)
        return file.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{file} cannot be read: {type(error).__name__}") from None
