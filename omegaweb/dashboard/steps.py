"""The first steps with the platform, and how it knows which of them somebody has taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse

from omegaml.errors import OmegaError
from omegaweb import tenancy
from omegaweb.accounts.models import User
from omegaweb.dashboard.models import FirstCall
from omegaweb.dashboard.objects import has_any

STEPS = ("key", "installed", "connected", "dataset", "model", "asked")
_ASKED = re.compile(r"/api/v1/model/.+/predict/")


@dataclass(frozen=True)
class Progress:
    """Which of STEPS are done; `known` is False where the database of the data does not answer."""

    done: frozenset[str]
    known: bool = True

    @property
    def word(self) -> str:
        """The steps done as one word, by which a page tells whether anything is new."""
        return "-".join(step for step in STEPS if step in self.done) or "none"

    @property
    def ticks(self) -> dict[str, bool]:
        return {step: step in self.done for step in STEPS}

    @property
    def is_complete(self) -> bool:
        return len(self.done) == len(STEPS)


def progress(user: User) -> Progress:
    """Look how far somebody has come."""
    done, known = set(), True
    keys = list(user.keys.all())
    if any(key.revoked is None for key in keys):
        done.add("key")
    if any(key.last_used for key in keys):
        done |= {"key", "installed", "connected"}  # who calls has something to call with
    if FirstCall.objects.filter(user=user).exists():
        done.add("asked")
    try:
        with tenancy.omega(user) as om:
            done |= {"dataset"} if has_any(om.datasets) else set()
            done |= {"model"} if has_any(om.models) else set()
    except OmegaError:
        known = False
    return Progress(frozenset(done), known)


class Noticed:
    """Notes the first prediction that an account asks for by REST: nothing else in the platform keeps it."""

    _known: set[int] = set()  # noqa: RUF012 - of this process, so that it costs the later ones nothing

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code in (200, 202) and _ASKED.fullmatch(request.path):
            asker = getattr(getattr(request, "user", None), "pk", None)
            if asker is not None and asker not in self._known:
                FirstCall.objects.get_or_create(user_id=asker)
                self._known.add(asker)
        return response
