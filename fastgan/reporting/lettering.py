"""Class names in charts: short, all different, and only letters that a font of this machine has.

Where a name cannot be drawn, or would look like another one when cut, the chart has the class's number instead, "#5",
and the text beside the chart says what it stands for.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import matplotlib
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.ft2font import FT2Font

from fastgan.text import printable

WIDEST = 12  # columns of a drawn name; a letter of Chinese, Japanese or Korean takes two
# From this version on matplotlib joins letters and sets marks as the script wants it, and lines from right to left.
SHAPES = tuple(map(int, matplotlib.__version__.split(".")[:2])) >= (3, 11)
# Fonts of mathematical symbols, at the places of other characters, and one that has a box for every character.
NOT_FOR_TEXT = ("cm", "STIXSize", "STIXNonUnicode", "Last Resort")
PRESENTATION = ("\ufe0e", "\ufe0f")  # that the emoji before is drawn as text, or in colour: charts leave them out
LEFT_TO_RIGHT = "\u200e"  # a mark without width
JOINED = (*map(chr, range(0x1F3FB, 0x1F400)), *map(chr, range(0x1F1E6, 0x1F200)))  # several make one emoji


@dataclass(frozen=True)
class ChartNames:
    """Names as a chart shows them.

    drawn: of each name; two names never look the same. families: the fonts that have all their letters, in this order.
    numbered: (number, name) of those that are drawn as numbers.
    """

    drawn: dict[str, str]
    families: tuple[str, ...]
    numbered: tuple[tuple[str, str], ...]

    def label(self, code: int, name: str) -> str:
        """ "3: name", from left to right whatever the name's letters are."""
        text = f"{code}: {self.drawn[name]}"
        return f"{LEFT_TO_RIGHT}{text}" if _has(self.families[0], LEFT_TO_RIGHT) and _runs_left(text) else text


def chart_names(names: Sequence[str]) -> ChartNames:
    """How to draw the names of classes; the number of a class is its place in `names`."""
    families: list[str] = list(matplotlib.rcParams["font.family"])
    numbers = {name: f"#{i}" for i, name in enumerate(names)}
    drawn = dict(numbers)
    for name in names:
        text = _plain(name)
        own = _families_for(text, families)
        number_like = text.startswith("#")
        cut_escape = printable(name) != name and _width(text) > WIDEST
        if own is not None and not (number_like or cut_escape):
            drawn[name], families = text, [*families, *own]
    for shorten in (_begin, _both_ends):
        shown = {name: shorten(text) for name, text in drawn.items()}
        looks = Counter(" ".join(text.split()) for text in shown.values())
        clash = {name for name in names if looks[" ".join(shown[name].split())] > 1}
        if not clash:
            break
    drawn = {name: numbers[name] if name in clash else text for name, text in shown.items()}
    numbered = tuple((drawn[name], name) for name in names if drawn[name] == numbers[name])
    return ChartNames(drawn, tuple(families), numbered)


def _plain(name: str) -> str:
    """A name on one line, composed, so that no mark stands alone."""
    text = unicodedata.normalize("NFC", printable(name))
    return "".join(letter for letter in text if letter not in PRESENTATION)


def _families_for(text: str, families: Sequence[str]) -> list[str] | None:
    """Families beside `families` that have the letters which those lack; None if there are none, or text needs more."""
    if not all(map(_draws, text)) or not text.strip():
        return None
    added: list[str] = []
    for letter in text:
        if not letter.isspace() and not any(_has(family, letter) for family in (*families, *added)):
            found = next((family for family in _others() if _has(family, letter)), None)
            if found is None:
                return None
            added.append(found)
    return added


def _draws(letter: str) -> bool:
    """Whether matplotlib draws a letter as it is read, if a font has it."""
    kind = unicodedata.category(letter)
    if kind in ("Cc", "Cs", "Co", "Cn"):
        return False
    joins = kind in ("Mn", "Mc", "Me", "Cf") or letter in JOINED
    return SHAPES or not (joins or _runs_left(letter))


def _runs_left(text: str) -> bool:
    return any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in text)


@cache
def _others() -> tuple[str, ...]:
    """The families of this machine, those made for many scripts first."""
    names = {entry.name for entry in fontManager.ttflist if not entry.name.startswith(NOT_FOR_TEXT)}
    return tuple(sorted(names, key=lambda name: (not name.startswith(("DejaVu", "Noto Sans")), name)))


@cache
def _font(family: str) -> FT2Font | None:
    """The font that matplotlib takes for a family; None if its glyphs are no outlines."""
    try:
        font = get_font(fontManager.findfont(FontProperties(family=[family])))
    except (OSError, RuntimeError, ValueError):  # gone, or of a kind that FreeType does not read
        return None
    return font if font.scalable and "color" not in font.family_name.lower() else None


@cache
def _has(family: str, letter: str) -> bool:
    font = _font(family)
    return font is not None and font.get_char_index(ord(letter)) != 0


def _begin(text: str) -> str:
    return text if _width(text) <= WIDEST else f"{_cut(text, WIDEST - 1)}…"


def _both_ends(text: str) -> str:
    half = (WIDEST - 1) // 2
    return text if _width(text) <= WIDEST else f"{_cut(text, half)}…{_cut(text[::-1], half)[::-1]}"


def _cut(text: str, columns: int) -> str:
    """The beginning of a text, in so many columns."""
    return next(text[:end] for end in range(len(text), -1, -1) if _width(text[:end]) <= columns).rstrip()


def _width(text: str) -> int:
    """Columns that a text takes, about."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
