"""Which transform a run uses: DALI's on a GPU, torch's elsewhere."""

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
    """Transforms many images at a time: what is started is fetched by `finish`, one start at a time."""

    name: str

    def reseed(self, seed: int) -> None: ...

    def start(self, images_BCHW: Tensor, first_image: int) -> None: ...

    def finish(self) -> Tensor: ...


def transform_seed(config: TrainConfig, device: torch.device, rank: int = 0) -> Tensor:
    """The seed of all that a rank's transforms draw, int64: each counts its images from 0, in a stream of its own."""
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
    """The backend that --augment asks for, for at most `most` images at a time.

    auto: DALI on a CUDA GPU, unless bicubic interpolation is asked for, which it lacks; on a CPU tensor operations,
    which are faster there (bench/speed/bench_augment.py). Where DALI cannot be used, auto warns and takes those too.

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
                f"for DALI, {INSTALL}; --augment torchvision says that this is meant",
                RuntimeWarning,
                stacklevel=2,
            )
    return TensorTransform(config.transform, seed, dtype)
