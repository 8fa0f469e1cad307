"""The random stream of reference.py in Triton: the same words, bit for bit. All four words of a block are used."""

from __future__ import annotations

import triton
import triton.language as tl

SMALLEST = tl.constexpr(2.0**-33)
LARGEST = tl.constexpr(1.0 - 2.0**-24)
POLYNOMIAL_BELOW = tl.constexpr(0.0625)
MINUS_TWO_LN2 = tl.constexpr(-1.3862943611198906)
INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))
OFFSET_HIGH_MASK = tl.constexpr(0x7FFFFFFF)


@triton.jit
def _product(c, multiplier):
    """High and low halves of the product of two uint32: for a GPU one wide product, where tl.umulhi would add one."""
    product = c.to(tl.uint64) * multiplier
    return (product >> 32).to(tl.uint32), product.to(tl.uint32)


@triton.jit
def philox(seed, c0, c1, c2, c3):
    """Ten rounds of Philox-4x32 on four uint32 blocks of one shape, with an int64 seed."""
    k0 = (seed & 0xFFFFFFFF).to(tl.uint32)
    k1 = ((seed >> 32) & 0xFFFFFFFF).to(tl.uint32)
    for _ in tl.static_range(10):
        first_high, first_low = _product(c0, 0xD2511F53)
        second_high, second_low = _product(c2, 0xCD9E8D57)
        c0 = second_high ^ c1 ^ k0
        c2 = first_high ^ c3 ^ k1
        c1 = second_low
        c3 = first_low
        k0 = tl.add(k0, 0x9E3779B9, sanitize_overflow=False)
        k1 = tl.add(k1, 0xBB67AE85, sanitize_overflow=False)
    return c0, c1, c2, c3


@triton.jit
def philox_quads(seed, offset, block, STREAM: tl.constexpr):
    """The four words, uint32, of each of the stream's blocks (int64, any shape)."""
    zero = block * 0
    c0 = (block & 0xFFFFFFFF).to(tl.uint32)
    c1 = ((block >> 32) & 0xFFFFFFFF).to(tl.uint32)
    c2 = (zero + (offset & 0xFFFFFFFF)).to(tl.uint32)
    c3 = (zero + (((offset >> 32) & OFFSET_HIGH_MASK) | (STREAM << 31))).to(tl.uint32)
    return philox(seed, c0, c1, c2, c3)


@triton.jit
def uniform(word):
    """Words to uniforms in [2^-33, 1 - 2^-24]."""
    u = word.to(tl.float32) * 2.3283064365386963e-10
    return tl.minimum(tl.maximum(u, SMALLEST), LARGEST)


@triton.jit
def log2(x):
    """The GPU's approximate log2: one instruction, where tl.log2 takes about twenty.

    Its error is 2^-22: absolute for x between 1/2 and 2, so that it may exceed a result near 0; relative elsewhere.
    """
    if INTERPRETED:  # the interpreter has no inline assembly
        return tl.log2(x)
    else:
        return tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def log2_of_minus(x):
    """log2(-x) in one instruction, of which the sign is part; Triton's minus is a subtraction from 0."""
    if INTERPRETED:
        return tl.log2(-x)
    else:
        return tl.inline_asm_elementwise(
            "{ .reg .f32 y; neg.f32 y, $1; lg2.approx.ftz.f32 $0, y; }",
            "=f,f",
            [x],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )


@triton.jit
def exp2(x):
    """The GPU's approximate 2^x: one instruction. Results below 2^-126 become 0."""
    if INTERPRETED:
        return tl.exp2(x)
    else:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def log2_below_one(x, y):
    """log2(x) for x in (0, 1) and y = 1 - x, to a relative error of 3e-6.

    Near x = 1 it is a polynomial in y: there the error of log2 would exceed the logarithm and could make it positive,
    and for the largest Gumbel noise x itself would round to 1.
    """
    # Fitted to log2(1 - y) / y at Chebyshev's points of [0, 1/16]: relative error 3e-8.
    near_one = y * (-1.442695 + y * (-0.72136723 + y * (-0.47934103 + y * -0.39956721)))
    return tl.where(y < POLYNOMIAL_BELOW, near_one, log2(x))


@triton.jit
def neg_gumbel_in_bits(word):
    """Words to log2(-log2(1 - u)): minus Gumbel noise, over ln 2, plus a constant that no softmax or argmax sees.

    As noise it has an absolute error of 4e-6 or, where it is large, a relative one of 2^-22. It is added to logits, so
    an absolute error suffices near 0.
    """
    u = uniform(word)
    return log2_of_minus(log2_below_one(1.0 - u, u))


@triton.jit
def normal_radius(word):
    """Words to sqrt(-2 log u), Box-Muller's radius; clamped at 0, so that no rounding gives NaN."""
    u = uniform(word)
    return tl.sqrt(tl.maximum(log2_below_one(u, 1.0 - u) * MINUS_TWO_LN2, 0.0))


@triton.jit
def interleave(a, b, c, d):
    """Four [..., n / 4], of columns 0, 1, 2, 3 modulo 4, to [..., n]."""
    joined = tl.join(tl.join(a, c), tl.join(b, d))
    return tl.reshape(joined, joined.shape[:-3] + [4 * joined.shape[-3]])


@triton.jit
def neg_gumbel_tile(seed, offset, block):
    """Minus Gumbel noise, in bits, [..., n] of blocks [..., n / 4]."""
    a, b, c, d = philox_quads(seed, offset, block, 0)
    return interleave(neg_gumbel_in_bits(a), neg_gumbel_in_bits(b), neg_gumbel_in_bits(c), neg_gumbel_in_bits(d))


@triton.jit
def sinpi(y):
    """sin(pi y) for y in [-1/2, 1/2], to 2e-7. libdevice's sine has a slow path for large angles, with a stack."""
    z = y * y
    return y * (3.1415927 + z * (-5.1677103 + z * (2.5500774 + z * (-0.59829038 + z * 0.077655911))))


@triton.jit
def polar_to_cartesian(radius, u):
    """radius cos(2 pi u) and radius sin(2 pi u), for u in (0, 1)."""
    x = 1.0 - 2.0 * u  # in half turns; cos(2 pi u) = -cos(pi x), sin(2 pi u) = sin(pi x)
    size = tl.abs(x)
    near = tl.minimum(size, 1.0 - size)
    return -radius * sinpi(0.5 - size), radius * sinpi(tl.where(x < 0.0, -near, near))


@triton.jit
def normal_tile(seed, offset, block):
    """Standard normals [..., n] of blocks [..., n / 4], by Box-Muller on neighbouring pairs."""
    a, b, c, d = philox_quads(seed, offset, block, 1)
    first_cos, first_sin = polar_to_cartesian(normal_radius(a), uniform(b))
    second_cos, second_sin = polar_to_cartesian(normal_radius(c), uniform(d))
    return interleave(first_cos, first_sin, second_cos, second_sin)


@triton.jit
def uniform_tile(seed, offset, block):
    """Uniforms [..., n] of blocks [..., n / 4]."""
    a, b, c, d = philox_quads(seed, offset, block, 0)
    return interleave(uniform(a), uniform(b), uniform(c), uniform(d))
