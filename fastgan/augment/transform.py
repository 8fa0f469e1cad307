"""The random parameters of the identity-preserving transform, shared by all backends.

An image's parameters depend only on (seed, number of the image in the run): neither the batch nor the order of calls
matters, and a resumed run needs no saved state. The whole transform is one affine map and one linear change of colour
per image, where the authors' library resamples three times.

Legend: B images, CHW an image, 23 a matrix from output to input coordinates, both in [-1, 1], 33 a matrix from colours
to colours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import kernels
from fastgan.config.schema import TransformConfig

# The offset of each kind of draw in the stream of one seed.
_GEOMETRY, _COLOUR, _FLIP, _SHAPE = 0, 1, 2, 3
MID_GREY = 128.0  # of 255; the grey that contrast does not change, as in DALI for uint8 images
# From RGB to YIQ (NTSC), where hue is an angle and saturation a length; the coefficients are DALI's.
_TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.321), (0.211, -0.523, 0.311))


def _uniform(count: int, columns: int, seed: Tensor, first_image: int | Tensor, place: int) -> Tensor:
    offset = torch.full_like(seed, place)
    return kernels.uniform((count, columns), seed=seed, offset=offset, row_start=first_image)


def draw(config: TransformConfig, size: int, count: int, *, seed: Tensor, first_image: int | Tensor) -> Tensor:
    """Affine maps [B, 2, 3], float32, for the run's images first_image ... first_image + count - 1.

    Args:
        size: side of the image, pixels.
        seed: int64 tensor, used for transforms only.
        first_image: the number in the run of the first image.
    """
    u_B4 = _uniform(count, 4, seed, first_image, _GEOMETRY)
    signed_B4 = 2.0 * u_B4 - 1.0
    zoom_B = config.zoom[0] + (config.zoom[1] - config.zoom[0]) * u_B4[:, 1]
    if config.kind == "paper":
        whole = math.floor(config.rotation)
        degrees_B = torch.floor(u_B4[:, 0] * (2 * whole + 1)) - whole
        angle_B = torch.deg2rad(degrees_B)
        width_B, height_B = _paper_crop(angle_B.abs(), size)
    elif config.kind == "whole":
        angle_B = math.radians(config.rotation) * signed_B4[:, 0]
        width_B = height_B = torch.ones_like(angle_B)
    else:
        angle_B = math.radians(config.rotation) * signed_B4[:, 0]
        # The largest centred upright square inside the rotated one.
        width_B = height_B = 1.0 / (angle_B.cos().abs() + angle_B.sin().abs())
    cos, sin, x, y = angle_B.cos(), angle_B.sin(), width_B / zoom_B, height_B / zoom_B
    if config.flip > 0:  # mirroring comes last: it reverses the output's columns
        x = torch.where(_uniform(count, 1, seed, first_image, _FLIP)[:, 0] < config.flip, -x, x)
    right, down = cos * x, cos * y  # columns of the map: the images of a step right and of a step down
    across, back = sin * x, -sin * y
    if config.shear > 0 or config.stretch > 0:
        signed_B2 = 2.0 * _uniform(count, 2, seed, first_image, _SHAPE) - 1.0
        slant_B = torch.tan(math.radians(config.shear) * signed_B2[:, 0])
        wider_B = torch.exp(math.log1p(config.stretch) * signed_B2[:, 1])
        right, across = right * wider_B, across * wider_B
        down, back = (down + slant_B * sin * y) / wider_B, (back + slant_B * cos * y) / wider_B
    shift_B2 = 2.0 * config.shift * signed_B4[:, 2:4]
    return torch.stack((right, back, shift_B2[:, 0], across, down, shift_B2[:, 1]), dim=1).view(-1, 2, 3)


def _paper_crop(angle_B: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Width and height, as shares of `size`, of the box to which the authors' library crops after rotating.

    On the expanded canvas of X x X pixels it crops (E, A, X - E, X - A), rounded, with t = tan|angle|,
    E = t X (1 - t) - t^2 and A = t (X - E): narrower than the largest upright rectangle that it intends.
    """
    half = size / 2 * (angle_B.cos() + angle_B.sin())
    canvas = 2.0 * torch.ceil(half - 1e-4)
    t = angle_B.tan()
    e = t * canvas * (1.0 - t) - t * t
    a = t * (canvas - e)
    return (canvas - 2.0 * torch.round(e)) / size, (canvas - 2.0 * torch.round(a)) / size


def draw_colours(
    config: TransformConfig, count: int, *, seed: Tensor, first_image: int | Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Brightness, contrast and saturation (factors) and hue (degrees), each float32 [B]; None if all are fixed.

    Args as in `draw`.
    """
    widest = (config.brightness, config.contrast, config.saturation, config.hue)
    if not any(widest):
        return None
    signed_B4 = 2.0 * _uniform(count, 4, seed, first_image, _COLOUR) - 1.0
    brightness, contrast, saturation, hue = (
        most * part for most, part in zip(widest, signed_B4.unbind(1), strict=True)
    )
    return 1.0 + brightness, 1.0 + contrast, 1.0 + saturation, hue


def colour_matrices(saturation_B: Tensor, hue_B: Tensor) -> Tensor:
    """Matrices [B, 3, 3] that change the saturation (a factor) and hue (degrees) of RGB columns."""
    to_yiq = torch.tensor(_TO_YIQ, dtype=torch.float64)
    angle_B = torch.deg2rad(hue_B)
    cos, sin = saturation_B * angle_B.cos(), saturation_B * angle_B.sin()
    change_B33 = torch.zeros(len(hue_B), 3, 3, dtype=hue_B.dtype, device=hue_B.device)
    change_B33[:, 0, 0] = 1.0
    change_B33[:, 1, 1] = change_B33[:, 2, 2] = cos
    change_B33[:, 1, 2], change_B33[:, 2, 1] = sin, -sin
    there, back = to_yiq.to(change_B33), torch.linalg.inv(to_yiq).to(change_B33)
    return back @ change_B33 @ there
