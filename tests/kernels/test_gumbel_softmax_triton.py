"""What only the Gumbel-Softmax kernel has: tiles, programs among which rows are divided, an op of its own.

test_gumbel_softmax.py runs each of its tests on the kernel as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from guards import GuardedAllocator
from tolerances import close
from torch import Tensor

from kernels import gumbel_softmax, use_backend
from kernels.backend import interpreted

if not interpreted():
    pytest.skip("Triton's interpreter is off: a GPU runs test_gpu.py instead", allow_module_level=True)

from kernels.gumbel_softmax import launch


@pytest.fixture(autouse=True)
def _kernel() -> Iterator[None]:
    with use_backend("triton"):
        yield


def counters(seed: int = 5, offset: int = 3) -> dict[str, Tensor]:
    return {"seed": torch.tensor(seed), "offset": torch.tensor(offset)}


def results(logits: Tensor, upstream: Tensor | None = None, **options: object) -> tuple[Tensor, Tensor, Tensor]:
    """Sample, code and the gradient of the logits under a random upstream gradient."""
    leaf = logits.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    sample, code = gumbel_softmax(leaf, temperature=0.5, **counters(), **options)  # type: ignore[arg-type]
    if upstream is None:
        upstream = torch.randn(sample.shape, generator=torch.Generator().manual_seed(1))
    sample.backward(upstream.to(sample.dtype))
    assert leaf.grad is not None
    return sample.detach(), code, leaf.grad


# One program alone, several with partial sums, a last tile that is part empty, and classes that are looped over.
@pytest.mark.parametrize(
    "classes, rows",
    [(10, 300), (257, 33), (257, 100), (1000, 40), (4096, 6), (4097, 3), pytest.param(9000, 6, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("hard", [False, True])
def test_every_division_of_the_rows(classes: int, rows: int, hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = 2.0 * torch.randn(classes, generator=torch.Generator().manual_seed(0))
    with use_backend("reference"):
        expected = results(logits.double(), batch_size=rows, hard=hard)
    guarded = GuardedAllocator(monkeypatch, launch)
    sample, code, grad = results(logits, batch_size=rows, hard=hard)
    guarded.check()
    torch.testing.assert_close(sample.double(), expected[0], **close(torch.float32, 2))
    assert (code == expected[1]).float().mean() > 0.97
    torch.testing.assert_close(grad.double(), expected[2], **close(torch.float32, 10))


@pytest.mark.parametrize("classes, rows", [(12, 1500), (257, 61), (1000, 45), (4100, 7)])
def test_programs_that_take_several_tiles(classes: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there are more tiles of rows than programs; and their sums, added up in several steps."""
    monkeypatch.setattr(launch, "FORWARD_PROGRAMS", 3)
    monkeypatch.setattr(launch, "BACKWARD_PROGRAMS", 5)
    monkeypatch.setattr(launch, "SUM_BLOCK_P", 2)
    priors = 2.0 * torch.randn(2, classes, generator=torch.Generator().manual_seed(0))
    with use_backend("reference"):
        expected = results(priors.double(), batch_size=rows)
    guarded = GuardedAllocator(monkeypatch, launch)
    sample, code, grad = results(priors, batch_size=rows)
    guarded.check()
    torch.testing.assert_close(sample.double(), expected[0], **close(torch.float32, 2))
    assert (code == expected[1]).float().mean() > 0.97
    torch.testing.assert_close(grad.double(), expected[2], **close(torch.float32, 20))


@pytest.mark.parametrize("rows", [1, 20])
@pytest.mark.parametrize("shared", [True, False])
def test_every_tile(shared: bool, rows: int) -> None:
    """Classes around each power of two, aligned to 16 bytes or not."""
    for classes in (1, 3, 4, 5, 8, 9, 16, 20, 31, 33, 64, 66, 128, 130, 252, 513, 1024, 1025, 2048):
        logits = torch.randn((classes,) if shared else (rows, classes), generator=torch.Generator().manual_seed(0))
        options = {"batch_size": rows} if shared else {}
        with use_backend("reference"):
            expected = results(logits.double(), **options)
        sample, _, grad = results(logits, **options)
        torch.testing.assert_close(sample.double(), expected[0], **close(torch.float32, 2))
        torch.testing.assert_close(grad.double(), expected[2], **close(torch.float32, 20))


