"""Gumbel-Softmax for plain CPU tensors: NumPy's stream, one buffer for all steps, and the analytic gradient.

Legend: E leading dimensions, B rows, K classes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernels.checks import positive_or_nan
from kernels.gumbel_softmax import reference
from kernels.philox import cpu as philox_cpu
from kernels.philox import reference as philox


def _noise(dtype: torch.dtype, *address: Any, **where: Any) -> Tensor:
    """Gumbel noise [..., B, K] in `dtype`, a new contiguous tensor; arguments as for `philox.words`."""
    # `philox.to_gumbel` in place.
    exponential = philox_cpu.uniforms(*address, **where).to(dtype).neg_().log1p_().neg_()
    return exponential.log_().neg_()


def _gradient(grad_EBK: Tensor, soft_EBK: Tensor, temperature: float | Tensor, shared: bool) -> Tensor:
    """The gradient of the logits: soft (grad - <soft, grad>) / T, summed over the rows of a shared prior."""
    # It sums to 0 over the classes, so the log-softmax of the prior changes nothing.
    grad = torch._softmax_backward_data(grad_EBK, soft_EBK, -1, soft_EBK.dtype)
    return (grad.sum(-2) if shared else grad) / temperature


def _with_graph(
    logits: Tensor, soft_EBK: Tensor, grad_EBK: Tensor, temperature: float | Tensor, shared: bool
) -> Tensor:
    """The gradient of the logits, which can be differentiated again, as a backward pass under create_graph=True."""
    with torch.enable_grad():
        logits = logits.view_as(logits).requires_grad_()
        log_prior = torch.log_softmax(logits.to(soft_EBK.dtype), dim=-1)
        # A function of the logits whose value is the sample, without the noise, which has been overwritten.
        moved = torch.where(log_prior.isfinite(), (log_prior - log_prior.detach()) / temperature, 0.0)
        soft = torch.softmax((moved.unsqueeze(-2) if shared else moved) + soft_EBK.detach().log(), dim=-1)
        (grad,) = torch.autograd.grad(soft, logits, grad_EBK, create_graph=True)
    return grad


class _GumbelSoftmax(torch.autograd.Function):
    """logits [E, K] (shared by the rows) or [E, B, K], noise [E, B, K] or [B, K] to sample [E, B, K], code [E, B]."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, noise: Tensor, temperature: float | Tensor, shared: bool, hard: bool
    ) -> tuple[Tensor, Tensor]:
        log_prior = torch.log_softmax(logits.to(noise.dtype), dim=-1)
        if shared:
            log_prior = log_prior.unsqueeze(-2)
        # The noise can be overwritten, unless E priors share one seed and offset.
        perturbed = noise.add_(log_prior) if noise.dim() == log_prior.dim() else noise + log_prior
        code = torch.from_numpy(np.asarray(perturbed.numpy().argmax(-1), dtype=np.int64))  # like torch's, but faster
        soft = torch.softmax(perturbed.div_(temperature), dim=-1)
        sample = torch.nn.functional.one_hot(code, logits.shape[-1]) + 0.0 * soft if hard else soft
        sample = sample.to(logits.dtype)
        ctx.mark_non_differentiable(code)
        tensor = isinstance(temperature, Tensor)
        ctx.save_for_backward(soft, temperature if tensor else None, logits)
        ctx.temperature, ctx.shared, ctx.dtype = None if tensor else temperature, shared, logits.dtype
        return sample, code

    @staticmethod
    def backward(ctx: Any, grad_EBK: Tensor, _code: Any) -> tuple[Tensor | None, None, None, None, None]:
        soft_EBK, temperature, logits = ctx.saved_tensors
        grad_EBK = grad_EBK.to(soft_EBK.dtype)
        temperature = ctx.temperature if temperature is None else temperature
        if torch.is_grad_enabled():
            return _with_graph(logits, soft_EBK, grad_EBK, temperature, ctx.shared), None, None, None, None
        grad = _gradient(grad_EBK, soft_EBK, temperature, ctx.shared)
        if not math.isfinite(grad.numpy().sum()):  # 0 * inf, perhaps: where the probability is 0 so is the gradient
            grad = _gradient(grad_EBK.masked_fill(soft_EBK == 0, 0.0), soft_EBK, temperature, ctx.shared)
        return grad.to(ctx.dtype), None, None, None, None


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
    """See kernels.gumbel_softmax. For tensors that are `plain_cpu`."""
    if isinstance(temperature, Tensor) and (temperature.dim() or temperature.requires_grad):
        return reference.gumbel_softmax(
            logits,
            temperature=temperature,
            seed=seed,
            offset=offset,
            batch_size=batch_size,
            row_start=row_start,
            hard=hard,
        )
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    rows = batch_size or (logits.shape[-2] if logits.dim() > 1 else 1)
    noise = _noise(dtype, seed, offset, rows, logits.shape[-1], row_start=row_start, stream=philox.STREAM_GUMBEL)
    if batch_size is None and logits.dim() == 1:
        noise = noise.squeeze(-2)
    result: tuple[Tensor, Tensor] = _GumbelSoftmax.apply(
        logits, noise, positive_or_nan(temperature), batch_size is not None, hard
    )
    return result
