"""NT-Xent as torch ops around its Triton kernels: what they allocate, which tiles they use, and their gradient.

Legend: E stacked losses, N images, V = 2N anchors, n local rows, D embedding length.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
import triton
from torch import Tensor

from kernels.nt_xent import tiles
from kernels.nt_xent.small_kernel import nt_xent_small_kernel
from kernels.nt_xent.tiles import SMALL_TILES, padded_anchors, padded_length
from kernels.nt_xent.triton_kernel import nt_xent_bwd_kernel, nt_xent_fwd_lse_kernel, nt_xent_normalize_kernel

# With a fixed shift of 1 / T, exponents reach down to -2 / T; above this T, exp(-2 / T) is a normal float32.
MIN_FIXED_SHIFT_TEMPERATURE = 0.025
NORMALIZE_BLOCK = 8192  # elements that one program of the normalize kernel holds


@functools.cache
def _capability(index: int | None) -> int:
    """Compute capability of a CUDA device, 90 for 9.0; 80 for the interpreter and for AMD."""
    if index is None or torch.version.hip is not None:
        return 80
    major, minor = torch.cuda.get_device_capability(index)
    return 10 * major + minor


def _fixed_shift(temperature: float, temperature_tensor: Tensor | None) -> bool:
    """Whether 1 / T can replace the running maximum; a tensor is not read."""
    return temperature_tensor is None and temperature > MIN_FIXED_SHIFT_TEMPERATURE


def _unit_stride(view: Tensor) -> Tensor:
    """The view, copied if the stride of its last dimension is not 1."""
    return view if view.stride(-1) == 1 else view.contiguous()


def _row_strides(view_a: Tensor, view_b: Tensor) -> tuple[int, ...]:
    return *view_a.stride()[:2], *view_b.stride()[:2]


def _normalize(view_a: Tensor, view_b: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Unit embeddings [E, 2, N, D] in the products' dtype, and 1 / norms float32 [E, 2, N]."""
    view_a, view_b = _unit_stride(view_a), _unit_stride(view_b)
    E, N, D = view_a.shape
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    unit = torch.empty((E, 2, N, D), dtype=dtype, device=view_a.device)
    rnorm = torch.empty((E, 2, N), dtype=torch.float32, device=view_a.device)
    block_d = padded_length(D)
    rows = NORMALIZE_BLOCK // block_d
    nt_xent_normalize_kernel[triton.cdiv(2 * N, rows), E](
        unit, rnorm, view_a, view_b, N, *_row_strides(view_a, view_b), D, rows, block_d, num_warps=8
    )
    return unit, rnorm


