"""Checks of the ops' arguments. None reads a tensor's values, which would wait for the device. All raise ValueError."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def check_temperature(temperature: float | Tensor) -> None:
    """A number must be above 0 and finite; a tensor is not read."""
    if not isinstance(temperature, Tensor) and not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature {temperature}: must be above 0 and finite")


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


def check_row_start(row_start: int | Tensor) -> None:
    """row_start must be 0 or more; a tensor is not read."""
    if not isinstance(row_start, Tensor) and row_start < 0:
        raise ValueError(f"row_start {row_start}: must be 0 or more")


def check_float(name: str, value: Tensor) -> None:
    """The dtype must be float32, bfloat16, float16 or float64."""
    if value.dtype not in FLOATS:
        raise ValueError(f"{name}: must be float32, bfloat16, float16 or float64, got {value.dtype}")
