"""Two labelings of the same images, compared by hand."""

from __future__ import annotations

import pytest
import torch

from fastgan.evaluation.comparison import MOVES, compare


def test_the_same_groups_under_other_numbers() -> None:
    first_N = torch.tensor([0, 0, 0, 1, 1, 2])
    found = compare(first_N, torch.tensor([2, 2, 2, 0, 0, 1]), 3, 3)
    assert found.ari == pytest.approx(1) and found.ami == pytest.approx(1)
    assert [(pair.first, pair.second, pair.both, pair.share) for pair in found.same] == [
        (0, 2, 3, 1.0),
        (1, 0, 2, 1.0),
        (2, 1, 1, 1.0),
    ]
    assert found.kept == 6 and not found.moves and not found.only_first and not found.only_second
    assert found.inside is None, "as many codes"


def test_images_that_moved_and_the_share_in_common() -> None:
    # Group 0 of ten images loses two to group 1, which had ten.
    first_N = torch.tensor([0] * 10 + [1] * 10)
    second_N = torch.tensor([0] * 8 + [1] * 12)
    found = compare(first_N, second_N, 2, 2)
    assert [(pair.both, pair.first_size, pair.second_size) for pair in found.same] == [(10, 10, 12), (8, 10, 8)]
    assert [pair.share for pair in found.same] == [pytest.approx(10 / 12), pytest.approx(0.8)]
    (move,) = found.moves
    assert (move.first, move.second, move.images_M.tolist()) == (0, 1, [8, 9])
    assert found.kept == 18


def test_a_split_group_is_told_from_both_sides() -> None:
    first_N = torch.tensor([0] * 20 + [1] * 10)
    second_N = torch.tensor([0] * 10 + [1] * 10 + [2] * 10)
    found = compare(first_N, second_N, 2, 3)
    assert [(pair.first, pair.second) for pair in found.same] == [(1, 2)]
    assert [(group.code, group.size, group.where) for group in found.only_first] == [(0, 20, "groups 0 and 1 together")]
    assert [(group.code, group.where) for group in found.only_second] == [
        (0, "a part of group 0"),
        (1, "a part of group 0"),
    ]
    assert found.inside == 1.0, "the finer labeling only splits"
    assert found.only_first[0].images_M.tolist() == list(range(20))
    turned = compare(second_N, first_N, 3, 2)
    assert turned.inside == 1.0 and [group.code for group in turned.only_second] == [0]


def test_a_group_that_is_spread_names_its_parts() -> None:
    first_N = torch.tensor([0] * 9 + [1] * 9 + [2] * 9)
    second_N = torch.tensor([0, 1, 2] * 9)
    found = compare(first_N, second_N, 3, 3)
    assert not found.same and found.ari < 0
    assert found.only_first[0].where == "spread over groups 0 (33%), 1 (33%), 2 (33%)"


def test_groups_without_images_are_no_groups() -> None:
    found = compare(torch.zeros(5, dtype=torch.int64), torch.full((5,), 3), 4, 4)
    assert [(pair.first, pair.second) for pair in found.same] == [(0, 3)] and found.kept == 5
    assert not found.only_first and not found.only_second and not found.moves


def test_a_thousand_groups_list_no_more_moves_than_they_may() -> None:
    generator = torch.Generator().manual_seed(0)
    first_N, second_N = (torch.randint(1000, (5000,), generator=generator) for _ in range(2))
    found = compare(first_N, second_N, 1000, 1000)
    assert len(found.moves) == MOVES and abs(found.ari) < 0.01
    sizes = [len(move.images_M) for move in found.moves]
    assert sizes == sorted(sizes, reverse=True) and min(sizes) > 0
