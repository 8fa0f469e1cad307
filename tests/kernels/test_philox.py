"""The random stream: the generator's published answers, its addressing, and the distributions it is turned into."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy import stats

from kernels.philox import reference as philox

DRAWS = 1_000_000


def words_by_hand(counter: tuple[int, ...], key: tuple[int, ...]) -> list[int]:
    """Philox-4x32-10 as the paper writes it, in Python's own integers."""
    c, k, low = list(counter), list(key), (1 << 32) - 1
    for _ in range(10):
        left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(right >> 32) ^ c[1] ^ k[0], right & low, (left >> 32) ^ c[3] ^ k[1], left & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c


def draw(rows: int, columns: int, *, seed: int = 7, offset: int = 11, **where: int) -> torch.Tensor:
    return philox.words(torch.tensor(seed), torch.tensor(offset), rows, columns, **where)


# The known answers that Random123 ships for philox4x32 with 10 rounds.
@pytest.mark.parametrize(
    "counter, key, answer",
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers(counter: str, key: str, answer: str) -> None:
    counter_ints, key_ints, expected = ([int(word, 16) for word in text.split()] for text in (counter, key, answer))
    assert philox.philox(torch.tensor(counter_ints), torch.tensor(key_ints)).tolist() == expected
    assert words_by_hand(tuple(counter_ints), tuple(key_ints)) == expected


@pytest.mark.parametrize("stream", [philox.STREAM_GUMBEL, philox.STREAM_NORMAL])
@pytest.mark.parametrize("columns", [1, 4, 10, 63])
def test_addressing_by_hand(columns: int, stream: int) -> None:
    """Each word is where the module's header says: rows past 2^33, any sign of seed, offsets up to 2^63 - 1."""
    pick = random.Random(columns)
    for _ in range(25):
        row, offset = pick.randrange(1 << pick.choice((3, 33, 45))), pick.randrange(1 << pick.choice((4, 40, 63)))
        seed, column = pick.randrange(-(1 << 63), 1 << 63), pick.randrange(columns)
        word = draw(1, columns, seed=seed, offset=offset, row_start=row, stream=stream)[0, column].item()
        block = row * ((columns + 3) // 4) + column // 4
        low = (1 << 32) - 1
        counter = (block & low, block >> 32, offset & low, offset >> 32 | stream << 31)
        assert word == words_by_hand(counter, (seed & low, seed >> 32 & low))[column % 4]


@pytest.mark.parametrize("columns", [1, 5, 8, 10])
def test_rows_drawn_apart_equal_the_whole(columns: int) -> None:
    whole = draw(12, columns)
    assert torch.equal(torch.cat((draw(5, columns), draw(7, columns, row_start=5))), whole)
    assert torch.equal(draw(7, columns, row_start=torch.tensor(5)), whole[5:])


def test_words_do_not_repeat() -> None:
    """Rows, columns, offsets (above 2^32 as well), seeds (in either half) and streams all give different words."""
    base, high = draw(64, 64), 1 << 32
    others = [draw(64, 64, offset=o) for o in (12, 11 + high, 11 + (high << 20))]
    others += [draw(64, 64, seed=s) for s in (8, 7 + high, 7 - (1 << 63))]
    others += [draw(64, 64, stream=philox.STREAM_NORMAL), draw(64, 64, row_start=64)]
    assert len(base.unique()) == base.numel()
    for other in others:
        assert (base == other).sum() == 0


def test_leading_dimensions() -> None:
    """Seeds and offsets [E] give E draws, each the same as on its own."""
    seeds, offsets = torch.tensor([3, 4, 5]), torch.tensor([0, 1 << 40, 9])
    stacked = philox.words(seeds, offsets, 6, 5)
    assert stacked.shape == (3, 6, 5)
    for one, seed, offset in zip(stacked, seeds.tolist(), offsets.tolist(), strict=True):
        assert torch.equal(one, draw(6, 5, seed=seed, offset=offset))
    assert torch.equal(philox.words(seeds, torch.tensor(9), 6, 5)[2], stacked[2])


ENDS = torch.tensor([0, 1, 2, 255, 2**31, 2**32 - 257, 2**32 - 2, 2**32 - 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_of_the_range_are_finite(dtype: torch.dtype) -> None:
    """The lowest and the highest word, whose uniforms must not be 0 or 1."""
    u = philox.to_uniform(ENDS, dtype)
    assert u.dtype == dtype and u.min() > 0 and u.max() < 1
    gumbel = philox.to_gumbel(ENDS, dtype)
    assert gumbel.isfinite().all() and gumbel.max() < 22.9 and gumbel.min() > -2.9
    assert (gumbel.diff() <= 0).all()  # the largest noise comes from the smallest word
    pairs = torch.cartesian_prod(ENDS, ENDS).flatten()
    normal = philox.to_normal(pairs, dtype)
    assert normal.isfinite().all() and normal.abs().max() < 6.8


def test_gumbel_tail_is_resolved() -> None:
    """Small words give noise to a relative 1e-6 where 1 - u would round to 1."""
    words = torch.tensor([1, 3, 100, 5_000, 1_000_000, 4_000_000])
    exact = -np.log(-np.log1p(-(words.numpy() / 2.0**32)))
    assert np.allclose(philox.to_gumbel(words).numpy(), exact, rtol=1e-6, atol=0)


def test_uniforms_are_uniform() -> None:
    """Chi-square over 1,000 bins, and over the words' low bits, which the float32 uniforms do not show."""
    word = draw(DRAWS // 10, 10)
    high = torch.histc(philox.to_uniform(word), 1_000, 0.0, 1.0)
    low = torch.bincount((word & 1023).flatten(), minlength=1024)
    for counts in (high, low):
        assert counts.sum() == DRAWS
        assert stats.chisquare(counts.double().numpy()).pvalue > 1e-3


def test_neighbouring_words_are_independent() -> None:
    """Chi-square over 32 x 32 bins of a word and its neighbour, along columns, rows and offsets."""
    grid = torch.stack([draw(160, 160, offset=offset) for offset in range(8)]) >> 27
    for axis in range(3):
        steps = grid.shape[axis] - 1
        pair = grid.narrow(axis, 0, steps) * 32 + grid.narrow(axis, 1, steps)
        assert stats.chisquare(torch.bincount(pair.flatten(), minlength=1024).numpy()).pvalue > 1e-3


def test_normals_are_normal() -> None:
    normal = philox.to_normal(draw(DRAWS // 10, 10, stream=philox.STREAM_NORMAL))
    assert stats.kstest(normal.flatten().numpy(), "norm").pvalue > 1e-3
    first, second = normal[:, 0::2].flatten(), normal[:, 1::2].flatten()  # the two of a Box-Muller pair
    assert abs(torch.corrcoef(torch.stack((first, second)))[0, 1]) < 5e-3
    assert abs(torch.corrcoef(torch.stack((first.square(), second.square())))[0, 1]) < 5e-3


def test_gumbel_noise_is_gumbel() -> None:
    gumbel = philox.to_gumbel(draw(DRAWS // 10, 10)).flatten().numpy()
    assert stats.kstest(gumbel, "gumbel_r").pvalue > 1e-3
    # The winning tail decides which code is drawn, and the test above hardly weighs it: P(noise > 8) = 3.35e-4.
    above = int((gumbel > 8).sum())
    assert stats.binomtest(above, DRAWS, -np.expm1(-np.exp(-8.0))).pvalue > 1e-3
