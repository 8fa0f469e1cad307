"""Groups beside known classes: mixed ones, classes without a group and in several, each with its counts."""

from __future__ import annotations

import pytest
import torch

from fastgan.evaluation.class_findings import Counted, class_findings, makeup, mixed
from fastgan.evaluation.finding import Action, Finding

NAMES = ("one", "two", "three")


def found_in(counts_KC: torch.Tensor, unused: tuple[int, ...] = ()) -> list[Finding]:
    """Of so many images of each group and class, those of a group one after the other, by class."""
    every = torch.arange(counts_KC.numel()).repeat_interleave(counts_KC.flatten())
    classes = counts_KC.shape[1]
    return class_findings(Counted(counts_KC, NAMES, every // classes, every % classes), unused)


def told(*rows: list[int], unused: tuple[int, ...] = ()) -> dict[str, str]:
    return {found.title: found.text for found in found_in(torch.tensor(rows), unused)}


def test_one_group_a_class_is_nothing_to_tell() -> None:
    assert told([50, 2, 0], [1, 40, 3], [0, 0, 30]) == {}


def test_a_mixed_group_is_told_with_its_shares() -> None:
    found = told([44, 30, 6], [0, 70, 0], [0, 0, 50], [0, 0, 0])
    assert found["A group mixes classes"] == (
        "Group 0 (80 images) is 55% class one and 38% class two. No class has 75% of them."
    )
    assert "A class is in several groups" in found, "30 of 100 twos are a quarter of them"
    mixes, *_ = found_in(torch.tensor([[44, 30, 6], [0, 70, 0]]))
    assert "2 groups for 3 classes" in mixes.remedy and "--classes 3" in mixes.remedy


def test_mostly_begins_at_three_quarters() -> None:
    assert not mixed(torch.tensor([75, 25])) and mixed(torch.tensor([74, 26])) and not mixed(torch.tensor([0, 0]))


def test_a_class_without_a_group_is_told_with_where_its_images_are() -> None:
    found = told([9, 60, 0], [0, 80, 0], [0, 0, 50])
    assert found["A class has no group"] == (
        "No group has it as its most frequent class. Class one (9 images): 9 in group 0."
    )
    assert found["A class is in several groups"] == "Class two (140 images): 80 in group 1 and 60 in group 0."


def test_a_quarter_of_a_class_elsewhere_is_told() -> None:
    found = told([60, 0, 0], [0, 200, 0], [20, 0, 170])
    assert found == {"A class is in several groups": "Class one (80 images): 60 in group 0 and 20 in group 2."}
    assert told([60, 0, 0], [0, 200, 0], [19, 0, 170]) == {}
    assert told([8, 0, 0], [0, 200, 0], [4, 0, 170]) == {}, "four images are too few to speak of"


def test_unused_codes_and_classes_without_images_are_left_out() -> None:
    assert told([50, 0, 0], [0, 40, 0], [1, 1, 0], unused=(2,)) == {}


def test_many_are_counted_not_listed() -> None:
    rows = torch.zeros(40, 3, dtype=torch.int64)
    rows[torch.arange(40), torch.arange(40) % 2] = 10
    rows[:, 2] = 9
    mixes, lost, several = found_in(rows)
    assert mixes.title == "40 groups mix classes" and "; and 34 more groups. " in mixes.text
    assert "Class three (360 images)" in lost.text
    assert several.title == "2 classes are in several groups" and "the rest in 14 more" in several.text


@pytest.mark.parametrize(
    ("counts", "parts"),
    [
        ([44, 30, 26], [("one", 0.44), ("two", 0.3), ("three", 0.26)]),
        ([5, 91, 4], [("two", 0.91)]),
        ([0, 0, 0], []),
    ],
)
def test_a_groups_classes_are_its_most_frequent(counts: list[int], parts: list[tuple[str, float]]) -> None:
    assert [(name, pytest.approx(share)) for name, share in makeup(torch.tensor(counts), NAMES)] == parts


def test_each_finding_shows_the_images_that_it_is_about() -> None:
    mixes, lost, several = found_in(torch.tensor([[44, 30, 6], [0, 70, 0]]))
    (shown,) = mixes.shown
    assert shown.caption == "Group 0: class one and two" and shown.images == [*range(4), *range(44, 48)]
    assert [(each.caption, each.images) for each in lost.shown] == [("Class three, in group 0", list(range(74, 80)))]
    assert [each.caption for each in several.shown] == ["Class two, in group 1", "Class two, in group 0"]
    assert [each.images[0] for each in several.shown] == [80, 44]


def test_only_groups_that_are_mostly_one_class_are_to_be_read_as_one() -> None:
    joins = [
        [one.groups for one in each.advice if one.action is Action.JOIN]
        for each in found_in(torch.tensor([[50, 0, 0], [40, 1, 0], [0, 60, 0], [0, 0, 40]]))
    ]
    assert joins == [[[[0, 1]]]]
    (mixes, several) = found_in(torch.tensor([[50, 40, 0], [40, 1, 0], [0, 60, 0], [0, 0, 40]]))
    assert mixes.title == "A group mixes classes" and Action.JOIN not in [one.action for one in several.advice]
