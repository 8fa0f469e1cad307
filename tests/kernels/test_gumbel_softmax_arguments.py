"""Gumbel-Softmax: every argument against strides, expansion, emptiness, gradients, dtypes; on each backend."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from kernel_inputs import Dropped
from tolerances import close
from torch import Tensor
from torch.autograd import forward_ad

from kernels import backend, gumbel_softmax, normal, uniform, use_backend
from kernels.backend import MAX_GRID, interpreted

pytestmark = pytest.mark.usefixtures("each_backend")


def counters(seed: int = 5, offset: int = 3) -> dict[str, Tensor]:
    return {"seed": torch.tensor(seed), "offset": torch.tensor(offset)}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


STRIDED = torch.tensor([[4, 0], [5, 7], [6, 9]])
# Seeds and offsets that are columns of a table, one value for all, or every second value.
COUNTERS = {
    "columns": (STRIDED[:, 0], STRIDED[:, 1]),
    "expanded": (torch.tensor(4).expand(3), torch.tensor([7]).expand(3)),
    "one of each": (STRIDED[:, 0], torch.tensor(2).expand(3)),
    "every second": (torch.arange(6)[::2], torch.arange(6)[1::2]),
}


@pytest.mark.parametrize("seed, offset", COUNTERS.values(), ids=COUNTERS)
def test_counters_of_any_strides(seed: Tensor, offset: Tensor) -> None:
    dense = {"seed": seed.contiguous(), "offset": offset.contiguous()}
    for op in (normal, uniform):
        strided = op((2, 5), seed=seed, offset=offset)
        assert torch.equal(strided, op((2, 5), **dense))
        for e in range(3):
            assert torch.equal(strided[e], op((2, 5), seed=seed[e], offset=offset[e]))
    for logits, batch_size in ((random(3, 10), 4), (random(3, 4, 10), None)):
        found, expected = (
            gumbel_softmax(logits, temperature=0.5, batch_size=batch_size, **given)
            for given in ({"seed": seed, "offset": offset}, dense)
        )
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_counters_of_two_dimensions() -> None:
    """Leading dimensions whose strides do not merge into one."""
    seed, offset = torch.arange(24).view(2, 3, 4)[:, :, 1], torch.arange(6).view(3, 2).T
    found = gumbel_softmax(random(2, 3, 10), temperature=0.5, seed=seed, offset=offset, batch_size=2)[0]
    for i in range(2):
        for j in range(3):
            one = gumbel_softmax(
                random(2, 3, 10)[i, j], temperature=0.5, seed=seed[i, j], offset=offset[i, j], batch_size=2
            )
            assert torch.equal(found[i, j], one[0])


def test_no_seeds() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    for op in (normal, uniform):
        assert op((2, 5), seed=empty, offset=torch.tensor(3)).shape == (0, 2, 5)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(
    "shape, batch_size", [((3, 0, 5), None), ((0, 5), None), ((0, 5), 4), ((0, 2, 5), None), ((2, 0, 5), 4)], ids=str
)
def test_empty_logits(shape: tuple[int, ...], batch_size: int | None, hard: bool) -> None:
    logits = torch.zeros(shape, requires_grad=True)
    sample, code = gumbel_softmax(logits, temperature=0.5, batch_size=batch_size, hard=hard, **counters())
    expected = shape if batch_size is None else (*shape[:-1], batch_size, shape[-1])
    assert sample.shape == expected and code.shape == expected[:-1] and code.dtype == torch.int64
    sample.sum().backward()
    assert logits.grad is not None and logits.grad.shape == shape


def test_expanded_logits() -> None:
    """Rows that share one row of memory get a gradient each, which their source adds up."""
    results = []
    for copy in (False, True):
        source = random(10).requires_grad_()
        rows = source.expand(6, 10)
        sample, code = gumbel_softmax(rows.contiguous() if copy else rows, temperature=0.5, **counters())
        (sample * random(6, 10, seed=1)).sum().backward()
        results.append((sample.detach(), code, source.grad))
    for found, expected in zip(*results, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "shape, batch_size, temperature",
    [
        ((10,), 6, (6, 1)),
        ((10,), 6, (1, 1)),
        ((10,), 6, (1,)),
        ((6, 10), None, (6, 1)),
        ((3, 10), 4, (3, 1, 1)),
        ((3, 10), 4, (4, 1)),
        ((3, 4, 10), None, (3, 4, 1)),
        ((10,), None, (1,)),
    ],
    ids=str,
)
def test_a_temperature_for_each_row(
    shape: tuple[int, ...], batch_size: int | None, temperature: tuple[int, ...]
) -> None:
    """Each row is drawn as with its own temperature alone; gradients are those of float64."""
    values = 0.3 + torch.rand(temperature, generator=torch.Generator().manual_seed(0))
    results = []
    for dtype in (torch.float32, torch.float64):
        leaf, t = random(*shape).to(dtype).requires_grad_(), values.to(dtype, copy=True).requires_grad_()
        with use_backend("reference" if dtype == torch.float64 else backend()):
            sample, code = gumbel_softmax(leaf, temperature=t, batch_size=batch_size, **counters())
        (sample * random(*sample.shape, seed=1).to(dtype)).sum().backward()
        assert leaf.grad is not None and t.grad is not None and t.grad.shape == temperature
        results.append((sample.detach().double(), leaf.grad.double(), t.grad.double(), code))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, **close(torch.float32, 30))
    sample, code, rows = results[0][0], results[0][3], values.expand(*results[0][3].shape, 1)
    for value in values.flatten().tolist():
        alone, alone_code = gumbel_softmax(random(*shape), temperature=value, batch_size=batch_size, **counters())
        mine = rows.squeeze(-1) == value
        assert mine.any()
        torch.testing.assert_close(sample[mine], alone[mine].double(), **close(torch.float32, 4))
        assert torch.equal(code[mine], alone_code[mine])


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("logits", [[0.0, 1.0, 0.5], [0.0, float("-inf"), 0.5]], ids=str)
def test_the_gradient_of_the_temperature(logits: list[float], hard: bool) -> None:
    temperature = torch.tensor(0.5, requires_grad=True)
    weights = random(40, 3)
    sample, _ = gumbel_softmax(torch.tensor(logits), temperature=temperature, batch_size=40, hard=hard, **counters())
    (sample * weights).sum().backward()
    with use_backend("reference"):  # by differences
        ends = [
            (
                gumbel_softmax(
                    torch.tensor(logits, dtype=torch.float64), temperature=0.5 + step, batch_size=40, **counters()
                )[0]
                * weights
            ).sum()
            for step in (1e-5, -1e-5)
        ]
    assert temperature.grad is not None
    torch.testing.assert_close(temperature.grad.double(), (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-4)


def test_a_temperature_that_is_only_used_keeps_the_kernel() -> None:
    """Without a gradient to compute, a parameter is a number like another."""
    with torch.no_grad():
        learned = gumbel_softmax(
            random(10), temperature=torch.tensor(0.5, requires_grad=True), batch_size=5, **counters()
        )
    fixed = gumbel_softmax(random(10), temperature=torch.tensor(0.5), batch_size=5, **counters())
    torch.testing.assert_close(learned[0], fixed[0], **close(torch.float32, 2))


@pytest.mark.parametrize("infinite", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_an_infinite_gradient_of_what_never_happens(
    dtype: torch.dtype, hard: bool, shared: bool, infinite: float
) -> None:
    """Where the probability is 0 the gradient is 0, and the other classes' is what it would be without."""
    results = []
    for value in (infinite, 0.0):
        row = torch.tensor([0.0, float("-inf"), 1.0, 0.5], dtype=dtype)
        logits = (row if shared else row.repeat(5, 1)).requires_grad_()
        sample, _ = gumbel_softmax(logits, temperature=0.5, batch_size=5 if shared else None, hard=hard, **counters())
        upstream = random(5, 4, seed=1).to(dtype)
        upstream[:, 1] = value
        sample.backward(upstream)
        assert logits.grad is not None
        results.append(logits.grad)
    assert results[0].isfinite().all() and (results[0][..., 1] == 0).all()
    assert torch.equal(*results)


