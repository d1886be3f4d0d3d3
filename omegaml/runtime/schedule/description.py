"""A schedule in words that `words.parse` reads as the same."""

from __future__ import annotations

from collections.abc import Sequence

from omegaml.runtime.schedule.fields import (
    EVERY_DAY,
    EVERY_HOUR,
    EVERY_MINUTE,
    EVERY_MONTH,
    EVERY_WEEKDAY,
    MONTHS,
    WEEKDAYS,
    Fields,
    shortest,
    step_of,
)

WHERE_THERE_IS_ONE = "where there is one"
_MOST_TIMES = 6


def describe(fields: Fields) -> str:
    """Return the words: `every 5 minutes on weekdays`, `Fridays at 06:00`."""
    when, days = clock_words(fields.minutes, fields.hours), _days(fields)
    if ":" in when:
        return f"{days or 'daily'} {when}"
    on = "on " if fields.weekdays != EVERY_WEEKDAY else ""
    return f"{when} {on}{days}".rstrip()


def clock_words(minutes: tuple[int, ...], hours: tuple[int, ...]) -> str:
    """Return how often, or at what times of a day."""
    if hours == EVERY_HOUR:
        if minutes == EVERY_MINUTE:
            return "every minute"
        if step := _even_step(minutes, EVERY_MINUTE):
            return f"every {step} minutes"
        return "hourly" if minutes == (0,) else f"hourly at {_numbered('minute', minutes)}"
    if step := _even_step(hours, EVERY_HOUR):
        at = "" if minutes == (0,) else f" at {_numbered('minute', minutes)}"
        return f"every {step} hours{at}"
    if len(minutes) * len(hours) <= _MOST_TIMES:
        return f"at {joined([f'{hour:02}:{minute:02}' for hour in hours for minute in minutes])}"
    return f"at {_numbered('minute', minutes)} of {_numbered('hour', hours)}"


def _even_step(numbers: tuple[int, ...], every: tuple[int, ...]) -> int | None:
    if numbers == every[:: len(every) // 2]:
        return len(every) // 2
    step = step_of(numbers, every)
    return step if step and len(every) % step == 0 else None


def _days(fields: Fields) -> str:
    months = joined([MONTHS[month - 1] for month in fields.months]) if fields.months != EVERY_MONTH else ""
    if fields.weekdays != EVERY_WEEKDAY:
        usual = {(1, 2, 3, 4, 5): "weekdays", (0, 6): "weekends"}.get(fields.weekdays)
        days = usual or joined([f"{WEEKDAYS[day]}s" for day in fields.weekdays])
        return f"{days} in {months}" if months else days
    if fields.days == EVERY_DAY:
        return f"daily in {months}" if months else ""
    listed = [ordinal(day) for day in fields.days] + (["last day"] if fields.is_last_day else [])
    is_short = any(day > shortest(month) for month in fields.months for day in fields.days)
    words = f"on the {joined(listed)} of {months or 'every month'}"
    return f"{words} {WHERE_THERE_IS_ONE}" if is_short else words


def _numbered(noun: str, numbers: Sequence[int]) -> str:
    return f"{noun}{'s' if len(numbers) > 1 else ''} {joined([str(number) for number in numbers])}"


def joined(words: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd ..."""
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
