"""The random stream: Philox-4x32-10 (Salmon et al., SC 2011) in plain torch.

A draw is a pure function of (seed, offset, row, column): there is no state to save but the counters, and order does
not matter. Every backend generates the same words, so that tests compare samples, not distributions.

    key      = (seed low, seed high)
    counter  = (block low, block high, offset low, offset high | stream << 31)
    block    = row * ceil(columns / 4) + column // 4, word = column % 4

Offsets are below 2^63, so bit 31 of the last counter word is free to separate two streams (Gumbel noise and normal
noise) under one seed and one offset. Words are uint32 stored in int64, since torch has no uint32 arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10

STREAM_GUMBEL = 0
STREAM_NORMAL = 1

SMALLEST = 2.0**-33  # replaces 0 for word 0, so that its logarithm is finite (Gumbel noise <= 22.9)
LARGEST = 1.0 - 2.0**-24  # the largest float32 below 1


def philox(counter: Tensor, key: Tensor) -> Tensor:
    """Ten Philox rounds. counter [4, ...] and key [2, ...] int64 holding uint32; returns words [4, ...]."""
    # The constants stay Python numbers: tensors would be copied to the device at every call.
    (a, b), (c0, c1, c2, c3), (k0, k1) = MULTIPLIERS, counter, key
    for _ in range(ROUNDS):
        # The product of two uint32 wraps to the right 64 bits in int64; the mask undoes the sign extension.
        first, second = c0 * a, c2 * b
        c0, c1 = ((second >> 32) & MASK) ^ c1 ^ k0, second & MASK
        c2, c3 = ((first >> 32) & MASK) ^ c3 ^ k1, first & MASK
        k0, k1 = (k0 + KEY_STEPS[0]) & MASK, (k1 + KEY_STEPS[1]) & MASK
    return torch.stack((c0, c1, c2, c3))


def words(
    seed: Tensor, offset: Tensor, rows: int, columns: int, *, row_start: int | Tensor = 0, stream: int = 0
) -> Tensor:
    """Random words of rows [row_start, row_start + rows).

    seed, offset: int64, same device, scalars or [...] (leading dimensions broadcast together).
    Returns int64 [..., rows, columns] with values in [0, 2^32).
    """
    device = seed.device
    blocks_per_row = (columns + 3) // 4
    row = torch.arange(rows, device=device) + row_start
    block = row[:, None] * blocks_per_row + torch.arange(blocks_per_row, device=device)  # [rows, blocks]
    seed, offset = torch.broadcast_tensors(seed, offset)
    seed, offset = seed[..., None, None], offset[..., None, None]
    last = ((offset >> 32) & 0x7FFFFFFF) | (stream << 31)
    counter = torch.stack(torch.broadcast_tensors(block & MASK, (block >> 32) & MASK, offset & MASK, last))
    key = torch.stack((seed & MASK, (seed >> 32) & MASK))
    out = philox(counter, key)  # [4, ..., rows, blocks]
    return out.movedim(0, -1).flatten(-2)[..., :columns]


def to_uniform(word: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Words to uniforms in [2^-33, 1 - 2^-24]: never 0 or 1, so every logarithm is finite.

    The rounding to float32 is part of the stream, whatever the `dtype` of the result.
    """
    u = word.to(torch.float32) * 2.0**-32
    return u.clamp(SMALLEST, LARGEST).to(dtype)


def to_gumbel(word: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Words to Gumbel(0, 1) noise -log(-log(1 - u)).

    log1p, since the largest noise comes from u near 0, where 1 - u rounds to 1.
    """
    return -torch.log(-torch.log1p(-to_uniform(word, dtype)))


def to_normal(word: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Words [..., 2n] to standard normals [..., 2n], by Box-Muller on neighbouring pairs."""
    first, second = to_uniform(word, dtype).unflatten(-1, (-1, 2)).unbind(-1)
    radius = torch.sqrt(-2.0 * torch.log(first))
    angle = 2.0 * torch.pi * second
    return torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), dim=-1).flatten(-2)
