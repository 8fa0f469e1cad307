"""Normals and uniforms of the counter-based stream; each program computes a tile of rows and columns.

Legend: E stacked streams, B rows, Z columns. i_ index, m_ mask, p_ pointer, b_ block of values.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.philox.triton_kernel import normal_tile, uniform_tile
from kernels.triton_arguments import first_row


# row_start, among others, changes from call to call, and no value of it is worth a kernel of its own.
@triton.jit(do_not_specialize=["row_start", "B"])
def philox_draw_kernel(
    p_out,  # float32 [E, B, Z], contiguous
    p_seed,  # int64, [E] or one
    p_offset,  # int64, [E] or one
    p_row_start,  # int64, one value, read where ROW_START_TENSOR
    row_start,
    B,
    Z,
    stride_seed,  # in elements; 0 where one value serves all streams
    stride_offset,
    NORMAL: tl.constexpr,  # normals, else uniforms
    ROW_START_TENSOR: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_Z: tl.constexpr,
):
    """Grid: (tiles of rows, tiles of columns, E)."""
    i_e = tl.program_id(2).to(tl.int64)
    i_b = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)[:, None]
    i_z = tl.program_id(1) * BLOCK_Z + tl.arange(0, BLOCK_Z)[None, :]
    seed = tl.load(p_seed + i_e * stride_seed)
    offset = tl.load(p_offset + i_e * stride_offset)
    i_row = i_b + first_row(p_row_start, row_start, ROW_START_TENSOR)
    i_quad = tl.program_id(1) * (BLOCK_Z // 4) + tl.arange(0, BLOCK_Z // 4)[None, :]
    i_block = i_row * tl.cdiv(Z, 4) + i_quad
    if NORMAL:
        b_x = normal_tile(seed, offset, i_block)
    else:
        b_x = uniform_tile(seed, offset, i_block)
    tl.store(p_out + (i_e * B + i_b) * Z + i_z, b_x, mask=(i_b < B) & (i_z < Z))
