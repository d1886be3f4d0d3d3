"""The store as its users see it: names in, equal objects out, whole or not at all."""

from __future__ import annotations

import multiprocessing
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from omegaml import errors
from omegaml.omega import Omega
from omegaml.store import columns, reader
from tests.unit.columnar_cases import CASES
from tests.unit.equality import assert_same

LONG = 50_000


def frame(rows: int, seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "x": np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows)),
            "s": random.choice(["ab", "cd", "e\u00e9"], rows).astype(object),
            "t": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(rows), unit="s"),
            "n": pd.array(random.integers(0, 9, rows), dtype="Int64"),
            "c": pd.Categorical.from_codes(random.integers(0, 3, rows), ["u", "v", "w"]),
        }
    )


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "CHUNK_ROWS", 3000)


def chunks(om: Any) -> int:
    return int(om.db[om.datasets.names.frames].count_documents({}))


@pytest.mark.parametrize("rows", [0, 1, 10, 2999, LONG])
def test_a_frame_comes_back_equal(om: Omega, rows: int) -> None:
    df = frame(rows)
    meta = om.datasets.put(df, "f")
    assert (meta.rows, meta.version) == (rows, 1)
    assert_frame_equal(om.datasets.get("f"), df)
    assert om.datasets.count("f") == rows


def test_a_small_frame_lies_in_its_metadata_document(om: Omega) -> None:
    om.datasets.put(frame(10), "f")
    assert chunks(om) == 0


def test_putting_twice_keeps_only_the_second(om: Omega) -> None:
    om.datasets.put(frame(LONG), "f")
    before = chunks(om)
    om.datasets.put(frame(LONG, seed=2), "f")
    assert chunks(om) == before
    assert_frame_equal(om.datasets.get("f"), frame(LONG, seed=2))


def test_replace_false_refuses_an_existing_name(om: Omega) -> None:
    om.datasets.put(frame(3), "f")
    with pytest.raises(errors.Conflict, match="'f'"):
        om.datasets.put(frame(4), "f", replace=False)
    assert om.datasets.count("f") == 3


def test_columns_are_chosen_by_name_and_by_argument(om: Omega) -> None:
    df = frame(LONG)
    om.datasets.put(df, "f")
    assert_frame_equal(om.datasets.get("f[x,s]"), df[["x", "s"]])
    assert_frame_equal(om.datasets.get("f[^x,s]"), df.drop(columns=["x", "s"]))
    assert_frame_equal(om.datasets.get("f", columns=["t", "id"]), df[["t", "id"]])
    with pytest.raises(errors.NotFound, match="nope"):
        om.datasets.get("f[nope]")


def test_filters_select_the_rows_that_pandas_selects(om: Omega) -> None:
    df = frame(LONG)
    om.datasets.put(df, "f")
    assert_frame_equal(
        om.datasets.get("f", id__gte=49_000, id__lt=49_010), df[(df.id >= 49_000) & (df.id < 49_010)]
    )
    assert_frame_equal(om.datasets.get("f", s="ab", x__gt=1), df[(df.s == "ab") & (df.x > 1)])
    assert_frame_equal(om.datasets.get("f[x]", x__isnull=True), df[df.x.isna()][["x"]])
    assert_frame_equal(om.datasets.get("f", t__lt=pd.Timestamp("2024-01-01 00:01")), df.head(60))
    assert len(om.datasets.get("f", id=-5)) == 0
    assert_frame_equal(om.datasets.get("f", limit=5), df.head(5))
    assert_frame_equal(om.datasets.get("f", id__gte=100, limit=5), df.iloc[100:105])


def test_a_filter_on_a_sorted_column_fetches_few_chunks(om: Omega, monkeypatch: pytest.MonkeyPatch) -> None:
    om.datasets.put(frame(LONG), "f")
    fetched: list[int] = []
    fetch = reader.Reader._fetch

    def counted(self: Any, chunks: Any, wanted: Any) -> Any:
        fetched.append(len(chunks))
        return fetch(self, chunks, wanted)

    monkeypatch.setattr(reader.Reader, "_fetch", counted)
    assert len(om.datasets.get("f", id=7)) == 1
    assert sum(fetched) == 1


