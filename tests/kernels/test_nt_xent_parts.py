"""The two parts of NT-Xent for many ranks, on its kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from guards import GuardedAllocator
from nt_xent_checks import DEVICES, _exact, _kernel, compare, either_path, expected, views
from tolerances import close
from torch import Tensor

from kernels import nt_xent_grad, nt_xent_lse, use_backend
from kernels.nt_xent import kernel_calls, launch

__all__ = ["_exact", "_kernel", "either_path"]  # fixtures


@pytest.mark.parametrize("sizes", [(70,), (1, 66, 3), (33, 37)], ids=str)
@pytest.mark.parametrize("temperature", [0.02, 0.5, torch.tensor(0.3)])
@pytest.mark.parametrize("capability, processors", DEVICES)
def test_parts_of_many_ranks(
    sizes: tuple[int, ...],
    temperature: float | Tensor,
    capability: int,
    processors: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = views(70, 40)
    a[4], b[6] = 0.0, 1e-12
    exact = expected(a, b, torch.tensor(1.0), temperature)
    gathered = torch.stack((a, b))
    starts = [sum(sizes[:rank]) for rank in range(len(sizes))]
    monkeypatch.setattr(kernel_calls, "_capability", lambda index: capability)
    monkeypatch.setattr(kernel_calls, "_processors", lambda index: processors)
    guarded = GuardedAllocator(monkeypatch, launch)
    parts = [
        nt_xent_lse(gathered[:, start : start + size], gathered, start, temperature=temperature)
        for start, size in zip(starts, sizes, strict=True)
    ]
    lse, losses = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    grads = [
        nt_xent_grad(gathered[:, start : start + size], gathered, lse, start, temperature=temperature)
        for start, size in zip(starts, sizes, strict=True)
    ]
    guarded.check()
    grad = torch.cat(grads, dim=1)
    factor = 1.0 / float(temperature)
    with use_backend("reference"):
        exact_lse, exact_losses = nt_xent_lse(gathered.double(), gathered.double(), 0, temperature=temperature)
    torch.testing.assert_close(lse.double(), exact_lse, **close(torch.float32, factor))
    torch.testing.assert_close(losses.double(), exact_losses, **close(torch.float32, factor))
    compare(grad[0], exact[1], a, float(temperature), torch.tensor(1.0), 1e-5)
    compare(grad[1], exact[2], b, float(temperature), torch.tensor(1.0), 1e-5)


@pytest.mark.parametrize("precision", ["bf16", "ieee"])
def test_parts_take_a_precision(precision: Any) -> None:
    gathered = torch.stack(views(10, 12))
    lse, loss = nt_xent_lse(gathered, gathered, 0, temperature=0.5, precision=precision)
    grad = nt_xent_grad(gathered, gathered, lse, 0, temperature=0.5, precision=precision)
    exact = expected(gathered[0], gathered[1], torch.tensor(1.0), 0.5)
    error = {"bf16": 2.0**-7, "ieee": 1e-5}[precision]
    torch.testing.assert_close(loss.double().mean(), exact[0], atol=2 * error, rtol=0)
    assert (loss.double().mean() != exact[0].float().double()) or precision == "ieee"
    for view in range(2):
        compare(grad[view], exact[1 + view], gathered[view], 0.5, torch.tensor(1.0), error)
    with pytest.raises(ValueError, match="precision 'fp8'"):
        nt_xent_lse(gathered, gathered, 0, temperature=0.5, precision="fp8")  # type: ignore[arg-type]


def test_parts_of_a_bad_embedding_are_nan() -> None:
    gathered = torch.stack(views(6, 8))
    gathered[1, 5, 2] = torch.nan
    lse, loss = nt_xent_lse(gathered[:, :2], gathered, 0, temperature=0.5)
    assert lse.isnan().all() and loss.isnan().all()
    grad = nt_xent_grad(gathered[:, :2], gathered, torch.zeros(2, 6), 0, temperature=0.5)
    assert grad.isnan().all()
