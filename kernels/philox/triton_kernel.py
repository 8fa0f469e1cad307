"""The random stream of reference.py in Triton: the same words, bit for bit. All four words of a block are used."""

from __future__ import annotations

import triton
import triton.language as tl

SMALLEST = tl.constexpr(2.0**-33)
LARGEST = tl.constexpr(1.0 - 2.0**-24)
SERIES_BELOW = tl.constexpr(0.0625)
MINUS_LN2 = tl.constexpr(-0.6931471805599453)
INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))
OFFSET_HIGH_MASK = tl.constexpr(0x7FFFFFFF)


@triton.jit
def philox_quads(seed, offset, i_row, blocks_per_row, QUADS: tl.constexpr, first_block, STREAM: tl.constexpr):
    """Words of rows i_row [R, 1] (int64), blocks first_block .. first_block + QUADS - 1: four uint32 [R, QUADS]."""
    block = i_row * blocks_per_row + (first_block + tl.arange(0, QUADS))[None, :]
    zero = block * 0
    c0 = (block & 0xFFFFFFFF).to(tl.uint32)
    c1 = ((block >> 32) & 0xFFFFFFFF).to(tl.uint32)
    c2 = (zero + (offset & 0xFFFFFFFF)).to(tl.uint32)
    c3 = (zero + (((offset >> 32) & OFFSET_HIGH_MASK) | (STREAM << 31))).to(tl.uint32)
    return tl.philox(seed, c0, c1, c2, c3)


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
def neg_log(x, y):
    """-log(x) for x in (0, 1) and y = 1 - x, to a relative error of 3e-6.

    Near x = 1 it is a series in y: there the error of log2 would exceed the logarithm and could make it negative, and
    for the largest Gumbel noise x itself would round to 1.
    """
    series = y * (1.0 + y * (0.5 + y * (0.33333334 + y * (0.25 + y * (0.2 + y * 0.16666667)))))
    return tl.where(y < SERIES_BELOW, series, log2(x) * MINUS_LN2)


@triton.jit
def gumbel(word):
    """Words to -log(-log(1 - u)), to an absolute error of 4e-6 or, where it is large, a relative one of 2^-22.

    It is added to logits, so an absolute error suffices near 0.
    """
    u = uniform(word)
    return log2(neg_log(1.0 - u, u)) * MINUS_LN2


@triton.jit
def normal_radius(word):
    """Words to sqrt(-2 log u), Box-Muller's radius; clamped at 0, so that no rounding gives NaN."""
    u = uniform(word)
    return tl.sqrt(tl.maximum(2.0 * neg_log(u, 1.0 - u), 0.0))


@triton.jit
def interleave(a, b, c, d, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Four [R, C / 4], of columns 0, 1, 2, 3 modulo 4, to [R, C]."""
    return tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), (ROWS, COLUMNS))


@triton.jit
def gumbel_tile(seed, offset, i_row, blocks_per_row, first_block, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Gumbel noise [ROWS, COLUMNS] of rows i_row [ROWS, 1] (int64), from column 4 first_block; COLUMNS >= 4."""
    a, b, c, d = philox_quads(seed, offset, i_row, blocks_per_row, COLUMNS // 4, first_block, 0)
    return interleave(gumbel(a), gumbel(b), gumbel(c), gumbel(d), ROWS, COLUMNS)


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
def normal_tile(seed, offset, i_row, blocks_per_row, first_block, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Standard normals [ROWS, COLUMNS], by Box-Muller on neighbouring pairs."""
    a, b, c, d = philox_quads(seed, offset, i_row, blocks_per_row, COLUMNS // 4, first_block, 1)
    first_cos, first_sin = polar_to_cartesian(normal_radius(a), uniform(b))
    second_cos, second_sin = polar_to_cartesian(normal_radius(c), uniform(d))
    return interleave(first_cos, first_sin, second_cos, second_sin, ROWS, COLUMNS)


@triton.jit
def uniform_tile(seed, offset, i_row, blocks_per_row, first_block, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Uniforms [ROWS, COLUMNS]."""
    a, b, c, d = philox_quads(seed, offset, i_row, blocks_per_row, COLUMNS // 4, first_block, 0)
    return interleave(uniform(a), uniform(b), uniform(c), uniform(d), ROWS, COLUMNS)
