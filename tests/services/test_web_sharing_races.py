"""Grants that end while a request goes on, and what two accounts do to one object at once."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pandas as pd
import pytest
import requests

from omegaml.errors import Conflict
from omegaml.omega import Omega
from tests.services.test_web_sharing import entries, share
from tests.services.web_platform import Person, WebPlatform

pytestmark = pytest.mark.once
BODY = b'{"data": [{"x": 666}]}'


@pytest.fixture
def stored(bob: Person) -> Iterator[Omega]:
    om = Omega(mongo_url=bob.settings["OMEGA_MONGO_URL"])
    om.datasets.put(pd.DataFrame({"x": [1, 2, 3]}), "sales")
    yield om
    om.close()


def slowly(person: Person, route: str, body: bytes, meanwhile: Callable[[], object]) -> int:
    """PUT a body of which the greater part is sent after `meanwhile`; return the answer's status."""
    head = (
        f"PUT /api/v1/{route} HTTP/1.1\r\nHost: localhost:{person.web.port}\r\n"
        f"Authorization: {person.userid}:{person.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("localhost", person.web.port), timeout=30) as wire:
        wire.sendall(head.encode() + body[:5])
        time.sleep(1.5)  # until the server has begun to read the body
        meanwhile()
        wire.sendall(body[5:])
        answer = b""
        while piece := wire.recv(1 << 16):
            answer += piece
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("append", [0, 1])
def test_a_right_to_write_that_ends_before_the_body_does_writes_nothing(
    ann: Person, bob: Person, stored: Omega, append: int
) -> None:
    share(bob, ann, right="write")
    route = f"dataset/@{bob.userid}/sales/?append={append}"

    def revoke() -> None:
        assert bob.call("DELETE", f"dataset/sales/grant/?userid={ann.userid}").status_code == 204

    assert slowly(ann, route, BODY, revoke) == 404
    assert stored.datasets.get("sales")["x"].tolist() == [1, 2, 3]
    share(bob, ann, right="write")
    assert slowly(ann, route, BODY, lambda: stored.datasets.drop("sales")) == 404
    assert not stored.datasets.exists("sales")
    stored.datasets.put(pd.DataFrame({"x": [1, 2, 3]}), "sales")
    share(bob, ann, right="write")
    assert slowly(ann, route, BODY, lambda: share(bob, ann, right="read")) == 403
    assert stored.datasets.get("sales")["x"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("User.objects.filter(username={!r}).update(is_active=False)", 401),
        ("User.objects.filter(username={!r}).update(role='viewer')", 403),
        ("ApiKey.objects.filter(user__username={!r}).delete()", 401),
    ],
)
def test_an_account_that_is_disabled_before_its_body_has_come_writes_nothing(
    web: WebPlatform, ann: Person, bob: Person, stored: Omega, change: str, status: int
) -> None:
    share(bob, ann, right="write")
    route = f"dataset/@{bob.userid}/sales/"
    assert slowly(ann, route, BODY, lambda: web.python(change.format(ann.userid))) == status
    assert stored.datasets.get("sales")["x"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("is_put_again", [False, True])
def test_a_write_to_one_object_never_lands_in_another_of_its_name(
    stored: Omega, append: bool, is_put_again: bool
) -> None:
    one = str(stored.datasets.metadata("sales").id)

    def parts() -> Iterator[pd.DataFrame]:
        yield pd.DataFrame({"x": [7]})
        stored.datasets.drop("sales")  # when the store has looked at the name already
        if is_put_again:
            stored.datasets.put(pd.DataFrame({"x": [1]}), "sales")

    with pytest.raises(Conflict):
        stored.datasets.put_parts(parts(), "sales", append=append, only=one)
    assert stored.datasets.exists("sales") == is_put_again
    assert not is_put_again or stored.datasets.get("sales")["x"].tolist() == [1]
    with pytest.raises(Conflict):
        stored.datasets.put_parts([pd.DataFrame({"x": [7]})], "sales", append=append, only=one)


def test_the_idempotency_keys_of_two_accounts_do_not_meet(ann: Person, bob: Person, stored: Omega) -> None:
    share(bob, ann, right="write")

    def append(person: Person, route: str, x: int) -> requests.Response:
        key = {"Idempotency-Key": "1"}
        return person.call("PUT", f"{route}?append=1", json={"data": [{"x": x}]}, headers=key)

    for _ in range(2):
        assert append(bob, "dataset/sales/", 4).status_code == 200
        assert append(ann, f"dataset/@{bob.userid}/sales/", 5).status_code == 200
    assert stored.datasets.get("sales")["x"].tolist() == [1, 2, 3, 4, 5]
    assert append(ann, f"dataset/@{bob.userid}/sales/", 6).status_code == 409  # the same key of one account


def test_who_may_read_a_bucket_may_ask_for_what_is_not_in_it(
    web: WebPlatform, ann: Person, bob: Person, stored: Omega
) -> None:
    share(bob, ann, "bucket/omegaml")
    for n in range(120):
        answer = ann.get(f"dataset/@{bob.userid}/absent_{n}/")
        assert answer.status_code == 404, answer.text
    assert ann.call("PUT", f"dataset/@{bob.userid}/absent/", json={"data": [{"x": 1}]}).status_code == 404
    assert ann.get(f"dataset/@{bob.userid}/sales/").status_code == 200
    assert entries(web, ann.userid, "shared.refused") == 0


def test_a_shared_model_shows_nothing_of_its_owners_notes_and_data(
    ann: Person, bob: Person, stored: Omega
) -> None:
    stored.models.put({"a": 1}, "m", attributes={"note": "private", "trained": {"x": "salaries"}}, tag="live")
    share(bob, ann, "model/m")
    told = ann.get(f"model/@{bob.userid}/m/").json()
    assert told["name"] == f"@{bob.userid}/m" and not {"attributes", "tags", "trained"} & set(told)
    assert not any(word in str(told) for word in ("private", "salaries", "live"))
    assert bob.get("model/m/").json()["attributes"] == {"note": "private"}