def test_an_infinite_gradient_of_what_happens_is_not_hidden() -> None:
    logits = random(4).requires_grad_()
    upstream = torch.zeros(5, 4)
    upstream[2, 1] = float("inf")
    gumbel_softmax(logits, temperature=0.5, batch_size=5, **counters())[0].backward(upstream)
    assert logits.grad is not None and not logits.grad.isfinite().all()


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("batch_size", [6, None])
def test_inside_functorch_transforms(batch_size: int | None, hard: bool) -> None:
    """torch.func.grad gives autograd's gradient; vmap gives each of its rows."""
    logits, weights = random(10) if batch_size else random(6, 10), random(6, 10, seed=1)

    def loss(logits: Tensor) -> Tensor:
        sample, _ = gumbel_softmax(logits, temperature=0.5, batch_size=batch_size, hard=hard, **counters())
        return (sample * weights).sum()

    leaf = logits.clone().requires_grad_()
    loss(leaf).backward()
    torch.testing.assert_close(torch.func.grad(loss)(logits), leaf.grad, **close(torch.float32, 20))
    many = torch.func.vmap(torch.func.grad(loss))(torch.stack((logits, 2.0 * logits)))
    torch.testing.assert_close(many[0], leaf.grad, **close(torch.float32, 20))


def test_forward_mode() -> None:
    """The derivative in one direction, which the kernel's op would drop."""
    logits, direction, weights = random(10), random(10, seed=2), random(6, 10, seed=1)
    leaf = logits.clone().requires_grad_()
    (gumbel_softmax(leaf, temperature=0.5, batch_size=6, **counters())[0] * weights).sum().backward()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(logits, direction)
        sample, _ = gumbel_softmax(dual, temperature=0.5, batch_size=6, **counters())
        tangent = forward_ad.unpack_dual((sample * weights).sum()).tangent
    assert tangent is not None and leaf.grad is not None
    torch.testing.assert_close(tangent, leaf.grad @ direction, **close(torch.float32, 20))


