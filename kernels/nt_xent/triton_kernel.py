"""NT-Xent in tiles: the V x V similarities live in registers only, so memory stays O(N D).

Three kernels: `nt_xent_normalize_kernel` writes unit embeddings and 1 / norms, `nt_xent_fwd_lse_kernel` the log-sum-exp
of each anchor, `nt_xent_bwd_kernel` the gradient of the local rows' raw embeddings. Similarities are symmetric, so one
tile holds both terms of W_ij = P_ij + P_ji, the weight of column j in the gradient of anchor i. Where the temperature
is known not to be small, logits bounded by 1 / T allow a fixed shift in place of the running maximum: partial sums
simply add, and both terms of W come from one exponential, e (1 / L_i + 1 / L_j).

A positive's P_ij + P_ji - 2 nearly cancels in a trained network. It is therefore left out of the tiles, whose weights
are rounded to the operands' precision, and added in float32. Its similarity comes from the tile that holds it, so that
the product's rounding error cancels against that of the log-sum-exp.

Logarithms and exponentials are base 2 inside; the scale is log2(e) / T.

Legend: E stacked losses, N images, V = 2N anchors, n local rows, D embedding length. i_ index, p_ pointer, m_ mask,
b_ block of values.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.triton_arguments import inverse_temperature

EPS: tl.constexpr = tl.constexpr(1e-8)  # the least norm that an embedding is divided by
LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN2: tl.constexpr = tl.constexpr(0.6931471805599453)
INTERPRETED: tl.constexpr = tl.constexpr(bool(triton.knobs.runtime.interpret))


@triton.jit
def product(b_x, b_y, b_sum, PRECISION: tl.constexpr):
    """x @ y + sum in float32. The interpreter multiplies bfloat16 as integers, so it gets float32 operands."""
    if INTERPRETED:
        b_x = b_x.to(tl.float32)
        b_y = b_y.to(tl.float32)
    return tl.dot(b_x, b_y, b_sum, input_precision=PRECISION)


@triton.jit
def load_normalized(p_a, p_b, i_row, N, stride_an, stride_bn, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Load raw anchors i_row [R]: (x / max(|x|, EPS) [R, BLOCK_D], 1 / max(|x|, EPS) [R]), both float32.

    A zero row, and rows from 2N on, give zeros and 1 / norm 0; a NaN or inf makes its whole row NaN.
    """
    i_d = tl.arange(0, BLOCK_D)[None, :].to(tl.int64)
    i_n = i_row[:, None].to(tl.int64)
    m_d = i_d < D
    b_x = tl.load(p_a + i_n * stride_an + i_d, mask=(i_n < N) & m_d, other=0.0).to(tl.float32)
    m_b = (i_n >= N) & (i_n < 2 * N) & m_d
    b_x += tl.load(p_b + (i_n - N) * stride_bn + i_d, mask=m_b, other=0.0).to(tl.float32)
    b_largest = tl.max(tl.where(b_x == b_x, tl.abs(b_x), 0.0), axis=1)
    # Scaled by the largest entry, squares neither overflow nor underflow. The floor 1e-30 keeps the reciprocal finite;
    # such rows are below EPS anyway. An inf gives inf * 0 = NaN.
    b_inv_scale = tl.div_rn(tl.full(b_largest.shape, 1.0, tl.float32), tl.maximum(b_largest, 1e-30))
    b_scaled = b_x * b_inv_scale[:, None]
    b_length = tl.sqrt_rn(tl.sum(b_scaled * b_scaled, axis=1))
    m_small = b_length * tl.maximum(b_largest, 1e-30) < EPS  # not so for NaN
    b_inv_length = tl.div_rn(tl.full(b_length.shape, 1.0, tl.float32), tl.where(m_small, 1.0, b_length))
    b_unit = tl.where(m_small[:, None], b_x * (1.0 / EPS), b_scaled * b_inv_length[:, None])
    b_floor = tl.where(b_largest == 0.0, 0.0, 1.0 / EPS)
    return b_unit, tl.where(m_small, b_floor, b_inv_length * b_inv_scale)


