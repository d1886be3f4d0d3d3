"""`om.datasets["@bob/sales"]` and `om.runtime.model("@bob/m")`: what others share, in Python."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from omegaml import config
from omegaml.errors import AuthFailed, Forbidden, InvalidInput, NotFound, Unavailable
from omegaml.omega import Omega
from tests.services.web_platform import Person
from tests.services.web_runner import WebRunner, runner
from tests.unit.equality import assert_same

__all__ = ["runner"]
pytestmark = pytest.mark.once


def platform(person: Person, folder: Path, bucket: str | None = None) -> Omega:
    """The person's platform, as `omegacli init` sets it up."""
    account = {"OMEGA_USERID": person.userid, "OMEGA_APIKEY": person.key, "OMEGA_RESTAPI_URL": person.web.url}
    url = person.settings["OMEGA_MONGO_URL"]
    return Omega(config.load(folder / "config.yml", OMEGA_MONGO_URL=url, **account), bucket)


@pytest.fixture
def anns(ann: Person, tmp_path: Path) -> Iterator[Omega]:
    om = platform(ann, tmp_path)
    yield om
    om.close()


@pytest.fixture
def bobs(bob: Person, tmp_path: Path) -> Iterator[Omega]:
    om = platform(bob, tmp_path)
    yield om
    om.close()


def frame() -> pd.DataFrame:
    """A bit of everything that an Arrow table or JSON would change."""
    days = pd.date_range("2026-01-01", periods=6, freq="D", tz="Europe/Zurich", name="day")
    made = pd.DataFrame(
        {
            "int8": np.arange(6, dtype="int8"),
            "float": [0.5, np.nan, np.inf, -0.0, 1e300, 2],
            "nullable": pd.array([1, None, 3, 4, None, 6], dtype="Int16"),
            "flag": pd.array([True, None, False, True, None, True], dtype="boolean"),
            "text": ["a", None, "c", "ü", "", "f"],
            "kind": pd.Categorical(["x", "y", None, "x", "z", "y"], ["z", "y", "x"], ordered=True),
            "mixed": [1, "two", 3.0, None, [4], {"five": 5}],
            "when": pd.date_range("2026-01-01", periods=6, freq="h", tz="UTC"),
            "naive": pd.date_range("2026-01-01", periods=6, freq="s").as_unit("ms"),
            "span": pd.to_timedelta([1, 2, 3, 4, 5, None], unit="s"),
            "month": pd.period_range("2026-01", periods=6, freq="M"),
            "range": pd.interval_range(0, 6),
            "date": [dt.date(2026, 1, day) for day in range(1, 7)],
            7: range(6),
        },
        index=days,
    )
    made.attrs["source"] = "a test"
    return made


def multi() -> pd.DataFrame:
    levels = [["a", "b"], [1, 2, 3]]
    index = pd.MultiIndex.from_product(levels, names=["letter", None])
    return pd.DataFrame({("x", 1): range(6), ("x", 2): list("abcdef")}, index=index)


