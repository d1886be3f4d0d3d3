"""What somebody shares is reached by whom it is shared with, as far as was said, and by nobody else."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import requests
from pymongo import MongoClient

from omegaml.metadata import COLLECTION
from omegaml.omega import Omega
from tests.services.web_platform import Person, WebPlatform

pytestmark = [pytest.mark.once, pytest.mark.mariadb]
WORD = "only-bob-may-see-this"
ARROW = "application/vnd.apache.arrow.stream"
ROWS = {"data": [{"x": 7, "word": "new"}]}


@pytest.fixture
def stored(bob: Person) -> Iterator[Omega]:
    """bob's platform: a dataset in the default bucket and in two others, hidden ones, and a model."""
    with filled(bob) as om:
        yield om


@pytest.fixture(scope="module")
def eve(web: WebPlatform) -> Person:
    """Somebody with whom nothing is shared."""
    return web.person()


@pytest.fixture(scope="module")
def rob(web: WebPlatform) -> Iterator[Person]:
    """An owner of the same as bob, for tests that change nothing of it."""
    rob = web.person()
    with filled(rob):
        yield rob


@contextmanager
def filled(owner: Person) -> Iterator[Omega]:
    om = Omega(mongo_url=owner.settings["OMEGA_MONGO_URL"])
    frame = pd.DataFrame({"x": [1, 2, 3], "word": [WORD, WORD, "end"]})
    for place in (om, om["lab"], om["private"]):
        for name in ("sales", "other", ".temp/x", "_kept"):
            place.datasets.put(frame, name)
    om.models.put({"word": WORD}, "m")
    yield om
    om.close()


def share(
    owner: Person, other: Person, what: str = "dataset/sales", right: str = "read", **how: Any
) -> requests.Response:
    return owner.call("PUT", f"{what}/grant/", json={"userid": other.userid, "right": right}, **how)


def entries(web: WebPlatform, userid: str, action: str) -> int:
    """How many such entries the audit log has of the account."""
    which = f"userid={userid!r}, action={action!r}"
    code = f"from omegaweb.audit.models import Entry; print(Entry.objects.filter({which}).count())"
    return int(web.manage("shell", "-v", "0", "-c", code).stdout)


# --- granting


def test_an_owner_grants_lists_and_revokes(web: WebPlatform, ann: Person, bob: Person, stored: Omega) -> None:
    first = share(bob, ann)
    assert first.status_code == 201, first.text
    made = first.json()
    assert (made["owner"], made["userid"], made["right"]) == (bob.userid, ann.userid, "read")
    assert made["name"] == f"@{bob.userid}/sales" and made["kind"] == "dataset"
    assert share(bob, ann).status_code == 200  # once more changes nothing
    assert share(bob, ann, right="write").json()["right"] == "write"
    assert [g["right"] for g in bob.get("dataset/sales/grant/").json()["objects"]] == ["write"]
    assert [g["name"] for g in ann.get("grant/").json()["objects"]] == [f"@{bob.userid}/sales"]
    assert [g["userid"] for g in bob.get("grant/?given=1").json()["objects"]] == [ann.userid]
    assert bob.get("grant/").json()["objects"] == [] == ann.get("grant/?given=1").json()["objects"]
    assert bob.call("DELETE", f"dataset/sales/grant/?userid={ann.userid}").status_code == 204
    assert bob.call("DELETE", f"dataset/sales/grant/?userid={ann.userid}").status_code == 404
    assert ann.get("grant/").json()["meta"]["total_count"] == 0
    assert entries(web, bob.userid, "grant.made") == 3 and entries(web, bob.userid, "grant.revoked") == 1


def test_what_is_shared_is_read_in_every_format(ann: Person, bob: Person, stored: Omega) -> None:
    share(bob, ann)
    route = f"dataset/@{bob.userid}/sales/"
    page = ann.get(f"{route}?x__gte=2&columns=x").json()
    assert [row["x"] for row in page["data"]["rows"]] == [2, 3]
    assert page["name"] == f"@{bob.userid}/sales"
    assert ann.get(page["resource_uri"].removeprefix("/api/v1/")).status_code == 200
    first = ann.get(f"{route}?limit=2").json()
    after = ann.get(first["meta"]["next"].removeprefix("/api/v1/")).json()
    assert [row["x"] for row in after["data"]["rows"]] == [3]
    assert "end" in ann.get(route, headers={"Accept": "text/csv"}).text
    stream = ann.get(f"{route}?x__lt=3", headers={"Accept": ARROW}).content
    assert pa.ipc.open_stream(stream).read_all().column("x").to_pylist() == [1, 2]
    parquet = ann.get(route, headers={"Accept": "application/vnd.apache.parquet"}).content
    assert len(pd.read_parquet(io.BytesIO(parquet))) == 3
    assert ann.get(f"{route}statistics/").json()["rows"] == 3
    assert ann.get(f"dataset/?name=@{bob.userid}/sales").json()["name"] == f"@{bob.userid}/sales"


