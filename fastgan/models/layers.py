"""nn.Linear whose float32 products run on oneDNN on a CPU (kernels.product says why)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import on_onednn, product


class _OneDnnLinear(torch.autograd.Function):
    """x [B, I], weight [O, I], bias [O] to [B, O], all three gradients on oneDNN too; each only where asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            product(grad, weight.t()) if for_x else None,
            product(grad.t(), x.t()) if for_weight else None,
            grad.sum(0) if for_bias else None,
        )


class Linear(nn.Linear):
    """y = x weight^T + bias; it differs from nn.Linear in speed alone."""

    def forward(self, x: Tensor) -> Tensor:
        if on_onednn(x, self.weight) and not torch.is_autocast_enabled("cpu"):
            result: Tensor = _OneDnnLinear.apply(x, self.weight, self.bias)
            return result
        return F.linear(x, self.weight, self.bias)


def channels_last(x: Tensor) -> Tensor:
    """x [B, C, H, W] in the layout in which oneDNN's convolutions are fastest; on a GPU, and in float64, as it is.

    Of one channel torch takes both layouts for the same, so the strides say which is meant. A convolution that reads
    this layout writes it too, and so do normalisations: all layers follow.
    """
    if x.device.type != "cpu" or x.dtype == torch.float64 or torch.compiler.is_compiling():
        return x
    if x.shape[1] == 1:
        return x.contiguous().view(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


class _Unroll(torch.autograd.Function):
    """x [B, C, H, W] in channels-last layout to [B, C * H * W], and its gradient back into that layout.

    Flatten's own gradient would be channels first, and every layer below would mix both, which is slow.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.flatten(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.view(ctx.shape).contiguous(memory_format=torch.channels_last)


class Flatten(nn.Module):
    """[B, C, H, W] to [B, C * H * W], whichever layout it comes in."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_contiguous():
            return x.flatten(1)
        result: Tensor = _Unroll.apply(x)
        return result
