"""Adam's step as a torch op around its Triton kernel: how the buffer is shared out among programs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import torch
import triton
from torch import Tensor

from kernels.adam.layout import TILE
from kernels.adam.triton_kernel import adam_kernel

BLOCK = TILE  # elements of a tile: eight a thread
WARPS = 4
UNIT = 16  # FusedAdam's buffers are multiples of it
# Programs for each processor, at most. All run at once (72 registers a thread, the most that a launch of FusedAdam's
# takes, let 7 in), so none starts on its many tiles when the others are done; and their reads under way, 96 KB, keep
# the memory busy.
RESIDENT = 6
POINTERS = (
    *("master", "exp_avg", "exp_avg_sq", "step", "arrived", "shadow"),
    *("grad", "lr", "numbers", "grad_scale", "found_inf", "large", "average", "share"),
)
MUTATED = ("master", "exp_avg", "exp_avg_sq", "step", "arrived", "shadow", "average")


@functools.cache
def _processors(device: torch.device) -> int:
    """A GPU's multiprocessors; 1 under the interpreter, where programs share out tiles that way too."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _first_tile(n: int, last: Tensor) -> int:
    """The tile with which the last elements, of n, begin."""
    tile, inside = divmod(n - last.numel(), BLOCK)
    if inside:
        raise ValueError(f"the last {last.numel()} of {n} elements begin inside a tile of {BLOCK}")
    return tile


@torch.library.custom_op("fastgan::adam_step", mutates_args=MUTATED)
def adam_step(
    master: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: Tensor,
    arrived: Tensor,
    shadow: Tensor | None,
    grad: Tensor,
    lr: Tensor,
    numbers: Tensor,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
    large: Tensor | None,
    average: Tensor | None,
    share: Tensor | None,
) -> None:
    """kernels.adam.reference's step of Adam, in one launch.

    Args:
        master, exp_avg, exp_avg_sq, shadow, grad: [n], contiguous.
        step: float32, one element.
        arrived: int32, one element, 0; 0 again afterwards.
        numbers: float64 [5]: beta1, beta2, eps, log beta1, log beta2.
        large, average: contiguous, as long as they are, of the last elements; they begin with a tile.
    """
    n = master.numel()
    tiles = triton.cdiv(n, BLOCK)
    unit = UNIT if n % UNIT == 0 else 1
    adam_kernel[min(tiles, RESIDENT * _processors(master.device)),](
        master,
        exp_avg,
        exp_avg_sq,
        step,
        arrived,
        master if shadow is None else shadow,
        grad,
        lr,
        numbers,
        lr if grad_scale is None else grad_scale,
        lr if found_inf is None else found_inf,
        grad if large is None else large,
        master if average is None else average,
        lr if share is None else share,
        n // unit,
        tiles if large is None else _first_tile(n, large),
        tiles if average is None else _first_tile(n, average),
        UNIT=unit,
        SHADOW=shadow is not None,
        SCALED=grad_scale is not None,
        FLAGGED=found_inf is not None,
        AVERAGED=average is not None,
        BLOCK=BLOCK,
        num_warps=WARPS,
    )


@adam_step.register_fake
def _(
    master: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: Tensor,
    arrived: Tensor,
    shadow: Tensor | None,
    grad: Tensor,
    lr: Tensor,
    numbers: Tensor,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
    large: Tensor | None,
    average: Tensor | None,
    share: Tensor | None,
) -> None:
    return None


def configurations(capability: int) -> Iterator[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, int]]]:
    """Every form of the kernel that `adam_step` can launch: name, kernel, signature, constexprs, options.

    The same for each `capability`. Pointers are multiples of 16 bytes where FusedAdam launches it.
    """
    for low, averaged, scaled, flagged, unit in itertools.product(
        (None, "bf16", "fp16"), (False, True), (False, True), (False, True), (UNIT, 1)
    ):
        signature = {f"p_{name}": "*fp32" for name in POINTERS}
        signature |= dict.fromkeys(("units", "first_large", "first_averaged"), "i32")
        signature |= {"p_arrived": "*i32", "p_numbers": "*fp64"}
        if low is not None:
            signature |= dict.fromkeys(("p_shadow", "p_grad", "p_large"), f"*{low}")
        flags = {"SHADOW": low is not None, "SCALED": scaled, "FLAGGED": flagged, "AVERAGED": averaged}
        words = {"averaged": averaged, "scaled": scaled, "flagged": flagged, "odd": unit == 1}
        name = "-".join(["adam", low or "fp32", *(word for word, holds in words.items() if holds)])
        yield name, adam_kernel, signature, {"UNIT": unit, **flags, "BLOCK": BLOCK}, {"num_warps": WARPS}
