"""omegaweb with one route more, `/plain/`: a Django view that looks the caller's key up, and no more."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path

from omegaweb.access import ANYBODY, access


@access(ANYBODY)
def plain(request: HttpRequest) -> HttpResponse:
    from omegaweb.accounts.models import ApiKey, digest

    userid, _, key = request.headers["Authorization"].partition(":")
    found = ApiKey.objects.select_related("user").filter(digest=digest(key), revoked=None).first()
    if found is None or found.user.username != userid:
        return HttpResponse(status=401)
    return JsonResponse({"userid": found.user.username})


urlpatterns = [path("plain/", plain), path("", include("omegaweb.urls"))]
