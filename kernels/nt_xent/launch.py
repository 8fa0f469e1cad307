"""NT-Xent as torch ops around its Triton kernels: what they allocate, which tiles they use, and their gradient.

Legend: E stacked losses, N images, V = 2N anchors, n local rows, D embedding length.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.nt_xent import tiles
from kernels.nt_xent.small_kernel import nt_xent_small_kernel
from kernels.nt_xent.tiles import SMALL_TILES, Tile, padded_anchors, padded_length
from kernels.nt_xent.triton_kernel import (
    nt_xent_bwd_kernel,
    nt_xent_bwd_sum_kernel,
    nt_xent_fwd_lse_kernel,
    nt_xent_normalize_kernel,
)

# With a fixed shift of 1 / T, exponents reach down to -2 / T; above this T, exp(-2 / T) is a normal float32.
MIN_FIXED_SHIFT_TEMPERATURE = 0.025
NORMALIZE_BLOCK = 8192  # elements that one program of the normalize kernel holds


# Operands of the products. "tf32" takes float16: as many bits of mantissa, which suffice since all entries are bounded,
# rounded (the tensor cores cut float32 operands off), at twice the rate.
OPERANDS = {"bf16": torch.bfloat16, "tf32": torch.float16, "ieee": torch.float32}
TRITON_DTYPES = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}


@functools.cache
def _capability(index: int | None) -> int:
    """Compute capability of a CUDA device, 90 for 9.0; 80 for the interpreter and for AMD."""
    if index is None or torch.version.hip is not None:
        return 80
    major, minor = torch.cuda.get_device_capability(index)
    return 10 * major + minor


@functools.cache
def _processors(index: int | None) -> int:
    """Multiprocessors of a CUDA device; 1 for the interpreter."""
    return 1 if index is None else int(torch.cuda.get_device_properties(index).multi_processor_count)


def _fixed_shift(temperature: float, temperature_tensor: Tensor | None) -> bool:
    """Whether 1 / T can replace the running maximum; a tensor is not read."""
    return temperature_tensor is None and temperature > MIN_FIXED_SHIFT_TEMPERATURE


def _how(temperature: float, temperature_tensor: Tensor | None) -> dict[str, bool]:
    """The flags of kernels that take a temperature."""
    return {
        "TEMPERATURE_TENSOR": temperature_tensor is not None,
        "FIXED_SHIFT": _fixed_shift(temperature, temperature_tensor),
    }


def _unit_stride(view: Tensor) -> Tensor:
    """The view, copied if the stride of its last dimension is not 1."""
    return view if view.stride(-1) == 1 else view.contiguous()


def _row_strides(view_a: Tensor, view_b: Tensor) -> tuple[int, ...]:
    return *view_a.stride()[:2], *view_b.stride()[:2]


def _unit_shape(E: Any, N: Any, D: int) -> tuple[Any, ...]:
    """Unit embeddings, padded with zeros to whole tiles."""
    return E, 2, N, padded_length(D)


def _weight_shape(E: Any, N: Any) -> tuple[Any, ...]:
    """Anchors' weights: 2N to a multiple of 16, so that every loss's start at an aligned address."""
    return E, (2 * N + 15) // 16 * 16


def _normalize(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
    lse: Tensor | None = None,
    semaphores: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unit embeddings [E, 2, N, padded D], 1 / norms float32 [E, 2, N], and without lse zeros int32 [E, semaphores].

    With lse float32 [E, 2N] the last but one are the anchors' weights, which the gradient needs.
    """
    view_a, view_b = _unit_stride(view_a), _unit_stride(view_b)
    E, N, D = view_a.shape
    device = view_a.device
    unit = torch.empty(_unit_shape(E, N, D), dtype=OPERANDS[precision], device=device)
    rnorm = torch.empty((E, 2, N), dtype=torch.float32, device=device)
    weight = rnorm if lse is None else torch.empty(_weight_shape(E, N), dtype=torch.float32, device=device)
    semaphore = torch.empty((E, semaphores), dtype=torch.int32, device=device) if lse is None else rnorm
    block_d = padded_length(D)
    rows = NORMALIZE_BLOCK // block_d
    nt_xent_normalize_kernel[triton.cdiv(2 * N, rows), E](
        unit,
        rnorm,
        weight,
        semaphore,
        view_a,
        view_b,
        rnorm if lse is None else lse,
        rnorm if temperature_tensor is None else temperature_tensor,
        temperature,
        N,
        semaphores,
        *_row_strides(view_a, view_b),
        D,
        GIVEN_LSE=lse is not None,
        **_how(temperature, temperature_tensor),
        BLOCK_R=rows,
        BLOCK_D=block_d,
        num_warps=8,
    )
    return unit, rnorm, weight, semaphore