def test_who_may_write_replaces_and_appends_and_cannot_delete(
    web: WebPlatform, ann: Person, bob: Person, stored: Omega
) -> None:
    share(bob, ann, right="write")
    route = f"dataset/@{bob.userid}/sales/"
    added = ann.call("PUT", f"{route}?append=1", json=ROWS)
    assert added.status_code == 200 and added.json()["name"] == f"@{bob.userid}/sales", added.text
    assert stored.datasets.get("sales")["x"].tolist() == [1, 2, 3, 7]
    assert ann.call("PUT", route, json=ROWS).status_code == 200
    assert stored.datasets.get("sales")["x"].tolist() == [7]  # replaced, and still shared
    assert ann.get(route).status_code == 200
    assert ann.call("DELETE", route).status_code == 403
    assert stored.datasets.exists("sales") and not ann.get("dataset/").json()["objects"]
    assert entries(web, ann.userid, "shared.written") == 2


def test_a_bucket_is_shared_as_what_it_holds_now_and_later(ann: Person, bob: Person, stored: Omega) -> None:
    assert share(bob, ann, "bucket/lab", "write").status_code == 201
    lab = {"Bucket": "lab"}
    route = f"dataset/@{bob.userid}/"
    assert ann.get(f"{route}sales/", headers=lab).status_code == 200
    assert ann.call("PUT", f"{route}made/", json=ROWS, headers=lab).status_code == 201
    assert stored["lab"].datasets.get("made")["x"].tolist() == [7]
    for name in (".temp/x", "_kept", ".new", "_versions/a/1"):  # hidden
        assert ann.get(f"{route}{name}/", headers=lab).status_code == 404
        assert ann.call("PUT", f"{route}{name}/", json=ROWS, headers=lab).status_code == 404
    for elsewhere in ({}, {"Bucket": "private"}, {"Bucket": "LAB"}):
        assert ann.get(f"{route}sales/", headers=elsewhere).status_code == 404
    assert ann.call("DELETE", f"{route}sales/", headers=lab).status_code == 403
    listed = ann.get(f"dataset/?of={bob.userid}", headers=lab).json()["objects"]
    assert [o["name"] for o in listed] == [f"@{bob.userid}/{name}" for name in ("made", "other", "sales")]
    assert ann.get(listed[0]["resource_uri"].removeprefix("/api/v1/"), headers=lab).status_code == 200
    for who in (bob.userid, "no_such_account", bob.userid.upper(), "@", '{"$ne":""}', f"{bob.userid}/"):
        for noun in ("dataset", "model"):
            answer = ann.get(f"{noun}/", params={"of": who})
            assert answer.status_code == 404 and WORD not in answer.text


# --- what opens nothing


def _refused(person: Person, route: str, method: str = "GET", **how: Any) -> None:
    answer = person.call(method, route, **how)
    assert answer.status_code == 404, answer.text
    assert WORD not in answer.text
    assert answer.json()["error"]["message"].endswith("is shared with you"), answer.text


WITHOUT = [
    "@{bob}/sales",
    "@{bob}/nothing",
    "@nobody_of_that_name/sales",
    "@{bob}/../sales",
    "@../{bob}/sales",
    "@@{bob}/sales",
    "@{BOB}/sales",
    "@{bob}",
    "@{bob}/",
    "@/sales",
    "@",
    "@{bob}/sales@1",
    "@{bob}/sales^",
    "@{bob}/sales[x]",
    "@{bob}/[",
    "@{bob}/.temp/x",
    "@{bob}/_kept",
    "@{bob}/_versions/1/1",
    "@{bob}/omega_{bob}.sales",
    "@{bob} /sales",
    "@{bob}\x00/sales",
    "@{bob}' OR '1'='1/sales",
    '@{"$ne": null}/sales',
    "@omega_{bob}/sales",
    "@%/sales",
]