TABLES: dict[str, Callable[[], Any]] = {
    "everything": frame,
    "MultiIndex": multi,
    "no rows": lambda: frame().head(0),
    "no columns": lambda: pd.DataFrame(index=["a", "b"]),
    "a range": lambda: pd.DataFrame({"x": range(5)}, index=pd.RangeIndex(10, 20, 2, name="n")),
    "a series": lambda: pd.Series([1.5, 2.5], index=["a", "b"], name="s"),
    "many rows": lambda: pd.DataFrame({"x": np.arange(200_000), "t": ["a", "b"] * 100_000}),
    "Arrow": lambda: pa.table({"x": [1, None], "l": [[1, 2], []]}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_shared_table_comes_back_as_it_was_put(
    anns: Omega, bobs: Omega, ann: Person, bob: Person, kind: str
) -> None:
    put = TABLES[kind]()
    bobs.datasets.put(put, "t")
    bobs.datasets.grant("t", ann.userid)
    found = anns.datasets[f"@{bob.userid}/t"]
    if isinstance(put, pa.Table):
        assert found.equals(put)
    else:
        assert_same(found, put)
        assert_same(found, bobs.datasets["t"])


def test_filters_columns_and_limits_give_what_they_give_the_owner(
    anns: Omega, bobs: Omega, ann: Person, bob: Person
) -> None:
    bobs.datasets.put(frame(), "t")
    bobs.datasets.grant("t", ann.userid)
    name = f"@{bob.userid}/t"
    cases: list[dict[str, Any]] = [
        {"int8__gte": 2},
        {"int8__between": [1, 3], "text__isnull": False},
        {"kind__in": ["x", "z"]},
        {"kind__in": ["x"]},
        {"flag": True},
        {"when__lt": pd.Timestamp("2026-01-01 03:00", tz="UTC")},
        {"text": "ü"},
        {"text": "nothing"},
        {"text": None},
        {"columns": ["kind", "int8"]},
        {"columns": ["kind"], "int8__lt": 4},
        {"limit": 2},
    ]
    for case in cases:
        assert_same(anns.datasets.get(name, **case), bobs.datasets.get("t", **case))
    assert list(anns.datasets.get(f"{name}[kind,int8]").columns) == ["kind", "int8"]
    assert anns.datasets.get(name, columns=["int8"], as_="arrow").column_names[0] == "int8"
    for wrong in ({"absent__gt": 1}, {"columns": ["absent"]}, {"int8__almost": 1}):
        with pytest.raises(InvalidInput):
            anns.datasets.get(name, **wrong)


def test_rows_documents_and_files_are_read_too(anns: Omega, bobs: Omega, ann: Person, bob: Person) -> None:
    rows = pd.DataFrame({"x": range(3000), "t": ["a", None, "c"] * 1000})
    bobs.datasets.put(rows, "rows", format="rows")
    bobs.datasets.put(b"some bytes", "file")
    bobs.datasets.put({"a": (1, 2)}, "object")
    for name in ("rows", "file", "object"):
        bobs.datasets.grant(name, ann.userid)
    assert_same(anns.datasets[f"@{bob.userid}/rows"], bobs.datasets["rows"])
    found = anns.datasets.get(f"@{bob.userid}/rows", x__gte=2990)
    assert_same(found, bobs.datasets.get("rows", x__gte=2990))
    assert anns.datasets.get(f"@{bob.userid}/rows", x__gte=9999).empty
    assert anns.datasets[f"@{bob.userid}/file"] == b"some bytes"
    with pytest.raises(InvalidInput, match="neither a table nor a file"):
        anns.datasets[f"@{bob.userid}/object"]
    assert anns.datasets.metadata(f"@{bob.userid}/rows").rows == 3000
    assert anns.datasets.metadata(f"@{bob.userid}/file").kind == "python.file"


def test_who_may_write_appends_and_replaces_a_table(
    anns: Omega, bobs: Omega, ann: Person, bob: Person
) -> None:
    days = pd.date_range("2026-01-01", periods=4, tz="Europe/Zurich")
    put = pd.DataFrame(
        {"n": pd.array([1, None, 3, 4], "Int64"), "k": pd.Categorical(list("abab"))}, index=days
    )
    name = f"@{bob.userid}/t"
    bobs.datasets.put(put.head(2), "t")
    bobs.datasets.grant("t", ann.userid)
    with pytest.raises(Forbidden, match="to be read"):
        anns.datasets.put(put, name)
    bobs.datasets.grant("t", ann.userid, "write")
    assert anns.datasets.put(put.tail(2), name, append=True).rows == 4
    pd.testing.assert_frame_equal(bobs.datasets["t"], put, check_freq=False)
    anns.datasets.put(put.tail(1), name)
    pd.testing.assert_frame_equal(bobs.datasets["t"], put.tail(1), check_freq=False)
    for obj, how in (
        ({"a": 1}, {}),
        (put, {"format": "rows"}),
        (put, {"tag": "x"}),
        (put, {"replace": False}),
    ):
        with pytest.raises(InvalidInput):
            anns.datasets.put(obj, name, **how)


def test_grants_are_given_seen_and_taken_back_in_python(
    anns: Omega, bobs: Omega, ann: Person, bob: Person, tmp_path: Path
) -> None:
    bobs.datasets.put([1], "t")
    assert bobs.datasets.grant("t", ann.userid)["right"] == "read"
    assert [g["userid"] for g in bobs.datasets.grants("t")] == [ann.userid]
    assert [g["name"] for g in anns.datasets.shared()] == [f"@{bob.userid}/t"] and not anns.models.shared()
    assert anns.datasets.exists(f"@{bob.userid}/t")
    bobs.datasets.revoke("t", ann.userid)
    assert not anns.datasets.exists(f"@{bob.userid}/t")
    with pytest.raises(NotFound):
        anns.datasets[f"@{bob.userid}/t"]
    with pytest.raises(NotFound):
        bobs.datasets.revoke("t", ann.userid)
    with pytest.raises(NotFound):
        bobs.datasets.grant("absent", ann.userid)
    with pytest.raises(InvalidInput):
        bobs.datasets.grant("t", "nobody_of_that_name")


def test_a_name_means_itself_on_the_way(anns: Omega, bobs: Omega, ann: Person, bob: Person) -> None:
    """Clients take a path with .. in it for another path."""
    for name in ("salaries", "one", "two"):
        bobs.datasets.put(pd.DataFrame({"x": [name]}), name)
    bobs.models.put([1], "salaries")
    anns.datasets.put(pd.DataFrame({"x": ["ann's own"]}), "mine")
    odd = {"one": "x/../salaries", "two": "x/predict"}
    for name, new in odd.items():  # as they were put by earlier versions
        bobs.db["metadata"].update_one({"name": name, "prefix": "data/"}, {"$set": {"name": new}})
    for name, new in odd.items():
        assert bobs.datasets.get(new)["x"].tolist() == [name]
        assert bobs.datasets.grant(new, ann.userid, "write")["name"] == f"@{bob.userid}/{new}"
        assert anns.datasets[f"@{bob.userid}/{new}"]["x"].tolist() == [name]
        assert anns.datasets.metadata(f"@{bob.userid}/{new}").rows == 1
        assert bobs.datasets.grants("salaries") == []
        with pytest.raises(InvalidInput, match="cannot be the name"):
            anns.datasets.put(pd.DataFrame({"x": [1]}), f"@{bob.userid}/{new}")
        bobs.datasets.revoke(new, ann.userid)
    for trick in (f"@{bob.userid}/../mine", f"@{bob.userid}/x/../../mine", "@/../mine", "@a/./b", "@a//b"):
        with pytest.raises(InvalidInput):
            anns.datasets.put(pd.DataFrame({"x": ["gone"]}), trick)
        with pytest.raises(NotFound):
            anns.datasets.get(trick)
        with pytest.raises(InvalidInput):
            anns.runtime.model(trick).predict([[1]])
    for trick in (f"x/../{name}/" for name in ("salaries", "..")):
        with pytest.raises((InvalidInput, NotFound)):
            bobs.models.grant(trick, ann.userid)
    assert bobs.models.grants("salaries") == []
    assert anns.datasets["mine"]["x"].tolist() == ["ann's own"]


def test_what_is_in_a_shared_bucket_is_listed(bobs: Omega, ann: Person, bob: Person, tmp_path: Path) -> None:
    anns = platform(ann, tmp_path, "lab")
    bobs["lab"].datasets.put(frame(), "a/t")
    bobs["lab"].datasets.put(frame(), ".hidden")
    with pytest.raises(NotFound):
        anns.datasets.list(f"@{bob.userid}/*")
    bob.call("PUT", "bucket/lab/grant/", json={"userid": ann.userid})
    assert anns.datasets.list(f"@{bob.userid}/*") == [f"@{bob.userid}/a/t"]
    assert anns.datasets.list(f"@{bob.userid}/b*") == [] == anns.models.list(f"@{bob.userid}/*")
    assert anns.datasets.find(f"@{bob.userid}/a/*")[0].rows == 6
    assert_same(anns.datasets[f"@{bob.userid}/a/t"], frame())
    anns.close()


def test_without_an_account_the_next_step_is_named(ann: Person, tmp_path: Path) -> None:
    om = Omega(config.load(tmp_path / "none.yml", OMEGA_MONGO_URL=ann.settings["OMEGA_MONGO_URL"]))
    with pytest.raises(Unavailable, match="omegacli init"):
        om.datasets["@bob/sales"]
    with pytest.raises(Unavailable, match="omegacli init"):
        om.runtime.model("@bob/m").predict([[1]])
    om.close()
    ann.key = "wrong"
    url = {"OMEGA_RESTAPI_URL": ann.web.url, "OMEGA_USERID": ann.userid, "OMEGA_APIKEY": "wrong"}
    om = Omega(config.load(tmp_path / "none.yml", OMEGA_MONGO_URL=om.mongo_url, **url))
    with pytest.raises(AuthFailed):
        om.datasets["@bob/sales"]
    om.close()


@pytest.mark.parametrize(
    "what",
    [
        lambda om: om.datasets.getl("@bob/t"),
        lambda om: om.datasets.drop("@bob/t"),
        lambda om: om.datasets.copy("@bob/t", "mine"),
        lambda om: om.datasets.rename("t", "@bob/t"),
        lambda om: om.datasets.open("@bob/t"),
        lambda om: om.datasets.get("@bob/t", version=1),
        lambda om: om.models.get("@bob/t"),
        lambda om: om.models.put([1], "@bob/t"),
    ],
)
def test_what_is_not_shared_by_rest_is_refused_with_a_sentence(
    anns: Omega, what: Callable[[Omega], Any]
) -> None:
    with pytest.raises((InvalidInput, NotFound, Forbidden)):
        what(anns)


# --- models


class Looker:
    """Tells which databases its process can open: it looks at all objects that are alive."""

    def predict(self, x: Any) -> Any:
        import gc

        from omegaml.omega import Omega as Platform

        urls = {found.mongo_url for found in gc.get_objects() if isinstance(found, Platform)}
        return sorted({url.rsplit("/", 1)[1].partition("?")[0] for url in urls})


def test_a_shared_model_is_asked_as_an_own_one(
    runner: WebRunner, anns: Omega, bobs: Omega, ann: Person, bob: Person
) -> None:
    x = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [1.0, 0.0, 1.0]})
    line = LinearRegression().fit(x, [1.0, 2.0, 3.0])
    sorter = LogisticRegression().fit(x, ["no", "no", "yes"])
    bobs.models.put(line, "line")
    bobs.models.put(sorter, "sorter")
    for name in ("line", "sorter"):
        bobs.models.grant(name, ann.userid)
    model = anns.runtime.model(f"@{bob.userid}/line")
    np.testing.assert_allclose(model.predict(x), line.predict(x))
    np.testing.assert_allclose(model.predict(x[["b", "a"]]), line.predict(x))  # by name, in any order
    np.testing.assert_allclose(model.predict(x.to_numpy()), line.predict(x))
    assert model.score(x, [1.0, 2.0, 3.0]) == pytest.approx(line.score(x, [1.0, 2.0, 3.0]))
    other = anns.runtime.model(f"@{bob.userid}/sorter")
    assert other.predict(x).tolist() == sorter.predict(x).tolist()
    np.testing.assert_allclose(other.predict_proba(x), sorter.predict_proba(x))
    big = pd.DataFrame({"a": np.arange(50_000.0), "b": 1.0})
    np.testing.assert_allclose(model.predict(big), line.predict(big))
    for om in (anns, bobs):  # nothing is left behind
        assert [n for n in om.datasets.list(hidden=True) if n.startswith(".temp")] == []
    with pytest.raises(InvalidInput, match="misses"):
        model.predict(x[["a"]])
    anns.datasets.put(x.assign(y=[1.0, 2.0, 3.0]), "mine")
    np.testing.assert_allclose(model.predict("mine[a,b]"), line.predict(x))
    assert model.score("mine[a,b]", "mine[y]") == pytest.approx(line.score(x, [1.0, 2.0, 3.0]))
    for how in ({"result": "r"}, {"async_": True}, {"return_std": True}):
        with pytest.raises(InvalidInput, match="does not travel"):
            model.predict(x, **how)
    with pytest.raises(InvalidInput, match="only its owner"):
        model.fit(x, [1, 2, 3])
    bobs.models.revoke("line", ann.userid)
    with pytest.raises(NotFound):
        model.predict(x)


