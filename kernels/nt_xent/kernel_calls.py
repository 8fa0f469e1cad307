"""NT-Xent's Triton kernels on tensors: what they allocate, and which tiles they use.

Legend: E stacked losses, N images, V = 2N anchors, n local rows, D embedding length.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.nt_xent import tiles
from kernels.nt_xent.backward_kernel import nt_xent_bwd_kernel, nt_xent_bwd_sum_kernel
from kernels.nt_xent.small_kernel import nt_xent_small_kernel
from kernels.nt_xent.tiles import Tile, padded_length
from kernels.nt_xent.triton_kernel import nt_xent_fwd_lse_kernel, nt_xent_normalize_kernel

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


def unit_shape(E: Any, N: Any, D: int) -> tuple[Any, ...]:
    """Unit embeddings, padded with zeros to whole tiles."""
    return E, 2, N, padded_length(D)


def weight_shape(E: Any, N: Any) -> tuple[Any, ...]:
    """Anchors' weights: 2N to a multiple of 16, so that every loss's start at an aligned address."""
    return E, (2 * N + 15) // 16 * 16


def normalize(
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
    unit = torch.empty(unit_shape(E, N, D), dtype=OPERANDS[precision], device=device)
    rnorm = torch.empty((E, 2, N), dtype=torch.float32, device=device)
    weight = rnorm if lse is None else torch.empty(weight_shape(E, N), dtype=torch.float32, device=device)
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


def forward(
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
    tile, splits = _plan(tiles.LSE_TILES, precision, device, E, n, N, D)
    row_tiles = triton.cdiv(n, tile.m)
    semaphores = 1 + 2 * row_tiles if splits > 1 else 1
    unit, rnorm, _, semaphore = normalize(
        view_a, view_b, temperature, temperature_tensor, precision, semaphores=semaphores
    )
    loss = torch.empty((E,) if mean else (E, 2, n), dtype=torch.float32, device=device)
    out = torch.empty(weight_shape(E, N) if mean else (E, 2, n), dtype=torch.float32, device=device)
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


def gradient(
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


def small(
    view_a: Tensor, view_b: Tensor, temperature: float, temperature_tensor: Tensor | None, precision: str
) -> tuple[Tensor, Tensor]:
    """Losses [E] of views [E, N, D] and their gradient [2, E, N, D], both float32, by the small kernel."""
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
