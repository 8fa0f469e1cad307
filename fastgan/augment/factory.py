"""Choosing the backend of the transform: DALI on a GPU, torch elsewhere."""

from __future__ import annotations

import warnings
from typing import Protocol

import torch
from torch import Tensor

from fastgan.augment.dali import INSTALL, DaliTransform, DaliUnavailableError
from fastgan.augment.tensor import TensorTransform
from fastgan.config.schema import TrainConfig
from fastgan.errors import ConfigError
from fastgan.seeding import stream_seed


class Transform(Protocol):
    """Transforms batches of images: `start` a batch, then fetch it with `finish` before the next start."""

    name: str

    def reseed(self, seed: int) -> None: ...

    def start(self, images_BCHW: Tensor, first_image: int) -> None: ...

    def finish(self) -> Tensor: ...


def transform_seed(config: TrainConfig, device: torch.device, rank: int = 0) -> Tensor:
    """The seed of a rank's transforms, int64 scalar: ranks have independent streams, each counting images from 0."""
    return torch.tensor(stream_seed(config.seed, f"transform-{rank}" if rank else "transform"), device=device)


def make_transform(
    config: TrainConfig,
    *,
    channels: int,
    most: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    rank: int = 0,
) -> Transform:
    """The backend for --augment, for batches of at most `most` images.

    auto: DALI on a CUDA GPU, unless the interpolation is bicubic, which DALI lacks; tensor operations on a CPU, where
    they are faster (bench/speed/bench_augment.py), and, with a warning, where DALI cannot be used.

    Raises:
        ConfigError: --augment dali where DALI cannot be used.
    """
    seed = transform_seed(config, device, rank)
    wanted = config.augment == "auto" and device.type == "cuda" and config.transform.interpolation != "bicubic"
    if config.augment == "dali" or wanted:
        try:
            return DaliTransform(
                config.transform, seed, channels=channels, size=config.image_size, most=most, device=device
            )
        except DaliUnavailableError as error:
            if config.augment == "dali":
                raise ConfigError(
                    f"--augment dali: DALI cannot be used here ({error}); {INSTALL}, or use --augment torchvision"
                ) from error
            warnings.warn(
                f"--augment auto: DALI cannot be used here ({error}), so images are transformed by tensor operations; "
                f"for DALI, {INSTALL}; to silence this warning, use --augment torchvision",
                RuntimeWarning,
                stacklevel=2,
            )
    return TensorTransform(config.transform, seed, dtype)
