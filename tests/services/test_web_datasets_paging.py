"""Pages of datasets: by cursors that go on in the same data, at a cost that does not grow with the place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from omegaml.omega import Omega
from tests.services.web_platform import Person, WebPlatform

pytestmark = pytest.mark.once

ROWS = 400_000


@pytest.fixture(scope="module")
def pia(web: WebPlatform) -> Iterator[Person]:
    """Somebody with a dataset of several chunks in both formats, sorted by n and by nothing else."""
    person = web.person()
    with_url = person.settings["OMEGA_MONGO_URL"]
    om = Omega(mongo_url=with_url)
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"n": np.arange(ROWS), "x": rng.integers(0, 1000, ROWS), "f": rng.normal(size=ROWS)})
    frame.loc[rng.choice(ROWS, 50), "f"] = np.nan
    frame["text"] = rng.choice(["north", "south", "east"], ROWS)
    om.datasets.put(frame, "large")
    om.datasets.put(frame.head(3_000), "rows", format="rows")
    yield person
    om.close()


def follow(person: Person, route: str, most: int = 100) -> list[dict[str, Any]]:
    """All pages from `route` on, by their links alone."""
    pages: list[dict[str, Any]] = []
    while route and len(pages) < most:
        answer = person.get(route)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        route = (pages[-1]["meta"]["next"] or "").removeprefix("/api/v1/")
    return pages


def rows(pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for page in pages for row in page["data"]["rows"]]


def stored(person: Person, name: str = "large") -> pd.DataFrame:
    om = Omega(mongo_url=person.settings["OMEGA_MONGO_URL"])
    try:
        return om.datasets.get(name)
    finally:
        om.close()


@pytest.mark.parametrize("name", ["large", "rows"])
@pytest.mark.parametrize("sort", ["", "x", "-f,n", "text,-x"])
@pytest.mark.parametrize("among", ["", "x__lt=20&text=north"])
def test_following_the_links_shows_every_row_once_and_in_order(
    pia: Person, name: str, sort: str, among: str
) -> None:
    frame = stored(pia, name)
    if among:
        frame = frame[(frame["x"] < 20) & (frame["text"] == "north")]
    if sort:
        keys = sort.split(",")
        ways = [not key.startswith("-") for key in keys]
        frame = frame.sort_values([k.lstrip("-") for k in keys], ascending=ways, kind="stable")
    limit = max(1, min(len(frame), 3_000) // 4)
    query = "&".join(filter(None, [f"limit={limit}&columns=n", sort and f"sort={sort}", among]))
    pages = follow(pia, f"dataset/{name}/?{query}", most=4)
    found = [row["n"] for row in rows(pages)]
    assert found == frame["n"].head(len(found)).tolist() and len(found) == 4 * limit
    assert [page["meta"]["offset"] for page in pages] == [0, limit, 2 * limit, 3 * limit]
    assert pages[2]["index"]["values"] == frame.index[2 * limit : 3 * limit].tolist()
    before = pia.get(pages[2]["meta"]["previous"].removeprefix("/api/v1/")).json()
    assert rows([before]) == rows([pages[1]])


@pytest.mark.parametrize("how", [{}, {"format": "rows"}])
@pytest.mark.parametrize("sort", ["", "&sort=-x"])
def test_pages_go_on_in_the_same_data_while_rows_are_appended(ann: Person, how: dict, sort: str) -> None:
    om = Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"])
    om.datasets.put(pd.DataFrame({"x": [3, 1, 2, 5, 4]}), "d", **how)
    first = ann.get(f"dataset/d/?limit=2{sort}").json()
    om.datasets.put(pd.DataFrame({"x": [9, 8]}), "d", append=True)
    rest = follow(ann, first["meta"]["next"].removeprefix("/api/v1/"))
    want = [5, 4, 3, 2, 1] if sort else [3, 1, 2, 5, 4]
    assert [row["x"] for row in rows([first, *rest])] == want
    assert {page["meta"]["total_count"] for page in rest} == {5}
    assert ann.get("dataset/d/").json()["meta"]["total_count"] == 7
    for n in range(70):  # so many small appends become one
        om.datasets.put(pd.DataFrame({"x": [n]}), "d", append=True)
    rest = follow(ann, first["meta"]["next"].removeprefix("/api/v1/"))
    assert [row["x"] for row in rows([first, *rest])] == want
    om.close()


@pytest.mark.parametrize("how", [{}, {"format": "rows"}])
def test_pages_of_a_dataset_that_was_replaced_are_refused(ann: Person, how: dict) -> None:
    om = Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"])
    om.datasets.put(pd.DataFrame({"x": range(9)}), "d", **how)
    route = ann.get("dataset/d/?limit=2").json()["meta"]["next"].removeprefix("/api/v1/")
    om.datasets.put(pd.DataFrame({"x": range(9)}), "d", **how)
    answer = ann.get(route)
    assert answer.status_code == 409 and "'d' was replaced" in answer.json()["error"]["message"]
    om.datasets.drop("d")
    assert ann.get(route).status_code == 404
    om.close()


def test_a_kept_version_has_pages_of_its_own(ann: Person) -> None:
    om = Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"])
    om.datasets.put(pd.DataFrame({"x": range(5)}), "d", keep_versions=True)
    om.datasets.put(pd.DataFrame({"x": range(9)}), "d")
    pages = follow(ann, "dataset/d/?limit=2&version=1")
    assert [row["x"] for row in rows(pages)] == [0, 1, 2, 3, 4]
    om.close()


def test_a_cursor_is_no_other_query_s_and_not_of_our_making(pia: Person) -> None:
    link = pia.get("dataset/large/?limit=2&x__gte=5").json()["meta"]["next"].removeprefix("/api/v1/")
    assert pia.get(f"{link}&columns=n&orient=list").json()["data"].keys() == {"n"}
    for wrong, told in (
        (link.replace("x__gte=5", "x__gte=6"), "other filters"),
        (f"{link}&sort=n", "other filters"),
        (f"{link}&offset=3", "offset and cursor"),
        (link.replace("cursor=", "cursor=W"), "none of ours"),
        (link[:-3], "none of ours"),
        ("dataset/large/?cursor=", "none of ours"),
        ("dataset/large/?cursor=%00%F0%9F%A6%9D:a:b", "none of ours"),
    ):
        answer = pia.get(wrong)
        assert answer.status_code == 400 and told in answer.json()["error"]["message"], (wrong, answer.text)


def test_a_download_goes_on_where_a_page_ended(pia: Person) -> None:
    link = pia.get("dataset/large/?limit=5&sort=-n&columns=n").json()["meta"]["next"]
    query = link.split("?")[1].replace("limit=5", "limit=3")
    answer = pia.get(f"dataset/large/?{query}", headers={"Accept": "text/csv"})
    assert answer.text.split() == ['"n"', *(str(ROWS - n) for n in (6, 7, 8))]


def test_a_page_far_on_reads_no_more_than_the_first(web: WebPlatform, pia: Person) -> None:
    om = Omega(mongo_url=pia.settings["OMEGA_MONGO_URL"])
    admin: Any = __import__("pymongo").MongoClient(web.root_url)
    db = admin[om.db.name]
    om.close()

    def read(route: str) -> tuple[int, int]:
        """How many documents the server looks at, and the bytes that it sends."""
        db.command("profile", 2)
        assert pia.get(route).status_code == 200
        db.command("profile", 0)
        found = list(db["system.profile"].find({"op": {"$in": ["query", "command", "getmore"]}}))
        db.drop_collection("system.profile")
        chunks = [doc for doc in found if doc["ns"].endswith(".frames")]
        return sum(d.get("docsExamined", 0) for d in chunks), sum(d["responseLength"] for d in chunks)

    first = read("dataset/large/?limit=50")
    assert first[0] == 1
    for route in (
        f"dataset/large/?limit=50&offset={ROWS - 60_000}",
        deep_link(pia, f"limit=50&offset={ROWS - 60_100}"),
    ):
        documents, size = read(route)
        assert documents == 1 and size < 1.5 * first[1]
    first = read("dataset/large/?limit=50&x__lt=900")
    documents, size = read(deep_link(pia, f"limit=50&x__lt=900&offset={ROWS // 2}"))
    assert documents <= first[0] and size < 1.5 * first[1]
    # what matches as a whole is passed over by its statistics, which are looked at once more for the page
    assert read(f"dataset/large/?limit=50&n__gte=0&offset={ROWS - 50}")[0] <= 4
    admin.close()


def deep_link(person: Person, query: str) -> str:
    return person.get(f"dataset/large/?{query}").json()["meta"]["next"].removeprefix("/api/v1/")
