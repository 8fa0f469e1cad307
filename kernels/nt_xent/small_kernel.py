"""NT-Xent of a small batch: loss and gradient in one launch, without a word between programs.

Each program owns BLOCK_R anchors and computes the log-sum-exp of every column by itself: similarities are symmetric, so
the log-sum-exp of column j stands along the rows of a tile that holds all anchors. The batch is so small that doing
this again in every program costs less than a second launch. The loss is summed by each loss's first program.

Legend: see triton_kernel.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.nt_xent.triton_kernel import LN2, LOG2E, normalised, product, through_norm
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
    a_n,
    a_d,
    b_n,
    b_d,
    D: tl.constexpr,
    WHOLE: tl.constexpr,
    DOT: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Of columns, over all anchors but themselves: (log-sum-exp, similarity with the positive), times log2(e)."""
    b_most = tl.zeros(i_column.shape, tl.float32) - 2.0 * scale  # finite, and below every similarity
    b_sum = tl.zeros(i_column.shape, tl.float32)
    b_positive = tl.zeros(i_column.shape, tl.float32)
    i_partner = tl.where(i_column < N, i_column + N, i_column - N)
    for i_first in range(0, BLOCK_A if WHOLE else 2 * N, BLOCK_A):
        i_row = i_first + tl.arange(0, BLOCK_A)
        if WHOLE:
            b_rows = b_all
        else:
            b_unit, b_inverse = normalised(p_a, p_b, i_row, N, a_n, a_d, b_n, b_d, D, BLOCK_D)
            b_rows = b_unit.to(b_columns.dtype)
        b_s = tl.zeros((BLOCK_A, i_column.shape[0]), tl.float32)
        b_s = product(b_rows, tl.trans(b_columns), b_s, DOT) * scale
        b_positive += tl.sum(tl.where(i_row[:, None] == i_partner[None, :], b_s, 0.0), axis=0)
        m = (i_row[:, None] != i_column[None, :]) & (i_row < 2 * N)[:, None]
        b_s = tl.where(m, b_s, float("-inf"))
        b_new = tl.maximum(b_most, tl.max(b_s, axis=0))
        b_sum = b_sum * tl.exp2(b_most - b_new) + tl.sum(tl.exp2(b_s - b_new[None, :]), axis=0)
        b_most = b_new
    return tl.log2(b_sum) + b_most, b_positive


@triton.jit
def small_kernel(
    p_loss,  # float32 [E]
    p_grad,  # float32 [2, E, N, D], contiguous
    p_a,  # [E, N, D]
    p_b,
    p_temperature,  # one value, read where TEMPERATURE_TENSOR
    temperature,
    N,
    a_e,  # strides, in elements
    a_n,
    a_d,
    b_e,
    b_n,
    b_d,
    D: tl.constexpr,
    TEMPERATURE_TENSOR: tl.constexpr,
    BFLOAT16: tl.constexpr,  # of the products' operands; float32 otherwise
    DOT: tl.constexpr,  # "tf32" or "ieee", of float32 operands
    WHOLE: tl.constexpr,  # BLOCK_A >= 2N: all anchors stay on the processor
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Mean loss, and its gradient in the raw embeddings. Grid: (tiles of BLOCK_R anchors, E)."""
    inverse_t = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    scale = inverse_t * LOG2E
    operand: tl.constexpr = tl.bfloat16 if BFLOAT16 else tl.float32
    i_e = tl.program_id(1).to(tl.int64)
    p_a += i_e * a_e
    p_b += i_e * b_e
    i_own = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    b_unit, b_inverse = normalised(p_a, p_b, i_own, N, a_n, a_d, b_n, b_d, D, BLOCK_D)
    b_own = b_unit.to(operand)
    b_all = b_own
    if WHOLE:
        b_every, b_every_inverse = normalised(p_a, p_b, tl.arange(0, BLOCK_A), N, a_n, a_d, b_n, b_d, D, BLOCK_D)
        b_all = b_every.to(operand)
    b_lse_i, b_own_positive = _column_lse(
        b_all, b_own, i_own, scale, p_a, p_b, N, a_n, a_d, b_n, b_d, D, WHOLE, DOT, BLOCK_A, BLOCK_D
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
            b_column, b_column_inverse = normalised(p_a, p_b, i_j, N, a_n, a_d, b_n, b_d, D, BLOCK_D)
            b_u = b_column.to(operand)
        b_lse_j, b_s_positive = _column_lse(
            b_all, b_u, i_j, scale, p_a, p_b, N, a_n, a_d, b_n, b_d, D, WHOLE, DOT, BLOCK_A, BLOCK_D
        )
        total += tl.sum(tl.where(i_j < 2 * N, b_lse_j - b_s_positive, 0.0), axis=0)
        b_s = product(b_own, tl.trans(b_u), tl.zeros((BLOCK_R, BLOCK_C), tl.float32), DOT) * scale
        b_w = tl.exp2(b_s - b_lse_i[:, None]) + tl.exp2(b_s - b_lse_j[None, :])
        # The positive's weight is kept in float32 and its 2 taken off before it is rounded (see triton_kernel).
        b_w_positive += tl.sum(tl.where(i_j[None, :] == i_positive[:, None], b_w, 0.0), axis=1)
        m = (i_j[None, :] != i_own[:, None]) & (i_j[None, :] != i_positive[:, None]) & (i_j < 2 * N)[None, :]
        b_grad = product(tl.where(m, b_w, 0.0).to(operand), b_u, b_grad, DOT)

    some = tl.where(N > 1, 1.0, 0.0)  # without negatives loss and gradient are 0 exactly, or NaN
    if tl.program_id(0) == 0:
        tl.store(p_loss + i_e, total * LN2 * some / (2.0 * N))
    b_positive, b_positive_inverse = normalised(p_a, p_b, i_positive, N, a_n, a_d, b_n, b_d, D, BLOCK_D)
    b_grad = (b_grad + (b_w_positive - 2.0)[:, None] * b_positive) * (inverse_t * some / (2.0 * N))
    b_grad = through_norm(b_grad, b_unit, b_inverse)
    i_view = tl.where(i_own < N, 0, 1)
    i_out = (i_view * tl.num_programs(1) + i_e) * N + i_own - i_view * N
    i_d = tl.arange(0, BLOCK_D)[None, :]
    tl.store(p_grad + i_out[:, None] * D + i_d, b_grad, mask=(i_own < 2 * N)[:, None] & (i_d < D))
