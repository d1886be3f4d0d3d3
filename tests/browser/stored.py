"""What the people of these tests have stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd

from omegaml.omega import Omega
from tests.services.web_platform import Person

HOSTILE = "<script>alert('name')</script>"
CELL = "<img src=x onerror=\"alert('cell')\">"


@contextmanager
def platform(person: Person) -> Iterator[Omega]:
    om = Omega(mongo_url=person.settings["OMEGA_MONGO_URL"])
    try:
        yield om
    finally:
        om.close()


def sales(rows: int = 400) -> pd.DataFrame:
    """A shop's days: times, texts, numbers, some of them missing."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "day": pd.date_range("2026-01-01", periods=rows, freq="D"),
            "shop": rng.choice(["north", "south", "harbour"], rows),
            "visitors": rng.poisson(120 + 40 * np.sin(np.arange(rows) / 30)),
            "amount": np.round(rng.gamma(4, 55, rows), 2),
            "open": rng.random(rows) > 0.1,
        }
    )
    frame.loc[::17, "amount"] = np.nan
    return frame


def fill(person: Person) -> None:
    """Store some of everything that pages show in a way of their own."""
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    flowers, kinds = load_iris(return_X_y=True, as_frame=True)
    with platform(person) as om:
        for _ in range(2):
            om.datasets.put(sales(), "sales", keep_versions=True)
        om.datasets.put(sales(60), "by rows/sales", format="rows")
        om.datasets.put(sales(0), "empty")
        om.datasets.put({"rate": 0.2}, "settings")
        om.datasets.put(pd.DataFrame(np.eye(70)), "wide")
        om.datasets.put(pd.DataFrame({HOSTILE: [CELL, CELL], "x__gt": [1, 2]}), HOSTILE)
        om.models.put(RandomForestClassifier(5, random_state=1).fit(flowers, kinds), "flowers")
        om.models.put(RandomForestClassifier(5), HOSTILE)
