"""An empty kernel, to try whether Triton can build and launch kernels on this machine."""

from __future__ import annotations

import triton


@triton.jit
def empty_kernel():
    """Do nothing."""


def launch() -> None:
    """Build and launch it on the current device. Raises what Triton raises if it cannot."""
    empty_kernel[(1,)]()
