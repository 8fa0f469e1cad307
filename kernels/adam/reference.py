"""One step of Adam, the specification: arXiv 1412.6980, algorithm 1, as torch.optim.Adam computes it.

No weight decay, no amsgrad; and, in the same step, an average of the weights. Nothing is read by the host, so a
captured graph may hold this too.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def adam_step(
    master: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: Tensor,
    shadow: Tensor | None,
    grad: Tensor,
    lr: Tensor,
    *,
    betas: tuple[float, float],
    eps: float,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    large: Tensor | None = None,
    average: Tensor | None = None,
    share: Tensor | None = None,
) -> None:
    """Update weights, moments, step count, shadow and average in place, in the dtype of `master`.

    Args:
        shadow: gets the new weights, rounded to its dtype.
        grad: of any dtype; is not written.
        step, lr, grad_scale, found_inf, share: one element each.
        grad_scale: divides the gradients.
        found_inf: above 0: nothing is updated.
        large: the gradients of the last len(large) weights, which are then not taken from `grad`.
        average: an average over time of the last len(average) weights, moved by `share` of the way to the new ones.
    """
    beta1, beta2 = betas
    if large is not None:
        grad = torch.cat((grad[: len(grad) - len(large)], large))
    g = grad.to(master.dtype)
    if grad_scale is not None:
        g = g / grad_scale.to(master.dtype)
    taken = step + 1
    # In float64: 1 - 0.999 has lost four digits in float32.
    left1 = 1.0 - torch.full_like(taken, beta1, dtype=torch.float64) ** taken
    left2 = 1.0 - torch.full_like(taken, beta2, dtype=torch.float64) ** taken
    m = beta1 * exp_avg + (1.0 - beta1) * g
    v = beta2 * exp_avg_sq + (1.0 - beta2) * g * g
    size = (lr / left1).to(master.dtype)
    weights = master - size * m / (v.sqrt() / left2.sqrt().to(master.dtype) + eps)

    for held, new in ((master, weights), (exp_avg, m), (exp_avg_sq, v), (step, taken)):
        held.copy_(new if found_inf is None else torch.where(found_inf > 0, held, new))
    if shadow is not None:
        shadow.copy_(master if found_inf is None else torch.where(found_inf > 0, shadow, master.to(shadow.dtype)))
    if average is not None and share is not None:
        moved = average + share.to(average.dtype) * (master[len(master) - len(average) :] - average)
        average.copy_(moved if found_inf is None else torch.where(found_inf > 0, average, moved))
