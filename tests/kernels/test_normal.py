"""Normal and uniform draws: their address in the stream, their distribution, and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tolerances import close
from torch import Tensor

from kernels import backend, gumbel_softmax, normal, uniform, use_backend
from kernels.philox import reference as philox

pytestmark = pytest.mark.usefixtures("each_backend")

INTERPRETED_ROWS = 10_000  # of a kernel, which takes a second for 10^5 numbers: its words are tested elsewhere
OPS = pytest.mark.parametrize("op", [normal, uniform])


def counters(seed: int = 5, offset: int = 3) -> dict[str, Tensor]:
    return {"seed": torch.tensor(seed), "offset": torch.tensor(offset)}


def uniforms(rows: int, columns: int, stream: int) -> np.ndarray:
    word = philox.words(torch.tensor(5), torch.tensor(3), rows, columns, stream=stream).numpy()
    return np.clip(word.astype(np.float32) * np.float32(2.0**-32), 2.0**-33, 1.0 - 2.0**-24).astype(float)


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 62, 63, 64, 65, 257])
def test_normal_by_hand(columns: int) -> None:
    """Box-Muller on neighbouring pairs of the normal stream; an odd row drops its last normal."""
    u = uniforms(21, columns + columns % 2, philox.STREAM_NORMAL)
    radius, angle = np.sqrt(-2 * np.log(u[:, 0::2])), 2 * np.pi * u[:, 1::2]
    expected = np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1).reshape(21, -1)[:, :columns]
    sample = normal((21, columns), **counters())
    assert sample.dtype == torch.float32
    torch.testing.assert_close(sample.double(), torch.from_numpy(expected), **close(torch.float32))


@pytest.mark.parametrize("columns", [1, 4, 5, 65])
def test_uniform_by_hand(columns: int) -> None:
    sample = uniform((21, columns), **counters())
    assert sample.dtype == torch.float32
    assert np.array_equal(sample.double().numpy(), uniforms(21, columns, philox.STREAM_GUMBEL))


@OPS
def test_it_is_a_pure_function_of_its_counters(op: Callable[..., Tensor]) -> None:
    first = op((20, 7), **counters())
    torch.rand(5)  # the global generator has no part in it
    assert torch.equal(op((20, 7), **counters()), first)
    for other in (counters(6), counters(5, 4), counters(5, 3 + (1 << 32)), counters(5 + (1 << 32))):
        assert (op((20, 7), **other) != first).all()


@OPS
@pytest.mark.parametrize("row_start", [5, torch.tensor(5)])
def test_ranks_draw_parts_of_one_batch(op: Callable[..., Tensor], row_start: int | Tensor) -> None:
    assert torch.equal(op((7, 62), row_start=row_start, **counters()), op((12, 62), **counters())[5:])


@OPS
def test_rows_beyond_thirty_two_bits(op: Callable[..., Tensor]) -> None:
    far = op((3, 62), row_start=(1 << 33) + 5, **counters())
    with use_backend("reference"):
        torch.testing.assert_close(far, op((3, 62), row_start=(1 << 33) + 5, **counters()), **close(torch.float32))
    assert not torch.isclose(far, op((3, 62), row_start=5, **counters())).all(-1).any()


def test_the_smallest_uniforms_are_kept() -> None:
    """The largest Gumbel noise comes from them: one of some 4 million words, far below 2^-20."""
    word = philox.words(torch.tensor(5), torch.tensor(3), 1 << 18, 16)
    row, column = divmod(int(word.argmin()), 16)
    u = word[row, column].item() * 2.0**-32
    assert u < 2.0**-20
    assert uniform((1, 16), row_start=row, **counters())[0, column].item() == pytest.approx(u, rel=1e-6)


@OPS
def test_stacked_seeds_equal_each_alone(op: Callable[..., Tensor]) -> None:
    seeds, offsets = torch.tensor([4, 5, 6]), torch.tensor([0, 7, 1 << 35])
    stacked = op((8, 5), seed=seeds, offset=offsets)
    assert stacked.shape == (3, 8, 5)
    for e in range(3):
        assert torch.equal(stacked[e], op((8, 5), seed=seeds[e], offset=offsets[e]))


def test_one_pair_of_counters_suffices_for_noise_and_codes() -> None:
    """The generator's noise and code, drawn with one seed and offset, are independent."""
    rows = INTERPRETED_ROWS if backend() == "triton" else 200_000
    z = normal((rows, 4), **counters())
    code = gumbel_softmax(torch.zeros(4), temperature=0.5, batch_size=rows, **counters())[1]
    for column in range(4):
        for chosen in range(4):
            assert stats.kstest(z[code == chosen, column].numpy(), "norm").pvalue > 1e-4


def test_distributions() -> None:
    """A million draws each, odd width."""
    shape = (INTERPRETED_ROWS // 10 if backend() == "triton" else 20_000, 51)
    assert stats.kstest(normal(shape, **counters()).flatten().numpy(), "norm").pvalue > 1e-3
    u = uniform(shape, **counters())
    assert u.min() > 0 and u.max() < 1
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-3


@OPS
@pytest.mark.parametrize(
    "change, message",
    [
        ({"shape": (0, 3)}, "shape (0, 3)"),
        ({"shape": (3, 0)}, "shape (3, 0)"),
        ({"shape": (3,)}, "shape (3,)"),
        ({"seed": 5}, "seed: must be an int64 tensor"),
        ({"seed": torch.tensor(5, dtype=torch.int32)}, "seed: must be an int64 tensor"),
        ({"offset": torch.tensor(3.0)}, "offset: must be an int64 tensor"),
        ({"offset": torch.tensor(3, device="meta")}, "seed, offset"),
        ({"row_start": -1}, "row_start -1"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(op: Callable[..., Tensor], change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"shape": (2, 3), **counters()}
    with pytest.raises(ValueError, match=re.escape(message)):
        op(**good | change)
