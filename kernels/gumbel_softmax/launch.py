"""Gumbel-Softmax as torch ops around its Triton kernels: what they allocate, which tiles they use, and their gradient.

Legend: E stacked priors, B rows, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import triton
from torch import Tensor

from kernels.gumbel_softmax.triton_kernel import gumbel_softmax_bwd_kernel, gumbel_softmax_fwd_kernel

TILE = 2048  # elements that one program holds at a time: 16 a thread, so that no register spills
MAX_BLOCK_K = 4096  # classes that one tile can hold, with twice the warps; more are looped over
MAX_PROGRAMS = 528  # programs for the rows of one prior, at most: four for each of an H200's 132 SMs
SINGLE_PROGRAM_TILES = 4  # up to so many tiles of rows, one program sums them all, without partial sums


def blocks(rows: int, classes: int) -> tuple[int, int, bool]:
    """(BLOCK_B, BLOCK_K, LOOPED): a tile's rows and classes, and whether classes are looped over."""
    block_k = max(triton.next_power_of_2(classes), 4)
    if block_k > MAX_BLOCK_K:
        return 1, TILE, True
    return min(triton.next_power_of_2(rows), max(1, TILE // block_k)), block_k, False


def num_warps(block_b: int, block_k: int) -> int:
    """One warp for each 512 elements of the tile; 8 for long rows, whose loops need more registers."""
    return 8 if block_k >= TILE else max(1, block_b * block_k // 512)


def _strides(logits_EBK: Tensor) -> tuple[int, int, int]:
    """The logits' strides in elements; 0 between rows that share one prior."""
    stride_le, stride_lb, stride_lk = logits_EBK.stride()
    return stride_le, 0 if logits_EBK.shape[1] == 1 else stride_lb, stride_lk


def _pointers(seed: Tensor, offset: Tensor, *scalars: Tensor | None) -> tuple[Tensor, ...]:
    """Counters and scalars for a kernel; the seed stands in for a missing scalar, which is not read."""
    return seed, offset, *(seed if scalar is None else scalar for scalar in scalars)


def _counter_strides(seed: Tensor, offset: Tensor) -> tuple[int, int]:
    """0 where one value serves all priors."""
    return int(seed.numel() > 1), int(offset.numel() > 1)


def _workspace(stack: int, programs: int, classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Partial sums float32 [E, P, K], uninitialised, and semaphores int32 [E], zero."""
    partial = torch.empty((stack, programs, classes), dtype=torch.float32, device=device)
    return partial, torch.zeros((stack,), dtype=torch.int32, device=device)


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
    block_b, block_k, looped = blocks(rows, K)
    gumbel_softmax_fwd_kernel[triton.cdiv(rows, block_b), E](
        sample,
        code,
        logits_EBK,
        *_pointers(seed_E, offset_E, temperature_tensor, row_start_tensor),
        temperature,
        row_start,
        rows,
        K,
        *_strides(logits_EBK),
        *_counter_strides(seed_E, offset_E),
        SHARED=shared,
        HARD=hard,
        TEMPERATURE_TENSOR=temperature_tensor is not None,
        ROW_START_TENSOR=row_start_tensor is not None,
        LOOPED=looped,
        BLOCK_B=block_b,
        BLOCK_K=block_k,
        num_warps=num_warps(block_b, block_k),
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
    block_b, block_k, looped = blocks(rows, K)
    row_tiles = triton.cdiv(rows, block_b)
    programs = 1 if row_tiles <= SINGLE_PROGRAM_TILES else min(row_tiles, MAX_PROGRAMS)
    partial = semaphore = seed_E  # not read
    if shared and (programs > 1 or looped):
        partial, semaphore = _workspace(E, programs, K, device)
    gumbel_softmax_bwd_kernel[programs if shared else row_tiles, E](
        grad_logits,
        partial,
        semaphore,
        seed_E if sample_EBK is None else sample_EBK,
        grad_EBK,
        logits_EBK,
        *_pointers(seed_E, offset_E, temperature_tensor, row_start_tensor),
        temperature,
        row_start,
        rows,
        K,
        *grad_EBK.stride(),
        *_strides(logits_EBK),
        *_counter_strides(seed_E, offset_E),
        programs,
        SHARED=shared,
        RECOMPUTE=sample_EBK is None,
        TEMPERATURE_TENSOR=temperature_tensor is not None,
        ROW_START_TENSOR=row_start_tensor is not None,
        LOOPED=looped,
        SINGLE_PROGRAM=programs == 1,
        BLOCK_P=max(1, min(32, TILE // block_k)),
        BLOCK_B=block_b,
        BLOCK_K=block_k,
        num_warps=num_warps(block_b, block_k),
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


def _backward(ctx: Any, grad_sample: Tensor, grad_code: Tensor | None) -> tuple[Tensor | None, ...]:
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
    scalars = {"temperature": "fp32", "row_start": "i64", "B": "i32", "K": "i32"}
    counter_strides = {"stride_seed": "i32", "stride_offset": "i32"}
    # A stride of 1 is a constexpr, as at a launch.
    flags = {"TEMPERATURE_TENSOR": False, "ROW_START_TENSOR": False, "stride_lk": 1}
    for rows, classes in ((64, 10), (1_000_000, 128), (4096, 1000), (64, 4096), (64, 65_536)):
        block_b, block_k, looped = blocks(rows, classes)
        even = ":16" if classes % 16 == 0 else ""
        scalars["K"] = f"i32{even}"
        strides = {"stride_le": f"i64{even}", "stride_lb": f"i64{even}"}
        upstream = {"stride_ge": f"i64{even}", "stride_gb": f"i64{even}"}
        tile = {"LOOPED": looped, "BLOCK_B": block_b, "BLOCK_K": block_k}
        options = {"num_warps": num_warps(block_b, block_k)}
        for shared in (True, False):
            name = f"{rows}x{classes} {'shared' if shared else 'a row each'}"
            for dtype in ("fp32", "bf16"):
                outputs = {"p_sample": f"*{dtype}", "p_code": "*i64", "p_logits": f"*{dtype}"}
                for hard in (False, True):
                    constants = {"SHARED": shared, "HARD": hard, **flags, **tile}
                    signature = outputs | counters | scalars | strides | counter_strides
                    kind = " hard" if hard else ""
                    yield (
                        f"gumbel forward {name} {dtype}{kind}",
                        gumbel_softmax_fwd_kernel,
                        signature,
                        constants,
                        options,
                    )
            for recompute in (False, True):
                pointers = {"p_grad_logits": "*fp32", "p_partial": "*fp32", "p_semaphore": "*i32", "p_sample": "*fp32"}
                pointers |= {"p_grad": "*fp32", "p_logits": "*fp32"}
                signature = pointers | counters | scalars | upstream | strides | counter_strides | {"P": "i32"}
                constants = {"SHARED": shared, "RECOMPUTE": recompute, **flags, **tile, "stride_gk": 1}
                constants |= {"SINGLE_PROGRAM": rows == 64, "BLOCK_P": max(1, min(32, TILE // block_k))}
                kind = " noise drawn again" if recompute else ""
                yield f"gumbel backward {name}{kind}", gumbel_softmax_bwd_kernel, signature, constants, options
