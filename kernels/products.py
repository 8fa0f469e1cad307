"""Matrix products x weight^T on the fastest library that torch brings.

torch sends float32 matrix products on x86 to MKL, which does not use the widest instructions of an AMD processor: a
64x6272 by 6272x1024 product took 5.3 ms there and 2.3 ms on oneDNN, to which torch sends bfloat16 products and float32
convolutions anyway. Both give float32 results that differ by rounding alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _onednn() -> Any:
    """torch's oneDNN product x @ w.T (the op that torch.compile puts in place of a linear layer), or None."""
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


ONEDNN = _onednn()
WIDE = "AVX512" in torch.backends.cpu.get_cpu_capability()


def _dense(x: Tensor) -> Tensor:
    """x, copied if it is neither contiguous nor the transpose of such: oneDNN is a thousand times slower on a slice."""
    return x if x.is_contiguous() or x.t().is_contiguous() else x.contiguous()


def on_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN computes the product: float32 matrices on a CPU, unless a compiler traces and chooses itself."""
    exact = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.dim() == 2
    return exact and ONEDNN is not None and not torch.compiler.is_compiling() and not _better_on_mkl(weight)


def _better_on_mkl(weight: Tensor) -> bool:
    """The one product of a step that is not faster on oneDNN: 64x6272 by the transpose of 1024x6272, with AVX2 alone.

    The generator's gradient through its wide layer takes 8.5 ms there and 6.4 on MKL; with AVX-512 it is 4.0 and 6.4.
    """
    transposed = not weight.is_contiguous() and weight.shape[1] > 2 * weight.shape[0]
    return transposed and weight.numel() > 1 << 20 and not WIDE


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [B, I] weight [O, I]^T + bias [O], to [B, O]. On oneDNN no gradient flows through it.

    By F.linear where `on_onednn` does not hold, or a gradient is asked for.
    """
    if not on_onednn(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and any(value is not None and value.requires_grad for value in (x, weight, bias)):
        return F.linear(x, weight, bias)
    return ONEDNN(_dense(x), _dense(weight), bias, "none", [], "")
