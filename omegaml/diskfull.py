"""A full disk as the reason why the database of a local cluster does not answer.

MongoDB ends when it cannot write. Whoever asks it then finds nobody; why, only this machine can tell: by the
space that is left, or by the mark that the cluster's supervisor leaves until MongoDB runs well again.
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit

from omegaml.config import CLUSTER, ConfigFile
from omegaml.errors import OmegaError, StorageFull, Unavailable

NOTHING_FREE = 128 * 2**20  # a file of MongoDB's journal takes 100 MiB
HINT = "free some space: MongoDB starts again by itself within 30 seconds, or with `omegacli cluster up`"


def mark(root: Path) -> Path:
    """The file that is there while MongoDB of the cluster in `root` is down for want of space."""
    return root / "state" / "disk-full"


def is_full(root: Path) -> bool:
    """Tell whether MongoDB of the cluster in `root` has too little space to start."""
    try:
        return shutil.disk_usage(_data(root)).free < NOTHING_FREE
    except OSError:  # it was removed
        return False


def reason(root: Path) -> str | None:
    """Return the sentence that says so, if want of space keeps MongoDB of the cluster in `root` down."""
    if is_full(root):
        return f"the disk of {_data(root)} is full"
    if mark(root).exists():
        return f"the disk of {_data(root)} was full and MongoDB has not started again yet"
    return None


def explained(error: OmegaError, url: str, file: ConfigFile | None = None) -> OmegaError:
    """Return StorageFull for `error` where the database at `url` does not answer for want of space.

    Args:
        url: of a database; only one that a context of `file` says is that of a local cluster is looked at.
        file: the client's configuration; the usual one if not given.
    """
    if not isinstance(error, Unavailable) or isinstance(error, StorageFull):
        return error
    try:
        contexts = (file or ConfigFile()).contexts().values()
        roots = [c[CLUSTER] for c in contexts if c.get(CLUSTER) and c.get("OMEGA_MONGO_URL") == url]
        why = reason(Path(roots[0])) if roots and not _answers(url) else None
    except (OmegaError, OSError):  # then there is no more to be said
        return error
    return StorageFull(f"no MongoDB server answers: {why}", hint=HINT) if why else error


def _data(root: Path) -> Path:
    data = root / "data"
    return data if data.exists() else root


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 27017), timeout=1.0).close()
    except (OSError, ValueError):
        return False
    return True
