"""Gumbel-Softmax: one launch forward; one backward, or two where the rows of a shared prior have several programs.

Forward: noise, temperature, softmax and argmax of a tile of rows; only the sample and the code are stored. The prior's
log-softmax cancels in the softmax of the sample, so only its largest logit is subtracted (which keeps the noise's
digits). Perturbed logits are in bits, divided by ln 2, since a GPU's own logarithm and exponential have the base 2.
Backward: with s the sample, g its gradient and T the temperature, the gradient of the perturbed logits is
s (g - <s, g>) / T. It sums to 0 over the classes, so the prior's log-softmax leaves it unchanged. The rows of a shared
prior are summed in a fixed order: each program sums its own rows, and a second kernel sums the programs.

A tile is [B, J, C], J groups of C consecutive classes of each of B rows. Triton gives lanes and warps to C, then to B:
a thread holds a row's classes 4c .. 4c + 3 of every group, so that accesses of 16 bytes are coalesced, and a row's sums
need few exchanges between lanes and, up to 1,024 classes, none between warps.

Legend: E stacked priors, B rows, K classes. i_ index, o_ offset, m_ mask, p_ pointer, b_ block of values.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.philox.triton_kernel import exp2, neg_gumbel_tile
from kernels.triton_arguments import first_row, inverse_temperature

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _classes(i_tile, BLOCK_J: tl.constexpr, BLOCK_C: tl.constexpr):
    """Numbers of a tile's classes, [1, J, C]."""
    i_j = i_tile * BLOCK_J + tl.arange(0, BLOCK_J)[None, :, None]
    return i_j * BLOCK_C + tl.arange(0, BLOCK_C)[None, None, :]


@triton.jit
def _row_max(b_x):
    """[B, J, C] to [B, 1, 1]; first within a thread."""
    return tl.max(tl.max(b_x, axis=1), axis=1)[:, None, None]


@triton.jit
def _row_sum(b_x):
    """[B, J, C] to [B, 1, 1]; first within a thread."""
    return tl.sum(tl.sum(b_x, axis=1), axis=1)[:, None, None]


@triton.jit
def _argmax(b_x, b_max, i_k, K):
    """The lowest class of each row's largest value; K - 1 in a row of NaN. [B, 1, 1]."""
    i_first = tl.min(tl.min(tl.where(b_x == b_max, i_k, K), axis=1), axis=1)[:, None, None]
    return tl.minimum(i_first, K - 1)


@triton.jit
def _logits(p_logits, o_row, m_row, i_k, K, stride_lk):
    """A tile of logits in float32; -inf past the last class."""
    p = p_logits + o_row + i_k.to(tl.int64) * stride_lk
    return tl.load(p, mask=m_row & (i_k < K), other=float("-inf")).to(tl.float32)


@triton.jit
def _max_logit(
    p_logits, o_row, m_row, K, stride_lk, LOOPED: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_C: tl.constexpr
):
    """Each row's largest logit."""
    b_max_logit = _row_max(_logits(p_logits, o_row, m_row, _classes(0, BLOCK_J, BLOCK_C), K, stride_lk))
    if LOOPED:
        for i_tile in range(1, tl.cdiv(K, BLOCK_J * BLOCK_C)):
            b_x = _logits(p_logits, o_row, m_row, _classes(i_tile, BLOCK_J, BLOCK_C), K, stride_lk)
            b_max_logit = tl.maximum(b_max_logit, _row_max(b_x))
    return b_max_logit


@triton.jit
def _centred(p_logits, o_row, m_row, i_k, K, stride_lk, b_max_logit):
    """A tile of logits minus the row's largest, in bits; -inf past the last class (NaN if the row is NaN)."""
    return (_logits(p_logits, o_row, m_row, i_k, K, stride_lk) - b_max_logit) * LOG2_E