@pytest.mark.parametrize("name", WITHOUT)
def test_without_a_grant_nothing_tells_what_there_is(eve: Person, rob: Person, name: str) -> None:
    name = name.replace("{bob}", rob.userid).replace("{BOB}", rob.userid.upper())
    for noun in ("dataset", "model"):
        for method in ("GET", "DELETE"):
            answer = eve.call(method, f"{noun}/", params={"name": name})
            assert answer.status_code == 404 and WORD not in answer.text, answer.text
            assert answer.json()["error"]["message"] == f"no {noun} {name!r} is shared with you"


def test_the_answer_is_the_same_for_no_object_no_account_and_no_grant(
    ann: Person, bob: Person, stored: Omega
) -> None:
    def told(name: str, method: str, route: str, **how: Any) -> Any:
        answer = ann.call(method, route.format(name=name), **how)
        error = answer.json()["error"]
        return answer.status_code, error["code"], error["message"].replace(name, "?"), error["hint"]

    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "dataset/{name}/", {}),
        ("GET", "dataset/{name}/statistics/", {}),
        ("PUT", "dataset/{name}/", {"json": ROWS}),
        ("PUT", "dataset/{name}/?append=1", {"json": ROWS}),
        ("GET", "dataset/{name}/grant/", {}),
        ("PUT", "dataset/{name}/grant/", {"json": {"userid": ann.userid}}),
        ("GET", "model/{name}/", {}),
        ("GET", "model/{name}/versions/", {}),
        ("GET", "model/{name}/openapi.json", {}),
        ("PUT", "model/{name}/", {"data": b"x", "headers": {"Content-Type": "application/octet-stream"}}),
        ("POST", "model/{name}/predict/", {"json": {"data": [[1]]}}),
        ("POST", "model/{name}/predict/?datax=x", {}),
        ("POST", "model/{name}/predict/?async=1", {"json": {"data": [[1]]}}),
        ("POST", "model/{name}/fit/", {"json": {"data": [[1]]}}),
    ]
    for method, route, how in calls:
        names = (f"@{bob.userid}/sales", f"@{bob.userid}/absent", "@no_such_account/sales")
        answers = {told(name, method, route, **how) for name in names}
        assert len(answers) == 1 and answers.pop()[0] == 404, (method, route)


def test_a_right_to_read_is_none_to_write(ann: Person, bob: Person, stored: Omega) -> None:
    share(bob, ann)
    before = stored.datasets.get("sales")
    route = f"dataset/@{bob.userid}/sales/"
    for method, rest in (("PUT", ""), ("PUT", "?append=1"), ("DELETE", ""), ("PUT", "?append=true")):
        answer = ann.call(method, route + rest, json=ROWS)
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "FORBIDDEN", answer.text
    assert stored.datasets.get("sales").equals(before)


def test_a_grant_opens_its_object_and_no_other(ann: Person, bob: Person, stored: Omega) -> None:
    share(bob, ann)
    for name in ("other", "Sales", "SALES", "sales ", "sal", ".temp/x", "_kept"):
        _refused(ann, f"dataset/?name=@{bob.userid}/{name}")
    for bucket in ("lab", "private"):
        _refused(ann, f"dataset/@{bob.userid}/sales/", headers={"Bucket": bucket})
    _refused(ann, f"model/@{bob.userid}/sales/")
    _refused(ann, f"model/@{bob.userid}/m/")


def test_what_was_revoked_is_closed_at_once(ann: Person, bob: Person, stored: Omega) -> None:
    share(bob, ann, right="write")
    assert ann.get(f"dataset/@{bob.userid}/sales/").status_code == 200
    assert bob.call("DELETE", f"dataset/sales/grant/?userid={ann.userid}").status_code == 204
    _refused(ann, f"dataset/@{bob.userid}/sales/")
    _refused(ann, f"dataset/@{bob.userid}/sales/", "PUT", json=ROWS)


def _by_rest(bob: Person, om: Omega) -> None:
    assert bob.call("DELETE", "dataset/sales/").status_code == 204


def _by_library(bob: Person, om: Omega) -> None:
    om.datasets.drop("sales")


def _by_mongodb(bob: Person, om: Omega) -> None:
    client: MongoClient = MongoClient(bob.settings["OMEGA_MONGO_URL"])
    client[f"omega_{bob.userid}"][COLLECTION].delete_one({"name": "sales", "bucket": "omegaml"})
    client.close()


def _by_another_name(bob: Person, om: Omega) -> None:
    om.datasets.rename("sales", "renamed")


def _by_page(bob: Person, om: Omega) -> None:
    assert bob.submit("/delete/dataset/sales/", typed="sales").status_code == 200


