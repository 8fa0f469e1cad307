"""One step of Adam over a flat buffer in one launch (arXiv 1412.6980, algorithm 1).

It moves 28 bytes an element, either with float32 gradients or with 16-bit gradients and a 16-bit copy of the weights;
and 8 bytes more where the weights have a moving average.

From some tile on, gradients may come from another buffer, and from some tile on weights may have an average, whose
buffer starts there. Both are decided by one scalar a tile, so that the accesses within a tile stay contiguous.

All programs read the step count, which may be written only after the last of them has read it. So each program adds 1
to the semaphore after its read; the last one writes the new count and resets the semaphore to 0 for the next launch. A
skipped step changes nothing: every program reads the same flag and returns.

The bias corrections 1 - beta^t are computed in float64, once a program; a program therefore processes many tiles.

Legend: i_ index, m_ mask, p_ pointer, b_ block of values.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _coefficients(p_lr, p_hyperparameters, new_step):
    """Float32 beta1, 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t), eps, for step t."""
    # From float64 tensors: float arguments are passed in float32, where 1 - 0.999 loses four digits.
    beta1 = tl.load(p_hyperparameters)
    beta2 = tl.load(p_hyperparameters + 1)
    eps = tl.load(p_hyperparameters + 2).to(tl.float32)
    bias_correction1 = (1.0 - tl.exp(tl.load(p_hyperparameters + 3) * new_step.to(tl.float64))).to(tl.float32)
    bias_correction2 = (1.0 - tl.exp(tl.load(p_hyperparameters + 4) * new_step.to(tl.float64))).to(tl.float32)
    one_minus_beta1 = (1.0 - beta1).to(tl.float32)
    one_minus_beta2 = (1.0 - beta2).to(tl.float32)
    beta1 = beta1.to(tl.float32)
    beta2 = beta2.to(tl.float32)
    step_size = tl.div_rn(tl.load(p_lr), bias_correction1)
    inv_sqrt_correction2 = tl.div_rn(1.0, tl.sqrt_rn(bias_correction2))
    return beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, inv_sqrt_correction2, eps


@triton.jit(do_not_specialize=["first_large", "first_averaged"])  # layouts differ, the compiled kernel does not
def adam_kernel(
    p_master,  # float32 [n]
    p_exp_avg,  # float32 [n]
    p_exp_avg_sq,  # float32 [n]
    p_step,  # float32, one: steps taken
    p_semaphore,  # int32, one: programs that have read the step count; 0 before and after
    p_shadow,  # [n], any dtype; unused without HAS_SHADOW
    p_grad,  # [n], any dtype
    p_lr,  # float32, one
    p_hyperparameters,  # float64 [5]: beta1, beta2, eps, log beta1, log beta2
    p_grad_scale,  # one; not read without HAS_GRAD_SCALE
    p_found_inf,  # one; not read without HAS_FOUND_INF
    p_large,  # gradients from tile first_large on, of grad's dtype
    p_average,  # float32, from tile first_averaged on; unused without HAS_AVERAGE
    p_share,  # one; not read without HAS_AVERAGE
    units,  # n / UNIT
    first_large,  # a tile; the number of tiles means none
    first_averaged,
    UNIT: tl.constexpr,  # 16 tells the compiler that no vector access crosses the end; else 1
    HAS_SHADOW: tl.constexpr,
    HAS_GRAD_SCALE: tl.constexpr,
    HAS_FOUND_INF: tl.constexpr,
    HAS_AVERAGE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Grid: (programs,), which divide the tiles of BLOCK elements among them."""
    apply_step = True
    if HAS_FOUND_INF:
        apply_step = not (tl.load(p_found_inf).to(tl.float32) > 0.0)  # false for NaN, as in the reference
    if apply_step:
        new_step = tl.load(p_step) + 1.0
        beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, inv_sqrt_correction2, eps = _coefficients(
            p_lr, p_hyperparameters, new_step
        )
        inv_grad_scale = 1.0
        if HAS_GRAD_SCALE:
            inv_grad_scale = tl.div_rn(1.0, tl.load(p_grad_scale).to(tl.float32))  # exact for powers of two
        share = 0.0
        if HAS_AVERAGE:
            share = tl.load(p_share).to(tl.float32)

        n = tl.cast(units, tl.int64) * UNIT
        for i_tile in range(tl.program_id(0), tl.cdiv(n, BLOCK).to(tl.int32), tl.num_programs(0)):
            # Four consecutive elements a thread, 16 bytes of float32. Eight, the compiler's choice for 16-bit loads,
            # would be exchanged through shared memory before the float32 stores.
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
            if HAS_AVERAGE:
                m_a = m & (i_tile >= first_averaged)
                i_a = i - tl.cast(first_averaged, tl.int64) * BLOCK
                b_a = tl.load(p_average + i_a, mask=m_a, other=0.0)
            if HAS_GRAD_SCALE:
                b_g = b_g * inv_grad_scale
            b_m = beta1 * b_m + one_minus_beta1 * b_g
            b_v = beta2 * b_v + one_minus_beta2 * b_g * b_g
            # sqrt_rn, since the approximate square root flushes numbers below 1e-38 to 0.
            b_p = b_p - step_size * b_m / (tl.sqrt_rn(b_v) * inv_sqrt_correction2 + eps)
            tl.store(p_master + i, b_p, mask=m)
            tl.store(p_exp_avg + i, b_m, mask=m)
            tl.store(p_exp_avg_sq + i, b_v, mask=m)
            if HAS_SHADOW:
                tl.store(p_shadow + i, b_p.to(p_shadow.dtype.element_ty), mask=m)
            if HAS_AVERAGE:
                tl.store(p_average + i_a, b_a + share * (b_p - b_a), mask=m_a)

        tl.debug_barrier()  # all threads have read the count before this program adds to the semaphore
        if tl.atomic_add(p_semaphore, 1) == tl.num_programs(0) - 1:
            tl.store(p_semaphore, 0)
            tl.store(p_step, new_step)
