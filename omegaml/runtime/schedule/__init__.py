"""When a job runs: `Schedule.parse("Fridays at 06:00", "Europe/Berlin").next(after)`.

A schedule is what the clock of its time zone says. Where the clock is changed:

- a time that the clock jumps over runs once, at the first moment after the jump;
- a time that comes twice runs once, the first time;
- what runs every hour or every few minutes goes on as if nothing had happened.

Pure: no database, and no clock but the one that is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from omegaml.errors import InvalidInput
from omegaml.runtime.schedule import fields, words
from omegaml.runtime.schedule.description import describe
from omegaml.runtime.schedule.fields import Fields

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_YEARS = 9
"""29 February comes within nine years: 2100 is no leap year."""

_LOOKS_LIKE_CRON = re.compile(r"\s*(@|[\d*/,-]+\s+[\d*/,-]+(\s|$)|\*)")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


@dataclass(frozen=True)
class Schedule:
    """The times at which something is due.

    Attributes:
        fields: the times, by the clock.
        zone: whose clock: an IANA name, as Europe/Berlin.
    """

    fields: Fields
    zone: str = "UTC"

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, text: str, zone: str = "UTC") -> Schedule:
        """Return the schedule that a text means: cron's five fields, a word as `@daily`, or words.

        Raises: InvalidInput for what is no schedule, or has two meanings; then it names both.
        """
        check_zone(zone)
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput("a schedule is text", hint='as in "every 5 minutes" or "0 6 * * 5"')
        if len(text) > 1000:
            raise InvalidInput(f"a schedule of {len(text)} characters is too long", hint="at most 1000")
        parse = fields.parse if _LOOKS_LIKE_CRON.match(text) else words.parse
        return cls(parse(text), zone)

    @property
    def cron(self) -> str:
        """Cron's five fields for it."""
        return self.fields.cron

    def describe(self) -> str:
        """Return it in words, which `parse` reads as the same schedule."""
        return describe(self.fields)

    def next(self, after: datetime) -> datetime:
        """Return the first time that is later than `after`, in the schedule's time zone.

        Raises: InvalidInput where `after` has no time zone, OverflowError at the end of the calendar.
        """
        if after.tzinfo is None:
            raise InvalidInput("a time without a time zone is no moment", hint="datetime.now(UTC)")
        found = self._next_minute(after) if self.fields.is_continuous else self._next_time(after)
        return found.astimezone(self._zone)

    def following(self, n: int, after: datetime) -> list[datetime]:
        """Return the next `n` times after `after`."""
        return list(islice(self._all(after), n))

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last time that is later than `after` and not later than `until`."""
        back = timedelta(hours=1)
        while True:  # what is due every minute and was forgotten for months is not counted from there
            start = max(after, until - back)
            found = list(self._until(start, until))
            if found or start == after:
                return found[-1] if found else None
            back *= 12

    def _all(self, after: datetime) -> Iterator[datetime]:
        while True:
            yield (after := self.next(after))

    def _until(self, after: datetime, until: datetime) -> Iterator[datetime]:
        for found in self._all(after):
            if found.astimezone(UTC) > until:
                return
            yield found

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    def _next_minute(self, after: datetime) -> datetime:
        """The next minute of the hour that is meant, on a day that is."""
        zone, wanted = self._zone, self.fields
        local = after.astimezone(zone)
        moment = local.astimezone(UTC) - timedelta(seconds=local.second, microseconds=local.microsecond)
        moment += _MINUTE
        end = local.year + _YEARS
        while (local := moment.astimezone(zone)).year <= end:
            if not wanted.has_day(local.date()):
                midnight = _moment(datetime.combine(local.date() + _DAY, time()), zone)
                moment = max(midnight, moment + _MINUTE)
                continue
            if local.minute in wanted.minutes:
                return moment
            later = next((m for m in wanted.minutes if m > local.minute), 60)
            jump = moment + (later - local.minute) * _MINUTE
            is_even = jump.astimezone(zone).utcoffset() == local.utcoffset()
            moment = jump if is_even else moment + _MINUTE
        raise OverflowError(
            f"nothing is due before {end}"
        )  # pragma: no cover: fields that never come are refused

    def _next_time(self, after: datetime) -> datetime:
        """The next time of day that is meant, on a day that is."""
        zone = self._zone
        after = after.astimezone(UTC)
        # days that begin late may have been put off from the day before
        day = after.astimezone(zone).date() - _DAY
        for number in range(_YEARS * 366):
            found = [moment for moment in self._moments(day + number * _DAY) if moment > after]
            if found:
                # where a clock is put back over midnight, the next day may begin before this one has ended
                return min([*found, *self._moments(day + (number + 1) * _DAY)], key=lambda m: (m <= after, m))
        raise OverflowError(f"nothing is due for {_YEARS} years")  # pragma: no cover: as above

    def _moments(self, day: date) -> list[datetime]:
        wanted = self.fields
        if not wanted.has_day(day):
            return []
        times = (time(hour, minute) for hour in wanted.hours for minute in wanted.minutes)
        return [_moment(datetime.combine(day, at), self._zone) for at in times]


def _moment(naive: datetime, zone: ZoneInfo) -> datetime:
    """Return when a clock says that first, or has jumped over it, in UTC."""
    moment = naive.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == naive:
        return moment
    # The clock jumps over it. Fold 0 has the offset of before the jump, fold 1 that of after it (PEP 495).
    after = naive.replace(tzinfo=zone, fold=1).utcoffset()
    early = naive.replace(tzinfo=zone, fold=1).astimezone(UTC)
    late = moment
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) // 2
        if middle.astimezone(zone).utcoffset() == after:
            late = middle
        else:
            early = middle
    return late.replace(microsecond=0)


def check_zone(zone: str) -> str:
    """Return the name of a time zone. Raises InvalidInput, with the nearest that there is."""
    if not isinstance(zone, str) or len(zone) > 100:
        raise InvalidInput("a time zone is a name", hint="as in Europe/Berlin")
    try:
        if _ZONE.fullmatch(zone) and zone not in ("localtime", "posixrules"):
            ZoneInfo(zone)
            return zone
    except (OSError, ValueError, TypeError, KeyError):
        pass
    import difflib
    from zoneinfo import available_timezones

    known = {name.rpartition("/")[2].lower(): name for name in sorted(available_timezones())}
    asked = str(zone).replace(" ", "_").rpartition("/")[2].lower()
    near = difflib.get_close_matches(asked, known, 1)
    raise InvalidInput(
        f"{zone!r} is no time zone", hint=f"did you mean {known[near[0]]}?" if near else "as in Europe/Berlin"
    )


def local_zone() -> str:
    """Return the name of this machine's time zone, or the one that TZ names; UTC where that is none."""
    from tzlocal import get_localzone_name

    try:
        return check_zone(get_localzone_name())
    except (InvalidInput, LookupError, ValueError, OSError):
        return "UTC"


__all__ = ["Fields", "Schedule", "check_zone", "local_zone"]
