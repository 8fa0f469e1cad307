"""Scalars that kernels take as numbers or as one-element tensors, which the host then does not read."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def inverse_temperature(p_temperature, temperature, FROM_TENSOR: tl.constexpr):
    """1 / T in float32; a tensor that is not above 0 and finite gives NaN."""
    if FROM_TENSOR:
        value = tl.load(p_temperature).to(tl.float32)
        valid = (value > 0.0) & (value < float("inf"))
        return 1.0 / tl.where(valid, value, float("nan"))
    else:
        return 1.0 / tl.cast(temperature, tl.float32)


@triton.jit
def first_row(p_row_start, row_start, FROM_TENSOR: tl.constexpr):
    """Number of the first row in the stream, int64."""
    if FROM_TENSOR:
        return tl.load(p_row_start).to(tl.int64)
    else:
        return tl.cast(row_start, tl.int64)
