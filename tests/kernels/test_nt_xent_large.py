"""NT-Xent's kernels at sizes of several tiles, small batches and large, against the specification in float64.

test_nt_xent.py runs each of its tests on the kernels as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from guards import GuardedAllocator
from tolerances import close
from torch import Tensor

from kernels import nt_xent, nt_xent_grad, nt_xent_lse, use_backend
from kernels.backend import interpreted

if not interpreted():
    pytest.skip("Triton's interpreter is off: a GPU runs test_kernels_gpu.py instead", allow_module_level=True)

from kernels.nt_xent import launch

# Relative error of the operands, which the interpreter cuts to bfloat16 without rounding; it leaves tf32 whole.
OPERANDS = {"bf16": 2.0**-7, "tf32": 1e-5, "ieee": 1e-5}


@pytest.fixture(autouse=True)
def _kernel() -> Iterator[None]:
    with use_backend("triton"):
        yield


def views(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views that resemble each other, float32."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(*shape, generator=generator) for _ in range(2))
    return first, 0.4 * first + second


def results(a: Tensor, b: Tensor, upstream: Tensor, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
    loss = nt_xent(a, b, **options)
    loss.backward(upstream.to(loss.dtype))
    assert a.grad is not None and b.grad is not None
    return loss.detach(), a.grad, b.grad


def check(a: Tensor, b: Tensor, error: float, monkeypatch: pytest.MonkeyPatch | None = None, **options: Any) -> None:
    """Loss and gradients within `error` of float64's, relative to the largest gradient, under a random upstream."""
    upstream = torch.randn(a.shape[:-2], generator=torch.Generator().manual_seed(9)) + 2.0
    with use_backend("reference"):
        exact = results(a.double(), b.double(), upstream, **options)
    guarded = GuardedAllocator(monkeypatch, launch) if monkeypatch else None
    found = results(a, b, upstream, **options)
    if guarded:
        guarded.check()
    torch.testing.assert_close(found[0].double(), exact[0], atol=error, rtol=error)
    for ours, theirs in zip(found[1:], exact[1:], strict=True):
        assert ours.dtype == a.dtype
        size = theirs.abs().max()
        torch.testing.assert_close(ours.double() / size, theirs / size, atol=2 * error + 1e-5, rtol=0)


