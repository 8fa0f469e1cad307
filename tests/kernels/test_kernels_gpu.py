"""The kernels on a CUDA GPU: against float64 references, repeatable bit for bit, and in CUDA graphs.

Run with `pytest tests -m gpu`; without a GPU the interpreted tests stand in.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tolerances import close
from torch import Tensor

import kernels
from kernels import use_backend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="Triton is interpreted"),
]
REPEATS = 250
# Relative error of a product of unit vectors of length 128: bfloat16 rounds to 2^-9, tf32 to 2^-11.
PRECISION = {"bf16": 2.0**-7, "tf32": 2.0**-9, "ieee": 1e-5}
# Relative error of a whole gradient at T = 0.07 and above: emulated 5.6e-3 and, rounded, 6.8e-4; cut off, 7.3e-3.
NORM = {"bf16": 2e-2, "tf32": 3e-3, "ieee": 1e-4}


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype).cuda()


def counters(offset: int = 3) -> dict[str, Tensor]:
    return {"seed": torch.tensor(5, device="cuda"), "offset": torch.tensor(offset, device="cuda")}


def gumbel(logits: Tensor, upstream: Tensor, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    leaf = logits.detach().clone().requires_grad_()
    sample, code = kernels.gumbel_softmax(leaf, temperature=0.5, **counters(), **options)
    sample.backward(upstream.to(sample.dtype))
    assert leaf.grad is not None
    return sample.detach(), code, leaf.grad


SIZES = [(64, 10), (1, 1), (1000, 257), (4096, 1000), (20_000, 128), (33, 5000), (5, 65_536)]
# Every dtype and kind of sample is a kernel to be compiled. They change what is read and written, not how rows and
# classes are shared out: all of them at two sizes, one whole and one looped over, and two of them at the others.
ALL = [(dtype, hard) for dtype in (torch.float32, torch.bfloat16, torch.float16) for hard in (False, True)]
TWO = [(torch.float32, False), (torch.bfloat16, True)]
CASES = [(*size, *kind) for size in SIZES for kind in (ALL if size in ((64, 10), (33, 5000)) else TWO)]


@pytest.mark.parametrize("rows, classes, dtype, hard", CASES)
@pytest.mark.parametrize("shared", [True, False])
def test_gumbel_softmax(rows: int, classes: int, dtype: torch.dtype, hard: bool, shared: bool) -> None:
    logits = randn(classes, dtype=dtype) if shared else randn(rows, classes, dtype=dtype)
    upstream, options = randn(rows, classes, seed=1), {"hard": hard} | ({"batch_size": rows} if shared else {})
    sample, code, grad = gumbel(logits, upstream, **options)
    expected, expected_code, expected_grad = gumbel(logits.double(), upstream.to(dtype).double(), **options)
    torch.testing.assert_close(sample.double(), expected, **close(dtype, 2))
    assert (code == expected_code).float().mean() > 0.99
    size = expected_grad.abs().max().clamp_min(1e-6)
    torch.testing.assert_close(grad.double() / size, expected_grad / size, **close(dtype, 10))


@pytest.mark.parametrize("rows, classes", [(64, 10), (4096, 128), (4096, 1000)])
def test_gumbel_softmax_in_a_captured_graph(rows: int, classes: int) -> None:
    """The gradient of one program, and of many with the sum over them, which the graph replays."""
    logits, upstream = randn(classes), randn(rows, classes, seed=1)
    expected = gumbel(logits, upstream, batch_size=rows)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    leaf = logits.clone().requires_grad_()
    given = {"temperature": 0.5, "batch_size": rows, **counters()}
    with torch.cuda.graph(graph):
        sample, code = kernels.gumbel_softmax(leaf, **given)
        (grad,) = torch.autograd.grad(sample, leaf, upstream)
    for _ in range(3):
        grad.zero_()
        graph.replay()
        for found, wanted in zip((sample.detach(), code, grad), expected, strict=True):
            assert torch.equal(found, wanted)


def test_gumbel_softmax_of_counters_of_any_strides() -> None:
    table = torch.tensor([[4, 0], [5, 7], [6, 9]], device="cuda")
    priors = randn(3, 10)
    stacked, _ = kernels.gumbel_softmax(priors, temperature=0.5, seed=table[:, 0], offset=table[:, 1], batch_size=5)
    noise = kernels.normal((5, 4), seed=table[:, 0], offset=table[:, 1])
    for e in range(3):
        one = {"seed": table[e, 0], "offset": table[e, 1]}
        assert torch.equal(stacked[e], kernels.gumbel_softmax(priors[e], temperature=0.5, batch_size=5, **one)[0])
        assert torch.equal(noise[e], kernels.normal((5, 4), **one))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_infinite_gradient_where_the_probability_is_zero(dtype: torch.dtype) -> None:
    logits = torch.tensor([0.0, float("-inf"), 1.0], dtype=dtype, device="cuda")
    upstream = torch.ones(300, 3, device="cuda")
    upstream[:, 1] = float("inf")
    grad = gumbel(logits, upstream, batch_size=300)[2]
    assert grad.isfinite().all() and grad[1] == 0


def test_gumbel_softmax_of_ten_to_the_nine_draws_is_finite() -> None:
    logits = torch.zeros(128, device="cuda")
    for offset in range(8):
        sample, code = kernels.gumbel_softmax(logits, temperature=0.1, batch_size=1_000_000, **counters(offset))
        assert sample.isfinite().all() and (code >= 0).all() and (code < 128).all()


@pytest.mark.parametrize("shape", [(64, 62), (1, 1), (1000, 1001)])
def test_normals_and_uniforms(shape: tuple[int, int]) -> None:
    for draw in (kernels.normal, kernels.uniform):
        with use_backend("reference"):
            expected = draw(shape, **counters())
        torch.testing.assert_close(draw(shape, **counters()), expected, **close(torch.float32))


def test_normals_near_zero() -> None:
    """None of 10^8 is NaN, nor are those of the largest possible uniform, whose logarithm is nearest 0."""
    options: dict[str, Any] = {"row_start": 2_717_469, **counters()}  # the row that has it
    with use_backend("reference"):
        expected = kernels.normal((1, 4), **options)
    assert 0.0 < expected[0, 2:].norm() < 4e-4
    torch.testing.assert_close(kernels.normal((1, 4), **options), expected, **close(torch.float32))
    assert kernels.normal((1_000_000, 100), **counters()).isfinite().all()


def nt_xent(a: Tensor, b: Tensor, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    a, b = a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    loss = kernels.nt_xent(a, b, **options)
    loss.backward(torch.full_like(loss, 0.7))
    assert a.grad is not None and b.grad is not None
    return loss.detach(), a.grad, b.grad


@pytest.mark.parametrize("precision", list(PRECISION))
@pytest.mark.parametrize(
    "count, width", [(1, 8), (2, 1), (63, 64), (64, 128), (128, 200), (129, 128), (1000, 100), (2048, 128), (500, 512)]
)
@pytest.mark.parametrize("temperature", [0.02, 0.07, 0.5, torch.tensor(0.3)])
def test_nt_xent(count: int, width: int, precision: Any, temperature: float | Tensor) -> None:
    """With a running maximum, a fixed shift and a temperature on the device."""
    if isinstance(temperature, Tensor):
        temperature = temperature.cuda()
    a, b = randn(count, width), 0.1 * randn(count, width) + randn(count, width, seed=1)
    found = nt_xent(a, b, temperature=temperature, precision=precision)
    exact = nt_xent(a.double(), b.double(), temperature=temperature)
    error = PRECISION[precision] / min(float(temperature), 1.0)
    torch.testing.assert_close(found[0].double(), exact[0], atol=error, rtol=0)
    for grad, expected in zip(found[1:], exact[1:], strict=True):
        size = expected.norm().clamp_min(1e-12)
        assert (grad.double() - expected).norm() / size < NORM[precision] * max(
            1.0, 0.07 / float(temperature)
        ) or count == 1


def test_nt_xent_rounds_tf32() -> None:
    """Tensor cores cut float32 operands off, which would give 7e-3 here; rounded operands give 7e-4."""
    a = randn(1024, 128)
    b = 2.0 * a + randn(1024, 128, seed=1)
    found, exact = nt_xent(a, b, temperature=0.07), nt_xent(a.double(), b.double(), temperature=0.07)
    for grad, expected in zip(found[1:], exact[1:], strict=True):
        assert (grad.double() - expected).norm() < 2e-3 * expected.norm()


@pytest.mark.parametrize("count", [100, 1000, 5000])
def test_nt_xent_in_a_graph(count: int) -> None:
    """Programs that share columns meet at semaphores, which every replay finds at zero."""
    a, b = (view.requires_grad_() for view in (randn(count, 128), randn(count, 128, seed=1)))

    def step() -> tuple[Tensor, ...]:
        loss = kernels.nt_xent(a, b, temperature=0.5)
        return loss.detach(), *torch.autograd.grad(loss, (a, b))

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a gradient's stream, at the first backward pass
        expected = step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    for _ in range(3):
        graph.replay()
        torch.cuda.synchronize()
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("temperature", [0.02, 0.5])
@pytest.mark.parametrize("precision", list(PRECISION))
def test_a_stack_of_losses_and_the_parts_of_ranks(precision: Any, temperature: float) -> None:
    """E = 2 is each of them alone; rows 100 .. 299 of 300 as one rank's."""
    a, b = randn(2, 300, 128), randn(2, 300, 128, seed=1)
    stacked = nt_xent(a, b, temperature=temperature, precision=precision)
    for e in range(2):
        for whole, alone in zip(
            stacked, nt_xent(a[e], b[e], temperature=temperature, precision=precision), strict=True
        ):
            torch.testing.assert_close(whole[e], alone, rtol=1e-4, atol=1e-6)
    gathered = torch.stack((a[0], b[0]))
    options: dict[str, Any] = {"temperature": temperature, "precision": precision}
    lse, _ = kernels.nt_xent_lse(gathered, gathered, 0, **options)
    local_lse, _ = kernels.nt_xent_lse(gathered[:, 100:], gathered, 100, **options)
    torch.testing.assert_close(local_lse, lse[:, 100:], rtol=1e-5, atol=1e-5)
    grad = kernels.nt_xent_grad(gathered[:, 100:], gathered, lse, 100, **options)
    exact = nt_xent(a[0].double(), b[0].double(), temperature=temperature)
    expected = torch.stack(exact[1:])[:, 100:] / 0.7
    assert (grad.double() - expected).norm() / expected.norm() < NORM[precision] * max(1.0, 0.07 / temperature)


