"""What is said of the classes that folders give."""

from __future__ import annotations

import pytest
import torch

from fastgan.data.classes import NAMED, described
from fastgan.data.image_set import ImageSet


def images(**counts: int) -> ImageSet:
    names = tuple(sorted(counts))
    labels = torch.tensor([i for i, name in enumerate(names) for _ in range(counts[name])])
    pixels = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    return ImageSet("folder", pixels, labels, len(names), tuple(map(str, range(len(labels)))), names)


def test_each_class_is_named_with_its_number_of_images() -> None:
    found = "labels from folders: 2 classes with so many images each: cat 3, dog 1,200"
    assert described(images(dog=1200, cat=3)) == [found]


def test_of_many_classes_the_rest_is_counted() -> None:
    (line,) = described(images(**{f"c{i:03}": i + 1 for i in range(NAMED + 30)}))
    assert line.endswith(", c019 20, and 30 more of 21 to 50 images") and "50 classes" in line


def test_a_name_stays_on_its_line() -> None:
    (line,) = described(images(**{"two\nlines": 1, "\udce9": 2}))
    assert r"two\u000alines 1" in line and line.encode()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train", "test"], "test and train look like parts of a data set, not classes"),
        (["Train", "val", "TEST"], "look like parts"),
        (["train_set", "test-set", "misc"], "test-set and train_set look like parts"),
        (["training"], "training looks like a part of a data set, not a class"),
        (["photos"], "all images lie in the one folder photos"),
    ],
)
def test_folders_that_are_hardly_classes_are_doubted(names: list[str], words: str) -> None:
    _, warning = described(images(**dict.fromkeys(names, 2)))
    assert warning.startswith("warning: --labels-from-folders: ") and words in warning
    assert "--data-dir" in warning and "leave the flag out" in warning


@pytest.mark.parametrize("names", [["cat", "dog"], ["trains", "planes"], ["test", "cat", "dog"], ["values", "devices"]])
def test_other_folders_are_not(names: list[str]) -> None:
    assert len(described(images(**dict.fromkeys(names, 2)))) == 1


def test_without_such_labels_nothing_is_said() -> None:
    pixels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    assert described(ImageSet("folder", pixels, None, 0, ("a", "b"))) == []
    assert described(ImageSet("mnist", pixels, torch.tensor([0, 1]), 10)) == []
