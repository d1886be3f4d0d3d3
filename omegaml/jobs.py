"""`om.jobs`: notebooks by name, made, stored, and shown as a page.

Names of notebooks are stored with `.ipynb` at their end, as stock omegaml does; everywhere they may be given
without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from omegaml.errors import InvalidInput
from omegaml.metadata import Metadata
from omegaml.store import Store
from omegaml.store.names import check_name

if TYPE_CHECKING:
    from omegaml.omega import Omega
    from omegaml.runtime.job import RuntimeJob
    from omegaml.runtime.runs import Run
    from omegaml.runtime.schedule.header import Header
    from omegaml.runtime.schedule.plans import Plan

SUFFIX = ".ipynb"
RESULTS = "results/"
"""Where the notebooks are that runs have left."""

FORMATS = ("html", "ipynb", "slides")

_PARTS = re.compile(r"([^\[\]@^]*)(.*)", re.DOTALL)


def full_name(name: str) -> str:
    """Return the name as it is stored: `daily` is `daily.ipynb`, `daily@2` is `daily.ipynb@2`."""
    if not isinstance(name, str):
        raise InvalidInput(f"{name!r} cannot be a name", hint="1 to 500 characters")
    found = _PARTS.fullmatch(name)
    assert found is not None  # it takes any text
    return f"{found[1].removesuffix(SUFFIX)}{SUFFIX}{found[2]}"


class Jobs(Store):
    """The notebooks of a bucket.

    Args:
        om: whose runtime runs them.
    """

    def __init__(self, *place: Any, om: Omega | None = None) -> None:
        super().__init__(*place)
        self._om = om

    def put(self, obj: Any, name: str, **options: Any) -> Metadata:
        """Store a notebook as `name`.

        Args:
            obj: a NotebookNode or dict, or the path of a `.ipynb` file.
            options: those of `Store.put`, as `replace=False`.

        A first cell that begins with `# omega-ml:` says when it runs by itself, by the clock of UTC where it
        names no zone. What was said by `schedule` of anything else, as its webhook, stays.
        Raises: InvalidInput (it is no valid notebook, or none can have the name; the header cannot be used),
            Conflict.
        """
        check_name(str(name).removesuffix(SUFFIX))
        notebook = read_file(Path(obj)) if isinstance(obj, str | Path) else obj
        if not isinstance(notebook, dict) or ("cells" not in notebook and "worksheets" not in notebook):
            what = type(obj).__name__
            raise InvalidInput(
                f"{name!r} would be a {what}, which is no notebook",
                hint="om.jobs.create(code, name) makes one",
            )
        if "cells" not in notebook:  # nbformat 3
            from omegaml.backends.notebooks import checked

            notebook = checked(notebook)
        stored = full_name(name)
        if stored.startswith(RESULTS):  # they run no more, and are kept whatever the notebook says
            return super().put(notebook, stored, **options)
        said = header_of(notebook)
        meta = super().put(notebook, stored, **options)
        self._plan(meta, said)
        return meta

    def create(self, code: str | Iterable[str], name: str, **options: Any) -> Metadata:
        """Store a notebook with this Python code as `name`.

        Args:
            code: the source of one cell, or of several.
        """
        from omegaml.backends.notebooks import installed

        with installed():
            from nbformat.v4 import new_code_cell, new_notebook

        cells = [code] if isinstance(code, str) else list(code)
        if not all(isinstance(cell, str) for cell in cells):
            raise InvalidInput("code is text, or a list of texts", hint='om.jobs.create("print(1)", "hello")')
        return self.put(new_notebook(cells=[new_code_cell(cell) for cell in cells]), name, **options)

    # --- what `om.runtime.job(name)` does, for those who have the name at hand

    def run(self, name: str, *, async_: bool = False, **parameters: Any) -> Any:
        """Execute a notebook, as `om.runtime.job(name).run`."""
        return self._job(name).run(async_=async_, **parameters)

    def status(self, name: str, limit: int = 100) -> list[Run]:
        """Return a notebook's runs, newest first. Raises NotFound (no such notebook)."""
        self.metadata(name)
        return self._job(name).runs(limit)

    def schedule(self, name: str, text: str, **options: Any) -> Plan:
        """Have a notebook run by itself, as `om.runtime.job(name).schedule`: `"Fridays, at 06:00"`."""
        return self._job(name).schedule(text, **options)

    def unschedule(self, name: str) -> bool:
        """Have it run no more by itself; False if it did not. Raises NotFound."""
        return self._job(name).unschedule()

    def scheduled(self) -> list[tuple[Metadata, Plan]]:
        """Return the notebooks that run by themselves, with their plans, by who is due next."""
        from omegaml.runtime.schedule.plans import Plans

        return Plans(self.db).all(self.bucket)

    def _job(self, name: str) -> RuntimeJob:
        if self._om is None:
            raise InvalidInput("these jobs have no runtime", hint="import omegaml as om; om.jobs")
        job: RuntimeJob = self._om.runtime.job(name)
        return job

    def _plan(self, meta: Metadata, said: Header | None) -> None:
        from omegaml.runtime.schedule.plans import Plan, Plans

        plans = Plans(self.db)
        if said is not None:
            change: dict[str, Any] = {"catch_up": said.catch_up, "retries": said.retries}
            change = {key: value for key, value in change.items() if value is not None}
            plan = plans.get(meta.id) or Plan(said.text)
            plans.set(meta.id, replace(plan, text=said.text, zone=said.zone, origin="header", **change))
        else:
            plans.drop(meta.id, origin="header")

    def export(self, name: str, to: str | Path | BinaryIO | None = None, format: str = "html") -> bytes:
        """Return a notebook as a page or file, and write it to a path or binary file if one is given.

        Args:
            format: "html", "slides" or "ipynb"; pages load from the web what shows mathematics and slides.
        """
        data = rendered(self.get(name), format)
        if isinstance(to, str | Path):
            try:
                Path(to).write_bytes(data)
            except OSError as error:
                raise InvalidInput(f"{str(to)!r} cannot be written: {error.strerror}") from None
        elif to is not None:
            to.write(data)
        return data

    def get(self, name: str, **options: Any) -> Any:
        """Return a notebook as nbformat's NotebookNode. Raises NotFound, Corrupt."""
        return super().get(full_name(name), **options)

    def drop(self, name: str, *, missing_ok: bool = False) -> bool:
        return super().drop(full_name(name), missing_ok=missing_ok)

    def metadata(self, name: str, version: int | str | None = None) -> Metadata:
        return super().metadata(full_name(name), version)

    def exists(self, name: str) -> bool:
        return super().exists(full_name(name))

    def open(self, name: str, *, version: int | str | None = None) -> BinaryIO:
        return super().open(full_name(name), version=version)

    def copy(self, name: str, new: str, *, replace: bool = False) -> Metadata:
        return super().copy(full_name(name), full_name(new), replace=replace)

    def rename(self, name: str, new: str) -> Metadata:
        return super().rename(full_name(name), full_name(new))


