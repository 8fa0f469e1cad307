"""Gumbel-Softmax as torch ops around its Triton kernels: what they allocate, which tiles they use, and their gradient.

Legend: E stacked priors, B rows, K classes; J groups of C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from kernels.gumbel_softmax.triton_kernel import (
    gumbel_softmax_bwd_kernel,
    gumbel_softmax_bwd_sum_kernel,
    gumbel_softmax_fwd_kernel,
)


class Tile(NamedTuple):
    """What one program holds at a time: J x C classes of B rows."""

    block_j: int
    block_b: int
    block_c: int
    looped: bool
    """Whether classes are looped over."""
    num_warps: int

    @property
    def constants(self) -> dict[str, int]:
        """The kernels' constants."""
        blocks = {"BLOCK_J": self.block_j, "BLOCK_B": self.block_b, "BLOCK_C": self.block_c}
        return {"LOOPED": self.looped, **blocks}


MAX_BLOCK_K = 4096  # classes that one tile can hold; more are looped over
LOOPED_BLOCK_K = 2048  # classes of a tile that is looped over
# Programs for the rows of one prior, at most: six and four for each of an H200's 132 SMs, which hold them all at once.
# Constants, so that the order in which a gradient is summed does not depend on the GPU.
FORWARD_PROGRAMS = 792
BACKWARD_PROGRAMS = 528
SINGLE_PROGRAM_TILES = 4  # up to so many tiles of rows, one program sums them all, in one launch
# Rows and classes whose tiles `configurations` compiles: each number of classes in a group, aligned or not.
COMPILED = (
    *((64, 10), (4096, 10), (4096, 64), (4096, 100), (1_000_000, 128), (4096, 257), (4096, 512)),
    *((4096, 1000), (64, 2048), (64, 4096), (64, 65_536)),
)
SUM_BLOCK_P, SUM_BLOCK_C, SUM_WARPS = 256, 32, 8


