"""NT-Xent in tiles: the V x V similarities live in registers only, so memory stays O(N D).

Three kernels: `normalise_kernel` writes unit embeddings and inverse norms, `nt_xent_fwd_lse_kernel` the log-sum-exp of
each anchor, `nt_xent_bwd_kernel` the gradient of the raw embeddings of the rows that the caller owns. Similarities are
symmetric, so anchor i receives W_ij = P_ij + P_ji of column j from the one tile that holds s_ij. Where the temperature
is known not to be small, cosines bounded by 1 / T let a fixed shift stand in for the running maximum: partial sums
simply add, and both terms of W come from one exponential, e (1 / L_i + 1 / L_j).

A positive's P_ij + P_ji - 2 cancels as training goes on; it is therefore left out of the tiles, whose weights are
rounded to the operands' precision, and added in float32. Its similarity is taken from the tile that holds it, so that
the product's rounding cancels against the log-sum-exp's.

Logarithms and exponentials are to base 2 inside, with log2(e) / T in the scale.

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
def product(b_x, b_y, b_sum, DOT: tl.constexpr):
    """x @ y + sum in float32. The interpreter multiplies the bits of bfloat16 as integers, so it gets float32."""
    if INTERPRETED:
        b_x = b_x.to(tl.float32)
        b_y = b_y.to(tl.float32)
    return tl.dot(b_x, b_y, b_sum, input_precision=DOT)


@triton.jit
def normalised(p_a, p_b, i_row, N, a_n, a_d, b_n, b_d, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Of anchors i_row [R], raw: (x / max(|x|, EPS) [R, BLOCK_D], 1 / max(|x|, EPS) [R]), both float32.

    Zeros for a zero row, with inverse norm 0, and for rows from 2N on; a NaN or inf makes its whole row NaN.
    """
    i_d = tl.arange(0, BLOCK_D)[None, :].to(tl.int64)
    i_n = i_row[:, None].to(tl.int64)
    m_d = i_d < D
    b_x = tl.load(p_a + i_n * a_n + i_d * a_d, mask=(i_n < N) & m_d, other=0.0).to(tl.float32)
    m_b = (i_n >= N) & (i_n < 2 * N) & m_d
    b_x += tl.load(p_b + (i_n - N) * b_n + i_d * b_d, mask=m_b, other=0.0).to(tl.float32)
    b_largest = tl.max(tl.where(b_x == b_x, tl.abs(b_x), 0.0), axis=1)
    # Divided by the largest, squares neither overflow nor vanish; below 1e-30 the floor takes over anyway, and the
    # reciprocal stays finite. That of inf is 0, and inf times 0 is NaN.
    b_inverse_scale = tl.div_rn(tl.full(b_largest.shape, 1.0, tl.float32), tl.maximum(b_largest, 1e-30))
    b_scaled = b_x * b_inverse_scale[:, None]
    b_length = tl.sqrt_rn(tl.sum(b_scaled * b_scaled, axis=1))
    m_small = b_length * tl.maximum(b_largest, 1e-30) < EPS  # not so for NaN
    b_shorten = tl.div_rn(tl.full(b_length.shape, 1.0, tl.float32), tl.where(m_small, 1.0, b_length))
    b_unit = tl.where(m_small[:, None], b_x * (1.0 / EPS), b_scaled * b_shorten[:, None])
    b_floor = tl.where(b_largest == 0.0, 0.0, 1.0 / EPS)
    return b_unit, tl.where(m_small, b_floor, b_shorten * b_inverse_scale)


