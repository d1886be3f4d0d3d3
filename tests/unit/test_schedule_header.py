"""The schedule that a notebook's first cell names."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omegaml.errors import InvalidInput
from omegaml.runtime.schedule import header
from omegaml.runtime.schedule.header import Header

pytestmark = pytest.mark.once


def test_the_first_comments_of_a_cell_name_its_schedule() -> None:
    cell = '# omega-ml:\n#   schedule: "Fridays, at 06:00"\n#   zone: Europe/Berlin\n'
    cell += "#   catch-up: skip\n#   retries: 2\nimport omegaml as om\n# schedule: never\n"
    assert header.parse(cell) == Header("Fridays, at 06:00", "Europe/Berlin", "skip", 2)
    assert header.parse("\n\n# omega-ml:\n#  run-at: '*/5 * * * *'") == Header("*/5 * * * *")
    assert header.parse("#omega-ml:\n#  schedule: every 5 minutes") == Header("every 5 minutes")


@pytest.mark.parametrize("cell", ["", "import omegaml", "# about omega-ml: it is fine", "x = 1\n# omega-ml:"])
def test_a_cell_that_says_nothing_has_no_schedule(cell: str) -> None:
    assert header.parse(cell) is None


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("#   schedule: * * * * *", "quote it"),
        ("#   schedule: every 7 minutes", "does not divide the hour"),
        ("#   schedule: hourly\n#   zone: Berlin", "Europe/Berlin"),
        ("#   schedule: hourly\n#   run-at: hourly", "two schedules"),
        ("#   zone: UTC", "no schedule"),
        ("", "no schedule"),
        ("#   schedule: hourly\n#   shedule: daily", "'shedule'"),
        ("#   schedule: hourly\n#   catch-up: twice", "once or skip"),
        ("#   schedule: hourly\n#   retries: 1000", "0 to 10"),
        ("#   schedule: hourly\n#   retries: true", "0 to 10"),
        ("#   hourly", "name: value"),
        ("#   schedule: hourly\n#   retries: -1", "0 to 10"),
        ("#   schedule: hourly\n#   retries:", "0 to 10"),
        ("#   schedule: 2026-99-99", "2026-99-99"),
        (f"#   schedule: {'[' * 2000}", "name: value"),
        ("#   schedule: hourly\n#   zone: {a: b}", "name: value"),
        ("#   schedule:\n#     text: hourly", "name: value"),
        ("#   - schedule: hourly", "name: value"),
        ("#   schedule: !!python/object/apply:os.system [ls]", "header"),
        ("#   schedule: &a hourly\n#   zone: *a", "header"),
        (f"#   schedule: hourly\n#   {'x' * 3000}: 1", "longer than 2048"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(lines: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        header.parse(f"# omega-ml:\n{lines}\nprint(1)")
    assert said in str(caught.value)


@given(st.text())
def test_whatever_a_header_holds_is_read_or_refused(text: str) -> None:
    try:
        header.parse(f"# omega-ml:\n#{text}")
    except InvalidInput as error:
        assert str(error)


BOMB = "#   a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"#   {b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    "lines",
    [
        f"{BOMB}#   schedule: *h",
        f"{BOMB}#   schedule: hourly\n#   zone: *h",
        "#   schedule: " + "[a," * 100_000,
        "#   schedule: hourly\n" + "".join(f"#   {n}: {n}\n" for n in range(50_000)),
        "#   schedule: " + "{" * 2000,
        "#   schedule: " + "? " * 1000,
        "#   schedule: '" + "on 1/2 " * 280 + "'",
        "#   schedule: hourly\n#   zone: " + "Europe/" * 280,
    ],
)
def test_a_header_costs_little_whatever_it_holds(lines: str) -> None:
    before = time.process_time()
    with pytest.raises(InvalidInput) as caught:
        header.parse(f"# omega-ml:\n{lines}\nprint(1)")
    assert time.process_time() - before < 1.0 and len(str(caught.value)) < 400
