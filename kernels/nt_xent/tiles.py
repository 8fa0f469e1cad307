"""Tile sizes, warps, stages and splits of NT-Xent's kernels, by precision, shape and device.

Legend: N images, V = 2N anchors, D embedding length.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton

MAX_LENGTH = 512  # longest embedding that a tile holds
MAX_SPLITS = 16


class Tile(NamedTuple):
    """Sizes and launch options of a large kernel."""

    m: int
    n: int
    warps: int
    stages: int
    resident: int = 1
    """Programs that a processor holds at a time."""
    registers: int | None = None
    """Most registers a thread, where the compiler would take more."""
    out: int = 256
    """Most entries of the gradient that one program computes."""
    register_anchors: bool = False
    """Anchors in registers, not in shared memory, where more bytes would move than fit beside the products."""


# By kind of products and BLOCK_D: for compute capability 9.0 (wgmma needs at least 64 rows a warp group), the same for
# batches with too few rows to fill the device, and for all others. "half" are bfloat16 and float16, the operands behind
# "bf16" and "tf32". Long rows take fewer stages and smaller tiles, to fit in 227 KB of shared memory, or in 163 KB. An
# H200 was timed with nine tiles each for "half", 128, their anchors in shared memory; the others are the compiler's
# (bench/results/nt_xent-tiles-*).
Tiles = dict[tuple[str, int], tuple[Tile, Tile, Tile]]
LSE_TILES: Tiles = {
    ("half", 64): (Tile(128, 128, 8, 2, 2, 128), Tile(64, 64, 4, 3, 2), Tile(128, 64, 8, 3)),
    ("half", 128): (
        Tile(128, 64, 8, 3, 2, 128, register_anchors=True),
        Tile(64, 64, 4, 3, 2, register_anchors=True),
        Tile(128, 64, 8, 3),
    ),
    ("half", 256): (Tile(128, 64, 8, 3), Tile(64, 64, 4, 3), Tile(64, 64, 4, 2)),
    ("half", 512): (Tile(64, 64, 4, 2), Tile(64, 64, 4, 2), Tile(32, 32, 4, 2)),
    ("ieee", 64): (Tile(64, 32, 8, 2),) * 3,
    ("ieee", 128): (Tile(64, 32, 8, 2),) * 3,
    ("ieee", 256): (Tile(32, 32, 8, 2),) * 3,
    ("ieee", 512): (Tile(16, 16, 8, 2),) * 3,
}
GRAD_TILES: Tiles = {
    ("half", 64): (Tile(128, 128, 8, 3), Tile(64, 64, 4, 3, 2), Tile(128, 64, 8, 3)),
    ("half", 128): (*(Tile(64, 64, 4, 3, 2, register_anchors=True),) * 2, Tile(64, 64, 8, 3)),
    ("half", 256): (Tile(64, 32, 8, 3), Tile(64, 32, 8, 3), Tile(64, 32, 8, 2)),
    ("half", 512): (Tile(64, 32, 4, 2, out=128), Tile(64, 32, 4, 2, out=128), Tile(32, 32, 8, 2)),
    ("ieee", 64): (Tile(64, 32, 8, 2),) * 3,
    ("ieee", 128): (Tile(32, 64, 8, 2),) * 3,
    ("ieee", 256): (Tile(32, 32, 8, 2),) * 3,
    ("ieee", 512): (Tile(16, 16, 8, 2),) * 3,
}


# Padded anchors and BLOCK_D that the small kernel takes: one tile holds all of them. More anchors spill registers.
SMALL_TILES = {(64, 64), (128, 64), (64, 128), (128, 128), (64, 256)}


def _has_large_shared_memory(capability: int) -> bool:
    """9.0 and 10.0, whose shared memory the larger tiles need."""
    return capability in (90, 100)


def padded_length(D: int) -> int:
    """BLOCK_D of embeddings of length D."""
    return max(64, triton.next_power_of_2(D))


def input_precision(precision: str) -> str:
    """tl.dot's input_precision, which applies to float32 operands only."""
    return "ieee" if precision == "ieee" else "tf32"


def large_tile(tiles: Tiles, precision: str, D: int, capability: int, row_tiles: int, processors: int) -> Tile:
    """The tile for `row_tiles` tiles of 128 anchors in all."""
    column = 2 if not _has_large_shared_memory(capability) else int(4 * row_tiles <= processors)
    return tiles["ieee" if precision == "ieee" else "half", padded_length(D)][column]


def reachable(tiles: tuple[Tile, Tile, Tile], capability: int) -> list[Tile]:
    """The different tiles that `large_tile` can return at a compute capability."""
    return list(dict.fromkeys(tiles[:2])) if _has_large_shared_memory(capability) else [tiles[2]]


def splits(programs: int, column_tiles: int, slots: int) -> int:
    """Over how many programs each tile of rows splits its columns, where `slots` programs run at a time.

    A program is taken to cost its column tiles and two more; the device runs them in rounds of `slots`.
    """
    choices = [s for s in (1, 2, 4, 8, MAX_SPLITS) if s <= column_tiles]
    return min(choices, key=lambda s: -(-programs * s // slots) * (column_tiles / s + 2))


def blocks(tile: Tile, D: int) -> dict[str, Any]:
    """Block sizes and launch options of a large kernel."""
    config = {"BLOCK_M": tile.m, "BLOCK_N": tile.n, "BLOCK_D": padded_length(D)}
    config |= {"REGISTER_ANCHORS": tile.register_anchors}
    options = {"num_warps": tile.warps, "num_stages": tile.stages}
    return config | options | ({} if tile.registers is None else {"maxnreg": tile.registers})


def grad_blocks(tile: Tile, D: int) -> dict[str, Any]:
    """As `blocks`, with the entries of the gradient that one program computes."""
    return blocks(tile, D) | {"BLOCK_O": min(padded_length(D), tile.out)}


def sum_block(D: int) -> int:
    """Anchors of a program that sums gradients: eight entries a thread of four warps."""
    return max(1, 1024 // padded_length(D))


def padded_anchors(V: int) -> int:
    """V as SMALL_TILES counts it."""
    return max(64, triton.next_power_of_2(V))


def small_config(precision: str, V: int, D: int) -> dict[str, Any]:
    """Block sizes and launch options of the small kernel."""
    blocks = {"BLOCK_R": 16, "BLOCK_A": padded_anchors(V), "BLOCK_D": padded_length(D)}
    return {"PRECISION": input_precision(precision), **blocks, "num_warps": 8, "num_stages": 1}
