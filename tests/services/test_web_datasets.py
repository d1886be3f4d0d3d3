"""Datasets by REST: what goes in comes out, pages and filters, what is refused, and who may."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from pandas.testing import assert_frame_equal

from omegaml.omega import Omega
from tests.services.web_platform import Person, WebPlatform

pytestmark = [pytest.mark.once, pytest.mark.mariadb]

CSV, ARROW = "text/csv", "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
ROWS = [
    {"city": "Bern", "x": 1, "y": 0.5, "ok": True},
    {"city": "Basel", "x": 2, "y": None, "ok": False},
    {"city": "Chur, GR", "x": 3, "y": 2.5, "ok": True},
]


@pytest.fixture
def om(ann: Person) -> Iterator[Omega]:
    """Ann's platform, as the library reaches it."""
    platform = Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"])
    yield platform
    platform.close()


@pytest.fixture
def cities(ann: Person) -> Person:
    """Ann, who has the dataset `cities`."""
    answer = ann.call("PUT", "dataset/cities/", json={"data": ROWS})
    assert answer.status_code == 201, answer.text
    return ann


@pytest.fixture(scope="module")
def reader(web: WebPlatform) -> Person:
    """Somebody with the dataset `cities` that no test changes."""
    person = web.person()
    assert person.call("PUT", "dataset/cities/", json={"data": ROWS}).status_code == 201
    return person


