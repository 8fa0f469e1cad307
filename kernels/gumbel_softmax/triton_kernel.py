"""Gumbel-Softmax in one launch each way.

Forward: noise, temperature, softmax and argmax of a tile of rows; only the sample and the code are stored. The prior's
log-softmax cancels in the softmax of the sample, so only its largest logit is subtracted (which keeps the noise's
digits). Backward: with s the sample, g its gradient and T the temperature, the gradient of the perturbed logits is
s (g - <s, g>) / T. It sums to 0 over the classes, so the prior's log-softmax leaves it unchanged. The rows of a shared
prior are summed in a fixed order: each program sums its own rows, and the program that finishes last sums the programs.

Legend: E stacked priors, B rows, K classes. i_ index, o_ offset, m_ mask, p_ pointer, b_ block of values.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.philox.triton_kernel import gumbel_tile
from kernels.triton_arguments import first_row, inverse_temperature


@triton.jit
def _logits(p_logits, o_row, m_row, i_tile, K, stride_lk, BLOCK_K: tl.constexpr):
    """A tile of logits [B, K] in float32; -inf past the last class."""
    i_k = i_tile * BLOCK_K + tl.arange(0, BLOCK_K)
    p = p_logits + o_row + i_k[None, :].to(tl.int64) * stride_lk
    return tl.load(p, mask=m_row & (i_k < K)[None, :], other=float("-inf")).to(tl.float32)


@triton.jit
def _max_logit(p_logits, o_row, m_row, K, stride_lk, SHARED: tl.constexpr, BLOCK_K: tl.constexpr, LOOPED: tl.constexpr):
    """Each row's largest logit [B, 1]; a scalar if all rows share their logits."""
    if SHARED:
        p_prior = p_logits + tl.min(o_row)
        i_k = tl.arange(0, BLOCK_K)
        b_max_logit = tl.max(
            tl.load(p_prior + i_k.to(tl.int64) * stride_lk, mask=i_k < K, other=float("-inf")).to(tl.float32)
        )
        if LOOPED:
            for first in range(BLOCK_K, K, BLOCK_K):
                i_k = first + tl.arange(0, BLOCK_K)
                b_x = tl.load(p_prior + i_k.to(tl.int64) * stride_lk, mask=i_k < K, other=float("-inf"))
                b_max_logit = tl.maximum(b_max_logit, tl.max(b_x.to(tl.float32)))
    else:
        b_max_logit = tl.max(_logits(p_logits, o_row, m_row, 0, K, stride_lk, BLOCK_K), axis=1, keep_dims=True)
        if LOOPED:
            for i_tile in range(1, tl.cdiv(K, BLOCK_K)):
                b_tile_max = tl.max(
                    _logits(p_logits, o_row, m_row, i_tile, K, stride_lk, BLOCK_K), axis=1, keep_dims=True
                )
                b_max_logit = tl.maximum(b_max_logit, b_tile_max)
    return b_max_logit


