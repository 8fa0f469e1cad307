"""NT-Xent in tiles: the V x V similarities live in registers only, so memory stays O(N D).

`nt_xent_normalize_kernel` writes unit embeddings and 1 / norms, `nt_xent_fwd_lse_kernel` the log-sum-exp of each anchor
and the loss, `nt_xent_bwd_kernel` (backward_kernel.py) the gradient of the local rows' raw embeddings. Similarities are
symmetric, so one tile holds both terms of W_ij = P_ij + P_ji, the weight of column j in the gradient of anchor i. Where
the temperature is known not to be small, logits bounded by 1 / T allow a fixed shift in place of the running maximum:
partial sums simply add, and both terms of W come from one exponential, e (1 / L_i + 1 / L_j).

Few tiles hold a positive, the anchors themselves or the end. A loop of their own has all masks, so that the main loop
has none. Where there are too few tiles of rows to fill the device, the columns are split over programs: the last of
them to end adds the sums of exponentials, and `nt_xent_bwd_sum_kernel` the gradients, both in a fixed order.

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
# Weights are computed times 2^14, and so are below 2^15: the small ones of a large batch stay normal float16 numbers.
WEIGHT_BITS: tl.constexpr = tl.constexpr(14.0)
WEIGHT_ONE: tl.constexpr = tl.constexpr(16384.0)
INTERPRETED: tl.constexpr = tl.constexpr(bool(triton.knobs.runtime.interpret))


@triton.jit
def product(b_x, b_y, b_sum, PRECISION: tl.constexpr):
    """x @ y + sum in float32. The interpreter multiplies bfloat16 as integers, so it gets float32 operands."""
    if INTERPRETED:
        b_x = b_x.to(tl.float32)
        b_y = b_y.to(tl.float32)
    return tl.dot(b_x, b_y, b_sum, input_precision=PRECISION)


@triton.jit
def load_anchors(p_a, p_b, i_row, N, stride_an, stride_bn, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Load raw anchors i_row [R], float32 [R, BLOCK_D]; rows from 2N on are zeros."""
    i_d = tl.arange(0, BLOCK_D)[None, :]
    i_n = i_row[:, None].to(tl.int64)
    p = tl.where(i_n < N, p_a + i_n * stride_an, p_b + (i_n - N) * stride_bn) + i_d
    return tl.load(p, mask=(i_n < 2 * N) & (i_d < D), other=0.0).to(tl.float32)


@triton.jit
def normalize(b_x):
    """(x / max(|x|, EPS) [R, D], 1 / max(|x|, EPS) [R]), both float32.

    A zero row gives zeros and 1 / norm 0; a NaN or inf makes its whole row NaN.
    """
    b_largest = tl.max(tl.where(b_x == b_x, tl.abs(b_x), 0.0), axis=1)
    # Scaled by the largest entry, squares neither overflow nor underflow. The floor 1e-30 keeps the reciprocal finite;
    # such rows are below EPS anyway. An inf gives inf * 0 = NaN.
    b_inv_scale = tl.div_rn(tl.full(b_largest.shape, 1.0, tl.float32), tl.maximum(b_largest, 1e-30))
    b_scaled = b_x * b_inv_scale[:, None]
    b_length = tl.sqrt_rn(tl.sum(b_scaled * b_scaled, axis=1))
    m_small = b_length * tl.maximum(b_largest, 1e-30) < EPS  # not so for NaN
    b_inv_length = tl.div_rn(tl.full(b_length.shape, 1.0, tl.float32), tl.where(m_small, 1.0, b_length))
    # Two factors for each row, so that registers need not hold both x and its scaled values.
    b_unit = b_x * tl.where(m_small, 1.0, b_inv_scale)[:, None] * tl.where(m_small, 1.0 / EPS, b_inv_length)[:, None]
    b_floor = tl.where(b_largest == 0.0, 0.0, 1.0 / EPS)
    return b_unit, tl.where(m_small, b_floor, b_inv_length * b_inv_scale)


