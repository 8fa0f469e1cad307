"""The versions for plain CPU tensors against their specifications, and where they must not run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tolerances import close
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from kernels.backend import plain_cpu
from kernels.philox import cpu as philox_cpu
from kernels.philox import reference as philox
from kernels.products import product


def _both(op: str) -> tuple[Any, Any]:
    return tuple(importlib.import_module(f"kernels.{op}.{version}") for version in ("cpu", "reference"))


gumbel_cpu, gumbel_reference = _both("gumbel_softmax")
normal_cpu, normal_reference = _both("normal")
nt_xent_cpu, nt_xent_reference = _both("nt_xent")
SIZES = [1, 2, 63, 64, 65, 100, 257]
EXACT = [torch.float64, torch.float32]
BAD = [float("nan"), float("inf"), float("-inf")]


def counters(seed: Any = 5, offset: Any = 3) -> dict[str, Tensor]:
    return {"seed": torch.tensor(seed), "offset": torch.tensor(offset)}


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2.0 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("seed", [0, 7, -1, -(1 << 63), (1 << 63) - 1, (3 << 32) + 5])
@pytest.mark.parametrize("offset", [0, 11, (1 << 32) + 1, (1 << 63) - 1])
@pytest.mark.parametrize("row_start", [0, 5, (1 << 31) - 2, (1 << 32) - 3, (1 << 45) + 1, (1 << 62) - 2])
def test_words(seed: int, offset: int, row_start: int) -> None:
    for columns in (1, 4, 10, 63):
        for stream in (philox.STREAM_GUMBEL, philox.STREAM_NORMAL):
            for start in (row_start, torch.tensor(row_start)):
                address = (torch.tensor(seed), torch.tensor(offset), 6, columns)
                found = philox_cpu.words(*address, row_start=start, stream=stream)
                assert found.dtype == torch.int64
                assert torch.equal(found, philox.words(*address, row_start=start, stream=stream))


def test_words_of_many_seeds_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(philox_cpu, "CHUNK", 7)
    seeds, offsets = torch.tensor([[3, 4, 1 << 40], [5, 6, 7]]), torch.tensor([[0, 1 << 40, 9], [1, 2, 3]])
    for seed, offset in ((seeds, offsets), (seeds, torch.tensor(9)), (torch.tensor(9), offsets), (seeds[0], seeds[:1])):
        assert torch.equal(philox_cpu.words(seed, offset, 9, 10), philox.words(seed, offset, 9, 10))


@pytest.mark.parametrize("columns", SIZES)
def test_normal_and_uniform(columns: int) -> None:
    for where in (counters(), counters([4, 5], [0, 1 << 40]), {"row_start": 1 << 33, **counters()}):
        uniform = normal_cpu.uniform((21, columns), **where)
        assert torch.equal(uniform, normal_reference.uniform((21, columns), **where))
        normal, expected = (version.normal((21, columns), **where) for version in (normal_cpu, normal_reference))
        assert normal.dtype == expected.dtype and normal.shape == expected.shape
        torch.testing.assert_close(normal, expected, **close(torch.float32))


def gumbel(version: Any, logits: Tensor, upstream: Tensor, **given: Any) -> tuple[Tensor, Tensor, Tensor]:
    leaf = logits.detach().requires_grad_()
    sample, code = version.gumbel_softmax(leaf, **given)
    assert not code.requires_grad
    sample.backward(upstream)
    assert leaf.grad is not None
    return sample.detach(), code, leaf.grad


def check_gumbel(logits: Tensor, rows: tuple[int, ...], **given: Any) -> None:
    upstream = random(*rows, logits.shape[-1], dtype=logits.dtype, seed=1)
    given = {"temperature": 0.5, **counters(), **given}
    (sample, code, grad), expected = (
        gumbel(version, logits, upstream, **given) for version in (gumbel_cpu, gumbel_reference)
    )
    assert sample.dtype == logits.dtype and sample.shape == upstream.shape and grad.shape == logits.shape
    assert torch.equal(code, expected[1])
    # Gradients are sums over up to 17 rows, divided by the temperature.
    torch.testing.assert_close(sample, expected[0], **close(logits.dtype, 2))
    torch.testing.assert_close(grad, expected[2], **close(logits.dtype, 20))


@pytest.mark.parametrize("classes", SIZES)
@pytest.mark.parametrize("dtype", [*EXACT, torch.bfloat16, torch.float16])
def test_gumbel_softmax(classes: int, dtype: torch.dtype) -> None:
    for hard in (False, True):
        check_gumbel(random(classes, dtype=dtype), (17,), batch_size=17, hard=hard)
        check_gumbel(random(9, classes, dtype=dtype), (9,), hard=hard)
    check_gumbel(random(classes, dtype=dtype), ())
    check_gumbel(random(classes, 18, dtype=dtype).T[::2], (9,))
    check_gumbel(random(classes, dtype=dtype), (3,), batch_size=3, row_start=torch.tensor(1 << 33))


@pytest.mark.parametrize("temperature", [1e-2, 1.0, 1e2])
def test_gumbel_softmax_stacked(temperature: float) -> None:
    """Priors [E, K] and [E, E, K], rows [E, B, K]; seeds and offsets [E] or one for all; a temperature tensor."""
    for where in (counters(), counters([4, 5, 6], [0, 7, 1 << 35]), counters([4, 5, 6], 3)):
        for given in (temperature, torch.tensor(temperature, dtype=torch.float64)):
            check_gumbel(random(3, 10, dtype=torch.float64), (3, 8), batch_size=8, temperature=given, **where)
            check_gumbel(random(3, 8, 10, dtype=torch.float64), (3, 8), temperature=given, **where)
    check_gumbel(random(2, 3, 10, dtype=torch.float64), (2, 3, 4), batch_size=4)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("bad", BAD)
def test_gumbel_softmax_of_bad_logits(bad: float, hard: bool) -> None:
    for logits in (torch.tensor([0.0, bad, 1.0, bad]), torch.tensor([bad, bad])):
        given: dict[str, Any] = {"temperature": 0.5, "batch_size": 50, "hard": hard, **counters()}
        upstream = random(50, len(logits))
        found, expected = (gumbel(v, logits, upstream, **given) for v in (gumbel_cpu, gumbel_reference))
        assert torch.equal(found[0].isnan(), expected[0].isnan()) and torch.equal(found[1], expected[1])
        torch.testing.assert_close(found[2], expected[2], equal_nan=True, **close(torch.float32, 50))


@pytest.mark.parametrize("temperature", [0.0, float("nan"), -1.0, float("inf")])
def test_bad_temperature_tensor(temperature: float) -> None:
    given = torch.tensor(temperature)
    assert gumbel_cpu.gumbel_softmax(torch.zeros(3), temperature=given, **counters())[0].isnan().all()
    assert nt_xent_cpu.nt_xent(random(3, 4), random(3, 4, seed=1), temperature=given).isnan()


def test_a_temperature_with_a_gradient() -> None:
    """Both versions leave it to the specification."""
    for call in (
        lambda t: gumbel_cpu.gumbel_softmax(random(4), temperature=t, batch_size=3, **counters())[0][:, 0].sum(),
        lambda t: nt_xent_cpu.nt_xent(random(3, 4), random(3, 4, seed=1), temperature=t),
    ):
        temperature = torch.tensor(0.5, requires_grad=True)
        call(temperature).backward()
        assert temperature.grad is not None and temperature.grad != 0


@pytest.mark.parametrize("shape, rows", [((4,), 3), ((2, 4), 3), ((3, 4), None)])
def test_second_derivatives_of_samples(shape: tuple[int, ...], rows: int | None) -> None:
    """A gradient penalty, whose upstream gradient needs no gradient itself; and where a probability is 0."""
    found = []
    for version in (gumbel_cpu, gumbel_reference):
        logits = random(*shape, dtype=torch.float64)
        logits[..., 1] = -torch.inf
        logits.requires_grad_()
        sample, _ = version.gumbel_softmax(logits, temperature=0.5, batch_size=rows, **counters())
        loss = (sample * torch.arange(4.0)).sum()
        (grad,) = torch.autograd.grad(loss, logits, create_graph=True)
        (loss + grad[..., 2:].square().sum()).backward()
        found.append(logits.grad)
    torch.testing.assert_close(found[0], found[1], **close(torch.float64, 10))


def losses(version: Any, a: Tensor, b: Tensor, temperature: Any) -> tuple[Tensor, Tensor, Tensor]:
    a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
    loss = version.nt_xent(a, b, temperature=temperature)
    loss.backward(random(*loss.shape, dtype=loss.dtype, seed=9))
    assert a.grad is not None and b.grad is not None
    return loss.detach(), a.grad, b.grad


def check_nt_xent(a: Tensor, b: Tensor, temperature: float = 0.5) -> None:
    for given in (temperature, torch.tensor(temperature, dtype=torch.float64)):
        found, expected = (losses(version, a, b, given) for version in (nt_xent_cpu, nt_xent_reference))
        accumulated = torch.float64 if a.dtype == torch.float64 else torch.float32
        assert found[0].dtype == accumulated and found[0].shape == a.shape[:-2]
        torch.testing.assert_close(found[0], expected[0], **close(accumulated, 1 / min(temperature, 1.0)))
        for grad, wanted in zip(found[1:], expected[1:], strict=True):
            assert grad.dtype == a.dtype
            size = wanted.double().abs().amax(-1, keepdim=True).clamp_min(1e-30)
            torch.testing.assert_close(
                grad.double() / size, wanted.double() / size, **close(a.dtype, 10 / min(temperature, 1.0))
            )


TILES = {"one tile": {}, "many tiles": {"TILE": 1}, "none kept": {"TILE": 1, "MAX_STORED": 0}}


@pytest.fixture(params=TILES.values(), ids=TILES)
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in request.param.items():
        monkeypatch.setattr(nt_xent_cpu, name, value)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("dtype", EXACT)
def test_nt_xent(count: int, dtype: torch.dtype) -> None:
    for length in (1, 65):
        check_nt_xent(random(count, length, dtype=dtype), random(count, length, dtype=dtype, seed=1))


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("temperature", [1e-3, 0.02, 0.07, 1e3])
def test_nt_xent_temperatures_and_shapes(temperature: float) -> None:
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        a, b = random(20, 14, dtype=dtype), random(20, 14, dtype=dtype, seed=1)
        a[2], b[4] = 0.0, 0.1 if dtype == torch.float16 else 1e-9  # float16 holds no gradient of the short one
        check_nt_xent(a, b, temperature)
    a, b = random(14, 40, dtype=torch.float64), random(14, 40, dtype=torch.float64, seed=1)
    check_nt_xent(a.T[::2], b.T[::2], temperature)
    a, b = random(3, 20, 6, dtype=torch.float64), random(3, 20, 6, dtype=torch.float64, seed=1)
    check_nt_xent(a, b, temperature)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("bad", BAD)
def test_nt_xent_of_bad_embeddings(bad: float) -> None:
    a, b = random(20, 8), random(20, 8, seed=1)
    b[3, 5] = bad
    assert all(found.isnan().all() for found in losses(nt_xent_cpu, a, b, 0.5))


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e20, 3e37])
def test_nt_xent_of_huge_and_tiny_embeddings(scale: float) -> None:
    a, b = (x / x.abs().max() * scale for x in (random(20, 32), random(20, 32, seed=1)))
    loss, *grads = losses(nt_xent_cpu, a, b, 0.5)
    exact, *exact_grads = losses(nt_xent_reference, a.double(), b.double(), 0.5)
    torch.testing.assert_close(loss.double(), exact, **close(torch.float32))
    for grad, wanted in zip(grads, exact_grads, strict=True):
        # Gradients are about as large as 1 / scale is: those of 1e-38 lose digits to float32's smallest numbers.
        size, atol = wanted.abs().max(), 1e-5 if scale < 1e30 else 1e-2
        torch.testing.assert_close(grad.double() / size, wanted / size, atol=atol, rtol=0)


class _Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any op returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return out


@pytest.mark.parametrize("temperature", [0.01, 0.5])
def test_nt_xent_never_holds_all_similarities(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound no tensor is larger than the embeddings or a tile of 16 rows."""
    monkeypatch.setattr(nt_xent_cpu, "TILE", 1 << 12)
    monkeypatch.setattr(nt_xent_cpu, "MAX_STORED", 1 << 14)
    a, b = random(500, 8), random(500, 8, seed=1)
    with _Largest() as largest:
        losses(nt_xent_cpu, a, b, temperature)
    assert largest.numel == 16 * 1000
    with _Largest() as largest:
        losses(nt_xent_reference, a, b, temperature)
    assert largest.numel == 1000 * 1000


