"""Resolves settings left at 0 (epochs, groupings, evaluations, checkpoints) from the number of training images.

Epochs mean little for a folder of unknown size: 3,000 images need a hundred, 300,000 a few. What counts is how many
images are shown, so the constants below count images. Those of the groupings were tuned on MNIST and the digits: the
rule gives both presets' own epochs.
"""

from __future__ import annotations

from dataclasses import replace

from fastgan.config.schema import TrainConfig

SHOWN = 320_000  # images that a run shows, at least: 5,000 steps of 64
FEWEST_EPOCHS = 20
GROUPED_AT = (64_000, 96_000, 128_000)  # images shown before each grouping, at most
GROUPED_SHARES = (0.25, 0.375, 0.5)  # the same as fractions of the run, at most
EVALUATIONS = 4
SAVED_EVERY = 32_000  # images between checkpoints, about


def resolve_schedule(config: TrainConfig, images: int, ranks: int = 1) -> TrainConfig:
    """Replace every 0 of --epochs, --eval-every, --save-every and --grouping.at by a value for that many images."""
    batch = config.batch_size * ranks
    epoch = max(images // batch, 1) * batch
    epochs = config.epochs or max(FEWEST_EPOCHS, _ceil_div(SHOWN, epoch))
    grouping = config.grouping
    if grouping.at == (0,):
        grouping = replace(grouping, at=_grouped_at(epochs, epoch))
    return replace(
        config,
        epochs=epochs,
        eval_every=config.eval_every or _ceil_div(epochs, EVALUATIONS),
        save_every=config.save_every or min(epochs, _ceil_div(SAVED_EVERY, epoch)),
        grouping=grouping,
    )


def total_images(config: TrainConfig, images: int, ranks: int = 1) -> int:
    """Images that a whole run of a resolved `config` shows: each epoch's last, smaller batch is dropped."""
    batch = config.batch_size * ranks
    return config.epochs * max(images // batch, 1) * batch


def _grouped_at(epochs: int, epoch_images: int) -> tuple[int, ...]:
    """Increasing epochs, from 1 on; fewer than three if the run is too short for them."""
    found: list[int] = []
    for images, share in zip(GROUPED_AT, GROUPED_SHARES, strict=True):
        at = max(1, _ceil_div(int(min(images, share * epochs * epoch_images)), epoch_images))
        found.append(max(at, found[-1] + 1 if found else 1))
    return tuple(at for at in found if at < epochs)


def _ceil_div(number: int, divisor: int) -> int:
    return -(-number // divisor)
