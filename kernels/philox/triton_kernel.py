"""The random stream of reference.py inside Triton kernels: the same words, bit for bit, all four of each block used."""

from __future__ import annotations

import triton
import triton.language as tl

SMALLEST = tl.constexpr(2.0**-33)
LARGEST = tl.constexpr(1.0 - 2.0**-24)
SERIES_BELOW = tl.constexpr(0.0625)
MINUS_LN2 = tl.constexpr(-0.6931471805599453)
INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))
LAST_OFFSET_BITS = tl.constexpr(0x7FFFFFFF)


@triton.jit
def quads(seed, offset, i_row, blocks_a_row, QUADS: tl.constexpr, FIRST, STREAM: tl.constexpr):
    """Words of columns 4 FIRST ... 4 (FIRST + QUADS) - 1 of rows i_row [R, 1] (int64): four uint32 [R, QUADS]."""
    block = i_row * blocks_a_row + (FIRST + tl.arange(0, QUADS))[None, :]
    zero = block * 0
    c0 = (block & 0xFFFFFFFF).to(tl.uint32)
    c1 = ((block >> 32) & 0xFFFFFFFF).to(tl.uint32)
    c2 = (zero + (offset & 0xFFFFFFFF)).to(tl.uint32)
    c3 = (zero + (((offset >> 32) & LAST_OFFSET_BITS) | (STREAM << 31))).to(tl.uint32)
    return tl.philox(seed, c0, c1, c2, c3)


@triton.jit
def uniform(word):
    """Words to uniforms in [2^-33, 1 - 2^-24]."""
    u = word.to(tl.float32) * 2.3283064365386963e-10
    return tl.minimum(tl.maximum(u, SMALLEST), LARGEST)


@triton.jit
def log2(x):
    """The GPU's own log2: one instruction where tl.log2 takes some twenty.

    Its error is 2^-22 between 1/2 and 2, however near 0 the logarithm is there, and relative elsewhere.
    """
    if INTERPRETED:  # which knows no assembly
        return tl.log2(x)
    else:
        return tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def minus_log(x, left):
    """-log(x) for x in (0, 1), where `left` is 1 - x, to 3e-6 of itself.

    Near 1 it is a series of `left`: there the error of log2 would be many times the logarithm, which it could even make
    negative, and for the largest Gumbel noise x itself would be rounded away.
    """
    series = left * (1.0 + left * (0.5 + left * (0.33333334 + left * (0.25 + left * (0.2 + left * 0.16666667)))))
    return tl.where(left < SERIES_BELOW, series, log2(x) * MINUS_LN2)


@triton.jit
def gumbel(word):
    """Words to -log(-log(1 - u)), to 4e-6 or, where it is large, to 2^-22 of itself.

    It is added to logits, so that near 0 an absolute error will do.
    """
    u = uniform(word)
    return log2(minus_log(1.0 - u, u)) * MINUS_LN2


@triton.jit
def normal_radius(word):
    """Words to sqrt(-2 log u), Box-Muller's radius. Whatever the logarithm does, there is no NaN."""
    u = uniform(word)
    return tl.sqrt(tl.maximum(2.0 * minus_log(u, 1.0 - u), 0.0))


@triton.jit
def interleave(a, b, c, d, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Four [R, C / 4], of columns 0, 1, 2, 3 modulo 4, to [R, C]."""
    return tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), (ROWS, COLUMNS))


@triton.jit
def gumbel_tile(seed, offset, i_row, blocks_a_row, FIRST, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Gumbel noise [ROWS, COLUMNS] of rows i_row [ROWS, 1] (int64) from column 4 FIRST on; COLUMNS at least 4."""
    a, b, c, d = quads(seed, offset, i_row, blocks_a_row, COLUMNS // 4, FIRST, 0)
    return interleave(gumbel(a), gumbel(b), gumbel(c), gumbel(d), ROWS, COLUMNS)


@triton.jit
def half_turns_sine(y):
    """sin(pi y) for y in [-1/2, 1/2], to 2e-7: libdevice's sine carries a slow path, and its stack, for any angle."""
    z = y * y
    return y * (3.1415927 + z * (-5.1677103 + z * (2.5500774 + z * (-0.59829038 + z * 0.077655911))))


@triton.jit
def turn(radius, u):
    """radius times the cosine and the sine of 2 pi u, for u in (0, 1)."""
    x = 1.0 - 2.0 * u  # in half turns; cos(2 pi u) = -cos(pi x), sin(2 pi u) = sin(pi x)
    size = tl.abs(x)
    near = tl.minimum(size, 1.0 - size)
    return -radius * half_turns_sine(0.5 - size), radius * half_turns_sine(tl.where(x < 0.0, -near, near))


@triton.jit
def normal_tile(seed, offset, i_row, blocks_a_row, FIRST, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Standard normals [ROWS, COLUMNS], by Box-Muller on neighbouring pairs."""
    a, b, c, d = quads(seed, offset, i_row, blocks_a_row, COLUMNS // 4, FIRST, 1)
    first_cos, first_sin = turn(normal_radius(a), uniform(b))
    second_cos, second_sin = turn(normal_radius(c), uniform(d))
    return interleave(first_cos, first_sin, second_cos, second_sin, ROWS, COLUMNS)


@triton.jit
def uniform_tile(seed, offset, i_row, blocks_a_row, FIRST, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Uniforms [ROWS, COLUMNS]."""
    a, b, c, d = quads(seed, offset, i_row, blocks_a_row, COLUMNS // 4, FIRST, 0)
    return interleave(uniform(a), uniform(b), uniform(c), uniform(d), ROWS, COLUMNS)