def test_bounds_of_memory() -> None:
    """From 4,096 images on no tile is stored, and a tile is far smaller than all similarities."""
    assert nt_xent_cpu.MAX_STORED < 8192**2 and nt_xent_cpu.TILE <= 8192**2 / 64


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (64, 65, 100), (257, 100, 63)], ids=str)
@pytest.mark.parametrize("dtype", EXACT)
def test_product(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    B, O, I = shape  # noqa: E741
    x, weight, bias = random(B, I, dtype=dtype), random(O, I, dtype=dtype, seed=1), random(O, dtype=dtype, seed=2)
    expected = x.double() @ weight.double().T
    wide, high = torch.cat((x, x), 1), torch.cat((weight, weight), 1)
    for left, right in (
        (x, weight),
        (x.T.contiguous().T, weight.T.contiguous().T),
        (wide[:, :I], high[:, :I]),  # slices, which oneDNN by itself takes seconds for
    ):
        torch.testing.assert_close(product(left, right).double(), expected, **close(dtype, 50))
        torch.testing.assert_close(product(left, right, bias).double(), expected + bias, **close(dtype, 50))
    # Asked for a gradient, it gives one.
    product(x, weight.requires_grad_()).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(O, I), **close(dtype, 50))


def draws(x: Tensor, chosen: list[bool] | None = None) -> tuple[Tensor, ...]:
    """A value of each op on x [B, K], by the version chosen there."""
    where = counters()
    plain = plain_cpu(x, where["seed"], 3, 0.5)
    if chosen is not None:
        chosen.append(plain)
    sample, code = (gumbel_cpu if plain else gumbel_reference).gumbel_softmax(
        x[0], temperature=0.5, batch_size=5, **where
    )
    normal = (normal_cpu if plain else normal_reference).normal((5, 7), **where)
    loss = (nt_xent_cpu if plain else nt_xent_reference).nt_xent(x, x.square(), temperature=0.5)
    return sample, code, normal, loss


