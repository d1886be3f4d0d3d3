"""Chunks that people have changed in their own databases: omegaweb, which reads them, stays what it is."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from omegaml.metadata import COLLECTION
from omegaml.omega import Omega
from tests.services.test_web_datasets_large import watched
from tests.services.web_platform import Person, WebPlatform

pytestmark = pytest.mark.once


def poisoned(om: Omega, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change the first column of a small dataset, with its checksum, as its owner can by MongoDB."""
    found = om.db[COLLECTION]
    inline = found.find_one({"name": name, "prefix": "data/"})["kind_meta"]["inline"]
    data = change(inline["d"]["c0"])
    assert data != inline["d"]["c0"]
    fields = {"kind_meta.inline.d.c0": data, "kind_meta.inline.h.c0": zlib.crc32(data)}
    found.update_one({"name": name, "prefix": "data/"}, {"$set": fields})


@pytest.mark.parametrize("end", [300, 60_000, 50_000_000])
def test_nothing_of_omegaweb_is_seen_through_a_dataset_that_was_changed(ann: Person, end: int) -> None:
    om = Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"])
    om.datasets.put(pd.DataFrame({"b": [b"abcdefgh", b"ijklmnop"]}), "bleed")
    middle = [struct.pack("<qqq", 0, 8, 16), struct.pack("<qqq", 0, end, 16)]
    poisoned(om, "bleed", lambda data: data.replace(*middle))
    for accept in ("application/json", "text/csv", "application/vnd.apache.arrow.stream"):
        for route in ("dataset/bleed/", "dataset/bleed/statistics/"):
            answer = ann.get(route, headers={"Accept": accept})
            assert answer.status_code >= 400 and len(answer.content) < 1000, (accept, route)
    assert ann.get("ping").status_code == 200


def test_a_category_that_is_none_is_refused(ann: Person) -> None:
    om = Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"])
    om.datasets.put(pd.DataFrame({"c": pd.Categorical(["a", "b", "c"] * 3)}), "wild")
    poisoned(om, "wild", lambda data: data.replace(bytes([0, 1, 2] * 3), bytes([0, 1, 99] * 3)))
    for accept in ("application/json", "text/csv", "application/vnd.apache.arrow.stream"):
        assert ann.get("dataset/wild/", headers={"Accept": accept}).status_code >= 400
    assert ann.get("ping").status_code == 200


def test_a_few_bytes_that_stand_for_gigabytes_are_not_unpacked(web: WebPlatform, ann: Person) -> None:
    om = Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"])
    om.datasets.put(pd.DataFrame({"n": np.arange(3)}), "bomb")
    many = pa.record_batch([pa.array(np.zeros(80_000_000, np.int64))], names=["v"])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, many.schema, options=options) as writer:
        writer.write_batch(many)
    small = sink.getvalue().to_pybytes()
    assert len(small) < 1 << 20
    poisoned(om, "bomb", lambda data: small)
    with watched(web) as grown:
        answer = ann.get("dataset/bomb/")
    assert answer.status_code == 400 and "unpacked here" in answer.json()["error"]["message"]
    assert grown[-1] < 100 << 20
