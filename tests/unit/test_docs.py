"""The documents name what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from omegaml import errors

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def everything(base: type[errors.OmegaError]) -> list[type[errors.OmegaError]]:
    return [base, *(e for sub in base.__subclasses__() for e in everything(sub))]


def test_the_page_of_errors_lists_each_with_its_exit_code_and_name() -> None:
    page = (ROOT / "docs/errors.md").read_text()
    rows = re.findall(r"(?m)^\| (\d+) \| `(\w+)` \| `(\w+)` \|", page)
    assert sorted(rows) == sorted(
        (str(e.exit_code), e("").code, e.__name__)
        for e in everything(errors.OmegaError)
        if e.__module__ == errors.__name__
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_picture_is_shown_and_says_what_it_shows() -> None:
    page = (ROOT / "docs/web.md").read_text()
    shown = re.findall(r'<img src="(images/[^"]+)" width="\d+" alt="[^"]+">', page)
    there = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs/images").rglob("*.png")]
    assert sorted(shown) == sorted(there)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_documents_is_python(page: Path) -> None:
    for block in re.findall(r"(?ms)^```python\n(.*?)^```", page.read_text()):
        compile(block, str(page), "exec")
