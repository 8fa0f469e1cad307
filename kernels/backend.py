"""Which implementation an op runs: its Triton kernel, its fast version for CPUs, or its specification.

The choice applies to all threads of the process and is read when an op is called (under torch.compile: when it is
traced). "reference" is the specification, reference.py. "auto" uses the Triton kernel for CUDA tensors where Triton is
installed and can build, cpu.py for plain CPU tensors, and the specification otherwise; "triton" also uses the kernel
for CPU tensors under Triton's interpreter (TRITON_INTERPRET=1, set before triton is imported). No kernel computes in
float64.

Triton needs a C compiler, which not every machine with a GPU has. So an empty kernel is built once a process, when
"auto" first sees a CUDA tensor or when "triton" is chosen.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

MAX_GRID = 65_535  # programs on the second and third axis of a CUDA launch: stacked losses or priors
Backend = Literal["auto", "triton", "reference"]
_CHOICES = ("auto", "triton", "reference")
_chosen: Backend = "auto"
_INSTALLED = find_spec("triton") is not None
# Plain values, so that torch.compile, which traces `runs_triton`, need not trace Triton's settings.
_interpreting = False
_builds: bool | None = None  # None until tried
_failure = ""  # why Triton cannot build

REMEDY = "install a C compiler and Python's headers (Debian and Ubuntu: gcc, python3-dev)"


def interpreted() -> bool:
    """Whether Triton's interpreter is on. Imports triton where it is installed."""
    if not _INSTALLED:
        return False
    import triton

    return bool(triton.knobs.runtime.interpret)


def _try_to_build() -> str:
    """Build and launch an empty kernel. Returns why that failed, on one line, or ""."""
    try:
        from kernels import triton_probe

        triton_probe.launch()
    except subprocess.CalledProcessError as error:
        command = error.cmd if isinstance(error.cmd, str) else error.cmd[0]
        return f"{Path(command).name} ended with exit code {error.returncode}"
    except Exception as error:  # noqa: BLE001 - any failure here means that no kernel can run
        lines = str(error).strip().splitlines()
        return lines[0] if lines else type(error).__name__
    return ""


def _can_build() -> bool:
    """Whether Triton can build kernels here; tried once a process."""
    global _builds, _failure
    if _builds is None:
        _failure = _try_to_build()
        _builds = not _failure
    return _builds


def _probe_triton(device: torch.device) -> None:
    """Try Triton before the first kernel; if it cannot build, warn once, and "auto" runs the plain versions."""
    # A fake tensor can be on CUDA without a GPU, and a graph capture must hold only the caller's launches.
    if not torch.cuda.is_available() or torch.cuda.is_current_stream_capturing():
        return
    with torch.cuda.device(device):  # or every rank would create a context on the first GPU
        builds = _can_build()
    if not builds:
        warnings.warn(
            f"Triton cannot build its kernels here ({_failure}); the plain versions, which are slower, run instead. "
            f'To use the kernels, {REMEDY}; the backend "reference" (--kernels reference) silences this',
            RuntimeWarning,
            stacklevel=3,
        )


def _check_triton() -> None:
    """Raise ValueError where Triton's kernels cannot run."""
    if not _INSTALLED:
        raise ValueError('backend "triton": triton is not installed; pip install triton (Linux), or use "auto"')
    if not (torch.cuda.is_available() or _interpreting):
        raise ValueError(
            'backend "triton": needs a CUDA GPU, or TRITON_INTERPRET=1 in the environment to interpret its '
            'kernels on a CPU (for tests; very slow); use "auto" or "reference"'
        )
    if _interpreting and tuple(int(part) for part in np.__version__.split(".")[:2]) >= (2, 4):
        raise ValueError(
            f'backend "triton": Triton\'s interpreter fails under NumPy {np.__version__}; '
            "pip install 'numpy<2.4', or unset TRITON_INTERPRET"
        )
    if not _interpreting and not _can_build():
        raise ValueError(
            f'backend "triton": Triton cannot build its kernels here ({_failure}); {REMEDY}, or use "auto" or '
            '"reference"'
        )


class use_backend:  # noqa: N801 - a function to its users: `use_backend("reference")` or `with use_backend(...)`
    """Choose the backend from now on, or only inside a `with` block.

    Raises:
        ValueError: for a name other than "triton", "reference" and "auto"; for "triton" without triton, with neither a
            CUDA GPU nor the interpreter, or where Triton cannot build or interpret.
    """

    def __init__(self, backend: Backend) -> None:
        global _chosen, _interpreting
        if backend not in _CHOICES:
            raise ValueError(f"backend {backend!r}: must be one of {', '.join(_CHOICES)}")
        if backend == "triton":
            _interpreting = interpreted()
            _check_triton()
        self._previous = _chosen
        _chosen = backend

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _chosen
        _chosen = self._previous


def backend() -> Backend:
    """The current backend."""
    return _chosen


def runs_triton(x: Tensor) -> bool:
    """Whether an op on tensors like `x` runs its Triton kernel, by the current backend, the device and the dtype."""
    if _chosen == "reference" or x.dtype == torch.float64:
        return False
    if x.device.type == "cuda":
        if _builds is None and _INSTALLED and not torch.compiler.is_compiling():  # torch.compile needs gcc itself
            _probe_triton(x.device)
        return _chosen == "triton" or (_INSTALLED and _builds is not False)
    return _chosen == "triton" and x.device.type == "cpu" and _interpreting


def inside_transform() -> bool:
    """Whether a functorch transform (torch.func.grad, vmap) or forward-mode differentiation is going on.

    Only specifications have rules for them. False while torch.compile traces.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.maybe_current_level() is not None or forward_ad._current_level >= 0


def runs_kernel(x: Tensor, stack: int) -> bool:
    """Whether an op on x launches its kernel: not inside a transform, nor for a stack that no launch takes."""
    return runs_triton(x) and stack <= MAX_GRID and not inside_transform()


def plain_cpu(*values: object) -> bool:
    """Whether every tensor among `values` is an ordinary CPU tensor, so that NumPy can read its memory.

    False under torch.compile and functorch transforms (vmap, grad), and for fake tensors and other subclasses.
    """
    if torch.compiler.is_compiling() or sys.byteorder != "little":  # cpu.py reads the halves of 64-bit words
        return False
    if inside_transform():
        return False
    modes = torch._C._TorchDispatchModeKey
    if any(torch._C._get_dispatch_mode(mode) for mode in (modes.FAKE, modes.PROXY, modes.FUNCTIONAL)):
        return False
    tensors = [value for value in values if isinstance(value, Tensor)]
    return all(type(x) in (Tensor, torch.nn.Parameter) and x.device.type == "cpu" for x in tensors)
