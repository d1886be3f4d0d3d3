"""Large datasets and many of them by REST: memory, time and queries stay where they are."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from omegaml.metadata import COLLECTION
from omegaml.omega import Omega
from tests.services.web_platform import Person, WebPlatform

pytestmark = pytest.mark.once

ROWS = 1_000_000
MIB = 1 << 20
TYPES = {"arrow": "vnd.apache.arrow.stream", "parquet": "vnd.apache.parquet"}


@pytest.fixture(scope="module")
def lou(web: WebPlatform) -> Iterator[Person]:
    """Somebody with a dataset of a million rows and some 220 MB, and one of rows."""
    person = web.person()
    om = Omega(mongo_url=person.settings["OMEGA_MONGO_URL"])
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({f"f{i}": rng.normal(size=ROWS) for i in range(20)})
    frame["n"] = np.arange(ROWS)
    frame["text"] = pd.Series(rng.choice([f"some text number {i}" for i in range(500)], ROWS))
    om.datasets.put(frame, "large")
    om.datasets.put(frame[["n", "f0", "text"]].head(200_000), "rows", format="rows")
    person.get("dataset/large/?limit=1&format=csv")  # what is loaded once is loaded
    person.get("dataset/rows/?limit=1&format=parquet")
    yield person
    om.close()


@contextmanager
def watched(web: WebPlatform) -> Iterator[list[int]]:
    """Collects by how much the memory of omegaweb's worker grows, in bytes; the last entry is the most."""
    worker = psutil.Process(web.gunicorn.pid).children()[0]
    before = worker.memory_info().rss
    grown = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            grown.append(max(grown[-1], worker.memory_info().rss - before))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield grown
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("format", ["arrow", "csv", "parquet"])
def test_a_million_rows_are_sent_without_being_held(web: WebPlatform, lou: Person, format: str) -> None:
    with watched(web) as grown:
        started = time.perf_counter()
        answer = lou.get(f"dataset/large/?format={format}", stream=True)
        assert answer.status_code == 200
        parts = list(answer.iter_content(1 << 20))
        seconds = time.perf_counter() - started
    content = b"".join(parts)
    size, speed = len(content) / MIB, len(content) / 1e6 / seconds
    print(f"{format}: {size:.0f} MiB, {speed:.0f} MB/s, +{grown[-1] / MIB:.0f} MiB")
    assert grown[-1] < 150 * MIB
    if format == "arrow":
        table = pa.ipc.open_stream(content).read_all()
        assert len(content) > 150 * MIB
    elif format == "parquet":
        table = pq.read_table(io.BytesIO(content))
    else:
        assert content.count(b"\n") == ROWS + 1
        return
    assert table.column("n").to_numpy().tolist() == list(range(ROWS))


def test_a_client_that_leaves_ends_the_work(web: WebPlatform, lou: Person) -> None:
    worker = psutil.Process(web.gunicorn.pid).children()[0]
    assert lou.get("dataset/large/?limit=1").status_code == 200
    before = worker.num_threads()  # of the accounts that are connected
    for _ in range(20):
        answer = lou.get("dataset/large/?format=arrow", stream=True)
        next(answer.iter_content(1000))
        answer.close()
    assert lou.get("dataset/large/?limit=1").status_code == 200
    deadline = time.monotonic() + 20
    while worker.num_threads() > before + 10 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert worker.num_threads() <= before + 10


def test_pages_and_statistics_of_it_hold_no_more(web: WebPlatform, lou: Person) -> None:
    with watched(web) as grown:
        for query in (
            "",
            "offset=999950",
            "n__gte=900000&offset=50000",
            "sort=-f3&limit=100",
            "text__contains=99&count=1",
        ):
            assert lou.get(f"dataset/large/?{query}").status_code == 200
            if "sort" not in query and "text" not in query:
                assert lou.get(f"dataset/rows/?{query}").status_code == 200
        assert lou.get("dataset/large/statistics/").json()["rows"] == ROWS
        for format in ("csv", "parquet", "arrow"):
            answer = lou.get(f"dataset/rows/?format={format}&n__gte=10")
            assert answer.status_code == 200
    print(f"+{grown[-1] / MIB:.0f} MiB")
    assert grown[-1] < 200 * MIB


def test_a_million_rows_are_sorted_without_being_held(web: WebPlatform, lou: Person) -> None:
    with watched(web) as grown:
        started = time.perf_counter()
        answer = lou.get("dataset/large/?sort=-text,f3&columns=n,f3,f4,text&format=arrow")
        table = pa.ipc.open_stream(answer.content).read_all().to_pandas()
        print(f"all: {time.perf_counter() - started:.1f} s, +{grown[-1] / MIB:.0f} MiB")
        started = time.perf_counter()
        far = lou.get("dataset/large/?sort=-text,f3&columns=n&offset=900000&limit=3").json()
        print(f"far on: {time.perf_counter() - started:.1f} s, +{grown[-1] / MIB:.0f} MiB")
        started = time.perf_counter()
        more = lou.get(far["meta"]["next"].removeprefix("/api/v1/")).json()
        print(f"after it: {time.perf_counter() - started:.1f} s, +{grown[-1] / MIB:.0f} MiB")
    assert len(table) == ROWS and sorted(table["n"]) == list(range(ROWS))
    wanted = table.sort_values(["text", "f3"], ascending=[False, True], kind="stable")
    assert wanted["n"].tolist() == table["n"].tolist()
    shown = [row["n"] for page in (far, more) for row in page["data"]["rows"]]
    assert shown == table["n"][900_000:900_006].tolist()
    assert grown[-1] < 300 * MIB


