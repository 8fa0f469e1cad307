"""NT-Xent's kernels with operands rounded to bfloat16 or float16."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nt_xent_checks import _exact, _kernel, compare, either_path, expected, results, views
from tolerances import close
from torch import Tensor

from kernels.nt_xent import kernel_calls, reference

__all__ = ["_exact", "_kernel", "either_path"]  # fixtures


@pytest.mark.parametrize("temperature", [0.02, 0.5, torch.tensor(0.1)])
@pytest.mark.parametrize("count, width", [(9, 20), (70, 100), (20, 300)])
@pytest.mark.parametrize("precision", ["bf16", "tf32"])
@pytest.mark.usefixtures("either_path")
def test_rounded_products(
    temperature: float | Tensor, count: int, width: int, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is that of rounded unit embeddings; the gradient's weights are rounded once more."""
    monkeypatch.setitem(kernel_calls.OPERANDS, "tf32", torch.float16)
    a, b = views(count, width)
    unit = reference._normalize(torch.cat((a, b)))[0]
    rounded = {
        "bf16": (unit.view(torch.int32) & -(2**16)).view(torch.float32),  # which the interpreter truncates
        "tf32": unit.half(),
    }[precision].double()
    logits = (rounded @ rounded.mT / float(temperature)).fill_diagonal_(float("-inf"))
    positive = torch.arange(2 * count).roll(count)
    loss, *grads = results(a, b, torch.tensor(0.7), temperature=temperature, precision=precision)
    twin = torch.nn.functional.cross_entropy(logits, positive)
    torch.testing.assert_close(loss.double(), twin, **close(torch.float32, 1.0 / float(temperature)))
    exact = expected(a, b, torch.tensor(0.7), temperature)
    for grad, want, raw in zip(grads, exact[1:], (a, b), strict=True):
        compare(grad, want, raw, float(temperature), torch.tensor(0.7), {"bf16": 2.0**-7, "tf32": 2.0**-11}[precision])


def test_tf32_rounds_better_than_bf16() -> None:
    """By the three bits more that it has; tensor cores cut float32 off, whose errors are then those of bfloat16."""
    a, b = views(150, 128)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(kernel_calls.OPERANDS, "tf32", torch.float16)
        _, *fine = results(a, b, torch.tensor(1.0), temperature=0.07, precision="tf32")
    _, *coarse = results(a, b, torch.tensor(1.0), temperature=0.07, precision="bf16")
    _, *exact = expected(a, b, torch.tensor(1.0), 0.07)
    for grad, rough, want in zip(fine, coarse, exact, strict=True):
        assert (grad - want).norm() < (rough - want).norm() / 6
        assert (grad - want).norm() < 1e-3 * want.norm()


@pytest.mark.usefixtures("either_path")
def test_small_weights_are_kept() -> None:
    """float16 has no normal numbers below 6e-5. The first image's gradient comes from weights of 1e-7 alone."""
    a, _ = views(60, 64)
    a[1:, 0] = 0.0
    a[0] = torch.eye(64)[0]
    b = a.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(kernel_calls.OPERANDS, "tf32", torch.float16)
        _, *grads = results(a, b, torch.tensor(1.0), temperature=0.06)
    _, *exact = expected(a, b, torch.tensor(1.0), 0.06)
    for grad, want in zip(grads, exact, strict=True):
        assert 0 < (grad[0] - want[0]).norm() < 1e-2 * want[0].norm()


@pytest.mark.parametrize("count", [5, 70])
@pytest.mark.usefixtures("either_path")
def test_weights_at_a_tiny_temperature_fit_into_float16(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-sum-exps are so large there that their rounding alone would make a probability of more than 1."""
    monkeypatch.setitem(kernel_calls.OPERANDS, "tf32", torch.float16)
    a, b = views(count, 8)
    for found in results(a, b, torch.tensor(0.7), temperature=1e-8, precision="tf32"):
        assert found.isfinite().all()
