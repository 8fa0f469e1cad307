"""Gumbel-Softmax in one launch each way.

Forward: noise, temperature, softmax and argmax of a tile of rows; nothing is stored but the sample and the code. The
prior's own log-softmax cancels in the softmax of the sample, so its largest logit alone is taken off (which keeps the
noise's digits). Backward: with s the sample, g its gradient and T the temperature, the perturbed logits get
s (g - <s, g>) / T; the log-softmax of the prior takes nothing from that, since it sums to 0 over the classes. The rows
of a shared prior are added up in a fixed order: each program its own rows, the program that ends last the programs.

Legend: E stacked priors, B rows, K classes. i_ index, o_ offset, m_ mask, p_ pointer, b_ block of values.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.philox.triton_kernel import gumbel_tile
from kernels.triton_arguments import first_row, inverse_temperature


@triton.jit
def _logits(p_logits, o_row, m_row, i_tile, K, stride_k, BLOCK_K: tl.constexpr):
    """A tile of logits [B, K] in float32; -inf past the last class."""
    i_k = i_tile * BLOCK_K + tl.arange(0, BLOCK_K)
    p = p_logits + o_row + i_k[None, :].to(tl.int64) * stride_k
    return tl.load(p, mask=m_row & (i_k < K)[None, :], other=float("-inf")).to(tl.float32)


@triton.jit
def _perturbed(
    p_logits, o_row, m_row, i_tile, K, stride_k, b_top, seed, offset, i_row, ROWS: tl.constexpr, BLOCK_K: tl.constexpr
):
    """Logits less the row's largest, plus noise, [ROWS, BLOCK_K]; -inf past the last class (or NaN in a row of NaN)."""
    b_x = _logits(p_logits, o_row, m_row, i_tile, K, stride_k, BLOCK_K) - b_top
    b_noise = gumbel_tile(seed, offset, i_row, tl.cdiv(K, 4).to(tl.int64), i_tile * (BLOCK_K // 4), ROWS, BLOCK_K)
    return b_x + b_noise


@triton.jit
def _statistics(
    p_logits,
    o_row,
    m_row,
    K,
    stride_k,
    inverse,
    seed,
    offset,
    i_row,
    SHARED: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    LOOPED: tl.constexpr,
):
    """Of each row, all [ROWS, 1]: largest logit, largest perturbed one, 1 / sum of the weights, code."""
    if SHARED:  # one row of logits: a scalar, found once
        p_prior = p_logits + tl.min(o_row)
        i_k = tl.arange(0, BLOCK_K)
        b_top = tl.max(tl.load(p_prior + i_k.to(tl.int64) * stride_k, mask=i_k < K, other=float("-inf")).to(tl.float32))
        if LOOPED:
            for first in range(BLOCK_K, K, BLOCK_K):
                i_k = first + tl.arange(0, BLOCK_K)
                b_x = tl.load(p_prior + i_k.to(tl.int64) * stride_k, mask=i_k < K, other=float("-inf"))
                b_top = tl.maximum(b_top, tl.max(b_x.to(tl.float32)))
    else:
        b_top = tl.max(_logits(p_logits, o_row, m_row, 0, K, stride_k, BLOCK_K), axis=1, keep_dims=True)
        if LOOPED:
            for i_tile in range(1, tl.cdiv(K, BLOCK_K)):
                b_here = tl.max(_logits(p_logits, o_row, m_row, i_tile, K, stride_k, BLOCK_K), axis=1, keep_dims=True)
                b_top = tl.maximum(b_top, b_here)
    b_x = _perturbed(p_logits, o_row, m_row, 0, K, stride_k, b_top, seed, offset, i_row, ROWS, BLOCK_K)
    b_most = tl.max(b_x, axis=1, keep_dims=True)
    b_code = _index_of(b_x, b_most, K, BLOCK_K)
    b_sum = tl.sum(_weights(b_x, b_most, inverse), axis=1, keep_dims=True)
    if LOOPED:
        for i_tile in range(1, tl.cdiv(K, BLOCK_K)):
            b_x = _perturbed(p_logits, o_row, m_row, i_tile, K, stride_k, b_top, seed, offset, i_row, ROWS, BLOCK_K)
            b_here = tl.max(b_x, axis=1, keep_dims=True)
            b_at = i_tile * BLOCK_K + _index_of(b_x, b_here, K, BLOCK_K)
            b_code = tl.where(b_here > b_most, b_at, b_code)  # the lowest index keeps a tie
            b_new = tl.maximum(b_most, b_here)
            b_sum = b_sum * _weights(b_most, b_new, inverse)
            b_sum += tl.sum(_weights(b_x, b_new, inverse), axis=1, keep_dims=True)
            b_most = b_new
    return b_top, b_most, 1.0 / b_sum, b_code


@triton.jit
def _index_of(b_x, b_most, K, BLOCK_K: tl.constexpr):
    """The lowest index of each row's largest value; the last one in a row of NaN."""
    i_k = tl.arange(0, BLOCK_K)[None, :]
    return tl.minimum(tl.min(tl.where(b_x == b_most, i_k, BLOCK_K), axis=1, keep_dims=True), K - 1)


@triton.jit
def _weights(b_x, b_most, inverse):
    """exp((x - most) / T); 0 where x is -inf, also beside a most of -inf."""
    # A tile of classes that are all impossible has a most of -inf, and -inf - -inf would make their weights NaN.
    b_most = tl.where(b_most == float("-inf"), 0.0, b_most)
    return tl.exp2((b_x - b_most) * (inverse * 1.4426950408889634))


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
    stride_e,  # of the logits, in elements
    stride_b,
    stride_k,
    seed_step,  # 1, or 0 where one value serves all priors
    offset_step,
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
    seed = tl.load(p_seed + i_e * seed_step)
    offset = tl.load(p_offset + i_e * offset_step)
    inverse = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    i_row = i_b + first_row(p_row_start, row_start, ROW_START_TENSOR)
    o_row = i_e * stride_e + i_b * stride_b

    b_top, b_most, b_scale, b_code = _statistics(
        p_logits, o_row, m_b, K, stride_k, inverse, seed, offset, i_row, SHARED, BLOCK_B, BLOCK_K, LOOPED
    )
    o_out = (i_e * B + i_b) * K
    tiles = tl.cdiv(K, BLOCK_K) if LOOPED else 1
    for i_tile in range(0, tiles):
        b_x = _perturbed(p_logits, o_row, m_b, i_tile, K, stride_k, b_top, seed, offset, i_row, BLOCK_B, BLOCK_K)
        b_s = _weights(b_x, b_most, inverse) * b_scale
        i_k = i_tile * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]
        if HARD:  # a NaN of bad logits is carried on
            b_s = tl.where(i_k == b_code, 1.0, 0.0) + 0.0 * b_s
        tl.store(p_sample + o_out + i_k, b_s.to(p_sample.dtype.element_ty), mask=m_b & (i_k < K))
    tl.store(p_code + i_e * B + i_b, b_code.to(tl.int64), mask=m_b)


@triton.jit
def _row_gradient(b_s, b_g, b_dot, inverse):
    """s (g - <s, g>) / T; 0 where the probability is 0, whatever the upstream gradient."""
    return b_s * (b_g - b_dot) * inverse


@triton.jit
def gumbel_softmax_bwd_kernel(
    p_grad_logits,  # [E, B or 1, K] contiguous, the logits' dtype
    p_partial,  # float32 [E, P, K]: each program's sum over its rows; unread where SINGLE and not LOOPED
    p_arrived,  # int32 [E], zeros: programs that have written theirs
    p_sample,  # [E, B, K] contiguous float32: the soft sample; unread where REGENERATE
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
    grad_e,  # strides of the upstream gradient
    grad_b,
    grad_k,
    stride_e,
    stride_b,
    stride_k,
    seed_step,
    offset_step,
    P,  # programs that share out the rows of one prior
    SHARED: tl.constexpr,
    REGENERATE: tl.constexpr,
    TEMPERATURE_TENSOR: tl.constexpr,
    ROW_START_TENSOR: tl.constexpr,
    LOOPED: tl.constexpr,
    SINGLE: tl.constexpr,  # P = 1
    BLOCK_P: tl.constexpr,  # partial sums that are added up at a time
    BLOCK_B: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Grid: (P, E), or (tiles of BLOCK_B rows, E) where each row has its own logits."""
    i_e = tl.program_id(1).to(tl.int64)
    i_p = tl.program_id(0).to(tl.int64)
    inverse = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    seed = tl.load(p_seed + i_e * seed_step)
    offset = tl.load(p_offset + i_e * offset_step)
    first = first_row(p_row_start, row_start, ROW_START_TENSOR)
    i_first = tl.arange(0, BLOCK_K)
    o_partial = (i_e * P + i_p) * K
    b_total = tl.zeros((1, BLOCK_K), tl.float32)
    row_tiles = tl.cdiv(B, BLOCK_B)
    step = P if SHARED else row_tiles

    for i_tile_b in range(tl.program_id(0), row_tiles, step):
        i_b = tl.cast(i_tile_b, tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)[:, None]
        m_b = i_b < B
        o_row = i_e * stride_e + i_b * stride_b
        o_s = (i_e * B + i_b) * K
        o_g = i_e * grad_e + i_b * grad_b
        if REGENERATE:
            b_top, b_most, b_scale, _ = _statistics(
                p_logits, o_row, m_b, K, stride_k, inverse, seed, offset, first + i_b, SHARED, BLOCK_B, BLOCK_K, LOOPED
            )
        b_dot = tl.zeros((BLOCK_B, 1), tl.float32)
        tiles = tl.cdiv(K, BLOCK_K) if LOOPED else 1
        for i_pass in tl.static_range(2 if LOOPED else 1):
            for i_tile in range(0, tiles):
                i_k = i_tile * BLOCK_K + i_first[None, :]
                m = m_b & (i_k < K)
                if REGENERATE:
                    b_x = _perturbed(
                        p_logits, o_row, m_b, i_tile, K, stride_k, b_top, seed, offset, first + i_b, BLOCK_B, BLOCK_K
                    )
                    b_s = tl.where(m, _weights(b_x, b_most, inverse) * b_scale, 0.0)
                else:
                    b_s = tl.load(p_sample + o_s + i_k, mask=m, other=0.0).to(tl.float32)
                b_g = tl.load(p_grad + o_g + i_k.to(tl.int64) * grad_k, mask=m, other=0.0).to(tl.float32)
                if not LOOPED or i_pass == 0:
                    b_dot += tl.sum(b_s * b_g, axis=1, keep_dims=True)
                if not LOOPED or i_pass == 1:
                    b_d = _row_gradient(b_s, b_g, b_dot, inverse)
                    if not SHARED:
                        p_out = p_grad_logits + o_s + i_k
                        tl.store(p_out, b_d.to(p_grad_logits.dtype.element_ty), mask=m)
                    elif not LOOPED:
                        b_total += tl.sum(b_d, axis=0, keep_dims=True)
                    else:  # this program's own part of the partial sums, in the order of its rows
                        p_sum = p_partial + o_partial + i_k
                        b_before = tl.load(p_sum, mask=i_k < K, other=0.0)
                        b_before = tl.where(i_tile_b == tl.program_id(0), 0.0, b_before)
                        tl.store(p_sum, b_before + tl.sum(b_d, axis=0, keep_dims=True), mask=i_k < K)

    if SHARED:
        p_out = p_grad_logits + i_e * K
        if SINGLE and not LOOPED:
            m_k = (i_first < K)[None, :]
            tl.store(p_out + i_first[None, :], b_total.to(p_grad_logits.dtype.element_ty), mask=m_k)
        else:
            if not LOOPED:
                tl.store(p_partial + o_partial + i_first[None, :], b_total, mask=(i_first < K)[None, :])
            tl.debug_barrier()  # all stores of this program come before its arrival
            if tl.atomic_add(p_arrived + i_e, 1) == P - 1:
                tiles = tl.cdiv(K, BLOCK_K) if LOOPED else 1
                for i_tile in range(0, tiles):
                    i_k = i_tile * BLOCK_K + i_first[None, :]
                    b_sum = tl.zeros((1, BLOCK_K), tl.float32)
                    for first_p in range(0, P, BLOCK_P):
                        i = first_p + tl.arange(0, BLOCK_P)[:, None]
                        p_sum = p_partial + (i_e * P + i) * K + i_k
                        # .cg: past the first-level cache, which does not see other processors' stores.
                        b_part = tl.load(p_sum, mask=(i < P) & (i_k < K), other=0.0, cache_modifier=".cg")
                        b_sum += tl.sum(b_part, axis=0, keep_dims=True)
                    tl.store(p_out + i_k, b_sum.to(p_grad_logits.dtype.element_ty), mask=i_k < K)
