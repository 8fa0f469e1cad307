"""What the tests of NT-Xent's Triton kernels share: inputs, results, and how they are compared."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import kernel_inputs
import pytest
import torch
from guards import GuardedAllocator
from tolerances import TOLERANCES, close
from torch import Tensor

from kernels import nt_xent, use_backend
from kernels.backend import interpreted
from kernels.nt_xent import reference

if not interpreted():
    pytest.skip("Triton's interpreter is off: a GPU runs test_kernels_gpu.py instead", allow_module_level=True)

from kernels.nt_xent import kernel_calls, launch

views = functools.partial(kernel_inputs.views, dtype=torch.float32)
# Compute capability and number of processors: every table of tiles, columns split over programs or not.
DEVICES = [(80, 1), (90, 1), (90, 132)]


@pytest.fixture(autouse=True)
def _kernel() -> Iterator[None]:
    with use_backend("triton"):
        yield


@pytest.fixture(autouse=True)
def _exact(exact_products: None) -> None:
    """Operands are not rounded, but in the tests of rounded products."""


@pytest.fixture(params=["small", "large", "split"])
def either_path(request: pytest.FixtureRequest) -> Iterator[None]:
    """The small kernel; the large ones; and these with columns split over programs, by 9.0's tiles."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "small":
            patch.setattr(launch, "SMALL_TILES", set())
        if request.param == "split":
            patch.setattr(kernel_calls, "_capability", lambda index: 90)
            patch.setattr(kernel_calls, "_processors", lambda index: 132)
        yield


def results(a: Tensor, b: Tensor, upstream: Tensor, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    a, b = (view.detach().requires_grad_() for view in (a, b))
    loss = nt_xent(a, b, **options)
    loss.backward(upstream.to(loss.dtype))
    assert a.grad is not None and b.grad is not None
    return loss.detach(), a.grad, b.grad


def expected(a: Tensor, b: Tensor, upstream: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    with use_backend("reference"):
        return results(a.double(), b.double(), upstream, temperature=temperature)


def compare(found: Tensor, exact: Tensor, raw: Tensor, temperature: float, upstream: Tensor, error: float) -> None:
    """A gradient: `error` for similarities, times what multiplies them, and one rounding to the embeddings' dtype."""
    assert found.dtype == raw.dtype and found.shape == raw.shape
    norm = raw.double().norm(dim=-1, keepdim=True).clamp_min(reference.EPS)
    factor = upstream.double().abs()[..., None, None] / norm / (temperature * 2 * raw.shape[-2])
    # The interpreter cuts bfloat16 off where a device rounds.
    digits = TOLERANCES[raw.dtype][1] * (2.0 if raw.dtype == torch.bfloat16 else 1.0)
    rounding = digits * exact.abs() + (1e-7 if raw.dtype == torch.float16 else 0.0)
    assert ((found.double() - exact).abs() <= error / min(temperature, 1.0) * factor + rounding).all()


def check(
    a: Tensor, b: Tensor, given: float | Tensor, patch: pytest.MonkeyPatch, precision: str = "tf32", error: float = 1e-5
) -> None:
    """Loss and gradient of the kernels, in guarded buffers, against the specification in float64."""
    upstream = torch.randn(a.shape[:-2], generator=torch.Generator().manual_seed(1))
    temperature = float(given)
    exact = expected(a, b, upstream, given)
    guarded = GuardedAllocator(patch, launch)
    found = results(a, b, upstream, temperature=given, precision=precision)
    guarded.check()
    patch.undo()
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0].double(), exact[0], **close(torch.float32, error * 1e5 / min(temperature, 1.0)))
    compare(found[1], exact[1], a, temperature, upstream, error)
    compare(found[2], exact[2], b, temperature, upstream, error)
