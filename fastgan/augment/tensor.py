"""The transform as batched tensor operations, on any device (`--augment torchvision`).

torchvision's functions take one angle or factor for a whole batch, and its hue goes through HSV, which is not linear.
Here each image has its own parameters, and colours change linearly, as in DALI.

Legend: as in transform.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.augment.transform import MID_GREY, colour_matrices, draw, draw_colours
from fastgan.config.schema import TransformConfig
from fastgan.data.image_set import to_unit_range

BLOCK = 64  # images at a time on a CPU, so that their tensors fit in the cache


def warp(images_BCHW: Tensor, maps_B23: Tensor, *, interpolation: str = "bicubic") -> Tensor:
    """Apply affine maps [B, 2, 3] to images [B, C, H, W] in [-1, 1]; outside an image it is black (-1)."""
    grid = F.affine_grid(maps_B23.to(images_BCHW.dtype), list(images_BCHW.shape), align_corners=False)
    # grid_sample pads with 0, so black must be 0 while it samples; bicubic overshoots, hence the clamp.
    warped = F.grid_sample(images_BCHW + 1.0, grid, mode=interpolation, padding_mode="zeros", align_corners=False)
    return (warped - 1.0).clamp(-1.0, 1.0)


def adjust(images_BCHW: Tensor, brightness_B: Tensor, contrast_B: Tensor, colours_B33: Tensor | None) -> Tensor:
    """Change brightness, contrast about mid-grey and, with 3 channels, colours of images in [-1, 1]; not clamped."""
    gain_B, black = (brightness_B * contrast_B).to(images_BCHW.dtype), -1.0
    grey = MID_GREY / 127.5  # above black
    offset_B = grey * (brightness_B - brightness_B * contrast_B).to(images_BCHW.dtype)
    above = images_BCHW - black
    if colours_B33 is not None:
        above = torch.einsum("bij,bjhw->bihw", colours_B33.to(images_BCHW.dtype), above)
    return above * gain_B[:, None, None, None] + offset_B[:, None, None, None] + black


class TensorTransform:
    """Transforms images with torch operations on the current stream.

    Args:
        seed: int64 tensor on the images' device.
        dtype: of the computation and of the result.
    """

    def __init__(self, config: TransformConfig, seed: Tensor, dtype: torch.dtype) -> None:
        self.config, self.seed, self.dtype = config, seed, dtype
        self.interpolation = "bicubic" if config.interpolation == "auto" else config.interpolation
        self.name = f"torchvision ({self.interpolation})"
        self._result: Tensor | None = None

    def reseed(self, seed: int) -> None:
        """Use another seed from here on."""
        self.seed.fill_(seed)

    def start(self, images_BCHW: Tensor, first_image: int) -> None:
        """Transform uint8 images [B, C, H, W], the run's images from number first_image on."""
        count, channels, size = images_BCHW.shape[:3]
        maps = draw(self.config, size, count, seed=self.seed, first_image=first_image)
        colours = draw_colours(self.config, count, seed=self.seed, first_image=first_image)
        matrices = None
        if colours is not None and channels == 3:
            matrices = colour_matrices(*colours[2:])
        block = BLOCK if images_BCHW.device.type == "cpu" else count
        self._result = torch.empty(images_BCHW.shape, dtype=self.dtype, device=images_BCHW.device)
        for at in range(0, count, block):
            part = slice(at, at + block)
            images = to_unit_range(images_BCHW[part], self.dtype)
            if colours is not None:
                turned = None if matrices is None else matrices[part]
                images = adjust(images, colours[0][part], colours[1][part], turned)
            self._result[part] = warp(images, maps[part], interpolation=self.interpolation)

    def finish(self) -> Tensor:
        """The result of the last start: [B, C, H, W] in [-1, 1]."""
        assert self._result is not None, "start first"
        result, self._result = self._result, None
        return result
