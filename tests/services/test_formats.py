"""What older versions stored is read by this one: a sample of every stored format, kept for ever."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pandas as pd
import pytest

from omegaml import backends
from tests.data.formats import make
from tests.data.formats.samples import SAMPLES, Sample
from tests.unit.equality import assert_same, same


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: f"{s.kind}-{s.format}-{s.name}")
def test_a_stored_sample_gives_the_object_that_was_put(om: Any, sample: Sample) -> None:
    if sample.kind == "polars.frame" and not importlib.util.find_spec("polars"):
        pytest.skip("polars is an optional extra")
    make.load(om.db, sample.path.read_bytes())
    store = getattr(om, sample.prefix)
    meta = store.metadata("sample")
    got, want = store.get("sample"), sample.make()
    assert meta.kind == sample.kind
    if isinstance(want, pd.DataFrame | pd.Series):
        assert_same(got, want if sample.append is None else pd.concat([want, sample.append()]))
    elif hasattr(want, "read"):
        assert got.read() == want.read()
    elif hasattr(want, "schema"):
        assert got.equals(want) and got.schema == want.schema
    elif isinstance(want, np.ndarray):
        assert same(got, want) and got.flags.f_contiguous == want.flags.f_contiguous
    elif sample.prefix == "jobs":
        assert got == want and type(got) is type(want)  # keys are sorted, as Jupyter does
    else:
        assert same(got, want)


def test_every_kind_has_a_sample_of_its_present_format() -> None:
    present = {(kind, backends.by_kind(kind).format) for kind in backends.kinds()}
    assert present <= {(sample.kind, sample.format) for sample in SAMPLES}


def test_samples_are_small_and_none_is_written_twice(capsys: Any) -> None:
    before = {sample.path: sample.path.read_bytes() for sample in SAMPLES}
    assert all(len(data) < 40_000 for data in before.values())
    assert make.main("mongodb://127.0.0.1:1/none") == 0
    assert before == {sample.path: sample.path.read_bytes() for sample in SAMPLES}
    assert capsys.readouterr().out.count("kept") == len(SAMPLES)


@pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s.kind == "pandas.dfcolumnar"], ids=lambda s: f"{s.format}-{s.name}"
)
def test_an_append_to_an_older_format_says_that_it_is_of_the_present_one(om: Any, sample: Sample) -> None:
    make.load(om.db, sample.path.read_bytes())
    before = om.datasets.get("sample")
    om.datasets.put(before, "sample", append=True)
    document = om.datasets.catalog.find("sample")
    assert document["format"] == backends.by_kind(sample.kind).format
    counts_on = isinstance(before.index, pd.RangeIndex)
    assert_same(om.datasets.get("sample"), pd.concat([before, before], ignore_index=counts_on))
