"""The runtime on Celery workers beside a bare Celery task: the same broker, queue type, acks and results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from benchmarks import bare, upstream
from benchmarks.bench import Bench
from benchmarks.lines import Line, against, alone
from benchmarks.rounds import Sample, Timing
from omegaml.omega import Omega
from omegaml.runtime import Task
from tests.services.broker_platform import Started, on_celery
from tests.services.servers import RabbitMQ

BARE = "bare Celery task"
STOCK = "stock omegaml"
SLOTS = 2
FLIGHT = 400
"""Tasks that are under way at a time, where it is about how many are done."""


def run(bench: Bench) -> list[Line]:
    with RabbitMQ(bench.new_folder()) as broker, _worker(bench, broker.url) as (om, pid):
        with bare.worker(broker.url, bench.new_folder(), SLOTS):
            lines = [*_pings(bench, om), *_throughput(bench, om)]
        lines += _predicts(bench, om, broker.url)
        return [*lines, *_memory(pid), *_notebooks(bench, om)]


@contextmanager
def _worker(bench: Bench, broker: str) -> Iterator[tuple[Omega, int]]:
    om = on_celery(bench.server.url, broker)
    settings = {"OMEGA_MONGO_URL": bench.server.url, "OMEGA_USERID": "boss", "OMEGA_BROKER": broker}
    start = Started(om, settings, bench.new_folder)
    try:
        process = start("--concurrency", str(SLOTS)).process
        yield om, process.pid
    finally:
        start.end()
        om.close()


def _alternating(count: int, ways: dict[str, Callable[[], Any]], warm: int = 20) -> dict[str, Timing]:
    """Return each way's single calls, one after the other in turns."""
    timings = {name: Timing(name) for name in ways}
    for n in range(-warm, count):
        turn = n % len(ways)
        for name, do in [*ways.items()][turn:] + [*ways.items()][:turn]:
            began, used = time.perf_counter(), time.process_time()
            do()
            wall, client = time.perf_counter() - began, time.process_time() - used
            if n >= 0:
                timings[name].samples.append(Sample(wall, client, 0.0))
    return timings


def _pings(bench: Bench, om: Omega) -> list[Line]:
    bench.say("runtime: ping")

    def ours() -> None:
        assert om.runtime.ping()["message"] == "pong"

    def theirs() -> None:
        assert bare.ping.delay().get(timeout=30, interval=0.001)["message"] == "pong"

    timings = _alternating(40 if bench.quick else 500, {"omega|ml": ours, BARE: theirs})
    bench.timings += [("runtime: ping", timing) for timing in timings.values()]
    return against("one call, p50", "ping", timings, BARE)


def _throughput(bench: Bench, om: Omega) -> list[Line]:
    bench.say("runtime: throughput")
    flight = 40 if bench.quick else FLIGHT

    def ours() -> None:
        promises = [om.runtime.carrier.submit(Task("ping")) for _ in range(flight)]
        assert all(promise.get(60)["message"] == "pong" for promise in promises)

    def theirs() -> None:
        results = [bare.ping.delay() for _ in range(flight)]
        assert all(result.get(timeout=60, interval=0.001)["message"] == "pong" for result in results)

    timings = _alternating(bench.rounds(12), {"omega|ml": ours, BARE: theirs}, warm=1)
    for timing in timings.values():
        timing.samples = [Sample(s.wall / flight, s.client / flight, 0.0) for s in timing.samples]
    bench.timings += [("runtime: many calls", timing) for timing in timings.values()]
    return against("many calls at once, for one", "calls", timings, BARE)


