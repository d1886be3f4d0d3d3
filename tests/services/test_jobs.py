"""Notebooks as objects: what goes in comes out, valid, complete, and readable by Jupyter and stock."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from gridfs import GridFS
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from omegaml.errors import Conflict, InvalidInput, NotFound
from tests.services.runtime_processes import in_another_process

pytestmark = pytest.mark.once


def test_a_notebook_comes_back_as_it_was_put_with_or_without_its_ending(om: Any) -> None:
    output = new_output("stream", name="stdout", text="3\n")
    cells = [new_markdown_cell("# Über"), new_code_cell("print(1 + 2)", outputs=[output])]
    om.jobs.put(new_notebook(cells=cells), "reports/daily")
    assert om.jobs.list() == ["reports/daily.ipynb"]
    for name in ("reports/daily", "reports/daily.ipynb"):
        assert om.jobs.get(name).cells == cells and om.jobs.exists(name)
        assert om.jobs.metadata(name).kind == "script.ipynb"
    om.jobs.put(om.jobs["reports/daily"], "reports/daily.ipynb")
    assert om.jobs.list() == ["reports/daily.ipynb"]
    with pytest.raises(Conflict):
        om.jobs.put(new_notebook(), "reports/daily", replace=False)
    om.jobs.rename("reports/daily", "weekly")
    om.jobs.copy("weekly", "monthly")
    assert om.jobs.drop("weekly") and om.jobs.list() == ["monthly.ipynb"]
    with pytest.raises(NotFound, match=r"weekly\.ipynb"):
        om.jobs.get("weekly")


def test_what_is_stored_is_the_file_that_others_read(om: Any) -> None:
    meta = om.jobs.create(["x = 1", "x"], "two")
    stored = json.loads(GridFS(om.db, "omegaml").get(meta.gridfile).read())
    assert stored["nbformat"] == 4 and [c["source"] for c in stored["cells"]] == [["x = 1"], ["x"]]
    assert stored["metadata"]["kernelspec"]["name"] == "python3" == meta.kind_meta["kernel"]
    nbformat.validate(nbformat.from_dict(stored))


def test_files_of_older_notebooks_are_completed(om: Any, tmp_path: Path) -> None:
    path = tmp_path / "old.ipynb"
    cell: dict[str, Any] = {
        "cell_type": "code",
        "source": ["1\n", "2"],
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 2}))
    om.jobs.put(path, "old")
    assert om.jobs.get("old").cells[0].source == "1\n2"
    assert om.jobs.get("old").metadata.kernelspec.language == "python"
    sheet = {"cells": [{"cell_type": "code", "input": "3", "language": "python", "outputs": []}]}
    older = {"worksheets": [sheet], "metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0}
    path.write_text(json.dumps(older))
    om.jobs.put(str(path), "older")
    assert om.jobs.get("older").cells[0].source == "3"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '"cells"', '{"cells": 3}', '{"cells": [{"cell_type": "odd"}], "nbformat": 4}'],
)
def test_what_is_no_notebook_is_refused(om: Any, tmp_path: Path, content: str) -> None:
    path = tmp_path / "not.ipynb"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=r"no.* notebook"):
        om.jobs.put(path, "not")
    assert om.jobs.list() == [] and om.db["omegaml.files"].count_documents({}) == 0


def test_other_things_and_impossible_names_are_refused(om: Any, tmp_path: Path) -> None:
    for thing in (3, b"{}", [1], tmp_path / "nowhere.ipynb", tmp_path):
        with pytest.raises(InvalidInput):
            om.jobs.put(thing, "not")
    with pytest.raises(InvalidInput):
        om.jobs.create([1], "not")
    for name in ("run", "daily/logs.ipynb", "", "../x"):
        with pytest.raises(InvalidInput):
            om.jobs.create("1", name)
    julia = new_notebook(metadata={"language_info": {"name": "julia"}})
    with pytest.raises(InvalidInput, match="julia"):
        om.jobs.put(julia, "not")
    assert om.jobs.list() == []


def test_a_notebook_is_exported_as_a_page_slides_or_a_file(om: Any, tmp_path: Path) -> None:
    om.jobs.create("print('<b>hello</b>')", "hello")
    page, file = tmp_path / "page.html", io.BytesIO()
    assert om.jobs.export("hello", page) == page.read_bytes()
    assert b"<html" in page.read_bytes() and b"&lt;b&gt;hello" in page.read_bytes()
    om.jobs.export("hello", file, format="ipynb")
    assert nbformat.reads(file.getvalue().decode(), 4) == om.jobs.get("hello")
    assert b"reveal" in om.jobs.export("hello", format="slides")
    with pytest.raises(InvalidInput, match="pdf"):
        om.jobs.export("hello", format="pdf")


def test_a_page_has_no_file_in_it_that_a_stranger_s_notebook_names(
    om: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.svg").write_text("<svg>mine</svg>")
    inlined = base64.b64encode(b"<svg>mine</svg>")
    om.jobs.put(new_notebook(cells=[new_markdown_cell("![x](mine.svg) <img src='mine.svg'>")]), "spy")
    for format in ("html", "slides"):
        page = om.jobs.export("spy", format=format)
        assert b'src="mine.svg"' in page and inlined not in page


def test_the_names_of_the_package_are_the_stores_also_when_modules_of_that_name_are_imported(
    om_url: str,
) -> None:
    code = f"""
import omegaml as om, omegaml.jobs, omegaml.runtime
om.setup(mongo_url={om_url!r})
om.jobs.create("1", "a")
om.jobs.create("2", "b")
print(om.jobs.list(), type(om.runtime).__name__)
"""
    assert in_another_process(code) == "['a.ipynb', 'b.ipynb'] Runtime"


HEADER = '# omega-ml:\n#   schedule: "Fridays, at 06:00"\n'


def test_a_header_changes_what_it_says_and_nothing_else(om: Any) -> None:
    om.jobs.create(HEADER + "x = 1", "daily")
    job = om.runtime.require("gpu").job("daily", limit=60)
    hook = "https://chat.example.com/hooks/abc"
    job.schedule("Fridays, at 06:00", zone="UTC", parameters={"a": 1}, retries=3, webhook=hook)
    om.jobs.create(HEADER + "x = 2", "daily")
    plan = om.runtime.job("daily").plan()
    assert (plan.label, plan.limit, plan.parameters, plan.webhook) == ("gpu", 60, {"a": 1}, hook)
    assert (plan.retries, plan.catch_up, plan.zone) == (3, "once", "UTC")
    om.jobs.create(HEADER + "#   retries: 1\n#   zone: Europe/Berlin\nx = 2", "daily")
    plan = om.runtime.job("daily").plan()
    assert (plan.retries, plan.zone, plan.webhook, plan.label) == (1, "Europe/Berlin", hook, "gpu")
    om.jobs.create("x = 3", "daily")
    assert om.runtime.job("daily").plan() is None


@pytest.mark.parametrize("line", ["every 7 minutes", "hourly\n#   owner: ann", "&a [*a]"])
def test_results_are_kept_whatever_the_header_says(om: Any, line: str) -> None:
    code = f"# omega-ml:\n#   schedule: {line}\n"
    with pytest.raises(InvalidInput, match=r"header|schedule|hour"):
        om.jobs.create(code, "daily")
    om.jobs.create(code, "results/daily")
    assert om.jobs.get("results/daily").cells[0].source == code and om.jobs.scheduled() == []
