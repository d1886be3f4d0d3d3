"""The web application, under gunicorn: what its requests cost beside what one would use instead."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import requests
from bson import ObjectId

from benchmarks import mlflow
from benchmarks.bench import Bench
from benchmarks.lines import Line, against, alone
from benchmarks.rounds import Sample, Timing, Way, alternate
from omegaml.metadata import COLLECTION
from omegaml.omega import Omega
from tests.services.web_platform import Person, WebPlatform
from tests.services.web_runner import WebRunner

MLFLOW = "MLflow's scoring server"
ARROW = {"Accept": "application/vnd.apache.arrow.stream"}


class _Worker:
    """The CPU time of gunicorn's worker process."""

    def __init__(self, web: WebPlatform) -> None:
        master = Path(f"/proc/{web.gunicorn.pid}/task/{web.gunicorn.pid}/children")
        (self.pid,) = (int(pid) for pid in master.read_text().split())
        self._clock = (~self.pid << 3) | 2  # as in benchmarks.server

    def cpu(self) -> float:
        return time.clock_gettime(self._clock)


def run(bench: Bench) -> list[Line]:
    with _platform(bench) as web:
        person = web.person()
        lines = [*_config(bench, web, person), *_predict(bench, web, person)]
        return lines + _datasets(bench, web, person)


@contextmanager
def _platform(bench: Bench) -> Iterator[WebPlatform]:
    folder = bench.new_folder()
    web = WebPlatform(folder, f"sqlite:///{folder / 'web.sqlite3'}")
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.plain_settings"
    try:
        web.start()
        yield web
    finally:
        del os.environ["DJANGO_SETTINGS_MODULE"]
        web.stop()


def _config(bench: Bench, web: WebPlatform, person: Person) -> list[Line]:
    """The route that every client asks first; it does more than the plain view, and may cost little more."""
    count = 20 if bench.quick else 100
    session = requests.Session()
    session.headers["Authorization"] = f"{person.userid}:{person.key}"

    def asked(path: str) -> Way:
        def run() -> list[int]:
            return [session.get(web.url + path).status_code for _ in range(count)]

        def check(found: list[int]) -> None:
            assert set(found) == {200}, found

        name = "omega|ml" if "config" in path else "plain view"
        return Way(name, run, check, count=count)

    bench.say("web: config")
    timings = alternate(_Worker(web), bench.rounds(10), [asked("/api/v1/config/"), asked("/plain/")])
    bench.timings += [("web: config route", timing) for timing in timings.values()]
    return against("one request", "config route", timings, "plain view")