def test_a_model_of_another_runs_with_its_owners_login_and_no_other(
    runner: WebRunner, anns: Omega, bobs: Omega, ann: Person, bob: Person
) -> None:
    bobs.models.put(Looker(), "looker")
    bobs.models.grant("looker", ann.userid)
    seen = anns.runtime.model(f"@{bob.userid}/looker").predict([[1]])
    assert seen.tolist() == [f"omega_{bob.userid}"]


def test_rest_refuses_what_would_mix_two_accounts_in_one_task(
    runner: WebRunner, anns: Omega, bobs: Omega, ann: Person, bob: Person
) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    for om in (anns, bobs):
        om.datasets.put(frame, "t")
        om.models.put(LinearRegression().fit(frame, [1, 2]), "m")
    bobs.datasets.grant("t", ann.userid, "write")
    bobs.models.grant("m", ann.userid)
    with pytest.raises(InvalidInput, match="not shared to 'write'"):
        bobs.models.grant("m", ann.userid, "write")
    model, data = f"@{bob.userid}/m", f"@{bob.userid}/t"
    body = {"columns": ["x"], "data": [[1.0]]}
    cases: list[tuple[str, str, Any, int]] = [
        ("POST", f"model/m/predict/?datax={data}", None, 400),
        ("POST", f"model/m/fit/?datax={data}&datay={data}", None, 400),
        ("GET", f"model/m/predict/?datax={data}", None, 400),
        ("POST", f"model/m/score/?datay={data}", body, 400),
        ("POST", f"model/{model}/predict/?datax=t", None, 400),  # whose t would that be?
        ("POST", f"model/{model}/predict/?datax={data}", None, 400),
        ("POST", f"model/{model}/predict/?async=1", body, 400),
        ("POST", f"model/{model}/fit/", {**body, "y": [1.0]}, 403),
        ("POST", f"model/{model}/partial_fit/", {**body, "y": [1.0]}, 403),
        ("PUT", f"model/{model}/", b"code", 403),
        ("DELETE", f"model/{model}/", None, 403),
        ("GET", f"model/{model}/versions/", None, 403),
        ("POST", f"model/{model}@1/predict/", body, 400),
        ("POST", f"model/{model}/predict/", body, 200),
        ("GET", f"model/{model}/", None, 200),
        ("GET", f"model/{model}/openapi.json", None, 200),
    ]
    for method, route, sent, status in cases:
        how = (
            {"data": sent, "headers": {"Content-Type": "application/octet-stream"}}
            if isinstance(sent, bytes)
            else {"json": sent}
        )
        answer = ann.call(method, route, **how)
        assert answer.status_code == status, f"{method} {route}: {answer.text}"
    tricks: list[Any] = [{"$value": "dataset", "name": "t"}, [[{"$value": "dataset", "name": "t"}]]]
    for trick in tricks:  # a name of bob's data in the place of values
        answer = ann.call("POST", f"model/{model}/predict/", json={"data": trick})
        assert answer.status_code in (400, 422), answer.text
    assert len(bobs.models.versions("m")) == 1


def test_a_shared_model_is_not_shared_as_a_file(anns: Omega, bobs: Omega, ann: Person, bob: Person) -> None:
    bobs.models.put({"secret": dt.date(2026, 1, 1)}, "m")
    bobs.models.grant("m", ann.userid)
    assert ann.get(f"dataset/@{bob.userid}/m/").status_code == 404
    told = ann.get(f"model/@{bob.userid}/m/").json()
    assert told["name"] == f"@{bob.userid}/m" and "secret" not in str(told)