@pytest.mark.parametrize("drop", [_by_rest, _by_page, _by_library, _by_mongodb, _by_another_name])
def test_a_grant_does_not_open_what_is_put_under_the_name_of_a_dropped_object(
    ann: Person, bob: Person, stored: Omega, drop: Callable[[Person, Omega], None]
) -> None:
    share(bob, ann, right="write")
    drop(bob, stored)
    _refused(ann, f"dataset/@{bob.userid}/sales/")
    _refused(ann, f"dataset/@{bob.userid}/renamed/")
    _refused(ann, f"dataset/@{bob.userid}/sales/", "PUT", json=ROWS)  # nor is it made anew
    stored.datasets.put(pd.DataFrame({"word": [WORD]}), "sales")
    _refused(ann, f"dataset/@{bob.userid}/sales/")
    assert bob.get("dataset/sales/grant/").json()["objects"] == []
    share(bob, ann)
    assert ann.get(f"dataset/@{bob.userid}/sales/").status_code == 200


def test_versions_stay_their_owners(ann: Person, bob: Person, stored: Omega) -> None:
    stored.datasets.put(pd.DataFrame({"word": [WORD]}), "sales", keep_versions=True)
    stored.datasets.put(pd.DataFrame({"word": ["public"]}), "sales")
    share(bob, ann)
    share(bob, ann, "model/m")
    name = f"@{bob.userid}/sales"
    assert ann.get(f"dataset/{name}/").json()["data"]["rows"] == [{"word": "public"}]
    for route in (
        f"dataset/{name}@1/",
        f"dataset/{name}^/",
        f"dataset/{name}/?version=1",
        f"dataset/{name}@latest/",
    ):
        answer = ann.get(route)
        assert answer.status_code == 400 and WORD not in answer.text, answer.text
    assert ann.get(f"model/@{bob.userid}/m/versions/").status_code == 403
    assert bob.call("PUT", "dataset/sales@1/grant/", json={"userid": ann.userid}).status_code == 400


def test_who_was_let_in_lets_in_nobody_else(
    web: WebPlatform, ann: Person, bob: Person, stored: Omega
) -> None:
    share(bob, ann, right="write")
    eve = web.person()
    route = f"dataset/@{bob.userid}/sales/grant/"
    assert ann.call("PUT", route, json={"userid": eve.userid}).status_code == 403
    assert ann.call("PUT", route, json={"userid": ann.userid, "right": "write"}).status_code == 403
    assert ann.get(route).status_code == 403  # nor learns who else is
    assert ann.call("DELETE", f"{route}?userid={ann.userid}").status_code == 403
    _refused(eve, f"dataset/@{bob.userid}/sales/")
    _refused(eve, f"dataset/@{ann.userid}/@{bob.userid}/sales/")


def test_an_administrator_is_let_in_by_a_grant_and_not_by_the_role(
    boss: Person, bob: Person, stored: Omega
) -> None:
    _refused(boss, f"dataset/@{bob.userid}/sales/")
    assert (
        boss.call("PUT", f"dataset/@{bob.userid}/sales/grant/", json={"userid": boss.userid}).status_code
        == 404
    )
    assert boss.get(f"grant/?user={bob.userid}").json()["objects"] == []
    share(bob, boss)
    assert boss.get(f"dataset/@{bob.userid}/sales/").status_code == 200


def test_a_viewer_reads_what_is_shared_and_neither_writes_nor_shares(
    web: WebPlatform, bob: Person, stored: Omega
) -> None:
    viewer = web.person(role="viewer")
    share(bob, viewer, right="write")
    route = f"dataset/@{bob.userid}/sales/"
    assert viewer.get(route).status_code == 200
    assert viewer.call("PUT", route, json=ROWS).status_code == 403
    web.python(f"User.objects.filter(username={bob.userid!r}).update(role='viewer')")
    assert share(bob, viewer, "dataset/other").status_code == 403


def test_a_key_that_has_ended_opens_nothing_shared(
    web: WebPlatform, ann: Person, bob: Person, stored: Omega
) -> None:
    share(bob, ann)
    web.python(
        "from django.utils import timezone;"
        f"ApiKey.objects.filter(user__username={ann.userid!r}).update(expires=timezone.now())"
    )
    assert ann.get(f"dataset/@{bob.userid}/sales/").status_code == 401


