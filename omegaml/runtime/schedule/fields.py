"""The minutes at which a schedule is due, as sets of numbers, and cron's five fields for them.

Source: cron's fields as in https://man7.org/linux/man-pages/man5/crontab.5.html; `L` for the last day of a
month is taken besides.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from omegaml.errors import InvalidInput

MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

EVERY_MINUTE, EVERY_HOUR, EVERY_DAY = tuple(range(60)), tuple(range(24)), tuple(range(1, 32))
EVERY_MONTH, EVERY_WEEKDAY = tuple(range(1, 13)), tuple(range(7))

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_ITEM = re.compile(r"(?:(\*)|([0-9]+|[a-z]{3})(?:-([0-9]+|[a-z]{3}))?)(?:/([0-9]+))?")


@dataclass(frozen=True)
class Fields:
    """When something is due, on the clock of some time zone. All tuples are sorted.

    Attributes:
        weekdays: 0 is Sunday.
        is_last_day: the last day of a month is one of the days.
    """

    minutes: tuple[int, ...] = EVERY_MINUTE
    hours: tuple[int, ...] = EVERY_HOUR
    days: tuple[int, ...] = EVERY_DAY
    months: tuple[int, ...] = EVERY_MONTH
    weekdays: tuple[int, ...] = EVERY_WEEKDAY
    is_last_day: bool = False

    def __post_init__(self) -> None:
        """Raises InvalidInput for days that have two meanings, or that never come."""
        if (self.days != EVERY_DAY or self.is_last_day) and self.weekdays != EVERY_WEEKDAY:
            raise InvalidInput(
                "days of the month and weekdays together mean either one to cron, and both to most people",
                hint="give one of the two, and make a second job for the other",
            )
        if not self.is_last_day and self.days[0] > max(longest(month) for month in self.months):
            names = " or ".join(MONTHS[month - 1] for month in self.months)
            raise InvalidInput(f"there is no day {self.days[0]} in {names}, so it would never run")

    def has_day(self, day: date) -> bool:
        """Tell whether something is due on that day."""
        is_day = day.day in self.days or (self.is_last_day and day.day == monthrange(day.year, day.month)[1])
        return is_day and day.month in self.months and day.isoweekday() % 7 in self.weekdays

    @property
    def is_continuous(self) -> bool:
        """Whether it goes on hour by hour, whatever is done to the clock."""
        return self.hours == EVERY_HOUR

    @property
    def cron(self) -> str:
        """The five fields that `parse` reads as this."""
        days = [_text(self.days, EVERY_DAY)] if self.days else []
        days += ["L"] if self.is_last_day else []
        parts = [_text(self.minutes, EVERY_MINUTE), _text(self.hours, EVERY_HOUR), ",".join(days)]
        return " ".join([*parts, _text(self.months, EVERY_MONTH), _text(self.weekdays, EVERY_WEEKDAY)])


def longest(month: int) -> int:
    """How many days a month has at the most."""
    return monthrange(2024, month)[1]


def shortest(month: int) -> int:
    """How many days a month has at the least."""
    return 28 if month == 2 else longest(month)


def parse(text: str) -> Fields:
    """Return what cron's five fields, or a word as `@daily`, mean. Raises InvalidInput."""
    text = text.strip().lower()
    if text.startswith("@"):
        if text not in ALIASES:
            raise InvalidInput(f"{text!r} is no schedule", hint=f"one of {', '.join(ALIASES)}")
        text = ALIASES[text]
    parts = text.split()
    if len(parts) != 5:
        raise InvalidInput(
            f"{text!r} has {len(parts)} fields, and cron has five",
            hint="minute hour day-of-month month day-of-week, as in 0 6 * * 5 (no seconds, no years)",
        )
    minute, hour, day, month, weekday = parts
    listed = day.split(",")
    is_last = "l" in listed
    days = ",".join(item for item in listed if item != "l")
    names = tuple(name[:3].lower() for name in MONTHS)
    return Fields(
        _numbers("minute", minute, EVERY_MINUTE),
        _numbers("hour", hour, EVERY_HOUR),
        _numbers("day-of-month", days, EVERY_DAY) if days else (),
        _numbers("month", month, EVERY_MONTH, names),
        _numbers("day-of-week", weekday, EVERY_WEEKDAY, tuple(name[:3].lower() for name in WEEKDAYS)),
        is_last and days != "*",
    )


def _numbers(field: str, text: str, every: tuple[int, ...], names: tuple[str, ...] = ()) -> tuple[int, ...]:
    first, last = every[0], every[-1]
    # 7 is Sunday as well, so that friday-sunday is a range
    end = 7 if field == "day-of-week" else last

    def number(word: str, is_end: bool = False) -> int:
        found = int(word) if word.isdigit() else first + names.index(word) if word in names else -1
        if not first <= found <= end:
            known = f"{first} to {last}" + (f", or {names[0]} to {names[-1]}" if names else "")
            raise InvalidInput(f"{word!r} is no {field} of cron", hint=known)
        return 7 if is_end and field == "day-of-week" and found == 0 else found

    found: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise InvalidInput(
                f"{item!r} is nothing that cron knows in the field {field}",
                hint="as in 5 or 1-5 or */15 or *",
            )
        star, low, high, step = match.groups()
        if step is not None and not 0 < int(step) <= last:
            raise InvalidInput(f"the step of {item!r} is not between 1 and {last}")
        if star is None and step is not None and high is None:
            raise InvalidInput(
                f"{item!r} means {low} to some crons, and from {low} on to others",
                hint=f"{low} or {low}-{last}/{step}",
            )
        begin = first if star else number(low)
        stop = last if star else number(high, is_end=True) if high else begin
        if stop < begin:
            raise InvalidInput(f"{item!r} ends before it begins", hint=f"as in {high}-{low}")
        found.update(range(begin, stop + 1, int(step or 1)))
    return tuple(sorted({0 if n == 7 and field == "day-of-week" else n for n in found}))


def _text(numbers: tuple[int, ...], every: tuple[int, ...]) -> str:
    if numbers == every:
        return "*"
    if step := step_of(numbers, every):
        return f"*/{step}"
    return ",".join(_range(run) for run in _runs(numbers))


def step_of(numbers: tuple[int, ...], every: tuple[int, ...]) -> int | None:
    """Return n where the numbers are every nth from the first on, three of them or more."""
    step = numbers[1] - numbers[0] if len(numbers) > 2 else 0
    return step if step > 1 and numbers == every[::step] else None


def _runs(numbers: Iterable[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _range(run: list[int]) -> str:
    return f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run))
