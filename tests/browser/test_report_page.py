"""report.html in a real browser: on a desk and a phone, in light and dark, printed, by keyboard, and for axe-core.

Of the page's structure only landmarks and headings are taken for granted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from test_html_report import state

from fastgan.reporting import html_report

WIDTHS = [390, 1300]
MOST_PRINTED = 12  # pages of A4 that the report of ten codes takes at most
HOSTILE = "<img src=x onerror=alert(1)>"
# Pictures that are shown (not those of a closed part) and are empty.
EMPTY = """[...document.images].filter(image => image.checkVisibility() &&
  (!image.complete || !image.naturalWidth || !image.clientWidth)).length"""
HEADINGS = "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(each => Number(each.tagName[1]))"


@pytest.fixture
def report(trained_run: Path) -> Path:
    return trained_run / html_report.NAME


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_whole_at_every_width_and_theme(
    width: int, dark: bool, report: Path, visit: Callable[..., Any], tmp_path: Path
) -> None:
    shot = tmp_path / "shot.png"
    with visit(report, width=width, dark=dark) as seen:
        assert seen.page.evaluate("innerWidth") == width
        assert seen.page.evaluate("document.images.length") >= 10
        seen.page.evaluate("[...document.images].forEach(image => { image.loading = 'eager'; })")
        seen.page.wait_for_function("[...document.images].every(image => image.complete)")
        assert seen.page.evaluate(EMPTY) == 0
        assert seen.too_wide() <= 0
        seen.page.screenshot(path=str(shot), full_page=True)
        assert seen.complaints == []
        assert {address.split(":")[0] for address in seen.asked} <= {"file", "data", "blob"}
    with Image.open(shot) as picture:
        assert picture.width == width and picture.height > 900
        grey = picture.convert("L")
        assert len(set(grey.tobytes())) > 50
        corner = grey.getpixel((2, 2))
        assert isinstance(corner, int) and (corner < 64 if dark else corner > 192)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_barrier(dark: bool, report: Path, visit: Callable[..., Any]) -> None:
    for width in WIDTHS:
        with visit(report, width=width, dark=dark) as seen:
            assert seen.barriers() == []


def test_a_page_of_a_run_in_training_has_no_other_barrier(visit: Callable[..., Any], tmp_path: Path) -> None:
    """That it loads itself again is one, which goes with the run's end (WCAG 2.2.1)."""
    path = tmp_path / "report.html"
    html_report.write(path, state(), "Written in training, at epoch 1 of 2; it loads itself again each minute.")
    with visit(path) as seen:
        assert [line.split(":")[0] for line in seen.barriers()] == ["meta-refresh"]
        assert seen.barriers("meta-refresh") == []
        assert seen.complaints == []
        assert "Written in training" in seen.page.inner_text("body")


def test_landmarks_and_headings(report: Path, visit: Callable[..., Any]) -> None:
    with visit(report) as seen:
        assert seen.page.locator("main").count() == 1
        levels = seen.page.evaluate(HEADINGS)
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(later - before <= 1 for before, later in zip(levels, levels[1:], strict=False))
        assert seen.page.title().strip() and seen.page.get_attribute("html", "lang") == "en"


def test_the_keyboard_reaches_what_can_be_used_and_leaves_it(report: Path, visit: Callable[..., Any]) -> None:
    where = "document.activeElement === document.body ? '' : document.activeElement.outerHTML.slice(0, 80)"
    with visit(report, width=390) as seen:
        reached = []
        for _ in range(40):
            seen.page.keyboard.press("Tab")
            reached.append(seen.page.evaluate(where))
        assert sum(map(bool, reached)) >= 3
        assert all(one != other or not one for one, other in zip(reached, reached[1:], strict=False))


def test_it_prints_on_few_pages(report: Path, visit: Callable[..., Any], tmp_path: Path) -> None:
    with visit(report) as seen:
        assert 1 <= seen.printed(tmp_path / "report.pdf") <= MOST_PRINTED


def test_names_from_anywhere_are_text(visit: Callable[..., Any], tmp_path: Path) -> None:
    given, path = state(), tmp_path / "report.html"
    names = (HOSTILE, "</script><script>alert(2)</script>", "' onload='alert(3)", "ok")
    images = dataclasses.replace(given.images, name=HOSTILE, class_names=names)
    html_report.write(path, dataclasses.replace(given, images=images))
    with visit(path) as seen:
        assert seen.complaints == []
        assert HOSTILE in seen.page.inner_text("body")
        assert seen.page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize("classes", [1000, 40])
def test_many_codes_and_codes_without_images(classes: int, visit: Callable[..., Any], tmp_path: Path) -> None:
    """Of forty images most codes have none."""
    path = tmp_path / "report.html"
    html_report.write(path, state(classes, labelled=False, size=8))
    for width in WIDTHS:
        with visit(path, width=width) as seen:
            assert seen.complaints == [] and seen.too_wide() <= 0
            assert seen.page.evaluate(EMPTY) == 0


WRONG = """<!DOCTYPE html><html lang="en"><head><title>wrong</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"></head>
<body style="margin: 0"><main><h1>Wrong</h1><p style="color: #aaa; background: #fff">faint</p>
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><div style="width: 2000px">wide</div>
<script>document.title = "ran";</script></main></body></html>"""


def test_what_is_wrong_with_a_page_is_seen(visit: Callable[..., Any], tmp_path: Path) -> None:
    """A page with a script and a picture that its policy refuses, faint words, no alternative text, and too wide."""
    path = tmp_path / "wrong.html"
    path.write_text(WRONG, encoding="utf-8")
    with visit(path, width=390) as seen:
        assert seen.page.title() == "wrong" and any("script-src" in said for said in seen.complaints)
        assert any(said.startswith("CSP: img-src") for said in seen.complaints)
        assert {line.split(":")[0] for line in seen.barriers()} >= {"color-contrast", "image-alt"}
        assert seen.too_wide() > 1000 and seen.page.evaluate(EMPTY) == 1
        assert seen.printed(tmp_path / "wrong.pdf") == 1


def test_on_a_phone_groups_begin_where_their_heading_is(visit: Callable[..., Any], tmp_path: Path) -> None:
    """What can be done with names is folded up there; the first picture of each group is on the first screen."""
    path = tmp_path / "report.html"
    html_report.write(path, state(6))
    top = "selector => document.querySelector(selector).getBoundingClientRect().top"
    with visit(path, width=390) as seen:
        assert seen.page.locator("#naming").is_visible() and not seen.page.locator("#save-table").is_visible()
        assert seen.page.evaluate(top, ".overview li:last-child img") < 900
        to_picture = seen.page.evaluate(top, ".group .shot img") - seen.page.evaluate(top, "#classes")
        assert 0 < to_picture < 900, "within one screen of the heading"
        seen.page.click("#naming > summary")
        assert seen.page.locator("#save-table").is_visible()
    with visit(path, width=1300) as seen:
        assert seen.page.locator("#save-table").is_visible()
        assert seen.page.evaluate(top, ".group .fields") > seen.page.evaluate(top, ".group .shot img")
