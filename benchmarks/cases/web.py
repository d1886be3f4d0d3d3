"""The web application, under gunicorn: what its requests cost beside what one would use instead."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import requests

from benchmarks.bench import Bench
from benchmarks.lines import Line, against, alone
from benchmarks.rounds import Sample, Timing, Way, alternate
from omegaml.omega import Omega
from tests.services.web_platform import Person, WebPlatform
from tests.services.web_runner import WebRunner

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
    folder = bench.path()
    folder.mkdir()
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
    """One row, warm: what the way over REST, the queue and a child process adds to the model's own time."""
    from sklearn.linear_model import LinearRegression

    om = Omega(mongo_url=person.settings["OMEGA_MONGO_URL"])
    x = pd.DataFrame(np.random.default_rng(1).normal(size=(200, 4)), columns=list("abcd"))
    model = LinearRegression().fit(x, x.sum(axis=1))
    om.models.put(model, "m")
    om.close()
    folder = bench.path()
    folder.mkdir()
    runner = WebRunner(web, folder)
    row = x.head(1)
    body = {"columns": list(row), "data": row.to_numpy().tolist()}
    session = requests.Session()
    session.headers["Authorization"] = f"{person.userid}:{person.key}"
    try:
        bench.say("web: predict")
        over, alone_ = Timing("omega|ml"), Timing("the model alone")
        for n in range(-20, 40 if bench.quick else 400):
            began, used = time.perf_counter(), time.process_time()
            answer = session.post(f"{web.url}/api/v1/model/m/predict/", json=body)
            wall, client = time.perf_counter() - began, time.process_time() - used
            assert answer.status_code == 200, answer.text
            began = time.perf_counter()
            want = model.predict(row)
            own = time.perf_counter() - began
            assert np.allclose(answer.json()["result"], want)
            if n >= 0:
                over.samples.append(Sample(wall, client, 0.0))
                alone_.samples.append(Sample(own, own, 0.0))
    finally:
        runner.stop()
    bench.timings += [("web: predict one row", timing) for timing in (over, alone_)]
    added = statistics.median(a.wall - b.wall for a, b in zip(over.samples, alone_.samples, strict=True))
    return [
        alone("one row", "predict over REST, beyond the model", over, value=1e3 * added),
        alone("one row", "predict over REST", over),
    ]


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
    for n in range(many):
        om.datasets.put([n], f"many/{n}")
    om.close()
    return lines + _page(bench, web, person, "list of datasets", "/datasets/")


def _page(bench: Bench, web: WebPlatform, person: Person, what: str, path: str) -> list[Line]:
    def run() -> requests.Response:
        return person.page(path)

    def check(found: requests.Response) -> None:
        assert found.status_code == 200, found.text

    timings = alternate(_Worker(web), bench.rounds(10), [Way("omega|ml", run, check)])
    bench.timings += [(f"web: {what}", timing) for timing in timings.values()]
    ours = timings["omega|ml"]
    return [alone("web", what, ours), alone("web", f"{what}, size", ours, value=len(run().content) / 1e3)]
