"""NT-Xent's kernels against the specification in float64: every tiling, both paths, rounded products, guarded buffers.

test_nt_xent.py runs each of its tests on the kernels as well.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nt_xent_checks import DEVICES, _exact, _kernel, check, either_path, expected, results, views
from tolerances import close
from torch import Tensor

from kernels import nt_xent
from kernels.nt_xent import kernel_calls, launch, reference, tiles

__all__ = ["_exact", "_kernel", "either_path"]  # fixtures


# Every table of tiles, columns split over programs or not; the small kernel with all anchors at once, in column blocks
# and in row blocks; embeddings in one part and in two; last tiles that are part empty.
@pytest.mark.parametrize("capability, processors", DEVICES)
@pytest.mark.parametrize(
    "count, width",
    [
        (1, 1),
        (1, 300),
        (2, 130),
        (3, 7),
        (31, 100),
        (31, 130),
        (63, 1),
        (64, 64),
        (64, 128),
        (65, 7),
        (65, 100),
        (100, 64),
        (33, 256),
        (129, 64),
        (129, 128),
        pytest.param(65, 300, marks=pytest.mark.slow),
        (20, 512),
        (200, 7),
        pytest.param(257, 100, marks=pytest.mark.slow),
    ],
)
def test_every_tiling(
    count: int, width: int, capability: int, processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for temperature in (0.02, 0.5) if capability == 90 else (0.1,):
        monkeypatch.setattr(kernel_calls, "_capability", lambda index: capability)
        monkeypatch.setattr(kernel_calls, "_processors", lambda index: processors)
        check(*views(count, width), temperature, monkeypatch)


@pytest.mark.parametrize("capability, processors", [*DEVICES, (80, 132)])
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 100, pytest.param(257, marks=pytest.mark.slow)])
def test_large_kernels(count: int, capability: int, processors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take every size, whatever the small kernel takes from them."""
    for width, temperature in ((7, 0.02), (65, 0.5)):
        monkeypatch.setattr(launch, "SMALL_TILES", set())
        monkeypatch.setattr(kernel_calls, "_capability", lambda index: capability)
        monkeypatch.setattr(kernel_calls, "_processors", lambda index: processors)
        check(*views(count, width), temperature, monkeypatch)


def test_columns_are_split_where_rows_are_few() -> None:
    """An H200 has 132 processors; two programs fit on each."""
    few = [tiles.splits(programs, columns, 264) for programs, columns in ((32, 32), (64, 64), (128, 128))]
    assert few == [8, 4, 2]
    assert tiles.splits(256, 256, 264) == 1  # the device is full
    assert tiles.splits(2, 1, 264) == 1  # there is nothing to split
    assert tiles.splits(157, 313, 132) == 4  # or the second round would run on 25 processors


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(5, 12), (140, 20), (2, 3, 300)], ids=str)
def test_half_precision(dtype: torch.dtype, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    check(*views(*shape, dtype=dtype), 0.5, monkeypatch)


@pytest.mark.parametrize("temperature", [1e-3, 1e-2, 0.025, 0.0251, 0.07, 1.0, 10.0, 1e3])
@pytest.mark.usefixtures("either_path")
def test_temperatures(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = views(12, 16)
    empty = torch.empty
    for given in (temperature, torch.tensor(temperature), torch.tensor(temperature, dtype=torch.float64)):
        check(a, b, given, monkeypatch)
        assert torch.empty is empty


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), float("-inf")])
@pytest.mark.usefixtures("either_path")
def test_bad_temperature_tensor_gives_nan(temperature: float) -> None:
    loss, grad_a, grad_b = results(*views(4, 8), torch.tensor(1.0), temperature=torch.tensor(temperature))
    assert loss.isnan() and grad_a.isnan().all() and grad_b.isnan().all()


