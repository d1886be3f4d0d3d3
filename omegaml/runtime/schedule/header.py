"""What a notebook says of its own schedule, in the comments that its first code cell begins with.

# omega-ml:
#   schedule: "Fridays, at 06:00"
#   zone: Europe/Berlin
#   catch-up: skip
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from omegaml.errors import InvalidInput
from omegaml.runtime.schedule import Schedule

CATCH_UP = ("once", "skip")
MOST_RETRIES = 10

_FIRST = re.compile(r"#\s*omega-ml\s*:\s*")
_KEYS = ("schedule", "run-at", "zone", "catch-up", "retries")


@dataclass(frozen=True)
class Header:
    """What was said.

    Attributes:
        text: the schedule, as it was written; `Schedule.parse` has read it.
        catch_up: what is done about a time that was missed: run `once`, or `skip`.
        retries: how often a run that failed is repeated.
    """

    text: str
    zone: str = "UTC"
    catch_up: str = "once"
    retries: int = 0


def parse(source: str) -> Header | None:
    """Return what the source of a cell says, None where it does not begin with `# omega-ml:`.

    `run-at` is another word for `schedule`. Raises: InvalidInput for what cannot be used; a comment that is
    meant for us and left alone would be a job that never runs.
    """
    lines = source.strip().splitlines()
    if not lines or not _FIRST.fullmatch(lines[0].strip()):
        return None
    block = []
    for line in lines[1:]:
        if not line.startswith("#"):
            break
        block.append(line[1:])
    said = _yaml("\n".join(block))
    for key in said:
        if key not in _KEYS:
            raise InvalidInput(f"the notebook's header says {key!r}", hint=f"one of {', '.join(_KEYS)}")
    texts = [said[key] for key in ("schedule", "run-at") if key in said]
    if len(texts) != 1:
        how_many = "two schedules" if texts else "no schedule"
        raise InvalidInput(f"the notebook's header names {how_many}", hint='schedule: "every 5 minutes"')
    catch_up, retries = said.get("catch-up", "once"), said.get("retries", 0)
    if catch_up not in CATCH_UP:
        raise InvalidInput(f"the notebook's header: catch-up is {catch_up!r}", hint="once or skip")
    if type(retries) is not int or not 0 <= retries <= MOST_RETRIES:
        raise InvalidInput(f"the notebook's header: retries is {retries!r}", hint=f"0 to {MOST_RETRIES}")
    header = Header(str(texts[0]), str(said.get("zone", "UTC")), catch_up, retries)
    Schedule.parse(header.text, header.zone)
    return header


def _yaml(text: str) -> dict[str, Any]:
    import yaml

    try:
        said = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = getattr(error, "problem", None) or "it is no YAML"
        # a plain * is an alias in YAML
        raise InvalidInput(f"the notebook's header: {what}", hint='quote it: schedule: "0 6 * * 5"') from None
    if not isinstance(said, dict):
        raise InvalidInput("the notebook's header is no `name: value`", hint='schedule: "every 5 minutes"')
    return {str(key): value for key, value in said.items()}
