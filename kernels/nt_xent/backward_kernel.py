"""The gradient of NT-Xent in tiles; see triton_kernel for the algorithm and the legend."""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.nt_xent.triton_kernel import (
    LOG2E,
    WEIGHT_ONE,
    load_operand,
    load_rows,
    load_tile,
    normalize_bwd,
    padded,
    pair_weights,
    plain_tile,
    product,
    special_ranges,
    special_tile,
)
from kernels.triton_arguments import inverse_temperature


@triton.jit
def _store_gradient(
    p_grad,
    b_grad,
    b_unit,
    i_anchor,
    i_local,
    m_row,
    p_rnorm,
    p_upstream,
    stride_upstream,
    inv_temp,
    n,
    N,
    D: tl.constexpr,
    UPSTREAM: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """From 2^14 times the sum over columns [R, BLOCK_D] to the gradient of raw embeddings, stored."""
    i_view, i_e = tl.program_id(1), tl.program_id(2).to(tl.int64)
    factor = inv_temp / (2.0 * N) / WEIGHT_ONE * tl.where(N > 1, 1.0, 0.0)  # no negatives: 0 exactly, or NaN
    if UPSTREAM:
        factor *= tl.load(p_upstream + i_e * stride_upstream).to(tl.float32)
    b_rnorm = tl.load(p_rnorm + i_e * 2 * N + i_anchor, mask=m_row, other=0.0)
    b_grad = normalize_bwd(b_grad * factor, b_unit, b_rnorm)
    i_d = tl.arange(0, BLOCK_D)[None, :]
    i_out = (i_view * tl.num_programs(2) + i_e) * n + i_local
    m = m_row[:, None] & (i_d < D)
    tl.store(p_grad + i_out[:, None] * D + i_d, b_grad.to(p_grad.dtype.element_ty), mask=m)


@triton.jit
def _add_special(
    b_grad,
    b_w_positive,
    p_unit,
    p_weight,
    b_anchor,
    b_i,
    tile,
    first_anchor,
    first_positive,
    first_d,
    scale,
    N,
    FIXED_SHIFT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """Add a column tile that may hold anchors, positives or the end: (gradient, the positives' weights)."""
    BLOCK_M: tl.constexpr = b_anchor.shape[0]
    BLOCK_D: tl.constexpr = b_anchor.shape[1]
    first_j = tile * BLOCK_N
    i_j = first_j + tl.arange(0, BLOCK_N)
    m_j = i_j < 2 * N
    b_u = load_rows(p_unit, first_j, m_j, BLOCK_N, BLOCK_D, BLOCK_D, "")
    b_j = tl.load(p_weight + i_j, mask=m_j, other=0.0)
    b_s = product(b_anchor, tl.trans(b_u), tl.zeros((BLOCK_M, BLOCK_N), tl.float32), PRECISION)
    b_w = pair_weights(b_s, b_i[:, None], b_j[None, :], scale, FIXED_SHIFT)
    # The positive is summed in float32 and left out of the rounded weights (module docstring).
    m_positive = i_j[None, :] == first_positive + tl.arange(0, BLOCK_M)[:, None]
    b_w_positive += tl.sum(tl.where(m_positive, b_w, 0.0), axis=1)
    i_distance = first_positive - first_j + tl.arange(0, BLOCK_M)
    b_w_positive -= tl.where((i_distance >= 0) & (i_distance < BLOCK_N), 2.0 * WEIGHT_ONE, 0.0)
    m_other = i_j[None, :] != first_anchor + tl.arange(0, BLOCK_M)[:, None]
    b_w = tl.where(m_other & m_j[None, :] & (m_positive == 0), b_w, 0.0)
    if BLOCK_O < BLOCK_D:
        b_u = load_rows(p_unit + first_d, first_j, m_j, BLOCK_N, BLOCK_D, BLOCK_O, "")
    return product(b_w.to(b_u.dtype), b_u, b_grad, PRECISION), b_w_positive


@triton.jit
def _add_plain(
    b_grad,
    p_unit,
    p_weight,
    b_anchor,
    b_i,
    tile,
    first_d,
    scale,
    FIXED_SHIFT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    """Add a whole column tile without masks to the gradient."""
    BLOCK_M: tl.constexpr = b_anchor.shape[0]
    BLOCK_D: tl.constexpr = b_anchor.shape[1]
    b_u = load_tile(p_unit, tile, BLOCK_N, BLOCK_D, BLOCK_D)
    b_j = tl.load(p_weight + tile * BLOCK_N + tl.arange(0, BLOCK_N))
    b_s = product(b_anchor, tl.trans(b_u), tl.zeros((BLOCK_M, BLOCK_N), tl.float32), PRECISION)
    b_w = pair_weights(b_s, b_i[:, None], b_j[None, :], scale, FIXED_SHIFT)
    if BLOCK_O < BLOCK_D:
        b_u = load_tile(p_unit + first_d, tile, BLOCK_N, BLOCK_D, BLOCK_O)
    return product(b_w.to(b_u.dtype), b_u, b_grad, PRECISION)


@triton.jit(do_not_specialize=["n", "N", "row_start", "splits"])
def nt_xent_bwd_kernel(
    p_grad,  # [2, E, n, D], contiguous, the embeddings' dtype; where PARTIAL float32 [splits, E, 2, n, BLOCK_D]
    p_unit,  # [E, 2N, BLOCK_D]
    p_rnorm,  # float32 [E, 2N]
    p_weight,  # float32 [E, 2N to a multiple of 16], of all anchors
    p_upstream,  # [E] or one value, read where UPSTREAM
    p_temperature,
    temperature,
    stride_upstream,
    n,
    N,
    row_start,
    splits,
    D: tl.constexpr,
    UPSTREAM: tl.constexpr,
    TEMPERATURE_TENSOR: tl.constexpr,
    FIXED_SHIFT: tl.constexpr,
    PRECISION: tl.constexpr,
    REGISTER_ANCHORS: tl.constexpr,  # see `load_operand`
    PARTIAL: tl.constexpr,  # store sums over this program's columns and entries, for `nt_xent_bwd_sum_kernel`
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_O: tl.constexpr,  # entries of the gradient that one program computes: BLOCK_D, or a part of it
):
    """Gradient of the mean loss with respect to local raw embeddings.

    Grid: (tiles of BLOCK_M anchors of one view times splits times BLOCK_D / BLOCK_O, 2 views, E).
    """
    PARTS: tl.constexpr = BLOCK_D // BLOCK_O
    inv_temp = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    scale = inv_temp * LOG2E
    i_view, i_e = tl.program_id(1), tl.program_id(2).to(tl.int64)
    i_tile, i_split = tl.program_id(0) // (splits * PARTS), tl.program_id(0) // PARTS % splits
    first_d = tl.program_id(0) % PARTS * BLOCK_O
    rows = tl.minimum(BLOCK_M, n - i_tile * BLOCK_M)
    i_local = i_tile * BLOCK_M + tl.arange(0, BLOCK_M)
    m_row = i_local < n
    first_anchor = i_view * N + row_start + i_tile * BLOCK_M
    first_positive = first_anchor + N - i_view * 2 * N
    i_anchor = first_anchor + tl.arange(0, BLOCK_M)
    p_unit += i_e * 2 * N * BLOCK_D
    p_weight += i_e * padded(2 * N)
    b_anchor = load_operand(p_unit, first_anchor, m_row, BLOCK_M, BLOCK_D, REGISTER_ANCHORS)
    b_i = tl.load(p_weight + i_anchor, mask=m_row, other=0.0)
    b_grad = tl.zeros((BLOCK_M, BLOCK_O), tl.float32)
    b_w_positive = tl.zeros((BLOCK_M,), tl.float32)

    lo, lo_end, hi, hi_end, tail, total = special_ranges(first_anchor, first_positive, rows, N, BLOCK_N)
    # Beside products without tensor cores masks cost nothing, and one loop compiles in half the time.
    special = total if PRECISION == "ieee" else lo_end - lo + hi_end - hi + total - tail
    first, end = total * i_split // splits, total * (i_split + 1) // splits
    first_plain = tl.maximum(first, special) - special
    if REGISTER_ANCHORS:
        for k in range(first_plain, end - special):
            tile = plain_tile(k, lo, lo_end, hi, hi_end)
            b_grad = _add_plain(
                b_grad, p_unit, p_weight, b_anchor, b_i, tile, first_d, scale, FIXED_SHIFT, PRECISION, BLOCK_N, BLOCK_O
            )
    STAGES: tl.constexpr = 2 if PRECISION == "ieee" else 1  # few tiles: registers count for more than loads in advance
    for k in tl.range(first, tl.minimum(end, special), num_stages=STAGES):
        tile = k if PRECISION == "ieee" else special_tile(k, lo, lo_end, hi, hi_end, tail)
        b_grad, b_w_positive = _add_special(
            b_grad,
            b_w_positive,
            p_unit,
            p_weight,
            b_anchor,
            b_i,
            tile,
            first_anchor,
            first_positive,
            first_d,
            scale,
            N,
            FIXED_SHIFT,
            PRECISION,
            BLOCK_N,
            BLOCK_O,
        )
    if PRECISION != "ieee" and not REGISTER_ANCHORS:
        for k in range(first_plain, end - special):
            tile = plain_tile(k, lo, lo_end, hi, hi_end)
            b_grad = _add_plain(
                b_grad, p_unit, p_weight, b_anchor, b_i, tile, first_d, scale, FIXED_SHIFT, PRECISION, BLOCK_N, BLOCK_O
            )

    b_u = load_rows(p_unit + first_d, first_positive, m_row, BLOCK_M, BLOCK_D, BLOCK_O, "evict_first")
    b_grad += b_w_positive[:, None] * b_u.to(tl.float32)
    if PARTIAL:
        i_out = ((i_split * tl.num_programs(2) + i_e) * 2 + i_view) * n + i_local
        i_d = first_d + tl.arange(0, BLOCK_O)[None, :]
        tl.store(p_grad + i_out[:, None] * BLOCK_D + i_d, b_grad, mask=m_row[:, None])
    else:
        # Loaded again, so that registers need not hold it through the loop; the eviction policy keeps the compiler
        # from merging the two loads.
        b_unit = load_rows(p_unit, first_anchor, m_row, BLOCK_M, BLOCK_D, BLOCK_D, "evict_first").to(tl.float32)
        _store_gradient(
            p_grad,
            b_grad,
            b_unit,
            i_anchor,
            i_local,
            m_row,
            p_rnorm,
            p_upstream,
            stride_upstream,
            inv_temp,
            n,
            N,
            D,
            UPSTREAM,
            BLOCK_D,
        )


@triton.jit(do_not_specialize=["n", "N", "row_start"])
def nt_xent_bwd_sum_kernel(
    p_grad,  # [2, E, n, D], contiguous, the embeddings' dtype
    p_partial,  # float32 [SPLITS, E, 2, n, BLOCK_D]
    p_unit,  # as in `nt_xent_bwd_kernel`, and so are the others
    p_rnorm,
    p_upstream,
    p_temperature,
    temperature,
    stride_upstream,
    n,
    N,
    row_start,
    D: tl.constexpr,
    UPSTREAM: tl.constexpr,
    TEMPERATURE_TENSOR: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """The gradient from the sums that `nt_xent_bwd_kernel` stored. Grid: (tiles of BLOCK_R anchors, 2 views, E)."""
    inv_temp = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    i_view, i_e = tl.program_id(1), tl.program_id(2).to(tl.int64)
    i_local = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    m_row = i_local < n
    first_anchor = i_view * N + row_start + tl.program_id(0) * BLOCK_R
    i_in = (i_e * 2 + i_view) * n + i_local
    stride_s = tl.num_programs(2).to(tl.int64) * 2 * n * BLOCK_D
    p_in = p_partial + i_in[:, None] * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    b_grad = tl.zeros((BLOCK_R, BLOCK_D), tl.float32)
    for s in tl.static_range(SPLITS):  # all loads at once, added in order
        b_grad += tl.load(p_in + s * stride_s, mask=m_row[:, None], other=0.0)
    p_unit += i_e * 2 * N * BLOCK_D
    b_unit = load_rows(p_unit, first_anchor, m_row, BLOCK_R, BLOCK_D, BLOCK_D, "").to(tl.float32)
    _store_gradient(
        p_grad,
        b_grad,
        b_unit,
        first_anchor + tl.arange(0, BLOCK_R),
        i_local,
        m_row,
        p_rnorm,
        p_upstream,
        stride_upstream,
        inv_temp,
        n,
        N,
        D,
        UPSTREAM,
        BLOCK_D,
    )
