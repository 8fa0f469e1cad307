"""Which device, kernels and algorithms a process computes with."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

import torch

import kernels
from fastgan.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device that --device asks for; raises ConfigError for cuda where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: no CUDA GPU is to be seen; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def choose_kernels(name: Literal["auto", "triton", "reference"]) -> None:
    """Run the kernels that --kernels asks for from here on; raises ConfigError where they cannot run."""
    try:
        kernels.use_backend(name)
    except ValueError as error:
        raise ConfigError(f"--kernels {name}: {error}") from error


def choose_algorithms(deterministic: bool, device: torch.device) -> None:
    """Take deterministic algorithms on a GPU from here on, or whichever are fastest; nothing changes on a CPU.

    To be called before the GPU's first matrix product. An operation that has no deterministic algorithm warns.
    """
    on_gpu = deterministic and device.type == "cuda"
    if on_gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS sums in one order with this alone
    torch.use_deterministic_algorithms(on_gpu, warn_only=on_gpu)
    torch.backends.cudnn.deterministic = on_gpu
    # Else every new tensor would be filled, to show up what reads it before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's with its number of cores."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name} ({torch.get_num_threads()} threads)"
