"""One step of Adam, the specification: arXiv 1412.6980, algorithm 1, as torch.optim.Adam computes it.

No weight decay, no amsgrad; the same step updates a moving average of the weights. The host reads no tensor, so a CUDA
graph can capture it.
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
        shadow: receives the new weights, rounded to its dtype.
        grad: any dtype; not written.
        step, lr, grad_scale, found_inf, share: one element each.
        grad_scale: divides the gradients.
        found_inf: if above 0, nothing is updated.
        large: gradients of the last len(large) weights, used in place of those in `grad`.
        average: moving average of the last len(average) weights: average += share * (new weights - average).
    """
    beta1, beta2 = betas
    if large is not None:
        grad = torch.cat((grad[: len(grad) - len(large)], large))
    g = grad.to(master.dtype)
    if grad_scale is not None:
        g = g / grad_scale.to(master.dtype)
    new_step = step + 1
    # In float64: 1 - 0.999 loses four digits in float32.
    bias_correction1 = 1.0 - torch.full_like(new_step, beta1, dtype=torch.float64) ** new_step
    bias_correction2 = 1.0 - torch.full_like(new_step, beta2, dtype=torch.float64) ** new_step
    m = beta1 * exp_avg + (1.0 - beta1) * g
    v = beta2 * exp_avg_sq + (1.0 - beta2) * g * g
    step_size = (lr / bias_correction1).to(master.dtype)
    weights = master - step_size * m / (v.sqrt() / bias_correction2.sqrt().to(master.dtype) + eps)

    for current, new in ((master, weights), (exp_avg, m), (exp_avg_sq, v), (step, new_step)):
        current.copy_(new if found_inf is None else torch.where(found_inf > 0, current, new))
    if shadow is not None:
        shadow.copy_(master if found_inf is None else torch.where(found_inf > 0, shadow, master.to(shadow.dtype)))
    if average is not None and share is not None:
        new_average = average + share.to(average.dtype) * (master[len(master) - len(average) :] - average)
        average.copy_(new_average if found_inf is None else torch.where(found_inf > 0, average, new_average))
