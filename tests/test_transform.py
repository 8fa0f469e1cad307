"""The identity-preserving transform: what is drawn for an image, and how the image is warped."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from fastgan.augment.tensor import TensorTransform, adjust, warp
from fastgan.augment.transform import colour_matrices, draw, draw_colours, to_unit_range
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


def test_any_angle_keeps_an_inscribed_square() -> None:
    """Up to half a turn either way: as large a part of the image at 90 and 180 degrees as at none."""
    drawn = maps(rotation=180.0, zoom=(1.0, 1.0))
    angle, zoom = torch.atan2(drawn[:, 1, 0], drawn[:, 0, 0]), torch.hypot(drawn[:, 0, 0], drawn[:, 1, 0])
    assert angle.rad2deg().abs().max() > 179.5
    torch.testing.assert_close(zoom, 1.0 / (angle.cos().abs() + angle.sin().abs()), atol=1e-6, rtol=0)
    corners = drawn[:, :, :2].abs().sum(2)  # how far a corner of the output reaches in the input
    assert corners.max() <= 1 + 1e-6


def test_flips_mirror_their_share_of_the_images() -> None:
    plain, drawn = maps(rotation=0.0), maps(rotation=0.0, flip=0.25)
    mirrored = drawn[:, 0, 0] < 0
    assert mirrored.double().mean() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(drawn[~mirrored], plain[~mirrored]), "the other draws stay what they were"
    assert torch.equal(drawn[mirrored] * torch.tensor([[-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]), plain[mirrored])
    all_of_them = maps(50, flip=1.0, shift=0.1).float()
    images = glyph().expand(50, -1, -1, -1)
    torch.testing.assert_close(warp(images, all_of_them), warp(images, maps(50, shift=0.1).float()).flip(3))
    assert not torch.allclose(glyph(), glyph().flip(3))


# --- colours ---

COLOURED: dict[str, float] = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.5, "hue": 20.0}


def colours(count: int = MANY, first_image: int = 0, **settings: float) -> tuple[Tensor, ...]:
    drawn = draw_colours(TransformConfig(**settings), count, seed=SEED, first_image=first_image)  # type: ignore[arg-type]
    assert drawn is not None
    return drawn


def test_colours_are_drawn_in_their_ranges_and_apart() -> None:
    drawn = colours(**COLOURED)
    for values, centre, most in zip(drawn, (1, 1, 1, 0), COLOURED.values(), strict=True):
        assert stats.kstest(values.double().numpy(), "uniform", (centre - most, 2 * most)).pvalue > 1e-3
    geometry = maps(shift=0.1)
    angle, zoom = angles_and_zooms(geometry)
    everything = torch.stack((*(v.double() for v in drawn), angle, zoom, geometry[:, 0, 2], geometry[:, 1, 2]))
    assert (torch.corrcoef(everything) - torch.eye(8)).abs().max() < 0.04
    assert draw_colours(TransformConfig(), 5, seed=SEED, first_image=0) is None


def test_each_colour_has_a_switch_of_its_own() -> None:
    """What is off does not change, and what is on draws the same whatever else is on."""
    together = colours(64, **COLOURED)
    for i, (name, most) in enumerate(COLOURED.items()):
        alone = colours(64, **{name: most})
        assert torch.equal(alone[i], together[i])
        assert all((values == (0 if j == 3 else 1)).all() for j, values in enumerate(alone) if j != i)


def test_colour_draws_follow_the_number_of_the_image() -> None:
    whole = colours(64, first_image=1000, **COLOURED)
    for ours, theirs in zip(colours(32, first_image=1032, **COLOURED), whole, strict=True):
        assert torch.equal(ours, theirs[32:])


def rgb() -> Tensor:
    """[8, 3, 16, 16] in [-1, 1], from the inner half of the range, so that nothing need be clamped."""
    return torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)) - 0.5


def test_brightness_and_saturation_are_torchvisions() -> None:
    """One image after the other by torchvision, on [0, 1]; its grey and ours differ in the fourth digit."""
    images = rgb()
    brightness, _, saturation, _ = colours(8, **COLOURED)
    one, zero = torch.ones(8), torch.zeros(8)
    ours = adjust(images, brightness, one, None)
    for i in range(8):
        expected = TF.adjust_brightness((images[i] + 1) / 2, float(brightness[i])) * 2 - 1
        torch.testing.assert_close(ours[i].clamp(-1, 1), expected)
    ours = adjust(images, one, one, colour_matrices(saturation, zero))
    for i in range(8):
        expected = TF.adjust_saturation((images[i] + 1) / 2, float(saturation[i])) * 2 - 1
        torch.testing.assert_close(ours[i], expected, atol=2e-3, rtol=0)


def test_contrast_is_about_mid_grey() -> None:
    images = rgb()
    _, contrast, _, _ = colours(8, **COLOURED)
    middle = 128 / 127.5 - 1
    expected = (images - middle) * contrast[:, None, None, None] + middle
    torch.testing.assert_close(adjust(images, torch.ones(8), contrast, None), expected)


def test_hue_turns_colours_and_leaves_luminance() -> None:
    """A whole turn changes nothing, two halves neither, a third moves what is red towards green or blue."""
    images = rgb().double()
    one = torch.ones(8, dtype=torch.float64)

    def turned(images: Tensor, degrees: float) -> Tensor:
        return adjust(images, one, one, colour_matrices(one, degrees * one))

    torch.testing.assert_close(turned(images, 360.0), images)
    torch.testing.assert_close(turned(turned(images, 180.0), 180.0), images)
    torch.testing.assert_close(turned(turned(images, 40.0), -40.0), images)
    luminance = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[None, :, None, None]
    torch.testing.assert_close((turned(images, 75.0) * luminance).sum(1), (images * luminance).sum(1))
    red = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64).view(1, 3, 1, 1).expand(8, 3, 1, 1)
    assert turned(red, 120.0)[0, :, 0, 0].argmax() != 0


def test_nothing_drawn_changes_no_colour() -> None:
    one, zero = torch.ones(8), torch.zeros(8)
    torch.testing.assert_close(adjust(rgb(), one, one, colour_matrices(one, zero)), rgb())


def test_the_whole_transform_is_what_its_parts_are() -> None:
    """By the backend, in blocks: each image as its own draws say, bytes in and [-1, 1] out."""
    config = TransformConfig(flip=0.5, shift=0.1, **COLOURED)  # type: ignore[arg-type]
    images = ((rgb().repeat(20, 1, 1, 1) + 1) * 127.5).to(torch.uint8)
    transform = TensorTransform(config, SEED, torch.float64)
    transform.start(images, 777)
    whole = transform.finish()
    assert whole.shape == images.shape and whole.dtype == torch.float64 and whole.min() >= -1 and whole.max() <= 1
    geometry = draw(config, 16, 160, seed=SEED, first_image=777)
    brightness, contrast, saturation, hue = colours(160, first_image=777, flip=0.5, shift=0.1, **COLOURED)
    changed = adjust(to_unit_range(images, torch.float64), brightness, contrast, colour_matrices(saturation, hue))
    torch.testing.assert_close(whole, warp(changed, geometry), atol=1e-9, rtol=0)
    assert (whole - to_unit_range(images, torch.float64)).abs().mean((1, 2, 3)).min() > 0.01


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
