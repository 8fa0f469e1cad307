"""Gumbel-Softmax against NumPy written from its formula, over sizes, dtypes, temperatures and bad input."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tolerances import close
from torch import Tensor

from kernels import backend, gumbel_softmax, uniform
from kernels.backend import interpreted
from kernels.philox import reference as philox

pytestmark = pytest.mark.usefixtures("each_backend")

# One class, fewer than a word block, around a power of two, no power of two, and more than one warp or tile holds.
SIZES = [1, 2, 63, 64, 65, 100, 257, 5000]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def counters(seed: int = 5, offset: int = 3) -> dict[str, Tensor]:
    return {"seed": torch.tensor(seed), "offset": torch.tensor(offset)}


def random_logits(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (2.0 * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(dtype)


def noise(rows: int, classes: int, *, seed: int = 5, offset: int = 3, row_start: int = 0) -> np.ndarray:
    """The stream's Gumbel noise in float64: its words are tested against another Philox in test_philox.py."""
    word = philox.words(torch.tensor(seed), torch.tensor(offset), rows, classes, row_start=row_start)
    u = np.clip((word.numpy().astype(np.float32) * np.float32(2.0**-32)), 2.0**-33, 1.0 - 2.0**-24).astype(float)
    return -np.log(-np.log1p(-u))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def perturbed(logits: Tensor, gumbel: np.ndarray) -> np.ndarray:
    return np.log(softmax(logits.double().numpy())) + gumbel


def check(sample: Tensor, code: Tensor, expected: np.ndarray, temperature: float) -> None:
    """The sample is within the tolerance; the code is equal unless the two largest perturbed logits nearly tie."""
    # A relative error in the perturbed logits is divided by the temperature before it is exponentiated.
    factor = 1.0 / min(temperature, 1.0)
    if sample.dtype == torch.bfloat16 and backend() == "triton" and interpreted():
        factor *= 2.0  # Triton's interpreter truncates where a GPU rounds
    expected_sample = torch.from_numpy(softmax(expected / temperature))
    torch.testing.assert_close(sample.double(), expected_sample, **close(sample.dtype, factor))
    best = np.sort(expected, -1)
    clear = best[..., -1] - best[..., -2] > 1e-4 if expected.shape[-1] > 1 else np.ones(expected.shape[:-1], bool)
    assert clear.mean() > 0.9
    assert (code.numpy() == expected.argmax(-1))[clear].all()


@pytest.mark.parametrize("classes", SIZES)
def test_shared_prior(classes: int) -> None:
    logits = random_logits(classes)
    sample, code = gumbel_softmax(logits, temperature=0.5, batch_size=33, **counters())
    assert sample.shape == (33, classes) and code.shape == (33,)
    assert sample.dtype == torch.float32 and code.dtype == torch.int64
    check(sample, code, perturbed(logits, noise(33, classes)), 0.5)


