"""NT-Xent of a small batch: loss and gradient in one launch, without communication between programs.

Each program owns BLOCK_R anchors and computes the log-sum-exp of every column itself: similarities are symmetric, so
the log-sum-exp of column j is a sum over the rows of a tile that holds all anchors. For a small batch, repeating this
in every program costs less than a second launch. The first program of each loss sums the loss.

Legend: see triton_kernel.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.nt_xent.triton_kernel import LN2, LOG2E, load_normalized, normalize_bwd, product
from kernels.triton_arguments import inverse_temperature


@triton.jit
def _column_lse(
    b_all,  # [BLOCK_A, BLOCK_D]: all anchors, where WHOLE
    b_columns,  # [C, BLOCK_D]
    i_column,  # [C]
    scale,
    p_a,
    p_b,
    N,
    stride_an,
    stride_bn,
    D: tl.constexpr,
    WHOLE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Columns' log-sum-exp over all other anchors and similarity with their positives, both [C], times log2(e)."""
    b_max = tl.zeros(i_column.shape, tl.float32) - 2.0 * scale  # finite, and below every similarity
    b_sum = tl.zeros(i_column.shape, tl.float32)
    b_positive = tl.zeros(i_column.shape, tl.float32)
    i_partner = tl.where(i_column < N, i_column + N, i_column - N)
    for i_first in range(0, BLOCK_A if WHOLE else 2 * N, BLOCK_A):
        i_row = i_first + tl.arange(0, BLOCK_A)
        if WHOLE:
            b_rows = b_all
        else:
            b_unit, b_rnorm = load_normalized(p_a, p_b, i_row, N, stride_an, stride_bn, D, BLOCK_D)
            b_rows = b_unit.to(b_columns.dtype)
        b_s = tl.zeros((BLOCK_A, i_column.shape[0]), tl.float32)
        b_s = product(b_rows, tl.trans(b_columns), b_s, PRECISION) * scale
        b_positive += tl.sum(tl.where(i_row[:, None] == i_partner[None, :], b_s, 0.0), axis=0)
        m = (i_row[:, None] != i_column[None, :]) & (i_row < 2 * N)[:, None]
        b_s = tl.where(m, b_s, float("-inf"))
        b_new_max = tl.maximum(b_max, tl.max(b_s, axis=0))
        b_sum = b_sum * tl.exp2(b_max - b_new_max) + tl.sum(tl.exp2(b_s - b_new_max[None, :]), axis=0)
        b_max = b_new_max
    return tl.log2(b_sum) + b_max, b_positive


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
    OPERAND: tl.constexpr,  # the products' dtype
    PRECISION: tl.constexpr,  # "tf32" or "ieee", of float32 operands
    WHOLE: tl.constexpr,  # BLOCK_A >= 2N: one block holds all anchors, in registers
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Mean loss, and its gradient in the raw embeddings. Grid: (tiles of BLOCK_R anchors, E)."""
    inv_temp = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    scale = inv_temp * LOG2E
    i_e = tl.program_id(1).to(tl.int64)
    p_a += i_e * stride_ae
    p_b += i_e * stride_be
    i_own = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    b_unit, b_rnorm = load_normalized(p_a, p_b, i_own, N, stride_an, stride_bn, D, BLOCK_D)
    b_anchor = b_unit.to(OPERAND)
    b_all = b_anchor
    if WHOLE:
        b_all_unit, b_all_rnorm = load_normalized(p_a, p_b, tl.arange(0, BLOCK_A), N, stride_an, stride_bn, D, BLOCK_D)
        b_all = b_all_unit.to(OPERAND)
    # Similarities are symmetric: the own anchors are columns like any other.
    b_lse_i, b_anchor_positive = _column_lse(
        b_all, b_anchor, i_own, scale, p_a, p_b, N, stride_an, stride_bn, D, WHOLE, PRECISION, BLOCK_A, BLOCK_D
    )
    i_positive = tl.where(i_own < N, i_own + N, i_own - N)
    b_grad = tl.zeros((BLOCK_R, BLOCK_D), tl.float32)
    b_w_positive = tl.zeros((BLOCK_R,), tl.float32)
    total = 0.0

    for i_first in range(0, BLOCK_A if WHOLE and BLOCK_C == BLOCK_A else 2 * N, BLOCK_C):
        i_j = i_first + tl.arange(0, BLOCK_C)
        if WHOLE and BLOCK_C == BLOCK_A:
            b_u = b_all
        else:
            b_column, b_column_rnorm = load_normalized(p_a, p_b, i_j, N, stride_an, stride_bn, D, BLOCK_D)
            b_u = b_column.to(OPERAND)
        b_lse_j, b_s_positive = _column_lse(
            b_all, b_u, i_j, scale, p_a, p_b, N, stride_an, stride_bn, D, WHOLE, PRECISION, BLOCK_A, BLOCK_D
        )
        total += tl.sum(tl.where(i_j < 2 * N, b_lse_j - b_s_positive, 0.0), axis=0)
        b_s = product(b_anchor, tl.trans(b_u), tl.zeros((BLOCK_R, BLOCK_C), tl.float32), PRECISION) * scale
        b_w = tl.exp2(b_s - b_lse_i[:, None]) + tl.exp2(b_s - b_lse_j[None, :])
        # The positive's weight is summed apart, in float32: it nearly cancels with the 2 (see triton_kernel).
        b_w_positive += tl.sum(tl.where(i_j[None, :] == i_positive[:, None], b_w, 0.0), axis=1)
        m = (i_j[None, :] != i_own[:, None]) & (i_j[None, :] != i_positive[:, None]) & (i_j < 2 * N)[None, :]
        b_grad = product(tl.where(m, b_w, 0.0).to(OPERAND), b_u, b_grad, PRECISION)

    has_negatives = tl.where(N > 1, 1.0, 0.0)  # without negatives loss and gradient are 0 exactly, or NaN
    if tl.program_id(0) == 0:
        tl.store(p_loss + i_e, total * LN2 * has_negatives / (2.0 * N))
    b_positive, b_positive_rnorm = load_normalized(p_a, p_b, i_positive, N, stride_an, stride_bn, D, BLOCK_D)
    b_grad = (b_grad + (b_w_positive - 2.0)[:, None] * b_positive) * (inv_temp * has_negatives / (2.0 * N))
    b_grad = normalize_bwd(b_grad, b_unit, b_rnorm)
    i_view = tl.where(i_own < N, 0, 1)
    i_out = (i_view * tl.num_programs(1) + i_e) * N + i_own - i_view * N
    i_d = tl.arange(0, BLOCK_D)[None, :]
    tl.store(p_grad + i_out[:, None] * D + i_d, b_grad, mask=(i_own < 2 * N)[:, None] & (i_d < D))
