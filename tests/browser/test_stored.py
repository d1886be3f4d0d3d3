"""What people do with datasets and models in the browser."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import stored
from tests.browser.visits import visit
from tests.services.web_platform import PASSWORD, Person, WebPlatform
from tests.services.web_runner import WebRunner


def tab_to(page: Page, what: str) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("what => document.activeElement.matches(what)", what):
            return
    raise AssertionError(f"Tab does not lead to {what}")


def test_signing_in_and_deleting_a_dataset_takes_no_mouse(web: WebPlatform, browser: Browser) -> None:
    person = web.person()
    with stored.platform(person) as om:
        om.datasets.put(stored.sales(), "old sales")
    with visit(browser, web.url) as seen:
        page, press = seen.go("/"), seen.page.keyboard.press
        press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        tab_to(page, 'main a[href*="login"]')
        press("Enter")
        page.wait_for_url("**/account/login/*")
        tab_to(page, "#id_username")
        page.keyboard.type(person.userid)
        press("Tab")
        page.keyboard.type(PASSWORD)
        press("Enter")
        page.wait_for_url(f"{web.url}/")
        tab_to(page, 'a[href="/datasets/"]')
        press("Enter")
        page.wait_for_url("**/datasets/")
        tab_to(page, 'a[href="/dataset/old%20sales/"]')
        press("Enter")
        page.wait_for_url("**/dataset/old%20sales/")
        tab_to(page, "a.danger")
        press("Enter")
        page.wait_for_url("**/delete/**")
        expect(page.locator("main")).to_contain_text("400 rows")
        tab_to(page, "#id_typed")
        page.keyboard.type("sales")
        press("Enter")
        expect(page.locator(".errorlist")).to_contain_text("Nothing was deleted")
        tab_to(page, "#id_typed")
        press("Control+A")
        page.keyboard.type("old sales")
        press("Enter")
        expect(page.get_by_role("status")).to_contain_text("is deleted")
        assert seen.complaints == []
    with stored.platform(person) as om:
        assert om.datasets.list() == []


def test_names_and_cells_that_look_like_scripts_are_only_text(
    web: WebPlatform, browser: Browser, ann: Person
) -> None:
    name = quote(stored.HOSTILE)
    with visit(browser, web.url, ann) as seen:
        for path in (
            "/datasets/",
            f"/dataset/{name}/",
            f"/delete/dataset/{name}/",
            "/models/",
            f"/model/{name}/",
        ):
            page = seen.go(path)
            expect(page.locator("main")).to_contain_text(stored.HOSTILE)
        page = seen.go(f"/dataset/{name}/?col={name}&op=eq&value={quote(stored.CELL)}")
        expect(page.locator("table.data")).to_contain_text(stored.CELL)
        seen.go(f"/dataset/{name}/?col={name}&op={name}&value={name}")
        seen.go(f"/datasets/?q={name}&sort={name}&bucket=x")
        seen.go(f"/upload/?name={name}")
        assert seen.complaints == []
        assert page.evaluate("document.querySelectorAll('main script, main img').length") == 0


def test_a_filter_shows_the_rows_and_how_to_ask_for_them_elsewhere(
    web: WebPlatform, browser: Browser, ann: Person
) -> None:
    with visit(browser, web.url, ann) as seen:
        page = seen.go("/dataset/sales/")
        page.get_by_label("Column of condition 1").select_option("visitors")
        page.get_by_label("Comparison of condition 1").select_option("gte")
        page.get_by_label("Value of condition 1").fill("150")
        page.get_by_role("button", name="Filter").click()
        page.get_by_label("Column of condition 2").select_option("shop")
        page.get_by_label("Value of condition 2").fill("north")
        page.get_by_role("button", name="Filter").click()
        seen.settle()
        expected = stored.sales().query("visitors >= 150 and shop == 'north'")
        assert 0 < len(expected) <= 50
        expect(page.locator("table.data tbody tr")).to_have_count(len(expected))
        line = page.locator("#s-python").inner_text()
        address = page.locator("#s-address").inner_text()
    assert line.endswith('om.datasets.get("sales", visitors__gte=150, shop__eq="north")')
    assert address == f"{web.url}/api/v1/dataset/sales/?visitors__gte=150&shop__eq=north"
    with stored.platform(ann) as om:
        found = eval(line.splitlines()[-1], {"om": om})
        assert len(found) == len(expected)
    rows = ann.get(address.partition("/api/v1/")[2]).json()["data"]["rows"]
    assert [row["visitors"] for row in rows] == expected["visitors"].tolist()


def test_a_plot_is_drawn_of_the_chosen_columns_and_says_what_cannot_be_drawn(
    web: WebPlatform, browser: Browser, ann: Person
) -> None:
    with visit(browser, web.url, ann) as seen:
        page = seen.go("/dataset/sales/")
        expect(page.locator("#chart canvas")).to_be_visible()
        page.get_by_label("Up (one or more)").select_option(["visitors", "amount"])
        page.get_by_role("button", name="Draw").click()
        label = "Plot of visitors, amount over day; the numbers are in the table of rows"
        expect(page.locator("#chart")).to_have_attribute("aria-label", label)
        page.get_by_label("Up (one or more)").select_option([])
        page.get_by_role("button", name="Draw").click()
        expect(page.locator("#plot-note")).to_contain_text("no column to draw is chosen")
        assert seen.complaints == []


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_uploaded_file_is_a_dataset_and_replaces_one_only_when_told(
    web: WebPlatform, browser: Browser, bob: Person, tmp_path: Path, form: str
) -> None:
    frame = pd.DataFrame({"a": range(120_000), "b": 0.5, "c": "x"})
    frame["d"] = [*range(119_999), 0.5]  # whole numbers, up to the last
    file = tmp_path / f"table.{form}"
    frame.to_csv(file, index=False) if form == "csv" else frame.to_parquet(file)
    with visit(browser, web.url, bob) as seen:
        page = seen.go("/upload/")
        page.get_by_label("CSV or Parquet file").set_input_files(file)
        page.get_by_label("Name of the dataset").fill("table")
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_role("status").first).to_contain_text("120,000 rows are stored")
        seen.go("/upload/")
        (tmp_path / "new.csv").write_text("a\n1\n")
        page.get_by_label("CSV or Parquet file").set_input_files(tmp_path / "new.csv")
        page.get_by_label("Name of the dataset").fill("table")
        page.get_by_label("Name of the dataset").press("Tab")
        expect(page.locator("#taken")).to_contain_text("There is a dataset of this name with 120000 rows")
        page.get_by_role("button", name="Upload").click()
        expect(page.locator(".errorlist")).to_contain_text("Nothing was changed")
        page.get_by_label("CSV or Parquet file").set_input_files(tmp_path / "new.csv")
        page.get_by_label("Replace it by the file").check()
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_role("status").first).to_contain_text("1 rows are stored")
        assert seen.complaints == []


def test_a_file_that_is_no_table_is_refused_in_a_sentence(
    web: WebPlatform, browser: Browser, bob: Person, tmp_path: Path
) -> None:
    with visit(browser, web.url, bob) as seen:
        page = seen.go("/upload/")
        for name, content in {"x.csv": b"", "y.csv": b"a,b\n1,2\n1,2,3,4\n", "z.parquet": b"no"}.items():
            (tmp_path / name).write_bytes(content)
            page.get_by_label("CSV or Parquet file").set_input_files(tmp_path / name)
            page.get_by_label("Name of the dataset").fill("broken")
            page.get_by_role("button", name="Upload").click()
            expect(page.locator(".errorlist")).to_be_visible()
            assert seen.violations() == []
        assert seen.complaints == []
    with stored.platform(bob) as om:
        assert om.datasets.list() == []


def test_a_model_answers_in_its_page(
    web: WebPlatform, runner: WebRunner, browser: Browser, ann: Person
) -> None:
    with visit(browser, web.url, ann) as seen:
        page = seen.go("/model/flowers/")
        fields = page.locator("[data-feature]").all()
        for field, value in zip(fields, ["5.1", "3.5", "1.4", "0.2"], strict=True):
            field.fill(value)
        page.get_by_role("button", name="Predict").click()
        expect(page.locator(".answer pre")).to_have_text("[0]", timeout=30_000)
        page.get_by_role("button", name="Probabilities").click()
        expect(page.locator(".answer pre")).to_contain_text("1", timeout=30_000)
        page.locator("[data-feature]").first.fill("long")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator(".answer p.bad")).to_be_visible(timeout=30_000)
        assert seen.violations() == seen.complaints == []
        page = seen.go(f"/model/{quote(stored.HOSTILE)}/")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator(".answer p.bad")).to_contain_text("fit", timeout=30_000)
        page.get_by_label("Rows, as JSON").fill("{")
        page.get_by_role("button", name="Predict").click()
        expect(page.locator(".answer")).to_contain_text("no JSON")
        seen.go("/runtime/")
        expect(page.locator("main table").first).to_contain_text("all accounts")
        assert seen.violations() == seen.complaints == []
