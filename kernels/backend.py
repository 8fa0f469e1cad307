"""Which implementation an op runs: its Triton kernel, its fast plain version for a CPU, or its specification.

The choice holds for the whole process, all threads alike, and is read when an op is called (under torch.compile:
when it is traced). "reference" is the specification, reference.py. "auto" takes the Triton kernel for CUDA tensors
where Triton is installed and can build, cpu.py for plain CPU tensors, and the specification elsewhere; "triton" also
takes the kernel for CPU tensors under Triton's interpreter (TRITON_INTERPRET=1, set before triton is imported). float64
is never computed by a kernel.

Whether Triton can build is tried once a process, by an empty kernel, when "auto" first meets a CUDA tensor or "triton"
is chosen: it needs a C compiler, which not every machine with a GPU has.
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

Backend = Literal["auto", "triton", "reference"]
_CHOICES = ("auto", "triton", "reference")
_chosen: Backend = "auto"
_INSTALLED = find_spec("triton") is not None
# Plain values, since torch.compile traces `runs_triton`: it need not look into Triton's settings.
_interpreting = False
_builds: bool | None = None  # None until it was tried
_failure = ""  # why Triton cannot build

REMEDY = "install a C compiler and Python's headers (Debian and Ubuntu: gcc, python3-dev)"


def interpreted() -> bool:
    """Whether Triton kernels run under its interpreter, on a CPU; imports triton where it is installed."""
    if not _INSTALLED:
        return False
    import triton

    return bool(triton.knobs.runtime.interpret)


def _try_to_build() -> str:
    """Build and launch an empty kernel; why that fails, in a few words, or "" where it does not."""
    try:
        from kernels import triton_probe

        triton_probe.launch()
    except subprocess.CalledProcessError as error:
        command = error.cmd if isinstance(error.cmd, str) else error.cmd[0]
        return f"{Path(command).name} ended with exit code {error.returncode}"
    except Exception as error:  # noqa: BLE001 - whatever it is: without this kernel there is no other
        lines = str(error).strip().splitlines()
        return lines[0] if lines else type(error).__name__
    return ""


def _builds_here() -> bool:
    """Whether Triton can build here, tried once a process."""
    global _builds, _failure
    if _builds is None:
        _failure = _try_to_build()
        _builds = not _failure
    return _builds


def _meet_cuda(device: torch.device) -> None:
    """Try Triton before its first kernel; where it cannot build, say so once, and "auto" does without."""
    # A fake tensor may be of CUDA where there is none, and what is captured must be the caller's own launches.
    if not torch.cuda.is_available() or torch.cuda.is_current_stream_capturing():
        return
    with torch.cuda.device(device):  # lest every rank has a context on the first GPU too
        builds = _builds_here()
    if not builds:
        warnings.warn(
            f"Triton cannot build its kernels here ({_failure}); plain versions, which are slower, run in their place. "
            f'To have the kernels, {REMEDY}; the backend "reference" (--kernels reference) silences this',
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
            'kernels on a CPU (for tests: very slow); use "auto" or "reference"'
        )
    if _interpreting and tuple(int(part) for part in np.__version__.split(".")[:2]) >= (2, 4):
        raise ValueError(
            f'backend "triton": Triton\'s interpreter fails under NumPy {np.__version__}; '
            "pip install 'numpy<2.4', or leave TRITON_INTERPRET out"
        )
    if not _interpreting and not _builds_here():
        raise ValueError(
            f'backend "triton": Triton cannot build its kernels here ({_failure}); {REMEDY}, or use "auto" or '
            '"reference"'
        )


class use_backend:  # noqa: N801 - a function to its users: `use_backend("reference")` or `with use_backend(...)`
    """Choose the backend from here on, or inside a `with` block only.

    Raises ValueError for a name that is not "triton", "reference" or "auto", and for "triton" where Triton kernels
    cannot run: without triton, with neither a CUDA GPU nor the interpreter, or where Triton cannot build or interpret.
    """

    def __init__(self, backend: Backend) -> None:
        global _chosen, _interpreting
        if backend not in _CHOICES:
            raise ValueError(f"backend {backend!r}: must be one of {', '.join(_CHOICES)}")
        if backend == "triton":
            _interpreting = interpreted()
            _check_triton()
        self._before = _chosen
        _chosen = backend

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _chosen
        _chosen = self._before


def backend() -> Backend:
    """The backend in force."""
    return _chosen


def runs_triton(x: Tensor) -> bool:
    """Whether an op on tensors like `x` runs its Triton kernel: by the backend in force, the device and the dtype."""
    if _chosen == "reference" or x.dtype == torch.float64:
        return False
    if x.device.type == "cuda":
        if _builds is None and _INSTALLED and not torch.compiler.is_compiling():  # a compiler needs gcc for itself
            _meet_cuda(x.device)
        return _chosen == "triton" or (_INSTALLED and _builds is not False)
    return _chosen == "triton" and x.device.type == "cpu" and _interpreting


def plain_cpu(*values: object) -> bool:
    """Whether every tensor among `values` holds numbers in this process's memory, so that NumPy may read them.

    Not so while a compiler traces, under a functorch transform (vmap, grad), or for a fake tensor or other subclass.
    """
    if torch.compiler.is_compiling() or sys.byteorder != "little":  # halves of 64-bit words are read as words
        return False
    if torch._C._functorch.maybe_current_level() is not None:
        return False
    kinds = torch._C._TorchDispatchModeKey
    if any(torch._C._get_dispatch_mode(kind) for kind in (kinds.FAKE, kinds.PROXY, kinds.FUNCTIONAL)):
        return False
    tensors = [value for value in values if isinstance(value, Tensor)]
    return all(type(x) in (Tensor, torch.nn.Parameter) and x.device.type == "cpu" for x in tensors)
