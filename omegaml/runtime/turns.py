"""One writer at a time: trained models are put in turn, so that none replaces one it has not seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from omegaml.errors import Conflict
from omegaml.mongo import translated

if TYPE_CHECKING:
    from omegaml.omega import Omega

#: Seconds after which the turn of a process that died passes on; storing a model takes far less.
LEASE = 60.0


@contextmanager
def turn(om: Omega, name: str) -> Iterator[None]:
    """Hold the turn to put model `name`, among all processes that ask for it here.

    Raises: Conflict when it does not come within two leases.
    """
    turns, key, holder = om.db["omegaml.turns"], f"{om.bucket}/{name}", uuid4().hex
    free = {"$lte": [{"$ifNull": ["$until", "$$NOW"]}, "$$NOW"]}
    taken = {
        "holder": {"$cond": [free, holder, "$holder"]},
        "until": {"$cond": [free, {"$add": ["$$NOW", int(LEASE * 1000)]}, "$until"]},
    }
    deadline, pause = time.monotonic() + 2 * LEASE, 0.005
    while True:
        try:
            with translated(om.mongo_url):
                turns.update_one({"_id": key}, [{"$set": taken}], upsert=True)
                found = turns.find_one({"_id": key})
        except Conflict:
            found = None  # two made the document at once
        if found is not None and found["holder"] == holder:
            break
        if time.monotonic() > deadline:
            raise Conflict(f"model {name!r} is being trained by many at once", hint="try again")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    try:
        yield
    finally:
        with translated(om.mongo_url):
            turns.delete_one({"_id": key, "holder": holder})
