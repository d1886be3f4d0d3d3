"""One line of the result: a comparison of two timings, or one figure alone, with its limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.goals import INFORMATION, LIMITS, Limit
from benchmarks.rounds import Timing


@dataclass(frozen=True)
class Line:
    """What was measured on which data, against what.

    Attributes:
        ours, theirs: the timings; without `theirs` it is a figure alone, with `value` if not a time.
    """

    data: str
    what: str
    against: str
    ours: Timing
    theirs: Timing | None
    limit: Limit
    value: float | None = None

    def ratio(self, measure: str) -> float | None:
        """Return the ratio of medians ("wall", "cpu") or of minima ("best"); None for a figure alone."""
        if self.theirs is None or not self.theirs.samples:
            return None
        ours, theirs = getattr(self.ours, measure), getattr(self.theirs, measure)
        above, below = (theirs, ours) if self.limit.faster else (ours, theirs)
        return above / below if below else None

    @property
    def result(self) -> float:
        """The value that the limit is about."""
        ratio = self.ratio(self.limit.measure)
        if ratio is not None:
            return ratio
        return float(getattr(self.ours, self.limit.measure) if self.value is None else self.value)

    @property
    def verdict(self) -> str:
        return self.limit.verdict(self.result)

    def shown(self, measure: str) -> str:
        value = self.ratio(measure)
        return self.limit.shown(value) if value is not None else ""


def against(
    data: str, what: str, timings: dict[str, Timing], other: str, name: str | None = None, **limits: Any
) -> list[Line]:
    """Return the line of `what`, done by the product and by `other`; none if `other` took no part.

    Args:
        name: the limit's name, where it is not `<what> / <other>`; no limit of that name: for information.
    """
    if other not in timings or not timings[other].samples:
        return []
    limit = LIMITS.get(name or f"{what} / {other}", INFORMATION)
    return [Line(data, what, other, timings["omega|ml"], timings[other], limit)]


def alone(data: str, what: str, timing: Timing, name: str | None = None, value: float | None = None) -> Line:
    """Return the line of a figure that is not compared."""
    return Line(data, what, "", timing, None, LIMITS.get(name or what, INFORMATION), value)
