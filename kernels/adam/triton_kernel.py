"""One step of Adam over a flat buffer in one launch: 28 bytes an element, whether the gradient is of float32 or the
gradient and a copy of the weights are of 16 bits; and 8 more where an average of the weights follows them.

The last tiles may take their gradients from another buffer, and the last tiles may have an average, whose buffer begins
with the first of them: which they are is a scalar of each tile, so that every tile reads and writes straight on.

All programs read the step count, and it must grow by 1 after the last has read it. So each program counts its arrival
in `p_arrived` once it has read the count; the program that arrives last writes count + 1 and sets the arrivals back
to 0 for the next launch. A skipped step counts nothing: every program reads the same flag and does nothing at all.

The bias corrections 1 - beta^t are taken in float64, once a program; a program therefore does many tiles.

Legend: i_ index, m_ mask, p_ pointer, b_ block of values.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["first_large", "first_averaged"])  # one kernel, wherever they begin
def adam_kernel(
    p_master,  # float32 [n]
    p_exp_avg,  # float32 [n]
    p_exp_avg_sq,  # float32 [n]
    p_step,  # float32, one: steps taken
    p_arrived,  # int32, one, 0: programs that have read it
    p_shadow,  # [n], any dtype; unused without SHADOW
    p_grad,  # [n], any dtype
    p_lr,  # float32, one
    p_numbers,  # float64 [5]: beta1, beta2, eps, log beta1, log beta2
    p_grad_scale,  # one; unread without SCALED
    p_found_inf,  # one; unread without FLAGGED
    p_large,  # gradients from tile first_large on, of grad's dtype
    p_average,  # float32, from tile first_averaged on; unused without AVERAGED
    p_share,  # one; unread without AVERAGED
    units,  # n / UNIT
    first_large,  # as many as there are tiles: none of them
    first_averaged,
    UNIT: tl.constexpr,  # 16 lets the compiler see that no vector of elements crosses the end; else 1
    SHADOW: tl.constexpr,
    SCALED: tl.constexpr,
    FLAGGED: tl.constexpr,
    AVERAGED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Grid: (programs that share out the tiles of BLOCK elements,)."""
    go = True
    if FLAGGED:
        go = not (tl.load(p_found_inf).to(tl.float32) > 0.0)  # a NaN is no flag, as for the reference
    if go:
        taken = tl.load(p_step) + 1.0
        # From float64 tensors: float arguments would arrive in float32, and 1 - 0.999 has lost four digits there.
        beta1 = tl.load(p_numbers)
        beta2 = tl.load(p_numbers + 1)
        eps = tl.load(p_numbers + 2).to(tl.float32)
        left1 = (1.0 - tl.exp(tl.load(p_numbers + 3) * taken.to(tl.float64))).to(tl.float32)
        left2 = (1.0 - tl.exp(tl.load(p_numbers + 4) * taken.to(tl.float64))).to(tl.float32)
        new1 = (1.0 - beta1).to(tl.float32)
        new2 = (1.0 - beta2).to(tl.float32)
        old1 = beta1.to(tl.float32)
        old2 = beta2.to(tl.float32)
        size = tl.div_rn(tl.load(p_lr), left1)
        widen = tl.div_rn(1.0, tl.sqrt_rn(left2))
        inverse = 1.0
        if SCALED:
            inverse = tl.div_rn(1.0, tl.load(p_grad_scale).to(tl.float32))  # exact for powers of two
        share = 0.0
        if AVERAGED:
            share = tl.load(p_share).to(tl.float32)

        n = tl.cast(units, tl.int64) * UNIT
        for i_tile in range(tl.program_id(0), tl.cdiv(n, BLOCK).to(tl.int32), tl.num_programs(0)):
            # Four neighbours a thread, 16 bytes of float32: eight, which 16-bit values suggest, would have to be
            # exchanged through shared memory before float32 stores.
            i_lane = tl.max_contiguous(tl.arange(0, BLOCK), 4)
            i = tl.cast(i_tile, tl.int64) * BLOCK + i_lane
            m = i < n
            large = i_tile >= first_large
            p_g = tl.where(large, p_large, p_grad)
            i_g = i - tl.cast(tl.where(large, first_large, 0), tl.int64) * BLOCK
            b_g = tl.load(p_g + i_g, mask=m, other=0.0).to(tl.float32)
            b_p = tl.load(p_master + i, mask=m, other=0.0)
            b_m = tl.load(p_exp_avg + i, mask=m, other=0.0)
            b_v = tl.load(p_exp_avg_sq + i, mask=m, other=0.0)
            if AVERAGED:
                m_a = m & (i_tile >= first_averaged)
                i_a = i - tl.cast(first_averaged, tl.int64) * BLOCK
                b_a = tl.load(p_average + i_a, mask=m_a, other=0.0)
            if SCALED:
                b_g = b_g * inverse
            b_m = old1 * b_m + new1 * b_g
            b_v = old2 * b_v + new2 * b_g * b_g
            # The rounded root: the fast one takes numbers below 1e-38 for 0.
            b_p = b_p - size * b_m / (tl.sqrt_rn(b_v) * widen + eps)
            tl.store(p_master + i, b_p, mask=m)
            tl.store(p_exp_avg + i, b_m, mask=m)
            tl.store(p_exp_avg_sq + i, b_v, mask=m)
            if SHADOW:
                tl.store(p_shadow + i, b_p.to(p_shadow.dtype.element_ty), mask=m)
            if AVERAGED:
                tl.store(p_average + i_a, b_a + share * (b_p - b_a), mask=m_a)

        tl.debug_barrier()  # every thread of this program has read the count before the program arrives
        if tl.atomic_add(p_arrived, 1) == tl.num_programs(0) - 1:
            tl.store(p_arrived, 0)
            tl.store(p_step, taken)