@triton.jit
def padded(length):
    """Stride of a row of anchors' weights: a multiple of 16, so that whole tiles are aligned whatever N is."""
    return tl.cdiv(length, 16) * 16


@triton.jit
def anchor_weight(b_lse, scale, FIXED_SHIFT: tl.constexpr):
    """What `pair_weights` needs of an anchor, from its base-2 log-sum-exp."""
    if FIXED_SHIFT:
        return tl.exp2(scale - b_lse)
    else:
        return b_lse - WEIGHT_BITS


@triton.jit
def pair_weights(b_s, b_i, b_j, scale, FIXED_SHIFT: tl.constexpr):
    """2^14 (P_ij + P_ji) from cosine similarities and `anchor_weight`s, which broadcast against them."""
    if FIXED_SHIFT:
        return tl.exp2(b_s * scale - (scale - WEIGHT_BITS)) * (b_i + b_j)
    else:
        b_s *= scale
        # P is at most 1; at a tiny T the rounding of a log-sum-exp would make it more than float16 holds.
        b_i = tl.minimum(b_s - b_i, WEIGHT_BITS, propagate_nan=tl.PropagateNan.ALL)
        b_j = tl.minimum(b_s - b_j, WEIGHT_BITS, propagate_nan=tl.PropagateNan.ALL)
        return tl.exp2(b_i) + tl.exp2(b_j)


@triton.jit(do_not_specialize=["N", "semaphores"])
def nt_xent_normalize_kernel(
    p_unit,  # [E, 2N, BLOCK_D], contiguous, in the products' dtype; zeros past D
    p_rnorm,  # float32 [E, 2N]
    p_weight,  # float32 [E, 2N to a multiple of 16], written where GIVEN_LSE
    p_semaphore,  # int32 [E, semaphores], zeroed unless GIVEN_LSE
    p_a,  # [E, N, D], the last dimension of stride 1
    p_b,
    p_lse,  # float32 [E, 2N], read where GIVEN_LSE
    p_temperature,  # one value, read where TEMPERATURE_TENSOR
    temperature,
    N,
    semaphores,
    stride_ae,  # strides, in elements
    stride_an,
    stride_be,
    stride_bn,
    D: tl.constexpr,
    GIVEN_LSE: tl.constexpr,
    TEMPERATURE_TENSOR: tl.constexpr,
    FIXED_SHIFT: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Unit embeddings, and with given log-sum-exps the anchors' weights. Grid: (tiles of BLOCK_R anchors, E)."""
    i_e = tl.program_id(1).to(tl.int64)
    i_row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    p_a += i_e * stride_ae
    p_b += i_e * stride_be
    b_unit, b_rnorm = normalize(load_anchors(p_a, p_b, i_row, N, stride_an, stride_bn, D, BLOCK_D))
    i_out = i_e * 2 * N + i_row.to(tl.int64)
    m_row = i_row < 2 * N
    i_d = tl.arange(0, BLOCK_D)[None, :]
    tl.store(p_unit + i_out[:, None] * BLOCK_D + i_d, b_unit.to(p_unit.dtype.element_ty), mask=m_row[:, None])
    tl.store(p_rnorm + i_out, b_rnorm, mask=m_row)
    if GIVEN_LSE:
        scale = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR) * LOG2E
        b_lse = tl.load(p_lse + i_out, mask=m_row, other=0.0) * LOG2E
        i_weight = i_e * padded(2 * N) + i_row
        tl.store(p_weight + i_weight, anchor_weight(b_lse, scale, FIXED_SHIFT), mask=m_row)
    elif tl.program_id(0) == 0:
        for first in range(0, semaphores, 256):
            i = first + tl.arange(0, 256)
            tl.store(p_semaphore + i_e * semaphores + i, tl.zeros((256,), tl.int32), mask=i < semaphores)


