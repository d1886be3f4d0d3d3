"""The API called with whatever its own document lets one make: nothing fails, and all answers are told there.

FUZZ_EXAMPLES=200 makes more requests than the tests do each time, FUZZ_RANDOM=1 others than the last time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any

import pandas as pd
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from sklearn.linear_model import LinearRegression

from omegaml.omega import Omega
from tests.services.servers import MariaDB
from tests.services.web_platform import Person, WebPlatform, running
from tests.services.web_runner import WebRunner, runner

__all__ = ["runner"]
pytestmark = pytest.mark.once

CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "20"))
settings.register_profile(
    "fuzz",
    max_examples=EXAMPLES,
    derandomize="FUZZ_RANDOM" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # a request that failed may not fail again
)
_TEXT = st.text(max_size=8)
_FLOAT = st.floats(allow_nan=False, allow_infinity=False)  # JSON has no others
_CELL = st.none() | st.booleans() | st.integers() | _FLOAT | _TEXT
_JSON = st.recursive(
    _CELL, lambda it: st.lists(it, max_size=3) | st.dictionaries(_TEXT, it, max_size=3), max_leaves=6
)
_NAME = st.sampled_from(["x", "n", "y", "a/b"]) | _TEXT
_DTYPE = st.sampled_from(["int8", "float16", "Int64", "bool", "category", "str", "datetime64[ns]", "object"])
_ROWS = st.lists(st.dictionaries(_NAME, _CELL | _JSON, max_size=3), max_size=4)
_COLUMNS = st.dictionaries(
    _NAME, st.lists(_CELL, max_size=3) | st.dictionaries(_TEXT, _CELL, max_size=3), max_size=3
)
_INDEX = _JSON | st.builds(
    lambda kind, values: {"type": kind, "values": values},
    st.sampled_from(["RangeIndex", "MultiIndex", "DatetimeIndex"]) | _TEXT,
    st.lists(_JSON, max_size=4),
)
_CELLS = st.fixed_dictionaries(
    {"cell_type": st.sampled_from(["code", "markdown", "raw"]) | _TEXT, "source": _TEXT | st.lists(_TEXT)},
    optional={"metadata": st.dictionaries(_TEXT, _JSON, max_size=2), "outputs": st.just([]) | _JSON},
)
_NOTEBOOK = st.fixed_dictionaries(
    {"code": _TEXT | st.lists(_TEXT, max_size=2) | _JSON}
) | st.fixed_dictionaries(
    {"cells": st.lists(_CELLS, max_size=3) | _JSON, "nbformat": st.sampled_from([4, 4, 3]) | _CELL},
    optional={"metadata": st.dictionaries(_TEXT, _JSON, max_size=2), "nbformat_minor": st.just(5) | _CELL},
)
# bodies that are nearly right, by operation: the document leaves much of them open
BODIES = {
    "dataset_store": st.fixed_dictionaries(
        {"data": _ROWS | _COLUMNS | _JSON},
        optional={"dtypes": st.dictionaries(_NAME, _DTYPE, max_size=2), "index": _INDEX, "append": _CELL},
    ),
    "model_act": st.fixed_dictionaries(
        {"data": st.lists(st.lists(_CELL, min_size=2, max_size=2), max_size=3) | _ROWS | _COLUMNS | _JSON},
        optional={"columns": st.just(["x", "n"]) | st.lists(_NAME, max_size=3), "y": st.lists(_CELL)},
    ),
    "model_make": st.fixed_dictionaries(
        {
            "name": _NAME,
            "pipeline": st.lists(
                st.tuples(
                    st.sampled_from(["Ridge", "StandardScaler", "LogisticRegression", "KMeans"]) | _TEXT,
                    st.dictionaries(st.sampled_from(["alpha", "C", "n_clusters"]) | _TEXT, _JSON, max_size=2),
                ),
                max_size=3,
            ),
        }
    ),
    "job_make": _NOTEBOOK,
    "job_store": _NOTEBOOK,
    "job_schedule_set": st.fixed_dictionaries(
        {"schedule": st.sampled_from(["@yearly", "Fridays, at 06:00", "0 6 29 2 1"]) | _TEXT},
        optional={
            "zone": st.sampled_from(["Europe/Berlin", "UTC"]) | _TEXT,
            "retries": st.integers(),
            "limit": _CELL,
            "parameters": st.dictionaries(_TEXT, _JSON, max_size=2) | _JSON,
            "webhook": st.just("https://example.org/x") | _TEXT,
        },
    ),
    "v1_user_create": st.fixed_dictionaries(
        {"userid": st.from_regex("[a-z][a-z0-9_]{8,30}", fullmatch=True) | _TEXT},
        optional={"password": st.text(min_size=8), "email": st.emails(), "name": _TEXT, "role": _TEXT},
    ),
    "v1_user_key_create": st.fixed_dictionaries(
        {"name": _TEXT}, optional={"expires": st.datetimes().map(lambda it: f"{it.isoformat()}Z") | _TEXT}
    ),
}
FRAME = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "n": [1, 2, 1, 2], "y": [1.0, 3.0, 5.0, 7.0]})


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebPlatform]:
    """A platform of its own, as so many refusals hold off others; MariaDB minds how long texts are."""
    with (
        MariaDB(tmp_path_factory.mktemp("mariadb")) as database,
        running(tmp_path_factory.mktemp("web"), database.url) as platform,
    ):
        yield platform


@pytest.fixture(scope="module")
def fay(web: WebPlatform, runner: WebRunner) -> Person:
    """An editor with a dataset, a model and a task."""
    fay = web.person()
    om = Omega(mongo_url=fay.settings["OMEGA_MONGO_URL"])
    om.datasets.put(FRAME, "points")
    om.models.put(LinearRegression().fit(FRAME[["x", "n"]], FRAME["y"]), "line")
    om.close()
    return fay


@pytest.fixture(scope="module")
def operations(fay: Person) -> list[Any]:
    """All that /api/schema/ describes."""
    document = schemathesis.openapi.from_url(
        f"{fay.web.url}/api/schema/", headers={**fay.login, "Accept": "application/json"}
    )
    found = [found.ok() for found in document.get_all_operations()]
    assert len(found) > 30
    return found


def requests_for(operation: Any, known: dict[str, list[Any]]) -> st.SearchStrategy[Any]:
    """Right and wrong requests, also about what is there, and with bodies that are nearly right."""
    named = [name for name in known if f"{{{name}}}" in operation.path]
    places = [dict(zip(named, values, strict=True)) for values in product(*(known[n] for n in named))]
    if operation.definition.raw["operationId"] == "job_run":
        places = []  # whatever was stored as a job would fail, as the document tells: by 500
    any_place = [operation.as_strategy(mode) for mode in GenerationMode]
    there = [operation.as_strategy(path_parameters=place).map(own) for place in places]
    body = BODIES.get(operation.definition.raw["operationId"])
    if body is not None:
        there += [body.flatmap(partial(_with_body, operation, place)) for place in places]
    return st.one_of(*any_place, *there)


def _with_body(operation: Any, place: dict[str, Any], body: Any) -> st.SearchStrategy[Any]:
    media_type = "application/json"
    return operation.as_strategy(path_parameters=place, body=body, media_type=media_type).map(own)


def own(case: Any) -> Any:
    """The request, made about the caller's own things: no other bucket, and columns that are there."""
    for header in ("Bucket", "Qualifier"):
        case.headers.pop(header, None)
    known = {"datax": "points[x,n]", "datay": "points[y]", "columns": "x,n", "sort": "-x", "limit": 2}
    for name in set(known) & set(case.query or {}):
        case.query[name] = known[name]
    for name in ("offset", "version", "cursor"):
        (case.query or {}).pop(name, None)
    return case