@triton.jit
def normalise_kernel(
    p_unit,  # [E, 2N, D], contiguous: float32 or bfloat16
    p_inverse,  # float32 [E, 2N]
    p_a,  # [E, N, D]
    p_b,
    N,
    a_e,  # strides, in elements
    a_n,
    a_d,
    b_e,
    b_n,
    b_d,
    D: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Grid: (tiles of BLOCK_R anchors, E)."""
    i_e = tl.program_id(1).to(tl.int64)
    i_row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    b_unit, b_inverse = normalised(p_a + i_e * a_e, p_b + i_e * b_e, i_row, N, a_n, a_d, b_n, b_d, D, BLOCK_D)
    i_d = tl.arange(0, BLOCK_D)[None, :]
    i_out = i_e * 2 * N + i_row.to(tl.int64)
    m_row = i_row < 2 * N
    m = m_row[:, None] & (i_d < D)
    tl.store(p_unit + i_out[:, None] * D + i_d, b_unit.to(p_unit.dtype.element_ty), mask=m)
    tl.store(p_inverse + i_out, b_inverse, mask=m_row)


@triton.jit
def _rows(p_unit, i_row, m_row, first_d, D: tl.constexpr, BLOCK_D: tl.constexpr, EVICT: tl.constexpr):
    """Unit embeddings [R, BLOCK_D] from entry first_d on; zeros outside the mask and past D."""
    i_d = first_d + tl.arange(0, BLOCK_D)[None, :]
    p = p_unit + i_row[:, None].to(tl.int64) * D + i_d
    if D % BLOCK_D == 0:
        return tl.load(p, mask=m_row[:, None], other=0.0, eviction_policy=EVICT)
    else:
        return tl.load(p, mask=m_row[:, None] & (i_d < D), other=0.0, eviction_policy=EVICT)


@triton.jit
def _one_loss(p_unit, i_e, N, D: tl.constexpr):
    """The unit embeddings of one loss; the allocator aligns them, and the compiler may know it."""
    p_unit += i_e * 2 * N * D
    if D % 16 == 0:
        p_unit = tl.multiple_of(p_unit, 16)
    return p_unit


@triton.jit
def _meets(i_column, width: tl.constexpr, first, height: tl.constexpr):
    """Whether columns i_column .. + width and first .. + height overlap."""
    return (i_column < first + height) & (i_column + width > first)


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
    DOT: tl.constexpr,  # "tf32" or "ieee", of float32 operands
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Log-sum-exp and loss of local anchors. Grid: (tiles of BLOCK_M anchors of one view, 2 views, E)."""
    scale = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR) * LOG2E
    i_view = tl.program_id(1)
    i_local = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    first = i_view * N + row_start + tl.program_id(0) * BLOCK_M  # column of the first anchor
    first_positive = first + N - i_view * 2 * N
    i_anchor = first + tl.arange(0, BLOCK_M)
    p_unit = _one_loss(p_unit, tl.program_id(2).to(tl.int64), N, D)
    b_own = _rows(p_unit, i_anchor, i_local < n, 0, D, BLOCK_D, "")
    b_sum = tl.zeros((BLOCK_M,), tl.float32)
    b_positive = tl.zeros((BLOCK_M,), tl.float32)
    # The maximum starts below every similarity but finite, so that a tile of masked columns adds 0 and no NaN.
    b_most = tl.zeros((BLOCK_M,), tl.float32) - 2.0 * scale

    for i_column in range(0, 2 * N, BLOCK_N):
        i_j = i_column + tl.arange(0, BLOCK_N)
        b_u = _rows(p_unit, i_j, i_j < 2 * N, 0, D, BLOCK_D, "")
        b_s = product(b_own, tl.trans(b_u), tl.zeros((BLOCK_M, BLOCK_N), tl.float32), DOT)
        if _meets(i_column, BLOCK_N, first_positive, BLOCK_M):
            m_positive = (i_j - first_positive)[None, :] == tl.arange(0, BLOCK_M)[:, None]
            b_positive += tl.sum(tl.where(m_positive, b_s, 0.0), axis=1)
        if _meets(i_column, BLOCK_N, first, BLOCK_M) | (i_column + BLOCK_N > 2 * N):
            b_s = tl.where((i_j[None, :] != i_anchor[:, None]) & (i_j < 2 * N)[None, :], b_s, float("-inf"))
        if FIXED_SHIFT:
            b_sum += tl.sum(tl.exp2(b_s * scale - scale), axis=1)
        else:
            b_s *= scale
            b_new = tl.maximum(b_most, tl.max(b_s, axis=1))
            b_sum = b_sum * tl.exp2(b_most - b_new) + tl.sum(tl.exp2(b_s - b_new[:, None]), axis=1)
            b_most = b_new

    b_lse = tl.log2(b_sum) + (scale if FIXED_SHIFT else b_most)
    some = tl.where(N > 1, 1.0, 0.0)  # without negatives the loss is 0 exactly, or NaN
    b_loss = (b_lse - b_positive * scale) * LN2 * some
    i_out = (tl.program_id(2).to(tl.int64) * 2 + i_view) * n + i_local
    tl.store(p_lse + i_out, b_lse * LN2, mask=i_local < n)
    tl.store(p_loss + i_out, b_loss, mask=i_local < n)


@triton.jit
def _weights(b_s, b_lse_i, b_lse_j, scale, FIXED_SHIFT: tl.constexpr):
    """P_ij + P_ji of cosines; the log-sum-exps are to base 2 and broadcast against them."""
    if FIXED_SHIFT:
        return tl.exp2(b_s * scale - scale) * (tl.exp2(scale - b_lse_i) + tl.exp2(scale - b_lse_j))
    else:
        b_s *= scale
        return tl.exp2(b_s - b_lse_i) + tl.exp2(b_s - b_lse_j)


@triton.jit
def through_norm(b_grad, b_unit, b_inverse):
    """The gradient [R, D] of raw embeddings from that of x / max(|x|, EPS), where the floor acts as a constant."""
    b_along = tl.sum(b_grad * b_unit, axis=1)
    b_along = tl.where(b_inverse < 1.0 / EPS, b_along, 0.0)
    return (b_grad - b_along[:, None] * b_unit) * b_inverse[:, None]


