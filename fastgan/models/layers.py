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
