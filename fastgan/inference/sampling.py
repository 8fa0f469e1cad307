"""Samples of a generator, and interpolation between codes and between noises.

Legend: B batch, N rows, S steps, K codes, Z noise.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

import kernels
from fastgan.config.schema import TrainConfig
from fastgan.inference.labelling import BATCH, autocast, eval_batch
from fastgan.models.networks import Generator
from fastgan.seeding import stream_seed

NEARLY_PARALLEL = 1e-4  # radians; this near to 0 or to a half turn the sines of a spherical interpolation vanish


def linear(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Linear interpolation of [..., K] and [..., K]: [..., S, K], both ends included; `steps` is at least 2."""
    t_S1 = torch.linspace(0.0, 1.0, steps, dtype=start.dtype, device=start.device)[:, None]
    return (1 - t_S1) * start.unsqueeze(-2) + t_S1 * end.unsqueeze(-2)


def spherical(start_NZ: Tensor, end_NZ: Tensor, steps: int) -> Tensor:
    """Spherical interpolation from `start` to `end`: [N, S, Z], both ends included; `steps` is at least 2.

    Half way along a straight line normal noise is shorter than any that the generator has met in training; on the
    great circle it keeps its length. Rows that point the same way, or opposite ways, are interpolated linearly.
    """
    cosine_N = torch.nn.functional.cosine_similarity(start_NZ.double(), end_NZ.double(), dim=1)
    angle_N11 = torch.acos(cosine_N.clamp(-1, 1))[:, None, None]
    t_S1 = torch.linspace(0.0, 1.0, steps, dtype=torch.float64, device=start_NZ.device)[:, None]
    sine = torch.sin(angle_N11)
    straight = sine < NEARLY_PARALLEL
    of_start, of_end = (torch.sin(part * angle_N11) / sine.clamp_min(NEARLY_PARALLEL) for part in (1 - t_S1, t_S1))
    round_NSZ = of_start * start_NZ.double()[:, None] + of_end * end_NZ.double()[:, None]
    return torch.where(straight, linear(start_NZ.double(), end_NZ.double(), steps), round_NSZ).to(start_NZ.dtype)


class Sampler:
    """Draws images from a generator in eval mode; the same seed gives the same images."""

    def __init__(self, generator: Generator, config: TrainConfig, device: torch.device, purpose: str) -> None:
        self.generator, self.config, self.device = generator, config, device
        self.eval_batch = eval_batch(config.image_size)
        self.seed = torch.tensor(stream_seed(config.seed, purpose), device=device)

    def __call__(self, codes_N: Tensor, offset: int = 0) -> Tensor:
        """Images [N, C, H, W] in [-1, 1], float32, on the CPU, of hard one-hot codes [N]."""
        return torch.cat(list(self.parts(codes_N, offset)))

    def parts(self, codes_N: Tensor, offset: int = 0) -> Iterator[Tensor]:
        """The same images in parts [B, C, H, W], for more of them than fit into memory."""
        start = 0
        for codes in codes_N.split(self.eval_batch):
            one_hot = torch.nn.functional.one_hot(codes, self.config.classes).float()
            yield self.draw(self._noise(start, len(codes), offset), one_hot)
            start += len(codes)

    def noise(self, rows: int, offset: int = 0) -> Tensor:
        """The noise [N, Z], float32, on the device, of images 0 to rows - 1; another `offset` gives other noise."""
        parts = [self._noise(start, min(BATCH, rows - start), offset) for start in range(0, rows, BATCH)]
        return torch.cat(parts)

    @torch.inference_mode()
    def _noise(self, start: int, rows: int, offset: int) -> Tensor:
        place, width = torch.tensor(offset, device=self.device), self.config.network.noise
        return kernels.normal((rows, width), seed=self.seed, offset=place, row_start=start)

    @torch.inference_mode()
    def draw(self, noise_NZ: Tensor, codes_NK: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1], float32, on the CPU, of this noise and these codes."""
        was_training = self.generator.training
        self.generator.eval()
        images = []
        for noise, codes in zip(noise_NZ.split(self.eval_batch), codes_NK.split(self.eval_batch), strict=True):
            with autocast(self.config, self.device):
                images.append(self.generator(noise.to(self.device), codes.to(self.device)).float().cpu())
        self.generator.train(was_training)
        return torch.cat(images)