def _predict(bench: Bench, web: WebPlatform, person: Person) -> list[Line]:
    """One row, warm: what the way over REST, the queue and a child process adds to the model's own time.

    Beside it MLflow's scoring server with the same model, asked by the same client; it knows no accounts.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression

    om = Omega(mongo_url=person.settings["OMEGA_MONGO_URL"])
    x = pd.DataFrame(np.random.default_rng(1).normal(size=(200, 4)), columns=list("abcd"))
    model = LinearRegression().fit(x, x.sum(axis=1))
    om.models.put(model, "m")
    om.models.put(RandomForestRegressor(1500, random_state=1).fit(x, x.sum(axis=1)), "slow")
    om.close()
    folder = bench.new_folder()
    runner = WebRunner(web, folder)
    row = x.head(1)
    body = {"columns": list(row), "data": row.to_numpy().tolist()}
    session = requests.Session()
    session.headers["Authorization"] = f"{person.userid}:{person.key}"

    def ours() -> Any:
        answer = session.post(f"{web.url}/api/v1/model/m/predict/", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    ways: dict[str, Callable[[], Any]] = {"omega|ml": ours, "the model alone": lambda: model.predict(row)}
    timings = {name: Timing(name) for name in (*ways, MLFLOW)}
    bench.say("web: predict")
    try:
        with ExitStack() as until:
            if mlflow.installed():
                url = until.enter_context(mlflow.scoring_server(model, bench.new_folder()))
                other = until.enter_context(requests.Session())
                ways[MLFLOW] = lambda: other.post(url, json={"dataframe_split": body}).json()["predictions"]
            for n in range(-20, 40 if bench.quick else 400):
                turn = n % len(ways)
                for name, run in [*ways.items()][turn:] + [*ways.items()][:turn]:
                    began, used = time.perf_counter(), time.process_time()
                    found = run()
                    wall, client = time.perf_counter() - began, time.process_time() - used
                    assert np.allclose(found, model.predict(row)), (name, found)
                    if n >= 0:
                        timings[name].samples.append(Sample(wall, client, 0.0))
        later = _later(bench, web, session, body)
    finally:
        runner.stop()
    bench.timings += [("web: predict one row", timing) for timing in timings.values() if timing.samples]
    over, own = timings["omega|ml"], timings["the model alone"]
    added = statistics.median(a.wall - b.wall for a, b in zip(over.samples, own.samples, strict=True))
    return [
        alone("one row", "predict over REST, beyond the model", over, value=1e3 * added),
        alone("one row", "predict over REST", over),
        *against("one row", "predict over REST", timings, MLFLOW),
        *later,
    ]


def _later(bench: Bench, web: WebPlatform, session: requests.Session, body: dict[str, Any]) -> list[Line]:
    """A model that takes some time, asked by a task that is waited for at its address, and by one call."""

    def waited() -> None:
        accepted = session.post(f"{web.url}/api/v1/model/slow/predict/?async=1", json=body)
        task = session.get(f"{web.url}{accepted.headers['Location']}?wait=60").json()
        assert task["status"] == "done", task

    def called() -> None:
        assert session.post(f"{web.url}/api/v1/model/slow/predict/", json=body).status_code == 200

    bench.say("web: predict by a task")
    ways = [Way("omega|ml", waited), Way("one call", called)]
    timings = alternate(_Worker(web), bench.rounds(15), ways)
    bench.timings += [("web: predict by a task", timing) for timing in timings.values()]
    return against("forest", "predict by a task", timings, "one call")


def _datasets(bench: Bench, web: WebPlatform, person: Person) -> list[Line]:
    om = Omega(mongo_url=person.settings["OMEGA_MONGO_URL"])
    frame = bench.mixed.frame
    om.datasets.put(frame, "big")

    def read() -> pa.Table:
        return om.datasets.get("big", as_="arrow")

    def download() -> pa.Table:
        with person.get("dataset/big/", headers=ARROW, stream=True) as answer:
            assert answer.status_code == 200, answer.text
            return pa.ipc.open_stream(answer.raw).read_all()

    def check(found: pa.Table) -> None:
        assert found.num_rows == len(frame)

    bench.say("web: download")
    ways = [Way("omega|ml", download, check), Way("read in Python", read, check)]
    down = alternate(_Worker(web), bench.rounds(7), ways)
    bench.timings += [("web: download as Arrow", timing) for timing in down.values()]
    size = download().nbytes / 1e6
    lines = against("mixed", "download as Arrow", down, "read in Python")
    speed = size / (down["omega|ml"].wall / 1e3)
    lines.append(alone("mixed", "download as Arrow, speed", down["omega|ml"], value=speed))
    lines += _page(bench, web, person, "page of a dataset", "/dataset/big/")
    many = bench.rows(10_000)
    bench.say(f"web: {many} datasets")
    _put_many(om, many)
    om.close()
    return lines + _page(bench, web, person, "list of datasets", "/datasets/")


def _put_many(om: Any, count: int) -> None:
    """Store so many small frames: what a put of each would leave, all of which lies in its metadata."""
    om.datasets.put(pd.DataFrame({"x": [1, 2, 3]}), "many/0")
    catalog = om.db[COLLECTION]
    first = catalog.find_one({"name": "many/0"})
    assert "inline" in first["kind_meta"] and not first["kind_meta"]["segs"], first
    catalog.insert_many(
        {
            **first,
            "_id": ObjectId(),
            "name": f"many/{n}",
            "kind_meta": {**first["kind_meta"], "id": ObjectId()},
            "modified": first["modified"] + timedelta(milliseconds=n),
        }
        for n in range(1, count)
    )
    assert om.datasets.get(f"many/{count - 1}")["x"].tolist() == [1, 2, 3]


def _page(bench: Bench, web: WebPlatform, person: Person, what: str, path: str) -> list[Line]:
    def run() -> requests.Response:
        return person.page(path)

    def check(found: requests.Response) -> None:
        assert found.status_code == 200, found.text

    timings = alternate(_Worker(web), bench.rounds(10), [Way("omega|ml", run, check)])
    bench.timings += [(f"web: {what}", timing) for timing in timings.values()]
    ours = timings["omega|ml"]
    return [alone("web", what, ours), alone("web", f"{what}, size", ours, value=len(run().content) / 1e3)]
