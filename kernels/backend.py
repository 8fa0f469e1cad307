"""Which implementation an op runs: its reference in plain torch, or its Triton kernel.

The choice holds for the whole process, all threads alike, and is read when an op is called (under torch.compile:
when it is traced). This version ships the references only, so "auto" is the reference everywhere and asking for
"triton" is refused.
"""

from __future__ import annotations

from types import TracebackType
from typing import Literal

Backend = Literal["auto", "triton", "reference"]
_CHOICES = ("auto", "triton", "reference")
_chosen: Backend = "auto"


class use_backend:  # noqa: N801 - a function to its users: `use_backend("reference")` or `with use_backend(...)`
    """Choose the backend from here on, or inside a `with` block only.

    Raises ValueError for a name that is not "triton", "reference" or "auto", and for "triton" where no Triton
    kernels are to be had.
    """

    def __init__(self, backend: Backend) -> None:
        global _chosen
        if backend not in _CHOICES:
            raise ValueError(f"backend {backend!r}: must be one of {', '.join(_CHOICES)}")
        if backend == "triton":
            raise ValueError('backend "triton": this version ships no Triton kernels; use "auto" or "reference"')
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
