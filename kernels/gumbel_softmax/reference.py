"""Gumbel-Softmax, the specification: softmax((log softmax(logits) + Gumbel noise) / temperature).

Source: Elastic-InfoGAN (arXiv 1910.01112), section 3.2; Jang et al., arXiv 1611.01144, eq. 2.
Legend: E leading dimensions, B rows, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.checks import positive_or_nan
from kernels.philox import reference as philox


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
    # Classes of probability 0 stay out of the division, or the temperature's gradient would be 0 * inf. And where the
    # sample is 0, by the second masked_fill, nothing from upstream counts, not even inf.
    never = perturbed == -torch.inf
    scaled = perturbed.masked_fill(never, 0.0) / positive_or_nan(temperature)
    sample = torch.softmax(scaled.masked_fill(never, -torch.inf), dim=-1)
    sample = sample.masked_fill(sample == 0, 0.0)
    if hard:
        # Straight-through: exactly the one-hot code, with the gradient of the soft sample, and NaN where that is NaN.
        one_hot = torch.arange(logits.shape[-1], device=code.device) == code.unsqueeze(-1)
        sample = one_hot + (sample - sample.detach())
    return sample.to(logits.dtype), code
