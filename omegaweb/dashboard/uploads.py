"""Files that people upload as datasets: CSV and Parquet, read in parts so that size does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from django import forms

from omegaml.errors import InvalidInput, OmegaError
from omegaml.metadata import Metadata
from omegaml.store import Store
from omegaml.store.names import check_name

ROWS = 50_000  # that are in memory at once
KINDS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}


class Upload(forms.Form):
    """A file, and what the dataset is to be called."""

    file = forms.FileField(
        label="CSV or Parquet file",
        help_text="The first line of a CSV file names the columns.",
        widget=forms.FileInput(attrs={"accept": ",".join(KINDS)}),
    )
    name = forms.CharField(
        max_length=500, label="Name of the dataset", help_text="As in sales or 2026/sales."
    )
    replace = forms.BooleanField(required=False, label="Replace the dataset of this name")

    def __init__(self, where: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # what is there under the name is looked up as soon as it is typed, before a file is sent for nothing
        asks = {"hx-get": where, "hx-trigger": "load, change", "hx-target": "#taken"}
        self.fields["name"].widget.attrs.update(asks, autocomplete="off", autocapitalize="none")

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if not file.name.lower().endswith(tuple(KINDS)):
            raise forms.ValidationError(f"The file's name ends in none of {', '.join(KINDS)}.")
        return file

    def clean_name(self) -> str:
        try:
            return check_name(str(self.cleaned_data["name"]).strip())
        except OmegaError as error:
            raise forms.ValidationError(f"{error.message}. {error.hint or ''}".strip()) from None


def put(store: Store, *, file: Any, name: str, replace: bool) -> Metadata:
    """Store an uploaded file, all of it or nothing. Raises InvalidInput (not such a file), Conflict."""
    kind = next(kind for end, kind in KINDS.items() if file.name.lower().endswith(end))
    stream: BinaryIO = file.file
    parts = _csv(stream) if kind == "csv" else _parquet(stream)
    try:
        return store.put_parts(parts, name, replace=replace)
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidInput(f"the file cannot be read as {kind}: {first}") from None


def _csv(stream: BinaryIO) -> Iterator[pd.DataFrame]:
    """Yield the rows, in types that all of the file has: what later parts need is looked up first."""
    seen: dict[str, set[str]] = {}
    for part in pd.read_csv(stream, chunksize=ROWS, index_col=False):
        for label, dtype in part.dtypes.items():
            seen.setdefault(str(label), set()).add(str(dtype))
    types: dict[str, Any] = {label: _common(found) for label, found in seen.items() if len(found) > 1}
    stream.seek(0)
    yield from pd.read_csv(stream, chunksize=ROWS, index_col=False, dtype=types)


def _common(dtypes: set[str]) -> str:
    return "float64" if dtypes <= {"int64", "uint64", "float64"} else "str"


def _parquet(stream: BinaryIO) -> Iterator[pd.DataFrame]:
    file = pq.ParquetFile(stream)
    yield file.schema_arrow.empty_table().to_pandas()  # so that a file without rows is a dataset too
    for batch in file.iter_batches(ROWS):
        yield batch.to_pandas()
