"""NT-Xent's kernels against the specification in float64: every tiling, both paths, rounded products, guarded buffers.

test_nt_xent.py runs each of its tests on the kernels as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from guards import GuardedAllocator
from tolerances import TOLERANCES, close
from torch import Tensor

from kernels import nt_xent, nt_xent_grad, nt_xent_lse, use_backend
from kernels.backend import interpreted
from kernels.nt_xent import reference

if not interpreted():
    pytest.skip("Triton's interpreter is off: a GPU runs test_kernels_gpu.py instead", allow_module_level=True)

from kernels.nt_xent import launch, tiles


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
            patch.setattr(launch, "_capability", lambda index: 90)
            patch.setattr(launch, "_processors", lambda index: 132)
        yield


def views(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views that resemble each other, with norms from about 0.1 to 10 times the square root of D."""
    generator = torch.Generator().manual_seed(seed)
    size = 10.0 ** (2.0 * torch.rand(*shape[:-1], 1, generator=generator, dtype=torch.float64) - 1.0)
    first = torch.randn(*shape, generator=generator, dtype=torch.float64)
    second = 0.7 * first + torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (size * first).to(dtype), second.to(dtype)


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
    digits = TOLERANCES[raw.dtype][1] * (
        2.0 if raw.dtype == torch.bfloat16 else 1.0
    )  # truncated, not rounded: see below
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


# Every table of tiles, columns split over programs or not; the small kernel with all anchors at once, in column blocks
# and in row blocks; embeddings in one part and in two; last tiles that are part empty.
DEVICES = [(80, 1), (90, 1), (90, 132)]


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
        (65, 300),
        (20, 512),
        (257, 100),
    ],
)
def test_every_tiling(
    count: int, width: int, capability: int, processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for temperature in (0.02, 0.5) if capability == 90 else (0.1,):
        monkeypatch.setattr(launch, "_capability", lambda index: capability)
        monkeypatch.setattr(launch, "_processors", lambda index: processors)
        check(*views(count, width), temperature, monkeypatch)


@pytest.mark.parametrize("capability, processors", [*DEVICES, (80, 132)])
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 100, 257])
def test_large_kernels(count: int, capability: int, processors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take every size, whatever the small kernel takes from them."""
    for width, temperature in ((7, 0.02), (65, 0.5)):
        monkeypatch.setattr(launch, "SMALL_TILES", set())
        monkeypatch.setattr(launch, "_capability", lambda index: capability)
        monkeypatch.setattr(launch, "_processors", lambda index: processors)
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


@pytest.mark.parametrize("temperature", [0.02, 0.5, torch.tensor(0.1)])
@pytest.mark.parametrize("count, width", [(9, 20), (70, 100), (20, 300)])
@pytest.mark.parametrize("precision", ["bf16", "tf32"])
@pytest.mark.usefixtures("either_path")
def test_rounded_products(
    temperature: float | Tensor, count: int, width: int, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is that of rounded unit embeddings; the gradient's weights are rounded once more."""
    monkeypatch.setitem(launch.OPERANDS, "tf32", torch.float16)
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
        patch.setitem(launch.OPERANDS, "tf32", torch.float16)
        _, *fine = results(a, b, torch.tensor(1.0), temperature=0.07, precision="tf32")
    _, *coarse = results(a, b, torch.tensor(1.0), temperature=0.07, precision="bf16")
    _, *exact = expected(a, b, torch.tensor(1.0), 0.07)
    for grad, rough, want in zip(fine, coarse, exact, strict=True):
        assert (grad - want).norm() < (rough - want).norm() / 6
        assert (grad - want).norm() < 1e-3 * want.norm()


@pytest.mark.usefixtures("either_path")
def test_small_weights_are_kept() -> None:
    """Of float16, which has no normal numbers below 6e-5: two images far from all others, whose weights are 1e-7."""
    a, b = views(200, 64)
    a[:2], b[:2] = torch.eye(64)[:1], torch.eye(64)[:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(launch.OPERANDS, "tf32", torch.float16)
        _, *grads = results(a, b, torch.tensor(1.0), temperature=0.06)
    _, *exact = expected(a, b, torch.tensor(1.0), 0.06)
    for grad, want in zip(grads, exact, strict=True):
        assert (grad - want).norm() < 2e-3 * want.norm()


def test_exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ((9, 20), (70, 130), (20, 300)):
        check(*views(*shape), 0.1, monkeypatch, precision="ieee")


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
    monkeypatch.setattr(launch, "_capability", lambda index: capability)
    monkeypatch.setattr(launch, "_processors", lambda index: processors)
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
