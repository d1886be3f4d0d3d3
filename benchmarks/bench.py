"""What every case is given: the server, a connection of the product, a folder, and how much to do."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import frames
from benchmarks.rounds import Timing, Way, alternate
from benchmarks.server import Server
from omegaml.omega import Omega

MILLION = 1_000_000


@dataclass
class Bench:
    """One run of the benchmark.

    Attributes:
        quick: small data and two rounds: does everything once, says nothing about speed.
        seed: which second frame is drawn.
    """

    server: Server
    folder: Path
    quick: bool = False
    seed: int = 7
    timings: list[tuple[str, Timing]] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    @cached_property
    def om(self) -> Omega:
        return Omega(mongo_url=self.server.url)

    @cached_property
    def mixed(self) -> frames.Data:
        return frames.mixed_data(self.rows(MILLION))

    @cached_property
    def second(self) -> frames.Data:
        return frames.second_data(self.rows(MILLION // 2), self.seed)

    def rows(self, full: int) -> int:
        return min(full, max(2_000, full // 100)) if self.quick else full

    def rounds(self, full: int) -> int:
        return 2 if self.quick else full

    def path(self, ending: str = "") -> Path:
        """Return a path in the benchmark's folder that is not used yet."""
        return self.folder / f"{next(self._numbers)}{ending}"

    def new_folder(self) -> Path:
        path = self.path()
        path.mkdir()
        return path

    def name(self) -> str:
        """Return a name for a dataset or collection that is not used yet."""
        return f"d{next(self._numbers)}"

    def measure(
        self, data: str, what: str, rounds: int, ways: Sequence[Way | None], warm: bool = True
    ) -> dict[str, Timing]:
        """Return the timings of `ways` (None: a way that is not installed), and remember them."""
        self.say(f"{data}: {what}")
        self.settle()
        timings = alternate(self.server, self.rounds(rounds), [w for w in ways if w is not None], warm)
        self.timings += [(f"{data}: {what}", t) for t in timings.values() if t.samples]
        return timings

    def settle(self) -> None:
        """Let nothing that was done run into the next measurement; with little data that is no matter."""
        if not self.quick:
            self.server.settle()

    def say(self, what: str) -> None:
        print(f"  {what}", file=sys.stderr, flush=True)


def dropper(bench: Bench, name: str) -> Callable[[], None]:
    """Return what removes a dataset, if it is there, and has the server finish that."""

    def drop() -> None:
        bench.om.datasets.drop(name, missing_ok=True)
        bench.settle()

    return drop
