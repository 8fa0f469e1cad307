"""Advice on K and warnings: by hand-made figures, each present when it should be and absent when not."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from fastgan import text
from fastgan.evaluation import confusion, diagnosis, metrics
from fastgan.evaluation.confusion import MergeCandidate
from fastgan.evaluation.diagnosis import Facts

# Nothing is wrong with these.
GOOD = Facts(
    prior_K=torch.tensor([0.1, 0.2, 0.3, 0.4]),
    sizes_K=torch.tensor([0.12, 0.2, 0.3, 0.38], dtype=torch.float64),
    prior_is_learned=True,
    images_seen=320_000,
    images_planned=320_000,
    last_d_loss=1.0,
    spreads_K=[0.9, 1.0, 0.8, math.nan],
)


def test_confusion_is_the_mean_probability_made_symmetric() -> None:
    """By hand: code 0 has two images, code 1 one, code 2 none."""
    probabilities = torch.tensor([[0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [0.4, 0.5, 0.1]])
    found = confusion.confusion(probabilities, torch.tensor([0, 0, 1]))
    expected = torch.tensor([[0.0, 0.3, 0.1], [0.3, 0.0, 0.1], [0.1, 0.1, 0.0]])
    torch.testing.assert_close(found, expected)


def test_candidates_are_pairs_above_the_threshold_the_most_confused_first() -> None:
    probabilities = torch.full((6, 20), 0.001)
    for row, (own, other, share) in enumerate([(0, 3, 0.3), (3, 0, 0.3), (1, 2, 0.45), (2, 1, 0.45), (4, 5, 0.09)]):
        probabilities[row, own], probabilities[row, other] = 1 - share, share
    probabilities[5, 5] = 1.0
    found = confusion.merge_candidates(probabilities, probabilities.argmax(1))
    assert [(pair.first, pair.second) for pair in found] == [(1, 2), (0, 3)]
    assert found[0].confusion == pytest.approx(0.45)


@pytest.mark.parametrize("count", [3, 4, 10, 40])
def test_a_q_that_knows_nothing_names_no_pair(count: int) -> None:
    even = torch.full((3 * count, count), 1 / count)
    assert confusion.merge_candidates(even, torch.arange(3 * count) % count) == []


def test_a_pair_must_stand_out_from_what_else_is_confused() -> None:
    """Four codes; 0 and 1 share what one class has, and the others are as unsure of everything as they are."""
    unsure = torch.full((4, 4), 0.2).fill_diagonal_(0.4)
    assert confusion.merge_candidates(unsure, torch.arange(4)) == []
    apart = torch.tensor([[0.7, 0.24, 0.03, 0.03], [0.24, 0.7, 0.03, 0.03], [0.1, 0.0, 0.9, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert confusion.merge_candidates(apart, torch.arange(4)) == [MergeCandidate(0, 1, pytest.approx(0.24))]


def test_two_codes_that_are_one_are_told_even_of_two() -> None:
    halves = torch.tensor([[0.51, 0.49], [0.49, 0.51]])
    assert confusion.merge_candidates(halves, halves.argmax(1)) == [MergeCandidate(0, 1, pytest.approx(0.49))]
    assert confusion.merge_candidates(torch.eye(2), torch.arange(2)) == []


def test_far_too_many_codes_are_not_compared() -> None:
    count = confusion.MOST_CODES + 1
    assert confusion.merge_candidates(torch.full((2, count), 1 / count), torch.tensor([0, 1])) == []


def test_a_code_is_unused_below_a_tenth_of_an_even_share() -> None:
    sizes = torch.tensor([0.0, 0.024, 0.026, 0.95], dtype=torch.float64)
    assert metrics.unused_codes(sizes) == [0, 1]
    assert metrics.unused_codes(torch.full((7,), 1 / 7)) == []


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert diagnosis.findings(GOOD) == []


UNEVEN = torch.tensor([0.05, 0.15, 0.3, 0.5])
CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"images_seen": 319_999}, "stopped early", "--resume"),
    ({"last_d_loss": 0.05}, "discriminator has won", "--learning-rate"),
    ({"spreads_K": [0.9, 0.32, 1.0, 1.0]}, "one image again and again", "--epochs"),
    ({"sizes_K": torch.tensor([0.0, 0.2, 0.3, 0.5])}, "stays empty", "fewer groups, for example 3 (--classes 3)"),
    ({"merge": [MergeCandidate(1, 2, 0.33)]}, "hard to tell apart", "--classes 3"),
    ({"prior_K": torch.tensor([0.24, 0.25, 0.25, 0.26]), "sizes_K": UNEVEN}, "still at uniform", "--prior-pull"),
    ({"prior_K": torch.tensor([0.2, 0.25, 0.25, 0.3]), "sizes_K": UNEVEN}, "images disagree", "--prior-pull"),
    (
        {"sizes_K": torch.tensor([0.1, 0.04, 0.3, 0.56])},
        "images disagree",
        "shares of the images",
    ),
]


@pytest.mark.parametrize(("wrong", "title", "remedy"), CASES, ids=[title for _, title, _ in CASES])
def test_each_warning_comes_alone_and_says_what_to_do(wrong: dict[str, Any], title: str, remedy: str) -> None:
    (found,) = diagnosis.findings(replace(GOOD, **wrong))
    assert title in found.title
    assert remedy in found.remedy
    assert "--" not in re.sub(r"\([^)]*\)", "", found.remedy), "flags stand in parentheses, after the words"
    assert found.text.endswith(".")


@pytest.mark.parametrize(
    "fine",
    [
        {"last_d_loss": None},
        {"last_d_loss": 0.1},
        {"spreads_K": [math.nan] * 4},
        {"spreads_K": [0.33] * 4},
        # A prior at uniform is right where the clusters are even, and what was asked for where it is fixed.
        {"prior_K": torch.full((4,), 0.25), "sizes_K": torch.tensor([0.2, 0.25, 0.25, 0.3])},
        {"prior_K": torch.full((4,), 0.25), "sizes_K": UNEVEN, "prior_is_learned": False},
        {"prior_K": torch.tensor([0.1, 0.2, 0.25, 0.45]), "sizes_K": UNEVEN},
        {"sizes_K": torch.tensor([0.1, 0.06, 0.3, 0.54])},
        {"sizes_K": torch.tensor([0.1, 0.04, 0.3, 0.56]), "prior_is_learned": False},
    ],
)
def test_no_warning_at_the_threshold_or_without_figures(fine: dict[str, Any]) -> None:
    assert diagnosis.findings(replace(GOOD, **fine)) == []


def test_a_disagreement_is_told_with_its_figures() -> None:
    found = diagnosis.prior_off(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.1, 0.04, 0.3, 0.56]))
    assert found is not None and "are 16.0% apart" in found.text and "above 15% they disagree" in found.text
    assert "most at group 1: probability 20.0%, 4.0% of the images" in found.text
    assert diagnosis.prior_off(torch.full((4,), 0.25), torch.full((4,), 0.25)) is None


def test_a_fifth_of_what_is_shown_by_default_is_enough_to_be_spoken_of() -> None:
    assert diagnosis.FEW_SHOWN == 64_000
    for seen, few in ((63_999, True), (64_000, False)):
        found = diagnosis.findings(replace(GOOD, images_seen=seen, images_planned=seen))
        assert [finding.title for finding in found] == ["Hardly trained"] * few


@pytest.mark.parametrize(
    ("prior", "sizes", "said"),
    [
        ([0.25] * 4, [0.0, 0.99, 0.01, 0.0], "99.0% of the real images have code 1, of 4 codes."),
        ([0.1] * 10, [0.5, 0.493, 0.007] + [0.0] * 7, "99.3% of the real images have code 0 or 1, of 10"),
        ([0.1] * 10, [0.97, 0.015, 0.015] + [0.0] * 7, "Q's clusters amount to 1.17 equally"),
        ([0.98, 0.01, 0.01, 0.0], [0.25] * 4, "The prior amounts to 1.12 equally"),
        # Two or three kinds of which one is rare are what this is made for.
        ([0.94, 0.06], [0.94, 0.06], ""),
        ([0.9, 0.05, 0.03, 0.02], [0.5, 0.5, 0.0, 0.0], ""),
        ([0.1] * 10, [0.94, 0.03, 0.03] + [0.0] * 7, ""),
    ],
)
def test_a_run_has_collapsed_when_all_images_are_in_one_or_two_codes(
    prior: list[float], sizes: list[float], said: str
) -> None:
    found = diagnosis.collapsed(torch.tensor(prior), torch.tensor(sizes, dtype=torch.float64))
    assert said in found and bool(said) == bool(found)


# A run in which everything looks wrong that can.
WRONG: dict[str, Any] = {
    "prior_K": torch.full((4,), 0.25),
    "sizes_K": torch.tensor([0.99, 0.01, 0.0, 0.0]),
    "merge": [MergeCandidate(1, 2, 0.33)],
    "last_d_loss": 0.05,
    "spreads_K": [0.1] * 4,
}


def titles(**facts: Any) -> list[str]:
    return [found.title for found in diagnosis.findings(replace(GOOD, **(WRONG | facts)))]


def test_of_a_run_that_is_hardly_trained_what_follows_from_it_is_held_back() -> None:
    won = "The discriminator has won"
    assert titles(images_seen=2_000) == ["Hardly trained", won]
    assert titles(images_seen=2_000, images_planned=2_000) == ["Hardly trained", won]
    again = "The model makes one image again and again"
    collapsed = "Hardly trained: the codes have collapsed"
    assert titles() == [collapsed, won, again]
    assert titles(images_seen=160_000) == [collapsed, "The run stopped early", won, again]
    assert len(titles(sizes_K=torch.tensor([0.5, 0.3, 0.2, 0.0]))) == 5  # trained: all the others


def test_a_run_that_was_cut_short_is_to_be_continued_and_a_short_one_to_be_made_longer() -> None:
    cut, short = (diagnosis.findings(replace(GOOD, images_seen=2_000, images_planned=n))[0] for n in (320_000, 2_000))
    assert "2,000 of 320,000 planned" in cut.text and "--resume" in cut.remedy
    assert "2,000 images; below 64,000" in short.text and "more --epochs" in short.remedy


def test_codes_that_hang_together_are_counted_once() -> None:
    """0-1, 1-2 and 0-2 are one group of three: two codes too many."""
    pairs = [MergeCandidate(0, 1, 0.4), MergeCandidate(1, 2, 0.4), MergeCandidate(0, 2, 0.4)]
    (found,) = diagnosis.findings(replace(GOOD, merge=pairs))
    assert "--classes 2" in found.remedy


def test_words_and_the_last_mean() -> None:
    assert text.words([4]) == "4"
    assert text.words([1, 2, 3]) == "1, 2 and 3"
    assert text.words(range(20), most=2) == "0, 1 and 18 more"
    assert diagnosis.last_mean([{"d_loss": 1.0}, {"d_loss": 0.5}, {"nmi": 0.3}, {"d_loss": None}], "d_loss") == 0.5
    assert diagnosis.last_mean([], "d_loss") is None
