"""The folders of notebooks that are executed: each holds a credential, and goes with its process.

A process removes its own. Where it is killed whoever started it does, or finds it was gone later.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "omega-run-"


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder of this process, of mode 0700, which is removed in the end."""
    prefix = f"{PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as path:
        yield Path(path)


def remove_of(pid: int) -> None:
    """Remove the folders of a process that has ended, or is about to."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}{pid}-*"):
        _remove(path)


def remove_of_the_dead() -> None:
    """Remove the folders of all processes that are no more."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", pid).exists():
            _remove(path)


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):  # somebody else did it
        if os.getuid() in (0, path.lstat().st_uid):  # root has children that gave up its rights
            shutil.rmtree(path, ignore_errors=True)
