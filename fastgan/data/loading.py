"""Loading a data set by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.config.validation import check_count
from fastgan.data import arrays, digits, faces, folder, held_out, mnist, remarks
from fastgan.data.image_set import ImageSet, JudgeSet
from fastgan.data.imbalance import deepdpm
from fastgan.errors import DataError
from fastgan.seeding import shuffled


def data_folder(config: TrainConfig) -> Path:
    """The folder of the data set's files: --data-dir, or data."""
    return config.data_dir if config.data_dir is not None else Path("data")


def sized(config: TrainConfig) -> TrainConfig:
    """`config` with a side and channels of 0 chosen by the arrays of npz. Raises DataError for a bad file."""
    if config.dataset != "npz" or (config.image_size and config.channels):
        return config
    path = data_folder(config)
    side, channels = arrays.suited_form(arrays.read(path).images, path.name)
    return replace(config, image_size=config.image_size or side, channels=config.channels or channels)


def load(config: TrainConfig, everything: ImageSet | None = None) -> ImageSet:
    """The training images of a run.

    Args:
        everything: the result of `load_everything`, if available; nothing is read then.

    Raises:
        DataError: for bad files, and when all images are of one colour or equal.
        ConfigError: when there are too few images for the number of codes or the batch.
    """
    images, _ = _partition(config, load_everything(config) if everything is None else everything)
    check_count(config, len(images.images))
    if images.facts is not None:
        flat = remarks.nothing_to_learn(images.facts, images.paths or (), config.ground)
        if flat is not None:
            raise DataError(f"{data_folder(config)}: {flat}")
    return images


def load_held_out(config: TrainConfig, everything: ImageSet | None = None) -> ImageSet | None:
    """Labelled images of the same classes that the run is not trained on; None where it is trained on all.

    Of a split, or of DeepDPM's counts, the images that it leaves out; of FMNIST-5 the test images.

    Args:
        everything: as for `load`.

    Raises:
        DataError: for bad files.
    """
    if config.imbalance == "fmnist-5":
        return mnist.five(data_folder(config), config.image_size)[1]
    if config.dataset == "npz":
        path = data_folder(config)
        return arrays.image_set(path.name, arrays.read(path), config.image_size, config.channels, others=True)
    if config.imbalance == "none":
        return None
    return _partition(config, load_everything(config) if everything is None else everything)[1]


def _partition(config: TrainConfig, everything: ImageSet) -> tuple[ImageSet, ImageSet | None]:
    """The images to train on, and those of a split's counts that are left."""
    if config.imbalance == "split":
        choose = digits.choose if config.dataset == "digits" else mnist.choose
        return choose(everything, config.split, config.seed)
    return deepdpm(everything, config.seed) if config.imbalance == "deepdpm" else (everything, None)


def load_everything(config: TrainConfig) -> ImageSet:
    """All images of a data set, before a split is applied. Raises DataError for bad files."""
    if config.imbalance == "fmnist-5":
        return mnist.five(data_folder(config), config.image_size)[0]
    if config.dataset in mnist.TITLES:
        return mnist.everything(data_folder(config), config.image_size, config.dataset)
    if config.dataset == "folder":
        return folder.full(
            data_folder(config),
            config.image_size,
            config.channels,
            labels_from_folders=config.labels_from_folders,
            skip_bad=config.skip_bad,
            cache_dir=config.cache_dir,
            ground=config.ground,
            intensity_range=config.intensity_range,
        )
    if config.dataset == "npz":
        path = data_folder(config)
        found = arrays.image_set(path.name, arrays.read(path), config.image_size, config.channels)
        assert found is not None
        return found
    if config.dataset == "youtube-faces":
        return faces.full(
            data_folder(config),
            config.image_size,
            config.channels,
            identities=config.identities,
            frame_stride=config.frame_stride,
            skip_bad=config.skip_bad,
            cache_dir=config.cache_dir,
            ground=config.ground,
            intensity_range=config.intensity_range,
        )
    return digits.full(config.image_size)


def load_folder(config: TrainConfig, images: Path, *, skip_bad: bool) -> ImageSet:
    """All images of any folder, without labels, decoded like the run's own. Raises DataError for bad files."""
    read = faces.elsewhere if config.dataset == "youtube-faces" else folder.full
    return read(
        images,
        config.image_size,
        config.channels,
        skip_bad=skip_bad,
        cache_dir=config.cache_dir,
        ground=config.ground,
        intensity_range=config.intensity_range,
    )


def load_judge_set(config: TrainConfig, images: ImageSet | None = None) -> JudgeSet:
    """The labelled images to train and test this run's judge.

    Args:
        images: the run's own; mnist and digits do not need them, since they have one judge for all runs.
    """
    if config.imbalance == "fmnist-5":
        return JudgeSet("fashion-mnist-5", *mnist.five(data_folder(config), config.image_size))
    if config.dataset in mnist.TITLES:
        return mnist.judge_set(data_folder(config), config.image_size, config.dataset)
    if config.dataset == "digits":
        return digits.judge_set(config.image_size)
    assert images is not None
    return held_out.judge_set(images)


def epoch_order(config: TrainConfig, count: int, epoch: int) -> Tensor:
    """The order of the images in epoch 0, 1, ...: int64 [count], depending only on (seed, epoch)."""
    return shuffled(count, config.seed, f"order-{epoch}")