def gradient(call: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
    leaf = x.detach().requires_grad_()
    found = call(leaf)
    (found[0].square().sum() + found[3].sum()).backward()
    return tuple(value.detach() for value in found), leaf.grad


def test_compiled() -> None:
    """torch.compile traces only the specification, in one graph, with the same results and gradients."""
    torch._dynamo.reset()
    compiled = torch.compile(draws, backend="aot_eager", fullgraph=True)
    x = random(6, 10)
    torch.testing.assert_close(gradient(compiled, x), gradient(draws, x), **close(torch.float32, 10))


def test_vmapped() -> None:
    x, chosen = random(2, 6, 10), []
    found = torch.func.vmap(lambda row: draws(row, chosen))(x)
    expected = tuple(map(torch.stack, zip(*(draws(row, chosen) for row in x), strict=True)))
    assert chosen == [False, True, True]
    torch.testing.assert_close(found, expected, **close(torch.float32, 2))


def test_plain_cpu() -> None:
    """False for tensors on other devices, subclasses, and fake or traced tensors."""
    x, seen = torch.ones(2), []
    assert plain_cpu(x, 1, 2.0, None, torch.nn.Parameter(x))
    assert not plain_cpu(torch.ones(2, device="meta"))
    assert not plain_cpu(x, torch.ones(2).as_subclass(type("Special", (Tensor,), {})))
    with torch._subclasses.FakeTensorMode():
        assert not plain_cpu(torch.ones(2))
    make_fx(lambda x: seen.append(plain_cpu(x)) or x + 1)(x)
    assert seen == [False]