def _predicts(bench: Bench, om: Omega, broker: str) -> list[Line]:
    """One row by value, beside the model alone; 10,000 rows by name, beside stock omegaml."""
    from sklearn.linear_model import LinearRegression

    bench.say("runtime: predict")
    x = pd.DataFrame(np.random.default_rng(1).normal(size=(10_000, 4)), columns=list("abcd"))
    model = LinearRegression().fit(x, x.sum(axis=1))
    om.models.put(model, "m")
    om.datasets.put(x, "x")
    row, asked = x.head(1), om.runtime.model("m")
    want, all_of_it = model.predict(row), model.predict(x)

    def checked(do: Callable[[], Any], wanted: Any) -> Callable[[], None]:
        def run() -> None:
            assert np.allclose(do(), wanted)

        return run

    ways = {
        "omega|ml": checked(lambda: asked.predict(row), want),
        "the model alone": checked(lambda: model.predict(row), want),
    }
    timings = _alternating(40 if bench.quick else 400, ways)
    bench.timings += [("runtime: predict one row", timing) for timing in timings.values()]
    beyond = timings["omega|ml"].wall - timings["the model alone"].wall
    lines = [
        alone("one row, p50", "predict by a worker, beyond the model", timings["omega|ml"], value=beyond)
    ]
    by_name = checked(lambda: asked.predict("x"), all_of_it)
    if not upstream.installed():
        return lines
    url = bench.server.url.replace("/benchmark?", "/upstream?")
    with upstream.client(url, broker, bench.new_folder(), SLOTS) as client:
        named = _beside(client, "predict", 10 if bench.quick else 100, by_name)
        pinged = _beside(client, "ping", 10 if bench.quick else 100, lambda: om.runtime.ping())
    bench.timings += [("runtime: predict by name", timing) for timing in named.values()]
    bench.timings += [("runtime: ping", timing) for timing in pinged.values()]
    lines += against("10,000 rows by name, p50", "predict", named, STOCK, "predict by name / stock omegaml")
    return lines + against("one call, p50", "ping", pinged, STOCK, "ping / stock omegaml")


def _beside(client: upstream.Client, what: str, count: int, ours: Callable[[], Any]) -> dict[str, Timing]:
    """Return single calls here and there, in turns."""
    timings = {name: Timing(name) for name in ("omega|ml", STOCK)}
    for n in range(-5, count):
        began = time.perf_counter()
        ours()
        wall = {"omega|ml": time.perf_counter() - began, STOCK: client.seconds(what)}
        if n >= 0:
            for name, seconds in wall.items():
                timings[name].samples.append(Sample(seconds, 0.0, 0.0))
    return timings


def _memory(pid: int) -> list[Line]:
    """The proportional set size of the worker without its children, once it has worked."""
    worker = psutil.Process(pid)
    own = worker.memory_full_info().pss / 2**20
    whole = own + sum(child.memory_full_info().pss for child in worker.children(recursive=True)) / 2**20
    timing = Timing("omega|ml", [Sample(0.0, 0.0, 0.0)])
    each = whole / (SLOTS + 1)
    return [
        alone("after the calls above", "a worker's own memory", timing, value=own),
        alone("after the calls above", "a worker's memory, for each of its processes", timing, value=each),
    ]


def _notebooks(bench: Bench, om: Omega) -> list[Line]:
    """A run by the worker, recorded and stored, beside nbclient alone in this process."""
    import nbformat
    from nbclient import NotebookClient

    bench.say("runtime: notebook")
    cells = [f"import numpy as np\na{n} = np.arange({n + 1}).sum()\na{n}" for n in range(20)]
    om.jobs.create(cells, "cells")

    def ours() -> None:
        assert om.runtime.job("cells").run()["results"]

    def theirs() -> None:
        notebook = om.jobs.get("cells")
        NotebookClient(notebook, timeout=60).execute()
        nbformat.write(notebook, Path(bench.path(".ipynb")))

    timings = _alternating(bench.rounds(8), {"omega|ml": ours, "nbclient": theirs}, warm=1)
    bench.timings += [("runtime: notebook", timing) for timing in timings.values()]
    return against("20 cells", "notebook", timings, "nbclient")
