"""How a batch of images is warped by the maps that were drawn for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_transform import STILL, angles_and_zooms, glyph, maps

from fastgan.augment.tensor import warp
from fastgan.data.image_set import to_unit_range


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("kind", ["default", "paper"])
def test_the_identity_map_changes_nothing(kind: Any, interpolation: str) -> None:
    drawn = maps(3, kind=kind, **STILL)
    for image in (glyph(dtype=torch.float64), torch.rand(1, 2, 28, 28, dtype=torch.float64) * 2 - 1):
        images = image.expand(3, -1, -1, -1)
        torch.testing.assert_close(warp(images, drawn, interpolation=interpolation), images, atol=1e-6, rtol=0)
    single = glyph()
    torch.testing.assert_close(warp(single, drawn[:1].float()), single, atol=2e-5, rtol=0)


@pytest.mark.parametrize("turns, cos, sin", [(0, 1, 0), (1, 0, 1), (2, -1, 0), (3, 0, -1)])
@pytest.mark.parametrize("size", [16, 28])
def test_quarter_turns(size: int, turns: int, cos: int, sin: int) -> None:
    """A map made by hand; positive angles turn counter-clockwise, as torch.rot90 does."""
    image = glyph(size)
    turned = warp(image, torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]]))
    torch.testing.assert_close(turned, torch.rot90(image, turns, (2, 3)), atol=2e-5, rtol=0)
    assert turns == 0 or (turned - image).abs().max() > 1


def test_shifts_and_what_lies_outside() -> None:
    """A map that reads 3 pixels to the right and 2 below; what enters at the border is black."""
    image = (torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) + 1.0) / 2
    moved = warp(image, torch.tensor([[[1.0, 0, 3 * 2 / 16], [0, 1.0, 2 * 2 / 16]]]))
    torch.testing.assert_close(moved[..., :14, :13], image[..., 2:, 3:], atol=1e-4, rtol=0)
    assert (moved[..., 14:, :] == -1).all() and (moved[..., 13:] == -1).all()


def test_each_image_has_its_own_map() -> None:
    images = torch.cat((glyph(), -glyph()))
    drawn = maps(2).float()
    together = warp(images, drawn)
    for i in range(2):
        torch.testing.assert_close(together[i], warp(images[i : i + 1], drawn[i : i + 1])[0])
    assert not torch.allclose(together[0], -together[1], atol=0.1)


@pytest.mark.parametrize("size", [16, 28, 32])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_default_kind_shows_no_corner(size: int, interpolation: str) -> None:
    """A white image stays white at every angle up to 45 degrees: the part that is kept lies inside it."""
    drawn = maps(2000, size=size, rotation=45.0, zoom=(1.0, 1.3), shift=0.0)
    angle, _ = angles_and_zooms(drawn)
    assert angle.abs().max() > 44.9
    white = torch.ones(2000, 1, size, size)
    assert warp(white, drawn.float(), interpolation=interpolation).min() > 1 - 1e-4


def test_zooming_out_shows_the_black_around() -> None:
    """So that the test above can see black where there is any."""
    assert warp(torch.ones(1, 1, 28, 28), maps(1, rotation=0.0, zoom=(0.5, 0.5)).float()).min() == -1


@pytest.mark.parametrize("kind", ["default", "paper"])
def test_warped_images_stay_in_range(kind: Any) -> None:
    """Bicubic sampling overshoots at edges, most of all in noise of black and white."""
    noise = torch.randint(0, 2, (500, 1, 28, 28), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    warped = warp(noise, maps(500, kind=kind, shift=0.2).float())
    assert warped.min() == -1 and warped.max() == 1 and warped.isfinite().all()


def test_to_unit_range() -> None:
    grey = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    torch.testing.assert_close(to_unit_range(grey), torch.tensor([[[[-1.0, -0.6, 1.0]]]]))
    assert to_unit_range(grey, torch.float64).dtype == torch.float64
