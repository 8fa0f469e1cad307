"""Published data sets whose training part is trained on and whose test part is held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fastgan.config.schema import TrainConfig
from fastgan.data import cifar, matrices, mnist
from fastgan.data.image_set import ImageSet, resized
from fastgan.runtime.stages import stage

READERS: dict[str, Callable[[Path, str], ImageSet]] = {
    "usps": matrices.usps,
    "svhn": matrices.svhn,
    "cifar10": cifar.part,
}
IN_IDX = ("kmnist", "emnist")
NAMES = (*IN_IDX, *READERS)


def part(config: TrainConfig, folder: Path, which: str) -> ImageSet:
    """The images of one part, resized to the run's size; its name is the data set's, with EMNIST's split.

    Args:
        which: train or test.

    Raises:
        DataError: when files are missing, damaged, or of another data set.
    """
    with stage(f"reading {config.dataset} ({which})"):
        if config.dataset in IN_IDX:
            data_set = f"emnist-{config.emnist_split}" if config.dataset == "emnist" else config.dataset
            found = mnist.parts(folder, data_set)[which == "test"]
        else:
            found = READERS[config.dataset](folder, which)
    return replace(found, images=resized(found.images, config.image_size))
