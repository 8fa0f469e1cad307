"""Shared by the kernels' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