@triton.jit
def nt_xent_normalize_kernel(
    p_unit,  # [E, 2N, D], contiguous: float32 or bfloat16
    p_rnorm,  # float32 [E, 2N]
    p_a,  # [E, N, D], the last dimension of stride 1
    p_b,
    N,
    stride_ae,  # strides, in elements
    stride_an,
    stride_be,
    stride_bn,
    D: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Grid: (tiles of BLOCK_R anchors, E)."""
    i_e = tl.program_id(1).to(tl.int64)
    i_row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    b_unit, b_rnorm = load_normalized(
        p_a + i_e * stride_ae, p_b + i_e * stride_be, i_row, N, stride_an, stride_bn, D, BLOCK_D
    )
    i_d = tl.arange(0, BLOCK_D)[None, :]
    i_out = i_e * 2 * N + i_row.to(tl.int64)
    m_row = i_row < 2 * N
    m = m_row[:, None] & (i_d < D)
    tl.store(p_unit + i_out[:, None] * D + i_d, b_unit.to(p_unit.dtype.element_ty), mask=m)
    tl.store(p_rnorm + i_out, b_rnorm, mask=m_row)


@triton.jit
def _load_unit(p_unit, i_row, m_row, first_d, D: tl.constexpr, BLOCK_D: tl.constexpr, EVICT: tl.constexpr):
    """Load unit embeddings [R, BLOCK_D] from entry first_d on; zeros outside the mask and past D."""
    i_d = first_d + tl.arange(0, BLOCK_D)[None, :]
    p = p_unit + i_row[:, None].to(tl.int64) * D + i_d
    if D % BLOCK_D == 0:
        return tl.load(p, mask=m_row[:, None], other=0.0, eviction_policy=EVICT)
    else:
        return tl.load(p, mask=m_row[:, None] & (i_d < D), other=0.0, eviction_policy=EVICT)


@triton.jit
def _unit_base(p_unit, i_e, N, D: tl.constexpr):
    """Pointer to the unit embeddings of one loss, with its alignment, which the allocator ensures, as a hint."""
    p_unit += i_e * 2 * N * D
    if D % 16 == 0:
        p_unit = tl.multiple_of(p_unit, 16)
    return p_unit


@triton.jit
def _overlaps(start_x, LENGTH_X: tl.constexpr, start_y, LENGTH_Y: tl.constexpr):
    """Whether the index ranges [start, start + length) of x and y overlap."""
    return (start_x < start_y + LENGTH_Y) & (start_x + LENGTH_X > start_y)


@triton.jit
def _accumulate(b_sum, b_max, b_s, scale, FIXED_SHIFT: tl.constexpr):
    """Add a tile of cosine similarities to the rows' sums of exponentials: (sum, running maximum)."""
    if FIXED_SHIFT:
        b_sum += tl.sum(tl.exp2(b_s * scale - scale), axis=1)
    else:
        b_s *= scale
        b_new_max = tl.maximum(b_max, tl.max(b_s, axis=1))
        b_sum = b_sum * tl.exp2(b_max - b_new_max) + tl.sum(tl.exp2(b_s - b_new_max[:, None]), axis=1)
        b_max = b_new_max
    return b_sum, b_max


@triton.jit
def nt_xent_fwd_lse_kernel(
    p_lse,  # float32 [E, 2, n]
    p_loss,  # float32 [E, 2, n]
    p_unit,  # [E, 2N, D]
    p_temperature,  # one value, read where TEMPERATURE_TENSOR
    temperature,
    n,
    N,
    row_start,
    D: tl.constexpr,
    TEMPERATURE_TENSOR: tl.constexpr,
    FIXED_SHIFT: tl.constexpr,
    PRECISION: tl.constexpr,  # "tf32" or "ieee", of float32 operands
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Log-sum-exp and loss of local anchors. Grid: (tiles of BLOCK_M anchors of one view, 2 views, E)."""
    scale = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR) * LOG2E
    i_view = tl.program_id(1)
    i_local = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    first_anchor = i_view * N + row_start + tl.program_id(0) * BLOCK_M  # column of the first anchor
    first_positive = first_anchor + N - i_view * 2 * N
    i_anchor = first_anchor + tl.arange(0, BLOCK_M)
    p_unit = _unit_base(p_unit, tl.program_id(2).to(tl.int64), N, D)
    b_anchor = _load_unit(p_unit, i_anchor, i_local < n, 0, D, BLOCK_D, "")
    b_sum = tl.zeros((BLOCK_M,), tl.float32)
    b_positive = tl.zeros((BLOCK_M,), tl.float32)
    # The running maximum starts finite, below every similarity: a tile of masked columns then adds 0, not NaN.
    b_max = tl.zeros((BLOCK_M,), tl.float32) - 2.0 * scale

    for i_column in range(0, 2 * N, BLOCK_N):
        i_j = i_column + tl.arange(0, BLOCK_N)
        b_u = _load_unit(p_unit, i_j, i_j < 2 * N, 0, D, BLOCK_D, "")
        b_s = product(b_anchor, tl.trans(b_u), tl.zeros((BLOCK_M, BLOCK_N), tl.float32), PRECISION)
        # Few tiles hold a positive, the anchors themselves or the end: only those pay for masks.
        if _overlaps(i_column, BLOCK_N, first_positive, BLOCK_M):
            m_positive = (i_j - first_positive)[None, :] == tl.arange(0, BLOCK_M)[:, None]
            b_positive += tl.sum(tl.where(m_positive, b_s, 0.0), axis=1)
        if _overlaps(i_column, BLOCK_N, first_anchor, BLOCK_M) | (i_column + BLOCK_N > 2 * N):
            b_s = tl.where((i_j[None, :] != i_anchor[:, None]) & (i_j < 2 * N)[None, :], b_s, float("-inf"))
        b_sum, b_max = _accumulate(b_sum, b_max, b_s, scale, FIXED_SHIFT)

    b_lse = tl.log2(b_sum) + (scale if FIXED_SHIFT else b_max)
    has_negatives = tl.where(N > 1, 1.0, 0.0)  # without negatives the loss is 0 exactly, or NaN
    b_loss = (b_lse - b_positive * scale) * LN2 * has_negatives
    i_out = (tl.program_id(2).to(tl.int64) * 2 + i_view) * n + i_local
    tl.store(p_lse + i_out, b_lse * LN2, mask=i_local < n)
    tl.store(p_loss + i_out, b_loss, mask=i_local < n)


@triton.jit
def _pair_weights(b_s, b_lse_i, b_lse_j, scale, FIXED_SHIFT: tl.constexpr):
    """P_ij + P_ji from cosine similarities and base-2 log-sum-exps that broadcast against them."""
    if FIXED_SHIFT:
        return tl.exp2(b_s * scale - scale) * (tl.exp2(scale - b_lse_i) + tl.exp2(scale - b_lse_j))
    else:
        b_s *= scale
        return tl.exp2(b_s - b_lse_i) + tl.exp2(b_s - b_lse_j)


@triton.jit
def normalize_bwd(b_grad, b_unit, b_rnorm):
    """Gradient [R, D] of raw embeddings from that of x / max(|x|, EPS); below EPS the norm is a constant."""
    b_projection = tl.sum(b_grad * b_unit, axis=1)
    b_projection = tl.where(b_rnorm < 1.0 / EPS, b_projection, 0.0)
    return (b_grad - b_projection[:, None] * b_unit) * b_rnorm[:, None]


@triton.jit
def nt_xent_bwd_kernel(
    p_grad,  # [2, E, n, D], contiguous, the embeddings' dtype
    p_unit,  # [E, 2N, D]
    p_rnorm,  # float32 [E, 2N]
    p_lse,  # float32 [E, 2N], of all anchors
    p_upstream,  # [E] or one value, read where UPSTREAM
    p_temperature,
    temperature,
    stride_upstream,
    n,
    N,
    row_start,
    D: tl.constexpr,
    UPSTREAM: tl.constexpr,
    TEMPERATURE_TENSOR: tl.constexpr,
    FIXED_SHIFT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_O: tl.constexpr,  # entries of the gradient that one program computes: BLOCK_D, or a part of it
):
    """Gradient of the mean loss with respect to local raw embeddings.

    Grid: (tiles of BLOCK_M anchors of one view times BLOCK_D / BLOCK_O, 2 views, E).
    """
    inv_temp = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    scale = inv_temp * LOG2E
    i_e = tl.program_id(2).to(tl.int64)
    i_view = tl.program_id(1)
    i_tile = tl.program_id(0) // (BLOCK_D // BLOCK_O)
    first_d = tl.program_id(0) % (BLOCK_D // BLOCK_O) * BLOCK_O
    i_local = i_tile * BLOCK_M + tl.arange(0, BLOCK_M)
    m_row = i_local < n
    first_anchor = i_view * N + row_start + i_tile * BLOCK_M
    first_positive = first_anchor + N - i_view * 2 * N
    i_anchor = first_anchor + tl.arange(0, BLOCK_M)
    p_unit = _unit_base(p_unit, i_e, N, D)
    p_lse += i_e * 2 * N
    b_anchor = _load_unit(p_unit, i_anchor, m_row, 0, D, BLOCK_D, "")
    b_lse_i = tl.load(p_lse + i_anchor, mask=m_row, other=0.0) * LOG2E
    b_grad = tl.zeros((BLOCK_M, BLOCK_O), tl.float32)
    b_w_positive = tl.zeros((BLOCK_M,), tl.float32)
    b_projection = tl.zeros((BLOCK_M,), tl.float32)

    for i_column in range(0, 2 * N, BLOCK_N):
        i_j = i_column + tl.arange(0, BLOCK_N)
        b_u = _load_unit(p_unit, i_j, i_j < 2 * N, 0, D, BLOCK_D, "")
        b_lse_j = tl.load(p_lse + i_j, mask=i_j < 2 * N, other=0.0) * LOG2E
        b_s = product(b_anchor, tl.trans(b_u), tl.zeros((BLOCK_M, BLOCK_N), tl.float32), PRECISION)
        b_w = _pair_weights(b_s, b_lse_i[:, None], b_lse_j[None, :], scale, FIXED_SHIFT)
        # The positive is summed in float32 and left out of the rounded weights (module docstring).
        if _overlaps(i_column, BLOCK_N, first_positive, BLOCK_M):
            m_positive = (i_j - first_positive)[None, :] == tl.arange(0, BLOCK_M)[:, None]
            b_w_positive += tl.sum(tl.where(m_positive, b_w, 0.0), axis=1)
            if BLOCK_O < BLOCK_D:
                b_projection += tl.sum(tl.where(m_positive, (b_w - 2.0) * b_s, 0.0), axis=1)
            b_w = tl.where(m_positive, 0.0, b_w)
        if _overlaps(i_column, BLOCK_N, first_anchor, BLOCK_M) | (i_column + BLOCK_N > 2 * N):
            b_w = tl.where((i_j[None, :] != i_anchor[:, None]) & (i_j < 2 * N)[None, :], b_w, 0.0)
        if BLOCK_O < BLOCK_D:
            b_projection += tl.sum(b_w * b_s, axis=1)
            b_u = _load_unit(p_unit, i_j, i_j < 2 * N, first_d, D, BLOCK_O, "")
        b_grad = product(b_w.to(b_u.dtype), b_u, b_grad, PRECISION)

    i_positive = first_positive + tl.arange(0, BLOCK_M)
    b_u = _load_unit(p_unit, i_positive, m_row, first_d, D, BLOCK_O, "evict_first").to(tl.float32)
    b_grad += (b_w_positive - 2.0)[:, None] * b_u
    factor = inv_temp / (2.0 * N) * tl.where(N > 1, 1.0, 0.0)  # no negatives: 0 exactly, or NaN
    if UPSTREAM:
        factor *= tl.load(p_upstream + i_e * stride_upstream).to(tl.float32)
    b_rnorm = tl.load(p_rnorm + i_e * 2 * N + i_anchor, mask=m_row, other=0.0)
    # Loaded again, so that registers need not hold it through the loop; the eviction policy keeps the compiler from
    # merging the two loads.
    b_anchor = _load_unit(p_unit, i_anchor, m_row, first_d, D, BLOCK_O, "evict_first").to(tl.float32)
    # A program with a part of D cannot reduce <gradient, u>; the similarities gave it in the loop.
    if BLOCK_O < BLOCK_D:
        b_projection = tl.where(b_rnorm < 1.0 / EPS, b_projection, 0.0)
        b_grad = (b_grad - b_projection[:, None] * b_anchor) * (b_rnorm * factor)[:, None]
    else:
        b_grad = normalize_bwd(b_grad * factor, b_anchor, b_rnorm)
    i_d = first_d + tl.arange(0, BLOCK_O)[None, :]
    i_out = (i_view * tl.num_programs(2) + i_e) * n + i_local
    m = m_row[:, None] & (i_d < D)
    tl.store(p_grad + i_out[:, None] * D + i_d, b_grad.to(p_grad.dtype.element_ty), mask=m)
