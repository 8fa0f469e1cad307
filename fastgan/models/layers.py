"""Layers that are faster on a CPU: nn.Linear on oneDNN (kernels.product says why), and channels-last convolutions."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import on_onednn, product


class _OneDnnLinear(torch.autograd.Function):
    """x [B, I], weight [O, I], bias [O] to [B, O]; the backward pass runs on oneDNN too."""

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
    """y = x weight^T + bias, like nn.Linear but faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if on_onednn(x, self.weight) and not torch.is_autocast_enabled("cpu"):
            result: Tensor = _OneDnnLinear.apply(x, self.weight, self.bias)
            return result
        return F.linear(x, self.weight, self.bias)


def channels_last(x: Tensor) -> Tensor:
    """x [B, C, H, W] in channels-last layout, where oneDNN's convolutions are fastest; as it is on a GPU or in float64.

    With one channel torch considers both layouts equal, so the strides are set explicitly. Convolutions and
    normalisations keep the layout of their input, so it is set once for all layers.
    """
    if x.device.type != "cpu" or x.dtype == torch.float64 or torch.compiler.is_compiling():
        return x
    if x.shape[1] == 1:
        return x.contiguous().view(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


class _Unroll(torch.autograd.Function):
    """x [B, C, H, W] in channels-last layout to [B, C * H * W]; its gradient gets that layout too.

    The gradient of nn.Flatten is channels first, and mixing layouts in the layers before it is slow.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.flatten(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.view(ctx.shape).contiguous(memory_format=torch.channels_last)


class Flatten(nn.Module):
    """[B, C, H, W] in either layout to [B, C * H * W]."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_contiguous():
            return x.flatten(1)
        result: Tensor = _Unroll.apply(x)
        return result
