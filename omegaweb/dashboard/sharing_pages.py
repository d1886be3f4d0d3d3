"""Sharing on the pages: who may use an object, given and taken back, and what others share."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from omegaml.errors import InvalidInput, NotFound
from omegaml.metadata import Metadata
from omegaml.store.names import DEFAULT_BUCKET, is_hidden
from omegaweb.access import access
from omegaweb.dashboard import objects
from omegaweb.roles import EDITOR, VIEWER
from omegaweb.sharing import giving
from omegaweb.sharing.models import BUCKET, DATASET, MODEL, READ, RIGHTS, Grant

SHOWN = 100  # grants on a page of a list


def section(request: HttpRequest, noun: str, meta: Metadata) -> dict[str, Any]:
    """What the part "Shared with" of an object's page shows."""
    found = Grant.objects.of(request.user, noun, meta.bucket, meta.name)
    return {
        "noun": noun,
        "grants": [grant for grant in found if grant.object_id == str(meta.id)],
        "share": objects.address(f"share_{noun}", meta.name, meta.bucket),
        "rights": RIGHTS if noun == DATASET else (READ,),
        "shared_name": f"@{request.user.username}/{meta.name}",
        "is_hidden": is_hidden(meta.name),
    }


def held(request: HttpRequest, noun: str) -> dict[str, Any]:
    """What the part "Shared with you" of a list shows; `?held=2` is its second page."""
    found = giving.held(request.user).filter(kind__in=(noun, BUCKET))
    page = Paginator(found, SHOWN).get_page(request.GET.get("held"))
    return {"held": page, "noun": noun, "default_bucket": DEFAULT_BUCKET}


@access(VIEWER)
@require_POST
def give_up(request: HttpRequest, id: int) -> HttpResponse:
    """Remove a grant that the caller holds, and go back to the list of datasets or models."""
    try:
        grant = giving.give_up(request, id)
        messages.success(request, f"What {grant.owner} shared as “{grant.name or grant.bucket}” is given up.")
    except NotFound as error:  # taken back meanwhile
        messages.error(request, f"{error.message}.")
    return redirect("/models/#held" if request.POST.get("noun") == MODEL else "/datasets/#held")


@access(EDITOR)
@require_POST
def share(request: HttpRequest, noun: str, name: str = "") -> HttpResponse:
    """Give a grant, or with `revoke` in the form take back the one of that account."""
    name, bucket = objects.asked_name(request, name), request.GET.get("bucket") or DEFAULT_BUCKET
    userid, revoked = request.POST.get("userid", "").strip(), request.POST.get("revoke", "")
    try:
        if revoked:
            giving.revoke(request, noun, bucket, name, revoked)
            messages.success(request, f"{revoked} may not use “{name}” any more.")
        else:
            right = request.POST.get("right", READ)
            giving.give(request, noun, bucket, name, userid, right)
            messages.success(request, f"{userid} may {right} “{name}” now.")
    except InvalidInput as error:  # most often a userid that is none
        messages.error(request, f"Nothing is shared: {error.message}. {error.hint or ''}")
    except NotFound as error:  # an object that is gone has no page to go back to
        if not revoked:
            raise
        messages.error(request, f"{error.message}.")
    return redirect(f"{objects.address(noun, name, bucket)}#shared")