def test_what_a_disabled_account_shares_is_closed_until_it_is_enabled(
    boss: Person, ann: Person, bob: Person, stored: Omega
) -> None:
    share(bob, ann)
    share(ann, bob, "dataset/none")
    assert boss.call("PATCH", f"user/{bob.userid}/", json={"enabled": False}).status_code == 200
    _refused(ann, f"dataset/@{bob.userid}/sales/")
    assert ann.get("grant/").json()["objects"] == []
    assert ann.call("PUT", "dataset/mine/", json=ROWS).status_code == 201
    assert share(ann, bob, "dataset/mine").status_code == 400  # as if there was no such account
    assert boss.call("PATCH", f"user/{bob.userid}/", json={"enabled": True}).status_code == 200
    assert ann.get(f"dataset/@{bob.userid}/sales/").status_code == 200


def test_grants_go_with_the_account_of_either_side(
    web: WebPlatform, boss: Person, ann: Person, bob: Person, stored: Omega
) -> None:
    eve = web.person()
    share(bob, ann)
    share(bob, eve)
    assert boss.call("DELETE", f"user/{eve.userid}/").status_code == 204
    assert [g["userid"] for g in bob.get("dataset/sales/grant/").json()["objects"]] == [ann.userid]
    assert boss.call("DELETE", f"user/{bob.userid}/").status_code == 204
    _refused(ann, f"dataset/@{bob.userid}/sales/")
    assert ann.get("grant/").json()["objects"] == []


@pytest.mark.parametrize(
    "userid", ["no_such_one", "", "NOT_ME", "runner", "a'b", "@ann", "x" * 31, " nobody", "\x00", "\ud800"]
)
def test_nothing_is_shared_with_who_is_not_there(rob: Person, userid: str) -> None:
    answer = rob.call("PUT", "dataset/sales/grant/", json={"userid": userid})
    assert answer.status_code == 400, answer.text
    assert rob.get("dataset/sales/grant/").json()["objects"] == []


def test_a_wrong_userid_is_written_down_and_own_objects_are_not_shared_with_oneself(
    web: WebPlatform, bob: Person, stored: Omega
) -> None:
    assert share(bob, bob).status_code == 400
    assert bob.call("PUT", "dataset/sales/grant/", json={"userid": "nobody_at_all"}).status_code == 400
    assert entries(web, bob.userid, "grant.refused") == 2


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [
        ("dataset/absent/grant/", {}, 404),
        ("model/absent/grant/", {}, 404),
        ("bucket/absent/grant/", {}, 404),
        ("bucket/a.b/grant/", {}, 400),
        ("bucket/@x/grant/", {}, 400),
        ("dataset/.temp/x/grant/", {}, 400),
        ("dataset/_kept/grant/", {}, 400),
        ("dataset/sales[x]/grant/", {}, 400),
        ("dataset/sales/grant/", {"right": "admin"}, 400),
        ("dataset/sales/grant/", {"right": None}, 400),
        ("dataset/sales/grant/", {"userid": ["a"]}, 400),
        ("dataset/sales/grant/", {"userid": {"$ne": ""}}, 400),
        ("dataset/grant/?name=sales", {}, 201),
    ],
)
def test_only_what_is_there_is_shared_and_only_as_a_whole(
    eve: Person, rob: Person, route: str, body: dict[str, Any], status: int
) -> None:
    answer = rob.call("PUT", route, json={"userid": eve.userid, **body})
    assert answer.status_code == status, answer.text
    rob.call("DELETE", f"dataset/sales/grant/?userid={eve.userid}")


def test_guessing_of_names_ends_after_some_in_a_minute(web: WebPlatform, bob: Person, stored: Omega) -> None:
    eve = web.person()
    statuses = [eve.get(f"dataset/@guess_{n}/sales/").status_code for n in range(260)]
    assert set(statuses) == {404, 429}
    assert entries(web, eve.userid, "shared.refused") >= 100


# --- pages


def test_an_administrator_takes_a_grant_back(
    web: WebPlatform, boss: Person, ann: Person, bob: Person, stored: Omega
) -> None:
    share(bob, ann)
    listed = boss.page(f"/admin/sharing/grant/?q={bob.userid}").text
    where = re.search(r"/admin/sharing/grant/\d+/", listed)
    assert where and ann.page("/admin/sharing/grant/").status_code in (302, 403)
    boss.submit(f"{where[0]}delete/", post="yes")
    _refused(ann, f"dataset/@{bob.userid}/sales/")
    assert entries(web, boss.userid, "grant.revoked") == 1


