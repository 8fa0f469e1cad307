"""The colours of charts: contrast on both grounds, and how readers who see few hues tell them apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from fastgan.reporting import palette
from fastgan.reporting.palette import CARD, GROUND, INK, SOFT, STYLES, contrast

# How colours look to readers without one kind of cone (Machado, Oliveira, Fernandes 2009, severity 1), in linear RGB.
SEEN = {
    "all cones": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]


def lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB of linear sRGB."""
    x, y, z = np.cbrt(np.array(TO_XYZ) @ linear.clip(0.001, 1) / [0.95047, 1.0, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def linear(colour: str) -> NDArray[np.float64]:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == contrast("#ffffff", "#777777") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_pass_on_every_ground(theme: str) -> None:
    """3:1 for what is drawn, 4.5:1 for words."""
    for ground in (GROUND[theme], CARD[theme]):
        assert all(contrast(style.colour, ground) >= 3 for style in STYLES)
        assert contrast(INK[theme], ground) >= 4.5 and contrast(SOFT[theme], ground) >= 4.5


def test_numbers_can_be_read_on_any_colour() -> None:
    for grey in range(0, 256, 5):
        colour = f"#{grey:02x}{grey:02x}{grey:02x}"
        assert contrast(palette.ink_on(colour), colour) >= 4.5


@pytest.mark.parametrize("seen", SEEN)
def test_any_two_are_told_apart(seen: str) -> None:
    """By colour to every reader, and besides by line, marker and hatch."""
    colours = [lab(np.array(SEEN[seen]) @ linear(style.colour)) for style in STYLES]
    for (one, a), (other, b) in itertools.combinations(zip(STYLES, colours, strict=True), 2):
        assert np.linalg.norm(a - b) > 15, (one, other)
    for part in ("colour", "line", "marker", "hatch"):
        assert len({getattr(style, part) for style in STYLES}) == len(STYLES)
