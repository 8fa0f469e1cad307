"""The second derivative of NT-Xent's faster versions, which is the specification's."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.nt_xent import reference


def grad_with_graph(
    view_a: Tensor, view_b: Tensor, temperature: float | Tensor, upstream: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss's gradient in both views, which can be differentiated again, as a backward pass under create_graph=True.

    It is computed by plain torch, in memory O(N^2).
    """
    with torch.enable_grad():
        # Tensors of their own, should both views be one.
        view_a, view_b = view_a.view_as(view_a).requires_grad_(), view_b.view_as(view_b).requires_grad_()
        loss = reference.nt_xent(view_a, view_b, temperature=temperature)
        grad_a, grad_b = torch.autograd.grad(loss, (view_a, view_b), upstream.to(loss.dtype), create_graph=True)
    return grad_a, grad_b