@triton.jit
def special_ranges(first_anchor, first_positive, rows, N, BLOCK_N: tl.constexpr):
    """Ranges of column tiles that need masks, in order: [lo, lo_end), [hi, hi_end), [tail, total).

    The first two hold the anchors and the positives, the third the end of the columns if it is no whole tile.
    """
    total = tl.cdiv(2 * N, BLOCK_N)
    first, second = tl.minimum(first_anchor, first_positive), tl.maximum(first_anchor, first_positive)
    lo, lo_end = first // BLOCK_N, tl.cdiv(first + rows, BLOCK_N)
    hi = tl.maximum(second // BLOCK_N, lo_end)
    hi_end = tl.maximum(tl.cdiv(second + rows, BLOCK_N), hi)
    tail = tl.maximum(2 * N // BLOCK_N, hi_end)
    return lo, lo_end, hi, hi_end, tail, total


@triton.jit
def special_tile(k, lo, lo_end, hi, hi_end, tail):
    """The k-th column tile of `special_ranges`."""
    tile = lo + k
    tile += tl.where(tile >= lo_end, hi - lo_end, 0)
    return tile + tl.where(tile >= hi_end, tail - hi_end, 0)


@triton.jit
def plain_tile(k, lo, lo_end, hi, hi_end):
    """The k-th column tile that no range of `special_ranges` holds."""
    tile = k + tl.where(k >= lo, lo_end - lo, 0)
    return tile + tl.where(tile >= hi, hi_end - hi, 0)


@triton.jit
def _offsets(BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_O: tl.constexpr):
    """Of BLOCK_O entries of BLOCK_R embeddings, one after another."""
    return tl.arange(0, BLOCK_R)[:, None] * BLOCK_D + tl.arange(0, BLOCK_O)[None, :]


@triton.jit
def load_rows(
    p_unit, first, m_row, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_O: tl.constexpr, EVICT: tl.constexpr
):
    """Load unit embeddings from `first` on, [BLOCK_R, BLOCK_O]; zeros outside the mask."""
    p = p_unit + tl.cast(first, tl.int64) * BLOCK_D + _offsets(BLOCK_R, BLOCK_D, BLOCK_O)
    return tl.load(p, mask=m_row[:, None], other=0.0, eviction_policy=EVICT)


@triton.jit
def load_operand(p_unit, first, m_row, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, IN_REGISTERS: tl.constexpr):
    """Load the left operand of all tiles' products [BLOCK_R, BLOCK_D].

    A tensor core reads it from shared memory for each tile, where wgmma's operands and the copies of columns share 128
    bytes a clock, or once into registers. Triton chooses shared memory for what comes straight from a load.
    """
    b_x = load_rows(p_unit, first, m_row, BLOCK_R, BLOCK_D, BLOCK_D, "")
    return tl.where(m_row[:, None], b_x, 0.0) if IN_REGISTERS else b_x


@triton.jit
def load_tile(p_unit, tile, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_O: tl.constexpr):
    """Load a whole tile of columns [BLOCK_N, BLOCK_O]."""
    return tl.load(p_unit + tl.cast(tile, tl.int64) * (BLOCK_N * BLOCK_D) + _offsets(BLOCK_N, BLOCK_D, BLOCK_O))


@triton.jit
def accumulate(b_sum, b_max, b_s, scale, FIXED_SHIFT: tl.constexpr):
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
def _combine(p_partial, i_out, m_row, stride_s, splits, scale, FIXED_SHIFT: tl.constexpr):
    """Base-2 log-sum-exp [R] from the splits' sums, or, without a fixed shift, from their log-sum-exps."""
    b_sum = tl.zeros(i_out.shape, tl.float32)
    b_max = tl.zeros(i_out.shape, tl.float32) - 2.0 * scale
    for s in range(splits):
        b_part = tl.load(p_partial + s * stride_s + i_out, mask=m_row, other=0.0)
        if FIXED_SHIFT:
            b_sum += b_part
        else:
            b_new_max = tl.maximum(b_max, b_part)
            b_sum = b_sum * tl.exp2(b_max - b_new_max) + tl.exp2(b_part - b_new_max)
            b_max = b_new_max
    return tl.log2(b_sum) + (scale if FIXED_SHIFT else b_max)


@triton.jit(do_not_specialize=["n", "N", "row_start", "splits"])
def nt_xent_fwd_lse_kernel(
    p_loss,  # float32 [E] where MEAN, else [E, 2, n]
    p_out,  # float32: anchors' weights [E, 2N to a multiple of 16] where MEAN, else their log-sum-exps [E, 2, n]
    p_partial,  # float32 [2, splits, E, 2, n], where SPLIT: sums and similarities of positives
    p_tile_loss,  # float32 [E, tiles], where MEAN
    p_semaphore,  # int32 zeros [E, 1 + tiles] where SPLIT, else [E, 1]
    p_unit,  # [E, 2N, BLOCK_D]
    p_temperature,  # one value, read where TEMPERATURE_TENSOR
    temperature,
    n,
    N,
    row_start,
    splits,
    TEMPERATURE_TENSOR: tl.constexpr,
    FIXED_SHIFT: tl.constexpr,
    MEAN: tl.constexpr,  # all anchors are local, and the loss is their mean
    PRECISION: tl.constexpr,  # "tf32" or "ieee", of float32 operands
    REGISTER_ANCHORS: tl.constexpr,  # see `load_operand`
    SPLIT: tl.constexpr,  # the columns are split over `splits` programs, else over 1
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Log-sum-exp and loss of local anchors. Grid: (tiles of BLOCK_M anchors of one view times splits, 2 views, E)."""
    scale = inverse_temperature(p_temperature, temperature, TEMPERATURE_TENSOR) * LOG2E
    i_view, i_e = tl.program_id(1), tl.program_id(2).to(tl.int64)
    i_tile, i_split = tl.program_id(0) // splits, tl.program_id(0) % splits
    rows = tl.minimum(BLOCK_M, n - i_tile * BLOCK_M)
    i_local = i_tile * BLOCK_M + tl.arange(0, BLOCK_M)
    m_row = i_local < n
    first_anchor = i_view * N + row_start + i_tile * BLOCK_M  # column of the first anchor
    first_positive = first_anchor + N - i_view * 2 * N
    p_unit += i_e * 2 * N * BLOCK_D
    b_anchor = load_operand(p_unit, first_anchor, m_row, BLOCK_M, BLOCK_D, REGISTER_ANCHORS)
    b_sum = tl.zeros((BLOCK_M,), tl.float32)
    b_positive = tl.zeros((BLOCK_M,), tl.float32)
    # The running maximum starts finite, below every similarity: a tile of masked columns then adds 0, not NaN.
    b_max = tl.zeros((BLOCK_M,), tl.float32) - 2.0 * scale

    lo, lo_end, hi, hi_end, tail, total = special_ranges(first_anchor, first_positive, rows, N, BLOCK_N)
    # Beside products without tensor cores masks cost nothing, and one loop compiles in half the time.
    special = total if PRECISION == "ieee" else lo_end - lo + hi_end - hi + total - tail
    first, end = total * i_split // splits, total * (i_split + 1) // splits
    for k in range(first, tl.minimum(end, special)):
        tile = k if PRECISION == "ieee" else special_tile(k, lo, lo_end, hi, hi_end, tail)
        first_j = tile * BLOCK_N
        i_j = first_j + tl.arange(0, BLOCK_N)
        b_u = load_rows(p_unit, first_j, i_j < 2 * N, BLOCK_N, BLOCK_D, BLOCK_D, "")
        b_s = product(b_anchor, tl.trans(b_u), tl.zeros((BLOCK_M, BLOCK_N), tl.float32), PRECISION)
        m_positive = i_j[None, :] == first_positive + tl.arange(0, BLOCK_M)[:, None]
        b_positive += tl.sum(tl.where(m_positive, b_s, 0.0), axis=1)
        m_other = i_j[None, :] != first_anchor + tl.arange(0, BLOCK_M)[:, None]
        b_s = tl.where(m_other & (i_j < 2 * N)[None, :], b_s, float("-inf"))
        b_sum, b_max = accumulate(b_sum, b_max, b_s, scale, FIXED_SHIFT)
    if PRECISION != "ieee":
        for k in range(tl.maximum(first, special) - special, end - special):
            b_u = load_tile(p_unit, plain_tile(k, lo, lo_end, hi, hi_end), BLOCK_N, BLOCK_D, BLOCK_D)
            b_s = product(b_anchor, tl.trans(b_u), tl.zeros((BLOCK_M, BLOCK_N), tl.float32), PRECISION)
            b_sum, b_max = accumulate(b_sum, b_max, b_s, scale, FIXED_SHIFT)

    tiles = 2 * (tl.num_programs(0) // splits)
    i_tile += i_view * (tiles // 2)
    p_semaphore += i_e * (tiles + 1 if SPLIT else 1)
    i_out = (i_e * 2 + i_view) * n + i_local
    last = True
    if SPLIT:
        stride_s = tl.num_programs(2).to(tl.int64) * 2 * n
        b_part = b_sum if FIXED_SHIFT else tl.log2(b_sum) + b_max
        tl.store(p_partial + i_split * stride_s + i_out, b_part, mask=m_row)
        tl.store(p_partial + (splits + i_split) * stride_s + i_out, b_positive, mask=m_row)
        tl.debug_barrier()  # all threads have stored before this program adds to the semaphore
        last = tl.atomic_add(p_semaphore + 1 + i_tile, 1) == splits - 1
    if last:
        if SPLIT:
            b_lse = _combine(p_partial, i_out, m_row, stride_s, splits, scale, FIXED_SHIFT)
            b_positive = tl.zeros((BLOCK_M,), tl.float32)
            for s in range(splits):
                b_positive += tl.load(p_partial + (splits + s) * stride_s + i_out, mask=m_row, other=0.0)
        else:
            b_lse = tl.log2(b_sum) + (scale if FIXED_SHIFT else b_max)
        has_negatives = tl.where(N > 1, 1.0, 0.0)  # without negatives the loss is 0 exactly, or NaN
        b_loss = (b_lse - b_positive * scale) * LN2 * has_negatives
        if MEAN:
            i_weight = i_e * padded(2 * N) + i_view * N + i_local
            tl.store(p_out + i_weight, anchor_weight(b_lse, scale, FIXED_SHIFT), mask=m_row)
            if i_tile == tiles - 1:  # an op's result has no element that is not written
                i = 2 * N + tl.arange(0, 16)
                tl.store(p_out + i_e * padded(2 * N) + i, tl.zeros((16,), tl.float32), mask=i < padded(2 * N))
            tl.store(p_tile_loss + i_e * tiles + i_tile, tl.sum(tl.where(m_row, b_loss, 0.0), axis=0))
            tl.debug_barrier()
            if tl.atomic_add(p_semaphore, 1) == tiles - 1:
                b_total = tl.zeros((256,), tl.float32)
                for first_tile in range(0, tiles, 256):
                    i = first_tile + tl.arange(0, 256)
                    b_total += tl.load(p_tile_loss + i_e * tiles + i, mask=i < tiles, other=0.0)
                tl.store(p_loss + i_e, tl.sum(b_total, axis=0) / (2.0 * N))
        else:
            tl.store(p_out + i_out, b_lse * LN2, mask=m_row)
            tl.store(p_loss + i_out, b_loss, mask=m_row)


@triton.jit
def normalize_bwd(b_grad, b_unit, b_rnorm):
    """Gradient [R, D] of raw embeddings from that of x / max(|x|, EPS); below EPS the norm is a constant."""
    b_projection = tl.sum(b_grad * b_unit, axis=1)
    b_projection = tl.where(b_rnorm < 1.0 / EPS, b_projection, 0.0)
    return (b_grad - b_projection[:, None] * b_unit) * b_rnorm[:, None]
