"""One training step on images of a test's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastgan.augment.factory import make_transform
from fastgan.config.presets import preset
from fastgan.step.step import Step

# What the default recipe adds to the paper's, for a config of any size; few overclustering codes are enough.
DEFAULT_RECIPE: dict[str, Any] = {
    name: getattr(preset("mnist"), name)
    for name in ("contrastive_weight", "contrastive_temperature", "agreement_weight", "front_end_learns")
    + ("real_averages", "prior_pull", "prior_learning_rate", "grouping", "transform")
} | {"finer_codes": 15}


def transformed(step: Step, images: Tensor) -> Tensor | None:
    """What a DeviceLoader gives to this step besides these uint8 images [B, C, H, W]: their transforms, or None."""
    if not step.config.learns_from_real:
        return None
    dtype = step.networks.discriminator.real.weight.dtype
    dtype = dtype if dtype == torch.float64 else torch.float32
    count, channels = images.shape[:2]
    transform = make_transform(step.config, channels=channels, most=count, device=step.device, dtype=dtype)
    transform.start(images, int(step.images_seen))
    return transform.finish()


def advance(step: Step, images: Tensor) -> Tensor:
    """The losses of one step on uint8 images [B, C, H, W] and their transforms."""
    return step(images, transformed(step, images))
