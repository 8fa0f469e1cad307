"""Published class counts: the 50 of imbalanced MNIST (arXiv 1910.01112) and DeepDPM's; and subsets of those sizes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
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


def imbalanced(full: ImageSet, split: int, seed: int, *, scale: float = 1.0) -> tuple[ImageSet, ImageSet]:
    """The subset of `full` with the class counts of `split`, and the rest, chosen depending only on (split, seed).

    Args:
        scale: multiplies the published counts, for data sets smaller than MNIST.

    Raises:
        DataError: when a class has fewer images than the split needs.
    """
    counts = (class_counts(split) * scale).round().long().tolist()
    return _partition(full, counts, seed, f"split-{split}", f"{full.name}-split{split}")


# The counts of classes 0 to 9 with which DeepDPM (arXiv 2203.14309) imbalanced each data set.
DEEPDPM = {
    "mnist": (6903, 7877, 350, 7141, 6824, 1263, 6876, 7293, 683, 2088),
    "fashion-mnist": (2590, 7000, 7000, 1330, 7000, 2940, 7000, 3781, 1330, 7000),
}


def deepdpm(full: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    """The subset of `full` with DeepDPM's class counts, and the rest, chosen depending only on `seed`.

    Raises:
        DataError: when a class has fewer images than that.
    """
    return _partition(full, DEEPDPM[full.name], seed, "deepdpm", f"{full.name}-deepdpm")


def _partition(
    full: ImageSet, counts_C: Sequence[int], seed: int, purpose: str, name: str
) -> tuple[ImageSet, ImageSet]:
    """So many images of each class, and the rest, each in the order of `full`."""
    assert full.labels is not None
    chosen = torch.zeros(len(full.labels), dtype=torch.bool)
    for label, count in enumerate(counts_C):
        members = torch.nonzero(full.labels == label).squeeze(1)
        if count > len(members):
            flag = f"--{purpose.replace('-', ' ')}" if purpose.startswith("split") else f"--imbalance {purpose}"
            raise DataError(
                f"{flag}: needs {pluralize(count, 'image')} of class {label}, the data has "
                f"{len(members)}; get the whole data set, or use --imbalance none"
            )
        chosen[members[shuffled(len(members), seed, f"{purpose}-class-{label}")[:count]]] = True
    kept, rest = (replace(full, name=name, images=full.images[x], labels=full.labels[x]) for x in (chosen, ~chosen))
    return kept, rest