def header_of(notebook: Any) -> Header | None:
    """Return what the first code cell of a notebook says of when it runs. Raises InvalidInput."""
    from omegaml.runtime.schedule import header

    cells = notebook["cells"] if isinstance(notebook["cells"], list) else []
    code = next((cell for cell in cells if _is_code(cell)), None)
    if code is None:
        return None
    source = code.get("source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    return header.parse(source) if isinstance(source, str) else None


def _is_code(cell: Any) -> bool:
    return isinstance(cell, dict) and cell.get("cell_type") == "code"


def read_file(path: Path) -> Any:
    """Return the notebook in a file. Raises InvalidInput."""
    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise InvalidInput(f"{str(path)!r} is no notebook: {reason}", hint="give a .ipynb file") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{str(path)!r} is no notebook", hint="give a .ipynb file")
    return found


def rendered(notebook: Any, format: str) -> bytes:
    """Return a notebook as `html`, `slides` or `ipynb`. Raises InvalidInput."""
    if format not in FORMATS:
        raise InvalidInput(
            f"a notebook cannot be exported as {format!r}", hint=f"one of {', '.join(FORMATS)}"
        )
    from omegaml.backends.notebooks import installed

    with installed():
        import nbformat

        if format == "ipynb":
            return str(nbformat.writes(notebook, version=4)).encode()
        from nbconvert import HTMLExporter, SlidesExporter

    exporter: Any = SlidesExporter if format == "slides" else HTMLExporter
    # no images by their path: a stranger's notebook could name a file of whoever looks at it
    page: str = exporter().from_notebook_node(notebook)[0]
    return page.encode("utf-8", "replace")
