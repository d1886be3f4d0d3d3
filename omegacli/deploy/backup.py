"""A stopped local cluster in one file, from which it can be made again."""

from __future__ import annotations

import errno
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path

from omegacli.deploy.base import Layout, make_dir
from omegaml.errors import StorageFull, Unavailable
from omegaml.files import replacing

# files that MongoDB keeps ready for its journal, still empty; it makes them again
_EMPTY = "WiredTigerPreplog."


def archive(layout: Layout, folder: Path, name: str) -> Path:
    """Write omega.yml, secrets.yml and the data of a stopped cluster to a .tar.gz in `folder`, mode 0600.

    Unpacked into an empty root it is a cluster that `up` starts.
    Returns: the file. Raises: StorageFull, Unavailable; then there is no file.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = folder / f"{name}-{stamp}.tar.gz"
    make_dir(folder)
    try:
        with replacing(path) as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
                for part in (layout.spec, layout.secrets, layout.data):
                    if part.exists():
                        tar.add(part, part.name, filter=_wanted)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (StorageFull if full else Unavailable)(
            f"the backup {path} could not be written: {error.strerror}",
            hint="nothing was removed; free space, or go without one: --no-backup",
        ) from error
    return path


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(entry.name).name.startswith(_EMPTY) else entry


def size(layout: Layout) -> int:
    """Bytes of a cluster's data on the disk."""
    return sum(path.stat().st_size for path in layout.data.rglob("*") if path.is_file())
