"""Choosing the device, the kernels and deterministic algorithms."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

import torch

import kernels
from fastgan.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device for --device auto, cpu or cuda; raises ConfigError for cuda without a CUDA GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: no CUDA GPU found; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def choose_kernels(name: Literal["auto", "triton", "reference"]) -> None:
    """Select the kernels for --kernels, process-wide; raises ConfigError where they cannot run."""
    try:
        kernels.use_backend(name)
    except ValueError as error:
        cause = str(error).removeprefix('backend "triton": ')
        raise ConfigError(f"--kernels {name}: {cause}") from error


def choose_algorithms(deterministic: bool, device: torch.device) -> None:
    """Use deterministic algorithms on a GPU from here on, or the fastest ones; no effect on a CPU.

    Call it before the first matrix product on the GPU. Operations without a deterministic algorithm warn.
    """
    on_gpu = deterministic and device.type == "cuda"
    if on_gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    torch.use_deterministic_algorithms(on_gpu, warn_only=on_gpu)
    torch.backends.cudnn.deterministic = on_gpu
    # By default it fills every new tensor, to expose reads of uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def device_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor with the number of threads."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name} ({torch.get_num_threads()} threads)"
