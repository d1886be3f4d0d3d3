"""Files that people upload as datasets: CSV and Parquet, read as the REST API reads bodies."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.template.defaultfilters import filesizeformat

from omegaml.errors import OmegaError
from omegaml.metadata import Metadata
from omegaml.store import Store
from omegaml.store.names import check_name
from omegaweb.api import uploads as api

KINDS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}


class Upload(forms.Form):
    """A file, and what the dataset is to be called.

    Attributes:
        kinds: how the names of the files end that it takes.
        most: bytes that these may have.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    most = settings.OMEGA_BODY_BYTES

    file = forms.FileField(
        label="CSV or Parquet file",
        help_text="The first line of a CSV file names the columns.",
    )
    name = forms.CharField(
        max_length=500, label="Name of the dataset", help_text="As in sales or 2026/sales."
    )
    replace = forms.BooleanField(required=False, label="Replace the dataset of this name")

    def __init__(self, where: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["file"].widget = forms.FileInput(attrs={"accept": ",".join(self.kinds)})
        # what is there under the name is looked up as soon as it is typed, before a file is sent for nothing
        when = "change" if self.is_bound else "load, change"
        asks = {"hx-get": where, "hx-trigger": when, "hx-target": "#taken"}
        self.fields["name"].widget.attrs.update(asks, autocomplete="off", autocapitalize="none")

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if not file.name.lower().endswith(self.kinds):
            raise forms.ValidationError(f"The file's name ends in none of {', '.join(self.kinds)}.")
        if file.size > self.most:
            limit = filesizeformat(self.most)
            raise forms.ValidationError(
                f"The file is larger than the {limit} that the platform takes at once."
            )
        return file

    def clean_name(self) -> str:
        try:
            return check_name(str(self.cleaned_data["name"]).strip())
        except OmegaError as error:
            raise forms.ValidationError(f"{error.message}. {error.hint or ''}".strip()) from None


def put(store: Store, *, file: Any, name: str, replace: bool) -> Metadata:
    """Store an uploaded file, all of it or nothing. Raises InvalidInput (not such a file), Conflict."""
    kind = next(kind for end, kind in KINDS.items() if file.name.lower().endswith(end))
    body = api.Upload(file.file, kind, digest="", size=file.size)
    return store.put_parts(body.parts(), name, replace=replace)