def adam_pair(shadow: torch.dtype | None) -> tuple[Any, Any]:
    """Ours, with averages of the last three weights, and torch's; one gradient is read in place."""
    weights = [torch.nn.Parameter(randn(*shape)) for shape in ((1000, 70), (3,), (513,), (512, 512))]
    theirs = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    options: dict[str, Any] = {"lr": 1e-3, "betas": (0.5, 0.999)}
    averages = {weight: weight.detach().clone() for weight in weights[1:]}
    ours = kernels.FusedAdam(weights, shadow_dtype=shadow, averages=averages, **options)
    return ours, torch.optim.Adam(theirs, fused=True, **options)


@pytest.mark.parametrize("shadow", [None, torch.bfloat16])
def test_adam(shadow: torch.dtype | None) -> None:
    """A thousand steps beside torch's fused Adam on the same gradients."""
    ours, theirs = adam_pair(shadow)
    masters = ours.param_groups[0]["params"]
    leaves = masters if shadow is None else list(ours.shadow_parameters().values())
    share, averages = torch.tensor(0.1, device="cuda"), [weight.detach().double() for weight in masters[1:]]
    for number in range(1000):
        for leaf, other in zip(leaves, theirs.param_groups[0]["params"], strict=True):
            grad = randn(*leaf.shape, seed=number).to(leaf.dtype)
            leaf.grad, other.grad = grad, grad.float()
        ours.step(average_share=share)
        theirs.step()
        averages = [a + 0.1 * (w.detach() - a) for a, w in zip(averages, masters[1:], strict=True)]
    for found, expected in zip(ours.averages, averages, strict=True):
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)
    for leaf, master, other in zip(leaves, masters, theirs.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(master, other, atol=1e-5, rtol=1e-4)
        assert torch.equal(leaf, master.to(leaf.dtype))


def test_repeats_bit_for_bit() -> None:
    """Every kernel 250 times on the same input: a race would show."""
    upstream = randn(4096, 257)
    calls: dict[str, Callable[[], tuple[Tensor, ...]]] = {
        "gumbel_softmax": lambda: gumbel(randn(257), upstream, batch_size=4096),
        "gumbel_softmax, many classes": lambda: gumbel(randn(5000), randn(700, 5000), batch_size=700),
        "nt_xent small": lambda: nt_xent(randn(64, 128), randn(64, 128, seed=1), temperature=0.5),
        "nt_xent": lambda: nt_xent(randn(1000, 128), randn(1000, 128, seed=1), temperature=0.5),
    }
    for name, call in calls.items():
        first = call()
        for _ in range(REPEATS):
            assert all(torch.equal(one, again) for one, again in zip(first, call(), strict=True)), name
    ours = [adam_pair(torch.bfloat16)[0] for _ in range(2)]
    for number in range(REPEATS):
        for optimizer in ours:
            for leaf in optimizer.shadow_parameters().values():
                leaf.grad = randn(*leaf.shape, seed=number).to(leaf.dtype)
            optimizer.step(average_share=torch.tensor(0.1, device="cuda"))
        both = zip(*(optimizer.param_groups[0]["params"] for optimizer in ours), strict=True)
        assert all(torch.equal(one, other) for one, other in both)


def test_a_captured_graph_draws_new_samples_and_learns() -> None:
    """Counters, learning rate and step count are read from the device at each replay."""
    logits, offset = torch.nn.Parameter(torch.zeros(10, device="cuda")), torch.tensor(0, device="cuda")
    optimizer = kernels.FusedAdam([logits], lr=1e-2)
    seed, target = torch.tensor(5, device="cuda"), torch.arange(10.0, device="cuda")

    def step() -> Tensor:
        sample, _ = kernels.gumbel_softmax(logits, temperature=0.5, seed=seed, offset=offset, batch_size=64)
        embed = sample @ torch.eye(10, 16, device="cuda")
        loss = (sample * target).sum() + kernels.nt_xent(embed, embed.roll(1, 0), temperature=0.5)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        offset.add_(64)
        return sample.detach()

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a gradient's stream, at the first backward pass
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        drawn = step()
    start, seen = logits.detach().clone(), []
    for _ in range(5):
        graph.replay()
        seen.append(drawn.clone())
    assert int(offset) == 8 * 64
    assert not torch.equal(seen[0], seen[1])
    moved = (logits.detach() - start).abs().max()
    assert moved > 0
    before = logits.detach().clone()
    optimizer.set_lr(0.0)
    graph.replay()
    assert torch.equal(logits.detach(), before)