@triton.jit
def _perturbed(
    p_logits,
    o_row,
    m_row,
    i_tile,
    K,
    stride_lk,
    b_max_logit,
    seed,
    offset,
    i_row,
    ROWS: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Logits minus the row's largest, plus noise, [ROWS, BLOCK_K]; -inf past the last class (NaN if the row is NaN)."""
    b_x = _logits(p_logits, o_row, m_row, i_tile, K, stride_lk, BLOCK_K) - b_max_logit
    b_noise = gumbel_tile(seed, offset, i_row, tl.cdiv(K, 4).to(tl.int64), i_tile * (BLOCK_K // 4), ROWS, BLOCK_K)
    return b_x + b_noise


@triton.jit
def _softmax_stats(
    p_logits,
    o_row,
    m_row,
    K,
    stride_lk,
    inv_temp,
    seed,
    offset,
    i_row,
    SHARED: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    LOOPED: tl.constexpr,
):
    """Each row's largest logit, largest perturbed logit, 1 / sum of its weights, and code, all [ROWS, 1]."""
    b_max_logit = _max_logit(p_logits, o_row, m_row, K, stride_lk, SHARED, BLOCK_K, LOOPED)
    b_x = _perturbed(p_logits, o_row, m_row, 0, K, stride_lk, b_max_logit, seed, offset, i_row, ROWS, BLOCK_K)
    b_max = tl.max(b_x, axis=1, keep_dims=True)
    b_code = _argmax(b_x, b_max, K, BLOCK_K)
    b_sum = tl.sum(_weights(b_x, b_max, inv_temp), axis=1, keep_dims=True)
    if LOOPED:
        for i_tile in range(1, tl.cdiv(K, BLOCK_K)):
            b_x = _perturbed(
                p_logits, o_row, m_row, i_tile, K, stride_lk, b_max_logit, seed, offset, i_row, ROWS, BLOCK_K
            )
            b_tile_max = tl.max(b_x, axis=1, keep_dims=True)
            b_tile_argmax = i_tile * BLOCK_K + _argmax(b_x, b_tile_max, K, BLOCK_K)
            b_code = tl.where(b_tile_max > b_max, b_tile_argmax, b_code)  # on a tie the lower index stays
            # Online softmax: the sum so far is rescaled to the new maximum.
            b_new_max = tl.maximum(b_max, b_tile_max)
            b_sum = b_sum * _weights(b_max, b_new_max, inv_temp)
            b_sum += tl.sum(_weights(b_x, b_new_max, inv_temp), axis=1, keep_dims=True)
            b_max = b_new_max
    return b_max_logit, b_max, 1.0 / b_sum, b_code


@triton.jit
def _argmax(b_x, b_max, K, BLOCK_K: tl.constexpr):
    """The lowest index of each row's largest value; K - 1 in a row of NaN."""
    i_k = tl.arange(0, BLOCK_K)[None, :]
    return tl.minimum(tl.min(tl.where(b_x == b_max, i_k, BLOCK_K), axis=1, keep_dims=True), K - 1)


@triton.jit
def _weights(b_x, b_max, inv_temp):
    """exp((x - max) / T); 0 where x is -inf, also if max is -inf."""
    # A tile of classes of probability 0 has the maximum -inf, and -inf - -inf would be NaN.
    b_max = tl.where(b_max == float("-inf"), 0.0, b_max)
    return tl.exp2((b_x - b_max) * (inv_temp * 1.4426950408889634))


@triton.jit
def gumbel_softmax_fwd_kernel(
    p_sample,  # [E, B, K], contiguous
    p_code,  # int64 [E, B], contiguous
    p_logits,  # [E, B or 1, K]
    p_seed,  # int64, [E] or one
    p_offset,  # int64, [E] or one
    p_temperature,  # one value, read where TEMPERATURE_TENSOR
    p_row_start,  # one value, read where ROW_START_TENSOR
    temperature,
    row_start,
    B,
    K,
    stride_le,  # of the logits, in elements
    stride_lb,
    stride_lk,
    stride_seed,  # 1, or 0 where one value serves all priors
    stride_offset,
    SHARED: tl.constexpr,  # one prior for all rows
    HARD: tl.constexpr,
    TEMPERATURE_TENSOR: tl.constexpr,
    ROW_START_TENSOR: tl.constexpr,
    LOOPED: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Grid: (tiles of BLOCK_B rows, E)."""
    i_e = tl.program_id(1).to(tl.int64)
    i_b = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)[:, None]
    m_b = i_b < B
    seed = tl.load(p_seed + i_e * stride_seed)
    offset = tl.load(p_offset + i_e * stride_offset)
    inv_temp = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    i_row = i_b + first_row(p_row_start, row_start, ROW_START_TENSOR)
    o_row = i_e * stride_le + i_b * stride_lb

    b_max_logit, b_max, b_scale, b_code = _softmax_stats(
        p_logits, o_row, m_b, K, stride_lk, inv_temp, seed, offset, i_row, SHARED, BLOCK_B, BLOCK_K, LOOPED
    )
    o_out = (i_e * B + i_b) * K
    tiles = tl.cdiv(K, BLOCK_K) if LOOPED else 1
    for i_tile in range(0, tiles):
        b_x = _perturbed(p_logits, o_row, m_b, i_tile, K, stride_lk, b_max_logit, seed, offset, i_row, BLOCK_B, BLOCK_K)
        b_s = _weights(b_x, b_max, inv_temp) * b_scale
        i_k = i_tile * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]
        if HARD:  # the added 0 * b_s keeps a NaN from bad logits
            b_s = tl.where(i_k == b_code, 1.0, 0.0) + 0.0 * b_s
        tl.store(p_sample + o_out + i_k, b_s.to(p_sample.dtype.element_ty), mask=m_b & (i_k < K))
    tl.store(p_code + i_e * B + i_b, b_code.to(tl.int64), mask=m_b)


@triton.jit
def _softmax_bwd(b_s, b_g, b_dot, inv_temp):
    """s (g - <s, g>) / T; 0 for classes of probability 0."""
    return b_s * (b_g - b_dot) * inv_temp


@triton.jit
def _reduce_partials(
    p_out, p_partial, i_first, P, K, LOOPED: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr
):
    """Sum P rows [K] of p_partial from row i_first on, in their order, into p_out [K]."""
    tiles = tl.cdiv(K, BLOCK_K) if LOOPED else 1
    for i_tile in range(0, tiles):
        i_k = i_tile * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]
        b_sum = tl.zeros((1, BLOCK_K), tl.float32)
        for first_p in range(0, P, BLOCK_P):
            i = first_p + tl.arange(0, BLOCK_P)[:, None]
            p_sum = p_partial + (i_first + i) * K + i_k
            # .cg bypasses the L1 cache, which is not coherent with other SMs' stores.
            b_part = tl.load(p_sum, mask=(i < P) & (i_k < K), other=0.0, cache_modifier=".cg")
            b_sum += tl.sum(b_part, axis=0, keep_dims=True)
        tl.store(p_out + i_k, b_sum.to(p_out.dtype.element_ty), mask=i_k < K)


@triton.jit
def gumbel_softmax_bwd_kernel(
    p_grad_logits,  # [E, B or 1, K] contiguous, the logits' dtype
    p_partial,  # float32 [E, P, K]: each program's sum over its rows; not read where SINGLE_PROGRAM and not LOOPED
    p_semaphore,  # int32 [E], zeros: programs that have stored their partial sums
    p_sample,  # [E, B, K] contiguous float32: the soft sample; not read where RECOMPUTE
    p_grad,  # [E, B, K]
    p_logits,
    p_seed,
    p_offset,
    p_temperature,
    p_row_start,
    temperature,
    row_start,
    B,
    K,
    stride_ge,  # strides of the upstream gradient
    stride_gb,
    stride_gk,
    stride_le,
    stride_lb,
    stride_lk,
    stride_seed,
    stride_offset,
    P,  # programs among which the rows of one prior are divided
    SHARED: tl.constexpr,
    RECOMPUTE: tl.constexpr,  # the soft sample was not saved
    TEMPERATURE_TENSOR: tl.constexpr,
    ROW_START_TENSOR: tl.constexpr,
    LOOPED: tl.constexpr,
    SINGLE_PROGRAM: tl.constexpr,  # P = 1
    BLOCK_P: tl.constexpr,  # partial sums that are loaded at a time
    BLOCK_B: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Grid: (P, E), or (tiles of BLOCK_B rows, E) where each row has its own logits."""
    i_e = tl.program_id(1).to(tl.int64)
    i_p = tl.program_id(0).to(tl.int64)
    inv_temp = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    seed = tl.load(p_seed + i_e * stride_seed)
    offset = tl.load(p_offset + i_e * stride_offset)
    first = first_row(p_row_start, row_start, ROW_START_TENSOR)
    i_lane = tl.arange(0, BLOCK_K)
    o_partial = (i_e * P + i_p) * K
    b_total = tl.zeros((1, BLOCK_K), tl.float32)
    row_tiles = tl.cdiv(B, BLOCK_B)
    step = P if SHARED else row_tiles

    for i_tile_b in range(tl.program_id(0), row_tiles, step):
        i_b = tl.cast(i_tile_b, tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)[:, None]
        m_b = i_b < B
        o_row = i_e * stride_le + i_b * stride_lb
        o_s = (i_e * B + i_b) * K
        o_g = i_e * stride_ge + i_b * stride_gb
        i_row = first + i_b
        if RECOMPUTE:
            b_max_logit, b_max, b_scale, _ = _softmax_stats(
                p_logits, o_row, m_b, K, stride_lk, inv_temp, seed, offset, i_row, SHARED, BLOCK_B, BLOCK_K, LOOPED
            )
        b_dot = tl.zeros((BLOCK_B, 1), tl.float32)
        tiles = tl.cdiv(K, BLOCK_K) if LOOPED else 1
        # The gradient needs <s, g> over all classes. If no tile holds them all, a first pass computes it.
        for i_pass in tl.static_range(2 if LOOPED else 1):
            for i_tile in range(0, tiles):
                i_k = i_tile * BLOCK_K + i_lane[None, :]
                m = m_b & (i_k < K)
                if RECOMPUTE:
                    b_x = _perturbed(
                        p_logits, o_row, m_b, i_tile, K, stride_lk, b_max_logit, seed, offset, i_row, BLOCK_B, BLOCK_K
                    )
                    b_s = tl.where(m, _weights(b_x, b_max, inv_temp) * b_scale, 0.0)
                else:
                    b_s = tl.load(p_sample + o_s + i_k, mask=m, other=0.0).to(tl.float32)
                b_g = tl.load(p_grad + o_g + i_k.to(tl.int64) * stride_gk, mask=m, other=0.0).to(tl.float32)
                if not LOOPED or i_pass == 0:
                    b_dot += tl.sum(b_s * b_g, axis=1, keep_dims=True)
                if not LOOPED or i_pass == 1:
                    b_d = _softmax_bwd(b_s, b_g, b_dot, inv_temp)
                    if not SHARED:
                        p_out = p_grad_logits + o_s + i_k
                        tl.store(p_out, b_d.to(p_grad_logits.dtype.element_ty), mask=m)
                    elif not LOOPED:
                        b_total += tl.sum(b_d, axis=0, keep_dims=True)
                    else:  # too many classes for registers: accumulate in memory, in the order of the rows
                        p_sum = p_partial + o_partial + i_k
                        b_previous = tl.load(p_sum, mask=i_k < K, other=0.0)
                        b_previous = tl.where(i_tile_b == tl.program_id(0), 0.0, b_previous)
                        tl.store(p_sum, b_previous + tl.sum(b_d, axis=0, keep_dims=True), mask=i_k < K)

    if SHARED:
        p_out = p_grad_logits + i_e * K
        if SINGLE_PROGRAM and not LOOPED:
            m_k = (i_lane < K)[None, :]
            tl.store(p_out + i_lane[None, :], b_total.to(p_grad_logits.dtype.element_ty), mask=m_k)
        else:
            if not LOOPED:
                tl.store(p_partial + o_partial + i_lane[None, :], b_total, mask=(i_lane < K)[None, :])
            # The last program to finish sums them all: one launch, and an order that does not depend on timing.
            tl.debug_barrier()  # all threads have stored before this program adds to the semaphore
            if tl.atomic_add(p_semaphore + i_e, 1) == P - 1:
                _reduce_partials(p_out, p_partial, i_e * P, P, K, LOOPED, BLOCK_P, BLOCK_K)