def test_an_owner_shares_and_takes_back_on_the_pages(ann: Person, bob: Person, stored: Omega) -> None:
    for noun, name in (("dataset", "sales"), ("model", "m")):
        page, share_it = f"/{noun}/{name}/", f"/share/{noun}/{name}/"
        assert "Nobody but you" in bob.page(page).text
        given = bob.submit(page, share_it, userid=ann.userid, right="read")
        assert f"{ann.userid} may read" in given.text and given.url.endswith("#shared")
        assert f"@{bob.userid}/{name}" in ann.page(f"/{noun}s/").text
        assert "Shared with you" not in bob.page(f"/{noun}s/").text
        taken = bob.submit(page, share_it, revoke=ann.userid)
        assert "Nobody but you" in taken.text
        assert "Shared with you" not in ann.page(f"/{noun}s/").text
    assert (
        "Nothing is shared" in bob.submit("/dataset/sales/", "/share/dataset/sales/", userid="nobody_x").text
    )
    bob.submit("/dataset/sales/", "/share/dataset/sales/?bucket=lab", userid=ann.userid, right="write")
    found = ann.get("grant/").json()["objects"]
    assert [(grant["bucket"], grant["right"]) for grant in found] == [("lab", "write")]
    shown = ann.page("/datasets/").text
    assert "in bucket lab" in shown and WORD not in shown


def test_who_holds_a_grant_gives_it_up(web: WebPlatform, ann: Person, bob: Person, stored: Omega) -> None:
    share(bob, ann)
    share(bob, ann, "bucket/lab")
    share(bob, ann, "model/m")
    eve = web.person()
    held = {grant["kind"]: grant["id"] for grant in ann.get("grant/").json()["objects"]}
    for other in (bob, eve):  # bob takes it back by its object
        assert other.call("DELETE", f"grant/{held['dataset']}/").status_code == 404
    assert ann.call("DELETE", f"grant/{held['dataset']}/").status_code == 204
    assert ann.call("DELETE", f"grant/{held['dataset']}/").status_code == 404
    _refused(ann, f"dataset/@{bob.userid}/sales/")
    assert bob.get("dataset/sales/grant/").json()["objects"] == []
    assert "you hold no grant" in eve.submit("/account/", f"/held/{held['model']}/").text
    assert f"@{bob.userid}/m" in ann.page("/models/").text
    gone = ann.submit("/models/", f"/held/{held['model']}/", noun="model")
    assert "is given up" in gone.text and gone.url.endswith("/models/#held")
    assert "all of bucket lab" in gone.text and f"@{bob.userid}/m" not in ann.page("/models/").text
    assert [grant["kind"] for grant in ann.get("grant/").json()["objects"]] == ["bucket"]
    assert entries(web, ann.userid, "grant.revoked") == 2
    assert ann.page(f"/held/{held['bucket']}/").status_code == 405


def test_what_is_shared_is_listed_a_page_at_a_time(web: WebPlatform, ann: Person, bob: Person) -> None:
    code = (
        "from omegaweb.sharing.models import Grant;"
        f"one, two = (User.objects.get(username=name) for name in {(bob.userid, ann.userid)!r});"
        "[Grant.objects.give(one, two, 'dataset', 'omegaml', f'd{n:03}', 'read', 'x') for n in range(120)]"
    )
    web.python(code)
    first, second = ann.page("/datasets/").text, ann.page("/datasets/?held=2").text
    for shown, left_out in ((first, second), (second, first)):
        assert "of 2" in shown
        names = set(re.findall(r"<code>(@[^<]+)</code>", shown))
        assert names and not any(f"<code>{name}</code>" in left_out for name in names)
    assert first.count("Give up @") == 100 and second.count("Give up @") == 20
    assert ann.page("/datasets/?held=x").status_code == 200 == ann.page("/datasets/?held=99").status_code


def test_no_page_shares_what_is_not_ones_own(
    web: WebPlatform, ann: Person, bob: Person, stored: Omega
) -> None:
    share(bob, ann, right="write")
    eve = web.person()
    name = f"@{bob.userid}/sales"
    for path in (f"/share/dataset/{name}/", f"/share/dataset/?name={name}", "/share/dataset/sales/"):
        answer = ann.submit("/account/", path, userid=eve.userid, right="read")
        assert answer.status_code == 404 and WORD not in answer.text, path
    for path in (f"/dataset/{name}/", f"/delete/dataset/{name}/", f"/columns/{name}/"):
        assert ann.page(path).status_code in (400, 404) and WORD not in ann.page(path).text
    assert eve.get("grant/").json()["objects"] == []
    assert ann.page("/share/dataset/sales/").status_code == 405