# Small: one program to sixteen; around a tile's edge. Large: a tile and a bit, and three.
@pytest.mark.parametrize("count", [1, 2, 31, 63, 64, 65, 100, 128, 129, 200])
@pytest.mark.parametrize("width", [7, 64, 100, 128])
def test_sizes(count: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if count == 1:
        loss, grad_a, grad_b = results(*views(1, width), torch.tensor(1.0), temperature=0.5)
        assert loss == 0 and (grad_a == 0).all() and (grad_b == 0).all()
    else:
        check(*views(count, width), 1e-5, monkeypatch, temperature=0.5)


@pytest.mark.parametrize("count, width", [(20, 130), (70, 256), (33, 300), (20, 512), (140, 200)])
def test_long_embeddings(count: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check(*views(count, width), 1e-5, monkeypatch, temperature=0.5)


@pytest.mark.parametrize("precision", list(OPERANDS))
@pytest.mark.parametrize("count", [40, 150])
@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
def test_precisions(count: int, precision: str, temperature: float) -> None:
    check(*views(count, 64), OPERANDS[precision] / min(temperature, 0.5), temperature=temperature, precision=precision)


@pytest.mark.parametrize("temperature", [1e-3, 0.01, 0.025, 0.026, 0.07, 1.0, 1e3])
@pytest.mark.parametrize("count", [40, 150])
def test_temperatures(count: int, temperature: float) -> None:
    """By a fixed shift above 0.025, by a running maximum below and for every tensor."""
    a, b = views(count, 32)
    check(a, b, 2e-6 / min(temperature, 0.2), temperature=temperature)
    as_number = nt_xent(a, b, temperature=temperature)
    as_tensor = nt_xent(a, b, temperature=torch.tensor(temperature))
    torch.testing.assert_close(as_tensor, as_number, **close(torch.float32, 1 / min(temperature, 1.0)))


@pytest.mark.parametrize("count", [40, 150])
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_temperature_tensors(count: int, temperature: float) -> None:
    loss, grad_a, grad_b = results(*views(count, 32), torch.tensor(1.0), temperature=torch.tensor(temperature))
    assert loss.isnan() and grad_a.isnan().all() and grad_b.isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [40, 150])
def test_low_precision_embeddings(count: int, dtype: torch.dtype) -> None:
    """Computed in float32; the gradient alone is rounded (cut off, by the interpreter)."""
    a, b = (view.to(dtype) for view in views(count, 64))
    check(a, b, 2.0**-7 if dtype == torch.bfloat16 else 2.0**-10, temperature=0.5)


@pytest.mark.parametrize("count", [40, 150])
def test_stacked_losses(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check(*views(3, count, 33), 1e-5, monkeypatch, temperature=0.3)


@pytest.mark.parametrize("count", [40, 150])
def test_strided_views(count: int) -> None:
    a, b = views(count, 96)
    check(a[:, ::3], b.T.contiguous().T[:, ::3], 1e-5, temperature=0.5)
    both = torch.randn(count, 2, 32)
    check(both[:, 0], both[:, 1], 1e-5, temperature=0.5)


@pytest.mark.parametrize("count", [40, 150])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_bad_embedding_spoils_its_own_loss_alone(count: int, bad: float) -> None:
    a, b = views(2, count, 16)
    b[1, count // 2, 5] = bad
    loss, grad_a, grad_b = results(a, b, torch.ones(2), temperature=0.5)
    assert loss[0].isfinite() and grad_a[0].isfinite().all() and grad_b[0].isfinite().all()
    assert loss[1].isnan() and grad_a[1].isnan().all() and grad_b[1].isnan().all()


@pytest.mark.parametrize("count", [40, 150])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e10, 1e20])
def test_huge_tiny_and_zero_embeddings(count: int, scale: float) -> None:
    a, b = views(count, 32)
    a[3] = 0.0
    check(a * scale, b * scale, 1e-5, temperature=0.5)
    _, grad_a, _ = results(a * scale, b * scale, torch.tensor(1.0), temperature=0.5)
    assert (grad_a[3] == 0).all()


@pytest.mark.parametrize("sizes", [(150,), (20, 100, 30), (1, 149)], ids=str)
@pytest.mark.parametrize("temperature", [0.01, 0.5])
def test_parts_of_many_ranks(sizes: tuple[int, ...], temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = views(150, 40)
    everyone = torch.stack((a, b))
    starts = torch.tensor((0, *sizes[:-1])).cumsum(0).tolist()
    guarded = GuardedAllocator(monkeypatch, launch)
    shares = list(zip(starts, everyone.split(sizes, dim=1), strict=True))
    parts = [nt_xent_lse(local, everyone, start, temperature=temperature) for start, local in shares]
    lse, losses = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    grads = [nt_xent_grad(local, everyone, lse, start, temperature=temperature) for start, local in shares]
    guarded.check()
    with use_backend("reference"):
        exact = results(a.double(), b.double(), torch.tensor(1.0), temperature=temperature)
    torch.testing.assert_close(losses.double().mean(), exact[0], **close(torch.float32, 1 / temperature))
    theirs = torch.stack(exact[1:])
    size = theirs.abs().max()
    torch.testing.assert_close(torch.cat(grads, dim=1).double() / size, theirs / size, atol=1e-3, rtol=0)


def test_the_same_again() -> None:
    for count in (40, 150):
        first = results(*views(count, 64), torch.tensor(1.0), temperature=0.5)
        again = results(*views(count, 64), torch.tensor(1.0), temperature=0.5)
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("op", ["nt_xent_small", "nt_xent_large"])
def test_opcheck(op: str, tensor: bool) -> None:
    a, b = (view.requires_grad_() for view in views(2, 20, 16))
    temperature = torch.tensor(0.5) if tensor else None
    torch.library.opcheck(getattr(launch, op), (a, b, 0.5, temperature, "tf32"))


def test_under_compile() -> None:
    def loss(a: Tensor, b: Tensor) -> Tensor:
        return 2.0 * nt_xent(a, b, temperature=0.5)

    for count in (20, 150):
        torch.compiler.reset()
        found = []
        for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
            a, b = (view.requires_grad_() for view in views(count, 16))
            value = function(a, b)
            value.backward()
            found.append((value.detach(), a.grad, b.grad))
        assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_memory_is_that_of_the_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of V x V is allocated."""
    guarded = GuardedAllocator(monkeypatch, launch)
    results(*views(200, 16), torch.tensor(1.0), temperature=0.5)
    assert max(buffer.numel() for buffer in guarded.buffers) <= 2 * 200 * 16 + 128
