"""Normals and uniforms as a torch op around their Triton kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import triton
from torch import Tensor

from kernels.normal.triton_kernel import philox_draw_kernel

TILE = 1024  # elements of a tile, at most


def _blocks(rows: int, columns: int) -> dict[str, int]:
    block_z = min(max(triton.next_power_of_2(columns), 4), TILE)
    block_b = min(triton.next_power_of_2(rows), TILE // block_z)
    return {"BLOCK_B": block_b, "BLOCK_Z": block_z, "num_warps": max(1, min(4, block_b * block_z // 128))}


@torch.library.custom_op("fastgan::draw", mutates_args=())
def draw(
    seed_E: Tensor,
    offset_E: Tensor,
    row_start: int,
    row_start_tensor: Tensor | None,
    streams: int,
    rows: int,
    columns: int,
    normal: bool,
) -> Tensor:
    """Standard normals, or uniforms in (0, 1), float32 [E, B, Z] for E `streams`.

    seed_E, offset_E: int64, one value or [E]. row_start_tensor overrides row_start.
    """
    out = torch.empty((streams, rows, columns), dtype=torch.float32, device=seed_E.device)
    if streams == 0:
        return out
    blocks = _blocks(rows, columns)
    philox_draw_kernel[triton.cdiv(rows, blocks["BLOCK_B"]), triton.cdiv(columns, blocks["BLOCK_Z"]), streams](
        out,
        seed_E,
        offset_E,
        seed_E if row_start_tensor is None else row_start_tensor,
        row_start,
        rows,
        columns,
        *(counter.stride(0) if counter.numel() > 1 else 0 for counter in (seed_E, offset_E)),
        NORMAL=normal,
        ROW_START_TENSOR=row_start_tensor is not None,
        **blocks,
    )
    return out


@draw.register_fake
def _(
    seed_E: Tensor,
    offset_E: Tensor,
    row_start: int,
    row_start_tensor: Tensor | None,
    streams: int,
    rows: int,
    columns: int,
    normal: bool,
) -> Tensor:
    return seed_E.new_empty((streams, rows, columns), dtype=torch.float32)


def configurations(capability: int) -> Iterator[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, int]]]:
    """The kernel's configurations that differ in kind: name, kernel, signature, constexprs, options."""
    pointers = {"p_out": "*fp32", "p_seed": "*i64", "p_offset": "*i64", "p_row_start": "*i64"}
    scalars = dict.fromkeys(("row_start", "B", "Z", "stride_seed", "stride_offset"), "i32") | {"row_start": "i64"}
    for normal in (True, False):
        for rows, columns in ((64, 62), (100_000, 1000)):
            blocks = _blocks(rows, columns)
            constants = {"NORMAL": normal, "ROW_START_TENSOR": False, **blocks}
            options = {"num_warps": constants.pop("num_warps")}
            name = f"{'normal' if normal else 'uniform'} {rows}x{columns}"
            yield name, philox_draw_kernel, pointers | scalars, constants, options
