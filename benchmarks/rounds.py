"""Alternating rounds: several ways to do one thing, each done once per round, in a rotating order."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Clock(Protocol):
    """What does the work beside this process: `cpu` is the seconds it has used since it started."""

    def cpu(self) -> float: ...


@dataclass(frozen=True)
class Sample:
    """Seconds of one operation: on the clock, of the client's CPU, of the server's CPU."""

    wall: float
    client: float
    server: float


@dataclass
class Timing:
    """All samples of one way. Times are given in milliseconds."""

    name: str
    samples: list[Sample] = field(default_factory=list)

    @property
    def wall(self) -> float:
        return 1e3 * statistics.median(s.wall for s in self.samples)

    @property
    def best(self) -> float:
        return 1e3 * min(s.wall for s in self.samples)

    @property
    def client(self) -> float:
        return 1e3 * statistics.median(s.client for s in self.samples)

    @property
    def server(self) -> float:
        return 1e3 * statistics.median(s.server for s in self.samples)

    @property
    def cpu(self) -> float:
        return self.client + self.server


@dataclass(frozen=True)
class Way:
    """One way to do the thing that is measured.

    Attributes:
        run: what is timed; its result goes to `check`.
        check: raises AssertionError where the result is not right. Not timed, as are `before` and `after`.
        times: in how many of the rounds it takes part (None: all).
        count: how many operations one `run` makes; times are given for one.
    """

    name: str
    run: Callable[[], Any]
    check: Callable[[Any], None] | None = None
    before: Callable[[], Any] | None = None
    after: Callable[[], Any] | None = None
    times: int | None = None
    count: int = 1


def alternate(server: Clock, rounds: int, ways: Sequence[Way], warm: bool = True) -> dict[str, Timing]:
    """Return the timings of the ways, by name.

    Args:
        warm: one round more in the beginning that does not count, without the ways that are limited by
            `times`: it takes the imports, first connections and cold caches of all ways alike.
    """
    timings = {way.name: Timing(way.name) for way in ways}
    for n in range(-1 if warm else 0, rounds):
        # whoever comes first meets what the last one left running, so that it is another one each time
        turn = n % len(ways)
        for way in [*ways[turn:], *ways[:turn]]:
            if way.times is not None and not 0 <= n < way.times:
                continue
            sample = _once(server, way)
            if n >= 0:
                timings[way.name].samples.append(sample)
    return timings


def _once(server: Clock, way: Way) -> Sample:
    if way.before is not None:
        way.before()
    gc.collect()
    served, used, began = server.cpu(), time.process_time(), time.perf_counter()
    result = way.run()
    wall, client, server_ = time.perf_counter() - began, time.process_time() - used, server.cpu() - served
    if way.check is not None:
        way.check(result)
    del result
    if way.after is not None:
        way.after()
    return Sample(wall / way.count, client / way.count, server_ / way.count)
