"""Groups told apart by a stain that another group has both kinds of."""

from __future__ import annotations

import cells
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastgan.evaluation import followed, properties, told_apart
from fastgan.evaluation.followed import Looked
from fastgan.evaluation.properties import Property


def measured(strength: float) -> tuple[NDArray[np.int64], NDArray[np.int64], list[Property]]:
    """Shape and laboratory of 400 cells, and what is seen of them."""
    images, shapes, laboratories = cells.draw(400, strength=strength)
    seen = properties.of_pixels(torch.from_numpy(images), torch.arange(400))
    return shapes, laboratories, seen


def looked(codes: NDArray[np.int64], labels: NDArray[np.int64] | None = None) -> Looked:
    return Looked(np.arange(len(codes)), codes, labels)


def split_by_stain(shapes: NDArray[np.int64], laboratories: NDArray[np.int64]) -> NDArray[np.int64]:
    """As a model sorted them: the spindles are a group, the others, mixed, are two groups by their stain."""
    return np.where(shapes == 2, 2, laboratories)


@pytest.mark.parametrize("labelled", [True, False])
def test_two_groups_that_are_one_kind_in_two_stains_are_told(labelled: bool) -> None:
    shapes, laboratories, seen = measured(1.0)
    at = looked(split_by_stain(shapes, laboratories), shapes if labelled else None)
    if not labelled:
        assert followed.finding(followed.follow(at.codes_M, seen), at) is None
    found = told_apart.finding(told_apart.splits(at, seen), at)
    assert found is not None and "mean colour" in found.text
    assert "group 2 has both" in found.text and found.title == "Two groups may differ in mean colour alone"
    first, second, both = (np.array(shown.images) for shown in found.shown)
    assert len(set(laboratories[first])) == len(set(laboratories[second])) == 1
    assert set(laboratories[first]) != set(laboratories[second])
    assert set(at.codes_M[both]) == {2} and set(laboratories[both]) == {0, 1}


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_groups_by_shape_and_by_chance_raise_no_alarm(strength: float) -> None:
    shapes, laboratories, seen = measured(strength)
    chance = np.random.default_rng(0).permutation(shapes)
    for codes in (shapes, chance, laboratories, np.zeros(400, np.int64)):
        assert told_apart.splits(looked(codes), seen) == []
        assert told_apart.splits(looked(codes, shapes), seen) == []


def test_a_quantity_without_two_kinds_splits_nothing() -> None:
    """Groups cut along a normal and a uniform quantity, with a group that has all of it."""
    random = np.random.default_rng(0)
    for values in (random.normal(size=600), random.uniform(size=600)):
        codes = np.where(np.arange(600) < 200, 2, values > np.median(values)).astype(np.int64)
        assert told_apart.splits(looked(codes), [Property("brightness", values_MD=values[:, None])]) == []


def test_groups_of_other_classes_may_differ_in_anything() -> None:
    """Frogs are green and aeroplanes blue, and cars both: no finding where the labels say so, a question without."""
    shapes, laboratories, seen = measured(1.0)
    codes = split_by_stain(shapes, laboratories)
    assert told_apart.splits(looked(codes, codes), seen) == []
    assert told_apart.splits(looked(codes), seen) != []


def test_kinds_of_files_and_unknown_values() -> None:
    shapes, laboratories, _ = measured(1.0)
    codes = split_by_stain(shapes, laboratories)
    place = Property("subfolder", kinds_M=laboratories, names=("basel", "lyon"), shown=False)
    found = told_apart.finding(told_apart.splits(looked(codes), [place]), looked(codes))
    assert found is not None and found.remedy.endswith(followed.PLACES)
    date = laboratories * 1e6 + np.random.default_rng(0).uniform(0, 1e4, 400)
    date[:50] = np.nan
    (split,) = told_apart.splits(looked(codes), [Property("file date", values_MD=date[:, None], shown=False)])
    assert (split.kinds_M[:50] == -1).all() and split.both == [2]
    assert told_apart.splits(looked(codes), [Property("file date", values_MD=np.full((400, 1), np.nan))]) == []
