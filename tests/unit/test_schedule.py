"""What schedules mean, and what is refused because it means two things."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from omegaml.errors import InvalidInput
from omegaml.runtime.schedule import Schedule

pytestmark = pytest.mark.once

TUESDAY = datetime(2026, 11, 24, 20, 0, tzinfo=UTC)

SAME = [
    ("every minute", "* * * * *"),
    ("every 5 minutes", "*/5 * * * *"),
    ("every 5th minute", "*/5 * * * *"),
    ("every 15 minutes on weekdays", "*/15 * * * 1-5"),
    ("hourly", "0 * * * *"),
    ("every hour at minute 15", "15 * * * *"),
    ("hourly at minutes 5 and 35", "5,35 * * * *"),
    ("every 2 hours", "0 */2 * * *"),
    ("every 2nd hour, at minute 10, working days", "10 */2 * * 1-5"),
    ("daily at 06:00", "0 6 * * *"),
    ("every day at 6am", "0 6 * * *"),
    ("daily at 6:30 pm", "30 18 * * *"),
    ("daily at noon", "0 12 * * *"),
    ("daily at midnight", "0 0 * * *"),
    ("daily at 06:00 and 18:00", "0 6,18 * * *"),
    ("daily in July and August at 06:00", "0 6 * 7,8 *"),
    ("Fridays, at 06:00", "0 6 * * 5"),
    ("Friday, at 06:00", "0 6 * * 5"),
    ("every friday at 06:00", "0 6 * * 5"),
    ("weekdays at 8:30", "30 8 * * 1-5"),
    ("weekends at 08:30", "30 8 * * 0,6"),
    ("Mon, Wed and Fri at 06:00", "0 6 * * 1,3,5"),
    ("monday to thursday at 06:00", "0 6 * * 1-4"),
    ("sat-mon at 06:00", "0 6 * * 0,1,6"),
    ("monthly on the 1st at 00:15", "15 0 1 * *"),
    ("at 06:05, on the 3rd day of month", "5 6 3 * *"),
    ("on the 1st and 15th of every month at 06:00", "0 6 1,15 * *"),
    ("on the last day of every month at 23:15", "15 23 L * *"),
    ("on the 31st of every month where there is one at 06:00", "0 6 31 * *"),
    ("1 February at 06:00", "0 6 1 2 *"),
    ("february 1 at 06:00", "0 6 1 2 *"),
    ("yearly on the 1st of January at 00:00", "@yearly"),
    ("on the 1st of every month at 00:00", "@monthly"),
    ("sundays at 00:00", "@weekly"),
    ("daily at 00:00", "@daily"),
    ("hourly", "@hourly"),
    ("at minutes 0 and 20 of hours 8, 9, 10, 11 and 12 on weekdays", "0,20 8-12 * * mon-fri"),
    ("fri, sat and sun at 06:00", "0 6 * * 5-7"),
    ("fri, sat and sun at 06:00", "0 6 * * FRI-SUN"),
    ("daily in march at 06:00", "0 6 * MAR *"),
]


@pytest.mark.parametrize(("words", "cron"), SAME, ids=[words for words, _ in SAME])
def test_words_and_cron_mean_the_same(words: str, cron: str) -> None:
    assert Schedule.parse(words) == Schedule.parse(cron)
    assert Schedule.parse(words).cron == Schedule.parse(Schedule.parse(words).cron).cron


# (text, what the message or its hint says)
REFUSED = [
    ("every 7 minutes", ["does not divide the hour", "0, 7 ... 56", "4 minutes", '"*/7 * * * *"']),
    ("every 5 hours", ["does not divide the day", "every 4 hours", "every 6 hours", '"0 */5 * * *"']),
    ("every 60 minutes", ["hourly"]),
    ("every 90 minutes", ["every 30 minutes"]),
    ("every 30 seconds", ["to the minute"]),
    ("every 2nd day at 06:00", ["two days in a row", '"0 6 */2 * *"']),
    ("every 2 weeks at 06:00", ["which week is the first"]),
    ("every 4 months on the 1st at 06:00", ["which month is the first"]),
    ("at 6", ["06:00", "18:00"]),
    ("Fridays at 6", ["06:00", "18:00"]),
    ("daily at 12am", ["noon", "midnight"]),
    ("daily at 25:00", ["no time '25:00'"]),
    ("daily at 13pm", ["no time '13pm'"]),
    ("fridays at midnight", ["begins", "ends"]),
    ("fridays", ["at what time"]),
    ("daily", ["at what time", "daily at 06:00"]),
    ("at 06:00", ["which days", "daily at 06:00"]),
    ("weekly at 06:00", ["which days", "Mondays at 06:00"]),
    ("monthly at 06:00", ["which days", "on the 1st"]),
    ("in January at 06:00", ["which days", "daily in January at 06:00"]),
    ("31st of every month at 06:00", ["where there is one", "on the last day of every month"]),
    ("on the 29th of February at 06:00", ["where there is one", "on the last day of February"]),
    ("on the 31st of June at 06:00", ["no day 31 in June"]),
    ("on the 32nd at 06:00", ["no month has a day 32"]),
    ("1/2 at 06:00", ["1st of February", "2nd of January"]),
    ("3.4. at 06:00", ["3rd of April", "4th of March"]),
    ("first friday of the month at 06:00", ["weekdays of a month"]),
    ("friday the 1st at 06:00", ["both", "one of them"]),
    ("daily on fridays at 06:00", ["leave out one"]),
    ("twice a day", ["does not say when"]),
    ("daily at 06:00 and 07:30", ["the same minutes in all its hours"]),
    ("every 5 minutes at 06:00", ["how often, and at what time"]),
    ("every 5 minutes, hourly", ["twice"]),
    ("every 5 minutes until noon", ["what is 'until noon'"]),
    ("daily at 06:00 Europe/Berlin", ["what is 'europe/berlin'"]),
    ("whenever", ["what is 'whenever'", "every 5 minutes"]),
    ("", ["text"]),
    ("0 6 1 * 5", ["either", "both", "second job"]),
    ("0 6 */2 * mon", ["either", "both"]),
    ("5/10 * * * *", ["5 or 5-59/10"]),
    ("0 6 * *", ["4 fields"]),
    ("0 0 6 * * 5", ["6 fields"]),
    ("60 6 * * *", ["'60' is no minute", "0 to 59"]),
    ("0 24 * * *", ["'24' is no hour"]),
    ("0 6 0 * *", ["'0' is no day-of-month"]),
    ("0 6 * foo *", ["'foo' is no month", "jan to dec"]),
    ("0 6 * * 8", ["'8' is no day-of-week"]),
    ("0 6 * * 5-1", ["ends before it begins"]),
    ("*/0 * * * *", ["step"]),
    ("*/60 * * * *", ["step"]),
    ("0 6 15W * *", ["'15w'"]),
    ("0 0 30 2 *", ["no day 30 in February"]),
    ("@reboot", ["@daily"]),
    ("x" * 2000, ["too long"]),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[text[:40] for text, _ in REFUSED])
def test_what_means_two_things_or_nothing_is_refused_and_says_why(text: str, said: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Schedule.parse(text)
    assert [part for part in said if part not in str(caught.value)] == []


@pytest.mark.parametrize("text", [text for text, _ in REFUSED if text.startswith("31st") or "29th" in text])
def test_the_readings_of_a_refused_text_are_schedules(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Schedule.parse(text)
    for reading in caught.value.details["readings"]:
        assert Schedule.parse(f"{reading} at 06:00")


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("Berlin", "did you mean Europe/Berlin?"),
        ("Europe/Brelin", "did you mean Europe/Berlin?"),
        ("America/New York", "did you mean America/New_York?"),
        ("CEST", "no time zone"),
        ("../../etc/passwd", "no time zone"),
        ("/etc/localtime", "no time zone"),
        ("Europe", "no time zone"),
        ("localtime", "no time zone"),
        ("", "no time zone"),
    ],
)
def test_a_time_zone_that_is_none_is_refused_with_the_nearest(zone: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Schedule.parse("hourly", zone)
    assert said in str(caught.value)


def test_the_next_time_is_later_than_the_one_it_is_asked_for() -> None:
    schedule = Schedule.parse("every 5 minutes")
    assert schedule.next(TUESDAY) == TUESDAY + timedelta(minutes=5)
    assert schedule.next(TUESDAY - timedelta(microseconds=1)) == TUESDAY
    assert schedule.next(TUESDAY + timedelta(seconds=59)) == TUESDAY + timedelta(minutes=5)
    with pytest.raises(InvalidInput, match="time zone"):
        schedule.next(datetime(2026, 1, 1))


def test_times_are_those_of_the_time_zone() -> None:
    schedule = Schedule.parse("Fridays at 06:00", "Europe/Berlin")
    found = schedule.following(5, TUESDAY)
    assert [time.isoformat() for time in found] == [
        "2026-11-27T06:00:00+01:00",
        "2026-12-04T06:00:00+01:00",
        "2026-12-11T06:00:00+01:00",
        "2026-12-18T06:00:00+01:00",
        "2026-12-25T06:00:00+01:00",
    ]
    assert found[0].astimezone(UTC).hour == 5


def times(text: str, zone: str, after: str, n: int) -> list[str]:
    found = Schedule.parse(text, zone).following(n, datetime.fromisoformat(after))
    return [time.isoformat(timespec="minutes") for time in found]


def test_a_time_that_the_clock_jumps_over_runs_once_right_after_the_jump() -> None:
    assert times("daily at 02:30", "Europe/Berlin", "2027-03-27T03:00+01:00", 2) == [
        "2027-03-28T03:00+02:00",
        "2027-03-29T02:30+02:00",
    ]
    assert times("daily at 02:15 and 02:45", "America/New_York", "2027-03-13T12:00-05:00", 2) == [
        "2027-03-14T03:00-04:00",
        "2027-03-15T02:15-04:00",
    ]
    # the jump of half an hour of Lord Howe Island, and the one that leaves out a whole day of Samoa
    assert times("daily at 02:10", "Australia/Lord_Howe", "2026-10-03T12:00+10:30", 1) == [
        "2026-10-04T02:30+11:00"
    ]
    assert times("daily at 06:00", "Pacific/Apia", "2011-12-29T06:00-10:00", 2) == [
        "2011-12-31T00:00+14:00",
        "2011-12-31T06:00+14:00",
    ]


def test_a_time_that_comes_twice_runs_the_first_time_only() -> None:
    assert times("daily at 02:30", "Europe/Berlin", "2026-10-24T12:00+02:00", 2) == [
        "2026-10-25T02:30+02:00",
        "2026-10-26T02:30+01:00",
    ]
    assert times("daily at 23:30", "America/Havana", "2026-10-31T12:00-04:00", 2) == [
        "2026-10-31T23:30-04:00",
        "2026-11-01T23:30-05:00",
    ]


def test_what_runs_every_few_minutes_or_hourly_goes_on_when_the_clock_is_changed() -> None:
    for text, minutes in (("every 5 minutes", 5), ("hourly", 60), ("hourly at minute 30", 60)):
        for start in ("2026-10-24T22:30+00:00", "2027-03-27T22:30+00:00"):
            found = Schedule.parse(text, "Europe/Berlin").following(100, datetime.fromisoformat(start))
            gaps = {later.astimezone(UTC) - one.astimezone(UTC) for one, later in pairwise(found)}
            assert gaps == {timedelta(minutes=minutes)}


def test_the_latest_missed_time_is_found_however_long_ago_the_first_was() -> None:
    schedule = Schedule.parse("every minute")
    assert schedule.latest(TUESDAY - timedelta(days=3000), TUESDAY) == TUESDAY
    assert schedule.latest(TUESDAY, TUESDAY + timedelta(seconds=59)) is None
    yearly = Schedule.parse("@yearly")
    assert yearly.latest(TUESDAY - timedelta(days=3000), TUESDAY) == datetime(2026, 1, 1, tzinfo=UTC)
    assert yearly.latest(datetime(2026, 1, 1, tzinfo=UTC), TUESDAY) is None