def test_a_page_of_a_million_rows_takes_at_most_200_cpu_milliseconds(web: WebPlatform, lou: Person) -> None:
    worker = psutil.Process(web.gunicorn.pid).children()[0]
    took = []
    for offset in (0, 10, 500_000, 999_000, 20):
        before = worker.cpu_times()
        assert lou.get(f"dataset/large/?offset={offset}").status_code == 200
        after = worker.cpu_times()
        took.append(after.user + after.system - before.user - before.system)
    assert sorted(took)[2] < 0.2, took


@pytest.mark.parametrize("format", ["csv", "arrow", "parquet"])
def test_a_million_rows_are_taken_without_being_held(web: WebPlatform, lou: Person, format: str) -> None:
    frame = pd.DataFrame({f"f{i}": np.random.default_rng(i).normal(size=ROWS) for i in range(8)})
    frame["t"] = "a text"
    out = io.BytesIO()
    if format == "csv":
        frame.to_csv(out, index=False)
    elif format == "parquet":
        frame.to_parquet(out)
    else:
        table = pa.Table.from_pandas(frame)
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    kind = {"csv": "text/csv", **{k: f"application/{v}" for k, v in TYPES.items()}}[format]
    with watched(web) as grown:
        answer = lou.call(
            "PUT", f"dataset/in/{format}/", data=out.getbuffer(), headers={"Content-Type": kind}
        )
    print(f"{format}: {len(out.getvalue()) / MIB:.0f} MiB, +{grown[-1] / MIB:.0f}")
    assert answer.status_code == 201 and answer.json()["rows"] == ROWS, answer.text
    assert grown[-1] < 250 * MIB


def test_a_list_of_ten_thousand_takes_as_many_queries_as_one_of_ten(web: WebPlatform, lou: Person) -> None:
    om: Any = Omega(mongo_url=lou.settings["OMEGA_MONGO_URL"])["many"]
    om.datasets.put(pd.DataFrame({"x": [1]}), "seed")
    first = om.db["metadata"].find_one({"bucket": "many"})
    del first["_id"]
    om.db["metadata"].insert_many([{**first, "name": f"sales/of/region{i:05}"} for i in range(10_000)])
    admin = __import__("pymongo").MongoClient(web.root_url)[om.db.name]
    asked = []
    for route in (
        "dataset/?limit=10",
        "dataset/?limit=500&offset=5000",
        "dataset/?search=region09&sort=-rows",
    ):
        admin.command("profile", 2)
        started = time.perf_counter()
        answer = lou.get(route, headers={"Bucket": "many"})
        seconds = time.perf_counter() - started
        admin.command("profile", 0)
        assert answer.status_code == 200 and len(answer.content) < 150_000, len(answer.content)
        print(f"{route}: {1000 * seconds:.0f} ms, {len(answer.content)} bytes")
        found = [d["op"] for d in admin["system.profile"].find({"op": {"$ne": "getmore"}})]
        admin.drop_collection("system.profile")
        asked.append(len(found))
    assert answer.json()["meta"]["total_count"] == 1000
    assert len(set(asked)) == 1 and asked[0] <= 3, asked
    om.close()


def zeros() -> pa.Table:
    return pa.table({"x": np.zeros(48 * MIB)})


def one_long_text() -> pa.Table:
    same = pa.DictionaryArray.from_arrays(np.zeros(1 << 15, np.int32), pa.array(["x" * (1 << 16)]))
    return pa.table({"x": same})


@pytest.mark.parametrize("bomb", [zeros, one_long_text], ids=lambda bomb: bomb.__name__)
def test_a_small_parquet_file_that_stands_for_a_huge_table_is_refused_unread(
    web: WebPlatform, lou: Person, bomb: Callable[[], pa.Table]
) -> None:
    sent = io.BytesIO()
    how = {"compression": "zstd", "row_group_size": 48 * MIB, "data_page_size": 1 << 30}
    pq.write_table(bomb(), sent, use_dictionary=bomb is one_long_text, store_schema=False, **how)
    assert len(sent.getvalue()) < MIB
    headers = {"Content-Type": f"application/{TYPES['parquet']}"}
    with watched(web) as grown:
        answer = lou.call("PUT", "dataset/bomb/", data=sent.getvalue(), headers=headers)
    assert answer.status_code == 400 and "unpacked" in answer.json()["error"]["message"]
    assert grown[-1] < 50 * MIB


@pytest.mark.parametrize("value", [np.zeros(MIB), [f"some text of python {i}" for i in range(250_000)]])
def test_an_object_is_measured_and_not_taken_at_its_owners_word(
    web: WebPlatform, lou: Person, value: Any
) -> None:
    om = Omega(mongo_url=lou.settings["OMEGA_MONGO_URL"])
    meta = om.datasets.put(value, "object")
    assert lou.get("dataset/object/").status_code == 400
    lied = {"$set": {"kind_meta.bytes": 10}}
    assert om.db[COLLECTION].update_one({"name": "object", "prefix": "data/"}, lied).modified_count == 1
    assert om.datasets.metadata("object").bytes == 10 != meta.bytes
    answer = lou.get("dataset/object/")
    assert answer.status_code == 400 and "too large" in answer.json()["error"]["message"]
    assert om.datasets.size("object") > 4 * MIB
    om.datasets.drop("object")
    om.close()
