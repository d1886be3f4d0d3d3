"""What a notebook says of its own schedule, in the comments that its first code cell begins with.

# omega-ml:
#   schedule: "Fridays, at 06:00"
#   zone: Europe/Berlin
#   catch-up: skip

It is read wherever a notebook is put, also by omegaweb for strangers: so it is short, and one level of
`name: value`. What YAML has besides (aliases, tags, values in values) can cost any time, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from omegaml.errors import InvalidInput
from omegaml.runtime.schedule import Schedule

CATCH_UP = ("once", "skip")
MOST_RETRIES = 10
MOST = 2048
"""Characters of a header."""

_FIRST = re.compile(r"#\s*omega-ml\s*:\s*")
_KEYS = ("schedule", "run-at", "zone", "catch-up", "retries")
_SHOWN = 40


@dataclass(frozen=True)
class Header:
    """What was said.

    Attributes:
        text: the schedule, as it was written; `Schedule.parse` has read it.
        catch_up: what is done about a time that was missed: run `once`, or `skip`; None where not said.
        retries: how often a run that failed is repeated; None where not said.
    """

    text: str
    zone: str = "UTC"
    catch_up: str | None = None
    retries: int | None = None


def parse(source: str) -> Header | None:
    """Return what the source of a cell says, None where it does not begin with `# omega-ml:`.

    `run-at` is another word for `schedule`. Raises: InvalidInput for what cannot be used; a comment that is
    meant for us and left alone would be a job that never runs.
    """
    lines = iter(source.lstrip().splitlines())
    if not _FIRST.fullmatch(next(lines, "").strip()):
        return None
    said = _said(_block(lines))
    for key in said:
        if key not in _KEYS:
            raise InvalidInput(
                f"the notebook's header says {key[:_SHOWN]!r}", hint=f"one of {', '.join(_KEYS)}"
            )
    texts = [said[key] for key in ("schedule", "run-at") if key in said]
    if len(texts) != 1:
        how_many = "two schedules" if texts else "no schedule"
        raise InvalidInput(f"the notebook's header names {how_many}", hint='schedule: "every 5 minutes"')
    catch_up, retries = said.get("catch-up"), said.get("retries")
    if catch_up is not None and catch_up not in CATCH_UP:
        raise InvalidInput(f"the notebook's header: catch-up is {catch_up[:_SHOWN]!r}", hint="once or skip")
    if retries is not None and not (re.fullmatch(r"[0-9]{1,2}", retries) and int(retries) <= MOST_RETRIES):
        raise InvalidInput(
            f"the notebook's header: retries is {retries[:_SHOWN]!r}", hint=f"0 to {MOST_RETRIES}"
        )
    header = Header(texts[0], said.get("zone", "UTC"), catch_up, None if retries is None else int(retries))
    Schedule.parse(header.text, header.zone)
    return header


def _block(lines: Iterator[str]) -> str:
    """Return what the comments say. Raises InvalidInput if that is too much."""
    block, length = [], 0
    for line in lines:
        if not line.startswith("#"):
            break
        length += len(line)
        if length > MOST:
            raise InvalidInput(
                f"the notebook's header is longer than {MOST} characters", hint="an empty line ends it"
            )
        block.append(line[1:])
    return "\n".join(block)


def _said(text: str) -> dict[str, str]:
    """Return the values by their names."""
    import yaml

    flat = (yaml.StreamStartToken, yaml.KeyToken, yaml.ValueToken, yaml.ScalarToken)
    ends = (yaml.BlockEndToken, yaml.StreamEndToken)
    try:
        mappings = 0
        for token in yaml.scan(text):
            mappings += isinstance(token, yaml.BlockMappingStartToken)
            is_star = isinstance(token, yaml.AliasToken)
            if mappings > 1 or not isinstance(token, (*flat, *ends, yaml.BlockMappingStartToken)):
                raise _no_pairs("it has an alias" if is_star else "it is more than `name: value`")
        said = yaml.load(text, yaml.BaseLoader) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise _no_pairs(getattr(error, "problem", None) or "it is no YAML") from None
    if not isinstance(said, dict):
        raise InvalidInput("the notebook's header is no `name: value`", hint='schedule: "every 5 minutes"')
    return said


def _no_pairs(what: str) -> InvalidInput:
    # a plain * is an alias in YAML
    return InvalidInput(f"the notebook's header: {what}", hint='quote it: schedule: "0 6 * * 5"')
