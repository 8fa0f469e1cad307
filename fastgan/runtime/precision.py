"""The precision of matrix products and convolutions, for training, the judge and commands that read a run.

Under --amp it is bfloat16 where the device has instructions for it, else float32: emulated bfloat16 takes many times as
long. Losses, codes and optimisers are in float32 in both cases.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch.nn import functional as F

from fastgan.errors import ConfigError

# Limits of oneDNN (ONEDNN_MAX_CPU_ISA) that allow AVX-512 but not its bfloat16 instructions. torch reports bfloat16 as
# supported there, since oneDNN emulates it.
WITHOUT_BFLOAT16 = {"AVX512_CORE", "AVX512_CORE_VNNI"}
# 45 images/s in bfloat16 and 860 to 1,680 in float32.
EMULATED = "many times as long as in float32, as 20 to 40 times on two AVX2 cores of an AMD EPYC"


class AmpSettings(Protocol):
    """The settings of TrainConfig that determine the precision."""

    @property
    def amp(self) -> bool:
        """Mixed precision."""

    @property
    def amp_dtype(self) -> str:
        """auto, bfloat16 or float16."""


@dataclass(frozen=True)
class Precision:
    """`dtype` of the operands, and a note why it is not the requested one (empty if it is)."""

    dtype: torch.dtype
    note: str = ""

    @property
    def name(self) -> str:
        """bfloat16, float16 or float32."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def low(self) -> bool:
        """Whether products are in 16 bits, so that weights need low-precision copies."""
        return self.dtype != torch.float32

    def autocast(self, device: torch.device) -> Any:
        """The context in which the networks run."""
        return torch.autocast(device.type, dtype=self.dtype) if self.low else nullcontext()


FULL = Precision(torch.float32)


def for_training(config: AmpSettings, device: torch.device) -> Precision:
    """The precision of training. An explicit --amp-dtype is used even if it is slow.

    Raises:
        ConfigError: when the device cannot compute in it.
    """
    if not config.amp:
        return FULL
    if config.amp_dtype == "auto":
        return fastest(device)
    dtype = getattr(torch, config.amp_dtype)
    if computes(device, dtype):
        return Precision(dtype)
    refused = _refusal(device.type, dtype)
    if refused:
        raise ConfigError(
            f"--amp-dtype {config.amp_dtype}: cannot be computed by {_subject(device)} ({refused}); leave it out"
        )
    return Precision(
        dtype,
        f"{_subject(device)} has no {config.amp_dtype} instructions: expect a step to take {EMULATED}; leave "
        "--amp-dtype out to train in the fastest precision",
    )


def for_reading(config: AmpSettings, device: torch.device) -> Precision:
    """The precision of inference on this device, whatever the run was trained in: never an emulated one."""
    if not config.amp:
        return FULL
    if config.amp_dtype == "auto":
        return fastest(device)
    dtype = getattr(torch, config.amp_dtype)
    return Precision(dtype) if computes(device, dtype) else fastest(device)


def fastest(device: torch.device) -> Precision:
    """bfloat16 where the device has instructions for it, else float32 with a note."""
    if computes(device, torch.bfloat16):
        return Precision(torch.bfloat16)
    tensor_cores = "; --amp-dtype float16 is for such GPUs" if device.type == "cuda" else ""
    return Precision(torch.float32, f"float32, since {_subject(device)} has no bfloat16 instructions{tensor_cores}")


@cache
def computes(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the device has instructions for products in bfloat16 or float16."""
    if device.type == "cuda":
        return dtype == torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if not torch.backends.mkldnn.is_available():
        return False
    # What oneDNN may use, including its limit from the environment.
    allowed = torch.ops.mkldnn._is_mkldnn_bf16_supported, torch.ops.mkldnn._is_mkldnn_fp16_supported
    if not allowed[dtype == torch.float16]():
        return False
    has = torch.cpu.get_capabilities()
    if has.get("architecture") != "x86_64":  # on Arm oneDNN checks for the instructions themselves
        return True
    if dtype == torch.float16:
        return bool(has["avx512_fp16"] or has["amx_fp16"])
    limited = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in WITHOUT_BFLOAT16
    return not limited and bool(has["avx512_bf16"] or has["amx_bf16"] or has["avx_ne_convert"])


@cache
def _refusal(kind: str, dtype: torch.dtype) -> str:
    """torch's error if the device cannot compute a step's products and their gradients; empty if it can."""
    try:
        image = torch.ones(2, 2, 4, 4, device=kind, requires_grad=True)
        weight = torch.ones(2, 2, 2, 2, device=kind, requires_grad=True)
        matrix = torch.ones(8, 8, device=kind, requires_grad=True)
        with torch.autocast(kind, dtype=dtype):
            x = F.conv_transpose2d(F.conv2d(image, weight, stride=2), weight, stride=2)
            F.linear(x.flatten(1).view(-1, 8), matrix).float().sum().backward()
    except (RuntimeError, ValueError) as error:
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return ""


def _subject(device: torch.device) -> str:
    return "this GPU" if device.type == "cuda" else "this processor"