@pytest.mark.usefixtures("either_path")
@pytest.mark.parametrize("shape", [(3, 4, 6), (2, 1, 5), (2, 70, 20)], ids=str)
def test_stacked_losses_with_their_own_upstream(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    check(*views(*shape), 0.5, monkeypatch)


@pytest.mark.usefixtures("either_path")
def test_strided_views_and_an_expanded_upstream() -> None:
    a, b = views(3, 16, 36)
    strided = [
        (a[:, ::2, ::3], b[:, 1::2, 1::3]),
        (a[::2, :, :10], b[1:, :, -10:]),
        (a.transpose(0, 1)[:, :, 5:], b.transpose(0, 1)[:, :, 5:]),
        (a.mT[:, :, :9], b.mT[:, :, :9]),
        (a[:1].expand(3, -1, -1), b),
    ]
    for x, y in strided:
        one = torch.ones(()).expand(x.shape[0])
        found = results(x, y, one, temperature=0.5)
        torch.testing.assert_close(
            found, results(x.contiguous(), y.contiguous(), one.clone(), temperature=0.5), atol=0, rtol=0
        )
        torch.testing.assert_close(found[0].double(), expected(x, y, one, 0.5)[0], **close(torch.float32))


@pytest.mark.usefixtures("either_path")
def test_embeddings_without_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = views(6, 8)
    a[2] = 0.0
    b[3] *= 1e-12
    a[5] = 0.0
    b[5] = 0.0
    check(a, b, 0.5, monkeypatch)
    grad_a = results(a, b, torch.tensor(1.0), temperature=0.5)[1]
    assert (grad_a[2] == 0).all() and (grad_a[0] != 0).all()


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-30, 1e-12, 1e-8, 1e-3, 1e10, 1e20, 3e38])
@pytest.mark.usefixtures("either_path")
def test_huge_and_tiny_embeddings(scale: float) -> None:
    a, b = views(8, 32)
    a, b = a / a.abs().max() * scale, b / b.abs().max() * scale
    exact = expected(a, b, torch.tensor(1.0), 0.5)
    found = results(a, b, torch.tensor(1.0), temperature=0.5)
    torch.testing.assert_close(found[0].double(), exact[0], **close(torch.float32))
    for grad, raw, want in zip(found[1:], (a, b), exact[1:], strict=True):
        size = raw.double().norm(dim=-1, keepdim=True).clamp_min(reference.EPS)
        # Gradients below 1e-38 keep few digits, or none.
        torch.testing.assert_close(grad.double() * size, want * size, atol=1e-5 if scale < 1e30 else 1e-2, rtol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("count, at, precision", [(6, 3, "tf32"), (6, 3, "bf16"), (1, 0, "tf32"), (34, 33, "tf32")])
@pytest.mark.usefixtures("either_path")
def test_bad_embedding_gives_nan_everywhere(bad: float, count: int, at: int, precision: str) -> None:
    a, b = views(2, count, 8)
    b[1, at, 5] = bad
    loss, grad_a, grad_b = results(a, b, torch.ones(2), temperature=0.5, precision=precision)
    assert loss[0].isfinite() and grad_a[0].isfinite().all() and grad_b[0].isfinite().all()
    assert loss[1].isnan() and grad_a[1].isnan().all() and grad_b[1].isnan().all()
    b[1] = torch.nan
    loss, grad_a, grad_b = results(a, b, torch.ones(2), temperature=0.01, precision=precision)
    assert loss[1].isnan() and grad_a[1].isnan().all() and grad_b[1].isnan().all()


@pytest.mark.parametrize("precision", ["bf16", "tf32", "ieee"])
@pytest.mark.parametrize("temperature", [0.02, 0.3, torch.tensor(0.1)])
@pytest.mark.usefixtures("either_path")
def test_one_image_has_no_negatives(precision: str, temperature: float | Tensor) -> None:
    for seed in range(5):
        pair = views(1, 9, seed=seed)
        loss, grad_a, grad_b = results(*pair, torch.tensor(3.0), temperature=temperature, precision=precision)
        assert loss == 0 and (grad_a == 0).all() and (grad_b == 0).all()


def test_exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ((9, 20), (70, 130), (20, 300)):
        check(*views(*shape), 0.1, monkeypatch, precision="ieee")


def test_runs_the_specification() -> None:
    """Embeddings longer than 512, and a temperature with a gradient."""
    a, b = views(4, 513)
    torch.testing.assert_close(nt_xent(a, b, temperature=0.5), reference.nt_xent(a, b, temperature=0.5))
    temperature = torch.tensor(0.5, requires_grad=True)
    nt_xent(*views(4, 8), temperature=temperature).backward()
    assert temperature.grad is not None and temperature.grad != 0


@pytest.mark.parametrize("given", [0.5, torch.tensor(0.5)], ids=str)
def test_opcheck_passes(given: float | Tensor) -> None:
    """Schema, shapes without data, gradient and tracing, as torch.library.opcheck sees them."""
    temperature = (0.0, given) if isinstance(given, Tensor) else (given, None)
    a, b = (view.requires_grad_() for view in views(2, 3, 8, dtype=torch.bfloat16))
    torch.library.opcheck(launch.nt_xent_small, (a, b, *temperature, "tf32"))
    torch.library.opcheck(launch.nt_xent_large, (a, b, *temperature, "bf16"))
    with torch.no_grad():
        _, unit, rnorm, weight = launch.nt_xent_large(a, b, *temperature, "tf32")
    saved = (torch.ones(2), unit, rnorm, weight)
    torch.library.opcheck(launch.nt_xent_backward, (*saved, *temperature, "tf32", 8, torch.float16))
    gathered = a.detach()
    torch.library.opcheck(launch.nt_xent_lse, (gathered[:, 1:], gathered, 1, *temperature, "tf32"))
    lse = torch.ones(2, 3)
    torch.library.opcheck(launch.nt_xent_grad, (gathered[:, 1:], gathered, lse, 1, *temperature, "tf32"))


@pytest.mark.usefixtures("either_path")
def test_under_the_compiler() -> None:
    a, b = views(5, 8)

    def both(a: Tensor, b: Tensor, temperature: Tensor) -> Tensor:
        return nt_xent(2.0 * a, b, temperature=0.5) + nt_xent(a, b, temperature=temperature)

    def run(function: Any) -> tuple[Tensor, Tensor, Tensor]:
        x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
        loss = function(x, y, torch.tensor(0.2))
        loss.backward()
        assert x.grad is not None and y.grad is not None
        return loss.detach(), x.grad, y.grad

    torch._dynamo.reset()
    compiled = run(torch.compile(both, fullgraph=True, backend="aot_eager"))
    torch.testing.assert_close(compiled, run(both), atol=0, rtol=0)


def test_half_gradients_survive_a_scaled_loss() -> None:
    """The small kernel's gradient is float32 until it is scaled by the upstream one: float16 loses 1e-10, not 6e-6."""
    a, b = (1e4 * view for view in views(40, 64))
    grads = results(a.half().clamp(-6e4, 6e4), b.half(), torch.tensor(65536.0), temperature=10.0)[1:]
    assert all((grad != 0).float().mean() > 0.5 for grad in grads)