def rows(answer: requests.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["rows"]


def error(answer: requests.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    told = answer.json()["error"]
    assert told["request_id"] and set(told) == {"code", "message", "hint", "request_id"}
    return f"{told['message']} ({told['hint']})"


# --- in and out


def test_rows_go_in_as_json_and_come_out_the_same(cities: Person, om: Any) -> None:
    answer = cities.get("dataset/cities/")
    assert rows(answer) == ROWS
    body = answer.json()
    assert body["name"] == "cities" and body["orient"] == "records"
    assert body["dtypes"] == {"city": "str", "x": "int64", "y": "float64", "ok": "bool"}
    assert body["index"] == {"type": "RangeIndex", "values": [0, 1, 2]}
    assert body["meta"] == {"limit": 50, "offset": 0, "next": None, "previous": None, "total_count": 3}
    assert_frame_equal(om.datasets.get("cities"), pd.DataFrame(ROWS))


def test_storing_answers_with_the_resource_created_or_replaced(ann: Person) -> None:
    first = ann.call("PUT", "dataset/a/b%20c/", json={"data": {"x": [1, 2]}})
    assert first.status_code == 201 and first.headers["Location"] == "/api/v1/dataset/a/b%20c/"
    second = ann.call("PUT", "dataset/a/b%20c/", json={"data": {"x": [3], "y": ["z"]}})
    assert second.status_code == 200
    made = second.json()
    assert (made["name"], made["rows"], made["columns"]) == ("a/b c", 1, 2)
    assert rows(ann.get("dataset/a/b%20c/")) == [{"x": 3, "y": "z"}]


def test_the_form_of_the_earlier_clients_goes_in_and_out(ann: Person, om: Any) -> None:
    frame = pd.DataFrame(
        {"a": [1.5, 2.5], "t": pd.to_datetime(["2026-01-31", None]).astype("datetime64[ns]")}, index=[7, 9]
    )
    om.datasets.put(frame, "d")
    out = ann.get("dataset/d/?orient=dict").json()
    assert out["data"] == {"a": {"7": 1.5, "9": 2.5}, "t": {"7": "2026-01-31T00:00:00", "9": None}}
    assert out["dtypes"] == {"a": "float64", "t": "datetime64[ns]"}
    assert out["index"] == {"type": "Index", "values": [7, 9]}
    assert out["resource_uri"] == "/api/v1/dataset/d/" and out["orient"] == "dict"
    body = {k: out[k] for k in ("data", "dtypes", "index", "orient")}
    assert ann.call("PUT", "dataset/e/", json={**body, "append": False}).status_code == 204
    assert_frame_equal(om.datasets.get("e"), frame)
    assert ann.call("PUT", "dataset/e/", json=body).status_code == 204  # appends
    assert_frame_equal(om.datasets.get("e"), pd.concat([frame, frame]))
    assert "twice" in error(ann.get("dataset/e/?orient=dict"), 400)
    listed = ann.get("dataset/e/?orient=list").json()
    assert listed["data"]["a"] == [1.5, 2.5, 1.5, 2.5]


@pytest.mark.parametrize("format", [CSV, ARROW, PARQUET, "application/vnd.apache.arrow.file"])
def test_bulk_bodies_go_in_and_out(ann: Person, om: Any, format: str) -> None:
    frame = pd.DataFrame({"n": range(150_000), "t": [f"é{i % 7}" for i in range(150_000)], "f": np.pi})
    out = io.BytesIO()
    if format == CSV:
        frame.to_csv(out, index=False)
    elif format == PARQUET:
        frame.to_parquet(out)
    else:
        make = pa.ipc.new_stream if format == ARROW else pa.ipc.new_file
        table = pa.Table.from_pandas(frame)
        with make(out, table.schema) as writer:
            writer.write_table(table)
    answer = ann.call("PUT", "dataset/d/", data=out.getvalue(), headers={"Content-Type": format})
    assert answer.status_code == 201 and answer.json()["rows"] == 150_000, answer.text
    assert_frame_equal(om.datasets.get("d"), frame)
    if format.endswith("file"):
        return
    got = ann.get("dataset/d/", headers={"Accept": format})
    assert got.status_code == 200 and got.headers["Content-Type"] == format
    assert "d." in got.headers["Content-Disposition"]
    assert_frame_equal(_read(got.content, format), frame)
    got = ann.get("dataset/d/?n__gte=70000&columns=t,n&sort=-n&limit=3&offset=1", headers={"Accept": format})
    expected = frame[["t", "n"]].iloc[[-2, -3, -4]].reset_index(drop=True)
    assert_frame_equal(_read(got.content, format), expected)


def _read(content: bytes, format: str) -> pd.DataFrame:
    if format == CSV:
        return pd.read_csv(io.BytesIO(content))
    if format == PARQUET:
        return pq.read_table(io.BytesIO(content)).to_pandas()
    return pa.ipc.open_stream(content).read_all().to_pandas()


def test_a_head_request_is_answered_without_a_body(cities: Person) -> None:
    for format in ("json", CSV, ARROW):
        accept = format if "/" in format else "application/json"
        answer = cities.call("HEAD", "dataset/cities/", headers={"Accept": accept})
        assert answer.status_code == 200 and answer.headers["Content-Type"] == accept
        assert answer.content == b""
    assert cities.call("HEAD", "dataset/none/").status_code == 404


def test_a_body_of_unknown_length_is_read_to_its_end(ann: Person, om: Any) -> None:
    def blocks() -> Any:
        yield b"a,b\n"
        for i in range(5000):
            yield f"{i},x{i}\n".encode()

    answer = ann.call("PUT", "dataset/d/", data=blocks(), headers={"Content-Type": CSV})
    assert answer.status_code == 201 and om.datasets.get("d")["a"].tolist() == list(range(5000))


def test_columns_of_a_csv_keep_one_type_however_late_a_cell_differs(ann: Person, om: Any) -> None:
    lines = ["i,f,late,gap,big,none,b,t"]
    for i in range(200_000):
        lines.append(f"{i},{i}.5,{i},{i},{2**60 + i},,true,{i}")
    lines.append('1,2,"x, y",,,,False,"NA"')
    body = "\n".join(lines).encode()
    assert ann.call("PUT", "dataset/d/", data=body, headers={"Content-Type": CSV}).status_code == 201
    found = om.datasets.get("d")
    assert found.dtypes.astype(str).to_dict() == {
        "i": "int64", "f": "float64", "late": "str", "gap": "float64",
        "big": "Int64", "none": "float64", "b": "bool", "t": "str",
    }  # fmt: skip
    assert found["late"].iloc[-1] == "x, y" and found["big"].iloc[5] == 2**60 + 5
    assert found["t"].iloc[-1] == "NA" and pd.isna(found["big"].iloc[-1])


def test_rows_are_appended_where_nothing_is_lost_by_it(cities: Person, om: Any) -> None:
    more = "ok,y,x,city\ntrue,3,4,7\n"
    answer = cities.call("PUT", "dataset/cities/?append=1", data=more, headers={"Content-Type": CSV})
    assert "city" in error(answer, 422)
    assert om.datasets.count("cities") == 3
    more = "ok,y,x,city\ntrue,3,4,Genf\n"
    answer = cities.call("PUT", "dataset/cities/?append=1", data=more, headers={"Content-Type": CSV})
    assert answer.status_code == 200 and answer.json()["rows"] == 4, answer.text
    assert rows(cities.get("dataset/cities/?offset=3")) == [{"city": "Genf", "x": 4, "y": 3.0, "ok": True}]
    answer = cities.call("PUT", "dataset/cities/", json={"append": True, "data": [{**ROWS[0], "x": 1.5}]})
    assert "x" in error(answer, 422)
    answer = cities.call("PUT", "dataset/cities/", json={"append": True, "data": [{"city": "x"}]})
    assert error(answer, 422)
    assert om.datasets.count("cities") == 4


def test_datasets_of_every_form_are_read(ann: Person, om: Any) -> None:
    frame = pd.DataFrame({"x": range(30_000), "t": "a"})
    om.datasets.put(frame, "rows", format="rows")
    om.datasets.put(pa.Table.from_pandas(frame), "arrow")
    om.datasets.put(frame["x"].rename("s"), "series")
    for name in ("rows", "arrow"):
        assert rows(ann.get(f"dataset/{name}/?x__gte=29999")) == [{"x": 29_999, "t": "a"}]
        page = ann.get(f"dataset/{name}/?limit=2&offset=10&sort=-x").json()
        assert [row["x"] for row in page["data"]["rows"]] == [29_989, 29_988]
        assert page["meta"]["total_count"] == 30_000
        assert_frame_equal(_read(ann.get(f"dataset/{name}/?format=arrow").content, ARROW), frame)
        assert len(_read(ann.get(f"dataset/{name}/?x__lt=7&format=csv").content, CSV)) == 7
    assert rows(ann.get("dataset/series/?limit=1")) == [{"s": 0}]
    om.datasets.put({"a": [1, 2]}, "plain")
    assert ann.get("dataset/plain/").json()["data"] == {"a": [1, 2]}
    om.datasets.put(np.arange(3), "array")
    assert ann.get("dataset/array/").json()["data"] == [0, 1, 2]
    om.datasets.put(b"\0bytes", "file")
    got = ann.get("dataset/file/")
    assert got.content == b"\0bytes" and got.headers["Content-Type"] == "application/octet-stream"
    assert "no rows" in error(ann.get("dataset/array/statistics/"), 400)


def test_a_column_of_mixed_objects_has_one_type_in_a_stream(ann: Person, om: Any) -> None:
    n = 70_000
    cells = [*range(n), *[i / 2 for i in range(n)], {"a": 1}, [1, 2], None, "x"]
    om.datasets.put(pd.DataFrame({"m": pd.Series(cells, dtype=object), "o": "z"}), "mixed")
    for format in (ARROW, CSV, PARQUET):
        got = ann.get("dataset/mixed/", headers={"Accept": format})
        assert got.status_code == 200 and len(_read(got.content, format)) == len(cells), got.text[:300]
    om.datasets.put(pd.DataFrame({"m": pd.Series(cells[: 2 * n], dtype=object)}), "numbers")
    assert ann.get("dataset/numbers/?m__gte=69999&count=1").json()["meta"]["total_count"] == 1


def exotic() -> dict[str, Any]:
    """Frames of every sort of column, label and index."""
    n = 6
    nested = pd.Series([[1], {"a": 2}, {3}, (4, "x"), b"\xff", Decimal("1.5")], dtype=object)
    columns = {
        "period": pd.period_range("2026-01", periods=n, freq="M"),
        "interval": pd.interval_range(0, n),
        "complex": np.arange(n) * 1j,
        "timedelta": pd.to_timedelta(range(n), unit="h"),
        "zone": pd.date_range("2026-01-01", periods=n, tz="Europe/Zurich"),
        "category": pd.Categorical(["b", "a", None] * 2, ordered=True),
        "numbers": pd.Categorical([1, 2, 1] * 2),
        "nullable": pd.array([1, None, 3] * 2, dtype="Int64"),
        "boolean": pd.array([True, None, False] * 2, dtype="boolean"),
        "sparse": pd.arrays.SparseArray([0.0, 0, 1] * 2),
        "float16": np.arange(n, dtype="float16"),
        "uint64": np.array([2**64 - 1] * n, dtype="uint64"),
        "infinite": [np.inf, -np.inf, np.nan, 0.0, 1e308, -1e308],
        "nested": nested,
        "date": pd.Series([date(2026, 1, 1), None] * 3, dtype=object),
        "none": pd.Series([None] * n, dtype=object),
        "string": pd.array(["a", None, "c"] * 2, dtype="string"),
        "quote": ['say "x"', "a,b", "line\nbreak", "", "'", "\t"],
    }
    plain = pd.DataFrame({"x": range(n), "y": list("abcdef")})
    both = plain.copy()
    both.columns = ["x", "x"]
    table = pa.table(
        {
            "list": [[1], None, []],
            "struct": [{"a": 1}, None, {"a": 2}],
            "words": pa.array(["a", "b", "a"]).dictionary_encode(),
            "decimal": pa.array([Decimal("1.10"), None, Decimal("2")]),
            "time": pa.array([1, 2, None], pa.time64("us")),
            "date": pa.array([1, 2, None], pa.date32()),
            "gap": pa.array([1, None, 3]),
            "null": pa.nulls(3),
            "duration": pa.array([1, 2, None], pa.duration("ms")),
        }
    )
    return {
        **{name: pd.DataFrame({name: values, "i": range(n)}) for name, values in columns.items()},
        "twice": both,
        "labels": plain.set_axis([("a", 1), 2.5], axis=1),
        "levels": plain.set_axis(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]), axis=1),
        "index": plain.set_index(["x", "y"]).assign(z=1.0),
        "dates": plain.set_axis(pd.date_range("2026-01-01", periods=n, name="day"), axis=0),
        "nothing": pd.DataFrame(index=range(3)),
        "series": pd.Series(list("abc"), index=list("xyz")),
        "arrow": table,
        **{f"arrow-{name}": table.select([name]) for name in table.column_names},
    }


