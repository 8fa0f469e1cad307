"""Tile sizes, warps and stages of NT-Xent's kernels, by precision, shape and compute capability.

Legend: N images, V = 2N anchors, D embedding length.
"""

from __future__ import annotations

from typing import Any

import triton

MAX_LENGTH = 512  # longest embedding that a tile holds

Tile = tuple[int, int, int, int]  # BLOCK_M, BLOCK_N, num_warps, num_stages
# By precision and BLOCK_D, for compute capability 9.0 (wgmma needs at least 64 rows a warp group) and for the others.
# Long rows take fewer stages and smaller tiles, to fit in 227 KB of shared memory, or in 163 KB.
LSE_TILES: dict[tuple[str, int], tuple[Tile, Tile]] = {
    ("bf16", 64): ((128, 128, 8, 3), (128, 64, 8, 3)),
    ("bf16", 128): ((128, 128, 8, 3), (128, 64, 8, 3)),
    ("bf16", 256): ((128, 64, 8, 3), (64, 64, 4, 2)),
    ("bf16", 512): ((64, 64, 4, 2), (32, 32, 4, 2)),
    ("tf32", 64): ((128, 128, 8, 3), (128, 64, 8, 2)),
    ("tf32", 128): ((128, 64, 8, 3), (64, 64, 4, 2)),
    ("tf32", 256): ((64, 64, 4, 2), (32, 32, 4, 2)),
    ("tf32", 512): ((64, 16, 4, 2), (16, 16, 4, 2)),
    ("ieee", 64): ((64, 32, 8, 2), (64, 32, 8, 2)),
    ("ieee", 128): ((64, 32, 8, 2), (64, 32, 8, 2)),
    ("ieee", 256): ((32, 32, 8, 2), (32, 32, 8, 2)),
    ("ieee", 512): ((16, 16, 8, 2), (16, 16, 8, 2)),
}
GRAD_TILES: dict[tuple[str, int], tuple[Tile, Tile]] = {
    ("bf16", 64): ((128, 128, 8, 3), (128, 64, 8, 3)),
    ("bf16", 128): ((128, 64, 8, 3), (64, 64, 8, 3)),
    ("bf16", 256): ((64, 64, 8, 2), (64, 32, 8, 2)),
    ("bf16", 512): ((64, 32, 8, 2), (32, 32, 8, 2)),
    ("tf32", 64): ((128, 64, 8, 3), (64, 64, 4, 2)),
    ("tf32", 128): ((128, 32, 16, 2), (64, 32, 4, 2)),
    ("tf32", 256): ((64, 32, 8, 1), (32, 32, 8, 2)),
    ("tf32", 512): ((64, 16, 8, 1), (16, 16, 8, 1)),
    ("ieee", 64): ((64, 32, 8, 2), (64, 32, 8, 2)),
    ("ieee", 128): ((64, 32, 8, 2), (64, 32, 8, 2)),
    ("ieee", 256): ((32, 32, 8, 2), (32, 32, 8, 2)),
    ("ieee", 512): ((16, 16, 8, 2), (16, 16, 8, 2)),
}


# The small kernel's (BLOCK_A, BLOCK_C) by padded anchors and BLOCK_D. On 9.0 one tile holds all anchors where it fits.
# Other shapes, and "ieee", take the large kernels.
SMALL_TILES: dict[tuple[int, int], tuple[tuple[int, int], tuple[int, int]]] = {
    (64, 64): ((64, 64), (64, 64)),
    (128, 64): ((128, 128), (128, 32)),
    (256, 64): ((256, 32), (128, 32)),
    (64, 128): ((64, 64), (64, 32)),
    (128, 128): ((128, 128), (128, 32)),
    (256, 128): ((64, 64), (64, 32)),
    (64, 256): ((64, 64), (32, 32)),
}


def _table_column(capability: int) -> int:
    """0 for 9.0 and 10.0, whose shared memory the larger tiles need; 1 for all others."""
    return 0 if capability in (90, 100) else 1


def padded_length(D: int) -> int:
    """BLOCK_D of embeddings of length D."""
    return max(64, triton.next_power_of_2(D))


def input_precision(precision: str) -> str:
    """tl.dot's input_precision, which applies to float32 operands only."""
    return "ieee" if precision == "ieee" else "tf32"


def large_config(
    tiles: dict[tuple[str, int], tuple[Tile, Tile]], precision: str, D: int, capability: int
) -> dict[str, Any]:
    """Block sizes and launch options of a large kernel."""
    m, n, warps, stages = tiles[precision, padded_length(D)][_table_column(capability)]
    block_d = padded_length(D)
    config = {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_D": block_d, "num_warps": warps, "num_stages": stages}
    if tiles is GRAD_TILES:
        config["BLOCK_O"] = min(block_d, 256)
    return config


def padded_anchors(V: int) -> int:
    """V as SMALL_TILES counts it."""
    return max(64, triton.next_power_of_2(V))


def small_config(precision: str, V: int, D: int, capability: int) -> dict[str, Any]:
    """Block sizes, flags and launch options of the small kernel."""
    padded, block_d = padded_anchors(V), padded_length(D)
    block_a, block_c = SMALL_TILES[padded, block_d][_table_column(capability)]
    return {
        "BFLOAT16": precision == "bf16",
        "PRECISION": input_precision(precision),
        "WHOLE": block_a == padded,
        "BLOCK_R": 16,
        "BLOCK_C": block_c,
        "BLOCK_A": block_a,
        "BLOCK_D": block_d,
        "num_warps": 8,
        "num_stages": 1,
    }
