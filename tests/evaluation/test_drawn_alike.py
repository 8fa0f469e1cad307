"""Images made for a group, beside its real ones: another kind is noticed, blur, noise and light are not."""

from __future__ import annotations

import cells
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.data import digits
from fastgan.data.image_set import ImageSet, to_unit_range
from fastgan.evaluation import drawn_alike
from fastgan.evaluation.drawn_alike import Alike, Groups


def halves(images: ImageSet) -> tuple[Groups, list[Tensor]]:
    """Groups of one half of the images, a class each, and 32 of the other half of each class, in [-1, 1]."""
    assert images.labels is not None
    even = torch.arange(len(images.images)) % 2 == 0
    left = [torch.nonzero(~even & (images.labels == c)).flatten()[:32] for c in range(images.label_count)]
    groups = Groups(images.images[even], images.labels[even], 0)
    return groups, [to_unit_range(images.images[index]) for index in left]


@pytest.mark.parametrize("images", [digits.full(16), cells.image_set(600)], ids=["digits", "cells"])
def test_another_kind_is_noticed_and_blur_noise_and_light_are_not(images: ImageSet) -> None:
    groups, drawn = halves(images)
    noise = torch.Generator().manual_seed(0)
    for code, mine in enumerate(drawn):
        blurred = F.avg_pool2d(F.pad(mine, (1, 1, 1, 1), mode="replicate"), 3, 1)
        noisy = mine + 0.2 * torch.randn(mine.shape, generator=noise)
        for alike in (mine, blurred, noisy, 0.8 * mine - 0.1):
            found = groups.compare(alike, code)
            assert found is not None and not found.unlike
        other = (code + 1) % len(drawn)
        found = groups.compare(drawn[other], code)
        assert found is not None and found.unlike and found.instead == other


def test_groups_that_pixels_cannot_tell_raise_no_alarm() -> None:
    images = cells.image_set(400)
    random = torch.Generator().manual_seed(0)
    groups = Groups(images.images, torch.randint(0, 4, (400,), generator=random), 0)
    found = groups.compare(to_unit_range(images.images[:32]), 0)
    assert found is not None and not found.unlike


def test_small_or_lone_groups_are_not_compared() -> None:
    images, codes = torch.zeros(60, 1, 4, 4, dtype=torch.uint8), torch.zeros(60, dtype=torch.int64)
    assert Groups(images, codes, 0).compare(torch.zeros(2, 1, 4, 4), 0) is None
    codes[:5] = 1
    assert Groups(images, codes, 0).compare(torch.zeros(2, 1, 4, 4), 1) is None


def test_it_is_told_with_its_figures_and_pictures_of_both() -> None:
    unlike, fine = Alike(0.1, 0.9, 0.25, 2), Alike(0.5, 0.9, 0.25, 2)
    codes_N = torch.tensor([0, 1, 1, 2])
    assert drawn_alike.finding({0: fine, 1: None}, codes_N) is None
    found = drawn_alike.finding({0: fine, 1: unlike, 2: None}, codes_N)
    assert found is not None and "group 1" in found.text and "10%" in found.text and "90%" in found.text
    assert "mostly of group 2" in found.text
    assert [(each.images, each.drawn) for each in found.shown] == [([1, 2], 1)]
    many = drawn_alike.finding(dict.fromkeys(range(5), unlike), codes_N)
    assert many is not None and len(many.shown) == 3 and "groups 0, 1, 2, 3 and 4" in many.text
