"""What a request costs: how often it asks the databases, however much there is to tell."""

from __future__ import annotations

import json
import time
from typing import Any

import pandas as pd
import pymongo
import pytest

from omegaml.omega import Omega
from tests.services.web_platform import Person, WebPlatform

pytestmark = pytest.mark.once

LISTS = ["/datasets/", "/models/", "/datasets/?q=many&sort=-modified", "/api/v1/dataset/", "/api/v1/model/"]
ASK = """
import json
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
client = Client(headers={{"Host": "localhost", **{headers!r}}})
if {userid!r}:
    client.force_login(User.objects.get(username={userid!r}))
client.get({paths!r}[0])
found = {{}}
for path in {paths!r}:
    with CaptureQueriesContext(connection) as asked:
        answer = client.get(path)
    assert answer.status_code == 200, answer.content
    found[path] = [query["sql"] for query in asked]
print("found", json.dumps(found))
"""


def queries(
    web: WebPlatform, paths: list[str], userid: str = "", headers: dict[str, str] | None = None
) -> dict[str, list[str]]:
    """The SQL that requests take, the first of a process left out; as the signed-in `userid`, or by key."""
    code = ASK.format(userid=userid, headers=headers or {}, paths=paths)
    said = web.manage("shell", "-v", "0", "-c", f"from omegaweb.accounts.models import *\n{code}").stdout
    return dict(json.loads(said.split("found ", 1)[1]))


def commands(web: WebPlatform, om: Omega, person: Person, path: str) -> int:
    """How many commands MongoDB is given for a page."""
    with pymongo.MongoClient(web.root_url) as client:
        db: Any = client[om.db.name]
        db.command("profile", 2)
        answer = (
            person.page(path) if not path.startswith("/api") else person.get(path.removeprefix("/api/v1/"))
        )
        db.command("profile", 0)
        assert answer.status_code == 200 and len(answer.content) < 150_000, len(answer.content)
        found = db["system.profile"].count_documents({"op": {"$ne": "getmore"}, "command.profile": None})
        db.drop_collection("system.profile")
    return int(found)


def test_lists_ask_as_often_for_three_hundred_objects_as_for_one(web: WebPlatform, ann: Person) -> None:
    om = Omega(mongo_url=ann.settings["OMEGA_MONGO_URL"])
    om.datasets.put(pd.DataFrame({"x": [1]}), "many/0")
    om.models.put(_model(), "many/0")
    for path in LISTS:  # the steps of the first page tick themselves once
        ann.page(path)

    def counted() -> dict[str, tuple[int, int]]:
        sql = queries(web, LISTS, ann.userid)
        return {path: (len(sql[path]), commands(web, om, ann, path)) for path in LISTS}

    one = counted()
    catalog: Any = om.db["metadata"]
    for prefix in ("data/", "models/"):
        first = catalog.find_one({"name": "many/0", "prefix": prefix})
        del first["_id"]
        catalog.insert_many([{**first, "name": f"many/{n}"} for n in range(1, 300)])
    many = counted()
    om.close()
    assert many == one
    assert max(sql for sql, _ in one.values()) <= 4 and max(mongo for _, mongo in one.values()) <= 4, one


def _model() -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit([[1], [2]], [1, 2])


def test_the_settings_of_a_client_take_one_query(web: WebPlatform, ann: Person) -> None:
    (asked,) = queries(web, ["/api/v1/config/"], headers=ann.login).values()
    assert len(asked) == 1 and "accounts_apikey" in asked[0] and "accounts_servicelogin" in asked[0], asked


def test_a_setting_that_another_process_changed_is_seen_within_two_seconds(
    web: WebPlatform, ann: Person
) -> None:
    usual = f"localhost:{web.mongo_port}"
    assert usual in ann.settings["OMEGA_MONGO_URL"]
    try:
        web.python("from constance import config; config.MONGO_HOST = 'elsewhere:1'")
        deadline = time.monotonic() + 2
        while "elsewhere:1" not in ann.settings["OMEGA_MONGO_URL"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        web.python(f"from constance import config; config.MONGO_HOST = {usual!r}")
    time.sleep(1.1)


def test_a_key_is_looked_up_as_django_does(web: WebPlatform, ann: Person) -> None:
    web.python(
        f"a = User.objects.with_key({ann.userid!r}, {ann.key!r}); "
        "b = ApiKey.objects.select_related('user', 'user__service_login').get(pk=a.pk); "
        "fields = lambda o: {f.attname: getattr(o, f.attname) for f in o._meta.concrete_fields}; "
        "assert fields(a) == fields(b) and fields(a.user) == fields(b.user), (fields(a), fields(b)); "
        "assert a.user._state.db == 'default' and not a._state.adding; "
        "one, other = a.user.service_login, b.user.service_login; "
        "assert bytes(one.mongo_password) == bytes(other.mongo_password) and one.pk == other.pk; "
        "assert one.user is a.user; "
        f"assert User.objects.with_key({ann.userid!r}, 'om_none') is None"
    )
