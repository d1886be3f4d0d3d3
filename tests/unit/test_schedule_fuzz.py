"""Drawn schedules in drawn time zones and years, against a walk from minute to minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from omegaml.errors import InvalidInput
from omegaml.runtime.schedule import Schedule, fields, words

pytestmark = pytest.mark.once

MINUTE = timedelta(minutes=1)
ZONES = sorted(available_timezones() - {"localtime", "Factory"})
# where clocks are changed at odd hours, by odd amounts, over midnight, or over a whole day
ODD = [
    *("Europe/Berlin", "Europe/London", "America/New_York", "America/Santiago", "America/Havana"),
    *("America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "Asia/Kathmandu"),
    *("Asia/Beirut", "Asia/Tehran", "Antarctica/Troll", "America/Sao_Paulo"),
]


def sets(every: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    some = st.sets(st.sampled_from(every), min_size=1, max_size=5).map(lambda found: tuple(sorted(found)))
    step = st.integers(1, len(every) // 2).map(lambda n: every[::n])
    return st.one_of(st.just(every), some, step)


@st.composite
def drawn_fields(draw: st.DrawFn) -> fields.Fields:
    by_weekday = draw(st.booleans())
    days = fields.EVERY_DAY if by_weekday else draw(sets(fields.EVERY_DAY))
    is_last = not by_weekday and days != fields.EVERY_DAY and draw(st.booleans())
    try:
        return fields.Fields(
            draw(sets(fields.EVERY_MINUTE)),
            draw(sets(fields.EVERY_HOUR)),
            () if is_last and draw(st.booleans()) else days,
            draw(sets(fields.EVERY_MONTH)),
            draw(sets(fields.EVERY_WEEKDAY)) if by_weekday else fields.EVERY_WEEKDAY,
            is_last,
        )
    except InvalidInput:
        assume(False)
        raise


@given(drawn_fields())
def test_words_and_cron_of_a_schedule_are_read_as_the_same(drawn: fields.Fields) -> None:
    schedule = Schedule(drawn)
    assert fields.parse(schedule.cron) == drawn, schedule.cron
    assert words.parse(schedule.describe()) == drawn, schedule.describe()
    assert Schedule.parse(schedule.cron) == Schedule.parse(schedule.describe()) == schedule


def walked(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """Look at the clock every minute: at what it says, what it left out, what it has said before."""
    zone, wanted = ZoneInfo(schedule.zone), schedule.fields
    moment = after - timedelta(days=2)
    seen: set[datetime] = set()
    shown = moment.astimezone(zone).replace(tzinfo=None) - MINUTE
    while moment <= until:
        now = moment.astimezone(zone).replace(tzinfo=None)
        if wanted.is_continuous:
            is_due = now.minute in wanted.minutes and wanted.has_day(now)
        else:
            new, left_out = [now], shown + MINUTE
            while left_out < now:
                new.append(left_out)
                left_out += MINUTE
            due = [at for at in new if at not in seen and wanted.has_day(at)]
            is_due = any(at.hour in wanted.hours and at.minute in wanted.minutes for at in due)
            seen.update(new)
        shown = now
        if is_due and after < moment:
            yield moment
        moment += MINUTE


@settings(max_examples=60, deadline=None)
@given(
    drawn_fields(),
    st.one_of(st.sampled_from(ODD), st.sampled_from(ZONES)),
    st.integers(1975, 2040),
    st.floats(0, 1),
)
@example(fields.Fields((0, 1, 30), fields.EVERY_HOUR[:3]), "America/St_Johns", 2009, 0.5)
@example(fields.Fields((10, 40), (1, 2)), "Australia/Lord_Howe", 2026, 0.5)
@example(fields.Fields((0,), (6,)), "Pacific/Apia", 2011, 0.5)
@example(fields.Fields(), "Australia/Lord_Howe", 2026, 0.2)
def test_the_next_times_are_those_that_a_walk_finds(
    drawn: fields.Fields, zone: str, year: int, part: float
) -> None:
    schedule = Schedule(drawn, zone)
    changes = transitions(zone, year) or [datetime(year, 6, 1, tzinfo=UTC)]
    after = changes[round(part * (len(changes) - 1))] - timedelta(days=1, hours=part * 10)
    after = after.replace(second=0, microsecond=0)
    until = after + timedelta(days=2, hours=12)
    found = []
    moment = after
    while (moment := schedule.next(moment).astimezone(UTC)) <= until:
        found.append(moment)
    assert found == list(walked(schedule, after, until))


def transitions(zone: str, year: int) -> list[datetime]:
    """When the clocks of a zone are changed in a year, to the hour."""
    found, info = [], ZoneInfo(zone)
    moment = datetime(year, 1, 1, tzinfo=UTC)
    offset = moment.astimezone(info).utcoffset()
    while moment.year == year:
        moment += timedelta(hours=12)
        if (new := moment.astimezone(info).utcoffset()) != offset:
            offset = new
            found.append(moment)
    return found


@given(st.text(max_size=60))
def test_whatever_is_typed_is_a_schedule_or_refused(text: str) -> None:
    try:
        schedule = Schedule.parse(text)
    except InvalidInput:
        return
    assert schedule.next(datetime(2026, 1, 1, tzinfo=UTC))


WORDS = [
    "every",
    "5",
    "minutes",
    "hourly",
    "daily",
    "at",
    "06:00",
    "6",
    "am",
    "fridays",
    "1st",
    "31st",
    "last",
]
WORDS += [
    "day",
    "of",
    "month",
    "january",
    "weekdays",
    "and",
    "on",
    "monthly",
    "weekly",
    "2",
    "hours",
    "to",
    "in",
]


@given(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join))
def test_whatever_is_made_of_its_words_is_a_schedule_or_refused(text: str) -> None:
    try:
        schedule = Schedule.parse(text)
    except InvalidInput as error:
        assert str(error)
        return
    assert Schedule.parse(schedule.describe()) == schedule
