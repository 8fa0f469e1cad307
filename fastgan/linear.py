"""nn.Linear whose float32 products run on oneDNN on a CPU.

torch sends float32 matrix products on x86 to MKL, which does not use the widest instructions of an AMD processor: a
64x6272 by 6272x1024 product took 5.3 ms there and 2.3 ms on oneDNN, to which torch sends bfloat16 products and float32
convolutions anyway. Both give float32 results that differ by rounding alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _onednn() -> Any:
    """torch's oneDNN product x @ w.T (the op that torch.compile puts in place of a linear layer), or None."""
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_ONEDNN = _onednn()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _ONEDNN(x, weight, bias, "none", [], "")


class _OneDnnLinear(torch.autograd.Function):
    """x [B, I], weight [O, I], bias [O] to [B, O], all three gradients on oneDNN too; each only where asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _product(grad, weight.t()) if for_x else None,
            _product(grad.t(), x.t()) if for_weight else None,
            grad.sum(0) if for_bias else None,
        )


class Linear(nn.Linear):
    """y = x weight^T + bias; see the module's docstring for where it differs from nn.Linear: in speed alone."""

    def forward(self, x: Tensor) -> Tensor:
        exact = x.dtype == self.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if exact and x.device.type == "cpu" and x.dim() == 2 and _ONEDNN and not torch.compiler.is_compiling():
            result: Tensor = _OneDnnLinear.apply(x, self.weight, self.bias)
            return result
        return F.linear(x, self.weight, self.bias)