def _lse(
    unit: Tensor, n: int, row_start: int, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> tuple[Tensor, Tensor]:
    """log-sum-exp and loss of the local anchors, both float32 [E, 2, n]."""
    E, _, N, D = unit.shape
    lse = torch.empty((E, 2, n), dtype=torch.float32, device=unit.device)
    loss = torch.empty((E, 2, n), dtype=torch.float32, device=unit.device)
    config = tiles.large_config(tiles.LSE_TILES, precision, D, _capability(unit.device.index))
    nt_xent_fwd_lse_kernel[triton.cdiv(n, config["BLOCK_M"]), 2, E](
        lse,
        loss,
        unit,
        unit if temperature_tensor is None else temperature_tensor,
        temperature,
        n,
        N,
        row_start,
        D,
        TEMPERATURE_TENSOR=temperature_tensor is not None,
        FIXED_SHIFT=_fixed_shift(temperature, temperature_tensor),
        PRECISION=tiles.input_precision(precision),
        **config,
    )
    return lse, loss


def _grad(
    unit: Tensor,
    rnorm: Tensor,
    lse: Tensor,
    upstream_E: Tensor | None,
    n: int,
    row_start: int,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
    dtype: torch.dtype,
) -> Tensor:
    """The gradient [2, E, n, D]: the views come first, so that each one's gradient is contiguous."""
    E, _, N, D = unit.shape
    grad = torch.empty((2, E, n, D), dtype=dtype, device=unit.device)
    config = tiles.large_config(tiles.GRAD_TILES, precision, D, _capability(unit.device.index))
    nt_xent_bwd_kernel[triton.cdiv(n, config["BLOCK_M"]) * (config["BLOCK_D"] // config["BLOCK_O"]), 2, E](
        grad,
        unit,
        rnorm,
        lse,
        lse if upstream_E is None else upstream_E,
        lse if temperature_tensor is None else temperature_tensor,
        temperature,
        0 if upstream_E is None else upstream_E.stride(0),
        n,
        N,
        row_start,
        D,
        UPSTREAM=upstream_E is not None,
        TEMPERATURE_TENSOR=temperature_tensor is not None,
        FIXED_SHIFT=_fixed_shift(temperature, temperature_tensor),
        PRECISION=tiles.input_precision(precision),
        **config,
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
    config = tiles.small_config(precision, 2 * N, D, _capability(view_a.device.index))
    nt_xent_small_kernel[triton.cdiv(2 * N, config["BLOCK_R"]), E](
        loss,
        grad,
        view_a,
        view_b,
        view_a if temperature_tensor is None else temperature_tensor,
        temperature,
        N,
        *_row_strides(view_a, view_b),
        D,
        TEMPERATURE_TENSOR=temperature_tensor is not None,
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
    """Losses [E] of views [E, N, D]; and for backward unit embeddings, 1 / norms and log-sum-exps."""
    unit, rnorm = _normalize(view_a, view_b, precision)
    lse, loss = _lse(unit, view_a.shape[1], 0, temperature, temperature_tensor, precision)
    return loss.mean((1, 2)), unit, rnorm, lse


@nt_xent_large.register_fake
def _(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    E, N, D = view_a.shape
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    unit = view_a.new_empty((E, 2, N, D), dtype=dtype)
    rnorm, lse = (view_a.new_empty((E, 2, N), dtype=torch.float32) for _ in range(2))
    return view_a.new_empty((E,), dtype=torch.float32), unit, rnorm, lse


@torch.library.custom_op("fastgan::nt_xent_backward", mutates_args=())
def nt_xent_backward(
    grad_E: Tensor,
    unit: Tensor,
    rnorm: Tensor,
    lse: Tensor,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
    dtype: torch.dtype,
) -> Tensor:
    """The gradient [2, E, N, D] of both views."""
    return _grad(unit, rnorm, lse, grad_E, unit.shape[2], 0, temperature, temperature_tensor, precision, dtype)


@nt_xent_backward.register_fake
def _(
    grad_E: Tensor,
    unit: Tensor,
    rnorm: Tensor,
    lse: Tensor,
    temperature: float,
    temperature_tensor: Tensor | None,
    precision: str,
    dtype: torch.dtype,
) -> Tensor:
    E, _, N, D = unit.shape
    return unit.new_empty((2, E, N, D), dtype=dtype)


def _large_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    view_a, _, ctx.temperature, temperature_tensor, ctx.precision = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[1:], temperature_tensor)
    ctx.dtype = view_a.dtype


def _large_backward(ctx: Any, grad_E: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    unit, rnorm, lse, temperature_tensor = ctx.saved_tensors
    grad = nt_xent_backward(grad_E, unit, rnorm, lse, ctx.temperature, temperature_tensor, ctx.precision, ctx.dtype)
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
    unit, _ = _normalize(gathered[:1], gathered[1:], precision)
    lse, loss = _lse(unit, local.shape[1], row_start, temperature, temperature_tensor, precision)
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
    unit, rnorm = _normalize(gathered[:1], gathered[1:], precision)
    lse = gathered_lse.to(torch.float32).contiguous()
    rows, dtype = local.shape[1], local.dtype
    grad = _grad(unit, rnorm, lse, None, rows, row_start, temperature, temperature_tensor, precision, dtype)
    return grad[:, 0]


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


def configurations(capability: int = 90) -> Iterator[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, int]]]:
    """What can be launched at a compute capability of 80 or 90: name, kernel, signature, constexprs, options."""
    shift = {"FIXED_SHIFT": True, "TEMPERATURE_TENSOR": False}, {"FIXED_SHIFT": False, "TEMPERATURE_TENSOR": True}
    strides = dict.fromkeys(("stride_ae", "stride_an", "stride_be", "stride_bn"), "i32:16")
    sizes = dict.fromkeys(("n", "N", "row_start"), "i32")
    scalar = {"p_temperature": "*fp32", "temperature": "fp32"}

    def split(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
        options = {key: config[key] for key in ("num_warps", "num_stages")}
        return {key: value for key, value in config.items() if key not in options}, options

    for precision in ("bf16", "tf32", "ieee"):
        unit = "*bf16" if precision == "bf16" else "*fp32"
        for D in (64, 128, 256, tiles.MAX_LENGTH):
            for view in ("*fp32", "*bf16", "*fp16") if precision != "ieee" else ():  # ieee is as tf32
                signature = {"p_unit": unit, "p_rnorm": "*fp32", "p_a": view, "p_b": view, "N": "i32", **strides}
                constants: dict[str, Any] = {"D": D, "BLOCK_R": NORMALIZE_BLOCK // D, "BLOCK_D": D}
                name = f"normalise {precision} {view[1:]} {D}"
                yield name, nt_xent_normalize_kernel, signature, constants, {"num_warps": 8}
            for how in shift:
                name = f"{precision} {D} {'fixed shift' if how['FIXED_SHIFT'] else 'running maximum'}"
                constants, options = split(tiles.large_config(tiles.LSE_TILES, precision, D, capability))
                constants |= {"D": D, "PRECISION": tiles.input_precision(precision), **how}
                signature = {"p_lse": "*fp32", "p_loss": "*fp32", "p_unit": unit, **scalar, **sizes}
                yield f"lse {name}", nt_xent_fwd_lse_kernel, signature, constants, options
                constants, options = split(tiles.large_config(tiles.GRAD_TILES, precision, D, capability))
                constants |= {"D": D, "PRECISION": tiles.input_precision(precision), "UPSTREAM": True, **how}
                pointers = {"p_rnorm": "*fp32", "p_lse": "*fp32", "p_upstream": "*fp32"}
                signature = {"p_grad": "*fp32", "p_unit": unit, **pointers, **scalar, "stride_upstream": "i32", **sizes}
                yield f"grad {name}", nt_xent_bwd_kernel, signature, constants, options
        for V, D in SMALL_TILES if precision != "ieee" else ():
            for view in ("*fp32", "*bf16"):
                constants, options = split(tiles.small_config(precision, V, D, capability))
                constants |= {"D": D, "TEMPERATURE_TENSOR": False}
                signature = {"p_loss": "*fp32", "p_grad": "*fp32", "p_a": view, "p_b": view, **scalar}
                signature |= {"N": "i32", **strides}
                yield f"small {precision} {view[1:]} {D} V={V}", nt_xent_small_kernel, signature, constants, options