@pytest.mark.parametrize("classes", SIZES)
def test_one_prior_for_each_row(classes: int) -> None:
    logits = random_logits(9, classes)
    sample, code = gumbel_softmax(logits, temperature=0.5, **counters())
    assert sample.shape == (9, classes) and code.shape == (9,)
    check(sample, code, perturbed(logits, noise(9, classes)), 0.5)
    alone, alone_code = gumbel_softmax(logits[0], temperature=0.5, **counters())
    assert torch.equal(alone, sample[0]) and torch.equal(alone_code, code[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [10, 257])
def test_dtypes(dtype: torch.dtype, classes: int) -> None:
    logits = random_logits(classes, dtype=dtype)
    sample, code = gumbel_softmax(logits, temperature=1.0, batch_size=50, **counters())
    assert sample.dtype == dtype
    check(sample, code, perturbed(logits, noise(50, classes)), 1.0)
    torch.testing.assert_close(sample.double().sum(-1), torch.ones(50).double(), atol=0.02, rtol=0)


@pytest.mark.parametrize("temperature", [1e-3, 1e-2, 0.1, 0.5, 1.0, 10.0, 1e3])
def test_temperatures(temperature: float) -> None:
    logits = random_logits(10)
    for given in (temperature, torch.tensor(temperature)):
        sample, code = gumbel_softmax(logits, temperature=given, batch_size=50, **counters())
        check(sample, code, perturbed(logits, noise(50, 10)), temperature)


@pytest.mark.parametrize("temperature", [1e-7, 1e-20, 1e-36])
def test_a_tiny_temperature_gives_the_code(temperature: float) -> None:
    logits = random_logits(10)
    for rows, leaf in ((50, logits), (None, logits.expand(50, 10))):
        sample, code = gumbel_softmax(leaf, temperature=temperature, batch_size=rows, **counters())
        assert torch.equal(sample, torch.nn.functional.one_hot(code, 10).float())


@pytest.mark.parametrize("spread", [80.0, 1e4])
def test_extreme_logits(spread: float) -> None:
    logits = torch.tensor([spread, -spread, 0.0, spread])
    sample, code = gumbel_softmax(logits, temperature=0.1, batch_size=200, **counters())
    assert sample.isfinite().all()
    assert set(code.tolist()) == {0, 3}


@pytest.mark.parametrize("shift", [8192.0, -8192.0])
def test_a_constant_added_to_all_logits_does_not_matter(shift: float) -> None:
    """Added to a logit of 8,192 noise would lose digits, so the largest logit is subtracted first."""
    logits = (64.0 * random_logits(10)).round() / 64.0  # so that adding the shift rounds nothing
    sample, code = gumbel_softmax(logits, temperature=0.5, batch_size=50, **counters())
    shifted, shifted_code = gumbel_softmax(logits + shift, temperature=0.5, batch_size=50, **counters())
    torch.testing.assert_close(shifted, sample, **close(torch.float32))
    assert torch.equal(shifted_code, code)


def test_codes_follow_the_prior() -> None:
    """A million codes against softmax(logits), by chi-square, with classes from 1 in 2 to 1 in 10,000.

    A kernel that is interpreted draws 20,000: it reads the same words, as the other tests show.
    """
    draws = 20_000 if backend() == "triton" and interpreted() else 1_000_000
    share = torch.tensor([0.5, 0.2, 0.1, 0.08, 0.05, 0.04, 0.02, 0.009, 0.0009, 0.0001])
    logits = share.log() + 3.0  # an offset that must not matter
    _, code = gumbel_softmax(logits, temperature=0.1, batch_size=draws, **counters())
    counts = torch.bincount(code, minlength=10).numpy()
    assert stats.chisquare(counts, share.double().numpy() / share.double().sum().item() * draws).pvalue > 1e-3


def test_it_is_a_pure_function_of_its_counters() -> None:
    logits = random_logits(10)

    def draw(seed: int, offset: int) -> Tensor:
        return gumbel_softmax(logits, temperature=0.5, batch_size=20, **counters(seed, offset))[0]

    first = draw(1, 2)
    torch.rand(5)  # the global generator has no part in it
    assert torch.equal(draw(1, 2), first)
    for other in (draw(2, 2), draw(1, 3), draw(1, 2 + (1 << 32)), draw(1 + (1 << 32), 2)):
        assert not torch.isclose(other, first).all(-1).any()


@pytest.mark.parametrize("row_start", [5, torch.tensor(5)])
def test_ranks_draw_parts_of_one_batch(row_start: int | Tensor) -> None:
    logits, rows = random_logits(10), random_logits(12, 10)
    whole = gumbel_softmax(logits, temperature=0.5, batch_size=12, **counters())
    part = gumbel_softmax(logits, temperature=0.5, batch_size=7, row_start=row_start, **counters())
    assert torch.equal(part[0], whole[0][5:]) and torch.equal(part[1], whole[1][5:])
    whole = gumbel_softmax(rows, temperature=0.5, **counters())
    part = gumbel_softmax(rows[5:], temperature=0.5, row_start=row_start, **counters())
    assert torch.equal(part[0], whole[0][5:]) and torch.equal(part[1], whole[1][5:])


def test_stacked_priors_equal_each_alone() -> None:
    """[E, K] with seeds and offsets [E], and [E, B, K] without batch_size."""
    seeds, offsets = torch.tensor([4, 5, 6]), torch.tensor([0, 7, 1 << 35])
    priors, rows = random_logits(3, 10), random_logits(3, 8, 10)
    shared = gumbel_softmax(priors, temperature=0.5, seed=seeds, offset=offsets, batch_size=8)
    own = gumbel_softmax(rows, temperature=0.5, seed=seeds, offset=offsets)
    assert shared[0].shape == own[0].shape == (3, 8, 10) and shared[1].shape == own[1].shape == (3, 8)
    for e in range(3):
        one = {"seed": seeds[e], "offset": offsets[e]}
        for stacked, alone in (
            (shared, gumbel_softmax(priors[e], temperature=0.5, batch_size=8, **one)),
            (own, gumbel_softmax(rows[e], temperature=0.5, **one)),
        ):
            assert torch.equal(stacked[0][e], alone[0]) and torch.equal(stacked[1][e], alone[1])


def test_strided_logits() -> None:
    wide = random_logits(10, 6)
    strided = gumbel_softmax(wide.T[:, ::2], temperature=0.5, **counters())
    dense = gumbel_softmax(wide.T[:, ::2].contiguous(), temperature=0.5, **counters())
    assert torch.equal(strided[0], dense[0]) and torch.equal(strided[1], dense[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_is_one_hot_with_the_soft_gradient(dtype: torch.dtype) -> None:
    upstream = random_logits(40, 10, dtype=dtype)
    results = []
    for hard in (False, True):
        logits = random_logits(10, dtype=dtype).requires_grad_()
        sample, code = gumbel_softmax(logits, temperature=0.7, batch_size=40, hard=hard, **counters())
        sample.backward(upstream)
        results.append((sample.detach(), code, logits.grad))
    (_, soft_code, soft_grad), (hard_sample, hard_code, hard_grad) = results
    assert torch.equal(hard_sample, torch.nn.functional.one_hot(hard_code, 10).to(dtype))
    assert hard_sample.dtype == dtype
    assert torch.equal(hard_code, soft_code)
    assert soft_grad is not None and soft_grad.abs().max() > 0
    torch.testing.assert_close(hard_grad, soft_grad)


def gradient_by_hand(logits: Tensor, gumbel: np.ndarray, upstream: np.ndarray, temperature: float) -> np.ndarray:
    """[B, K]: through the softmax of the sample, then through the log softmax of the prior."""
    prior = softmax(logits.double().numpy())
    sample = softmax((np.log(prior) + gumbel) / temperature)
    to_log_prior = sample * (upstream - (upstream * sample).sum(-1, keepdims=True)) / temperature
    return to_log_prior - prior * to_log_prior.sum(-1, keepdims=True)


@pytest.mark.parametrize("classes", SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradient_by_hand(classes: int, dtype: torch.dtype) -> None:
    """A random upstream gradient, so that no error cancels; the shared prior's is summed over the rows."""
    upstream = random_logits(17, classes, dtype=dtype)
    shared, rows = random_logits(classes, dtype=dtype), random_logits(17, classes, dtype=dtype)
    for logits, batch_size in ((shared, 17), (rows, None)):
        leaf = logits.clone().requires_grad_()
        sample, code = gumbel_softmax(leaf, temperature=0.5, batch_size=batch_size, **counters())
        assert not code.requires_grad
        sample.backward(upstream)
        expected = gradient_by_hand(logits, noise(17, classes), upstream.double().numpy(), 0.5)
        expected = expected.sum(0) if batch_size else expected
        assert leaf.grad is not None
        # Sums of 17 terms of order 1 and of either sign.
        torch.testing.assert_close(leaf.grad.double(), torch.from_numpy(expected), **close(dtype, 10))


@pytest.mark.parametrize("shape, batch_size", [((5,), 4), ((4, 5), None), ((2, 5), 3), ((1,), 3)])
def test_gradcheck(shape: tuple[int, ...], batch_size: int | None) -> None:
    logits = random_logits(*shape, dtype=torch.float64).requires_grad_()

    def sample(logits: Tensor) -> Tensor:
        return gumbel_softmax(logits, temperature=0.7, batch_size=batch_size, **counters())[0]

    assert torch.autograd.gradcheck(sample, (logits,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hard", [False, True])
def test_minus_infinity_is_probability_zero(dtype: torch.dtype, hard: bool) -> None:
    logits = torch.tensor([0.0, float("-inf"), 1.0, float("-inf")], dtype=dtype, requires_grad=True)
    sample, code = gumbel_softmax(logits, temperature=0.5, batch_size=300, hard=hard, **counters())
    sample.backward(random_logits(300, 4, dtype=dtype))
    assert logits.grad is not None
    assert (sample[:, [1, 3]] == 0).all() and sample.isfinite().all()
    assert (logits.grad[[1, 3]] == 0).all() and logits.grad.isfinite().all() and (logits.grad[[0, 2]] != 0).all()
    assert set(code.tolist()) == {0, 2}


BAD = {
    "nan": [0.0, float("nan"), 1.0],
    "+inf": [0.0, float("inf"), 1.0],
    "all -inf": [float("-inf")] * 3,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("values", BAD.values(), ids=BAD)
def test_bad_logits_give_nan(values: list[float], dtype: torch.dtype) -> None:
    logits = torch.tensor(values, dtype=dtype)
    assert gumbel_softmax(logits, temperature=0.5, batch_size=5, **counters())[0].isnan().all()
    rows = torch.stack((torch.zeros_like(logits), logits))
    sample, _ = gumbel_softmax(rows, temperature=0.5, **counters())
    assert sample[0].isfinite().all() and sample[1].isnan().all()


@pytest.mark.parametrize("values", BAD.values(), ids=BAD)
def test_bad_logits_give_nan_when_hard(values: list[float]) -> None:
    sample, _ = gumbel_softmax(torch.tensor(values), temperature=0.5, batch_size=5, hard=True, **counters())
    assert sample.isnan().any(-1).all()


@pytest.mark.parametrize(
    "temperature",
    [
        0.0,
        float("nan"),
        -1.0,
        float("inf"),
    ],
)
def test_bad_temperature_tensor_gives_nan(temperature: float) -> None:
    """It is not read, so it cannot be refused."""
    for logits in (torch.zeros(3), torch.full((3,), -5.0)):
        sample, _ = gumbel_softmax(logits, temperature=torch.tensor(temperature), batch_size=5, **counters())
        assert sample.isnan().all()


def test_ties_go_to_the_lowest_index() -> None:
    """Only two classes are possible, and the stream gives both the same float32 uniform."""
    u = uniform((40, 5000), **counters())
    order = u.sort(dim=-1, stable=True)
    row, place = torch.nonzero(order.values[:, 1:] == order.values[:, :-1])[0].tolist()
    low, high = order.indices[row, place].item(), order.indices[row, place + 1].item()
    assert low < high
    logits = torch.full((5000,), float("-inf"))
    logits[[low, high]] = 0.0
    sample, code = gumbel_softmax(logits, temperature=0.5, batch_size=1, row_start=row, **counters())
    assert code.item() == low
    assert sample[0, low] == sample[0, high] == 0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_code_is_not_read_off_the_rounded_sample(dtype: torch.dtype) -> None:
    """At a high temperature the rounded sample has ties that the perturbed logits do not have."""
    logits = random_logits(10, dtype=dtype)
    sample, code = gumbel_softmax(logits, temperature=100.0, batch_size=4_000, **counters())
    _, expected = gumbel_softmax(logits.float(), temperature=100.0, batch_size=4_000, **counters())
    assert torch.equal(code, expected)
    assert (sample.argmax(-1) != code).any()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"temperature": float("inf")}, "temperature inf"),
        ({"seed": 5}, "seed: must be an int64 tensor"),
        ({"seed": torch.tensor(5, dtype=torch.int32)}, "seed: must be an int64 tensor"),
        ({"offset": 3}, "offset: must be an int64 tensor"),
        ({"offset": torch.tensor(3.0)}, "offset: must be an int64 tensor"),
        ({"seed": torch.tensor(5, device="meta")}, "seed, offset"),
        ({"seed": torch.tensor([5, 6])}, "seed [2]: must be a scalar or []"),
        ({"offset": torch.tensor([5, 6])}, "offset [2]: must be a scalar or []"),
        ({"logits": torch.zeros(3, 10), "seed": torch.tensor([5, 6])}, "seed [2]: must be a scalar or [3]"),
        ({"logits": torch.zeros(4, 10), "batch_size": None, "seed": torch.tensor([5] * 4)}, "seed [4]"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"row_start": -1}, "row_start -1"),
        ({"logits": torch.zeros(10, dtype=torch.int64)}, "logits: must be float32"),
        ({"logits": torch.tensor(1.0)}, "logits []"),
        ({"logits": torch.zeros(2, 0)}, "logits [2, 0]"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"logits": torch.zeros(10), "temperature": 0.5, "batch_size": 4, **counters()}
    gumbel_softmax(**good)
    with pytest.raises(ValueError, match=re.escape(message)):
        gumbel_softmax(**good | change)
