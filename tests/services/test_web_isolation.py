"""Nobody reaches the data of another: not by REST, the pages, MongoDB or a guess."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest
import requests
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from omegaml.metadata import COLLECTION
from omegaml.omega import Omega
from tests.services.web_platform import Person, WebPlatform

pytestmark = [pytest.mark.once, pytest.mark.mariadb]
WORD = "only-bob-may-see-this"


@pytest.fixture(scope="module")
def bob(web: WebPlatform) -> Iterator[Person]:
    """Somebody with a dataset, a model and a file; all of it is there in the end as it was."""
    bob = web.person()
    om = Omega(mongo_url=bob.settings["OMEGA_MONGO_URL"])
    frame = pd.DataFrame({"x": [1, 2], "word": [WORD, WORD]})
    om.datasets.put(frame, "secret")
    om["private"].datasets.put(frame, "secret")
    om.models.put({"word": WORD}, "secret")
    yield bob
    assert om.datasets.get("secret").equals(frame) and om["private"].datasets.get("secret").equals(frame)
    assert om.models.get("secret") == {"word": WORD}
    assert len(om.datasets.list()) == 1
    om.close()
    assert bob.get("config/").status_code == 200  # the account, the key and the password are as they were


@pytest.fixture(scope="module")
def ann(web: WebPlatform) -> Person:
    """Somebody else."""
    return web.person()


ROUTES = [
    ("GET", "dataset/secret/"),
    ("GET", "dataset/?name=secret"),
    ("GET", "dataset/secret/statistics/"),
    ("GET", "dataset/statistics/?name=secret"),
    ("DELETE", "dataset/secret/"),
    ("GET", "dataset/@{bob}/secret/"),
    ("GET", "dataset/omega_{bob}.secret/"),
    ("GET", "dataset/..%2F..%2Fomega_{bob}%2Fsecret/"),
    ("GET", "dataset/secret/?user={bob}"),
    ("GET", "dataset/secret/?x__$where=1"),
    ("GET", "dataset/secret%00/"),
    ("GET", "model/secret/"),
    ("GET", "model/?name=secret"),
    ("GET", "model/secret/versions/"),
    ("GET", "model/secret/openapi.json"),
    ("DELETE", "model/secret/"),
    ("POST", "model/secret/predict/"),
    ("PUT", "model/secret/predict/?datax=secret"),
    ("POST", "model/secret/fit/?datax=secret&datay=secret"),
    ("GET", "task/secret/"),
    ("DELETE", "task/secret/"),
    ("GET", "user/"),
    ("GET", "user/{bob}/"),
    ("PATCH", "user/{bob}/"),
    ("DELETE", "user/{bob}/?data=1"),
    ("GET", "user/{bob}/key/"),
    ("POST", "user/{bob}/key/"),
    ("DELETE", "user/{bob}/key/1/"),
    ("PUT", "user/{bob}/password/"),
    ("GET", "config/?user={bob}"),
    ("GET", "config/?user={bob}&view=1"),
    ("GET", "worker/"),
    ("GET", "worker/accounts/"),
]


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=[f"{m} {r}" for m, r in ROUTES])
def test_a_route_gives_nothing_of_another(ann: Person, bob: Person, method: str, route: str) -> None:
    body = {"data": [[1]], "name": "x", "password": "a word of hers 1", "role": "viewer"}
    answer = ann.call(method, route.format(bob=bob.userid), json=None if method == "GET" else body)
    # 503: no runner is there, which is all that one learns
    assert answer.status_code in (400, 403, 404, 405, 503), answer.text
    assert WORD not in answer.text


@pytest.mark.parametrize("header", ["Bucket", "Qualifier", "X-User", "X-Forwarded-User", "Remote-User"])
def test_no_header_leads_to_another(ann: Person, bob: Person, header: str) -> None:
    values = [bob.userid, f"omega_{bob.userid}", "private", f"../omega_{bob.userid}"]
    for value in values:
        for route in ("dataset/secret/", "model/secret/"):
            answer = ann.get(route, headers={header: value})
            assert answer.status_code in (400, 404) and WORD not in answer.text, f"{header}: {value}"


def _mixed(ann: Person, bob: Person) -> dict[str, str]:
    return {
        "the key of one, the name of the other": f"{bob.userid}:{ann.key}",
        "the name of one, the key of the other": f"{ann.userid}:{bob.key}",
        "the beginning of a key": f"{bob.userid}:{bob.key[:12]}",
        "a key and more": f"{bob.userid}:{bob.key}x",
        "no key": f"{bob.userid}:",
        "the word null": f"{bob.userid}:null",
        "an operator": bob.userid + ':{"$ne": null}',
        "SQL": f"{bob.userid}' OR '1'='1:x",
        "SQL in the key": f"{bob.userid}:' OR 1=1 --",
        "two names": f"{bob.userid}:{ann.userid}:{ann.key}",
        "capitals": f"{bob.userid.upper()}:{bob.key}",
        "a space": f"{bob.userid} :{bob.key}",
    }


@pytest.mark.parametrize("case", _mixed(Person(None, "a", "k", None), Person(None, "b", "k", None)))  # type: ignore[arg-type]
def test_no_mixture_of_names_and_keys_opens_anything(ann: Person, bob: Person, case: str) -> None:
    header = {"Authorization": _mixed(ann, bob)[case]}
    answer = requests.get(f"{ann.web.url}/api/v1/dataset/secret/", headers=header, timeout=30)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "page",
    [
        "/dataset/secret/",
        "/columns/secret/",
        "/points/secret/?y=x",
        "/model/secret/",
        "/dataset/?name=secret",
    ],
)
def test_a_page_shows_nothing_of_another(ann: Person, bob: Person, page: str) -> None:
    answer = ann.page(page)
    assert answer.status_code == 404 and WORD not in answer.text


def test_lists_hold_nothing_of_another(ann: Person, bob: Person) -> None:
    for route in ("dataset/", "model/", "dataset/?search=secret", "dataset/?search[$ne]=x"):
        assert ann.get(route).json()["objects"] == []
    for page in ("/datasets/", "/datasets/?search=secret", "/models/", "/runtime/"):
        assert "secret" not in ann.page(page).text.replace('value="secret"', "").replace("“secret”", "")


def test_a_key_of_another_cannot_be_revoked_by_its_number(ann: Person, bob: Person) -> None:
    keys = bob.get(f"user/{bob.userid}/key/").json()["objects"]
    for key in keys:
        answer = ann.submit("/account/", f"/account/key/{key['id']}/revoke/")
        assert answer.status_code == 404


DATABASE: dict[str, Callable[[MongoClient, Any, str], Any]] = {
    "find": lambda c, db, own: c[db]["omegaml.frames"].find_one(),
    "count": lambda c, db, own: c[db]["omegaml_data"].estimated_document_count(),
    "insert": lambda c, db, own: c[db]["x"].insert_one({}),
    "list collections": lambda c, db, own: c[db].list_collection_names(),
    "drop": lambda c, db, own: c.drop_database(db),
    "$out": lambda c, db, own: c[own]["x"].aggregate([{"$out": {"db": db, "coll": "x"}}]),
    "$merge": lambda c, db, own: c[own]["x"].aggregate([{"$merge": {"into": {"db": db, "coll": "x"}}}]),
    "rename": lambda c, db, own: c.admin.command("renameCollection", f"{own}.x", to=f"{db}.y"),
    "createUser": lambda c, db, own: c[own].command("createUser", "eve", pwd="x", roles=["root"]),
    "grant": lambda c, db, own: c[own].command("grantRolesToUser", own[6:], roles=["root"]),
    "users": lambda c, db, own: c[db].command("usersInfo", 1),
    "system.users": lambda c, db, own: c.admin["system.users"].find_one(),
    "oplog": lambda c, db, own: c.local["oplog.rs"].find_one(),
    "profile": lambda c, db, own: c[db].command("profile", 2),
    "currentOp": lambda c, db, own: c.admin.command("currentOp", {"$all": True}),
    "watch all": lambda c, db, own: c.watch().try_next(),
    "shutdown": lambda c, db, own: c.admin.command("shutdown"),
    "JavaScript": lambda c, db, own: c[own]["x"].find_one({"$where": "true"}),
}


@pytest.mark.parametrize("attempt", DATABASE)
def test_mongodb_lets_nobody_into_the_database_of_another(ann: Person, bob: Person, attempt: str) -> None:
    client: MongoClient = MongoClient(ann.settings["OMEGA_MONGO_URL"])
    own = f"omega_{ann.userid}"
    client[own]["x"].insert_one({"a": 1})
    with pytest.raises(PyMongoError):
        DATABASE[attempt](client, f"omega_{bob.userid}", own)
    assert client.list_database_names() == [own]
    client.close()


@pytest.mark.parametrize("password", ["", "password", "{bob}", "{key}"])
def test_mongodb_takes_no_other_password(web: WebPlatform, bob: Person, password: str) -> None:
    word = quote(password.format(bob=bob.userid, key=bob.key), safe="")
    url = f"mongodb://{bob.userid}:{word}@localhost:{web.mongo_port}/omega_{bob.userid}"
    with pytest.raises(PyMongoError):
        MongoClient(f"{url}?directConnection=true", serverSelectionTimeoutMS=5000).admin.command("ping")
    anonymous: MongoClient = MongoClient(f"mongodb://localhost:{web.mongo_port}/?directConnection=true")
    with pytest.raises(PyMongoError):
        anonymous[f"omega_{bob.userid}"].list_collection_names()


class Opener:
    """Makes a folder in whatever process loads it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("format", ["zstd", "joblib"])
def test_a_model_that_poses_as_the_result_of_a_task_is_not_loaded(
    ann: Person, tmp_path: Path, format: str
) -> None:
    om = Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"])
    trap, name = tmp_path / "trap", f"{format}_trap"
    om.models.put(Opener(str(trap)), name, format=format)
    om.db[COLLECTION].update_many({"name": name}, {"$set": {"prefix": "data/"}})
    answer = json.dumps({"result": {"$value": "dataset", "name": name}})
    task = {"_id": name, "status": "done", "action": "predict", "name": "m", "bucket": None}
    om.db["omegaml.tasks"].insert_one(task | {"answer": answer})
    shown = ann.get(f"task/{name}/")
    assert shown.status_code == 200 and shown.json()["error"]["code"] == "INVALID_INPUT"
    assert not trap.exists()
    for page in (f"/dataset/{name}/", f"/columns/{name}/", f"/points/{name}/?y=x"):
        assert ann.page(page).status_code < 500, page
    assert not trap.exists()
    om.close()