def test_an_undefined_gradient_is_zero() -> None:
    logits = random(10).requires_grad_()
    sample, _ = gumbel_softmax(logits, temperature=0.5, batch_size=6, **counters())
    (Dropped.apply(sample).sum() + 0.0 * logits.sum()).backward()
    assert logits.grad is not None and not logits.grad.any()


def test_more_priors_than_a_launch_takes() -> None:
    """The specification draws them."""
    logits = random(MAX_GRID + 1, 1, 2)
    sample, code = gumbel_softmax(logits, temperature=0.5, **counters())
    with use_backend("reference"):
        expected, expected_code = gumbel_softmax(logits, temperature=0.5, **counters())
    torch.testing.assert_close(sample, expected, **close(torch.float32, 4))
    assert (code == expected_code).float().mean() > 0.999


def test_second_derivatives_are_refused_or_right() -> None:
    """The specification and cpu.py have them; the kernel raises, where 0 would be wrong."""
    logits = random(10).requires_grad_()
    sample, _ = gumbel_softmax(logits, temperature=0.5, batch_size=6, **counters())
    (grad,) = torch.autograd.grad(sample.square().sum(), logits, create_graph=True)
    if backend() != "triton":
        grad.square().sum().backward()
        assert logits.grad is not None and logits.grad.abs().max() > 0
        return
    with pytest.raises(RuntimeError):
        grad.square().sum().backward()


