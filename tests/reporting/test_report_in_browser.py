"""report.html in a browser: what it shows, what can be done in it, and that it needs neither network nor script."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_pages import HOSTILE, of_files

from fastgan import cluster
from fastgan.config import command_line
from fastgan.reporting import html_report

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
playwright.expect.set_options(timeout=60_000)  # a busy machine; a policy that forbids eval forbids wait_for_function
SIZES = {390: 844, 1300: 900}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of files with hostile names, four groups and labels."""
    here = tmp_path_factory.mktemp("report")
    html_report.write(here / "report.html", of_files(here / "images", classes=4))
    return here / "report.html"


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens a page, and fails the test for anything that its console says and any dialog that opens by itself."""
    said: list[str] = []
    contexts = []

    def opened(path: Path, width: int = 1300, **options: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": SIZES[width]}, accept_downloads=True, offline=True, **options
        )
        context.set_default_timeout(120_000)  # a busy machine
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def saved(page: Any, button: str) -> str:
    """The file that a click on a button downloads."""
    with page.expect_download() as download:
        page.click(f"#{button}")
    return Path(download.value.path()).read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_anyone_can_read_it_on_any_screen(report: Path, open_page: Any, width: int, scheme: str) -> None:
    page = open_page(report, width, color_scheme=scheme)
    page.wait_for_selector("canvas")
    page.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true; })")
    wrong = axe.Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in wrong] == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    empty = "[...document.images].filter(image => !image.naturalWidth || !(image.clientWidth || image.hidden))"
    assert page.evaluate(f"{empty}.length") == 0
    if scheme == "light":
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_names_from_anywhere_run_nothing(report: Path, open_page: Any) -> None:
    page = open_page(report)
    page.wait_for_selector("canvas")
    assert page.locator("img[src='x']").count() == 0 and page.evaluate("document.scripts.length") == 2
    page.locator(".group .shot button").first.click()
    assert HOSTILE in page.locator("dialog").inner_text()


def test_a_picture_is_enlarged_with_mouse_or_keys(report: Path, open_page: Any) -> None:
    page = open_page(report)
    first = page.locator(".group .strip button").first
    first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Enlarge ")
    page.keyboard.press("Enter")
    assert page.locator("dialog[open] img").count() == 1
    before = page.locator("dialog [role=status]").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("dialog [role=status]").inner_text() != before
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.closest('.strip') !== null"), "the keys go on from where they were"
    links = page.locator(".shot a")
    assert links.count() > 4 and Path(report.parent / "images").is_dir()
    for link in links.all()[:5]:
        assert link.get_attribute("href").startswith("images/")


def test_groups_are_sorted_filtered_and_found_by_file(report: Path, open_page: Any) -> None:
    page = open_page(report)
    numbers = "[...document.querySelectorAll('.group:not([hidden])')].map(each => +each.dataset.number)"
    page.select_option("#sort", "number")
    assert page.evaluate(numbers) == sorted(page.evaluate(numbers)) and len(page.evaluate(numbers)) == 4
    page.fill("#find", "2")
    playwright.expect(page.locator("#found")).to_have_text("1 of 4 groups")
    assert page.evaluate(numbers) == [2]
    page.fill("#find", "07 &")
    playwright.expect(page.locator("#found")).to_contain_text("1 file of this name")
    assert len(page.evaluate(numbers)) == 1
    page.fill("#find", "no such thing")
    playwright.expect(page.locator("#found")).to_contain_text("0 of 4")


def test_named_and_merged_groups_are_the_table_of_the_command(
    tiny_run: Path, tmp_path: Path, open_page: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    page = open_page(tiny_run / html_report.NAME)
    page.fill("[data-name='3']", 'round, "large" <b>')
    page.select_option("[data-same='5']", "3")
    page.fill("[data-name='0']", "=thin")
    assert 'round, "large" <b> · Group 5' in page.locator("#title-5").inner_text()
    assert "3 of 10 groups have a name" in page.locator("#naming-status").inner_text()
    names = json.loads(saved(page, "save-names"))
    assert names == {"classes": 10, "names": {"0": "=thin", "3": 'round, "large" <b>', "5": 'round, "large" <b>'}}
    (tmp_path / "names.json").write_text(json.dumps(names))
    out = tmp_path / "table.csv"
    flags = [str(tiny_run), "--names", str(tmp_path / "names.json"), "--out", str(out), "--device", "cpu"]
    assert command_line.run_command(cluster.main, flags) == 0
    ours, theirs = (list(csv.reader(io.StringIO(text))) for text in (saved(page, "save-table"), out.read_text()))
    assert len(ours) == len(theirs) and ours[0] == theirs[0]
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert [mine[i] for i in (0, 1, 3, 5)] == [other[i] for i in (0, 1, 3, 5)]
        assert abs(float(mine[2]) - float(other[2])) < 2e-6 and abs(float(mine[4]) - float(other[4])) < 2e-6
    page.reload()
    assert page.input_value("[data-name='0']") == "=thin", "the browser remembers"
    page.click("#forget-names")
    assert page.input_value("[data-name='0']") == ""
    page.set_input_files("#load-names", tmp_path / "names.json")
    playwright.expect(page.locator("[data-name='0']")).to_have_value("=thin")
    assert page.input_value("[data-same='5']") == "3"
    (tmp_path / "other.json").write_text('{"classes": 4, "names": {}}')
    page.set_input_files("#load-names", tmp_path / "other.json")
    playwright.expect(page.locator("#naming-status")).to_contain_text("cannot be used")


def test_the_map_is_gone_through_with_keys(report: Path, open_page: Any) -> None:
    page = open_page(report)
    page.wait_for_selector("canvas")
    page.focus("canvas")
    page.keyboard.press("ArrowRight")
    first = page.locator("#map-status").inner_text()
    assert re.search(r": group \d.* with \d+%", first)
    for key in ("ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    assert page.locator("dialog[open] img").count() == 1
    page.keyboard.press("Escape")
    page.select_option("#map-group", page.locator("#map-group option").nth(1).get_attribute("value"))
    page.click("#map-all")
    assert page.input_value("#map-group") == ""


def test_without_script_everything_but_the_tools_is_there(report: Path, open_page: Any) -> None:
    page = open_page(report, java_script_enabled=False)
    assert page.locator(".group").count() == 4
    assert page.locator(".map img").is_visible() and page.locator(".shot a").first.is_visible()
    page.locator(".row summary").first.click()
    assert page.locator(".row .shot img").first.is_visible()
    for tools in ("#naming", "#tools", "#map-tools", ".fields"):
        assert not page.locator(tools).first.is_visible()


@pytest.mark.parametrize("classes", [4, 12, 40])
def test_it_prints_on_three_pages(classes: int, tmp_path: Path, open_page: Any) -> None:
    html_report.write(tmp_path / "report.html", of_files(tmp_path / "images", classes=classes))
    page = open_page(tmp_path / "report.html")
    pages = re.findall(rb"/Type\s*/Page\b(?!s)", page.pdf(format="A4", prefer_css_page_size=True))
    assert 1 <= len(pages) <= 3
