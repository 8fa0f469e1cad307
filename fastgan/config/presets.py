"""The defaults of each data set, by recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from fastgan.config.schema import (
    CHANNELS,
    EMNIST_CLASSES,
    MAX_CODES,
    GroupingConfig,
    NetworkConfig,
    TrainConfig,
    TransformConfig,
)
from fastgan.errors import ConfigError

FINER = 4  # codes of Q's overclustering head per class, tuned with ten classes
# What the default recipe changes from the paper's, on every data set; docs/prior.md gives the reasons and what each
# part gains.
_DEFAULT: dict[str, Any] = {
    "contrastive_weight": 1.0,
    "contrastive_temperature": 0.2,
    "agreement_weight": 1.0,
    "finer_codes": 40,
    "front_end_learns": True,
    "real_averages": True,
    "prior_pull": 10.0,
    "learning_rate": 1e-3,
    "discriminator_learning_rate": 2e-3,
    "prior_learning_rate": 3e-3,
    "final_rate": 0.05,
    "pretrain_epochs": -1,
}
# Groups that keep rare classes (docs/prior.md).
_GROUPING = GroupingConfig(landmarks=10_000, linkage=0.75, samples=3, stability=0.9, pixel_vote=0.7, pixel_views=8)
# What real-world image files need in addition. schedule.py chooses each 0 by the number of images, and
# augment/suited.py the transforms by what is in them.
_NATURAL: dict[str, Any] = {
    "imbalance": "none",
    "intensity_range": "auto",
    "image_size": 64,
    "channels": 3,
    "epochs": 0,
    "eval_every": 0,
    "save_every": 0,
    "save_share": 0.02,
    "average_decay": 0.999,
    "grouping": replace(_GROUPING, at=(0,)),
    "network": NetworkConfig(feature_norm="layer"),
    "transform": TransformConfig(kind="auto"),
}
# Arrays have a size and a range of their own.
_OF_ARRAYS: dict[str, Any] = {"image_size": 0, "channels": 0, "intensity_range": TrainConfig.intensity_range}
# What 70,000 small grey images need. The averaged generator makes better ones: on MNIST a Frechet distance of 0.52 to
# 0.54 instead of 0.62 after 19.5 epochs of the paper's recipe, NMI 0.801 to 0.807 instead of 0.801.
_MNIST: dict[str, Any] = {"average_decay": 0.999, "save_share": 0.02, "grouping": replace(_GROUPING, at=(2, 3, 4))}
# As FashionMNIST, every image kept; not tuned.
_AS_MNIST: dict[str, Any] = {**_MNIST, "imbalance": "none", "transform": TransformConfig(kind="auto")}
# As these, with the normalisation that photographs need; not tuned.
_SMALL_COLOUR: dict[str, Any] = {
    **_AS_MNIST,
    "image_size": 32,
    "channels": CHANNELS["cifar10"],
    "network": NetworkConfig(feature_norm="layer"),
}
# Faces are aligned: crops that suit photographs would cut features off.
_FACES = TransformConfig(
    kind="default", rotation=15.0, flip=0.5, brightness=0.2, contrast=0.2, saturation=0.2, hue=10.0
)
# What each data set needs in addition.
PRESETS: dict[str, TrainConfig] = {
    # About 1,200 tiny images: half the width at 16x16 trains in a minute and a half on two cores. Digits of 8x8
    # pixels tolerate less rotation than MNIST's; a small shift makes up for the small number of images.
    "digits": TrainConfig(
        dataset="digits",
        image_size=16,
        epochs=160,
        eval_every=40,
        save_every=40,
        log_every=64 * 100,
        grouping=replace(_GROUPING, at=(40, 60, 80), pixel_vote=0.0, pixel_views=0),  # 64 pixels say little
        transform=TransformConfig(kind="whole", rotation=15.0, shear=15.0, stretch=0.15, shift=0.1),
        network=NetworkConfig(width=32, hidden=512),
        average_decay=0.998,
        **_DEFAULT,
    ),
    "mnist": TrainConfig(
        dataset="mnist",
        **_MNIST,
        transform=TransformConfig(kind="whole", shear=20.0, stretch=0.15, shift=0.05),
        **_DEFAULT,
    ),
    "fashion-mnist": TrainConfig(
        dataset="fashion-mnist",
        **_MNIST,
        transform=TransformConfig(kind="auto"),
        **_DEFAULT,
    ),
    "kmnist": TrainConfig(dataset="kmnist", **_AS_MNIST, **_DEFAULT),
    "emnist": TrainConfig(dataset="emnist", classes=EMNIST_CLASSES["letters"], **_AS_MNIST, **_DEFAULT),
    # 7,291 images of 16x16, between digits and MNIST; not tuned.
    "usps": TrainConfig(
        dataset="usps",
        **_AS_MNIST
        | {
            "image_size": 16,
            "epochs": 60,
            "eval_every": 15,
            "save_every": 10,
            "average_decay": 0.998,
            "grouping": replace(_GROUPING, at=(10, 15, 20)),
            "network": NetworkConfig(width=32, hidden=512),
        },
        **_DEFAULT,
    ),
    "cifar10": TrainConfig(dataset="cifar10", **_SMALL_COLOUR, **_DEFAULT),
    "svhn": TrainConfig(dataset="svhn", **_SMALL_COLOUR, **_DEFAULT),
    "folder": TrainConfig(dataset="folder", **_NATURAL, **_DEFAULT),
    "npz": TrainConfig(dataset="npz", **{**_NATURAL, **_OF_ARRAYS}, **_DEFAULT),
    "hf": TrainConfig(dataset="hf", **{**_NATURAL, **_OF_ARRAYS}, **_DEFAULT),
    # One code per person; a person is as frequent as their videos are long.
    "youtube-faces": TrainConfig(
        dataset="youtube-faces", classes=TrainConfig.identities, **{**_NATURAL, "transform": _FACES}, **_DEFAULT
    ),
}
RECIPES = ("default", "paper")


def preset(dataset: str, recipe: str = "default") -> TrainConfig:
    """The defaults of a data set under a recipe; raises ConfigError for an unknown name."""
    if dataset not in PRESETS:
        raise ConfigError(f"--dataset {dataset}: not known; choose one of {', '.join(PRESETS)}")
    if recipe not in RECIPES:
        raise ConfigError(f"--recipe {recipe}: not known; choose one of {', '.join(RECIPES)}")
    if recipe == "default":
        return PRESETS[dataset]
    own = TrainConfig()
    paper = {name: getattr(own, name) for name in (*_DEFAULT, "grouping", "average_decay")}
    transform = TransformConfig(kind="paper", interpolation="bicubic")
    return replace(PRESETS[dataset], recipe="paper", transform=transform, **paper)


def derived(config: TrainConfig, given: Callable[[str], bool]) -> TrainConfig:
    """`config` with those settings that follow from others, unless they are given.

    Transforms that are given are kept from being chosen by the images; EMNIST has as many codes as its split has
    classes; the default of finer_codes is FINER a class.

    Args:
        given: whether the user gave a setting, such as finer_codes or transform.flip.
    """
    if config.transform.kind == "auto" and not config.transform.keep:
        keep = tuple(each.name for each in fields(TransformConfig) if given(f"transform.{each.name}"))
        config = replace(config, transform=replace(config.transform, keep=keep))
    if config.dataset == "emnist" and not given("classes"):
        config = replace(config, classes=EMNIST_CLASSES[config.emnist_split])
    if config.finer_codes > 0 and not given("finer_codes"):
        config = replace(config, finer_codes=finer_codes(config.classes))
    return config


def finer_codes(classes: int) -> int:
    """The default recipe's number of finer codes for so many classes."""
    return min(max(_DEFAULT["finer_codes"], FINER * classes), MAX_CODES)
