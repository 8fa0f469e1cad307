"""How sure Q is beside what others say: measured by hand, and told when they disagree, only then."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fastgan.data import digits
from fastgan.evaluation import trust
from fastgan.evaluation.trust import Bin, Trust

GOOD = Trust(0.99, 0.97, 0.9, 0.2, None, None, torch.full((5,), 0.97), [Bin(0.95, 0.99, 100, 0.98, 0.97, 0.9)])


def one_hot(codes_M: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(codes_M, classes).float()


def test_views_and_bins_are_counted() -> None:
    images = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    codes, sure = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0.995, 0.995, 0.6, 0.6, 0.6, 0.9])
    seen = one_hot(torch.tensor([0, 1, 0, 1, 1, 0]), 3)
    found = trust.measure(images, codes, sure, torch.arange(6), seen)
    assert found.stated == pytest.approx(4.69 / 6) and found.views == pytest.approx(4 / 6)
    assert found.views_K[:2].tolist() == pytest.approx([2 / 3, 2 / 3]) and found.views_K[2].isnan()
    assert [(each.low, each.high, each.images, each.views) for each in found.bins] == [
        (0.5, 0.8, 3, 1.0),
        (0.8, 0.95, 1, 0.0),
        (0.99, 1.0, 2, 0.5),
    ]
    # Of six images each one's five neighbours are all others, two of which have its code.
    assert found.neighbours == pytest.approx(2 / 5) and found.chance == pytest.approx(0.5)
    assert found.error == pytest.approx((3 * 0.4 + 0.9 + 2 * 0.495) / 6)
    assert found.labels is None and found.seeds is None


def test_labels_and_another_run_are_asked_where_they_are_known() -> None:
    images, codes = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 0, 1, 1])
    counts = torch.tensor([[2, 0], [1, 1]])
    found = trust.measure(
        images, codes, torch.ones(4), torch.arange(4), one_hot(codes, 2), counts_KC=counts, beside_N=1 - codes
    )
    assert found.labels == 0.75 and found.seeds == 1.0


def test_neighbours_of_true_digits_agree_and_of_random_codes_do_not() -> None:
    images, draw = digits.full(16), torch.Generator().manual_seed(0)
    assert images.labels is not None
    every, labels = torch.arange(1797), images.labels
    for codes, low, high in ((labels, 0.9, 1.0), (torch.randint(0, 10, (1797,), generator=draw), -0.05, 0.05)):
        found = trust.measure(images.images, codes, torch.full((1797,), 0.99), every, one_hot(codes, 10))
        assert found.above_chance is not None and low < found.above_chance < high
        told = trust.finding(found)
        assert (told is None) == (low > 0)
        if told is not None:
            assert told.title == "Sure is not right" and "99.0% sure on average" in told.text and "pixels" in told.text


def test_a_lone_image_has_no_neighbours() -> None:
    assert trust.neighbours_agree(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.zeros(1), torch.arange(1)) is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"views": 0.79}, "another code in 21% of cases"),
        ({"neighbours": 0.59}, "only 59% have its code, where chance gives 20%"),
        ({"seeds": 0.39}, "another run finds other groups (adjusted Rand index 0.39)"),
        ({"labels": 0.69}, "only 69% of the images"),
    ],
)
def test_being_sure_while_one_disagrees_is_told(wrong: dict[str, float], said: str) -> None:
    found = trust.finding(replace(GOOD, **wrong), 5)
    assert found is not None and found.title == "Sure is not right" and said in found.text
    assert ("--beside" in found.remedy) == ("seeds" not in wrong), "of a second run where there is none"
    assert trust.finding(replace(GOOD, stated=0.79, **wrong), 5) is None, "it does not claim to be sure"


@pytest.mark.parametrize("fine", [{}, {"views": 0.8}, {"neighbours": 0.61}, {"seeds": 0.4}, {"labels": 0.7}])
def test_nothing_is_told_at_the_threshold(fine: dict[str, float]) -> None:
    assert trust.finding(replace(GOOD, **fine), 5) is None


def test_confidence_that_a_second_view_bears_out_is_no_lie() -> None:
    assert trust.finding(replace(GOOD, stated=0.85, views=0.76)) is None
    assert trust.finding(replace(GOOD, stated=0.85, views=0.74)) is not None


def test_fewer_codes_than_classes_must_mix_them() -> None:
    assert trust.finding(replace(GOOD, labels=0.5), 6) is None
    assert trust.finding(replace(GOOD, labels=0.5), 5) is not None


def test_words_tell_confidence_from_correctness() -> None:
    (alone,) = trust.in_words(GOOD)
    assert "99.0% sure on average. That is its own opinion, not how often it is right" in alone
    assert "same code in 97.0% of cases" in alone and "90.0% have its code (20.0% would by chance)" in alone
    bins = [Bin(0.0, 0.5, 20, 0.4, 0.3, None), Bin(0.5, 0.8, 19, 0.6, 0.1, None), Bin(0.99, 1.0, 80, 1.0, 0.95, None)]
    said = trust.in_words(replace(GOOD, neighbours=None, seeds=0.5, labels=0.9, bins=bins))
    assert "pixels" not in said[0] and "another run is 0.50" in said[0] and "90.0% of the images" in said[0]
    assert said[1:] == [
        "The second view agrees in 95% where it is at least 99% sure and 30% where it is less than 50% sure."
    ]