def test_a_label_with_two_underscores_is_filtered_like_any_other(om: Omega) -> None:
    df = pd.DataFrame({"a__b": [1, 2, 3], "c": [4, 5, 6]})
    om.datasets.put(df, "f")
    assert_frame_equal(om.datasets.get("f", a__b=2), df[df["a__b"] == 2])
    assert_frame_equal(om.datasets.get("f", a__b__gt=2), df[df["a__b"] > 2])
    assert om.datasets.getl("f", a__b=2).count() == 1


def test_a_file_is_read_piece_by_piece(om: Omega) -> None:
    data = np.random.default_rng(0).bytes(3 << 20)
    om.datasets.put(data, "file")
    with om.datasets.open("file") as f:
        assert f.read(10) == data[:10]
        f.seek(2 << 20)
        assert f.read() == data[2 << 20 :]
    om.datasets.put(frame(3), "f")
    with pytest.raises(errors.InvalidInput, match="no file"):
        om.datasets.open("f")


def test_appended_categories_grow_and_keep_their_meaning(om: Omega) -> None:
    for values in (["b", "a"], ["c", "b"]):
        om.datasets.put(pd.DataFrame({"k": pd.Categorical(values)}), "f", append=True)
    got = om.datasets.get("f")
    assert got.k.tolist() == ["b", "a", "c", "b"]
    assert set(got.k.cat.categories) == {"a", "b", "c"}


def test_appends_continue_the_index(om: Omega) -> None:
    parts = [frame(10, 1), frame(LONG, 2), frame(1, 3)]
    for part in parts:
        om.datasets.put(part, "f", append=True)
    assert_frame_equal(om.datasets.get("f"), pd.concat(parts, ignore_index=True))


def test_an_append_that_does_not_fit_changes_nothing(om: Omega) -> None:
    om.datasets.put(frame(10), "f")
    with pytest.raises(errors.Mismatch, match="x"):
        om.datasets.put(frame(10).astype({"x": "float32"}), "f", append=True)
    with pytest.raises(errors.Mismatch):
        om.datasets.put([1, 2], "f", append=True)
    assert_frame_equal(om.datasets.get("f"), frame(10))


def append_some(url: str, worker: int) -> None:
    om = Omega(mongo_url=url)
    for i in range(10):
        om.datasets.put(pd.DataFrame({"w": [worker] * 50, "i": [i] * 50}), "f", append=True)


def test_concurrent_appends_all_survive(om: Omega, om_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_some, args=(om_url, w)) for w in range(3)]
    for w in writers:
        w.start()
    for w in writers:
        w.join(120)
        assert w.exitcode == 0
    df = om.datasets.get("f")
    assert len(df) == 1500
    assert df.groupby(["w", "i"]).size().eq(50).all()