def test_datasets_with_any_columns_are_answered_in_every_form(ann: Person, om: Any) -> None:
    for name, obj in exotic().items():
        om.datasets.put(obj, name)
        for query in ("", "orient=dict", "orient=list", "limit=2&offset=1"):
            answer = ann.get(f"dataset/{name}/?{query}")
            assert answer.status_code == 200, (name, query, answer.text)
            json.loads(answer.text, parse_constant=lambda word: pytest.fail(word))
        for format in ("csv", "arrow", "parquet"):
            answer = ann.get(f"dataset/{name}/?format={format}")
            refused = format == "parquet" and name in ("timedelta", "arrow", "arrow-duration", "nothing")
            assert answer.status_code in ((200, 400) if refused else (200,)), (name, format, answer.text)
        answer = ann.get(f"dataset/{name}/statistics/")
        assert answer.status_code == 200, (name, answer.text)
        json.loads(answer.text, parse_constant=lambda word: pytest.fail(word))
        for query in (
            "{0}=1",
            "{0}__gte=a",
            "{0}__in=a,2",
            "{0}__isnull=true",
            "sort={0}",
            "{0}__contains=x",
        ):
            column = requests.utils.quote(name.removeprefix("arrow-"))
            answer = ann.get(f"dataset/{name}/?{query.format(column)}")
            assert answer.status_code in (200, 400), (name, query, answer.text)


