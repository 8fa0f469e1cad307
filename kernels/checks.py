"""Checks of arguments that every op makes before it computes anything. None of them reads a tensor's values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def check_temperature(temperature: float | Tensor) -> None:
    """A Python number must be above 0 and finite; a tensor is not read (that would synchronise)."""
    if not isinstance(temperature, Tensor) and not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature {temperature}: must be above 0 and finite")


def positive_or_nan(temperature: float | Tensor) -> float | Tensor:
    """The temperature, with a tensor that is not above 0 and finite turned into NaN, without reading it."""
    if not isinstance(temperature, Tensor):
        return temperature
    return torch.where((temperature > 0) & temperature.isfinite(), temperature, torch.nan)


def check_counters(seed: Tensor, offset: Tensor, device: torch.device | None = None) -> None:
    """seed and offset: int64 tensors on one device."""
    for name, value in (("seed", seed), ("offset", offset)):
        if not isinstance(value, Tensor) or value.dtype != torch.int64:
            raise ValueError(f"{name}: must be an int64 tensor")
    if seed.device != offset.device or (device is not None and seed.device != device):
        raise ValueError(f"seed, offset: must be on one device with the logits, got {seed.device}, {offset.device}")


def check_row_start(row_start: int | Tensor) -> None:
    """row_start: 0 or more (a tensor is not read)."""
    if not isinstance(row_start, Tensor) and row_start < 0:
        raise ValueError(f"row_start {row_start}: must be 0 or more")


def check_float(name: str, value: Tensor) -> None:
    """float32, bfloat16, float16 or float64."""
    if value.dtype not in FLOATS:
        raise ValueError(f"{name}: must be float32, bfloat16, float16 or float64, got {value.dtype}")
