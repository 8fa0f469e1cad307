"""The 50 published random class frequencies of imbalanced MNIST (arXiv 1910.01112), and subsets of those sizes."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

import torch
from torch import Tensor

from fastgan.data.image_set import ImageSet
from fastgan.errors import DataError
from fastgan.seeding import shuffled
from fastgan.text import pluralize

LARGEST = 6300  # images of the most frequent class in most splits; the counts for other data sets are scaled by it


@cache
def _table() -> tuple[tuple[int, ...], ...]:
    text = (files("fastgan.data") / "mnist_imbalance_50.csv").read_text(encoding="utf-8")
    return tuple(tuple(int(cell) for cell in row) for row in list(csv.reader(text.splitlines()))[1:])


def class_counts(split: int) -> Tensor:
    """The number of images of each class in split 1 to 50 of imbalanced MNIST, int64 [10].

    Raises:
        DataError: for another split.
    """
    if not 1 <= split <= len(_table()):
        raise DataError(f"--split {split}: must be 1 to {len(_table())}")
    return torch.tensor(_table()[split - 1])


def imbalanced(full: ImageSet, split: int, seed: int, *, scale: float = 1.0) -> ImageSet:
    """The subset of `full` with the class counts of `split`, chosen depending only on (split, seed).

    Args:
        scale: multiplies the published counts, for data sets smaller than MNIST.

    Raises:
        DataError: when a class has fewer images than the split needs.
    """
    assert full.labels is not None
    kept = []
    for label, count in enumerate((class_counts(split) * scale).round().long().tolist()):
        members = torch.nonzero(full.labels == label).squeeze(1)
        if count > len(members):
            raise DataError(
                f"split {split}: needs {pluralize(count, 'image')} of class {label}, the data has {len(members)}"
            )
        order = shuffled(len(members), seed, f"split-{split}-class-{label}")
        kept.append(members[order[:count]])
    index = torch.cat(kept).sort().values
    return ImageSet(f"{full.name}-split{split}", full.images[index], full.labels[index], full.label_count)