def _plan(kind: tiles.Tiles, precision: str, device: torch.device, E: int, n: int, N: int, D: int) -> tuple[Tile, int]:
    """A large kernel's tile, and over how many programs each tile of rows splits its columns."""
    processors = _processors(device.index)
    row_tiles = 2 * E * triton.cdiv(n, 128)
    tile = tiles.large_tile(kind, precision, D, _capability(device.index), row_tiles, processors)
    programs = 2 * E * triton.cdiv(n, tile.m)
    return tile, tiles.splits(programs, triton.cdiv(2 * N, tile.n), processors * tile.resident)


def _forward(
    view_a: Tensor,
    view_b: Tensor,
    n: int,
    row_start: int,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
    mean: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses, unit embeddings, 1 / norms, and where `mean` anchors' weights, else log-sum-exps.

    Losses are [E] where `mean`, else those of the local anchors [E, 2, n], as are the log-sum-exps.
    """
    E, N, D = view_a.shape
    device = view_a.device
    how = _how(temperature, temperature_tensor)
    tile, splits = _plan(tiles.lse_tiles(how["FIXED_SHIFT"]), precision, device, E, n, N, D)
    row_tiles = triton.cdiv(n, tile.m)
    semaphores = 1 + 2 * row_tiles if splits > 1 else 1
    unit, rnorm, _, semaphore = _normalize(
        view_a, view_b, temperature, temperature_tensor, precision, semaphores=semaphores
    )
    loss = torch.empty((E,) if mean else (E, 2, n), dtype=torch.float32, device=device)
    out = torch.empty(_weight_shape(E, N) if mean else (E, 2, n), dtype=torch.float32, device=device)
    tile_loss = torch.empty((E, 2 * row_tiles), dtype=torch.float32, device=device) if mean else loss
    partial = torch.empty((2, splits, E, 2, n), dtype=torch.float32, device=device) if splits > 1 else loss
    nt_xent_fwd_lse_kernel[row_tiles * splits, 2, E](
        loss,
        out,
        partial,
        tile_loss,
        semaphore,
        unit,
        rnorm if temperature_tensor is None else temperature_tensor,
        temperature,
        n,
        N,
        row_start,
        splits,
        **how,
        MEAN=mean,
        PRECISION=tiles.input_precision(precision),
        SPLIT=splits > 1,
        **tiles.blocks(tile, D),
    )
    return loss, unit, rnorm, out


def _grad(
    unit: Tensor,
    rnorm: Tensor,
    weight: Tensor,
    upstream_E: Tensor | None,
    n: int,
    row_start: int,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
    D: int,
    dtype: torch.dtype,
) -> Tensor:
    """The gradient [2, E, n, D]: the views come first, so that each one's gradient is contiguous."""
    E, _, N, block_d = unit.shape
    grad = torch.empty((2, E, n, D), dtype=dtype, device=unit.device)
    tile, splits = _plan(tiles.GRAD_TILES, precision, unit.device, E, n, N, D)
    config = tiles.grad_blocks(tile, D)
    parts = block_d // config["BLOCK_O"]
    sums = splits > 1 or parts > 1
    partial = torch.empty((splits, E, 2, n, block_d), dtype=torch.float32, device=unit.device) if sums else grad
    scalars: tuple[Any, ...] = (
        rnorm if upstream_E is None else upstream_E,
        rnorm if temperature_tensor is None else temperature_tensor,
        temperature,
        0 if upstream_E is None else upstream_E.stride(0),
        n,
        N,
        row_start,
    )
    how = _how(temperature, temperature_tensor)
    nt_xent_bwd_kernel[triton.cdiv(n, tile.m) * splits * parts, 2, E](
        partial,
        unit,
        rnorm,
        weight,
        *scalars,
        splits,
        D,
        UPSTREAM=upstream_E is not None,
        **how,
        PRECISION=tiles.input_precision(precision),
        PARTIAL=sums,
        **config,
    )
    if sums:
        rows = tiles.sum_block(D)
        nt_xent_bwd_sum_kernel[triton.cdiv(n, rows), 2, E](
            grad,
            partial,
            unit,
            rnorm,
            *scalars,
            D,
            UPSTREAM=upstream_E is not None,
            TEMPERATURE_TENSOR=how["TEMPERATURE_TENSOR"],
            SPLITS=splits,
            BLOCK_R=rows,
            BLOCK_D=block_d,
            num_warps=4,
        )
    return grad


@torch.library.custom_op("fastgan::nt_xent_small", mutates_args=())
def nt_xent_small(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> tuple[Tensor, Tensor]:
    """Losses [E] of views [E, N, D] and their gradient [2, E, N, D], both float32."""
    view_a, view_b = _unit_stride(view_a), _unit_stride(view_b)
    E, N, D = view_a.shape
    loss = torch.empty((E,), dtype=torch.float32, device=view_a.device)
    grad = torch.empty((2, E, N, D), dtype=torch.float32, device=view_a.device)
    config = tiles.small_config(precision, 2 * N, D)
    nt_xent_small_kernel[triton.cdiv(2 * N, config["BLOCK_R"]) + 1, E](
        loss,
        grad,
        view_a,
        view_b,
        view_a if temperature_tensor is None else temperature_tensor,
        temperature,
        N,
        *_row_strides(view_a, view_b),
        D,
        **_how(temperature, temperature_tensor),
        OPERAND=TRITON_DTYPES[OPERANDS[precision]],
        **config,
    )
    return loss, grad


@nt_xent_small.register_fake
def _(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> tuple[Tensor, Tensor]:
    E, N, D = view_a.shape
    return view_a.new_empty((E,), dtype=torch.float32), view_a.new_empty((2, E, N, D), dtype=torch.float32)


def _small_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])
    ctx.dtype = inputs[0].dtype


def _small_backward(ctx: Any, grad_E: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    (grad,) = ctx.saved_tensors
    # float32 until here: a scaled loss needs gradients that half precision would have flushed to 0.
    grad_a, grad_b = (grad * grad_E[:, None, None]).to(ctx.dtype).unbind(0)
    return grad_a, grad_b, None, None, None


nt_xent_small.register_autograd(_small_backward, setup_context=_small_context)


@torch.library.custom_op("fastgan::nt_xent", mutates_args=())
def nt_xent_large(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses [E] of views [E, N, D]; and for backward unit embeddings, 1 / norms and anchors' weights."""
    return _forward(view_a, view_b, view_a.shape[1], 0, temperature, temperature_tensor, precision, mean=True)


@nt_xent_large.register_fake
def _(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    E, N, D = view_a.shape
    unit = view_a.new_empty(_unit_shape(E, N, D), dtype=OPERANDS[precision])
    loss, rnorm, weight = (view_a.new_empty(s, dtype=torch.float32) for s in ((E,), (E, 2, N), _weight_shape(E, N)))
    return loss, unit, rnorm, weight


@torch.library.custom_op("fastgan::nt_xent_backward", mutates_args=())
def nt_xent_backward(
    grad_E: Tensor,
    unit: Tensor,
    rnorm: Tensor,
    weight: Tensor,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
    D: int,
    dtype: torch.dtype,
) -> Tensor:
    """The gradient [2, E, N, D] of both views."""
    n = unit.shape[2]
    return _grad(unit, rnorm, weight, grad_E, n, 0, temperature, temperature_tensor, precision, D, dtype)


@nt_xent_backward.register_fake
def _(
    grad_E: Tensor,
    unit: Tensor,
    rnorm: Tensor,
    weight: Tensor,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
    D: int,
    dtype: torch.dtype,
) -> Tensor:
    E, _, N, _ = unit.shape
    return unit.new_empty((2, E, N, D), dtype=dtype)


def _large_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    view_a, _, ctx.temperature, temperature_tensor, ctx.precision = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[1:], temperature_tensor)
    ctx.length, ctx.dtype = view_a.shape[-1], view_a.dtype


def _large_backward(ctx: Any, grad_E: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    *saved, temperature_tensor = ctx.saved_tensors
    given = ctx.temperature, temperature_tensor, ctx.precision, ctx.length, ctx.dtype
    grad = nt_xent_backward(grad_E, *saved, *given)
    return grad[0], grad[1], None, None, None


nt_xent_large.register_autograd(_large_backward, setup_context=_large_context)


def nt_xent(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> Tensor:
    """Losses [E] of views [E, N, D], by the small kernel where it fits. A temperature tensor overrides the number."""
    _, N, D = view_a.shape
    fits = precision != "ieee" and (padded_anchors(2 * N), padded_length(D)) in SMALL_TILES
    op = nt_xent_small if fits else nt_xent_large
    return op(view_a, view_b, temperature, temperature_tensor, precision)[0]


@torch.library.custom_op("fastgan::nt_xent_lse", mutates_args=())
def nt_xent_lse(
    local: Tensor,
    gathered: Tensor,
    row_start: int,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
) -> tuple[Tensor, Tensor]:
    """lse and loss, float32 [2, n], of the local anchors, whose embeddings are read from `gathered` [2, N, D]."""
    given = temperature, temperature_tensor, precision
    loss, _, _, lse = _forward(gathered[:1], gathered[1:], local.shape[1], row_start, *given, mean=False)
    return lse[0], loss[0]


@nt_xent_lse.register_fake
def _(
    local: Tensor,
    gathered: Tensor,
    row_start: int,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
) -> tuple[Tensor, Tensor]:
    lse, loss = (local.new_empty(local.shape[:2], dtype=torch.float32) for _ in range(2))
    return lse, loss


@torch.library.custom_op("fastgan::nt_xent_grad", mutates_args=())
def nt_xent_grad(
    local: Tensor,
    gathered: Tensor,
    gathered_lse: Tensor,
    row_start: int,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
) -> Tensor:
    """The gradient [2, n, D] of the local embeddings, which are read from `gathered` [2, N, D]."""
    given = temperature, temperature_tensor, precision
    lse = gathered_lse.to(torch.float32).contiguous()
    unit, rnorm, weight, _ = _normalize(gathered[:1], gathered[1:], *given, lse)
    _, n, D = local.shape
    return _grad(unit, rnorm, weight, None, n, row_start, *given, D, local.dtype)[:, 0]


@nt_xent_grad.register_fake
def _(
    local: Tensor,
    gathered: Tensor,
    gathered_lse: Tensor,
    row_start: int,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
) -> Tensor:
    return torch.empty(local.shape, dtype=local.dtype, device=local.device)


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
        for tile in tiles.reachable(tiles.lse_tiles(how["FIXED_SHIFT"])[kind, D], capability):
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
        constants = {"D": D, "GIVEN_LSE": given, **_HOWS[0], "BLOCK_R": NORMALIZE_BLOCK // D, "BLOCK_D": D}
        name = f"normalise {precision} {view[1:]} {D}{' with weights' * given}"
        yield name, nt_xent_normalize_kernel, signature, constants, {"num_warps": 8}


def _small_configurations(precision: str) -> Iterator[Configuration]:
    operand = {"OPERAND": TRITON_DTYPES[OPERANDS[precision]]}
    for (V, D), view, how in itertools.product(sorted(SMALL_TILES), ("*fp32", "*bf16"), _HOWS):
        constants, options = _split(tiles.small_config(precision, V, D))
        signature = {"p_loss": "*fp32", "p_grad": "*fp32", "p_a": view, "p_b": view, **_SCALAR, "N": "i32", **_STRIDES}
        name = f"small {precision} {view[1:]} {D} V={V}{'' if how['FIXED_SHIFT'] else ' running maximum'}"
        yield name, nt_xent_small_kernel, signature, {**constants, "D": D, **how, **operand}, options


def configurations(capability: int = 90) -> Iterator[Configuration]:
    """What can be launched at a compute capability of 80 or 90: name, kernel, signature, constexprs, options."""
    for precision in OPERANDS:
        for D in (64, 128, 256, tiles.MAX_LENGTH):
            yield from _normalize_configurations(precision, D)
            yield from _large_configurations(precision, D, capability)
            yield from _sum_configurations(precision, D)
        if precision != "ieee":
            yield from _small_configurations(precision)