@triton.jit
def nt_xent_bwd_kernel(
    p_grad,  # [2, E, n, D], contiguous, the embeddings' dtype
    p_unit,  # [E, 2N, D]
    p_inverse,  # float32 [E, 2N]
    p_lse,  # float32 [E, 2N], of all anchors
    p_upstream,  # [E] or one value, read where UPSTREAM
    p_temperature,
    temperature,
    upstream_step,
    n,
    N,
    row_start,
    D: tl.constexpr,
    UPSTREAM: tl.constexpr,
    TEMPERATURE_TENSOR: tl.constexpr,
    FIXED_SHIFT: tl.constexpr,
    DOT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_O: tl.constexpr,  # entries of the gradient that a program's registers hold: BLOCK_D, or a part of it
):
    """Gradient of the mean loss in local raw embeddings.

    Grid: (tiles of BLOCK_M anchors of one view times BLOCK_D / BLOCK_O, 2 views, E).
    """
    inverse_t = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    scale = inverse_t * LOG2E
    i_e = tl.program_id(2).to(tl.int64)
    i_view = tl.program_id(1)
    i_tile = tl.program_id(0) // (BLOCK_D // BLOCK_O)
    first_d = tl.program_id(0) % (BLOCK_D // BLOCK_O) * BLOCK_O
    i_local = i_tile * BLOCK_M + tl.arange(0, BLOCK_M)
    m_row = i_local < n
    first = i_view * N + row_start + i_tile * BLOCK_M
    first_positive = first + N - i_view * 2 * N
    i_anchor = first + tl.arange(0, BLOCK_M)
    p_unit = _one_loss(p_unit, i_e, N, D)
    p_lse += i_e * 2 * N
    b_own = _rows(p_unit, i_anchor, m_row, 0, D, BLOCK_D, "")
    b_lse_i = tl.load(p_lse + i_anchor, mask=m_row, other=0.0) * LOG2E
    b_grad = tl.zeros((BLOCK_M, BLOCK_O), tl.float32)
    b_w_positive = tl.zeros((BLOCK_M,), tl.float32)
    b_along = tl.zeros((BLOCK_M,), tl.float32)

    for i_column in range(0, 2 * N, BLOCK_N):
        i_j = i_column + tl.arange(0, BLOCK_N)
        b_u = _rows(p_unit, i_j, i_j < 2 * N, 0, D, BLOCK_D, "")
        b_lse_j = tl.load(p_lse + i_j, mask=i_j < 2 * N, other=0.0) * LOG2E
        b_s = product(b_own, tl.trans(b_u), tl.zeros((BLOCK_M, BLOCK_N), tl.float32), DOT)
        b_w = _weights(b_s, b_lse_i[:, None], b_lse_j[None, :], scale, FIXED_SHIFT)
        if _meets(i_column, BLOCK_N, first_positive, BLOCK_M):
            m_positive = (i_j - first_positive)[None, :] == tl.arange(0, BLOCK_M)[:, None]
            b_w_positive += tl.sum(tl.where(m_positive, b_w, 0.0), axis=1)
            if BLOCK_O < BLOCK_D:
                b_along += tl.sum(tl.where(m_positive, (b_w - 2.0) * b_s, 0.0), axis=1)
            b_w = tl.where(m_positive, 0.0, b_w)
        if _meets(i_column, BLOCK_N, first, BLOCK_M) | (i_column + BLOCK_N > 2 * N):
            b_w = tl.where((i_j[None, :] != i_anchor[:, None]) & (i_j < 2 * N)[None, :], b_w, 0.0)
        if BLOCK_O < BLOCK_D:
            b_along += tl.sum(b_w * b_s, axis=1)
            b_u = _rows(p_unit, i_j, i_j < 2 * N, first_d, D, BLOCK_O, "")
        b_grad = product(b_w.to(b_u.dtype), b_u, b_grad, DOT)

    i_positive = first_positive + tl.arange(0, BLOCK_M)
    b_u = _rows(p_unit, i_positive, m_row, first_d, D, BLOCK_O, "evict_first").to(tl.float32)
    b_grad += (b_w_positive - 2.0)[:, None] * b_u
    factor = inverse_t / (2.0 * N) * tl.where(N > 1, 1.0, 0.0)  # no negatives: 0 exactly, or NaN
    if UPSTREAM:
        factor *= tl.load(p_upstream + i_e * upstream_step).to(tl.float32)
    b_inverse = tl.load(p_inverse + i_e * 2 * N + i_anchor, mask=m_row, other=0.0)
    # Read again, with an attribute that keeps it a load of its own: registers need not hold it through the loop.
    b_own = _rows(p_unit, i_anchor, m_row, first_d, D, BLOCK_O, "evict_first").to(tl.float32)
    if BLOCK_O < BLOCK_D:  # <gradient, u> over all parts, from the similarities
        b_along = tl.where(b_inverse < 1.0 / EPS, b_along, 0.0)
        b_grad = (b_grad - b_along[:, None] * b_own) * (b_inverse * factor)[:, None]
    else:
        b_grad = through_norm(b_grad * factor, b_own, b_inverse)
    i_d = first_d + tl.arange(0, BLOCK_O)[None, :]
    i_out = (i_view * tl.num_programs(2) + i_e) * n + i_local
    m = m_row[:, None] & (i_d < D)
    tl.store(p_grad + i_out[:, None] * D + i_d, b_grad.to(p_grad.dtype.element_ty), mask=m)