def tile(rows: int, classes: int) -> Tile:
    """The tile for rows of so many classes.

    Up to 1,024 classes a row lies in one warp, and a thread holds 8 elements (of up to 32 classes), 16, or 32 (of more
    than 512). Where rows do not begin at multiples of 16 bytes, a lane reads one class at a time, and a group is as
    wide as a warp, or all warps. A single tile of few classes, whose time is latency, is spread over more threads.
    """
    block_k, aligned = max(triton.next_power_of_2(classes), 4), classes % 4 == 0
    if block_k > 1024:
        block_c, looped = 1024 if aligned else 256, block_k > MAX_BLOCK_K
        return Tile((LOOPED_BLOCK_K if looped else block_k) // block_c, 1, block_c, looped, 8)
    if block_k <= 32:
        block_b = min(triton.next_power_of_2(rows), 1024 // block_k)
        most, elements = (8, 128) if rows <= block_b else (4, 256)  # warps, and elements of each
        return Tile(1, block_b, block_k, False, max(1, min(most, block_b * block_k // elements)))
    block_c = min(128, max(16, block_k // 4)) if aligned else 32
    block_b = min(triton.next_power_of_2(rows), max(4, 2048 // block_k))
    return Tile(block_k // block_c, block_b, block_c, False, max(1, min(4, block_b * block_k // 512)))


def _programs(tiles: int, most: int) -> int:
    """Programs that divide the tiles: no more than `most`, and none with two tiles more than another."""
    return triton.cdiv(tiles, triton.cdiv(tiles, most))


def _unit(*sizes: int) -> int:
    """4 if it divides all sizes, so that rows of float32 begin at multiples of 16 bytes; else 1."""
    return 4 if all(size % 4 == 0 for size in sizes) else 1


def _strides(logits_EBK: Tensor) -> tuple[int, int, int]:
    """The logits' strides in elements; 0 between rows that share one prior."""
    stride_le, stride_lb, stride_lk = logits_EBK.stride()
    return stride_le, 0 if logits_EBK.shape[1] == 1 else stride_lb, stride_lk


def _pointers(seed: Tensor, offset: Tensor, *scalars: Tensor | None) -> tuple[Tensor, ...]:
    """Counters and scalars for a kernel; the seed stands in for a missing scalar, which is not read."""
    return seed, offset, *(seed if scalar is None else scalar for scalar in scalars)


def _counter_strides(seed: Tensor, offset: Tensor) -> tuple[int, ...]:
    """In elements; 0 where one value serves all priors."""
    return tuple(counter.stride(0) if counter.numel() > 1 else 0 for counter in (seed, offset))


@torch.library.custom_op("fastgan::gumbel_softmax", mutates_args=())
def gumbel_softmax(
    logits_EBK: Tensor,
    seed_E: Tensor,
    offset_E: Tensor,
    temperature: float,
    temperature_tensor: Tensor | None,
    row_start: int,
    row_start_tensor: Tensor | None,
    rows: int,
    hard: bool,
) -> tuple[Tensor, Tensor]:
    """sample [E, B, K] in the logits' dtype and code [E, B].

    Args:
        logits_EBK: [E, 1, K] if all `rows` share one prior, or [E, B, K].
        seed_E, offset_E: one value, or [E].
        temperature, row_start: overridden by their tensors where these are given.
    """
    E, shared, K = logits_EBK.shape[0], logits_EBK.shape[1] == 1, logits_EBK.shape[2]
    sample = torch.empty((E, rows, K), dtype=logits_EBK.dtype, device=logits_EBK.device)
    code = torch.empty((E, rows), dtype=torch.int64, device=logits_EBK.device)
    if sample.numel() == 0:
        return sample, code
    t = tile(rows, K)
    stride_le, stride_lb, stride_lk = _strides(logits_EBK)
    unit = _unit(K, stride_le, stride_lb)
    programs = triton.cdiv(rows, t.block_b)
    if shared:
        programs = _programs(programs, FORWARD_PROGRAMS)
    gumbel_softmax_fwd_kernel[programs, E](
        sample,
        code,
        logits_EBK,
        *_pointers(seed_E, offset_E, temperature_tensor, row_start_tensor),
        temperature,
        row_start,
        rows,
        K // unit,
        stride_le // unit,
        stride_lb // unit,
        stride_lk,
        *_counter_strides(seed_E, offset_E),
        UNIT=unit,
        SHARED=shared,
        HARD=hard,
        TEMPERATURE_TENSOR=temperature_tensor is not None,
        ROW_START_TENSOR=row_start_tensor is not None,
        **t.constants,
        num_warps=t.num_warps,
    )
    return sample, code


@gumbel_softmax.register_fake
def _(
    logits_EBK: Tensor,
    seed_E: Tensor,
    offset_E: Tensor,
    temperature: float,
    temperature_tensor: Tensor | None,
    row_start: int,
    row_start_tensor: Tensor | None,
    rows: int,
    hard: bool,
) -> tuple[Tensor, Tensor]:
    E, _, K = logits_EBK.shape
    return logits_EBK.new_empty((E, rows, K)), logits_EBK.new_empty((E, rows), dtype=torch.int64)


@torch.library.custom_op("fastgan::gumbel_softmax_backward", mutates_args=())
def gumbel_softmax_backward(
    grad_EBK: Tensor,
    sample_EBK: Tensor | None,
    logits_EBK: Tensor,
    seed_E: Tensor,
    offset_E: Tensor,
    temperature: float,
    temperature_tensor: Tensor | None,
    row_start: int,
    row_start_tensor: Tensor | None,
) -> Tensor:
    """The gradient of the logits, in their shape and dtype. Without a soft sample it is recomputed."""
    E, rows, K = grad_EBK.shape
    shared, device = logits_EBK.shape[1] == 1, logits_EBK.device
    grad_logits = torch.empty(logits_EBK.shape, dtype=logits_EBK.dtype, device=device)
    if grad_logits.numel() == 0:
        return grad_logits
    t = tile(rows, K)
    row_tiles = triton.cdiv(rows, t.block_b)
    programs = row_tiles
    if shared:
        programs = 1 if row_tiles <= SINGLE_PROGRAM_TILES else _programs(row_tiles, BACKWARD_PROGRAMS)
    out = grad_logits
    if shared and (programs > 1 or t.looped):
        out = torch.empty((E, programs, K), dtype=torch.float32, device=device)
    stride_ge, stride_gb, stride_gk = grad_EBK.stride()
    stride_le, stride_lb, stride_lk = _strides(logits_EBK)
    unit = _unit(K, stride_ge, stride_gb, stride_le, stride_lb)
    gumbel_softmax_bwd_kernel[programs, E](
        out,
        out if sample_EBK is None else sample_EBK,
        grad_EBK,
        logits_EBK,
        *_pointers(seed_E, offset_E, temperature_tensor, row_start_tensor),
        temperature,
        row_start,
        rows,
        K // unit,
        stride_ge // unit,
        stride_gb // unit,
        stride_gk,
        stride_le // unit,
        stride_lb // unit,
        stride_lk,
        *_counter_strides(seed_E, offset_E),
        UNIT=unit,
        SHARED=shared,
        RECOMPUTE=sample_EBK is None,
        TEMPERATURE_TENSOR=temperature_tensor is not None,
        ROW_START_TENSOR=row_start_tensor is not None,
        **t.constants,
        num_warps=t.num_warps,
    )
    if out is not grad_logits:
        unit = _unit(K)
        gumbel_softmax_bwd_sum_kernel[triton.cdiv(K, SUM_BLOCK_C), E](
            grad_logits,
            out,
            programs,
            K // unit,
            UNIT=unit,
            BLOCK_P=SUM_BLOCK_P,
            BLOCK_C=SUM_BLOCK_C,
            num_warps=SUM_WARPS,
        )
    return grad_logits


@gumbel_softmax_backward.register_fake
def _(
    grad_EBK: Tensor,
    sample_EBK: Tensor | None,
    logits_EBK: Tensor,
    seed_E: Tensor,
    offset_E: Tensor,
    temperature: float,
    temperature_tensor: Tensor | None,
    row_start: int,
    row_start_tensor: Tensor | None,
) -> Tensor:
    return torch.empty(logits_EBK.shape, dtype=logits_EBK.dtype, device=logits_EBK.device)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    logits, seed, offset, temperature, temperature_tensor, row_start, row_start_tensor, _, hard = inputs
    # A soft float32 sample is saved; a one-hot or rounded one is not precise enough for the gradient.
    sample = output[0] if not hard and logits.dtype == torch.float32 else None
    ctx.save_for_backward(sample, logits, seed, offset, temperature_tensor, row_start_tensor)
    ctx.scalars = temperature, row_start
    ctx.set_materialize_grads(False)  # zeros for the code would take a launch


def _backward(ctx: Any, grad_sample: Tensor | None, grad_code: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad_sample is None:  # what follows the sample is not differentiable
        return (None,) * 9
    sample, logits, seed, offset, temperature_tensor, row_start_tensor = ctx.saved_tensors
    temperature, row_start = ctx.scalars
    grad = gumbel_softmax_backward(
        grad_sample, sample, logits, seed, offset, temperature, temperature_tensor, row_start, row_start_tensor
    )
    return grad, *(None,) * 8


gumbel_softmax.register_autograd(_backward, setup_context=_setup_context)


def configurations(capability: int) -> Iterator[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, int]]]:
    """The kernels' configurations that differ in kind: name, kernel, signature, constexprs, options."""
    counters = {"p_seed": "*i64", "p_offset": "*i64", "p_temperature": "*fp32", "p_row_start": "*i64"}
    scalars = {"temperature": "fp32", "row_start": "i64", "B": "i32", "units": "i32"}
    counter_strides = {"stride_seed": "i32", "stride_offset": "i32"}
    # A stride of 1 is a constexpr, as at a launch.
    flags = {"TEMPERATURE_TENSOR": False, "ROW_START_TENSOR": False, "stride_lk": 1}
    for rows, classes in COMPILED:
        t = tile(rows, classes)
        unit = _unit(classes)
        strides = {"stride_le": "i64", "stride_lb": "i64"}
        upstream = {"stride_ge": "i64", "stride_gb": "i64"}
        options = {"num_warps": t.num_warps}
        for shared in (True, False):
            name = f"{rows}x{classes} {'shared' if shared else 'a row each'}"
            constants = {"SHARED": shared, "UNIT": unit, **flags, **t.constants}
            for dtype in ("fp32", "bf16"):
                outputs = {"p_sample": f"*{dtype}", "p_code": "*i64", "p_logits": f"*{dtype}"}
                signature = outputs | counters | scalars | strides | counter_strides
                for hard in (False, True):
                    kind = f"gumbel forward {name} {dtype}{' hard' if hard else ''}"
                    yield kind, gumbel_softmax_fwd_kernel, signature, constants | {"HARD": hard}, options
            for recompute in (False, True):
                pointers = dict.fromkeys(("p_out", "p_sample", "p_grad", "p_logits"), "*fp32")
                signature = pointers | counters | scalars | upstream | strides | counter_strides
                kind = f"gumbel backward {name}{' noise drawn again' if recompute else ''}"
                backward = constants | {"RECOMPUTE": recompute, "stride_gk": 1}
                yield kind, gumbel_softmax_bwd_kernel, signature, backward, options
    for unit in (1, 4):
        signature = {"p_grad_logits": "*fp32", "p_partial": "*fp32", "P": "i32", "units": "i32"}
        sums = {"UNIT": unit, "BLOCK_P": SUM_BLOCK_P, "BLOCK_C": SUM_BLOCK_C}
        kind = f"gumbel backward, sum of programs{', odd' if unit == 1 else ''}"
        yield kind, gumbel_softmax_bwd_sum_kernel, signature, sums, {"num_warps": SUM_WARPS}
