"""What the people of these tests have stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from omegaml.omega import Omega
from omegaml.runtime.runs import Run, Runs
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
        fill_jobs(om)


def fill_jobs(om: Omega) -> None:
    """Store a job with a run that is done and one that failed, one that was never run, and a hostile one."""
    table = sales(3)[["day", "visitors"]].to_html()
    printed = new_output("stream", name="stdout", text="42 visitors on average\n")
    shown = new_output("execute_result", {"text/html": table}, execution_count=2)
    error = new_output("error", ename="KeyError", evalue="'shop'", traceback=["KeyError: 'shop'"])
    title = new_markdown_cell("# Visitors of the week\n\nHow many came, by day.")
    with_table = [title, new_code_cell("print(average)", outputs=[printed])]
    with_table += [new_code_cell("sales[['day', 'visitors']]", outputs=[shown])]
    evil = [
        new_markdown_cell(CELL),
        new_code_cell(HOSTILE, outputs=[new_output("display_data", {"text/html": CELL})]),
    ]
    om.jobs.create(["factor = 1", "print(6 * factor)"], "reports/weekly")
    om.jobs.create("print('never')", "never run")
    om.jobs.create("1", HOSTILE)
    om.jobs.schedule("reports/weekly", "Fridays, at 06:00", zone="Europe/Berlin")
    failed = [title, new_code_cell("sales['shop']", outputs=[error])]
    left(
        om,
        "reports/weekly",
        failed,
        "failed",
        "run of job 'reports/weekly.ipynb' failed in cell 2: KeyError: 'shop'",
    )
    left(om, "reports/weekly", with_table)
    left(om, HOSTILE, evil, "failed", CELL)


def left(om: Omega, job: str, cells: list[Any], status: str = "done", error: str | None = None) -> str:
    """Let a job have a run that has left a notebook of these cells; return the run's id."""
    runs = Runs(om.db)
    runs.prepare()
    run = Run(f"{job}.ipynb", om.bucket)
    om.jobs.put(new_notebook(cells=cells), f"results/{job}_{run.id[:8]}")
    runs.add(run)
    runs.start(run.id)
    runs.finish(run.id, status, f"results/{job}_{run.id[:8]}.ipynb", error)
    return run.id