@pytest.mark.parametrize("shape", [(33, 257), (3, 5, 10), (2, 3, 5000)], ids=str)
def test_every_row_its_own_logits(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    logits = 2.0 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    with use_backend("reference"):
        expected = results(logits.double())
    guarded = GuardedAllocator(monkeypatch, launch)
    sample, code, grad = results(logits)
    guarded.check()
    torch.testing.assert_close(sample.double(), expected[0], **close(torch.float32, 2))
    torch.testing.assert_close(grad.double(), expected[2], **close(torch.float32, 10))
    assert torch.equal(code, expected[1])


@pytest.mark.slow
def test_the_most_classes() -> None:
    logits = 2.0 * torch.randn(65_536, generator=torch.Generator().manual_seed(0))
    with use_backend("reference"):
        expected = results(logits.double(), batch_size=3)
    sample, code, grad = results(logits, batch_size=3)
    torch.testing.assert_close(sample.double(), expected[0], **close(torch.float32, 2))
    torch.testing.assert_close(grad.double(), expected[2], **close(torch.float32, 10))
    assert torch.equal(code, expected[1])


def test_a_gradient_of_any_layout() -> None:
    """An expanded upstream gradient has strides of 0; a transposed one is not contiguous."""
    logits = torch.randn(7, 10)
    for upstream in (torch.randn(10).expand(7, 10), torch.randn(10, 7).T, torch.randn(7, 20)[:, ::2]):
        dense = results(logits, upstream.contiguous())
        leaf = logits.clone().requires_grad_()
        gumbel_softmax(leaf, temperature=0.5, **counters())[0].backward(upstream)
        assert torch.equal(leaf.grad, dense[2])


def test_repeats_bit_for_bit() -> None:
    """Partial sums are added in a fixed order."""
    logits = torch.randn(257)
    first = results(logits, batch_size=100)
    for _ in range(3):
        for one, again in zip(first, results(logits, batch_size=100), strict=True):
            assert torch.equal(one, again)


def op_arguments(shape: tuple[int, ...], rows: int, hard: bool, tensors: bool) -> tuple[object, ...]:
    logits = torch.randn(shape).requires_grad_()
    seed, offset = torch.tensor([5]), torch.tensor([3])
    temperature, row_start = (torch.tensor(0.5), torch.tensor(2)) if tensors else (None, None)
    return logits, seed, offset, 0.5, temperature, 2, row_start, rows, hard


@pytest.mark.parametrize("shape, rows", [((2, 1, 10), 7), ((1, 6, 5), 6)], ids=str)
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("tensors", [False, True])
def test_opcheck(shape: tuple[int, ...], rows: int, hard: bool, tensors: bool) -> None:
    torch.library.opcheck(launch.gumbel_softmax, op_arguments(shape, rows, hard, tensors))


@pytest.mark.parametrize("sampled", [False, True])
def test_opcheck_backward(sampled: bool) -> None:
    logits, seed, offset, *numbers, rows, _ = op_arguments((2, 1, 10), 7, False, False)
    sample = torch.softmax(torch.randn(2, 7, 10), -1) if sampled else None
    arguments = (torch.randn(2, rows, 10), sample, logits.detach(), seed, offset, *numbers)  # type: ignore[attr-defined]
    torch.library.opcheck(launch.gumbel_softmax_backward, arguments)


def test_under_compile() -> None:
    """One graph, no break; the counters are its inputs, so another offset draws new samples without recompiling."""

    def loss(logits: Tensor, seed: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        sample, code = gumbel_softmax(logits, temperature=0.5, seed=seed, offset=offset, batch_size=20)
        return (sample * torch.arange(10.0)).square().sum(), code

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for offset in (3, 4):
            found = []
            for function in (loss, compiled):
                logits = torch.linspace(-1, 1, 10).requires_grad_()
                value, code = function(logits, **counters(offset=offset))
                value.backward()
                found.append((value.detach(), code, logits.grad))
            assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


def test_autocast_changes_nothing() -> None:
    logits = torch.randn(10)
    plain = gumbel_softmax(logits, temperature=0.1, batch_size=9, **counters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = gumbel_softmax(logits, temperature=0.1, batch_size=9, **counters())
    assert mixed[0].dtype == torch.float32 and torch.equal(mixed[0], plain[0]) and torch.equal(mixed[1], plain[1])
