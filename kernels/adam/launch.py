"""Adam's step as a torch op around its Triton kernel: how many programs divide the buffer."""

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
NUM_WARPS = 4
UNIT = 16  # elements; FusedAdam's buffers are multiples of it
# Programs for each multiprocessor (SM), at most. All are resident at once (at 72 registers a thread, the most that
# FusedAdam's launches take, 7 fit), so none starts its many tiles when the others have finished; and their loads in
# flight, 96 KB, saturate the memory.
PROGRAMS_PER_SM = 6
POINTERS = (
    *("master", "exp_avg", "exp_avg_sq", "step", "semaphore", "shadow"),
    *("grad", "lr", "hyperparameters", "grad_scale", "found_inf", "large", "average", "share"),
)
MUTATED = ("master", "exp_avg", "exp_avg_sq", "step", "semaphore", "shadow", "average")


@functools.cache
def _num_sms(device: torch.device) -> int:
    """Multiprocessors (SMs) of a GPU; 1 under the interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _first_tile(n: int, last: Tensor) -> int:
    """The tile with which the last elements of n begin. ValueError if they begin inside one."""
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
    semaphore: Tensor,
    shadow: Tensor | None,
    grad: Tensor,
    lr: Tensor,
    hyperparameters: Tensor,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
    large: Tensor | None,
    average: Tensor | None,
    share: Tensor | None,
) -> None:
    """One step of Adam in one launch; see kernels.adam.reference.adam_step.

    Args:
        master, exp_avg, exp_avg_sq, shadow, grad: [n], contiguous.
        step: float32, one element.
        semaphore: int32, one element, 0 before and after.
        hyperparameters: float64 [5]: beta1, beta2, eps, log beta1, log beta2.
        large, average: contiguous, for the last elements; each begins with a tile.
    """
    n = master.numel()
    tiles = triton.cdiv(n, BLOCK)
    unit = UNIT if n % UNIT == 0 else 1
    adam_kernel[min(tiles, PROGRAMS_PER_SM * _num_sms(master.device)),](
        master, exp_avg, exp_avg_sq, step, semaphore, master if shadow is None else shadow, grad, lr, hyperparameters,
        lr if grad_scale is None else grad_scale, lr if found_inf is None else found_inf,
        grad if large is None else large, master if average is None else average, lr if share is None else share,
        n // unit,
        tiles if large is None else _first_tile(n, large),
        tiles if average is None else _first_tile(n, average),
        UNIT=unit, BLOCK=BLOCK, num_warps=NUM_WARPS,
        HAS_SHADOW=shadow is not None, HAS_GRAD_SCALE=grad_scale is not None,
        HAS_FOUND_INF=found_inf is not None, HAS_AVERAGE=average is not None,
    )  # fmt: skip


@adam_step.register_fake
def _(
    master: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: Tensor,
    semaphore: Tensor,
    shadow: Tensor | None,
    grad: Tensor,
    lr: Tensor,
    hyperparameters: Tensor,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
    large: Tensor | None,
    average: Tensor | None,
    share: Tensor | None,
) -> None:
    return None


def configurations(capability: int) -> Iterator[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, int]]]:
    """Every configuration that `adam_step` can launch: name, kernel, signature, constexprs, options.

    The same for each `capability`. Pointers are multiples of 16 bytes where FusedAdam launches it.
    """
    for low, averaged, scaled, flagged, unit in itertools.product(
        (None, "bf16", "fp16"), (False, True), (False, True), (False, True), (UNIT, 1)
    ):
        signature = {f"p_{name}": "*fp32" for name in POINTERS}
        signature |= dict.fromkeys(("units", "first_large", "first_averaged"), "i32")
        signature |= {"p_semaphore": "*i32", "p_hyperparameters": "*fp64"}
        if low is not None:
            signature |= dict.fromkeys(("p_shadow", "p_grad", "p_large"), f"*{low}")
        flags = {"HAS_SHADOW": low is not None, "HAS_GRAD_SCALE": scaled}
        flags |= {"HAS_FOUND_INF": flagged, "HAS_AVERAGE": averaged}
        words = {"averaged": averaged, "scaled": scaled, "flagged": flagged, "odd": unit == 1}
        name = "-".join(["adam", low or "fp32", *(word for word, present in words.items() if present)])
        yield name, adam_kernel, signature, {"UNIT": unit, **flags, "BLOCK": BLOCK}, {"num_warps": NUM_WARPS}
