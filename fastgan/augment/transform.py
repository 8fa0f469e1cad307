"""What the identity-preserving transform draws, and the warp that applies it, batched and on the device.

Every image's parameters follow from (seed, number of the image in the run): neither the batch nor the order of
calls matters, and a resumed run needs no saved state. The whole transform is one affine map an image, sampled
once, where the authors' library resamples three times.

Legend: B images, CHW an image, 23 a matrix that takes output to input coordinates, both in [-1, 1].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from fastgan.config import TransformConfig


def to_unit_range(images_BCHW: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images to [-1, 1]."""
    return images_BCHW.to(dtype) / 127.5 - 1.0


def draw(config: TransformConfig, size: int, count: int, *, seed: Tensor, first_image: int | Tensor) -> Tensor:
    """Affine maps [B, 2, 3], float32, of images first_image ... first_image + count - 1 of the run.

    Args:
        size: side of the image, pixels.
        seed: int64 tensor; the transforms' own, shared with no other stream.
        first_image: images seen before this batch (an int, or an int64 tensor under a captured step).
    """
    u_B4 = kernels.uniform((count, 4), seed=seed, offset=torch.zeros_like(seed), row_start=first_image)
    signed_B4 = 2.0 * u_B4 - 1.0
    zoom_B = config.zoom[0] + (config.zoom[1] - config.zoom[0]) * u_B4[:, 1]
    if config.kind == "paper":
        whole = math.floor(config.rotation)
        degrees_B = torch.floor(u_B4[:, 0] * (2 * whole + 1)) - whole
        angle_B = torch.deg2rad(degrees_B)
        width_B, height_B = _paper_crop(angle_B.abs(), size)
    else:
        angle_B = math.radians(config.rotation) * signed_B4[:, 0]
        # The largest square that a rotated square still covers, about its centre.
        width_B = height_B = 1.0 / (angle_B.cos() + angle_B.abs().sin())
    cos, sin, x, y = angle_B.cos(), angle_B.sin(), width_B / zoom_B, height_B / zoom_B
    shift_B2 = 2.0 * config.shift * signed_B4[:, 2:4]
    return torch.stack((cos * x, -sin * y, shift_B2[:, 0], sin * x, cos * y, shift_B2[:, 1]), dim=1).view(-1, 2, 3)


def _paper_crop(angle_B: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Width and height, as shares of `size`, of the box that the authors' library keeps after rotating.

    On the expanded canvas of X x X pixels it crops (E, A, X - E, X - A), rounded, with t = tan|angle|,
    E = t X (1 - t) - t^2 and A = t (X - E): narrower than the largest upright rectangle it was meant to be.
    """
    half = size / 2 * (angle_B.cos() + angle_B.sin())
    canvas = 2.0 * torch.ceil(half - 1e-4)
    t = angle_B.tan()
    e = t * canvas * (1.0 - t) - t * t
    a = t * (canvas - e)
    return (canvas - 2.0 * torch.round(e)) / size, (canvas - 2.0 * torch.round(a)) / size


def warp(images_BCHW: Tensor, maps_B23: Tensor, *, interpolation: str = "bicubic") -> Tensor:
    """Apply affine maps to images in [-1, 1]; what lies outside an image is black (-1)."""
    grid = F.affine_grid(maps_B23.to(images_BCHW.dtype), list(images_BCHW.shape), align_corners=False)
    # grid_sample pads with 0, so black must be 0 while it samples; bicubic overshoots, hence the clamp.
    warped = F.grid_sample(images_BCHW + 1.0, grid, mode=interpolation, padding_mode="zeros", align_corners=False)
    return (warped - 1.0).clamp(-1.0, 1.0)
