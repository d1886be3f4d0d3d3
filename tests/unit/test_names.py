"""Which names an object can have."""

from __future__ import annotations

import pytest

from omegaml.errors import InvalidInput
from omegaml.store.names import Asked, check_name


@pytest.mark.parametrize("name", [".", "..", "x/../y", "../x", "x/..", "./x", "x/./y", "x/."])
def test_a_part_that_a_path_takes_for_a_direction_is_none_of_a_new_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a name"):
        check_name(name)
    assert Asked.parse(name).name == name  # what has such a name already is read as before


@pytest.mark.parametrize("name", [".hidden", "a..b", "x/..y", "...", "a/b.c", ".temp/x"])
def test_dots_beside_other_characters_are_part_of_a_name(name: str) -> None:
    assert check_name(name) == name