def test_kept_versions_are_read_by_number_and_tag(ann: Person, om: Any) -> None:
    om.datasets.put(pd.DataFrame({"x": [1]}), "d", tag="first", keep_versions=True)
    om.datasets.put(pd.DataFrame({"x": [2]}), "d")
    assert rows(ann.get("dataset/d/")) == [{"x": 2}]
    for asked in ("d/?version=1", "d/?version=first", "d@first/", "d@1/", "d^/"):
        assert rows(ann.get(f"dataset/{asked}")) == [{"x": 1}]
    assert ann.get("dataset/d/statistics/?version=1").json()["columns"][0]["max"] == 1
    for asked in ("7", "no", "²", "-1", "9" * 400):
        assert "version" in error(ann.get(f"dataset/d/?version={asked}"), 404)


def test_an_empty_dataset_is_a_dataset(ann: Person, om: Any) -> None:
    om.datasets.put(pd.DataFrame({"x": pd.Series([], dtype="int64"), "t": []}), "none")
    assert rows(ann.get("dataset/none/")) == []
    for format in (ARROW, CSV, PARQUET):
        assert list(_read(ann.get("dataset/none/", headers={"Accept": format}).content, format)) == ["x", "t"]
    assert ann.get("dataset/none/statistics/").json()["rows"] == 0
    answer = ann.call("PUT", "dataset/n2/", data="a,b\n", headers={"Content-Type": CSV})
    assert answer.status_code == 201 and answer.json()["rows"] == 0
    assert ann.call("PUT", "dataset/n3/", json={"data": []}).status_code == 201


# --- filters and pages


def test_values_of_filters_are_compared_as_the_column_holds_them(ann: Person, om: Any) -> None:
    frame = pd.DataFrame(
        {
            "n": [1, 2, 3],
            "t": ["1", "2", "x,y"],
            "d": pd.to_datetime(["2026-01-01", "2026-02-01", None]),
            "b": [True, False, True],
            "c": pd.Categorical(["a", "b", "a"]),
            "o": pd.Series([1, "1", None], dtype=object),
            "a.b": [1.0, np.nan, 3.0],
            "$where": [1, 2, 3],
            "limit": [9, 8, 7],
            "n__gte": [5, 6, 7],
        }
    )
    for name, format in (("columnar", "columnar"), ("rows", "rows")):
        om.datasets.put(frame, name, format=format)
        for query, found in {
            "n=2": [2],
            "n__gte=2": [6 - 4, 3],
            "n__in=1,3": [1, 3],
            "n__between=2,3": [2, 3],
            "t=2": [2],
            "t__in=x,y": [],
            "t__in=x%2Cy&t__in=1": [1, 3],
            "t__contains=,": [3],
            "d__gte=2026-01-15": [2],
            "d__isnull=true": [3],
            "b=true": [1, 3],
            "c=b": [2],
            "o=1": [1, 2],
            "a.b__gt=2": [3],
            "a.b__isnull=1": [2],
            "$where=2": [2],
            "limit__eq=8": [2],
            "n__gte__eq=7": [3],
            "n__ne=1&t__startswith=x": [3],
            "t__regex=^[0-9]$": [1, 2],
        }.items():
            got = ann.get(f"dataset/{name}/?{query}&columns=n")
            assert [row["n"] for row in rows(got)] == found, (name, query)


