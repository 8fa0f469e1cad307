"""Checks of the ops' arguments. None reads a tensor's values, which would wait for the device. All raise ValueError."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def check_temperature(temperature: float | Tensor) -> None:
    """A number must be above 0 and finite; a tensor is not read."""
    # torch.compile traces comparisons of a number that changes from call to call, but not math.isfinite.
    if not isinstance(temperature, Tensor) and not 0 < temperature < math.inf:
        raise ValueError(f"temperature {temperature}: must be above 0 and finite")


def check_temperature_tensor(temperature: Tensor, rows: tuple[int, ...], device: torch.device) -> None:
    """A tensor must be real, on this device, and one number or one for each row: a shape that broadcasts to [*rows, 1].

    Its values are not read.
    """
    shape = tuple(temperature.shape)
    if temperature.is_complex() or temperature.dtype == torch.bool:
        raise ValueError(f"temperature: must be a real number, got {temperature.dtype}")
    if temperature.device != device:
        raise ValueError(f"temperature: must be on the device of the rest, {device}, got {temperature.device}")
    sides = zip(reversed(shape), reversed((*rows, 1)), strict=False)
    if temperature.numel() != 1 and (len(shape) > len(rows) + 1 or any(a not in (1, b) for a, b in sides)):
        raise ValueError(f"temperature {list(shape)}: must be one number, or broadcast to one a row, {[*rows, 1]}")


def is_learned(temperature: float | Tensor) -> bool:
    """Whether it is a tensor that needs a gradient, which the kernels do not compute."""
    return isinstance(temperature, Tensor) and temperature.requires_grad and torch.is_grad_enabled()


def positive_or_nan(temperature: float | Tensor) -> float | Tensor:
    """The temperature; a tensor that is not above 0 and finite becomes NaN, without the host reading it."""
    if not isinstance(temperature, Tensor):
        return temperature
    return torch.where((temperature > 0) & temperature.isfinite(), temperature, torch.nan)


def check_counters(seed: Tensor, offset: Tensor, device: torch.device | None = None) -> None:
    """seed and offset must be int64 tensors on one device, that of the logits if it is given."""
    for name, value in (("seed", seed), ("offset", offset)):
        if not isinstance(value, Tensor) or value.dtype != torch.int64:
            raise ValueError(f"{name}: must be an int64 tensor")
    if seed.device != offset.device or (device is not None and seed.device != device):
        raise ValueError(f"seed, offset: must be on one device with the logits, got {seed.device}, {offset.device}")


def check_row_start(row_start: int | Tensor, device: torch.device | None = None) -> None:
    """row_start must be 0 or more and fit into int64; a tensor is not read, but must be one integer on this device."""
    if not isinstance(row_start, Tensor):
        if isinstance(row_start, float) or not 0 <= row_start < 1 << 63:
            raise ValueError(f"row_start {row_start}: must be 0 or more, and an integer below 2^63")
    elif row_start.numel() != 1 or row_start.is_floating_point() or row_start.is_complex():
        raise ValueError(f"row_start: must be one integer, got {row_start.dtype} {list(row_start.shape)}")
    elif device is not None and row_start.device != device:
        raise ValueError(f"row_start: must be on the seed's device {device}, got {row_start.device}")


def check_float(name: str, value: Tensor) -> None:
    """The dtype must be float32, bfloat16, float16 or float64."""
    if value.dtype not in FLOATS:
        raise ValueError(f"{name}: must be float32, bfloat16, float16 or float64, got {value.dtype}")
