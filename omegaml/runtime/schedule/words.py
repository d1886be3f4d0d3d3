"""Schedules in words: `every 5 minutes on weekdays`, `Fridays, at 06:00`, `on the last day of May at 23:15`.

Times are of 24 hours unless am or pm stands behind them. What people read in two ways is refused, and the
ways are named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from omegaml.errors import InvalidInput
from omegaml.runtime.schedule.description import WHERE_THERE_IS_ONE, clock_words, joined, ordinal
from omegaml.runtime.schedule.fields import (
    EVERY_DAY,
    EVERY_HOUR,
    EVERY_MINUTE,
    EVERY_MONTH,
    EVERY_WEEKDAY,
    MONTHS,
    WEEKDAYS,
    Fields,
    longest,
    shortest,
)

EXAMPLES = '"every 5 minutes", "weekdays at 08:30", "Fridays, at 06:00", "on the 1st of every month at 00:15"'

_MONTH = "|".join(f"{name[:3]}(?:{name[3:]})?" for name in map(str.lower, MONTHS))
_WEEKDAY = "|".join(
    [
        *("sun(?:day)?", "mon(?:day)?", "tue(?:s(?:day)?)?", "wed(?:nesday)?"),
        *("thu(?:rs(?:day)?)?", "fri(?:day)?", "sat(?:urday)?"),
    ]
)
_ORDINAL = r"\d+(?:st|nd|rd|th)|first|second|third|fourth|fifth|other"
_NUMBERS = r"\d+(?:(?: and)? \d+)*"
_WORDS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "other": 2}


@dataclass
class _Heard:
    """What was understood so far."""

    text: str
    minutes: tuple[int, ...] | None = None
    hours: tuple[int, ...] | None = None
    times: list[tuple[int, int]] = field(default_factory=list)
    days: set[int] = field(default_factory=set)
    months: set[int] = field(default_factory=set)
    weekdays: set[int] = field(default_factory=set)
    said: set[str] = field(default_factory=set)


def parse(text: str) -> Fields:
    """Return what the words mean. Raises InvalidInput, saying which of them it does not know or why not."""
    rest = " ".join(re.sub(r"[,;]", " ", text.lower()).replace("each ", "every ").split())
    heard = _Heard(text)
    while rest:
        for pattern, hear in _PHRASES:
            if match := pattern.match(rest):
                hear(heard, match)
                rest = rest[match.end() :].lstrip()
                break
        else:
            raise InvalidInput(f"{text!r} is no schedule: what is {rest!r}?", hint=f"as in {EXAMPLES}")
    return _fields(heard)


def _refused(heard: _Heard, why: str, *readings: str) -> InvalidInput:
    return InvalidInput(f"{heard.text!r}: {why}", hint=" or ".join(readings) or None, readings=list(readings))


# --- phrases


def _time(heard: _Heard, match: re.Match[str]) -> None:
    hour, minute, half = int(match["hour"]), int(match["minute"] or 0), match["half"]
    if match["minute"] is None and half is None:
        likely = (f"{hour:02}:00", f"{hour + 12:02}:00") if 0 < hour < 12 else (f"{hour % 24:02}:00",)
        raise _refused(heard, f"{match['hour']} is no time of day", *(f"at {time}" for time in likely))
    if half and hour == 12:
        raise _refused(heard, "12 am and 12 pm mean noon to some and midnight to others", "00:00", "12:00")
    if hour > (11 if half else 23) or minute > 59 or (half and not hour):
        raise _refused(heard, f"there is no time {match[0].removeprefix('at ')!r}", "at 00:00 to at 23:59")
    heard.times.append((hour + 12 * (half == "pm"), minute))


def _noon(heard: _Heard, match: re.Match[str]) -> None:
    heard.said.add(match[1])
    heard.times.append((12 if match[1] == "noon" else 0, 0))


def _every(heard: _Heard, match: re.Match[str]) -> None:
    number, unit = match["n"] or "1", match["unit"]
    n = _WORDS.get(number) or int(re.sub(r"\D", "", number))
    every = f"every {n} {unit}s"
    if unit == "second":
        raise _refused(heard, "schedules are to the minute", "every minute")
    if n < 1:
        raise _refused(heard, f"there is no {every!r}")
    if unit in ("minute", "hour"):
        most = 60 if unit == "minute" else 24
        if n % most == 0:
            larger = (f"every {n // 60} hours" if n > 60 else "hourly") if most == 60 else "daily at 00:00"
            raise _refused(heard, f"say it in {'hours' if most == 60 else 'days'}", larger)
        if most % n:
            raise _refused(heard, _uneven(n, unit, most), *_even(n, unit, most))
        _once(heard, "how often")
        heard.hours = EVERY_HOUR if unit == "minute" else EVERY_HOUR[::n]
        if unit == "minute":
            _once(heard, "which minutes")
            heard.minutes = EVERY_MINUTE[::n]
    elif n == 1:
        _period(heard, {"day": "daily"}.get(unit, f"{unit}ly"))
    elif unit == "day":
        raise _refused(
            heard,
            f"cron begins anew on the 1st of every month, so that {every!r} would run on two days in a row",
            'name the days, as in "Mondays, Wednesdays and Fridays at 06:00"',
            f'"0 6 */{n} * *" if that is meant',
        )
    else:
        named = "every week" if unit == "week" else 'name them, as in "on the 1st of January and July"'
        raise _refused(heard, f"it does not say which {unit} is the first", named)


def _uneven(n: int, unit: str, of: int) -> str:
    larger = "hour" if unit == "minute" else "day"
    times = [*range(0, of, n)]
    shown = ", ".join(map(str, times[:2])) + (f" ... {times[-1]}" if len(times) > 2 else "")
    left = of - times[-1]
    after = f"{left} {unit}{'s' if left > 1 else ''} after the last"
    return f"{n} does not divide the {larger}: cron would run at {unit} {shown} and begin anew {after}"


def _even(n: int, unit: str, of: int) -> list[str]:
    divisors = [d for d in range(1, of) if of % d == 0]
    near = [
        max((d for d in divisors if d < n), default=None),
        min((d for d in divisors if d > n), default=None),
    ]
    cron = f'"*/{n} * * * *"' if unit == "minute" else f'"0 */{n} * * *"'
    evenly = [f"every {d} {unit}s" if d > 1 else f"every {unit}" for d in near if d]
    return [*evenly, f"{cron} if that is meant"] if n < of else evenly


def _once(heard: _Heard, what: str) -> None:
    if what in heard.said:
        raise _refused(heard, f"it says {what} twice")
    heard.said.add(what)


def _period(heard: _Heard, word: str) -> None:
    if word == "hourly":
        _once(heard, "how often")
        heard.hours = EVERY_HOUR
    heard.said.add(word)


def _list_of(name: str) -> Callable[[_Heard, re.Match[str]], None]:
    most = {"minutes": 59, "hours": 23}[name]

    def hear(heard: _Heard, match: re.Match[str]) -> None:
        _once(heard, "which minutes" if name == "minutes" else "how often")
        numbers = sorted({int(number) for number in re.findall(r"\d+", match[0])})
        if numbers[-1] > most:
            raise _refused(heard, f"{name} go from 0 to {most}")
        setattr(heard, name, tuple(numbers))

    return hear


def _weekday(word: str) -> int:
    return next(n for n, name in enumerate(WEEKDAYS) if name.lower().startswith(word[:3]))


def _from_to(heard: _Heard, match: re.Match[str]) -> None:
    first, last = _weekday(match[1]), _weekday(match[2])
    heard.weekdays |= {(first + n) % 7 for n in range((last - first) % 7 + 1)}


def _ordinal(heard: _Heard, match: re.Match[str]) -> None:
    _day(heard, match[1])


def _day(heard: _Heard, word: str) -> None:
    day = _WORDS.get(word) or int(re.sub(r"\D", "", word))
    if not 1 <= day <= 31:
        raise _refused(heard, f"no month has a day {day}", "on the last day of every month")
    heard.days.add(day)


def _nth_weekday(heard: _Heard, match: re.Match[str]) -> None:
    raise _refused(
        heard, "a certain one of the weekdays of a month is nothing that schedules know", "every one of them"
    )


def _date(heard: _Heard, match: re.Match[str]) -> None:
    one, other = int(match[1]), int(match[2])
    readings = [
        f"on the {ordinal(day)} of {MONTHS[month - 1]}"
        for day, month in ((one, other), (other, one))
        if 1 <= month <= 12 and 1 <= day <= longest(month)
    ]
    raise _refused(heard, f"{match[0]!r} is no day that everybody reads alike", *dict.fromkeys(readings))


def _month(heard: _Heard, match: re.Match[str]) -> None:
    heard.months.add(next(n for n, name in enumerate(MONTHS, 1) if name.lower().startswith(match[1][:3])))


def _month_and_day(heard: _Heard, match: re.Match[str]) -> None:
    _month(heard, match)
    _day(heard, match[2])


def _says(word: str) -> Callable[[_Heard, re.Match[str]], None]:
    return lambda heard, match: heard.said.add(word)


def _on(*days: int) -> Callable[[_Heard, re.Match[str]], None]:
    return lambda heard, match: heard.weekdays.update(days)


def _how_many(heard: _Heard, match: re.Match[str]) -> None:
    raise _refused(heard, f"{match[0]!r} does not say when", "at 06:00 and 18:00")


_PHRASES = [
    (re.compile(rf"(?:{pattern})(?![\w:/])", re.ASCII), hear)
    for pattern, hear in (
        (r"(?:at )?minutes? " + _NUMBERS, _list_of("minutes")),
        (r"(?:of |at )?hours? " + _NUMBERS, _list_of("hours")),
        (rf"every (?P<n>\d+|{_ORDINAL})? ?(?P<unit>second|minute|hour|day|week|month|year)s?", _every),
        (r"(?:\d+|twice|once|(?:three|four) times) (?:a|per) \w+", _how_many),
        (r"(hourly|daily|weekly|monthly|yearly|annually|quarterly)", lambda h, m: _period(h, m[1])),
        (r"(?:at )?(noon|midnight)", _noon),
        (r"(\d\d?)[/.](\d\d?)\.?(?:[/.]?\d+)?", _date),
        (rf"(\d\d?)(?= (?:{_MONTH})\b)", _ordinal),
        (rf"({_MONTH}) (\d\d?(?:st|nd|rd|th)?)", _month_and_day),
        (r"(?:at )?(?P<hour>\d\d?)(?::(?P<minute>\d\d))?(?: ?(?P<half>am|pm))?(?: o'clock)?", _time),
        (r"(?:every )?(?:weekdays?|working days?)", _on(1, 2, 3, 4, 5)),
        (r"(?:every )?weekends?", _on(0, 6)),
        (rf"({_WEEKDAY})s? ?(?:to|-|through|until) ?({_WEEKDAY})s?", _from_to),
        (rf"(?:every )?(?:{_ORDINAL}|last) (?:{_WEEKDAY}|weekday|working day)s?", _nth_weekday),
        (rf"(?:every )?({_WEEKDAY})s?", lambda h, m: h.weekdays.add(_weekday(m[1]))),
        (r"(?:every )?last(?: day)?(?: of(?: the)? month)?", _says("last")),
        (rf"({_ORDINAL})(?: days?)?(?: of(?: the)? month)?", _ordinal),
        (rf"({_MONTH})", _month),
        (WHERE_THERE_IS_ONE, _says(WHERE_THERE_IS_ONE)),
        (r"and|at|on|in|of|the|runs?", lambda h, m: None),
    )
]


# --- what they mean together


def _fields(heard: _Heard) -> Fields:
    minutes, hours = _clock(heard)
    is_last = "last" in heard.said
    days = bool(heard.days or is_last)
    for word in ("weekly", "monthly", "quarterly", "yearly", "annually"):
        wanted = {"weekly": bool(heard.weekdays), "monthly": days}.get(word, days and bool(heard.months))
        if word in heard.said and not wanted:
            example = {"weekly": "Mondays at 06:00", "monthly": "on the 1st of every month at 06:00"}
            example["quarterly"] = "on the 1st of January, April, July and October at 06:00"
            raise _refused(
                heard, "it does not say on which days", example.get(word, "on the 1st of January at 06:00")
            )
    if ("monthly" in heard.said and heard.months) or ("weekly" in heard.said and days):
        raise _refused(heard, "it says two things about its days that do not go together")
    if days and heard.weekdays:
        raise _refused(
            heard,
            "it is not clear whether both the day of the month and the weekday must be right, or one of them",
            "give one of the two, and make a second job for the other",
        )
    if "daily" in heard.said and (days or heard.weekdays):
        raise _refused(heard, "it says daily, and on which days", "leave out one of the two")
    if heard.times and not days and not heard.weekdays and "daily" not in heard.said:
        in_months = " in " + joined([MONTHS[m - 1] for m in sorted(heard.months)]) if heard.months else ""
        raise _refused(
            heard, "it does not say on which days", f"daily{in_months} {clock_words(minutes, hours)}"
        )
    if "midnight" in heard.said and (days or heard.weekdays):
        raise _refused(
            heard, "midnight may be where the day begins or where it ends", "at 00:00, where it begins"
        )
    months = tuple(sorted(heard.months)) or EVERY_MONTH
    _check_lengths(heard, months)
    return Fields(
        minutes,
        hours,
        tuple(sorted(heard.days)) if days else EVERY_DAY,
        months,
        tuple(sorted(heard.weekdays)) or EVERY_WEEKDAY,
        is_last and len(heard.days) < 31,
    )


def _clock(heard: _Heard) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if heard.times:
        if heard.hours is not None or heard.minutes is not None:
            raise _refused(heard, "it says how often, and at what time", "leave out one of the two")
        hours, minutes = (tuple(sorted(set(part))) for part in zip(*heard.times, strict=True))
        if len(hours) * len(minutes) != len(set(heard.times)):
            raise _refused(
                heard,
                "one schedule has the same minutes in all its hours",
                "make a job for each of the times",
            )
        return minutes, hours
    if heard.hours is None:
        if heard.minutes is not None:
            raise _refused(heard, "it does not say in which hours", "hourly at minute ...")
        raise _refused(heard, "it does not say at what time", f"{heard.text.strip()} at 06:00")
    return heard.minutes if heard.minutes is not None else (0,), heard.hours


def _check_lengths(heard: _Heard, months: Sequence[int]) -> None:
    known = [day for day in sorted(heard.days) if day <= max(longest(month) for month in months)]
    short = [day for day in known if any(day > shortest(month) for month in months)]
    if not short or WHERE_THERE_IS_ONE in heard.said:
        return
    day = ordinal(short[0])
    of = "every month" if len(months) == 12 else joined([MONTHS[month - 1] for month in months])
    raise _refused(
        heard,
        f"not every month has a {day}" if len(months) == 12 else f"there is not always a {day} of {of}",
        f"on the {day} of {of} {WHERE_THERE_IS_ONE}",
        f"on the last day of {of}",
    )
