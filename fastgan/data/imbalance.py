"""Class counts, and subsets of those sizes: the 50 of imbalanced MNIST (arXiv 1910.01112), DeepDPM's, long tails.

Which images of a class are kept is a pure function of the seed, the class and the kind of counts: the first ones of an
order that `seeding.shuffled` draws. Of long tails and of given counts fewer images are thus always some of the more.

Legend: C classes.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

import torch
from torch import Tensor

from fastgan.config import imbalance as flag
from fastgan.data.image_set import ImageSet
from fastgan.errors import ConfigError, DataError
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


def scaled_split(full: ImageSet, split: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """`imbalanced` with the counts scaled down to what the rarest of ten classes allows.

    Raises:
        ConfigError: for data of another number of classes.
    """
    assert full.labels is not None
    flag.check_classes("split", full.label_count, full.name)
    fewest = int(torch.bincount(full.labels, minlength=full.label_count).min())
    return imbalanced(full, split, seed, scale=min(fewest / LARGEST, 1.0))


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


def profiled(full: ImageSet, text: str, seed: int) -> tuple[ImageSet, ImageSet]:
    """The subset of `full` with the class counts of a `long-tailed:R` or `counts:A,B,...`, and the rest.

    Raises:
        ConfigError: for other numbers than the data have classes, and where a class would have no image.
        DataError: when a class has fewer images than that.
    """
    assert full.labels is not None
    flag.check_classes(text, full.label_count, full.name)
    ratio, counts = flag.ratio(text), flag.counts(text)
    if ratio is not None:
        counts = long_tailed(torch.bincount(full.labels, minlength=full.label_count).tolist(), ratio)
        if min(counts) == 0:
            raise ConfigError(
                f"--imbalance {text}: leaves no image of class {counts.index(0)}; use a lower ratio, such as "
                f"long-tailed:{max(max(counts) // 10, 1)}"
            )
    if counts is None:
        raise ConfigError(f"--imbalance {text}: must be {flag.LIMIT.words}")
    return _partition(full, counts, seed, flag.kind(text), f"{full.name}-{flag.kind(text)}", text)


def long_tailed(held_C: Sequence[int], ratio: float) -> tuple[int, ...]:
    """The counts of a long tail, n_i = n_0 R^(-i/(C-1)) for i = 0 to C - 1, rounded down (arXiv 1901.05555).

    Args:
        held_C: images that there are of each class. n_0 is the largest with which each class has enough: where all
            have the same number, as in CIFAR-10, it is that number.
        ratio: R, of the most to the least frequent class.
    """
    last = max(len(held_C) - 1, 1)
    most = min(math.floor(held * ratio ** (i / last) + 1e-6) for i, held in enumerate(held_C))
    return tuple(min(math.floor(most * ratio ** (-i / last) + 1e-6), held) for i, held in enumerate(held_C))


def _partition(
    full: ImageSet, counts_C: Sequence[int], seed: int, purpose: str, name: str, text: str | None = None
) -> tuple[ImageSet, ImageSet]:
    """So many images of each class, and the rest, each in the order of `full`; `text`: the value of --imbalance."""
    assert full.labels is not None
    chosen = torch.zeros(len(full.labels), dtype=torch.bool)
    for label, count in enumerate(counts_C):
        members = torch.nonzero(full.labels == label).squeeze(1)
        if count > len(members):
            given = (
                f"--{purpose.replace('-', ' ')}" if purpose.startswith("split") else f"--imbalance {text or purpose}"
            )
            remedy = "lower that number" if text is not None else "get the whole data set"
            raise DataError(
                f"{given}: needs {pluralize(count, 'image')} of class {label}, the data has "
                f"{len(members)}; {remedy}, or use --imbalance none"
            )
        chosen[members[shuffled(len(members), seed, f"{purpose}-class-{label}")[:count]]] = True
    kept, rest = (replace(full.rows(x), name=name) for x in (chosen, ~chosen))
    return kept, rest