def test_readers_racing_a_replace_see_one_or_the_other(om: Omega) -> None:
    a, b = frame(LONG, 1), frame(LONG // 2, 2)
    om.datasets.put(a, "f")
    stop, torn, reads = threading.Event(), [], []

    def read() -> None:
        while not stop.is_set():
            got = om.datasets.get("f[id,x]")
            reads.append(len(got))
            want = a if len(got) == len(a) else b
            if not got.equals(want[["id", "x"]]):
                torn.append(len(got))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(15):
        om.datasets.put(b if i % 2 == 0 else a, "f")
    stop.set()
    reader.join(60)
    assert reads and not torn
    assert set(reads) <= {len(a), len(b)}


def test_changed_bytes_are_noticed(om: Omega) -> None:
    om.datasets.put(frame(LONG), "f")
    frames = om.db[om.datasets.names.frames]
    doc = frames.find_one({"_id.n": 2})
    broken = bytearray(doc["d"]["c1"])
    broken[len(broken) // 2] ^= 1
    frames.update_one({"_id": doc["_id"]}, {"$set": {"d.c1": bytes(broken)}})
    with pytest.raises(errors.Corrupt, match="column 1"):
        om.datasets.get("f")


def test_lost_chunks_are_an_error_and_not_fewer_rows(om: Omega) -> None:
    om.datasets.put(frame(LONG), "f")
    om.db[om.datasets.names.frames].delete_one({"_id.n": 3})
    with pytest.raises(errors.Corrupt, match="'f'"):
        om.datasets.get("f")


def test_dropping_and_collecting_free_everything(om: Omega) -> None:
    om.datasets.put(frame(LONG), "f")
    om.datasets.put(frame(LONG), "g")
    orphan = om.db.metadata.find_one_and_delete({"name": "g"})  # as if its writer had died before the flip
    assert orphan
    assert om.datasets.gc().objects == 0  # too young
    freed = om.datasets.gc(older_than=-1)
    assert freed.objects == 1 and freed.bytes > 100_000
    assert_frame_equal(om.datasets.get("f"), frame(LONG))
    assert om.datasets.drop("f")
    assert chunks(om) == 0
    assert om.datasets.list() == []


def test_missing_objects_are_named(om: Omega) -> None:
    for act in (om.datasets.get, om.datasets.drop, om.datasets.metadata):
        with pytest.raises(errors.NotFound, match=r"no dataset 'nope' in bucket 'omegaml'"):
            act("nope")
    assert om.datasets.drop("nope", missing_ok=True) is False
    assert om.datasets.exists("nope") is False


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a ", "/a", "a/", "a//b", "a[b", "a@b", "a^", "a*", "a\n", "x/predict", "run"]
)
def test_names_that_cannot_be_asked_for_are_refused(om: Omega, name: str) -> None:
    with pytest.raises(errors.InvalidInput):
        om.datasets.put([1], name)


def test_lists_know_patterns_regexps_and_hidden_objects(om: Omega) -> None:
    for name in ("sales/2024", "sales/2025", "other", ".hidden"):
        om.datasets.put([1], name)
    assert om.datasets.list() == ["other", "sales/2024", "sales/2025"]
    assert om.datasets.list("sales/*") == ["sales/2024", "sales/2025"]
    assert om.datasets.list(regexp="5$") == ["sales/2025"]
    assert om.datasets.list(hidden=True) == [".hidden", "other", "sales/2024", "sales/2025"]
    with pytest.raises(errors.InvalidInput):
        om.datasets.list(regexp="(")


def test_buckets_are_apart(om: Omega) -> None:
    om.datasets.put(frame(LONG), "f")
    om["other"].datasets.put(frame(3), "f")
    assert om.datasets.count("f") == LONG
    assert om["other"].datasets.count("f") == 3
    om["other"].datasets.drop("f")
    assert om.datasets.exists("f")


def test_datasets_keep_versions_once_asked(om: Omega) -> None:
    om.datasets.put(frame(LONG, 1), "f", keep_versions=True, tag="first")
    om.datasets.put(frame(LONG, 2), "f")
    om.datasets.put(frame(5, 3), "f")
    assert [v.version for v in om.datasets.versions("f")] == [3, 2, 1]
    assert_frame_equal(om.datasets.get("f@first"), frame(LONG, 1))
    assert_frame_equal(om.datasets.get("f^"), frame(LONG, 2))
    assert_frame_equal(om.datasets.get("f", version=2), frame(LONG, 2))
    assert_frame_equal(om.datasets.get("f"), frame(5, 3))
    with pytest.raises(errors.NotFound, match="no version"):
        om.datasets.get("f@nope")
    om.datasets.promote("f", 1)
    assert_frame_equal(om.datasets.get("f"), frame(LONG, 1))
    om.datasets.drop("f")
    assert chunks(om) == 0


def test_a_newer_format_is_named(om: Omega) -> None:
    om.datasets.put(frame(5), "f")
    om.db.metadata.update_one({"name": "f"}, {"$set": {"format": 99}})
    with pytest.raises(errors.FormatTooNew, match="99"):
        om.datasets.get("f")


def test_attributes_and_times_are_kept_over_a_replace(om: Omega) -> None:
    first = om.datasets.put(frame(5), "f", attributes={"owner": "ann"})
    second = om.datasets.put(frame(6), "f", attributes={"unit": "kg"})
    assert second.attributes == {"owner": "ann", "unit": "kg"}
    assert second.created == first.created
    assert second.modified and (datetime.now(UTC) - second.modified).total_seconds() < 60


def test_renaming_and_copying(om: Omega) -> None:
    om.datasets.put(frame(LONG), "f", keep_versions=True)
    om.datasets.copy("f", "g")
    om.datasets.rename("f", "h")
    assert om.datasets.list() == ["g", "h"]
    with pytest.raises(errors.Conflict):
        om.datasets.rename("g", "h")
    assert_frame_equal(om.datasets.get("g"), om.datasets.get("h@1"))


def test_wide_frames_and_giant_cells(om: Omega) -> None:
    wide = pd.DataFrame(np.arange(300 * 700).reshape(300, 700)).rename(columns=str)
    om.datasets.put(wide, "wide")
    assert_frame_equal(om.datasets.get("wide"), wide)
    assert_frame_equal(om.datasets.get("wide", columns=["3", "699"]), wide[["3", "699"]])
    rng = np.random.default_rng(0)
    giant = pd.DataFrame({"b": [rng.bytes(20 << 20), b"x"], "n": [1, 2]})
    om.datasets.put(giant, "giant")
    assert_frame_equal(om.datasets.get("giant"), giant)


def test_no_server_is_said_at_once_with_its_address() -> None:
    om = Omega(mongo_url="mongodb://127.0.0.1:9/nowhere")
    started = datetime.now(UTC)
    with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1:9") as caught:
        om.datasets.list()
    assert "omegacli cluster up" in str(caught.value.hint)
    assert (datetime.now(UTC) - started).total_seconds() < 5


def test_frames_that_come_in_parts_become_one_dataset(om: Omega) -> None:
    parts = [frame(LONG, 1), frame(7, 2), frame(7, 3).head(0), frame(LONG, 4)]
    for how in ({}, {"format": "rows"}):
        meta = om.datasets.put_parts(iter(parts), "f", **how)
        assert meta.rows == 2 * LONG + 7
        assert_frame_equal(om.datasets.get("f"), pd.concat(parts, ignore_index=True))
        meta = om.datasets.put_parts(iter(parts[1:3]), "f", append=True)
        assert meta.rows == 2 * LONG + 14
        assert_frame_equal(om.datasets.get("f").tail(7).reset_index(drop=True), parts[1])


@pytest.mark.parametrize("how", [{}, {"format": "rows"}], ids=["columnar", "rows"])
@pytest.mark.parametrize("append", [False, True])
def test_parts_that_fail_leave_everything_as_it_was(om: Omega, how: Any, append: bool) -> None:
    def parts(last: Any) -> Any:
        yield frame(LONG)
        yield frame(10)
        if isinstance(last, Exception):
            raise last
        yield last

    om.datasets.put(frame(5), "f", **how)
    before = {name: om.db[name].count_documents({}) for name in om.db.list_collection_names()}
    wrong = [
        (frame(3).drop(columns="x"), errors.Mismatch),
        ([1], errors.Mismatch),
        (OSError("gone"), OSError),
    ]
    for last, error in wrong:
        with pytest.raises(error):
            om.datasets.put_parts(parts(last), "f", append=append, **how)
        assert_frame_equal(om.datasets.get("f"), frame(5))
        left = {name: om.db[name].count_documents({}) for name in om.db.list_collection_names()}
        assert {k: v for k, v in left.items() if v} == before
    with pytest.raises(errors.InvalidInput, match="nothing"):
        om.datasets.put_parts(iter(()), "g", **how)


def test_many_small_appends_become_few_segments_while_others_read(om: Omega) -> None:
    parts = [frame(3, seed) for seed in range(150)]
    om.datasets.put(frame(LONG), "f", keep_versions=True)
    lazy = None
    for n, part in enumerate(parts):
        om.datasets.put(part, "f", append=True)
        lazy = lazy or (om.datasets.getl("f") if n == 60 else None)
    segs = om.datasets.metadata("f").kind_meta["segs"]
    assert len(segs) < columns.COMPACT_SEGMENTS
    whole = pd.concat([frame(LONG), *parts], ignore_index=True)
    assert_frame_equal(om.datasets.get("f"), whole)
    assert lazy is not None
    assert_frame_equal(lazy.get(), whole.head(len(lazy)))  # what was compacted is still there
    om.datasets.gc()
    assert_frame_equal(lazy.get(), whole.head(len(lazy)))
    om.datasets.gc(older_than=-1)
    assert_frame_equal(om.datasets.get("f"), whole)
    om.datasets.drop("f")
    assert chunks(om) == 0


def test_a_lazy_frame_of_a_replaced_dataset_says_so(om: Omega) -> None:
    om.datasets.put(frame(LONG), "f")
    lazy = om.datasets.getl("f")
    om.datasets.put(frame(5), "f")
    with pytest.raises(errors.Conflict, match="'f' was replaced"):
        lazy.get()


@pytest.mark.parametrize(
    ("value", "how"),
    [
        (frame(LONG), {}),
        (frame(5), {}),
        (frame(LONG), {"format": "rows", "index": ["id"]}),
        (pd.Series([1.5, None], name="s"), {}),
        ([1, (2, 3)], {}),
        (b"bytes" * 500_000, {}),
        (np.arange(300_000).reshape(3, -1), {}),
    ],
    ids=["frame", "inline", "rows", "series", "python", "file", "array"],
)
def test_a_copy_is_equal_and_on_its_own(om: Omega, value: Any, how: Any) -> None:
    om.datasets.put(value, "f", attributes={"unit": "kg"}, **how)
    om.datasets.copy("f", "g")
    with pytest.raises(errors.Conflict, match="'g'"):
        om.datasets.copy("f", "g")
    om.datasets.copy("f", "g", replace=True)
    om.datasets.drop("f")
    om.datasets.gc(older_than=-1)
    same(om.datasets.get("g"), value)
    assert om.datasets.metadata("g").attributes == {"unit": "kg"}
    om.datasets.drop("g")
    assert {n for n in om.db.list_collection_names() if om.db[n].count_documents({})} == set()


def same(got: Any, value: Any) -> None:
    if isinstance(value, pd.DataFrame):
        assert_frame_equal(got, value)
    elif isinstance(value, pd.Series):
        pd.testing.assert_series_equal(got, value)
    elif isinstance(value, np.ndarray):
        np.testing.assert_array_equal(got, value)
    else:
        assert got == value and type(got) is type(value)


def test_versions_belong_to_the_object_and_not_to_its_name(om: Omega) -> None:
    for n in (1, 2, 3):
        om.datasets.put(frame(n), "f", keep_versions=True)
    om.datasets.rename("f", "g")
    om.datasets.put(frame(9), "f", keep_versions=True)
    assert [v.version for v in om.datasets.versions("f")] == [1]
    assert [(v.name, v.version, v.rows) for v in om.datasets.versions("g")] == [
        ("g", 3, 3),
        ("g", 2, 2),
        ("g", 1, 1),
    ]
    om.datasets.put(frame(10), "f")
    assert len(om.datasets.get("f^")) == 9 and len(om.datasets.get("g^")) == 2
    om.datasets.drop("g")
    assert len(om.datasets.get("f@1")) == 9


@pytest.mark.parametrize("tag", ["", "7", "a b", "a@b", "$x", "a/b"])
def test_tags_that_could_not_be_asked_for_are_refused(om: Omega, tag: str) -> None:
    om.datasets.put(frame(1), "f", keep_versions=True)
    with pytest.raises(errors.InvalidInput, match="tag"):
        om.datasets.put(frame(2), "f", tag=tag)
    with pytest.raises(errors.InvalidInput, match="tag"):
        om.datasets.promote("f", 1, tag)
    assert om.datasets.count("f") == 1


def test_a_tag_may_have_dots(om: Omega) -> None:
    om.datasets.put(frame(1), "f", keep_versions=True)
    om.datasets.put(frame(2), "f", tag="v1.0")
    om.datasets.promote("f", 1, "v0.9")
    assert [len(om.datasets.get(f"f@{t}")) for t in ("v0.9", "v1.0", "latest")] == [1, 2, 2]


def test_two_that_put_a_new_name_do_not_both_believe_it_was_new(om: Omega) -> None:
    done: list[str] = []

    def put() -> None:
        try:
            om.datasets.put(frame(LONG), "f", replace=False)
            done.append("ok")
        except errors.Conflict:
            done.append("conflict")

    threads = [threading.Thread(target=put) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(done) == ["conflict"] * 3 + ["ok"]
    om.datasets.gc(older_than=-1)
    om.datasets.drop("f")
    assert chunks(om) == 0


def test_a_closed_platform_opens_again_and_closes_nobody_elses(om: Omega, om_url: str) -> None:
    om.datasets.put([1], "f")
    other = Omega(mongo_url=om_url)
    assert other.datasets.get("f") == [1]
    om.close()
    om.close()
    assert other.datasets.get("f") == [1]
    assert om.datasets.get("f") == [1]
    other.close()
    assert om.datasets.get("f") == [1]


def test_parts_of_one_frame_keep_its_index(om: Omega) -> None:
    df = frame(LONG)
    om.datasets.put(df[:10], "f")
    om.datasets.put(df[10:20], "f", append=True)
    om.datasets.put_parts([df[20:30], df[30:LONG]], "f", append=True)
    assert_frame_equal(om.datasets.get("f"), df)


def test_a_put_that_replaces_what_was_seen_refuses_anything_else(om: Omega) -> None:
    seen = om.datasets.put(frame(1), "f")
    om.datasets.put(frame(2), "f", replaces=seen)
    with pytest.raises(errors.Conflict, match="'f' was changed"):
        om.datasets.put(frame(LONG), "f", replaces=seen)
    newest = om.datasets.metadata("f")
    om.datasets.drop("f")
    with pytest.raises(errors.Conflict, match="'f' was changed"):
        om.datasets.put(frame(LONG), "f", replaces=newest)
    assert not om.datasets.exists("f") and chunks(om) == 0


def test_versions_keep_segments_that_were_compacted_away_from_the_newest(
    om: Omega, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [frame(3, seed) for seed in range(300)]
    om.datasets.put(frame(LONG), "f", keep_versions=True)
    for part in parts[:40]:
        om.datasets.put(part, "f", append=True)
    om.datasets.put(frame(1), "f")
    om.datasets.promote("f", 1)  # the newest shares its data with version 1
    first = om.datasets.get("f@1")
    monkeypatch.setattr(columns, "RETIRED", timedelta(0))
    for part in parts[40:]:
        om.datasets.put(part, "f", append=True)
    assert len(om.datasets.metadata("f").kind_meta["segs"]) < columns.COMPACT_SEGMENTS
    assert_frame_equal(om.datasets.get("f@1"), first)
    om.datasets.gc(older_than=-1)
    assert_frame_equal(om.datasets.get("f@1"), first)
    assert om.datasets.count("f") == len(om.datasets.get("f")) == LONG + 900
    om.datasets.drop("f")
    assert chunks(om) == 0


def test_dropping_frees_what_killed_appends_left_as_well(om: Omega) -> None:
    om.datasets.put(frame(LONG), "f")
    before = chunks(om)
    om.datasets.put(frame(LONG), "f", append=True)
    om.db.metadata.update_one(
        {"name": "f"}, {"$pop": {"kind_meta.segs": 1}, "$inc": {"kind_meta.rows": -LONG}}
    )
    assert chunks(om) > before
    assert_frame_equal(om.datasets.get("f"), frame(LONG))
    om.datasets.drop("f")
    assert chunks(om) == 0


def test_small_appends_of_cells_of_all_types_become_few_segments(om: Omega) -> None:
    values = [[1, 2], ["a", None], [1.5, float("nan")], [b"x", {"k": 1}], [True, False], [None, None]]
    parts = [pd.DataFrame({"o": pd.Series(values[n % 6], dtype=object)}) for n in range(100)]
    for part in parts:
        om.datasets.put(part, "f", append=True)
    got, whole = om.datasets.get("f"), pd.concat(parts, ignore_index=True)
    assert len(om.datasets.metadata("f").kind_meta["segs"]) < columns.COMPACT_SEGMENTS
    assert list(map(repr, got.o)) == list(map(repr, whole.o))


@pytest.mark.parametrize("case", CASES)
def test_a_compacted_dataset_is_what_it_was(om: Omega, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = CASES[case]()
    for name, most in (("plain", 1000), ("compacted", 3)):
        monkeypatch.setattr(columns, "COMPACT_SEGMENTS", most)
        om.datasets.put(value, name)
        for _ in range(5):
            try:
                om.datasets.put(value, name, append=True)
            except (
                errors.Mismatch
            ):  # as a range that does not start from 0: `extend` says so in tests of its own
                break
    segs = [len(om.datasets.metadata(name).kind_meta["segs"]) for name in ("plain", "compacted")]
    assert segs[1] < segs[0] or segs[0] < 3
    assert_same(om.datasets.get("compacted"), om.datasets.get("plain"))
