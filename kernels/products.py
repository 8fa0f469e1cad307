"""Matrix products x weight^T on the fastest library that torch ships.

torch computes float32 matrix products on x86 with MKL, which does not use the widest instructions of AMD CPUs: a
64x6272 by 6272x1024 product took 5.3 ms there and 2.3 ms on oneDNN, which torch uses for bfloat16 products and float32
convolutions anyway. The two differ only by float32 rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _onednn() -> Any:
    """torch's oneDNN product x @ w.T (the op to which torch.compile lowers a linear layer), or None."""
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


ONEDNN = _onednn()
WIDE = "AVX512" in torch.backends.cpu.get_cpu_capability()


def _dense(x: Tensor) -> Tensor:
    """x, copied if neither it nor its transpose is contiguous: oneDNN is a thousand times slower on a slice."""
    return x if x.is_contiguous() or x.t().is_contiguous() else x.contiguous()


def on_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN computes the product: float32 matrices on a CPU, not under torch.compile, which chooses."""
    exact = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.dim() == 2
    return exact and ONEDNN is not None and not torch.compiler.is_compiling() and not _better_on_mkl(weight)


def _better_on_mkl(weight: Tensor) -> bool:
    """The one product of a training step that is slower on oneDNN: 64x6272 by the transpose of 1024x6272, with AVX2.

    The gradient through the generator's wide layer takes 8.5 ms on oneDNN and 6.4 on MKL; with AVX-512 4.0 and 6.4.
    """
    transposed = not weight.is_contiguous() and weight.shape[1] > 2 * weight.shape[0]
    return transposed and weight.numel() > 1 << 20 and not WIDE


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [B, I] weight [O, I]^T + bias [O], giving [B, O].

    F.linear computes it where `on_onednn` is false or an input requires a gradient, since the oneDNN op has none.
    """
    if not on_onednn(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and any(value is not None and value.requires_grad for value in (x, weight, bias)):
        return F.linear(x, weight, bias)
    return ONEDNN(_dense(x), _dense(weight), bias, "none", [], "")
