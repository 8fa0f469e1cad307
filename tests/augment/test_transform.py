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
from fastgan.augment.transform import colour_matrices, draw, draw_colours
from fastgan.config.schema import TransformConfig
from fastgan.data.image_set import to_unit_range

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


@pytest.mark.parametrize("kind", ["default", "paper", "whole"])
def test_draws_follow_the_number_of_the_image(kind: Any) -> None:
    """Neither the batch nor the order of calls matters, and a tensor counts as well as an int."""
    settings: dict[str, Any] = {"kind": kind, "shift": 0.1, "shear": 10.0, "stretch": 0.2}
    whole = maps(64, first_image=1000, **settings)
    second = maps(32, first_image=torch.tensor(1032), **settings)
    torch.manual_seed(5)  # the global generator has no part in it
    assert torch.equal(torch.cat((maps(32, first_image=1000, **settings), second)), whole)
    assert torch.equal(maps(64, first_image=1000, **settings), whole)


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


def test_the_whole_kind_crops_nothing() -> None:
    """A turn and a zoom alone: an output pixel lies as far from the centre as its input, but for the zoom."""
    drawn = maps(kind="whole")
    zoom = 1.0 / torch.hypot(drawn[:, 0, 0], drawn[:, 1, 0])
    assert 0.9 - 1e-6 <= zoom.min() < 0.901 and 1.099 < zoom.max() <= 1.1 + 1e-6
    angle = torch.atan2(drawn[:, 1, 0], drawn[:, 0, 0]).rad2deg()
    assert 19.9 < angle.abs().max() <= 20.0 + 1e-4
    # The same angles and zooms as the default kind's, whose crop is taken out by `angles_and_zooms`.
    expected_angle, expected_zoom = angles_and_zooms(maps())
    torch.testing.assert_close(angle, expected_angle, atol=1e-4, rtol=0)
    torch.testing.assert_close(zoom, expected_zoom, atol=1e-5, rtol=0)


def test_shear_slants_and_stretch_keeps_the_area() -> None:
    """Turn, then slant, then scale: undone one after the other, down to what was drawn."""
    still: dict[str, Any] = STILL | {"kind": "whole"}
    slanted = maps(shear=20.0, **still)
    torch.testing.assert_close(slanted[:, :, 0], torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(MANY, 2))
    assert (slanted[:, 1, 1] == 1.0).all()
    degrees = torch.atan(slanted[:, 0, 1]).rad2deg()
    assert stats.kstest(degrees.numpy(), "uniform", (-20.0, 40.0)).pvalue > 1e-3
    wide = maps(stretch=0.25, **still)
    assert (wide[:, 0, 1] == 0).all() and (wide[:, 1, 0] == 0).all()
    torch.testing.assert_close(wide[:, 0, 0] * wide[:, 1, 1], torch.ones(MANY, dtype=torch.float64))
    share = wide[:, 0, 0].log() / math.log(1.25)
    assert stats.kstest(share.numpy(), "uniform", (-1.0, 2.0)).pvalue > 1e-3
    assert (torch.corrcoef(torch.stack((degrees, share))) - torch.eye(2)).abs().max() < 0.04


def test_shear_and_stretch_come_before_the_turn() -> None:
    """The whole map is a rotation times what shear, stretch and zoom make without one."""
    settings: dict[str, Any] = {"kind": "whole", "zoom": (0.8, 1.2), "shear": 15.0, "stretch": 0.2}
    turned, upright = maps(1000, **settings)[:, :, :2], maps(1000, rotation=0.0, **settings)[:, :, :2]
    turn = turned @ torch.linalg.inv(upright)
    identity = torch.eye(2, dtype=torch.float64).expand(1000, 2, 2)
    torch.testing.assert_close(turn @ turn.transpose(1, 2), identity, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.atan2(turn[:, 1, 0], turn[:, 0, 0]), angles_and_zooms(maps(1000))[0].deg2rad())


def test_shear_leaves_other_draws_as_they_are() -> None:
    plain, slanted = maps(100, shift=0.1), maps(100, shift=0.1, shear=10.0)
    assert torch.equal(plain[:, :, 2], slanted[:, :, 2])
    assert torch.equal(plain[:, :, 0], slanted[:, :, 0])


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


def test_the_transform_equals_its_parts() -> None:
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
