"""NT-Xent for plain CPU tensors: loss and gradient together, in tiles of rows, float32 products on oneDNN.

With E_ij = exp(s_ij / T), 0 for i = j, and L_i = sum_j E_ij, the loss is the mean of log L_i - s_ip / T over the
anchors i with positives p, and its gradient to the normalised embeddings u

    du_i = sum_j (E_ij / L_i + E_ij / L_j - 2 [j = p]) u_j / (T V)

Legend: N images, V = 2N anchors, D embedding length, E leading dimension, R rows of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kernels.nt_xent import reference
from kernels.nt_xent.double_backward import grad_with_graph
from kernels.products import product

TILE = 1 << 19  # similarities of a tile: 2 MB of float32, about the size of a core's cache
MAX_STORED = 1 << 24  # similarities that may be stored from the loss to the gradient: 64 MB of float32
# Up to this 1 / T, exp(s / T) neither overflows nor underflows: exp(-40) = 4e-18, and V exp(40) is below 1e38.
MAX_INV_TEMPERATURE = 40.0


def _tiles(embed_VD: Tensor, temperature: float) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """For each tile: its rows, logits s / T [R, V] with the diagonal not yet masked, positives' columns [R, 1]."""
    V = len(embed_VD)
    scaled_VD = embed_VD / temperature
    size = max(TILE // V, 16)
    for start in range(0, V, size):
        rows = slice(start, min(start + size, V))
        positive_Rx1 = (torch.arange(rows.start, rows.stop)[:, None] + V // 2) % V
        yield rows, product(embed_VD[rows], scaled_VD), positive_Rx1


def _mask(logits_RV: Tensor, rows: slice, value: float) -> None:
    """Fill each anchor's entry for itself, in place."""
    logits_RV[:, rows].fill_diagonal_(value)


def _stored(embed_VD: Tensor, temperature: float, with_grad: bool) -> tuple[Tensor, Tensor | None]:
    """Losses [V], and T V times the unit embeddings' gradient. Each E_ij is computed once and stored: 4 V^2 D FLOPs."""
    V = len(embed_VD)
    total_V, positive_V = embed_VD.new_empty(V), embed_VD.new_empty(V)
    stored = []
    for rows, logits_RV, positive_Rx1 in _tiles(embed_VD, temperature):
        positive_V[rows] = logits_RV.gather(1, positive_Rx1).squeeze(1)
        _mask(logits_RV.exp_(), rows, 0.0)
        torch.sum(logits_RV, 1, out=total_V[rows])
        if with_grad:
            stored.append((rows, logits_RV, positive_Rx1))
    loss_V = total_V.log() - positive_V
    if not with_grad:
        return loss_V, None
    inv_total_V, columns_DV = total_V.reciprocal_(), embed_VD.t().contiguous()
    grad_VD = torch.empty_like(embed_VD)
    for rows, exp_RV, positive_Rx1 in stored:
        weight_RV = (inv_total_V[rows, None] + inv_total_V).mul_(exp_RV)
        weight_RV.scatter_add_(1, positive_Rx1, weight_RV.new_full(positive_Rx1.shape, -2.0))
        grad_VD[rows] = product(weight_RV, columns_DV)
    return loss_V, grad_VD


def _streamed(embed_VD: Tensor, temperature: float, with_grad: bool) -> tuple[Tensor, Tensor | None]:
    """As `_stored`, at any temperature, storing no tile: 6 V^2 D FLOPs. A tile and its transpose give both terms."""
    V = len(embed_VD)
    loss_V = embed_VD.new_empty(V)
    grad_VD, columns_DV = torch.empty_like(embed_VD), embed_VD.t().contiguous()
    transposed_DV = torch.zeros_like(columns_DV)
    for rows, logits_RV, positive_Rx1 in _tiles(embed_VD, temperature):
        _mask(logits_RV, rows, float("-inf"))
        max_Rx1 = logits_RV.amax(1, keepdim=True)
        logit_Rx1 = logits_RV.gather(1, positive_Rx1) - max_Rx1
        exp_RV = logits_RV.sub_(max_Rx1).exp_()
        total_Rx1 = exp_RV.sum(1, keepdim=True)
        loss_V[rows] = (total_Rx1.log() - logit_Rx1).squeeze(1)
        if with_grad:
            weight_RV = exp_RV.div_(total_Rx1)
            weight_RV.scatter_add_(1, positive_Rx1, weight_RV.new_full(positive_Rx1.shape, -1.0))
            grad_VD[rows] = product(weight_RV, columns_DV)
            transposed_DV += product(embed_VD[rows].t(), weight_RV.t())
    return loss_V, grad_VD.add_(transposed_DV.t()) if with_grad else None


def _loss_and_grad(raw_VD: Tensor, temperature: float, with_grad: bool) -> tuple[Tensor, Tensor | None]:
    """Mean loss, and its gradient [V, D] with respect to raw embeddings or None; float32 or float64."""
    embed_VD, rnorm_Vx1 = reference._normalize(raw_VD)
    V = len(embed_VD)
    # For one image loss and gradient must be exactly 0, which only `_streamed`, subtracting the maximum, gives.
    exp_is_safe = V > 2 and 1.0 / temperature <= MAX_INV_TEMPERATURE
    version = _stored if exp_is_safe and V * V <= MAX_STORED else _streamed
    loss_V, grad_VD = version(embed_VD, temperature, with_grad)
    if grad_VD is None:
        return loss_V.mean(), None
    grad_VD.div_(temperature * V)
    # Back through x / |x|, as in `reference.nt_xent_grad`.
    projection_VD = (grad_VD * embed_VD).sum(-1, keepdim=True) * embed_VD
    grad_VD -= torch.where(rnorm_Vx1 < 1 / reference.EPS, projection_VD, 0.0)
    return loss_V.mean(), grad_VD.mul_(rnorm_Vx1)


class _NtXent(torch.autograd.Function):
    """Views [E, N, D] to losses [E]; the gradient is computed with the loss, and only if an input requires it."""

    @staticmethod
    def forward(ctx: Any, view_a: Tensor, view_b: Tensor, temperature: float) -> Tensor:
        with_grad = any(ctx.needs_input_grad)
        raw_EVD = torch.cat((view_a, view_b), dim=1)
        with torch.autocast("cpu", enabled=False):
            losses, grads = zip(*(_loss_and_grad(raw_VD, temperature, with_grad) for raw_VD in raw_EVD), strict=True)
        if with_grad:
            ctx.save_for_backward(torch.stack(grads), view_a, view_b)
            ctx.temperature = temperature
        return torch.stack(losses)

    @staticmethod
    def backward(ctx: Any, grad_E: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        grad_EVD, view_a, view_b = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True
            return *grad_with_graph(view_a, view_b, ctx.temperature, grad_E), None
        grad_a, grad_b = (grad_EVD * grad_E[:, None, None]).to(view_a.dtype).chunk(2, dim=1)
        return grad_a, grad_b, None


def nt_xent(view_a: Tensor, view_b: Tensor, *, temperature: float | Tensor, precision: str = "tf32") -> Tensor:
    """See kernels.nt_xent. For tensors that are `plain_cpu`; a second derivative is the specification's.

    Memory is O(V D), one tile, and up to MAX_STORED similarities.
    """
    if isinstance(temperature, Tensor):
        if temperature.dim() or temperature.requires_grad:
            return reference.nt_xent(view_a, view_b, temperature=temperature, precision=precision)
        temperature = float(temperature.double().numpy().item())  # read by NumPy, not by an op that waits for a device
        if not (math.isfinite(temperature) and temperature > 0):
            temperature = math.nan
    stacked = view_a.dim() == 3
    views = (view_a, view_b) if stacked else (view_a[None], view_b[None])
    loss_E: Tensor = _NtXent.apply(*views, temperature)
    return loss_E if stacked else loss_E[0]
