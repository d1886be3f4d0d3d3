"""The runtime of an account's tasks: the one place that chooses it.

Where the configuration has a `web_broker_url`, Celery workers carry them out; else a runner that has joined.
"""

from __future__ import annotations

import threading
import time
import zlib

from django.conf import settings

from omegaml.errors import Unavailable
from omegaml.omega import Omega
from omegaml.runtime import Runtime
from omegaml.runtime.base import DEFAULT
from omegaml.runtime.celery import CeleryRuntime
from omegaml.runtime.direct import DirectRuntime, Line
from omegaml.runtime.model import Runtime as Facade
from omegaweb.accounts.models import User
from omegaweb.provision.sealed import unseal
from omegaweb.workers.models import Worker

KEEP = 2.0  # seconds that the list of runners is used

_lines: dict[str, Line] = {}  # by address, which is another for each run of a runner
_looked = float("-inf")
_lock = threading.Lock()


def runtime(user: User, om: Omega) -> Facade:
    """What `om.runtime` is, with the account's tasks carried out by a runner or by workers.

    Raises: Unavailable if there is none.
    """
    if settings.CONFIGURATION.web_broker_url:
        return Facade(om, CeleryRuntime(om, settings.CONFIGURATION.web_broker_url, user.username))
    carrier: Runtime = DirectRuntime(om, user.username, _line(user.username))
    return Facade(om, carrier)


def _line(userid: str) -> Line:
    """The way to a runner, the same one for an account while it can be: that has the models loaded."""
    global _looked, _lines
    with _lock:
        if time.monotonic() - _looked > KEEP or not _lines:
            found = Worker.alive().exclude(address="")
            alive = [worker for worker in found if DEFAULT in (worker.labels or [DEFAULT])]
            _lines = {w.address: _lines.get(w.address) or Line(w.address, unseal(w.token)) for w in alive}
            _looked = time.monotonic()
        lines = [_lines[address] for address in sorted(_lines)]
    if not lines:
        raise Unavailable(
            "no runner is there to carry out the task",
            hint="an administrator starts one with `omegacli cluster up`",
        )
    return lines[zlib.crc32(userid.encode()) % len(lines)]
