"""Images as vectors of few pixels, in which they are compared without asking the model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 14  # pixels, at which images are compared
BATCH = 1000  # images at a time


def few_pixels(images_NCHW: Tensor, chosen_M: Tensor) -> Tensor:
    """Some of the uint8 images in [0, 1], averaged to SIDE x SIDE pixels at most: float32 [M, P], on their device."""
    parts = [
        averaged(images_NCHW[index.to(images_NCHW.device)].float() / 255.0) for index in chosen_M.split(BATCH)
    ] or [averaged(images_NCHW[:0].float())]
    return torch.cat(parts)


def averaged(images_BCHW: Tensor) -> Tensor:
    """Images averaged to SIDE x SIDE pixels at most, [B, P]."""
    height, width = (min(SIDE, side) for side in images_BCHW.shape[2:])
    return F.adaptive_avg_pool2d(images_BCHW, (height, width)).flatten(1)