@triton.jit
def _neg_noise(seed, offset, i_row, i_tile, K, BLOCK_J: tl.constexpr, BLOCK_C: tl.constexpr):
    """Minus the Gumbel noise of a tile, in bits."""
    i_j = i_tile * BLOCK_J + tl.arange(0, BLOCK_J)[:, None, None]
    i_quad = i_j * (BLOCK_C // 4) + tl.arange(0, BLOCK_C // 4)[None, None, :]
    # [J, B, C / 4] at first: what is not loaded has lanes and warps on its last dimensions.
    return tl.permute(neg_gumbel_tile(seed, offset, tl.permute(i_row, (1, 0, 2)) * tl.cdiv(K, 4) + i_quad), (1, 0, 2))


@triton.jit
def _weights(b_x, b_max, inv_temp):
    """2^((x - max) / T); 0 where x is -inf, also if max is -inf."""
    # A tile of classes of probability 0 has the maximum -inf, and -inf - -inf would be NaN.
    b_max = tl.where(b_max == float("-inf"), 0.0, b_max)
    # Not x / T - max / T in one instruction: at a tiny T the rounding of max / T would overflow the exponential.
    return exp2((b_x - b_max) * inv_temp)


@triton.jit
def _softmax(b_x, b_max, inv_temp):
    """The softmax of x / T, of a tile that holds all classes."""
    b_w = _weights(b_x, b_max, inv_temp)
    return b_w * (1.0 / _row_sum(b_w))


@triton.jit
def _store_sample(p_rows, b_s, b_code, i_k, m, HARD: tl.constexpr):
    if HARD:  # the added 0 * b_s keeps a NaN from bad logits
        b_s = tl.where(i_k == b_code, 1.0, 0.0) + 0.0 * b_s
    tl.store(p_rows + i_k, b_s.to(p_rows.dtype.element_ty), mask=m)


@triton.jit
def _looped_stats(
    p_logits, o_row, m_row, b_max_logit, K, stride_lk, inv_temp, seed, offset, i_row,
    BLOCK_J: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Each row's largest perturbed logit, 1 / sum of its weights, and code, over all tiles of classes."""
    b_max = tl.full((BLOCK_B, 1, 1), float("-inf"), tl.float32)
    b_sum = tl.zeros((BLOCK_B, 1, 1), tl.float32)
    b_code = tl.zeros((BLOCK_B, 1, 1), tl.int32) + (K - 1)
    for i_tile in range(0, tl.cdiv(K, BLOCK_J * BLOCK_C)):
        i_k = _classes(i_tile, BLOCK_J, BLOCK_C)
        b_x = _centred(p_logits, o_row, m_row, i_k, K, stride_lk, b_max_logit)
        b_x -= _neg_noise(seed, offset, i_row, i_tile, K, BLOCK_J, BLOCK_C)
        b_tile_max = _row_max(b_x)
        b_code = tl.where(b_tile_max > b_max, _argmax(b_x, b_tile_max, i_k, K), b_code)  # on a tie the lower stays
        # Online softmax: the sum so far is rescaled to the new maximum.
        b_new_max = tl.maximum(b_max, b_tile_max)
        b_sum = b_sum * _weights(b_max, b_new_max, inv_temp)
        b_sum += _row_sum(_weights(b_x, b_new_max, inv_temp))
        b_max = b_new_max
    return b_max, 1.0 / b_sum, b_code


@triton.jit(do_not_specialize=["row_start", "B"])
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
    units,  # K / UNIT
    stride_le,  # of the logits, in UNIT elements
    stride_lb,  # in UNIT elements
    stride_lk,  # in elements
    stride_seed,  # in elements; 0 where one value serves all priors
    stride_offset,
    UNIT: tl.constexpr,  # 4 tells the compiler that rows begin at multiples of 16 bytes of float32; else 1
    SHARED: tl.constexpr,  # one prior for all rows
    HARD: tl.constexpr,
    TEMPERATURE_TENSOR: tl.constexpr,
    ROW_START_TENSOR: tl.constexpr,
    LOOPED: tl.constexpr,  # classes are looped over
    BLOCK_J: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Grid: (programs, E); programs divide the tiles of BLOCK_B rows among them."""
    i_e = tl.program_id(1).to(tl.int64)
    K = units * UNIT
    seed = tl.load(p_seed + i_e * stride_seed)
    offset = tl.load(p_offset + i_e * stride_offset)
    inv_temp = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    first = first_row(p_row_start, row_start, ROW_START_TENSOR)
    i_k = _classes(0, BLOCK_J, BLOCK_C)
    # A shared prior is read once.
    o_row = tl.zeros((BLOCK_B, 1, 1), tl.int64) + i_e * stride_le * UNIT
    m_row = o_row == o_row
    if SHARED:
        b_max_logit = _max_logit(p_logits, o_row, m_row, K, stride_lk, LOOPED, BLOCK_J, BLOCK_C)
        if not LOOPED:
            b_prior = _centred(p_logits, o_row, m_row, i_k, K, stride_lk, b_max_logit)

    for i_tile_b in range(tl.program_id(0), tl.cdiv(B, BLOCK_B), tl.num_programs(0)):
        i_b = tl.cast(i_tile_b, tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)[:, None, None]
        m_b = i_b < B
        i_row = i_b + first
        o_out = (i_e * B + i_b) * K
        if not SHARED:
            o_row = (i_e * stride_le + i_b * stride_lb) * UNIT
            m_row = m_b
            b_max_logit = _max_logit(p_logits, o_row, m_row, K, stride_lk, LOOPED, BLOCK_J, BLOCK_C)
        if LOOPED:
            b_max, b_scale, b_code = _looped_stats(
                p_logits, o_row, m_row, b_max_logit, K, stride_lk, inv_temp, seed, offset, i_row,
                BLOCK_J, BLOCK_B, BLOCK_C,
            )  # fmt: skip
            for i_tile in range(0, tl.cdiv(K, BLOCK_J * BLOCK_C)):
                i_k = _classes(i_tile, BLOCK_J, BLOCK_C)
                b_x = _centred(p_logits, o_row, m_row, i_k, K, stride_lk, b_max_logit)
                b_x -= _neg_noise(seed, offset, i_row, i_tile, K, BLOCK_J, BLOCK_C)
                b_s = _weights(b_x, b_max, inv_temp) * b_scale
                _store_sample(p_sample + o_out, b_s, b_code, i_k, m_b & (i_k < K), HARD)
        else:
            if not SHARED:
                b_prior = _centred(p_logits, o_row, m_row, i_k, K, stride_lk, b_max_logit)
            b_x = b_prior - _neg_noise(seed, offset, i_row, 0, K, BLOCK_J, BLOCK_C)
            b_max = _row_max(b_x)
            b_code = _argmax(b_x, b_max, i_k, K)
            _store_sample(p_sample + o_out, _softmax(b_x, b_max, inv_temp), b_code, i_k, m_b & (i_k < K), HARD)
        tl.store(p_code + i_e * B + i_b, b_code.to(tl.int64), mask=m_b)


@triton.jit
def _upstream(p_rows, i_k, stride_gk, m, b_s):
    """A tile of the upstream gradient in float32; 0 where the probability is 0, whatever it is there."""
    b_g = tl.load(p_rows + i_k.to(tl.int64) * stride_gk, mask=m, other=0.0).to(tl.float32)
    return tl.where(b_s == 0.0, 0.0, b_g)


@triton.jit(do_not_specialize=["row_start", "B"])
def gumbel_softmax_bwd_kernel(
    p_out,  # [E, B or 1, K] contiguous, the gradient of the logits; or float32 [E, P, K], each program's sum
    p_sample,  # [E, B, K] contiguous float32: the soft sample; not read where RECOMPUTE
    p_grad,  # [E, B, K]
    p_logits,  # [E, B or 1, K]; not read without RECOMPUTE
    p_seed,
    p_offset,
    p_temperature,
    p_row_start,
    temperature,
    row_start,
    B,
    units,  # K / UNIT
    stride_ge,  # of the upstream gradient, in UNIT elements
    stride_gb,  # in UNIT elements
    stride_gk,  # in elements
    stride_le,
    stride_lb,
    stride_lk,
    stride_seed,
    stride_offset,
    UNIT: tl.constexpr,
    SHARED: tl.constexpr,
    RECOMPUTE: tl.constexpr,  # the soft sample was not saved
    TEMPERATURE_TENSOR: tl.constexpr,
    ROW_START_TENSOR: tl.constexpr,
    LOOPED: tl.constexpr,
    BLOCK_J: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Grid: (P, E); the P programs divide the tiles of BLOCK_B rows among them, and where SHARED each sums its own."""
    i_e = tl.program_id(1).to(tl.int64)
    K = units * UNIT
    inv_temp = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR)
    o_row = tl.zeros((BLOCK_B, 1, 1), tl.int64) + i_e * stride_le * UNIT
    m_row = o_row == o_row
    if RECOMPUTE:
        seed = tl.load(p_seed + i_e * stride_seed)
        offset = tl.load(p_offset + i_e * stride_offset)
        first = first_row(p_row_start, row_start, ROW_START_TENSOR)
        if SHARED:
            b_max_logit = _max_logit(p_logits, o_row, m_row, K, stride_lk, LOOPED, BLOCK_J, BLOCK_C)
    i_k = _classes(0, BLOCK_J, BLOCK_C)
    p_total = p_out + (i_e * tl.num_programs(0) + tl.program_id(0)) * K
    if SHARED and not LOOPED:
        # Threads add up the rows that they hold, and exchange sums only after the last tile.
        b_total = tl.zeros((BLOCK_B, BLOCK_J, BLOCK_C), tl.float32)
        if RECOMPUTE:
            b_prior = _centred(p_logits, o_row, m_row, i_k, K, stride_lk, b_max_logit)

    for i_tile_b in range(tl.program_id(0), tl.cdiv(B, BLOCK_B), tl.num_programs(0)):
        i_b = tl.cast(i_tile_b, tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)[:, None, None]
        m_b = i_b < B
        o_s = (i_e * B + i_b) * K
        o_g = (i_e * stride_ge + i_b * stride_gb) * UNIT
        if RECOMPUTE:
            i_row = first + i_b
            if not SHARED:
                o_row = (i_e * stride_le + i_b * stride_lb) * UNIT
                m_row = m_b
                b_max_logit = _max_logit(p_logits, o_row, m_row, K, stride_lk, LOOPED, BLOCK_J, BLOCK_C)
        if LOOPED:
            if RECOMPUTE:
                b_max, b_scale, _ = _looped_stats(
                    p_logits, o_row, m_row, b_max_logit, K, stride_lk, inv_temp, seed, offset, i_row,
                    BLOCK_J, BLOCK_B, BLOCK_C,
                )  # fmt: skip
            b_dot = tl.zeros((BLOCK_B, 1, 1), tl.float32)
            # The gradient needs <s, g> over all classes, and no tile holds them all: a first pass computes it.
            for i_pass in tl.static_range(2):
                for i_tile in range(0, tl.cdiv(K, BLOCK_J * BLOCK_C)):
                    i_k = _classes(i_tile, BLOCK_J, BLOCK_C)
                    m = m_b & (i_k < K)
                    if RECOMPUTE:
                        b_x = _centred(p_logits, o_row, m_row, i_k, K, stride_lk, b_max_logit)
                        b_x -= _neg_noise(seed, offset, i_row, i_tile, K, BLOCK_J, BLOCK_C)
                        b_s = tl.where(m, _weights(b_x, b_max, inv_temp) * b_scale, 0.0)
                    else:
                        b_s = tl.load(p_sample + o_s + i_k, mask=m, other=0.0)
                    b_g = _upstream(p_grad + o_g, i_k, stride_gk, m, b_s)
                    if i_pass == 0:
                        b_dot += _row_sum(b_s * b_g)
                    else:
                        b_d = b_s * (b_g - b_dot) * inv_temp
                        if SHARED:  # too many classes for registers: accumulate in memory, in the order of the rows
                            b_sum = tl.load(p_total + i_k, mask=i_k < K, other=0.0)
                            b_sum = tl.where(i_tile_b == tl.program_id(0), 0.0, b_sum)
                            tl.store(p_total + i_k, b_sum + tl.sum(b_d, axis=0)[None, :, :], mask=i_k < K)
                        else:
                            tl.store(p_out + o_s + i_k, b_d.to(p_out.dtype.element_ty), mask=m)
        else:
            m = m_b & (i_k < K)
            if RECOMPUTE:
                if not SHARED:
                    b_prior = _centred(p_logits, o_row, m_row, i_k, K, stride_lk, b_max_logit)
                b_x = b_prior - _neg_noise(seed, offset, i_row, 0, K, BLOCK_J, BLOCK_C)
                b_s = tl.where(m, _softmax(b_x, _row_max(b_x), inv_temp), 0.0)
            else:
                b_s = tl.load(p_sample + o_s + i_k, mask=m, other=0.0)
            b_g = _upstream(p_grad + o_g, i_k, stride_gk, m, b_s)
            b_d = b_s * (b_g - _row_sum(b_s * b_g))
            if SHARED:
                b_total += b_d
            else:
                tl.store(p_out + o_s + i_k, (b_d * inv_temp).to(p_out.dtype.element_ty), mask=m)

    if SHARED and not LOOPED:
        b_sum = tl.sum(b_total, axis=0)[None, :, :] * inv_temp
        tl.store(p_total + i_k, b_sum.to(p_out.dtype.element_ty), mask=i_k < K)


@triton.jit
def gumbel_softmax_bwd_sum_kernel(
    p_grad_logits,  # [E, K], contiguous
    p_partial,  # float32 [E, P, K], contiguous
    P,
    units,  # K / UNIT
    UNIT: tl.constexpr,
    BLOCK_P: tl.constexpr,  # rows that are loaded at a time
    BLOCK_C: tl.constexpr,
):
    """Sum over P, in an order that does not depend on timing. Grid: (slices of BLOCK_C classes, E)."""
    i_e = tl.program_id(1).to(tl.int64)
    K = units * UNIT
    i_k = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    b_total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for first in range(0, P, BLOCK_P):
        i_p = first + tl.arange(0, BLOCK_P)[:, None]
        p = p_partial + (i_e * P + i_p) * K + i_k[None, :]
        b_total += tl.load(p, mask=(i_p < P) & (i_k < K)[None, :], other=0.0)
    b_sum = tl.sum(b_total, axis=0)
    tl.store(p_grad_logits + i_e * K + i_k, b_sum.to(p_grad_logits.dtype.element_ty), mask=i_k < K)
