"""Gumbel-Softmax, the specification: softmax((log softmax(logits) + Gumbel noise) / temperature).

Source: Elastic-InfoGAN (arXiv 1910.01112), section 3.2; Jang et al., arXiv 1611.01144, eq. 2.
Legend: E leading dimensions, B rows, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.checks import positive_or_nan
from kernels.philox import reference as philox


class _StraightThrough(torch.autograd.Function):
    """Straight-through: forward exactly the one-hot code, backward the soft sample's gradient."""

    @staticmethod
    def forward(ctx: Any, soft_EBK: Tensor, hard_EBK: Tensor) -> Tensor:
        return hard_EBK

    @staticmethod
    def backward(ctx: Any, grad_EBK: Tensor) -> tuple[Tensor, None]:
        return grad_EBK, None


def gumbel_softmax(
    logits: Tensor,
    *,
    temperature: float | Tensor,
    seed: Tensor,
    offset: Tensor,
    batch_size: int | None = None,
    row_start: int | Tensor = 0,
    hard: bool = False,
) -> tuple[Tensor, Tensor]:
    """See kernels.gumbel_softmax. Computes in float32 (float64 for float64 logits), whatever the inputs."""
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    log_prior = torch.log_softmax(logits.to(dtype), dim=-1)
    if batch_size is not None:
        log_prior = log_prior.unsqueeze(-2)  # [E, 1, K]: one prior for all rows of its batch
        rows = batch_size
    else:
        rows = logits.shape[-2] if logits.dim() > 1 else 1
    word = philox.words(seed, offset, rows, logits.shape[-1], row_start=row_start, stream=philox.STREAM_GUMBEL)
    noise = philox.to_gumbel(word, dtype)
    if batch_size is None and logits.dim() == 1:
        noise = noise.squeeze(-2)
    perturbed = log_prior + noise
    code = perturbed.detach().argmax(dim=-1)
    sample = torch.softmax(perturbed / positive_or_nan(temperature), dim=-1)
    if hard:
        # The added 0 * sample keeps a NaN from bad logits, which a one-hot code would hide.
        one_hot = torch.nn.functional.one_hot(code, logits.shape[-1]) + 0.0 * sample.detach()
        sample = _StraightThrough.apply(sample, one_hot)
    return sample.to(logits.dtype), code
