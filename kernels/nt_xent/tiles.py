"""How NT-Xent's kernels are cut into tiles: by precision, shape and the GPU's compute capability.

Legend: N images, V = 2N anchors, D embedding length.
"""

from __future__ import annotations

from typing import Any

import triton

LONGEST = 512  # embedding that a tile holds

Tile = tuple[int, int, int, int]  # BLOCK_M, BLOCK_N, num_warps, num_stages
# By precision and BLOCK_D, for compute capability 9.0 (wgmma takes 64 rows or more a warp group) and for the others.
# Fewer stages and shorter tiles where rows are long keep to 227 KB of shared memory, or to 163 KB.
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


# Of the small kernel, by anchors (rounded up) and BLOCK_D: (BLOCK_A, BLOCK_C). On 9.0 one tile holds all where it can;
# shapes that are not named, and "ieee", take the large kernels.
SMALL_TILES: dict[tuple[int, int], tuple[tuple[int, int], tuple[int, int]]] = {
    (64, 64): ((64, 64), (64, 64)),
    (128, 64): ((128, 128), (128, 32)),
    (256, 64): ((256, 32), (128, 32)),
    (64, 128): ((64, 64), (64, 32)),
    (128, 128): ((128, 128), (128, 32)),
    (256, 128): ((64, 64), (64, 32)),
    (64, 256): ((64, 64), (32, 32)),
}


def _column(capability: int) -> int:
    """Of the tables. The tiles for 9.0 need its shared memory, which 10.0 has too and consumer cards have not."""
    return 0 if capability in (90, 100) else 1


def block_length(D: int) -> int:
    return max(64, triton.next_power_of_2(D))


def dot(precision: str) -> str:
    """Of float32 operands; bfloat16 ones have one way."""
    return "ieee" if precision == "ieee" else "tf32"


def large(tiles: dict[tuple[str, int], tuple[Tile, Tile]], precision: str, D: int, capability: int) -> dict[str, Any]:
    """How a large kernel is cut."""
    m, n, warps, stages = tiles[precision, block_length(D)][_column(capability)]
    block_d = block_length(D)
    cut = {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_D": block_d, "num_warps": warps, "num_stages": stages}
    if tiles is GRAD_TILES:
        cut["BLOCK_O"] = min(block_d, 256)
    return cut


def anchors(V: int) -> int:
    return max(64, triton.next_power_of_2(V))


def small(precision: str, V: int, D: int, capability: int) -> dict[str, Any]:
    """How the small kernel is cut."""
    every, block_d = anchors(V), block_length(D)
    block_a, block_c = SMALL_TILES[every, block_d][_column(capability)]
    return {
        "BFLOAT16": precision == "bf16",
        "DOT": dot(precision),
        "WHOLE": block_a == every,
        "BLOCK_R": 16,
        "BLOCK_C": block_c,
        "BLOCK_A": block_a,
        "BLOCK_D": block_d,
        "num_warps": 8,
        "num_stages": 1,
    }
