"""The table of classes that cluster prints."""

from __future__ import annotations

import torch

from fastgan.data.image_set import ImageSet
from fastgan.reporting.class_table import SHOWN, class_table

CODES = torch.tensor([3, 3, 1, 3, 0, 1])
SURE = torch.tensor([1.0, 0.5, 0.9, 0.6, 0.25, 0.7])


def test_a_line_for_each_class_with_images_the_largest_first() -> None:
    assert class_table(CODES, SURE, 5).splitlines() == [
        "  class     images   share  confidence",
        "      3          3   50.0%        0.70",
        "      1          2   33.3%        0.80",
        "      0          1   16.7%        0.25",
    ]


def test_labels_name_what_a_class_mostly_holds() -> None:
    names = ("cat", "a very long\nname of a class indeed")
    images = ImageSet("folder", torch.zeros(6, 1, 8, 8), torch.tensor([0, 0, 1, 1, 0, 1]), 2, class_names=names)
    lines = class_table(CODES, SURE, 5, images).splitlines()
    assert lines[0].endswith("  mostly")
    assert [line.split("  ")[-1] for line in lines[1:]] == [
        "cat (67%)",
        "a very long\\u000aname... (100%)",
        "cat (100%)",
    ]
    unnamed = ImageSet("digits", images.images, images.labels, 2)
    assert class_table(CODES, SURE, 5, unnamed).splitlines()[2].endswith("  1 (100%)")


def test_of_many_classes_the_smallest_are_summed_up() -> None:
    codes = torch.arange(SHOWN + 2).repeat_interleave(2)
    lines = class_table(torch.cat([codes, codes[:-4]]), torch.ones(4 * SHOWN + 4), 100).splitlines()
    assert len(lines) == SHOWN + 2 and lines[-1] == "  and 2 smaller classes of 4 images (3.2%)"
    assert len(class_table(codes[:-4], torch.ones(2 * SHOWN), 100).splitlines()) == SHOWN + 1
