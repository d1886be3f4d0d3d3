"""One model with what is known of it, its versions and a form to try it."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from omegaweb.access import access
from omegaweb.dashboard import objects, sharing_pages, snippets
from omegaweb.dashboard.context import platform_url
from omegaweb.roles import VIEWER

FIELDS = 40  # a model of more features is tried with JSON


@access(VIEWER)
def model(request: HttpRequest, name: str = "") -> HttpResponse:
    """One model; nothing here loads it, all of this is in its metadata."""
    with objects.store(request, "model") as store:
        meta = store.metadata(objects.asked_name(request, name))
        versions = store.versions(meta.name)
    about: dict[str, Any] = meta.kind_meta.get("model") or {}
    signature: dict[str, Any] = about.get("signature") or {}
    features = signature.get("features") or []
    texts = snippets.Snippets(platform_url(request), request.user.username, meta)
    context = {
        "meta": meta,
        "about": about,
        "signature": signature,
        "trained": meta.attributes.get("trained"),
        "versions": versions,
        "fields": features if len(features) <= FIELDS else [],
        "example": json.dumps(texts.example(signature)),
        "actions": [m for m in ("predict", "predict_proba") if m in signature.get("methods", ["predict"])],
        "snippets": texts,
        "curl": texts.curl_predict(signature),
        "delete": objects.address("delete_model", meta.name, meta.bucket),
        **sharing_pages.section(request, "model", meta),
    }
    return render(request, "dashboard/model.html", context)
