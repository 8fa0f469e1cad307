"""The least that Triton can build and launch: whether it can at all, on this machine."""

from __future__ import annotations

import triton


@triton.jit
def empty_kernel():
    """Does nothing, and needs no tensor."""


def launch() -> None:
    """Build and launch it on the current device; raises whatever Triton does where it cannot."""
    empty_kernel[(1,)]()
