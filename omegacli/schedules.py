"""Schedules of jobs as people read them, with the times that they mean."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from omegacli import console
from omegaml.errors import InvalidInput

COLUMNS = ["name", "schedule", "zone", "due", "catch_up", "retries", "failing"]
SHOWN = 5
"""Runs that are echoed."""


def check_options(given: Sequence[str], name: str | None, text: str | None, off: bool) -> None:
    """Raise InvalidInput for options that would do nothing; `given` are those of a new schedule."""
    if text is not None and off:
        raise InvalidInput("--off and a schedule are two things", hint="give one of them")
    if off and given:
        raise InvalidInput(f"{given[0]} says nothing of a schedule that ends", hint="leave it out")
    if off and name is None:
        raise InvalidInput("--off is of one job", hint="omegacli jobs schedule NAME --off")
    if given and text is None:
        hint = f"omegacli jobs schedule {name or 'NAME'} 'Fridays, at 06:00' {given[0]} ..."
        raise InvalidInput(f"{given[0]} says how a schedule is set, and none is given", hint=hint)


def check(text: str, zone: str | None) -> None:
    """Raise InvalidInput for what is no schedule."""
    from omegaml.runtime.schedule import Schedule, local_zone

    Schedule.parse(text, zone or local_zone())


def shown(meta: Any, plan: Any) -> dict[str, Any]:
    """Return a plan as a row."""
    due = plan.due.astimezone(ZoneInfo(plan.zone)).isoformat() if plan.due else None
    row = {"name": meta.name, "schedule": plan.text, "zone": plan.zone, "due": due}
    row |= {"cron": plan.schedule.cron, "meaning": plan.schedule.describe(), "label": plan.label}
    row |= {"catch_up": plan.catch_up, "retries": plan.retries, "parameters": dict(plan.parameters)}
    row |= {"webhook": plan.webhook, "mail": plan.mail}
    return row | {"limit": plan.limit, "failing": plan.failing, "origin": plan.origin}


def show(job: Any) -> None:
    """Show a job's schedule, and its next runs."""
    plan, meta = job.plan(), job.metadata()
    if plan is None:
        console.show("jobs.schedule", {"name": meta.name, "schedule": None}, text="")
        console.say(f"{meta.name} has no schedule")
        return
    times = plan.next(SHOWN)
    data = {**shown(meta, plan), "next": [time.isoformat() for time in times]}
    console.show("jobs.schedule", data, text="\n".join(map(_for_people, times)))
    console.say(f"{meta.name} runs {plan.schedule.describe()}, by the clock of {plan.zone}")


def say(job: Any) -> None:
    """Tell people when a job runs next, if it runs by itself."""
    plan = job.plan()
    if plan is not None:
        console.say(f"it runs {plan.schedule.describe()}, by the clock of {plan.zone}:")
        for time in plan.next(SHOWN):
            console.say(f"  {_for_people(time)}")


def _for_people(time: datetime) -> str:
    return f"{time:%a %Y-%m-%d %H:%M %Z} ({time:%z})"
