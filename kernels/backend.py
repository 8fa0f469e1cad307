"""Which implementation an op runs: its Triton kernel, its fast plain version for a CPU, or its specification.

The choice holds for the whole process, all threads alike, and is read when an op is called (under torch.compile:
when it is traced). "reference" is the specification, reference.py. "auto" takes the Triton kernel for CUDA tensors
where triton is installed, cpu.py for plain CPU tensors, and the specification elsewhere; "triton" also takes the
kernel for CPU tensors under Triton's interpreter (TRITON_INTERPRET=1, set before triton is imported). float64 is never
computed by a kernel.
"""

from __future__ import annotations

from importlib.util import find_spec
from types import TracebackType
from typing import Literal

import torch
from torch import Tensor

Backend = Literal["auto", "triton", "reference"]
_CHOICES = ("auto", "triton", "reference")
_chosen: Backend = "auto"
_INSTALLED = find_spec("triton") is not None
# Plain values, since torch.compile traces `runs_triton`: it need not look into Triton's settings.
_interpreting = False


def interpreted() -> bool:
    """Whether Triton kernels run under its interpreter, on a CPU; imports triton where it is installed."""
    if not _INSTALLED:
        return False
    import triton

    return bool(triton.knobs.runtime.interpret)


class use_backend:  # noqa: N801 - a function to its users: `use_backend("reference")` or `with use_backend(...)`
    """Choose the backend from here on, or inside a `with` block only.

    Raises ValueError for a name that is not "triton", "reference" or "auto", and for "triton" where Triton kernels
    cannot run: without triton, or with neither a CUDA GPU nor the interpreter.
    """

    def __init__(self, backend: Backend) -> None:
        global _chosen, _interpreting
        if backend not in _CHOICES:
            raise ValueError(f"backend {backend!r}: must be one of {', '.join(_CHOICES)}")
        if backend == "triton":
            _interpreting = interpreted()
        if backend == "triton" and not _INSTALLED:
            raise ValueError('backend "triton": triton is not installed; pip install triton (Linux), or use "auto"')
        if backend == "triton" and not (torch.cuda.is_available() or _interpreting):
            raise ValueError(
                'backend "triton": needs a CUDA GPU, or TRITON_INTERPRET=1 in the environment to interpret its '
                'kernels on a CPU (for tests: very slow); use "auto" or "reference"'
            )
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
        return _chosen == "triton" or _INSTALLED
    return _chosen == "triton" and x.device.type == "cpu" and _interpreting
