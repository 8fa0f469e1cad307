"""Every configuration in which NT-Xent's kernels can be launched, for compiling them without a GPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from kernels.nt_xent import kernel_calls, tiles
from kernels.nt_xent.backward_kernel import nt_xent_bwd_kernel, nt_xent_bwd_sum_kernel
from kernels.nt_xent.small_kernel import nt_xent_small_kernel
from kernels.nt_xent.tiles import SMALL_TILES, padded_length
from kernels.nt_xent.triton_kernel import nt_xent_fwd_lse_kernel, nt_xent_normalize_kernel


def _split(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """A kernel's constexprs and its launch options."""
    names = {"num_warps", "num_stages", "maxnreg"}
    constants = {key: value for key, value in config.items() if key not in names}
    return constants, {key: config[key] for key in config.keys() & names}


Configuration = tuple[str, Any, dict[str, str], dict[str, Any], dict[str, int]]
_STRIDES = dict.fromkeys(("stride_ae", "stride_an", "stride_be", "stride_bn"), "i32:16")
_SCALAR = {"p_temperature": "*fp32", "temperature": "fp32"}
_KINDS = {"bf16": ("*bf16", "half"), "tf32": ("*fp16", "half"), "ieee": ("*fp32", "ieee")}

_HOWS = {"TEMPERATURE_TENSOR": False, "FIXED_SHIFT": True}, {"TEMPERATURE_TENSOR": True, "FIXED_SHIFT": False}


def _large_configurations(precision: str, D: int, capability: int) -> Iterator[Configuration]:
    """Both large kernels and their tiles."""
    unit, kind = _KINDS[precision]
    sizes = dict.fromkeys(("n", "N", "row_start", "splits"), "i32")
    out = dict.fromkeys(("p_loss", "p_out", "p_partial", "p_tile_loss"), "*fp32") | {"p_semaphore": "*i32"}
    pointers = dict.fromkeys(("p_rnorm", "p_weight", "p_upstream"), "*fp32")
    parts = padded_length(D) > 256
    for how, is_split, mean in itertools.product(_HOWS, (False, True), (True, False)):
        name = f"{precision} {D} {'fixed shift' if how['FIXED_SHIFT'] else 'running maximum'}{' split' * is_split}"
        common = {"PRECISION": tiles.input_precision(precision), **how}
        for tile in tiles.reachable(tiles.LSE_TILES[kind, D], capability):
            constants, options = _split(tiles.blocks(tile, D))
            constants |= {"MEAN": mean, "SPLIT": is_split, **common}
            about = f"lse {name} {tile.m}x{tile.n}{'' if mean else ' parts'}"
            yield about, nt_xent_fwd_lse_kernel, {**out, "p_unit": unit, **_SCALAR, **sizes}, constants, options
        for tile in tiles.reachable(tiles.GRAD_TILES[kind, D], capability):
            constants, options = _split(tiles.grad_blocks(tile, D))
            constants |= {"D": D, "UPSTREAM": mean, "PARTIAL": is_split or parts, **common}
            signature = {"p_grad": "*fp32", "p_unit": unit, **pointers, **_SCALAR, "stride_upstream": "i32", **sizes}
            about = f"grad {name} {tile.m}x{tile.n}{'' if mean else ' parts'}"
            yield about, nt_xent_bwd_kernel, signature, constants, options


def _sum_configurations(precision: str, D: int) -> Iterator[Configuration]:
    sizes = dict.fromkeys(("stride_upstream", "n", "N", "row_start"), "i32")
    pointers = {"p_grad": "*fp32", "p_partial": "*fp32", "p_unit": _KINDS[precision][0], "p_rnorm": "*fp32"}
    signature = {**pointers, "p_upstream": "*fp32", **_SCALAR, **sizes}
    for splits in (1, 2, 4, 8, tiles.MAX_SPLITS) if padded_length(D) > 256 else (2, 4, 8, tiles.MAX_SPLITS):
        constants = {"D": D, "UPSTREAM": True, "TEMPERATURE_TENSOR": False, "SPLITS": splits}
        constants |= {"BLOCK_R": tiles.sum_block(D), "BLOCK_D": D}
        yield f"sum {precision} {D} of {splits}", nt_xent_bwd_sum_kernel, signature, constants, {"num_warps": 4}


def _normalize_configurations(precision: str, D: int) -> Iterator[Configuration]:
    outputs = {"p_unit": _KINDS[precision][0], "p_rnorm": "*fp32", "p_weight": "*fp32", "p_semaphore": "*i32"}
    for view, given in itertools.product(("*fp32", "*bf16", "*fp16"), (False, True)):
        signature = {**outputs, "p_a": view, "p_b": view, "p_lse": "*fp32", **_SCALAR}
        signature |= {"N": "i32", "semaphores": "i32", **_STRIDES}
        constants = {"D": D, "GIVEN_LSE": given, **_HOWS[0], "BLOCK_R": kernel_calls.NORMALIZE_BLOCK // D, "BLOCK_D": D}
        name = f"normalise {precision} {view[1:]} {D}{' with weights' * given}"
        yield name, nt_xent_normalize_kernel, signature, constants, {"num_warps": 8}


def _small_configurations(precision: str) -> Iterator[Configuration]:
    operand = {"OPERAND": kernel_calls.TRITON_DTYPES[kernel_calls.OPERANDS[precision]]}
    for (V, D), view, how in itertools.product(sorted(SMALL_TILES), ("*fp32", "*bf16"), _HOWS):
        constants, options = _split(tiles.small_config(precision, V, D))
        signature = {"p_loss": "*fp32", "p_grad": "*fp32", "p_a": view, "p_b": view, **_SCALAR, "N": "i32", **_STRIDES}
        name = f"small {precision} {view[1:]} {D} V={V}{'' if how['FIXED_SHIFT'] else ' running maximum'}"
        yield name, nt_xent_small_kernel, signature, {**constants, "D": D, **how, **operand}, options


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """What can be launched at a compute capability of 80 or 90: name, kernel, signature, constexprs, options."""
    for precision in kernel_calls.OPERANDS:
        for D in (64, 128, 256, tiles.MAX_LENGTH):
            yield from _normalize_configurations(precision, D)
            yield from _large_configurations(precision, D, capability)
            yield from _sum_configurations(precision, D)
        if precision != "ieee":
            yield from _small_configurations(precision)
