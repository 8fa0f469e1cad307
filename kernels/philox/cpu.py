"""The random stream of reference.py in NumPy, for plain CPU tensors: the same words, five times as fast.

NumPy has unsigned 64-bit arithmetic and cheap calls. A round is five of them on [2, n] arrays, which hold the two
products of a round side by side. All arrays of a chunk stay in the CPU's cache.

Legend: n blocks of four words (see reference.py).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.philox.reference import KEY_STEPS, LARGEST, MASK, MULTIPLIERS, ROUNDS, SMALLEST

CHUNK = 1 << 14  # blocks: four arrays of 256 KB; shorter chunks cost more calls, longer ones leave the cache
_LOW, _HALF = np.uint64(MASK), np.uint64(32)
_MULTIPLIERS_2x1 = np.array(MULTIPLIERS, dtype=np.uint64)[:, None]


def _rounds(block_n: NDArray[np.uint64], offset: int, key_Rx2x1: NDArray[np.uint64], out_nx2: NDArray) -> None:
    """Ten Philox rounds; writes the four words of each block as two uint64, the lower word first."""
    n = len(block_n)
    # The counter's words 0 and 2 are multiplied; words 1 and 3 are not, in this round.
    even, odd, product = (np.empty((2, n), np.uint64) for _ in range(3))
    swapped = product[::-1]  # each product goes to the other half of the counter
    np.bitwise_and(block_n, _LOW, out=even[0])
    np.right_shift(block_n, _HALF, out=odd[0])
    even[1], odd[1] = offset & MASK, offset >> 32
    for key_2x1 in key_Rx2x1:
        np.multiply(even, _MULTIPLIERS_2x1, out=product)
        np.bitwise_xor(odd, key_2x1, out=even)
        np.right_shift(swapped, _HALF, out=odd)
        np.bitwise_xor(even, odd, out=even)
        np.bitwise_and(swapped, _LOW, out=odd)
    np.left_shift(odd, _HALF, out=odd)
    np.bitwise_or(even, odd, out=odd)
    out_nx2[...] = odd.T


def _keys(seed: int) -> NDArray[np.uint64]:
    """The rounds' keys [ROUNDS, 2, 1]."""
    steps = np.arange(ROUNDS, dtype=np.uint64)[:, None, None] * np.array(KEY_STEPS, np.uint64)[:, None]
    return (steps + np.array((seed & MASK, seed >> 32 & MASK), np.uint64)[:, None]) & _LOW


def _to_int(value: int | Tensor) -> int:
    """A row number as an int; a tensor is read by NumPy, not by an op that waits for a device."""
    return int(value.numpy().item()) if isinstance(value, Tensor) else value


def _raw(
    seed: Tensor, offset: Tensor, rows: int, columns: int, row_start: int | Tensor, stream: int
) -> NDArray[np.uint32]:
    """Words uint32 [..., rows, columns], a view into whole blocks of four."""
    blocks_per_row = (columns + 3) // 4
    # Modulo 2^64, as everywhere else.
    first, count = np.uint64(_to_int(row_start) * blocks_per_row & (1 << 64) - 1), rows * blocks_per_row
    seeds, offsets = seed.numpy(), offset.numpy()
    if seeds.shape != offsets.shape:
        seeds, offsets = np.broadcast_arrays(seeds, offsets)
    out = np.empty((seeds.size, count, 2), np.uint64)
    for words_nx2, key, counter_high in zip(out, seeds.flat, offsets.flat, strict=True):
        keys, counter = _keys(int(key)), int(counter_high) & (1 << 63) - 1 | stream << 63
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            block_n = np.arange(start, stop, dtype=np.uint64)
            if first:
                block_n += first
            _rounds(block_n, counter, keys, words_nx2[start:stop])
    return out.view(np.uint32).reshape(*seeds.shape, rows, 4 * blocks_per_row)[..., :columns]


def words(
    seed: Tensor, offset: Tensor, rows: int, columns: int, *, row_start: int | Tensor = 0, stream: int = 0
) -> Tensor:
    """`philox.words`, bit for bit, for tensors that are `plain_cpu`: int64 [..., rows, columns]."""
    return torch.from_numpy(_raw(seed, offset, rows, columns, row_start, stream).astype(np.int64))


def uniforms(
    seed: Tensor, offset: Tensor, rows: int, columns: int, *, row_start: int | Tensor = 0, stream: int = 0
) -> Tensor:
    """`philox.to_uniform` of these words, bit for bit: float32 [..., rows, columns], a new contiguous tensor."""
    raw = _raw(seed, offset, rows, columns, row_start, stream)
    # Only the conversion rounds; the scale is a power of two.
    u = np.multiply(raw, np.float32(2.0**-32), dtype=np.float32, casting="unsafe", order="C")
    return torch.from_numpy(u).clamp_(SMALLEST, LARGEST)