@pytest.mark.parametrize(
    "query",
    [
        "no=1", "x__gte=abc", "x__near=1", "x__$gt=1", "$where=1", "x[$gt]=1", "x.$gt=1", "__class__=1",
        "columns=no", "columns=x,no", "sort=no", "sort=-no", "limit=-1", "limit=ten", "limit=10001",
        "limit=1e3", "offset=-5", "offset=99999999999999999999", "orient=table", "x=1&x=2", "x__isnull=maybe",
        "city__regex=(", "x__between=1", "count=maybe&x=1", "x__in=", "%00=1", "x__gt=nan",
        "city__gt__lt=1", "x__contains=1", "x=%7B%22$gt%22:0%7D",
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_named(reader: Person, query: str) -> None:
    told = error(reader.get(f"dataset/cities/?{query}"), 400)
    key = requests.utils.unquote(query.split("=")[0]).split("__")[0].strip("\0") or "column"
    assert key.strip("$[]").split("[")[0].split(".")[0] in told, told
    if not any(word in query for word in ("orient", "count", "limit=10001")):  # of pages only
        assert error(reader.get(f"dataset/cities/?{query}", headers={"Accept": ARROW}), 400)


def test_pages_lead_from_one_to_the_next_and_back(reader: Person) -> None:
    first = reader.get("dataset/cities/?limit=2&sort=-x&x__lt=9").json()
    assert [row["x"] for row in first["data"]["rows"]] == [3, 2]
    assert first["meta"]["previous"] is None and first["meta"]["total_count"] is None
    second = reader.get(first["meta"]["next"].removeprefix("/api/v1/")).json()
    assert [row["x"] for row in second["data"]["rows"]] == [1] and second["meta"]["next"] is None
    back = reader.get(second["meta"]["previous"].removeprefix("/api/v1/")).json()
    assert back["data"] == first["data"]


# --- refused


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("", "empty"),
        ("{", "no JSON"),
        ("[1]", "data"),
        ('{"x": 1}', "data"),
        ('{"data": 5}', "data"),
        ('{"data": [1, 2]}', "row 0"),
        ('{"data": {"a": [1], "b": [1, 2]}}', "1 and 2"),
        ('{"data": {"a": {"0": 1}, "b": {"1": 1}}}', "'b'"),
        ('{"data": [{"a": "x"}], "dtypes": {"a": "int64"}}', "'a'"),
        ('{"data": [{"a": 1}], "dtypes": {"b": "int64"}}', "'b'"),
        ('{"data": [{"a": 1}], "dtypes": {"a": "U1000000000"}}', "U1000000000"),
        ('{"data": [{"a": 1}], "dtypes": 5}', "dtypes"),
        ('{"data": [{"a": 1}], "index": {"type": "RangeIndex", "values": [1, 2]}}', "index"),
        ('{"data": [{"a": 1}], "index": {"type": "DatetimeIndex", "values": ["x"]}}', "index"),
        ('{"data": [{"a": 1}], "index": "b"}', "'b'"),
        ('{"data": [{"a": 1}], "append": "maybe"}', "append"),
        ('{"data": ' + "[" * 100_000, "nested"),
        ('{"data": [{"a": ' + "9" * 5000 + "}]}", "digits"),
        (b'{"data": "\xff"}', "UTF-8"),
    ],
)
def test_a_json_body_that_cannot_be_stored_is_refused(reader: Person, body: Any, named: str) -> None:
    answer = reader.call("PUT", "dataset/d/", data=body, headers={"Content-Type": "application/json"})
    assert named in error(answer, 400)
    assert reader.get("dataset/d/").status_code == 404


@pytest.mark.parametrize(
    ("format", "body"),
    [
        (CSV, b"a,b\n1,2\n3\n"),
        (CSV, b"a,a\n1,2\n"),
        (CSV, b"a,b\n1,\xff\n"),
        (ARROW, b"nothing of the kind"),
        (PARQUET, b"PAR1 and more"),
        (PARQUET, b"a,b\n1,2\n"),
    ],
)
def test_a_bulk_body_that_cannot_be_read_changes_nothing(reader: Person, format: str, body: bytes) -> None:
    answer = reader.call("PUT", "dataset/cities/", data=body, headers={"Content-Type": format})
    assert error(answer, 400)
    assert rows(reader.get("dataset/cities/")) == ROWS


