"""NT-Xent of a small batch: loss and gradient in one launch, without communication between programs.

Each program owns BLOCK_R anchors and computes the log-sum-exp of all others itself, as sums along the rows of one tile
that holds all similarities. For a small batch, repeating this in every program costs less than a second launch. One
more program sums the loss.

Legend: see triton_kernel.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.nt_xent.triton_kernel import (
    LN2,
    LOG2E,
    WEIGHT_ONE,
    accumulate,
    anchor_weight,
    load_anchors,
    normalize,
    normalize_bwd,
    pair_weights,
    product,
)
from kernels.triton_arguments import inverse_temperature


@triton.jit
def _row_lse(b_rows, b_all, i_row, scale, N, FIXED_SHIFT: tl.constexpr, PRECISION: tl.constexpr):
    """Base-2 log-sum-exp [R] of anchors i_row over all others, and cosine similarities [R, BLOCK_A]."""
    i_column = tl.arange(0, b_all.shape[0])
    b_s = tl.zeros((b_rows.shape[0], b_all.shape[0]), tl.float32)
    b_s = product(b_rows, tl.trans(b_all), b_s, PRECISION)
    m = (i_column[None, :] != i_row[:, None]) & (i_column < 2 * N)[None, :]
    b_sum = tl.zeros(i_row.shape, tl.float32)
    b_max = tl.zeros(i_row.shape, tl.float32) - 2.0 * scale  # finite, and below every similarity
    b_sum, b_max = accumulate(b_sum, b_max, tl.where(m, b_s, float("-inf")), scale, FIXED_SHIFT)
    return tl.log2(b_sum) + (scale if FIXED_SHIFT else b_max), b_s


@triton.jit
def nt_xent_small_kernel(
    p_loss,  # float32 [E]
    p_grad,  # float32 [2, E, N, D], contiguous
    p_a,  # [E, N, D], the last dimension of stride 1
    p_b,
    p_temperature,  # one value, read where TEMPERATURE_TENSOR
    temperature,
    N,
    stride_ae,  # strides, in elements
    stride_an,
    stride_be,
    stride_bn,
    D: tl.constexpr,
    TEMPERATURE_TENSOR: tl.constexpr,
    FIXED_SHIFT: tl.constexpr,
    OPERAND: tl.constexpr,  # the products' dtype
    PRECISION: tl.constexpr,  # "tf32" or "ieee", of float32 operands
    BLOCK_R: tl.constexpr,
    BLOCK_A: tl.constexpr,  # at least 2N
    BLOCK_D: tl.constexpr,
):
    """Mean loss, and its gradient in the raw embeddings. Grid: (tiles of BLOCK_R anchors and one more, E)."""
    inv_temp = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    scale = inv_temp * LOG2E
    has_negatives = tl.where(N > 1, 1.0, 0.0)  # without negatives loss and gradient are 0 exactly, or NaN
    i_e = tl.program_id(1).to(tl.int64)
    p_a += i_e * stride_ae
    p_b += i_e * stride_be
    i_j = tl.arange(0, BLOCK_A)
    b_all = normalize(load_anchors(p_a, p_b, i_j, N, stride_an, stride_bn, D, BLOCK_D))[0].to(OPERAND)
    b_lse_j, b_s_all = _row_lse(b_all, b_all, i_j, scale, N, FIXED_SHIFT, PRECISION)
    if tl.program_id(0) == tl.num_programs(0) - 1:
        i_partner = tl.where(i_j < N, i_j + N, i_j - N)
        b_s_positive = tl.sum(tl.where(i_j[None, :] == i_partner[:, None], b_s_all, 0.0), axis=1)
        total = tl.sum(tl.where(i_j < 2 * N, b_lse_j - b_s_positive * scale, 0.0), axis=0)
        tl.store(p_loss + i_e, total * LN2 * has_negatives / (2.0 * N))
    else:
        i_own = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
        i_positive = tl.where(i_own < N, i_own + N, i_own - N)
        b_unit, b_rnorm = normalize(load_anchors(p_a, p_b, i_own, N, stride_an, stride_bn, D, BLOCK_D))
        b_positive = normalize(load_anchors(p_a, p_b, i_positive, N, stride_an, stride_bn, D, BLOCK_D))[0]
        b_lse_i, b_s = _row_lse(b_unit.to(OPERAND), b_all, i_own, scale, N, FIXED_SHIFT, PRECISION)
        b_i, b_j = anchor_weight(b_lse_i, scale, FIXED_SHIFT), anchor_weight(b_lse_j, scale, FIXED_SHIFT)
        b_w = pair_weights(b_s, b_i[:, None], b_j[None, :], scale, FIXED_SHIFT)
        # The positive's weight is kept apart, in float32: it nearly cancels with the 2 (see triton_kernel).
        m_positive = i_j[None, :] == i_positive[:, None]
        b_w_positive = tl.sum(tl.where(m_positive, b_w, 0.0), axis=1) - 2.0 * WEIGHT_ONE
        m = (i_j[None, :] != i_own[:, None]) & (i_j < 2 * N)[None, :] & (m_positive == 0)
        b_grad = tl.zeros((BLOCK_R, BLOCK_D), tl.float32)
        b_grad = product(tl.where(m, b_w, 0.0).to(OPERAND), b_all, b_grad, PRECISION)
        b_grad += b_w_positive[:, None] * b_positive
        b_grad = normalize_bwd(b_grad * (inv_temp * has_negatives / (2.0 * N) / WEIGHT_ONE), b_unit, b_rnorm)
        i_view = tl.where(i_own < N, 0, 1)
        i_out = (i_view * tl.num_programs(1) + i_e) * N + i_own - i_view * N
        i_d = tl.arange(0, BLOCK_D)[None, :]
        tl.store(p_grad + i_out[:, None] * D + i_d, b_grad, mask=(i_own < 2 * N)[:, None] & (i_d < D))
