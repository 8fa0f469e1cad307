"""The identity-preserving transform: what is drawn for an image, and how the image is warped."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from fastgan.augment import draw, to_unit_range, warp
from fastgan.config import TransformConfig

SEED = torch.tensor(123)
STILL: dict[str, Any] = {"rotation": 0.0, "zoom": (1.0, 1.0), "shift": 0.0}
MANY = 10_000


def maps(count: int = MANY, *, size: int = 28, first_image: int | Tensor = 0, **settings: Any) -> Tensor:
    """[count, 2, 3], in float64 for what is computed from them here."""
    return draw(TransformConfig(**settings), size, count, seed=SEED, first_image=first_image).double()


def glyph(size: int = 28, dtype: torch.dtype = torch.float32) -> Tensor:
    """[1, 1, size, size] in [-1, 1]: a hooked stroke that looks like itself under no turn and no mirror."""
    grey = torch.zeros(size, size, dtype=torch.uint8)
    a, b, c = size // 4, size // 2, 3 * size // 4
    grey[a:c, a] = 255
    grey[a, a:b] = 200
    grey[b, a:c] = 90
    grey[c, b:c] = 30
    return to_unit_range(grey[None, None], dtype)


def angles_and_zooms(maps_B23: Tensor, size: int = 28) -> tuple[Tensor, Tensor]:
    """Of the default kind: degrees, and the zoom once the inscribed square's share is taken out."""
    angle = torch.atan2(maps_B23[:, 1, 0], maps_B23[:, 0, 0])
    scale = torch.hypot(maps_B23[:, 0, 0], maps_B23[:, 1, 0])
    return angle.rad2deg(), 1.0 / (angle.cos() + angle.sin().abs()) / scale


# --- what is drawn ---


@pytest.mark.parametrize("kind", ["default", "paper"])
def test_draws_follow_the_number_of_the_image(kind: Any) -> None:
    """Neither the batch nor the order of calls matters, and a tensor counts as well as an int."""
    whole = maps(64, first_image=1000, kind=kind, shift=0.1)
    second = maps(32, first_image=torch.tensor(1032), kind=kind, shift=0.1)
    torch.manual_seed(5)  # the global generator has no part in it
    assert torch.equal(torch.cat((maps(32, first_image=1000, kind=kind, shift=0.1), second)), whole)
    assert torch.equal(maps(64, first_image=1000, kind=kind, shift=0.1), whole)


def test_images_and_seeds_differ() -> None:
    config = TransformConfig(shift=0.1)
    drawn = maps(1000, shift=0.1)
    assert len(drawn.unique(dim=0)) == 1000
    other = draw(config, 28, 1000, seed=SEED + 1, first_image=0)
    assert (drawn[:, :, 2] != other[:, :, 2]).all()
    assert drawn.shape == (1000, 2, 3) and other.dtype == torch.float32


@pytest.mark.parametrize("rotation", [20.0, 45.0, 0.0])
def test_ranges_are_reached_but_not_left(rotation: float) -> None:
    drawn = maps(rotation=rotation, zoom=(0.9, 1.1), shift=0.1)
    angle, zoom = angles_and_zooms(drawn)
    # The maps count from -1 to 1, so a shift of a tenth of the side is 0.2 there.
    for values, low, high in ((angle, -rotation, rotation), (zoom, 0.9, 1.1), (drawn[:, :, 2], -0.2, 0.2)):
        slack, margin = 1e-5 * max(high, 1.0), 2e-3 * (high - low) + 1e-5
        assert low - slack <= values.min() <= low + margin
        assert high - margin <= values.max() <= high + slack


def test_draws_are_uniform_and_independent() -> None:
    drawn = maps(shift=0.1)
    angle, zoom = angles_and_zooms(drawn)
    values = torch.stack((angle, zoom, drawn[:, 0, 2], drawn[:, 1, 2]))
    for row, (low, high) in zip(values, ((-20, 20), (0.9, 1.1), (-0.2, 0.2), (-0.2, 0.2)), strict=True):
        assert stats.kstest(row.numpy(), "uniform", (low, high - low)).pvalue > 1e-3
    assert (torch.corrcoef(values) - torch.eye(4)).abs().max() < 0.04


def test_the_default_map_is_a_turn_times_a_scale() -> None:
    """No shear and no mirror."""
    drawn = maps(1000)
    torch.testing.assert_close(drawn[:, 0, 0], drawn[:, 1, 1])
    torch.testing.assert_close(drawn[:, 0, 1], -drawn[:, 1, 0])
    assert (torch.linalg.det(drawn[:, :, :2]) > 0).all()


def test_zooming_in_reads_a_smaller_part() -> None:
    closer = maps(4, rotation=0.0, zoom=(2.0, 2.0))
    torch.testing.assert_close(closer[:, :, :2], 0.5 * torch.eye(2, dtype=torch.float64).expand(4, 2, 2))


# --- the paper's transform ---


def paper_angles(drawn: Tensor) -> Tensor:
    """Degrees; width and height shrink the map's two columns apart, so both entries are of one column."""
    return torch.atan2(-drawn[:, 0, 1], drawn[:, 1, 1]).rad2deg()


def test_paper_angles_are_whole_degrees() -> None:
    angle = paper_angles(maps(41 * 1000, kind="paper"))
    assert (angle - angle.round()).abs().max() < 1e-4
    counts = torch.bincount(angle.round().long() + 20, minlength=41)
    assert len(counts) == 41  # -20 to 20, both ends drawn as often as the others
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def crop(degrees: int, size: int) -> tuple[float, float]:
    """Width and height in pixels that the paper's transform keeps at this angle."""
    drawn = maps(2000, size=size, kind="paper", zoom=(1.0, 1.0))
    chosen = drawn[paper_angles(drawn).round() == degrees][0, :, :2]
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
    kept = turn.T @ chosen * size
    assert abs(kept[0, 1]) < 1e-4 and abs(kept[1, 0]) < 1e-4
    return kept[0, 0].item(), kept[1, 1].item()


@pytest.mark.parametrize(
    "degrees, size, expected",
    [
        # 28 pixels at 20 degrees: the canvas grows to 36, and (8, 10, 28, 26) is cropped from it.
        (20, 28, (20, 16)),
        (-20, 28, (20, 16)),
        (10, 28, (24, 24)),  # a canvas of 34, cropped by 5 all around
        (0, 28, (28, 28)),
        (0, 16, (16, 16)),
    ],
)
def test_paper_crop(degrees: int, size: int, expected: tuple[float, float]) -> None:
    assert crop(degrees, size) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("size", [16, 28, 128])
def test_paper_crop_by_hand(size: int) -> None:
    """Every angle, from the sines as the authors' library writes it; 128 pixels tell its last small term."""
    for degrees in range(1, 21):
        sine, other = math.sin(math.radians(degrees)), math.sin(math.radians(90 - degrees))
        canvas = 2 * math.ceil(size / 2 * (sine + other) - 1e-4)
        e = sine / other * (canvas - canvas * (sine / other)) - sine**2 / other**2
        a = sine / other * (canvas - e)
        expected = (round(canvas - e) - round(e), round(canvas - a) - round(a))
        assert crop(degrees, size) == pytest.approx(expected, abs=5e-3), degrees


# --- the warp ---


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("kind", ["default", "paper"])
def test_standing_still_changes_nothing(kind: Any, interpolation: str) -> None:
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
