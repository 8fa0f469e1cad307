"""Shared by the kernels' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from kernels import use_backend
from kernels.backend import interpreted


@pytest.fixture(params=["reference", "auto", "triton"])
def each_backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test on the specification, on what "auto" chooses for CPU tensors, and on the kernel.

    (The kernel's float64 is the specification's.)
    """
    if request.param == "triton" and not interpreted():
        pytest.skip("Triton's interpreter is off: a GPU runs test_kernels_gpu.py instead")
    with use_backend(request.param):
        yield


@pytest.fixture
def exact_products() -> Iterator[None]:
    """NT-Xent's interpreted kernels do not round the operands of "tf32": what remains is an error of their own."""
    with pytest.MonkeyPatch.context() as patch:  # not the test's own, which may undo its changes early
        if interpreted():
            from kernels.nt_xent import kernel_calls

            patch.setitem(kernel_calls.OPERANDS, "tf32", torch.float32)
        yield