def test_arrow_bodies_whose_offsets_lead_elsewhere_are_refused(reader: Person) -> None:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, pa.schema([("t", pa.string())])) as writer:
        writer.write_batch(pa.RecordBatch.from_pydict({"t": ["abc", "defg"]}))
    offsets, wrong = (np.array(o, "int32").tobytes() for o in ([0, 3, 7], [0, 2**30, 2**30 + 7]))
    assert out.getvalue().count(offsets) == 1
    body = out.getvalue().replace(offsets, wrong)
    answer = reader.call("PUT", "dataset/cities/", data=body, headers={"Content-Type": ARROW})
    assert error(answer, 400)
    assert rows(reader.get("dataset/cities/")) == ROWS


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_compressed_arrow_is_taken_and_a_batch_that_unpacks_to_gigabytes_is_not(
    reader: Person, compression: str | None
) -> None:
    def packed(rows: int) -> bytes:
        out = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression=compression)
        words = pa.array(["a", "b"] * (rows // 2)).dictionary_encode()
        table = pa.table({"x": np.zeros(rows, "int64"), "w": words})
        with pa.ipc.new_stream(out, table.schema, options=options) as writer:
            writer.write_table(table)
        return out.getvalue()

    headers = {"Content-Type": ARROW}
    answer = reader.call("PUT", "dataset/packed/", data=packed(1000), headers=headers)
    assert answer.status_code in (200, 201) and answer.json()["rows"] == 1000, answer.text
    if compression:
        body = packed(40_000_000)
        assert len(body) < 10 << 20
        assert "unpacked" in error(reader.call("PUT", "dataset/packed/", data=body, headers=headers), 400)


def test_parquet_of_endless_equal_rows_is_refused(reader: Person) -> None:
    out = io.BytesIO()
    table = pa.table({"x": pa.array(np.zeros(10_000_000, "int64"))})
    with pq.ParquetWriter(out, table.schema) as writer:
        for _ in range(20):
            writer.write_table(table)
    assert out.tell() < 1 << 20
    answer = reader.call("PUT", "dataset/endless/", data=out.getvalue(), headers={"Content-Type": PARQUET})
    assert "unpacked" in error(answer, 413)
    assert reader.get("dataset/endless/").status_code == 404


def test_a_late_error_in_a_body_changes_nothing(reader: Person) -> None:
    body = "x\n" + "1\n" * 3_000_000 + "1,2\n"
    answer = reader.call("PUT", "dataset/cities/", data=body, headers={"Content-Type": CSV})
    assert error(answer, 400)
    assert rows(reader.get("dataset/cities/")) == ROWS


def test_a_body_that_is_too_large_is_refused(ann: Person) -> None:
    body = b'{"data": [' + b" " * (33 << 20) + b"]}"
    answer = ann.call("PUT", "dataset/d/", data=body, headers={"Content-Type": "application/json"})
    told = error(answer, 413)
    assert "CSV" in told and answer.json()["error"]["code"] == "TOO_LARGE"
    answer = ann.call("PUT", "dataset/d/", data=iter([body]), headers={"Content-Type": "application/json"})
    assert error(answer, 413)


def test_answers_that_are_json_say_so_whatever_is_accepted(cities: Person) -> None:
    for method, route, how in (
        ("GET", "dataset/", {}),
        ("PUT", "dataset/cities/", {"json": {"data": ROWS}}),
        ("GET", "dataset/none/", {}),
    ):
        answer = cities.call(method, route, headers={"Accept": CSV}, **how)
        assert answer.headers["Content-Type"] == "application/json" and answer.json()


def test_other_forms_are_refused(reader: Person) -> None:
    assert error(reader.call("PUT", "dataset/d/", data=b"x", headers={"Content-Type": "text/xml"}), 415)
    assert error(reader.get("dataset/cities/", headers={"Accept": "text/html"}), 406)
    assert "'xml'" in error(reader.get("dataset/cities/?format=xml"), 400)
    assert error(reader.call("POST", "dataset/cities/"), 405)
    assert "Qualifier" in error(reader.get("dataset/", headers={"Qualifier": "other"}), 400)
    assert reader.get("dataset/", headers={"Qualifier": "default"}).status_code == 200
    assert error(reader.get("dataset/", headers={"Bucket": "$x"}), 400)


@pytest.mark.parametrize("name", ["run", "a/statistics", "a/predict", "grant", "x/openapi.json"])
def test_names_that_end_in_a_verb_are_refused(reader: Person, name: str) -> None:
    before = reader.get("dataset/").json()["objects"]
    answer = reader.call("PUT", f"dataset/{name}/", json={"data": ROWS})
    assert answer.status_code in (400, 405), answer.text
    assert reader.get("dataset/").json()["objects"] == before


def test_a_stored_name_that_ends_in_a_verb_is_reached_by_a_parameter(ann: Person, om: Any) -> None:
    om.datasets.put(pd.DataFrame({"x": [1]}), "old")
    om.db["metadata"].update_one({"name": "old"}, {"$set": {"name": "a/statistics"}})
    listed = ann.get("dataset/").json()["objects"][0]
    assert listed["resource_uri"] == "/api/v1/dataset/?name=a%2Fstatistics"
    assert rows(ann.get("dataset/?name=a/statistics")) == [{"x": 1}]
    found = ann.get("dataset/statistics/?name=a/statistics").json()
    assert found["rows"] == 1
    assert found["resource_uri"] == "/api/v1/dataset/statistics/?name=a%2Fstatistics"
    assert ann.call("DELETE", "dataset/?name=a/statistics").status_code == 204
    assert ann.get("dataset/").json()["meta"]["total_count"] == 0


@pytest.mark.parametrize(
    "name",
    ["$where", "a.$gt", "%7B%22$ne%22:1%7D", "..", "a%00b", "_versions/x/1", "'%20OR%201=1", "%F0%9F%92%A9"],
)
def test_names_are_only_names(reader: Person, name: str) -> None:
    assert reader.get(f"dataset/?name={name}").status_code in (400, 404)
    assert reader.call("DELETE", f"dataset/?name={name}").status_code in (400, 404)
    assert rows(reader.get("dataset/cities/")) == ROWS


def test_keys_of_cells_and_columns_are_only_keys(ann: Person, om: Any) -> None:
    data = [{"$where": {"$gt": "", "a.b": [{"$set": 1}]}, "a.b": 1, "": 2}]
    assert ann.call("PUT", "dataset/d/", json={"data": data}).status_code == 201
    assert rows(ann.get("dataset/d/")) == data
    assert om.datasets.get("d").to_dict("records") == data


# --- who may


def test_a_viewer_reads_and_changes_nothing(web: WebPlatform) -> None:
    vic = web.person()
    assert vic.call("PUT", "dataset/d/", json={"data": ROWS}).status_code == 201
    web.python(f"User.objects.filter(username={vic.userid!r}).update(role='viewer')")
    assert rows(vic.get("dataset/d/")) == ROWS
    assert error(vic.call("PUT", "dataset/d/", json={"data": []}), 403)
    assert error(vic.call("DELETE", "dataset/d/"), 403)
    assert error(vic.call("DELETE", "dataset/?name=d"), 403)
    assert rows(vic.get("dataset/d/")) == ROWS


def test_the_dataset_of_another_is_not_there(cities: Person, bob: Person) -> None:
    assert error(bob.get("dataset/cities/"), 404)
    assert error(bob.get("dataset/cities/statistics/"), 404)
    assert error(bob.call("DELETE", "dataset/cities/"), 404)
    assert bob.get("dataset/").json()["objects"] == []
    assert bob.call("PUT", "dataset/cities/", json={"data": [{"a": 1}]}).status_code == 201
    assert rows(cities.get("dataset/cities/")) == ROWS


@pytest.mark.parametrize("route", ["dataset/", "dataset/cities/", "dataset/cities/statistics/"])
def test_who_is_not_known_gets_nothing(web: WebPlatform, reader: Person, route: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = requests.request(method, f"{web.url}/api/v1/{route}")
        assert error(answer, 401)


def test_a_dataset_is_deleted_once_and_that_is_noted(web: WebPlatform, cities: Person) -> None:
    assert cities.call("DELETE", "dataset/cities/").status_code == 204
    assert error(cities.call("DELETE", "dataset/cities/"), 404)
    assert error(cities.get("dataset/cities/"), 404)
    web.python(
        "from omegaweb.audit.models import Entry; "
        f"e = Entry.objects.get(action='dataset.deleted', userid={cities.userid!r}); "
        "assert e.object == 'dataset cities' and e.request_id"
    )


def test_buckets_are_apart(cities: Person) -> None:
    answer = cities.call("PUT", "dataset/cities/", json={"data": [{"a": 1}]}, headers={"Bucket": "other"})
    assert answer.status_code == 201
    assert rows(cities.get("dataset/cities/")) == ROWS
    assert rows(cities.get("dataset/cities/", headers={"Bucket": "other"})) == [{"a": 1}]


# --- lists


def test_lists_leave_out_hidden_datasets_and_come_in_pages(cities: Person, om: Any) -> None:
    for name in ("b", "a/x", ".hidden", "_temporary"):
        om.datasets.put(pd.DataFrame({"x": [1, 2]}), name)
    listed = cities.get("dataset/").json()
    assert [o["name"] for o in listed["objects"]] == ["a/x", "b", "cities"]
    first = listed["objects"][0]
    assert first["data"] == {"name": "a/x", "kind": "pandas.dfcolumnar"} and first["bytes"] > 0
    assert (first["rows"], first["columns"], first["resource_uri"]) == (2, 1, "/api/v1/dataset/a/x/")
    assert listed["meta"]["total_count"] == 3
    page = cities.get("dataset/?limit=2").json()
    assert page["meta"]["next"] == "/api/v1/dataset/?limit=2&offset=2"
    assert [o["name"] for o in cities.get("dataset/?limit=2&offset=2").json()["objects"]] == ["cities"]
    assert [o["name"] for o in cities.get("dataset/?sort=-rows&limit=1").json()["objects"]] == ["cities"]
    assert [o["name"] for o in cities.get("dataset/?search=A/").json()["objects"]] == ["a/x"]
    assert "sort" in error(cities.get("dataset/?sort=$where"), 400)
    assert "limit" in error(cities.get("dataset/?limit=501"), 400)


# --- statistics


def test_statistics_say_what_columns_hold(ann: Person, om: Any) -> None:
    rng = np.random.default_rng(1)
    n = 200_000
    frame = pd.DataFrame(
        {
            "n": rng.normal(5, 2, n),
            "few": rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]),
            "many": [f"id{i}" for i in range(n)],
            "t": pd.date_range("2026-01-01", periods=n, freq="min"),
            "gap": np.where(np.arange(n) % 4, np.arange(n) % 10, np.nan),
            "mixed": pd.Series([{"a": 1}, "x", 3, None] * (n // 4), dtype=object),
        }
    )
    om.datasets.put(frame, "d")
    om.datasets.put(frame.head(20_000), "r", format="rows")
    for name, expected in (("d", frame), ("r", frame.head(20_000))):
        body = ann.get(f"dataset/{name}/statistics/").json()
        assert body["rows"] == len(expected) and body["meta"]["total_count"] == 6
        found = {column["name"]: column for column in body["columns"]}
        number = found["n"]
        for key in ("min", "max", "mean", "std"):
            assert number[key] == pytest.approx(getattr(expected["n"], key)())
        counts, edges = np.histogram(expected["n"], 20)
        assert number["histogram"]["counts"] == counts.tolist()
        assert number["histogram"]["edges"] == pytest.approx(edges.tolist())
        assert not number["distinct_is_exact"]
        assert number["distinct"] == pytest.approx(len(expected), rel=0.1)
        assert found["few"]["top"][0] == {"value": "a", "count": int((expected["few"] == "a").sum())}
        assert found["few"]["distinct"] == 3 and found["few"]["distinct_is_exact"]
        assert found["few"]["top_is_exact"] and found["few"]["histogram"] is None
        assert found["many"]["min"] == "id0" and not found["many"]["top_is_exact"]
        assert found["t"]["max"] == expected["t"].max().isoformat()
        assert sum(found["t"]["histogram"]["counts"]) == len(expected)
        assert found["gap"]["nulls"] == int(expected["gap"].isna().sum())
        assert found["mixed"]["nulls"] == len(expected) // 4 and found["mixed"]["distinct"] == 3
    part = ann.get("dataset/d/statistics/?few=b&columns=n,few&limit=1&offset=1").json()
    assert part["rows"] == int((frame["few"] == "b").sum())
    assert [c["name"] for c in part["columns"]] == ["few"] and part["columns"][0]["distinct"] == 1


# --- more than one at once


def test_two_writers_at_once_lose_nothing(ann: Person, om: Any) -> None:
    def append(i: int) -> int:
        body = {"data": {"w": [i] * 500, "n": list(range(500))}, "append": True}
        return ann.call("PUT", "dataset/d/", json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(append, range(16))) <= {200, 201}
    found = om.datasets.get("d")
    assert found.groupby("w")["n"].sum().to_dict() == dict.fromkeys(range(16), 500 * 499 // 2)


def test_two_that_replace_at_once_leave_one_whole_dataset(ann: Person) -> None:
    def replace(i: int) -> int:
        return ann.call("PUT", "dataset/d/", json={"data": {"w": [i] * 500}}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(replace, range(12))) <= {200, 201}
    assert len({row["w"] for row in rows(ann.get("dataset/d/?limit=1000"))}) == 1


def test_an_append_that_is_sent_again_is_made_once(ann: Person, om: Any) -> None:
    body = {"data": ROWS, "append": True}

    def append(key: str) -> int:
        return ann.call("PUT", "dataset/d/", json=body, headers={"Idempotency-Key": key}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(append, ["k1", "k2"] * 6)) <= {200, 201}
    assert om.datasets.count("d") == 6
    assert append("k1") == 200 and om.datasets.count("d") == 6
    other = {"data": ROWS[:1], "append": True}
    told = error(ann.call("PUT", "dataset/d/", json=other, headers={"Idempotency-Key": "k1"}), 409)
    assert "k1" in told and om.datasets.count("d") == 6
    assert error(ann.call("PUT", "dataset/d/", json=body, headers={"Idempotency-Key": "a b"}), 400)


def test_a_connection_that_breaks_in_a_body_changes_nothing(web: WebPlatform, cities: Person) -> None:
    import socket

    head = (
        f"PUT /api/v1/dataset/cities/ HTTP/1.1\r\nHost: localhost:{web.port}\r\n"
        f"Authorization: {cities.userid}:{cities.key}\r\n"
        "Content-Type: text/csv\r\nContent-Length: 1000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", web.port)) as connection:
        connection.sendall(head.encode() + b"a,b\n1,2\n")
    threading.Event().wait(1)
    assert rows(cities.get("dataset/cities/")) == ROWS


def test_the_document_of_the_api_describes_datasets(cities: Person) -> None:
    answer = requests.get(
        f"{cities.web.url}/api/schema/?format=json",
        headers={"Authorization": f"{cities.userid}:{cities.key}"},
    )
    paths = json.loads(answer.content)["paths"]
    assert {"/api/v1/dataset/", "/api/v1/dataset/{name}/", "/api/v1/dataset/{name}/statistics/"} <= set(paths)
    assert "/api/v1/dataset/statistics/" not in paths
    put = paths["/api/v1/dataset/{name}/"]["put"]
    assert set(put["requestBody"]["content"]) == {"application/json", CSV, ARROW, PARQUET}
    assert {"200", "201", "204", "400", "409", "413", "422"} <= set(put["responses"])