def fuzz(person: Person, operations: Iterable[Any], known: dict[str, list[Any]], subtests: Any) -> None:
    """Call operations as somebody; `known` has values of path parameters that mean something."""
    checks = [CHECKS.get_one(name) for name in CHECKED]
    session = requests.Session()
    # what deletes comes last, so that there is something until then
    for operation in sorted(operations, key=lambda it: it.method == "delete"):

        @settings(settings.get_profile("fuzz"))
        @given(requests_for(operation, known))
        def call(case: Any) -> None:
            answer = case.call(headers=person.login, session=session, timeout=60)
            if answer.status_code != 414:  # of gunicorn, which reads no line of such a length
                case.validate_response(answer, checks)

        with subtests.test(operation.label):
            call()


def test_an_editor_gets_the_answers_that_the_document_tells_of(
    fay: Person, operations: list[Any], subtests: pytest.Subtests
) -> None:
    fay.call("POST", "job/daily/", json={"code": "1"})
    task = fay.call("POST", "model/line/predict/?async=1", json={"data": [[1, 2]]}).json()["id"]
    known = {
        "name": ["points", "line", "daily"],
        "id": [task],
        "userid": [fay.userid],
        "kind": ["dataset", "model"],
    }
    known |= {"action": ["predict", "fit", "score"]}
    fuzz(fay, operations, known, subtests)
    assert fay.get("config/").status_code == 200


def test_an_administrator_gets_the_answers_that_the_document_tells_of(
    web: WebPlatform, operations: list[Any], subtests: pytest.Subtests
) -> None:
    boss, eve = web.person(role="admin"), web.person()  # whom nobody misses
    asked = [it for it in operations if "/user/" in it.path or "/config/" in it.path]
    fuzz(boss, asked, {"userid": [eve.userid]}, subtests)
    assert boss.get("user/").status_code == 200


def test_a_worker_gets_the_answers_that_the_document_tells_of(
    web: WebPlatform, runner: WebRunner, operations: list[Any], subtests: pytest.Subtests
) -> None:
    worker = Person(web, "runner", runner.key, requests.Session())
    asked = [it for it in operations if "/worker/" in it.path or "/config/" in it.path]
    fuzz(worker, asked, {}, subtests)
