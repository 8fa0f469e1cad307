"""Loading a data set by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from fastgan.config.schema import OPEN_FORM, TrainConfig
from fastgan.config.validation import check_count
from fastgan.data import arrays, digits, faces, folder, held_out, hugging_face, mnist, published, remarks, scan
from fastgan.data.image_set import ImageSet, JudgeSet
from fastgan.data.imbalance import deepdpm, profiled, scaled_split
from fastgan.errors import ConfigError, DataError
from fastgan.seeding import shuffled


def data_folder(config: TrainConfig) -> Path:
    """The folder of the data set's files: --data-dir, or data."""
    return config.data_dir if config.data_dir is not None else Path("data")


def sized(config: TrainConfig) -> TrainConfig:
    """`config` with a side and channels of 0 chosen by the images of npz and hf. Raises DataError for a bad file."""
    if config.dataset not in OPEN_FORM or (config.image_size and config.channels):
        return config
    path = data_folder(config)
    if config.dataset == "npz":
        side, channels = arrays.suited_form(arrays.read(path).images, path.name)
    else:
        side, channels = hugging_face.suited_form(path, config.cache_dir)
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
    if (nothing := remarks.nothing_to_learn(images, config.ground)) is not None:
        raise DataError(f"{data_folder(config)}: {nothing}")
    return images


def load_held_out(config: TrainConfig, everything: ImageSet | None = None) -> ImageSet | None:
    """Labelled images of the same classes that the run is not trained on; None where it is trained on all.

    Those of a test part, where there is one that is not trained on: of kmnist, emnist, usps, cifar10, svhn and
    FMNIST-5, and of npz and hf whose files have one. Else the images that an imbalance leaves out.

    Args:
        everything: as for `load`.

    Raises:
        DataError: for bad files.
    """
    place = data_folder(config)
    if config.imbalance == "fmnist-5":
        return mnist.five(place, config.image_size)[1]
    if config.dataset in published.NAMES:
        return published.part(config, place, "test")
    others = None
    if config.dataset == "npz":
        others = arrays.image_set(place.name, arrays.read(place), config.image_size, config.channels, others=True)
    if config.dataset == "hf":
        others = _hugging_face(config, others=True)
    if others is not None or config.imbalance == "none":
        return others
    return _partition(config, load_everything(config) if everything is None else everything)[1]


def _partition(config: TrainConfig, everything: ImageSet) -> tuple[ImageSet, ImageSet | None]:
    """The images to train on, and those of an imbalance's counts that are left."""
    if config.imbalance in ("none", "fmnist-5"):
        return everything, None
    if everything.labels is None:
        raise ConfigError(
            f"--imbalance {config.imbalance}: needs labels, and {data_folder(config)} has none; use --imbalance none"
        )
    if config.imbalance == "deepdpm":
        return deepdpm(everything, config.seed)
    if config.imbalance == "split":
        choose = {"digits": digits.choose, "mnist": mnist.choose, "fashion-mnist": mnist.choose}
        kept, rest = choose.get(config.dataset, scaled_split)(everything, config.split, config.seed)
    else:
        kept, rest = profiled(everything, config.imbalance, config.seed)
    if config.own_images:
        kept, rest = (replace(part, name=everything.name) for part in (kept, rest))
    return kept, rest


def load_everything(config: TrainConfig) -> ImageSet:
    """All images of a data set, before a split is applied. Raises DataError for bad files."""
    if config.imbalance == "fmnist-5":
        return mnist.five(data_folder(config), config.image_size)[0]
    if config.dataset in published.NAMES:
        return published.part(config, data_folder(config), "train")
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
    if config.dataset == "hf":
        found = _hugging_face(config)
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


def _hugging_face(config: TrainConfig, *, others: bool = False) -> ImageSet | None:
    """The images of a Hugging Face data set; `others`: of its test part, None without one."""
    return hugging_face.image_set(
        data_folder(config),
        config.image_size,
        config.channels,
        ground=config.ground,
        skip_bad=config.skip_bad,
        cache_dir=config.cache_dir,
        others=others,
    )


def load_folder(config: TrainConfig, images: Path, *, skip_bad: bool) -> ImageSet:
    """All images of any folder, or of a file of arrays, without labels, in the form of the run's own.

    Raises:
        DataError: for bad files.
    """
    if scan.holds_arrays(images):
        alone = replace(arrays.read(images), labels=None, other_images=None, other_labels=None)
        found = arrays.image_set(images.name, alone, config.image_size, config.channels)
        assert found is not None
        return found
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
        images: the run's own. Published data sets have one judge for all runs, and are read again where the run has
            not all their training images.
    """
    if config.imbalance == "fmnist-5":
        return JudgeSet("fashion-mnist-5", *mnist.five(data_folder(config), config.image_size))
    if config.dataset in published.NAMES:
        whole = images is not None and config.imbalance == "none"  # USPS takes seconds to read
        train = images if images is not None and whole else published.part(config, data_folder(config), "train")
        return JudgeSet(train.name, train, published.part(config, data_folder(config), "test"))
    if config.dataset in mnist.TITLES:
        return mnist.judge_set(data_folder(config), config.image_size, config.dataset)
    if config.dataset == "digits":
        return digits.judge_set(config.image_size)
    assert images is not None
    return held_out.judge_set(images)


def epoch_order(config: TrainConfig, count: int, epoch: int) -> Tensor:
    """The order of the images in epoch 0, 1, ...: int64 [count], depending only on (seed, epoch)."""
    return shuffled(count, config.seed, f"order-{epoch}")
