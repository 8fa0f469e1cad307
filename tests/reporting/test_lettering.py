"""Class names in charts: distinct, in fonts that have their letters, never a warning. No installed font is asked."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.font_manager import fontManager

from fastgan.reporting import lettering, plots
from fastgan.reporting.lettering import WIDEST, ChartNames, chart_names

LONG = ["a-very-long-class-name-one", "a-very-long-class-name-two", "a-very-long-class-name-too"]
OF_THIS_MACHINE = lettering._others


@pytest.fixture(autouse=True)
def only_matplotlibs_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without other fonts than DejaVu Sans, which matplotlib brings along."""
    monkeypatch.setattr(lettering, "_others", lambda: ("DejaVu Sans",))
    yield
    lettering._has.cache_clear()
    lettering._font.cache_clear()


def font_with(letters: str, family: str, folder: Path) -> Path:
    """A font that has these letters, a square each."""
    names = {ord(letter): f"letter{i}" for i, letter in enumerate(letters)}
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((500, 0), (500, 700), (0, 700)):
        pen.lineTo(corner)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", *names.values()])
    font.setupCharacterMap(names)
    font.setupGlyf(dict.fromkeys([".notdef", *names.values()], pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (600, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(folder / f"{family}.ttf")
    return folder / f"{family}.ttf"


def drawn_without_a_warning(names: list[str]) -> ChartNames:
    shown = chart_names(names)
    share = [1 / len(names)] * len(names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = [shown.label(code, name) for code, name in enumerate(names)]
        assert plots.prior_chart({"prior": share}, labels, "light", shown.families).startswith(b"<?xml")
    return shown


def test_short_names_stay_as_they_are() -> None:
    names = ["cat", "dog", "Straße", "été", "$x$", "3", "кот", "twelve chars"]
    assert drawn_without_a_warning(names).drawn == {name: name for name in names}


def test_names_that_are_equal_when_cut_are_told_apart() -> None:
    drawn = drawn_without_a_warning([*LONG, "zebra"]).drawn
    assert drawn == {
        LONG[0]: "a-ver…e-one",
        LONG[1]: "a-ver…e-two",
        LONG[2]: "a-ver…e-too",
        "zebra": "zebra",
    }
    assert chart_names(["a-very-long-name", "b-very-long-name"]).drawn["b-very-long-name"] == "b-very-long…"


def test_names_that_differ_in_their_middle_are_numbers() -> None:
    names = ["a long beginning, one, the end", "a long beginning, two, the end", "cat"]
    shown = drawn_without_a_warning(names)
    assert shown.drawn == {names[0]: "#0", names[1]: "#1", "cat": "cat"}
    assert shown.numbered == (("#0", names[0]), ("#1", names[1]))


@pytest.mark.parametrize("name", ["猫", "写真 of a cat", "👍🏽", "हिन्दी", "\U0010ffff", "\ue000", " ", "#0", "क"])
def test_what_no_font_has_is_a_number(name: str) -> None:
    shown = drawn_without_a_warning(["cat", name])
    assert shown.drawn == {"cat": "cat", name: "#1"} and shown.numbered == (("#1", name),)


def test_a_font_that_has_the_letters_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(fontManager.ttflist)
    try:
        for letters, family in (("猫写真", "Test Cats"), ("👍", "Test Hands")):
            fontManager.addfont(font_with(letters, family, tmp_path))
        monkeypatch.setattr(lettering, "_others", lambda: ("DejaVu Sans", "Test Hands", "Test Cats"))
        shown = drawn_without_a_warning(["cat", "猫の", "写真 a", "👍", "猫👍"])
    finally:
        fontManager.ttflist[:] = before
    assert shown.drawn == {"cat": "cat", "猫の": "#1", "写真 a": "写真 a", "👍": "👍", "猫👍": "猫👍"}
    assert shown.families[-2:] == ("Test Cats", "Test Hands")


def test_fonts_of_symbols_and_of_boxes_are_not_asked() -> None:
    names = OF_THIS_MACHINE()
    assert names[0].startswith("DejaVu") and "STIXGeneral" in names
    assert not {"cmsy10", "STIXNonUnicode", "Last Resort High-Efficiency"} & set(names)


@pytest.mark.parametrize("shapes", [False, True])
def test_letters_that_join_need_a_matplotlib_that_joins_them(shapes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Arabic word drawn letter by letter, from left to right, is not that word."""
    monkeypatch.setattr(lettering, "SHAPES", shapes)
    drawn = chart_names(["قطة", "שלום", "cat"]).drawn
    assert drawn == (
        {"قطة": "قطة", "שלום": "שלום", "cat": "cat"} if shapes else {"قطة": "#0", "שלום": "#1", "cat": "cat"}
    )


@pytest.mark.skipif(not lettering.SHAPES, reason="this matplotlib does not join letters")
def test_a_label_runs_from_left_to_right() -> None:
    shown = drawn_without_a_warning(["قطة", "cat"])
    assert shown.label(3, "قطة") == "\u200e3: قطة" and shown.label(4, "cat") == "4: cat"


def test_names_that_are_no_line_of_text_are_escaped() -> None:
    shown = drawn_without_a_warning(["\udce9t\udce9", "a\nb", "one\ntwo three four"])
    assert shown.drawn == {"\udce9t\udce9": "#0", "a\nb": r"a\u000ab", "one\ntwo three four": "#2"}


LETTERS = st.characters(exclude_characters="\0/") | st.sampled_from("猫क\u0301\u200d\ufe0f\udce9\nקa -#$\\_^{")


@given(st.lists(st.text(LETTERS, min_size=1, max_size=20), min_size=1, max_size=6, unique=True))
def test_no_two_names_look_the_same_and_none_is_too_wide(names: list[str]) -> None:
    shown = chart_names(names)
    looks = [" ".join(unicodedata.normalize("NFC", text).split()) for text in shown.drawn.values()]
    assert len(set(looks)) == len(names)
    for text in looks:
        assert lettering._width(text) <= WIDEST and text.encode() and "\n" not in text
    numbers = {name: number for number, name in shown.numbered}
    for i, name in enumerate(names):
        if re.fullmatch(r"#\d+", shown.drawn[name]):
            assert shown.drawn[name] == numbers[name] == f"#{i}"


@pytest.mark.parametrize("names", [["$", "a$b$c", r"\frac{1}{2}$", "猫$x^2$"], ["\u0301", "e\u0301", "❤\ufe0f"]])
def test_signs_of_formulas_and_marks_are_letters(names: list[str]) -> None:
    drawn_without_a_warning(names)
