"""What the tests of several ops share: NT-Xent's views, and a function whose gradient is undefined."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def views(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views that resemble each other, with norms from about 0.1 to 10 times the square root of D."""
    generator = torch.Generator().manual_seed(seed)
    size = 10.0 ** (2.0 * torch.rand(*shape[:-1], 1, generator=generator, dtype=torch.float64) - 1.0)
    first = torch.randn(*shape, generator=generator, dtype=torch.float64)
    second = 0.7 * first + torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (size * first).to(dtype), second.to(dtype)


class Dropped(torch.autograd.Function):
    """Its gradient is undefined, which is None and not zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        return None
