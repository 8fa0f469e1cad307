"""The colours of charts, and how far apart they are.

One set serves white and dark grounds: each colour has a contrast of 3:1 or more with both (WCAG 2.2, criterion 1.4.11),
and with the grounds of cards. That leaves colours of nearly one lightness, which readers who see few hues would mix up,
so each also has a line style, a marker and a hatch of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

INK = {"light": "#1b1f24", "dark": "#e4e7eb"}
SOFT = {"light": "#57606a", "dark": "#a3adb8"}  # of captions and lines to compare with
GROUND = {"light": "#ffffff", "dark": "#14171b"}
CARD = {"light": "#f5f7f9", "dark": "#1d2126"}


@dataclass(frozen=True)
class Style:
    """How one of several series is drawn: colour, line style, marker, and the hatch of its bars."""

    colour: str
    line: str
    marker: str
    hatch: str


# Blue, vermilion and green after Okabe and Ito; the violet is the colour farthest from these, whatever cone is missing.
STYLES = (
    Style("#0072b2", "-", "o", ""),
    Style("#d55e00", "--", "s", "////"),
    Style("#009e73", "-.", "^", "...."),
    Style("#8849f2", ":", "D", "xxxx"),
)


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" (sRGB), from 0 to 1, as WCAG defines it."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast of two colours "#rrggbb", from 1 (none) to 21 (black on white), as WCAG defines it."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def ink_on(colour: str) -> str:
    """Black or white, whichever is easier to read on a colour: at least 4.5:1."""
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, colour))
