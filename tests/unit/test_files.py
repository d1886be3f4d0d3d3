"""A file that is being replaced is the old one or the new one, and nothing is left beside it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from omegaml import files
from omegaml.files import replacing

pytestmark = pytest.mark.once


def write(path: Path) -> None:
    with replacing(path) as file:
        file.write(b"new")


def interrupted_at(line: int, path: Path) -> bool:
    """Write with an interrupt before the given line of `replacing`; False if it has no so many."""
    left = [line]

    def trace(frame: Any, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename != files.__file__:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        return trace

    usual = sys.gettrace()
    sys.settrace(trace)
    try:
        write(path)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(usual)
    return left[0] <= 0


def test_an_interrupt_at_any_line_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path, line, seen = tmp_path / "a", 1, set()
    while True:
        path.write_bytes(b"old")
        if not interrupted_at(line, path):
            break
        seen.add(path.read_bytes())
        assert os.listdir(tmp_path) == ["a"], line
        line += 1
    assert line > 6 and seen == {b"old", b"new"}


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(ValueError), replacing(path) as file:
        file.write(b"new")
        raise ValueError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_it_is_private_until_it_is_whole(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a"
    with replacing(path, mode) as file:
        (temporary,) = tmp_path.iterdir()
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        file.write(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode and os.listdir(tmp_path) == ["a"]


def test_where_it_cannot_be_written_the_reason_is_the_systems(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "no" / "a"):
        raise AssertionError