@pytest.mark.parametrize("row_start", [2**62, 2**63 - 1, torch.tensor(2**62), torch.tensor([2**62])], ids=str)
def test_the_last_rows_of_the_stream(row_start: int | Tensor) -> None:
    """Block numbers are modulo 2^64, on every backend."""
    with use_backend("reference"):
        expected = gumbel_softmax(random(5), temperature=0.5, batch_size=1, row_start=row_start, **counters())
        draws = [op((1, 5), row_start=row_start, **counters()) for op in (normal, uniform)]
    found = gumbel_softmax(random(5), temperature=0.5, batch_size=1, row_start=row_start, **counters())
    torch.testing.assert_close(found[0], expected[0], **close(torch.float32, 2))
    assert torch.equal(found[1], expected[1])
    for op, draw in zip((normal, uniform), draws, strict=True):
        torch.testing.assert_close(op((1, 5), row_start=row_start, **counters()), draw, **close(torch.float32))


@pytest.mark.parametrize("row_start", [torch.tensor([5]), torch.tensor([[5]]), torch.tensor(5, dtype=torch.int32)])
def test_a_row_start_of_one_element(row_start: Tensor) -> None:
    expected = gumbel_softmax(random(10), temperature=0.5, batch_size=7, row_start=5, **counters())
    found = gumbel_softmax(random(10), temperature=0.5, batch_size=7, row_start=row_start, **counters())
    assert torch.equal(found[0], expected[0])
    assert torch.equal(normal((7, 10), row_start=row_start, **counters()), normal((7, 10), row_start=5, **counters()))


def test_a_number_that_changes_under_compile() -> None:
    """One graph: a temperature that is a Python number, and from the second value on a symbol."""
    if backend() == "triton" and not interpreted():
        pytest.skip("needs Triton's interpreter")

    def draw(logits: Tensor, temperature: float, row_start: int) -> Tensor:
        return gumbel_softmax(logits, temperature=temperature, batch_size=6, row_start=row_start, **at)[0]

    at = counters()
    torch.compiler.reset()
    compiled = torch.compile(draw, fullgraph=True, backend="aot_eager")
    for number, temperature in enumerate((0.5, 0.4, 0.3, 0.5)):
        results = []
        for function in (draw, compiled):
            logits = random(10).requires_grad_()
            sample = function(logits, temperature, number)
            (sample * random(6, 10, seed=1)).sum().backward()
            results.append((sample.detach(), logits.grad))
        for found, expected in zip(*results, strict=True):
            torch.testing.assert_close(found, expected, **close(torch.float32, 20))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"temperature": torch.ones(4)}, "temperature [4]"),
        ({"temperature": torch.ones(10)}, "temperature [10]"),
        ({"temperature": torch.ones(3, 1)}, "temperature [3, 1]"),
        ({"temperature": torch.ones(2, 4, 1)}, "temperature [2, 4, 1]"),
        ({"temperature": torch.ones(0)}, "temperature [0]"),
        ({"temperature": torch.ones((), device="meta")}, "temperature: must be on the device of the rest"),
        ({"temperature": torch.ones((), dtype=torch.complex64)}, "temperature: must be a real number"),
        ({"row_start": torch.tensor([1, 2])}, "row_start: must be one integer"),
        ({"row_start": torch.tensor(1.0)}, "row_start: must be one integer"),
        ({"row_start": torch.tensor(1, device="meta")}, "row_start: must be on the seed's device"),
        ({"row_start": 1 << 63}, "row_start 9223372036854775808"),
        ({"row_start": 2.5}, "row_start 2.5"),
        ({"batch_size": 2.5}, "batch_size 2.5"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"logits": torch.zeros(10), "temperature": 0.5, "batch_size": 4, **counters()}
    with pytest.raises(ValueError, match=re.escape(message)):
        gumbel_softmax(**good | change)
    if "row_start" in change:
        with pytest.raises(ValueError, match=re.escape(message)):
            normal((4, 10), **counters(), **change)
