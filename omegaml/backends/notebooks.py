"""Notebooks as Jupyter's own files, nbformat 4 (https://nbformat.readthedocs.io), as stock omegaml's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaml.backends.base import Blob
from omegaml.errors import InvalidInput

KERNELSPEC = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}


@contextmanager
def installed() -> Iterator[None]:
    """Around imports of what the extra `jobs` brings. Raises: InvalidInput, which says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"notebooks need the package {error.name!r}, which is not installed here",
            hint="pip install 'omegaml[jobs]'",
        ) from None


class NotebookBackend:
    """A notebook comes back as nbformat's NotebookNode."""

    kind, format, payload, name = "script.ipynb", 1, Blob, "notebook"

    def accepts(self, obj: object) -> bool:
        return isinstance(obj, dict) and "cells" in obj

    def encode(self, obj: Any) -> Blob:
        """`obj`: a notebook as a dict. It gets a kernelspec, and ids of cells, where it has none.

        Raises: InvalidInput (no valid notebook; says where).
        """
        notebook = checked(obj)
        import nbformat

        data = nbformat.writes(notebook, version=4).encode()
        return Blob(data, {"kernel": str(notebook.metadata.kernelspec.name)}, len(data))

    def decode(self, payload: Blob, format: int) -> Any:
        with installed():
            import nbformat

        return nbformat.reads(bytes(payload.read()).decode("utf-8"), as_version=4)


def checked(obj: Any) -> Any:
    """Return a copy of a notebook, valid and complete. Raises InvalidInput."""
    with installed():
        import nbformat
        from nbformat.validator import normalize

    if "nbformat" not in dict(obj):
        raise InvalidInput("this is no notebook: it has no `nbformat`", hint="open and save it in Jupyter")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is completed here
            notebook = nbformat.convert(nbformat.from_dict(dict(obj)), 4)
            _, notebook = normalize(notebook, strip_invalid_metadata=True)
            notebook = nbformat.from_dict(notebook)
            _complete(notebook)
            nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        where = ".".join(map(str, getattr(error, "relative_path", ()) or ()))
        what = f"{where}: {error.message}" if where else error.message
        raise InvalidInput(
            f"this is no valid notebook: {what[:300]}", hint="open and save it in Jupyter"
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"this is no notebook: {error}", hint="open and save it in Jupyter") from None
    return notebook


def _complete(notebook: Any) -> None:
    kernelspec = notebook.metadata.get("kernelspec") or {}
    language = (notebook.metadata.get("language_info") or {}).get("name", "python")
    if not kernelspec.get("name"):
        if language != "python":
            raise InvalidInput(
                f"this notebook is in {language} and names no kernel", hint="choose its kernel in Jupyter"
            )
        kernelspec = {**KERNELSPEC, **{k: v for k, v in kernelspec.items() if v}}
    notebook.metadata["kernelspec"] = {"display_name": kernelspec["name"], **kernelspec}
