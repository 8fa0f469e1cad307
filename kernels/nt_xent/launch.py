"""NT-Xent as torch ops around its Triton kernels, and their gradient.

Legend: E stacked losses, N images, V = 2N anchors, n local rows, D embedding length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.nt_xent import kernel_calls
from kernels.nt_xent.configurations import configurations
from kernels.nt_xent.double_backward import grad_with_graph
from kernels.nt_xent.tiles import SMALL_TILES, padded_anchors, padded_length

__all__ = [
    "configurations",
    "nt_xent",
    "nt_xent_backward",
    "nt_xent_grad",
    "nt_xent_large",
    "nt_xent_lse",
    "nt_xent_small",
]


@torch.library.custom_op("fastgan::nt_xent_small", mutates_args=())
def nt_xent_small(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> tuple[Tensor, Tensor]:
    """Losses [E] of views [E, N, D] and their gradient [2, E, N, D], both float32."""
    return kernel_calls.small(view_a, view_b, temperature, temperature_tensor, precision)


@nt_xent_small.register_fake
def _(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> tuple[Tensor, Tensor]:
    E, N, D = view_a.shape
    return view_a.new_empty((E,), dtype=torch.float32), view_a.new_empty((2, E, N, D), dtype=torch.float32)


def _small_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    view_a, view_b, ctx.temperature, temperature_tensor, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # zeros for what is not differentiable would take a launch each
    ctx.save_for_backward(output[1], view_a, view_b, temperature_tensor)
    ctx.dtype = view_a.dtype


def _with_graph(
    ctx: Any, grad_E: Tensor, view_a: Tensor, view_b: Tensor, temperature_tensor: Tensor | None
) -> tuple[Tensor | None, ...]:
    """What a backward pass returns that is itself differentiated (create_graph=True)."""
    temperature = ctx.temperature if temperature_tensor is None else temperature_tensor
    return *grad_with_graph(view_a, view_b, temperature, grad_E), None, None, None


def _small_backward(ctx: Any, grad_E: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad_E is None:  # what follows the loss is not differentiable
        return (None,) * 5
    grad, *given = ctx.saved_tensors
    if torch.is_grad_enabled():
        return _with_graph(ctx, grad_E, *given)
    # float32 until here: a scaled loss needs gradients that half precision would have flushed to 0.
    grad_a, grad_b = (grad * grad_E[:, None, None]).to(ctx.dtype).unbind(0)
    return grad_a, grad_b, None, None, None


nt_xent_small.register_autograd(_small_backward, setup_context=_small_context)


@torch.library.custom_op("fastgan::nt_xent", mutates_args=())
def nt_xent_large(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses [E] of views [E, N, D]; and for backward unit embeddings, 1 / norms and anchors' weights."""
    return kernel_calls.forward(
        view_a, view_b, view_a.shape[1], 0, temperature, temperature_tensor, precision, mean=True
    )


@nt_xent_large.register_fake
def _(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    E, N, D = view_a.shape
    unit = view_a.new_empty(kernel_calls.unit_shape(E, N, D), dtype=kernel_calls.OPERANDS[precision])
    loss, rnorm, weight = (
        view_a.new_empty(s, dtype=torch.float32) for s in ((E,), (E, 2, N), kernel_calls.weight_shape(E, N))
    )
    return loss, unit, rnorm, weight


@torch.library.custom_op("fastgan::nt_xent_backward", mutates_args=())
def nt_xent_backward(
    grad_E: Tensor,
    unit: Tensor,
    rnorm: Tensor,
    weight: Tensor,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
    D: int,
    dtype: torch.dtype,
) -> Tensor:
    """The gradient [2, E, N, D] of both views."""
    n = unit.shape[2]
    return kernel_calls.gradient(
        unit, rnorm, weight, grad_E, n, 0, temperature, temperature_tensor, precision, D, dtype
    )


@nt_xent_backward.register_fake
def _(
    grad_E: Tensor,
    unit: Tensor,
    rnorm: Tensor,
    weight: Tensor,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
    D: int,
    dtype: torch.dtype,
) -> Tensor:
    E, _, N, _ = unit.shape
    return unit.new_empty((2, E, N, D), dtype=dtype)


def _large_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    view_a, view_b, ctx.temperature, temperature_tensor, ctx.precision = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:], view_a, view_b, temperature_tensor)


def _large_backward(ctx: Any, grad_E: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad_E is None:
        return (None,) * 5
    *saved, view_a, view_b, temperature_tensor = ctx.saved_tensors
    if torch.is_grad_enabled():
        return _with_graph(ctx, grad_E, view_a, view_b, temperature_tensor)
    given = ctx.temperature, temperature_tensor, ctx.precision, view_a.shape[-1], view_a.dtype
    grad = nt_xent_backward(grad_E, *saved, *given)
    return grad[0], grad[1], None, None, None


nt_xent_large.register_autograd(_large_backward, setup_context=_large_context)


def nt_xent(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> Tensor:
    """Losses [E] of views [E, N, D], by the small kernel where it fits. A temperature tensor overrides the number."""
    _, N, D = view_a.shape
    fits = precision != "ieee" and (padded_anchors(2 * N), padded_length(D)) in SMALL_TILES
    op = nt_xent_small if fits else nt_xent_large
    return op(view_a, view_b, temperature, temperature_tensor, precision)[0]


@torch.library.custom_op("fastgan::nt_xent_lse", mutates_args=())
def nt_xent_lse(
    local: Tensor,
    gathered: Tensor,
    row_start: int,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
) -> tuple[Tensor, Tensor]:
    """lse and loss, float32 [2, n], of the local anchors, whose embeddings are read from `gathered` [2, N, D]."""
    given = temperature, temperature_tensor, precision
    loss, _, _, lse = kernel_calls.forward(gathered[:1], gathered[1:], local.shape[1], row_start, *given, mean=False)
    return lse[0], loss[0]


@nt_xent_lse.register_fake
def _(
    local: Tensor,
    gathered: Tensor,
    row_start: int,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
) -> tuple[Tensor, Tensor]:
    lse, loss = (local.new_empty(local.shape[:2], dtype=torch.float32) for _ in range(2))
    return lse, loss


@torch.library.custom_op("fastgan::nt_xent_grad", mutates_args=())
def nt_xent_grad(
    local: Tensor,
    gathered: Tensor,
    gathered_lse: Tensor,
    row_start: int,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
) -> Tensor:
    """The gradient [2, n, D] of the local embeddings, which are read from `gathered` [2, N, D]."""
    given = temperature, temperature_tensor, precision
    lse = gathered_lse.to(torch.float32).contiguous()
    unit, rnorm, weight, _ = kernel_calls.normalize(gathered[:1], gathered[1:], *given, lse)
    _, n, D = local.shape
    return kernel_calls.gradient(unit, rnorm, weight, None, n, row_start, *given, D, local.dtype)[:, 0]


@nt_xent_grad.register_fake
def _(
    local: Tensor,
    gathered: Tensor,
    gathered_lse: Tensor,
    row_start: int,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
) -> Tensor:
    return torch.empty(local.shape, dtype=local.dtype, device=local.device)
