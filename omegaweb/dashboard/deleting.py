"""Deleting an object: what it frees is said, and its name must be typed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import filesizeformat

from omegaweb import audit
from omegaweb.access import access
from omegaweb.dashboard import objects
from omegaweb.roles import EDITOR
from omegaweb.sharing import giving


class TypedName(forms.Form):
    """Asks for the name of what is to go."""

    typed = forms.CharField(max_length=500, strip=True)

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = name
        self.fields["typed"].label = f"To delete it, type its name: {name}"
        self.fields["typed"].widget.attrs.update(
            autocomplete="off", autocapitalize="none", spellcheck="false"
        )

    def clean_typed(self) -> str:
        typed = str(self.cleaned_data["typed"])
        if typed != self.name:
            raise forms.ValidationError("That is another name. Nothing was deleted.")
        return typed


@access(EDITOR)
def delete(request: HttpRequest, noun: str, name: str = "") -> HttpResponse:
    """Delete a dataset, a model or a job: the page that asks (GET), and what it does (POST)."""
    with objects.store(request, noun) as store:
        meta = store.metadata(objects.asked_name(request, name))
        versions, size = objects.freed(store, meta.name)
        form = TypedName(meta.name, request.POST or None)
        if request.method == "POST" and form.is_valid():
            store.drop(meta.name)
            giving.dropped(request, noun, meta.bucket, meta.name)
            audit.record(f"{noun}.deleted", request, object=f"{noun} {meta.name}")
            messages.success(
                request, f"The {noun} “{meta.name}” is deleted; {filesizeformat(size)} are free."
            )
            return redirect(objects.STORES[noun])
    context = {"noun": noun, "meta": meta, "versions": versions, "size": size, "form": form}
    context["back"] = objects.address(noun, meta.name, meta.bucket)
    return render(request, "dashboard/delete.html", context, status=400 if form.errors else 200)
