"""Each account's own platform: omegaweb reads its data with its login, never with one of its own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from omegaml import config
from omegaml.backends.columnar.chunks import never_trust
from omegaml.backends.models import never_load
from omegaml.omega import Omega
from omegaweb import provision
from omegaweb.accounts.models import User

CHUNK_BYTES = 512 << 20
KEEP = 64  # accounts whose connection stays open

# people may write into their own databases whatever they like
never_load()
never_trust(CHUNK_BYTES)

_kept: OrderedDict[str, Omega] = OrderedDict()
_lock = threading.Lock()


@contextmanager
def omega(user: User, bucket: str | None = None) -> Iterator[Omega]:
    """The account's platform, in `bucket` or the default one.

    Connections stay open for the accounts used last. After a rotation the URL is another, so that none with
    the old password is used.
    """
    platform = _Platform(user, bucket)
    try:
        yield platform
    finally:
        platform.close()


class _Platform(Omega):
    """Asks for the account's login when it is first needed: a model is often asked without it."""

    def __init__(self, user: User, bucket: str | None) -> None:
        super().__init__(config.defaults(), bucket)
        self._user = user

    def __getitem__(self, bucket: str) -> Omega:
        return _Platform(self._user, bucket)

    @cached_property
    def mongo_url(self) -> str:
        self._mongo_url = provision.mongo_url(self._user)
        _keep(self._mongo_url)
        return self._mongo_url


def _keep(url: str) -> None:
    """Hold the connection of `url` open; those used least recently go."""
    with _lock:
        if url not in _kept:
            _kept[url] = Omega(config.defaults(), mongo_url=url)
            _ = _kept[url].db  # counts as a user of the connection
        _kept.move_to_end(url)
        dropped = [_kept.popitem(last=False)[1] for _ in range(len(_kept) - KEEP)]
    for platform in dropped:
        platform.close()
