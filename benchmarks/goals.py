"""What each comparison has to reach: a goal that is required, and an aim beyond it.

A limit's name is `<what> / <against>`, as the cases use it. The ratio is the product's time divided by the
other's; where the product is to be many times faster, it is the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """`goal` and `aim` as ratios, or as milliseconds, megabytes of one thing alone (`unit`).

    Attributes:
        faster: the ratio says how many times faster the product is, so more is better.
        measure: "wall", or "cpu" of client and server.
    """

    goal: float | None = None
    aim: float | None = None
    faster: bool = False
    measure: str = "wall"
    unit: str = ""

    def verdict(self, value: float) -> str:
        """Return `met aim`, `met goal` or `missed`; nothing where there is no limit."""
        reached = [limit is not None and self._reached(value, limit) for limit in (self.goal, self.aim)]
        if self.goal is None and self.aim is None:
            return ""
        if reached[1] and (reached[0] or self.goal is None):
            return "met aim"
        return "met goal" if reached[0] else "missed"

    def _reached(self, value: float, limit: float) -> bool:
        return value >= limit if self.faster else value <= limit

    def shown(self, value: float | None) -> str:
        """Return a value of this kind as text."""
        if value is None:
            return ""
        if self.unit:
            return f"{value:.3g} {self.unit}" if value < 100 else f"{value:.0f} {self.unit}"
        digits = 0 if value >= 100 else 1 if value >= 10 else 2
        return f"{value:.{digits}f}x" + (" faster" if self.faster else "")


def faster(goal: float, aim: float | None = None) -> Limit:
    return Limit(goal, goal if aim is None else aim, faster=True)


def at_most(goal: float, aim: float | None = None) -> Limit:
    return Limit(goal, goal if aim is None else aim)


def alone(goal: float, unit: str = "ms", measure: str = "wall") -> Limit:
    return Limit(goal, goal, measure=measure, unit=unit)


INFORMATION = Limit()

LIMITS: dict[str, Limit] = {
    # frames
    "put / Parquet file": at_most(1.2, 1.0),
    "put / row documents": faster(40),
    "get / Parquet file": at_most(0.35, 0.25),
    "get / ArcticDB": at_most(1.0, 0.7),
    "get / ArcticDB, CPU": Limit(1.0, 1.0, measure="cpu"),
    "get / row documents": faster(25),
    "get / pymongoarrow": faster(10),
    "get as Arrow / Parquet zstd file": at_most(0.75, 0.6),
    "get as polars / Parquet zstd file": at_most(0.75, 0.6),
    "get 2 columns / Parquet file": at_most(1.3, 1.2),
    # filters: never slower than Parquet is the aim for every cell, so a sorted cell has but one limit
    "filter sorted / Parquet file": at_most(0.75),
    "filter unsorted / Parquet file": at_most(0.4),
    "filter unsorted 10 % / indexed rows": at_most(0.3),
    # append
    "append / insert_many": faster(10),
    "append / ArcticDB": at_most(1.0),
    # group by
    "group by / pyarrow": at_most(2.0),
    "group by, memory": alone(300, "MB"),
    "group by, memory of pyarrow": Limit(unit="MB"),
    "group by / $group": faster(15),
    # small frames, in milliseconds for one
    "small put": alone(3.0),
    "small get": alone(3.0),
    "small put / Parquet file": at_most(1.2),
    "small get / Parquet file": at_most(1.2),
    # numbers that do not compress
    "numeric put / Parquet file": at_most(1.2),
    "numeric get / Parquet file": at_most(1.2),
    # rows format
    "rows put / insert_many": faster(5),
    # files and models
    "file put / local file": at_most(2.0),
    "file get / local file": at_most(3.0),
    "model put / local file": at_most(2.0),
    "model get / local file": at_most(3.0),
    # web application
    "config route / plain view": Limit(1.2, 1.2, measure="server"),
    "predict over REST, beyond the model": alone(5.0),
    "predict over REST": alone(228),  # what upstream's took, by its documentation
    "predict by a task / one call": at_most(2.0),
    "predict over REST / MLflow's scoring server": Limit(aim=1.0),
    # so fast, or else within 1.5 times the reading in Python
    "download as Arrow, speed": Limit(150, 150, faster=True, unit="MB/s"),
    "download as Arrow / read in Python": INFORMATION,
    "page of a dataset": alone(200),
    "page of a dataset, size": alone(150, "KB"),
    "list of datasets": alone(300),
    "list of datasets, size": alone(150, "KB"),
    # runtime on Celery workers
    "ping / bare Celery task": at_most(1.2),
    "calls / bare Celery task": at_most(1 / 0.85),
    "predict by a worker, beyond the model": alone(8.0),
    "predict by name / stock omegaml": at_most(0.25),
    "ping / stock omegaml": INFORMATION,
    "a worker's own memory": alone(110, "MB"),
    "a worker's memory, for each of its processes": alone(110, "MB"),
    "notebook / nbclient": at_most(1.2),
    # command line, CPU milliseconds
    "import omegaml": alone(60, measure="cpu"),
    "omegacli --version": alone(40, measure="cpu"),
    "omegacli --help": alone(100, measure="cpu"),
    "omegacli config get": alone(120, measure="cpu"),
    "omegacli datasets list": alone(450, measure="cpu"),
}
